"""Rows of float32 on the audio thread: views, delay lines, sums in a fixed order, and the time histogram."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, copy_bytes, helper, load_i64, octave, store_release
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.rt.layout import HISTOGRAM, SUB_BUCKETS
from llvmlite import ir
from numba.extending import intrinsic

carray = numba.carray
ROW_BYTES = SEGMENT * 4
_LANES = 8  # float32 of one vector
_I32 = ir.IntType(32)


@helper
def count_ns(histogram, ns):
    """Count a time in a logarithmic histogram of SUB_BUCKETS buckets per octave."""
    top = octave(max(ns, SUB_BUCKETS)) - 5  # log2(SUB_BUCKETS)
    bucket = min(top * SUB_BUCKETS + (ns >> top), HISTOGRAM - 1)
    at = histogram + 8 * bucket
    store_release(at, load_i64(at) + 1)


@helper
def rows_at(address, channels, width):
    """View channels rows of `width` float32."""
    return carray(as_pointer(address), (channels, width), np.float32)


@helper
def copy_frames(target, source, frames):
    """Copy frames of one channel between addresses: a whole segment, the usual case, without a call."""
    if frames == SEGMENT:
        copy_bytes(target, source, ROW_BYTES)
    else:
        copy_bytes(target, source, 4 * frames)


@helper
def line_write(line, mask, channel, frame, source, frames):
    """Write frames into a channel's row of a delay line. A segment never wraps: rows are multiples of SEGMENT long."""
    copy_frames(line + 4 * (channel * (mask + 1) + (frame & mask)), source, frames)


@helper
def line_read(line, mask, channel, frame, target, frames):
    """Read frames, from an absolute frame on, out of a channel's row of a delay line."""
    row = line + 4 * channel * (mask + 1)
    at = frame & mask
    first = min(frames, mask + 1 - at)
    copy_frames(target, row + 4 * at, first)
    if first < frames:
        copy_bytes(target + 4 * first, row, 4 * (frames - first))


@helper
def delay_through(line, mask, channels, frame, frames, delay, source, target):
    """Delay rows of SEGMENT float32 at an address by a whole number of frames; source and target may be one."""
    for c in range(channels):
        line_write(line, mask, c, frame, source + c * ROW_BYTES, frames)
        line_read(line, mask, c, frame - delay, target + c * ROW_BYTES, frames)


@helper
def larger(a, b):
    """Return the larger of two numbers; unlike max it need not mind NaN, and so vectorises."""
    return a if a > b else b


@helper
def smaller(a, b):
    """Return the smaller of two numbers, as `larger` does."""
    return a if a < b else b


@helper
def row_at(address, frames):
    """View a stretch of float32 at an address, shape (frames,)."""
    return carray(as_pointer(address), (frames,), np.float32)


@intrinsic
def sum_segment(typing, address):
    """Sum SEGMENT float32 at an address by halves, in vectors of eight: one order, so the bits do not depend on the machine."""

    def code(context, builder, signature, args):
        kind = ir.VectorType(ir.FloatType(), _LANES)
        row = builder.inttoptr(args[0], kind.as_pointer())
        parts = [builder.load(builder.gep(row, [ir.Constant(_I32, k)]), align=4) for k in range(SEGMENT // _LANES)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[k], parts[k + half]) for k in range(half)]
        while (half := parts[0].type.count // 2) > 0:
            low, high = (ir.Constant(ir.VectorType(_I32, half), list(range(at, at + half))) for at in (0, half))
            parts = [builder.fadd(*(builder.shuffle_vector(parts[0], parts[0], lanes) for lanes in (low, high)))]
        return builder.extract_element(parts[0], ir.Constant(_I32, 0))

    return numba.types.float32(numba.types.uintp), code
