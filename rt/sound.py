"""What enters and leaves the audio thread: input made finite and trimmed, level and peaks measured, output given, recorded.

Samples that are not numbers are rare and a check of every one is not: the bits of |x|, read as an integer, order as |x| does,
with infinity and NaN above all numbers, so one integer maximum over a row says whether all of it is fit, and is its peak, too.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, bits_of_f32, f32_of_bits, helper, load_i64, store_release
from autovoice.dsp.scalar import DB_PER_OCTAVE, L0, L1, L2, L3, L4, L5, L6, L7
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.rt.layout import ENGINE, SCOPE, SCOPE_FRAMES, field_offset
from autovoice.rt.ring import ITEM, ring_push
from autovoice.rt.rows import ROW_BYTES, copy_frames, larger, row_at, smaller, sum_segment

carray = numba.carray
SCOPE_IN, SCOPE_OUT = field_offset(SCOPE, "input"), field_offset(SCOPE, "output")
SQUARE, GAIN_IN = field_offset(ENGINE, "square"), field_offset(ENGINE, "gain_in")
LOUDEST = np.float32(1024)  # +60 dBFS: what is above was never sound, and squares of it must stay finite
LOUDEST_BITS = np.int32(LOUDEST.view(np.int32))
FINITE_BITS = np.int32(np.finfo(np.float32).max.view(np.int32))
MAGNITUDE = np.int32(0x7FFFFFFF)  # all but the sign
ROOT_HALF, MANTISSA_BITS = np.int32(0x3F3504F3), np.int32(23)  # sqrt(1/2): mantissas fall into 0.707..1.414
DB_PER_OCTAVE_OF_POWER = np.float32(DB_PER_OCTAVE / 2)
ZERO, ONE, TINY = np.float32(0), np.float32(1), np.float32(1e-12)
SILENT_DBFS = np.float32(-120)
PEAK_DECAY = np.float32(0.9985)  # per segment: about 10 dB a second at 48 kHz


@helper
def _magnitude(v):
    """Return the bits of |v|, an integer that orders as |v| does."""
    return np.int32(bits_of_f32(v) & MAGNITUDE)


@helper
def _highest(row, frames):
    """Return the largest of the magnitudes of a row."""
    top = np.int32(0)
    for i in range(frames):
        top = larger(top, _magnitude(row[i]))
    return top


@helper
def _mend(source, target, frames):
    """Copy a row with zero for what is no number and the rest within +-LOUDEST; return how many were none."""
    bad = 0
    for i in range(frames):
        v = source[i]
        finite = v - v == ZERO
        bad += 0 if finite else 1
        target[i] = larger(smaller(v, LOUDEST), -LOUDEST) if finite else ZERO
    return bad


@helper
def take_input(engine, telemetry, inputs, at, audio, frames):
    """Copy this segment's input, made finite and trimmed, to the chain's buffer, and keep its squares for the level."""
    offset = engine.frame & (SEGMENT - 1)
    square = row_at(engine.self_address + SQUARE + 4 * offset, frames)
    gain = row_at(engine.self_address + GAIN_IN, frames)
    top = np.int32(0)
    for c in range(engine.in_channels):
        source = load_i64(inputs + 8 * c) + 4 * at
        target = audio + c * ROW_BYTES
        y = row_at(target, frames)
        if _highest(row_at(source, frames), frames) > LOUDEST_BITS:
            telemetry.nonfinite_in += _mend(row_at(source, frames), y, frames)
            source = target
        x = row_at(source, frames)
        for i in range(frames):
            v = x[i] * gain[i]
            y[i] = v
            square[i] = v * v if c == 0 else square[i] + v * v
            top = larger(top, _magnitude(v))
    for c in range(engine.in_channels, engine.channels):  # a chain that spreads makes stereo of fewer inputs
        copy_frames(audio + c * ROW_BYTES, audio + (c % engine.in_channels) * ROW_BYTES, frames)
    decayed = telemetry.in_peak * PEAK_DECAY if offset == 0 else telemetry.in_peak
    telemetry.in_peak = larger(decayed, f32_of_bits(top))


@helper
def level_dbfs(engine):
    """Return the RMS of the input over the segment that has just ended."""
    mean = sum_segment(engine.self_address + SQUARE) * engine.per_square
    if not mean > TINY:
        return SILENT_DBFS
    # scalar.log2 with the terms of its polynomial in pairs: the next segment waits half as long for it.
    bits = bits_of_f32(mean)
    exponent = np.int32(np.int32(bits - ROOT_HALF) >> MANTISSA_BITS)
    t = f32_of_bits(np.int32(bits - (exponent << MANTISSA_BITS))) - ONE
    t2 = t * t
    ratio = ((L0 + L1 * t) + t2 * (L2 + L3 * t)) + (t2 * t2) * ((L4 + L5 * t) + t2 * (L6 + L7 * t))
    return max(DB_PER_OCTAVE_OF_POWER * (np.float32(exponent) + t * ratio), SILENT_DBFS)


@helper
def give_output(engine, telemetry, audio, outputs, at, frames):
    """Write the mixed, finite frames to the driver's buffers: mono to every output, many to one by their mean."""
    top = np.int32(0)
    for c in range(engine.channels):
        row = row_at(audio + c * ROW_BYTES, frames)
        highest = _highest(row, frames)
        if highest > FINITE_BITS:
            telemetry.nonfinite_out += _silence_bad(row, frames)
            highest = _highest(row, frames)
        top = larger(top, highest)
    decayed = telemetry.out_peak * PEAK_DECAY if engine.frame & (SEGMENT - 1) == 0 else telemetry.out_peak
    telemetry.out_peak = larger(decayed, f32_of_bits(top))
    for o in range(engine.out_channels):
        copy_frames(load_i64(outputs + 8 * o) + 4 * at, audio + (o % engine.channels) * ROW_BYTES, frames)
    if engine.out_channels == 1 and engine.channels > 1:
        _mean(engine, audio, row_at(load_i64(outputs) + 4 * at, frames), frames)


