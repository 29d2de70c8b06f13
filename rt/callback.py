"""The audio thread's own code: one compiled function that a driver calls with its buffers, block after block.

It takes waiting events, cuts the block at event frames and at multiples of SEGMENT, runs the chain (two of them during a
swap), mixes, meters and counts. Nothing here allocates, locks, raises or enters the kernel.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import (
    as_pointer,
    call_engine,
    call_hook,
    call_stage,
    clock_ns,
    copy_bytes,
    exchange,
    flush_denormals,
    helper,
    load_acquire,
    load_i64,
    record_at,
    restore_denormals,
    store_release,
)
from autovoice.dsp.scalar import db_to_gain, gain_to_db
from autovoice.dsp.stage import BLOCK, BUS, MAX_CHANNELS, SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.cells import advance, apply_due, drain, retarget, slots_of
from autovoice.rt.layout import (
    CELL,
    CHAIN,
    COPY,
    COPY_BYTES,
    ENGINE,
    FREEWHEEL,
    INPUT,
    MASTER_CELLS,
    MIX,
    MUTE,
    OUTPUT,
    PRESENCE,
    TELEMETRY,
)
from autovoice.rt.ring import ring_push
from autovoice.rt.rows import ROW_BYTES, count_ns, delay_through, fold_sum, larger, line_write, row_at, rows_at, smaller

carray = numba.carray
BUS_BYTES = BUS.itemsize
BUS_OFFSET, POST_OFFSET, BLOCK_OFFSET = (CHAIN.fields[name][1] for name in ("bus", "post", "block"))
BLOCK_BUS, BLOCK_POST = BLOCK.fields["bus"][1], BLOCK.fields["post"][1]
NEXT, RETIRED, RECORDER = (ENGINE.fields[name][1] for name in ("next", "retired", "recorder"))
SQUARE, GAIN_IN = ENGINE.fields["square"][1], ENGINE.fields["gain_in"][1]
IN_PEAKS, OUT_PEAKS = TELEMETRY.fields["in_peaks"][1], TELEMETRY.fields["out_peaks"][1]
TELEMETRY_BUS = TELEMETRY.fields["bus"][1]
STAGE_HISTOGRAMS = TELEMETRY.fields["stage"][1]
CALLBACK_HISTOGRAM = TELEMETRY.fields["callback"][1]
HISTOGRAM_BYTES = TELEMETRY["callback"].itemsize
LOUDEST = np.float32(1024)  # +60 dBFS: what is above was never sound, and squares of it must stay finite
ZERO, ONE, TINY = np.float32(0), np.float32(1), np.float32(1e-12)
SILENT_DBFS = np.float32(-120)
PEAK_DECAY = np.float32(0.9985)  # per segment: about 10 dB a second at 48 kHz
LOAD_SECONDS = 1.0
PROFILE_MASK = 15  # cycles: stages are timed in one of 16


@helper
def take_input(engine, telemetry, inputs, at, audio, frames):
    """Copy this segment's input, made finite and trimmed, to the chain's buffer, and keep its squares for the level."""
    offset = engine.frame & (SEGMENT - 1)
    square = row_at(engine.self_address + SQUARE + 4 * offset, frames)
    gain = row_at(engine.self_address + GAIN_IN, frames)
    peaks = row_at(engine.telemetry + IN_PEAKS + 4 * offset, frames)
    for i in range(frames):
        square[i] = ZERO
        peaks[i] *= PEAK_DECAY
    for c in range(engine.in_channels):
        x = row_at(load_i64(inputs + 8 * c) + 4 * at, frames)
        y = row_at(audio + c * ROW_BYTES, frames)
        bad = 0
        for i in range(frames):
            v = x[i]
            finite = v - v == ZERO
            bad += 0 if finite else 1
            v = v if finite else ZERO
            v = larger(smaller(v, LOUDEST), -LOUDEST) * gain[i]
            y[i] = v
            square[i] += v * v
            peaks[i] = larger(peaks[i], abs(v))
        telemetry.nonfinite_in += bad
    for c in range(engine.in_channels, engine.channels):  # a chain that spreads makes stereo of fewer inputs
        copy_bytes(audio + c * ROW_BYTES, audio + (c % engine.in_channels) * ROW_BYTES, 4 * frames)


@helper
def measure_level(engine, chain):
    """Close a segment: its input's RMS goes to the bus."""
    mean = fold_sum(engine.square, engine.width) / np.float32(SEGMENT * engine.in_channels)
    chain.post.level_dbfs = max(np.float32(0.5) * gain_to_db(mean), SILENT_DBFS) if mean > TINY else SILENT_DBFS


