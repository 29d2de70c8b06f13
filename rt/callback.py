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
    flush_denormals,
    helper,
    load_acquire,
    load_i64,
    record_at,
    restore_denormals,
    store_release,
    thread_handle,
)
from autovoice.dsp.scalar import db_to_gain
from autovoice.dsp.stage import MAX_CHANNELS, SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.cells import advance, apply_due, drain, slots_of
from autovoice.rt.layout import (
    BACK_TO_BACK,
    BLOCK_OFFSET,
    BUS_BYTES,
    BUS_OFFSET,
    BYPASS,
    CELL,
    CHAIN,
    ENGINE,
    FREEWHEEL,
    INPUT,
    MASTER_CELLS,
    MIX,
    MUTE,
    OUTPUT,
    POST_OFFSET,
    PRESENCE,
    TELEMETRY,
    field_offset,
)
from autovoice.rt.rows import ROW_BYTES, copy_frames, count_ns, delay_through, line_read, line_write, rows_at
from autovoice.rt.sound import SILENT_DBFS, give_output, level_dbfs, record, show_input, show_output, take_input
from autovoice.rt.swap import adopt, fade_incoming
from autovoice.rt.worst import NOW, PAGE, RECORD, begin_block, end_block

carray = numba.carray
RETIRED, RECORDER, SCOPE_PAGE = (field_offset(ENGINE, name) for name in ("retired", "recorder", "scope"))
TELEMETRY_BUS = field_offset(TELEMETRY, "bus")
STAGE_HISTOGRAMS = field_offset(TELEMETRY, "stage")
CALLBACK_HISTOGRAM = field_offset(TELEMETRY, "callback")
HISTOGRAM_BYTES = TELEMETRY["callback"].itemsize
ZERO, ONE = np.float32(0), np.float32(1)
PER_NS = 1e-9  # of the load's smoothing, over about a second
PROFILE_MASK = 15  # cycles: stages are timed in one of 16


@helper
def latch_bus(address, level):
    """At a multiple of SEGMENT, what analysis stages posted becomes what every stage reads, and the input's level on top."""
    copy_bytes(address + BUS_OFFSET, address + POST_OFFSET, BUS_BYTES)
    block = record_at(address, CHAIN).block
    block.bus.level_dbfs = level
    block.post.level_dbfs = level


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
def run_chain(engine, address, frames, telemetry_address, timed, kept):
    """Run a chain over the frames in its buffer, in place, up to the engine's latency.

    `timed`: count each stage's time; `kept`: add it to the block's record.
    """
    chain = record_at(address, CHAIN)
    audio = rows_at(chain.audio, chain.channels, SEGMENT)
    chain.block.frames = frames
    chain.block.frame = engine.frame
    chain.block.post.marks = 0  # an address of the last call may be that of a chain that is gone
    slots = slots_of(chain)
    now = record_at(engine.worst + NOW, RECORD)
    before = clock_ns() if timed or kept else 0
    for k in range(chain.count):
        run_slot(slots[k], address, chain, audio, engine.frame, frames)
        if timed or kept:
            after = clock_ns()
            if timed:
                count_ns(telemetry_address + STAGE_HISTOGRAMS + k * HISTOGRAM_BYTES, after - before)
            if kept:
                now.stage_ns[k] += after - before
            before = after
    if chain.pad > 0:
        delay_through(chain.pad_line, chain.pad_mask, chain.channels, engine.frame, frames, chain.pad, chain.audio, chain.audio)


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
        if engine.gain_out[i] != ONE or engine.rows[MIX, i] != ONE or engine.rows[BYPASS, i] != ZERO:
            unity = 0
    engine.unity = unity


@helper
def keep_dry(engine, audio, frames, heard):
    """Write the dry frames, as late as the wet ones, to the engine's row, where they are heard or recorded."""
    if engine.latency > 0:
        for c in range(engine.channels):
            line_write(engine.dry_line, engine.dry_mask, c, engine.frame, audio + c * ROW_BYTES, frames)
    if heard:
        for c in range(engine.channels):
            row, source = engine.dry + c * ROW_BYTES, audio + c * ROW_BYTES
            if engine.latency > 0:
                line_read(engine.dry_line, engine.dry_mask, c, engine.frame - engine.latency, row, frames)
            else:
                copy_frames(row, source, frames)


@helper
def mix_dry(engine, audio, frames):
    """Mix the dry voice in and apply the output gain."""
    dry = rows_at(engine.dry, engine.channels, SEGMENT)
    for c in range(engine.channels):
        for i in range(frames):
            mix = engine.rows[MIX, i] * (ONE - engine.rows[BYPASS, i])
            wet = audio[c, i]
            mixed = wet if mix == ONE else dry[c, i] + mix * (wet - dry[c, i])
            audio[c, i] = mixed * engine.gain_out[i]


