"""From the network's envelopes to sound, one frame of two hops at a time: the steps that shape, excite, filter and overlap.

A frame of pulses and one of noise, each under a Hann window, are multiplied in the frequency domain by their minimum-phase
responses (see `autovoice.dsp.converter.features`) and added to the output where the frame lies. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from autovoice.dsp.carriers import noise_at, sin_turns
from autovoice.dsp.converter.features import HARMONIC, NOISE, TOP_HZ
from autovoice.dsp.converter.program import EXCITATIONS, OUTPUTS, OVERLAPS
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vector import TILE, accumulate

carray = numba.carray

LOWEST, HIGHEST = np.float32(-14.0), np.float32(2.0)  # natural logarithm of a magnitude, as the network draws it
LEAST, MOST = np.float32(-30.0), np.float32(4.0)  # and as it may be heard
STATE = np.dtype(
    [
        ("hop", "i8"),  # frames
        ("size", "i8"),  # of the transforms
        ("bins", "i8"),  # up to TOP_HZ
        ("window", "i8"),  # address of 2 hop float32
        ("phases", "i8", (2,)),  # of the harmonic and the noise part: float32 (tiles, bands, TILE), turns for each band
        ("lower", "i8", (2,)),  # int32 (bins,): the band at or below a bin
        ("share", "i8", (2,)),  # float32 (bins,): how far it is from there to the next
        ("centres", "i8"),  # float32 (OUTPUTS,): Hz of each band
        ("octaves", "i8"),  # float32 (OUTPUTS,): from 1 kHz, for tilt
        ("pulses", "i8"),  # in the stage's memory: 2 hop
        ("sums", "i8"),  # 2 (bins + TILE): real and imaginary parts
        ("out", "i8"),  # ring of 2 size
        ("turns", "f4", (TILE,)),
    ],
    align=True,
)

ZERO, HALF, QUARTER, ONE = np.float32(0), np.float32(0.5), np.float32(0.25), np.float32(1)
LOG2_E = np.float32(np.log2(np.e))
PER_MEL = np.float32(1 / np.log2(1 + TOP_HZ / 700.0))
PER_700 = np.float32(1 / 700.0)


@helper
def _row(address, count):
    return carray(as_pointer(address), (count,), np.float32)


@helper
def _warped(drawn, first, count, hz):
    """Return the value of an envelope of `count` bands at a frequency, drawn straight between bands."""
    place = min(log2(ONE + hz * PER_700) * PER_MEL, ONE) * np.float32(count - 1)
    low = min(np.int64(place), count - 2)
    share = place - np.float32(low)
    a = min(max(drawn[first + low], LOWEST), HIGHEST)
    b = min(max(drawn[first + low + 1], LOWEST), HIGHEST)
    return a + share * (b - a)


@helper
def shape(s, drawn, shaped, formant, level, harmonic, noise, tilt):
    """Bound the envelopes and change them: `formant` is a ratio, the rest natural logarithms, `tilt` for each octave."""
    centres, octaves = _row(s.centres, OUTPUTS), _row(s.octaves, OUTPUTS)
    for b in range(OUTPUTS):
        shaped[b] = min(max(drawn[b], LOWEST), HIGHEST)
    if formant != ONE:
        for b in range(HARMONIC):
            shaped[b] = _warped(drawn, 0, HARMONIC, centres[b] / formant)
        for b in range(NOISE):
            shaped[HARMONIC + b] = _warped(drawn, HARMONIC, NOISE, centres[HARMONIC + b] / formant)
    for b in range(OUTPUTS):
        added = level + tilt * octaves[b] + (harmonic if b < HARMONIC else noise)
        shaped[b] = min(max(shaped[b] + added, LEAST), MOST)


@helper
def part(count, parts, k):
    """Return the first and the end of part k of `count` things."""
    return count * k // parts, count * (k + 1) // parts


@helper
def half(s, frame):
    """View the hop of pulses numbered `frame`, of which the last two are kept."""
    return _row(s.pulses + 4 * s.hop * (frame & 1), s.hop)


@helper
def load(s, signal, frame, noisy):
    """Window the excitation of a frame, which begins a hop before its centre."""
    window = _row(s.window, 2 * s.hop)
    if noisy:
        start = (frame - 1) * s.hop
        for i in range(2 * s.hop):
            signal[i] = window[i] * noise_at(start + i)
    else:
        for k in range(2):
            pulses = half(s, frame - 1 + k)
            weights, target = _row(s.window + 4 * s.hop * k, s.hop), signal[s.hop * k : s.hop * (k + 1)]
            for i in range(s.hop):
                target[i] = weights[i] * pulses[i]
    for i in range(2 * s.hop, s.size):
        signal[i] = ZERO


@helper
def _cycle(turns):
    """Return an angle within -1/2..1/2 turns."""
    return turns - np.floor(turns + HALF)


@helper
def respond(s, shaped, re, im, which, tile):
    """Multiply TILE bins of the harmonic (0) or the noise part (1) by its response, and add them up."""
    bands = HARMONIC if which == 0 else NOISE
    offset = 0 if which == 0 else HARMONIC
    envelope = shaped[offset : offset + bands]
    turns = s.turns
    for k in range(TILE):
        turns[k] = ZERO
    accumulate(s.phases[which] + 4 * tile * bands * TILE, envelope.ctypes.data, turns.ctypes.data, bands)
    first = tile * TILE
    count = min(TILE, s.bins - first)
    lower = carray(as_pointer(s.lower[which] + 4 * first), (count,), np.int32)
    share = _row(s.share[which] + 4 * first, count)
    sum_re, sum_im = _sums(s)
    to_re, to_im = sum_re[first : first + count], sum_im[first : first + count]
    of_re, of_im = re[first : first + count], im[first : first + count]
    for k in range(count):
        low = envelope[lower[k]]
        magnitude = exp2(LOG2_E * (low + share[k] * (envelope[lower[k] + 1] - low)))
        a = magnitude * sin_turns(_cycle(turns[k] + QUARTER))
        b = magnitude * sin_turns(_cycle(turns[k]))
        real, imaginary = of_re[k] * a - of_im[k] * b, of_re[k] * b + of_im[k] * a
        if which == 0:
            to_re[k], to_im[k] = real, imaginary
        else:
            to_re[k] += real
            to_im[k] += imaginary


@helper
def _sums(s):
    return _row(s.sums, s.bins), _row(s.sums + 4 * (s.bins + TILE), s.bins)


@helper
def join(s, re, im):
    """Put the sum of both parts where the inverse transform takes it from."""
    sum_re, sum_im = _sums(s)
    for k in range(s.bins):
        re[k] = sum_re[k]
        im[k] = sum_im[k]
    for k in range(s.bins, s.size // 2 + 1):
        re[k] = ZERO
        im[k] = ZERO


@helper
def overlap(s, signal, frame, k):
    """Add a part of a frame's sound to what will be heard."""
    ring = _row(s.out, 2 * s.size)
    start = (frame - 1) * s.hop
    first, end = part(s.size, OVERLAPS, k)
    for i in range(first, end):
        ring[(start + i) & (2 * s.size - 1)] += signal[i]


@helper
def excitation(s, k):
    """Return the first and the end of a part of a hop of pulses."""
    return part(s.hop, EXCITATIONS, k)