@helper
def latch_bus(engine, address):
    """At a multiple of SEGMENT, what analysis stages posted becomes what every stage reads."""
    chain = record_at(address, CHAIN)
    copy_bytes(address + BUS_OFFSET, address + POST_OFFSET, BUS_BYTES)
    copy_bytes(address + BLOCK_OFFSET + BLOCK_BUS, address + BUS_OFFSET, BUS_BYTES)
    copy_bytes(address + BLOCK_OFFSET + BLOCK_POST, address + BUS_OFFSET, BUS_BYTES)
    return chain


@helper
def run_slot(slot, chain_address, chain, audio, frame, frames):
    """Run one stage, with its bypass share mixed in at the stage's own delay."""
    if slot.moving != 0:
        cells = carray(as_pointer(slot.cells), (slot.cell_count,), CELL)
        more = advance(slot.wet, frames)
        for k in range(slot.cell_count):
            more |= advance(cells[k], frames)
        slot.moving = more
    bypass = slot.wet.value != 1.0 or slot.wet.dirty != 0
    if slot.latency > 0 or bypass:
        for c in range(chain.channels):
            line_write(slot.delay, slot.delay_mask, c, frame, chain.audio + c * ROW_BYTES, frames)
    chain.block.upstream = slot.upstream
    marks = chain.block.post.marks
    call_stage(slot.function, slot.state, slot.parameters, chain.audio, chain_address + BLOCK_OFFSET)
    if bypass:
        if slot.wet.value == 0.0 and marks != 0:  # what is heard has the marks of the input
            chain.block.post.marks = marks
        line = rows_at(slot.delay, chain.channels, slot.delay_mask + 1)
        for c in range(chain.channels):
            for i in range(frames):
                dry = line[c, (frame + i - slot.latency) & slot.delay_mask]
                wet = slot.wet_row[i]
                if wet == ZERO:
                    audio[c, i] = dry
                elif wet != ONE:
                    audio[c, i] = dry + wet * (audio[c, i] - dry)


@helper
def run_chain(engine, address, frames, telemetry_address, timed):
    """Run a chain over the frames in its buffer, in place, up to the engine's latency."""
    chain = record_at(address, CHAIN)
    audio = rows_at(chain.audio, chain.channels, SEGMENT)
    chain.block.frames = frames
    chain.block.frame = engine.frame
    chain.block.post.marks = 0  # an address of the last call may be that of a chain that is gone
    slots = slots_of(chain)
    if timed:
        before = clock_ns()
        for k in range(chain.count):
            run_slot(slots[k], address, chain, audio, engine.frame, frames)
            after = clock_ns()
            count_ns(telemetry_address + STAGE_HISTOGRAMS + k * HISTOGRAM_BYTES, after - before)
            before = after
    else:
        for k in range(chain.count):
            run_slot(slots[k], address, chain, audio, engine.frame, frames)
    if chain.pad > 0:
        delay_through(chain.pad_line, chain.pad_mask, chain.channels, engine.frame, frames, chain.pad, chain.audio, chain.audio)
    # A level that this segment measures is posted on top of what the stages posted.
    copy_bytes(address + POST_OFFSET, address + BLOCK_OFFSET + BLOCK_POST, BUS_BYTES)


@helper
def adopt(engine):
    """At a multiple of SEGMENT, take a chain that control has published: it starts unheard, with the old one's state."""
    if engine.incoming != 0 or load_acquire(engine.self_address + NEXT) == 0:
        return
    address = exchange(engine.self_address + NEXT, 0)
    chain = record_at(address, CHAIN)
    copies = carray(as_pointer(chain.copies), (chain.copy_count,), COPY)
    for k in range(chain.copy_count):
        if copies[k].kind == COPY_BYTES:
            copy_bytes(copies[k].target, copies[k].source, copies[k].size)
        else:
            cell, old = record_at(copies[k].target, CELL), record_at(copies[k].source, CELL)
            cell.value = old.value
            if old.target == cell.target:  # a glide under way goes on as it was
                cell.step = old.step
                cell.remaining = old.remaining
                cell.dirty = 1
            else:
                retarget(cell, cell.target)
    copy_bytes(address + BUS_OFFSET, engine.current + BUS_OFFSET, BUS_BYTES)
    copy_bytes(address + POST_OFFSET, engine.current + POST_OFFSET, BUS_BYTES)
    engine.incoming = address
    engine.settling = chain.settle
    engine.fade_at = 0