@helper
def _silence_bad(row, frames):
    """Put zero in place of what is no number; return how many were none."""
    bad = 0
    for i in range(frames):
        if row[i] - row[i] != ZERO:
            row[i] = ZERO
            bad += 1
    return bad


@helper
def _mean(engine, audio, only, frames):
    """Make the only output, which has the first channel, the mean of all."""
    share = ONE / np.float32(engine.channels)
    for c in range(1, engine.channels):
        row = row_at(audio + c * ROW_BYTES, frames)
        for i in range(frames):
            only[i] += row[i]
    for i in range(frames):
        only[i] *= share


@helper
def show_input(scope, frame, audio, frames):
    """Show the first channel's input to those who look on. A segment never wraps: the page is a multiple of SEGMENT long."""
    copy_frames(scope + SCOPE_IN + 4 * (frame & (SCOPE_FRAMES - 1)), audio, frames)


@helper
def show_output(scope, frame, outputs, at, frames):
    """Show the first output, and that the page now reaches to the end of this segment."""
    copy_frames(scope + SCOPE_OUT + 4 * (frame & (SCOPE_FRAMES - 1)), load_i64(outputs) + 4 * at, frames)
    store_release(scope, frame + frames)


@helper
def record(engine, telemetry, ring, outputs, at, frames):
    """Hand this segment, dry channels then wet ones, to the recorder's ring.

    Where a row has room for one value more, its bits are the low half of the frame's number: what was lost is then known.
    """
    dry = carray(as_pointer(engine.dry), (engine.channels, SEGMENT), np.float32)
    width = engine.in_channels + engine.out_channels
    values = load_i64(ring + ITEM) // 4
    rows = carray(as_pointer(engine.record_scratch), (SEGMENT, values), np.float32)
    for c in range(engine.in_channels):
        for i in range(frames):
            rows[i, c] = dry[c, i]
    for o in range(engine.out_channels):
        y = carray(as_pointer(load_i64(outputs + 8 * o) + 4 * at), (frames,), np.float32)
        for i in range(frames):
            rows[i, engine.in_channels + o] = y[i]
    if values > width:
        for i in range(frames):
            rows[i, width] = f32_of_bits(np.int32(engine.frame + i))
    if ring_push(ring, engine.record_scratch, frames) == 0:
        telemetry.record_dropped += frames
