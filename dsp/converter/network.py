"""The converter's network, one hop at a time: the steps of `autovoice.dsp.converter.program` that compute it.

The layers are those of the training module `autovoice.models.network`; a depthwise convolution keeps what it needs of the past
in a ring of its own. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from autovoice.dsp.converter.features import CENTRE, FLOOR, MELS, SPREAD
from autovoice.dsp.converter.products import add_product
from autovoice.dsp.converter.program import CHANNELS, EMBEDDED, FEATURES, GATED, GATES, HIDDEN, KERNEL, NORMED, SPEAKER
from autovoice.dsp.native import as_pointer, fma, helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vector import TILE, dot

carray = numba.carray

QUIET = np.float32(1e-3)  # added to the mean square of a frame's channels
STATE = np.dtype(
    [
        ("integers", "i8"),  # addresses: weights
        ("floats", "i8"),  # scales, biases and depthwise taps
        ("work", "i8"),  # in the stage's memory
        ("rings", "i8"),
        ("first", "i8"),  # int32 (MELS,): first bin of a band
        ("counts", "i8"),  # int32 (MELS,): its bins
        ("shares", "i8"),  # float32: the weights of all bins of all bands, one band after the other
    ],
    align=True,
)

ZERO, ONE = np.float32(0), np.float32(1)
MEAN = np.float32(1 / CHANNELS)
MINUS_LOG2_E = np.float32(-np.log2(np.e))
LOG_SCALE, LOG_OFFSET = np.float32(np.log(2) / SPREAD), np.float32(-CENTRE / SPREAD)
LEAST = np.float32(FLOOR)


@helper
def work(s, offset, count):
    """View values of the work."""
    return carray(as_pointer(s.work + 4 * offset), (count,), np.float32)


@helper
def copy(s, unit):
    """Copy the channels of a frame."""
    source, target = work(s, unit.inputs, CHANNELS), work(s, unit.outputs, CHANNELS)
    for c in range(CHANNELS):
        target[c] = source[c]


@helper
def bands(s, re, im, gain):
    """Write the logarithms of the bands' powers, times a gain, to the features; returns the mean of the powers."""
    first = carray(as_pointer(s.first), (MELS,), np.int32)
    counts = carray(as_pointer(s.counts), (MELS,), np.int32)
    features = work(s, FEATURES, MELS)
    at = s.shares
    mean = ZERO
    for band in range(MELS):
        shares = carray(as_pointer(at), (counts[band],), np.float32)
        power = ZERO
        for k in range(counts[band]):
            r, i = re[first[band] + k], im[first[band] + k]
            power += shares[k] * (r * r + i * i)
        at += 4 * counts[band]
        mean += power
        features[band] = fma(log2(gain * power + LEAST), LOG_SCALE, LOG_OFFSET)
    return mean * np.float32(1 / MELS)


@helper
def product(s, unit):
    """Compute TILE outputs of a product."""
    scales = s.floats + 4 * unit.floats
    bias = carray(as_pointer(scales + 4 * TILE), (TILE,), np.float32)
    outputs = work(s, unit.outputs, TILE)
    if unit.fresh:
        for j in range(TILE):
            outputs[j] = bias[j]
    else:
        for j in range(TILE):
            outputs[j] += bias[j]
    add_product(s.integers + 2 * unit.weights, scales, s.work + 4 * unit.inputs, s.work + 4 * unit.outputs, unit.count)


@helper
def depthwise(s, unit, hop):
    """Convolve every channel with its own past, then norm the frame, and let the speaker scale and shift it."""
    size = (KERNEL - 1) * unit.count + 1
    ring = carray(as_pointer(s.rings + 4 * unit.inputs), (size, CHANNELS), np.float32)
    taps = carray(as_pointer(s.floats + 4 * unit.weights), (KERNEL + 1, CHANNELS), np.float32)
    hidden, y = work(s, HIDDEN, CHANNELS), work(s, NORMED, CHANNELS)
    at = hop % size
    newest = ring[at]
    for c in range(CHANNELS):
        newest[c] = hidden[c]
    a, b = ring[(at + 1) % size], ring[(at + 1 + unit.count) % size]
    d, e = ring[(at + 1 + 2 * unit.count) % size], ring[(at + 1 + 3 * unit.count) % size]
    for c in range(CHANNELS):
        total = fma(taps[0, c], a[c], taps[5, c])
        total = fma(taps[2, c], d[c], fma(taps[1, c], b[c], total))
        y[c] = fma(taps[4, c], hidden[c], fma(taps[3, c], e[c], total))
    gain = ONE / np.sqrt(dot(y.ctypes.data, y.ctypes.data, CHANNELS) * MEAN + QUIET)
    if unit.outputs >= 0:
        scale, shift = work(s, unit.outputs, CHANNELS), work(s, unit.outputs + CHANNELS, CHANNELS)
        for c in range(CHANNELS):
            y[c] = fma(y[c] * gain, ONE + scale[c], shift[c])
    else:
        for c in range(CHANNELS):
            y[c] *= gain


@helper
def gate(s):
    """Multiply one half of the gates by the logistic function of the other."""
    a, b, out = work(s, GATES, CHANNELS), work(s, GATES + CHANNELS, CHANNELS), work(s, GATED, CHANNELS)
    for c in range(CHANNELS):
        out[c] = a[c] / (ONE + exp2(MINUS_LOG2_E * b[c]))


@helper
def speak(s):
    """Bend the embedded voice: x times the logistic function of x."""
    values = work(s, EMBEDDED, SPEAKER)
    for k in range(SPEAKER):
        values[k] /= ONE + exp2(MINUS_LOG2_E * values[k])


@helper
def tell_pitch(s, unit, pitch):
    """Add what the pitch of the frame to be drawn, in octaves, says to every channel."""
    rows = carray(as_pointer(s.floats + 4 * unit.weights), (2, CHANNELS), np.float32)
    hidden = work(s, HIDDEN, CHANNELS)
    for c in range(CHANNELS):
        hidden[c] += fma(pitch, rows[0, c], rows[1, c])