@helper
def fade_incoming(engine, telemetry, audio, frames):
    """Mix the incoming chain in; return the old one's address when it was heard for the last time, else 0."""
    new = record_at(engine.incoming, CHAIN)
    if engine.settling > 0:
        engine.settling -= frames
        return 0
    heard = rows_at(new.audio, new.channels, SEGMENT)
    scale = ONE / np.float32(engine.fade_frames)
    for c in range(engine.channels):
        for i in range(frames):
            share = np.float32(engine.fade_at + i + 1) * scale
            if share < ONE:
                audio[c, i] += share * (heard[c, i] - audio[c, i])
            else:
                audio[c, i] = heard[c, i]
    engine.fade_at += frames
    if engine.fade_at < engine.fade_frames:
        return 0
    old = engine.current
    engine.current = engine.incoming
    engine.incoming = 0
    telemetry.swaps += 1
    return old


@helper
def move_master(engine, frames):
    """Refresh the engine's own gliding values and the two gains made from them."""
    more = 0
    for k in range(MASTER_CELLS):
        more |= advance(engine.master[k], frames)
    engine.moving = more
    unity = 1
    for i in range(SEGMENT if more == 0 else frames):
        engine.gain_in[i] = db_to_gain(engine.rows[INPUT, i])
        heard = engine.rows[PRESENCE, i] * (ONE - engine.rows[MUTE, i])
        engine.gain_out[i] = db_to_gain(engine.rows[OUTPUT, i]) * heard
        if engine.gain_out[i] != ONE or engine.rows[MIX, i] != ONE:
            unity = 0
    engine.unity = unity


@helper
def give_output(engine, telemetry, audio, outputs, at, frames):
    """Write the mixed, finite, trimmed frames to the driver's buffers: mono to every output, many to one by their mean."""
    bad = 0
    offset = engine.frame & (SEGMENT - 1)
    peaks = row_at(engine.telemetry + OUT_PEAKS + 4 * offset, frames)
    for i in range(frames):
        peaks[i] *= PEAK_DECAY
    for c in range(engine.channels):
        row = row_at(audio + c * ROW_BYTES, frames)
        for i in range(frames):
            v = row[i]
            finite = v - v == ZERO
            bad += 0 if finite else 1
            v = v if finite else ZERO
            row[i] = v
            peaks[i] = larger(peaks[i], abs(v))
    telemetry.nonfinite_out += bad
    share = ONE / np.float32(engine.channels)
    for o in range(engine.out_channels):
        y = load_i64(outputs + 8 * o) + 4 * at
        copy_bytes(y, audio + (o % engine.channels) * ROW_BYTES, 4 * frames)
        if engine.out_channels == 1 and engine.channels > 1:
            only = row_at(y, frames)
            for c in range(1, engine.channels):
                row = row_at(audio + c * ROW_BYTES, frames)
                for i in range(frames):
                    only[i] += row[i]
            for i in range(frames):
                only[i] *= share


@helper
def record(engine, telemetry, dry, outputs, at, frames):
    """Hand this segment, dry channels then wet ones, to the recorder's ring."""
    ring = load_acquire(engine.self_address + RECORDER)
    if ring == 0:
        return
    width = engine.in_channels + engine.out_channels
    rows = carray(as_pointer(engine.record_scratch), (SEGMENT, width), np.float32)
    for c in range(engine.in_channels):
        for i in range(frames):
            rows[i, c] = dry[c, i]
    for o in range(engine.out_channels):
        y = carray(as_pointer(load_i64(outputs + 8 * o) + 4 * at), (frames,), np.float32)
        for i in range(frames):
            rows[i, engine.in_channels + o] = y[i]
    if ring_push(ring, engine.record_scratch, frames) == 0:
        telemetry.record_dropped += frames