@helper
def begin_segment(engine):
    """At a multiple of SEGMENT, let a new chain in and pass on what the analysis found."""
    # Here rather than at the end of the segment before: the processor works on the logarithm while it takes the input.
    level = level_dbfs(engine) if engine.frame > 0 else SILENT_DBFS
    adopt(engine)
    latch_bus(engine.current, level)
    if engine.incoming != 0:
        latch_bus(engine.incoming, level)
    if engine.trace != 0:
        copy_bytes(engine.trace + (engine.frame // SEGMENT) * BUS_BYTES, engine.current + BUS_OFFSET, BUS_BYTES)


@helper
def run_segment(engine, telemetry, inputs, outputs, at, frames, timed):
    """Process frames that lie within one segment."""
    if engine.frame & (SEGMENT - 1) == 0:
        begin_segment(engine)
    if engine.moving != 0:
        move_master(engine, frames)
    chain = record_at(engine.current, CHAIN)
    audio = rows_at(chain.audio, engine.channels, SEGMENT)
    recorder = load_acquire(engine.self_address + RECORDER)
    take_input(engine, telemetry, inputs, at, chain.audio, frames)
    scope = load_acquire(engine.self_address + SCOPE_PAGE)
    if scope != 0:
        show_input(scope, engine.frame, chain.audio, frames)
    keep_dry(engine, chain.audio, frames, engine.unity == 0 or recorder != 0)
    address = engine.incoming
    if address != 0:
        copy_bytes(record_at(address, CHAIN).audio, chain.audio, engine.channels * ROW_BYTES)
    else:
        address = engine.current
    kept = engine.worst != 0
    while True:  # the incoming chain first, which is not timed, then the one that plays
        playing = address == engine.current
        begun = clock_ns() if kept and not playing else 0
        run_chain(engine, address, frames, engine.telemetry, timed and playing, kept and playing)
        if playing:
            break
        if kept:
            record_at(engine.worst + NOW, RECORD).incoming_ns += clock_ns() - begun
        address = engine.current
    retired = np.int64(0)
    if engine.incoming != 0:
        retired = fade_incoming(engine, telemetry, audio, frames)
    if engine.unity == 0:
        mix_dry(engine, audio, frames)
    give_output(engine, telemetry, chain.audio, outputs, at, frames)
    if scope != 0:
        show_output(scope, engine.frame, outputs, at, frames)
    if recorder != 0:
        record(engine, telemetry, recorder, outputs, at, frames)
    engine.frame += frames
    if retired != 0:  # only now: its buffer carried this segment to the outputs, and control frees it at once
        store_release(engine.self_address + RETIRED, retired)


@helper
def count_callback(engine, telemetry, start, frames, late_ns, applied):
    """Count a finished callback: its time, load, misses and late wakes; keep its record where it is a bad one."""
    now = clock_ns()
    engine.ended_ns = now
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
        if engine.worst != 0:
            record_at(engine.worst + NOW, RECORD).events = telemetry.events_applied - applied
            end_block(engine.worst, spent, np.int64(period))
    if spent > telemetry.worst_ns:
        telemetry.worst_ns = spent
        telemetry.worst_frame = engine.frame - frames
    copy_bytes(engine.telemetry + TELEMETRY_BUS, engine.current + BUS_OFFSET, BUS_BYTES)
    telemetry.load += (spent - period * telemetry.load) * PER_NS
    telemetry.frames = engine.frame
    telemetry.cycles += 1


def _run(address, inputs, outputs, frames, late_ns):
    """Process one driver block: `inputs` and `outputs` are arrays of float32 pointers, one for each channel.

    `late_ns` is how late the driver woke us, or BACK_TO_BACK.
    """
    engine = record_at(address, ENGINE)
    telemetry = record_at(engine.telemetry, TELEMETRY)
    if engine.enter_hook != 0:
        call_hook(engine.enter_hook)
    word = flush_denormals()
    start = engine.ended_ns if late_ns == BACK_TO_BACK else clock_ns()
    engine.began_ns = start
    telemetry.now_ns = start - max(late_ns, 0)
    telemetry.now_frame = engine.frame
    timed = engine.profile != 0 or telemetry.cycles & PROFILE_MASK == 0
    applied = telemetry.events_applied
    if engine.worst != 0:
        chain = record_at(engine.current, CHAIN)
        record_at(engine.worst, PAGE).thread = thread_handle()
        begin_block(engine.worst, telemetry.cycles, engine.frame, frames, start, late_ns, chain.generation, chain.count)
    drain(engine, telemetry)
    done = 0
    while done < frames:
        due = apply_due(engine, telemetry)
        within = SEGMENT - (engine.frame & (SEGMENT - 1))
        count = min(frames - done, within, due - engine.frame)
        run_segment(engine, telemetry, inputs, outputs, done, count, timed)
        done += count
    restore_denormals(word)
    count_callback(engine, telemetry, start, frames, late_ns, applied)
    if engine.exit_hook != 0:
        call_hook(engine.exit_hook)


@helper
def _channels_at(pointers):
    """Count the pointers of a list of at most MAX_CHANNELS that ends with 0."""
    count = 0
    while count < MAX_CHANNELS and load_i64(pointers + 8 * count) != 0:
        count += 1
    return count


def _run_file(run, engine, pointers, frames, block):
    """Process a whole array in blocks, as a driver would; `pointers` holds MAX_CHANNELS inputs, then as many outputs."""
    outputs = pointers + 8 * MAX_CHANNELS
    ins, outs = _channels_at(pointers), _channels_at(outputs)
    source = carray(as_pointer(pointers), (ins,), np.int64)
    target = carray(as_pointer(outputs), (outs,), np.int64)
    at = 0
    word = flush_denormals()  # once for all: where it is set already, a block leaves it
    while at < frames:
        count = min(block, frames - at)
        call_engine(run, engine, pointers, outputs, count, 0 if at == 0 else BACK_TO_BACK)
        for c in range(ins):
            source[c] += 4 * count
        for c in range(outs):
            target[c] += 4 * count
        at += count
    restore_denormals(word)


_U, _I = numba.types.uintp, numba.types.int64
RUN = compile_entry(_run, numba.types.void(_U, _U, _U, _I, _I), extra_calls=frozenset({"pthread_self"}))
RUN_FILE = compile_entry(_run_file, numba.types.void(_U, _U, _U, _I, _I))
