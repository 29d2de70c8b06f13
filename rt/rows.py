"""Rows of float32 on the audio thread: views, delay lines, sums in a fixed order, and the time histogram."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, copy_bytes, helper, load_i64, octave, store_release
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.rt.layout import HISTOGRAM, SUB_BUCKETS

carray = numba.carray
ROW_BYTES = SEGMENT * 4


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
def line_write(line, mask, channel, frame, source, frames):
    """Write frames into a channel's row of a delay line. A segment never wraps: rows are multiples of SEGMENT long."""
    copy_bytes(line + 4 * (channel * (mask + 1) + (frame & mask)), source, 4 * frames)


@helper
def line_read(line, mask, channel, frame, target, frames):
    """Read frames, from an absolute frame on, out of a channel's row of a delay line."""
    row = line + 4 * channel * (mask + 1)
    at = frame & mask
    first = min(frames, mask + 1 - at)
    copy_bytes(target, row + 4 * at, 4 * first)
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


@helper
def fold_sum(row, width):
    """Sum a row of `width` = SEGMENT by halves: a fixed order, so the bits do not depend on the machine or the cut.

    The width comes from memory: of a constant one the optimiser would make 60 scalar additions.
    """
    half = width >> 1
    while half >= 8:
        for i in range(half):
            row[i] += row[i + half]
        half >>= 1
    return ((row[0] + row[4]) + (row[1] + row[5])) + ((row[2] + row[6]) + (row[3] + row[7]))