@helper
def run_segment(engine, telemetry, inputs, outputs, at, frames, timed):
    """Process frames that lie within one segment."""
    if engine.frame & (SEGMENT - 1) == 0:
        adopt(engine)
        latch_bus(engine, engine.current)
        if engine.incoming != 0:
            latch_bus(engine, engine.incoming)
        if engine.trace != 0:
            copy_bytes(engine.trace + (engine.frame // SEGMENT) * BUS_BYTES, engine.current + BUS_OFFSET, BUS_BYTES)
    if engine.moving != 0:
        move_master(engine, frames)
    current = engine.current
    chain = record_at(current, CHAIN)
    audio = rows_at(chain.audio, engine.channels, SEGMENT)
    dry = rows_at(engine.dry, engine.channels, SEGMENT)
    take_input(engine, telemetry, inputs, at, chain.audio, frames)
    line, mask = engine.dry_line, engine.dry_mask
    delay_through(line, mask, engine.channels, engine.frame, frames, engine.latency, chain.audio, engine.dry)
    last = (engine.frame + frames) & (SEGMENT - 1) == 0
    if engine.incoming != 0:
        new = record_at(engine.incoming, CHAIN)
        copy_bytes(new.audio, chain.audio, engine.channels * SEGMENT * 4)
        run_chain(engine, engine.incoming, frames, engine.telemetry, False)
    run_chain(engine, current, frames, engine.telemetry, timed)
    if last:
        measure_level(engine, chain)
        if engine.incoming != 0:
            record_at(engine.incoming, CHAIN).post.level_dbfs = chain.post.level_dbfs
    retired = np.int64(0)
    if engine.incoming != 0:
        retired = fade_incoming(engine, telemetry, audio, frames)
    if engine.unity == 0:
        for c in range(engine.channels):
            for i in range(frames):
                mix = engine.rows[MIX, i]
                wet = audio[c, i]
                mixed = wet if mix == ONE else dry[c, i] + mix * (wet - dry[c, i])
                audio[c, i] = mixed * engine.gain_out[i]
    give_output(engine, telemetry, chain.audio, outputs, at, frames)
    record(engine, telemetry, dry, outputs, at, frames)
    engine.frame += frames
    if retired != 0:  # only now: its buffer carried this segment to the outputs, and control frees it at once
        store_release(engine.self_address + RETIRED, retired)


@helper
def count_callback(engine, telemetry, start, frames, late_ns):
    """Count a finished callback: its time, load, misses and late wakes."""
    now = clock_ns()
    spent = now - start
    period = engine.period_ns_per_frame * frames
    if telemetry.first_ns == 0:  # the first callback of a run: time that a stopped engine spent is not expected of it
        telemetry.first_ns = start - np.int64((engine.frame - frames) * engine.period_ns_per_frame)
    count_ns(engine.telemetry + CALLBACK_HISTOGRAM, spent)
    telemetry.busy_ns += spent
    if telemetry.driver[FREEWHEEL] == 0:
        if spent > period:
            telemetry.misses += 1
        if late_ns > period:
            telemetry.late_wakes += 1
    if spent > telemetry.worst_ns:
        telemetry.worst_ns = spent
        telemetry.worst_frame = engine.frame - frames
    share = min(frames / (engine.sample_rate * LOAD_SECONDS), 1.0)
    telemetry.load += share * (spent / period - telemetry.load)
    copy_bytes(engine.telemetry + TELEMETRY_BUS, engine.current + BUS_OFFSET, BUS_BYTES)
    telemetry.frames = engine.frame
    telemetry.cycles += 1


def _run(address, inputs, outputs, frames, late_ns):
    """Process one driver block: `inputs` and `outputs` are arrays of float32 pointers, one for each channel."""
    engine = record_at(address, ENGINE)
    telemetry = record_at(engine.telemetry, TELEMETRY)
    if engine.enter_hook != 0:
        call_hook(engine.enter_hook)
    start = clock_ns()
    word = flush_denormals()
    telemetry.now_ns = start - late_ns
    telemetry.now_frame = engine.frame
    timed = engine.profile != 0 or telemetry.cycles & PROFILE_MASK == 0
    drain(engine, telemetry)
    done = 0
    while done < frames:
        due = apply_due(engine, telemetry)
        within = SEGMENT - (engine.frame & (SEGMENT - 1))
        count = min(frames - done, within, due - engine.frame)
        run_segment(engine, telemetry, inputs, outputs, done, count, timed)
        done += count
    restore_denormals(word)
    count_callback(engine, telemetry, start, frames, late_ns)
    if engine.exit_hook != 0:
        call_hook(engine.exit_hook)


def _run_file(run, engine, pointers, frames, block):
    """Process a whole array in blocks, as a driver would; `pointers` holds MAX_CHANNELS inputs, then as many outputs."""
    half = 8 * MAX_CHANNELS
    at = 0
    while at < frames:
        count = min(block, frames - at)
        call_engine(run, engine, pointers, pointers + half, count, 0)
        for k in range(2 * MAX_CHANNELS):
            p = carray(as_pointer(pointers + 8 * k), (1,), np.int64)
            if p[0] != 0:
                p[0] += 4 * count
        at += count


_U, _I = numba.types.uintp, numba.types.int64
RUN = compile_entry(_run, numba.types.void(_U, _U, _U, _I, _I))
RUN_FILE = compile_entry(_run_file, numba.types.void(_U, _U, _U, _I, _I))
