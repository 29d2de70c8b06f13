"""Harmonics-to-noise ratio of a voice whose period is known: how much of the power repeats from period to period.

P. Boersma (Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio ..., IFA Proceedings 17,
1993, equation 4): with r the normalised correlation of the sound with itself a period later, r of the power is harmonic and
1 - r is noise, HNR = 10 log10(r / (1 - r)). Here r is the cross-correlation of two stretches a lag apart, PERIODS long, which
lie symmetrically about the moment that the pitch speaks of. The lag is the tracker's, refined on the sound itself by climbing
to the nearest maximum: a by-product is the period, measured on a shorter stretch than a tracker can afford. One lag is
correlated per call, so a measurement is spread over some segments. Compiled code only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import log2

RING = 8192  # samples kept, a power of 2: 170 ms at the highest rate
HIGHEST_RATE = 48_000.0  # Hz; at a higher rate the mean of neighbours is kept
PERIODS = np.float32(1.0)
SHORTEST_S, LONGEST_S = np.float32(0.01), np.float32(0.04)  # of a stretch
CLIMB = 8  # lags tried beyond the first three
MOST_DB = np.float32(60.0)  # reported; r = 1 - 1e-6 is what float32 can tell from 1

_ZERO, _HALF, _ONE, _QUARTER = (np.float32(v) for v in (0, 0.5, 1, 0.25))
_NOISE_FLOOR = np.float32(1e-6)
_QUIET = np.float32(1e-12)  # power of a stretch below which there is nothing to measure
_DB = np.float32(10 * np.log10(2))

HARMONICITY = [
    ("sound", "f4", (RING,)),
    ("group", "i8"),  # frames whose mean is one sample
    ("sum", "f4"),
    ("busy", "i8"),  # lags still allowed, 0 = idle
    ("middle", "i8"),  # sample the stretches lie about
    ("length", "i8"),  # of a stretch, samples
    ("lag", "i8"),  # the middle one of three
    ("next_lag", "i8"),  # to be correlated
    ("below", "f4"),  # correlation at lag - 1, lag, lag + 1; -2 = not known yet
    ("peak", "f4"),
    ("above", "f4"),
]
UNKNOWN = np.float32(-2.0)


def plan(state: Any, sample_rate: float) -> None:
    """Choose the rate that sound is kept at. Control thread only."""
    state["group"] = max(1, -(-int(sample_rate) // int(HIGHEST_RATE)))


@helper
def keep(s: Any, sample: Any, frame: Any) -> None:
    """Take one frame of sound, by its absolute number."""
    if s.group == 1:
        s.sound[frame & (RING - 1)] = sample
        return
    s.sum += sample
    if frame % s.group == s.group - 1:
        s.sound[(frame // s.group) & (RING - 1)] = s.sum / np.float32(s.group)
        s.sum = _ZERO


@helper
def stretch_s(period_s: Any) -> Any:
    """Return the length of a stretch for a period, both in seconds."""
    return min(max(PERIODS * period_s, SHORTEST_S), LONGEST_S)


@helper
def begin(s: Any, f0_hz: Any, frame: Any, sample_rate: Any) -> None:
    """Ask for a measurement about an absolute frame where the pitch is `f0_hz`."""
    rate = sample_rate / s.group
    period = rate / f0_hz
    s.middle = frame // s.group
    s.lag = np.int64(period + 0.5)
    s.next_lag = s.lag
    s.length = np.int64(stretch_s(1 / f0_hz) * rate)
    s.busy = CLIMB + 3
    s.below = s.peak = s.above = UNKNOWN


@helper
def advance(s: Any, newest: Any) -> Any:
    """Correlate one lag if its sound is there, `newest` being the latest frame; returns whether the peak is now known."""
    reach = (s.length + s.next_lag) // 2 + 1
    if s.busy == 0 or s.middle + reach >= newest // s.group:
        return False
    s.busy -= 1
    r = _correlation(s, s.next_lag)
    if s.next_lag < s.lag:
        s.below = r
    elif s.next_lag > s.lag:
        s.above = r
    else:
        s.peak = r
    if s.below == UNKNOWN:
        s.next_lag = s.lag - 1
    elif s.above == UNKNOWN:
        s.next_lag = s.lag + 1
    elif s.below > s.peak:
        s.above, s.peak, s.below = s.peak, s.below, UNKNOWN
        s.lag -= 1
        s.next_lag = s.lag - 1
    elif s.above > s.peak:
        s.below, s.peak, s.above = s.peak, s.above, UNKNOWN
        s.lag += 1
        s.next_lag = s.lag + 1
    else:
        s.busy = 0
        return True
    return False


@helper
def _top(s: Any) -> Any:
    """Return how far the top of the parabola through the three correlations lies above the middle lag, in samples."""
    curve = s.below - s.peak - s.peak + s.above
    return _HALF * (s.below - s.above) / curve if curve < _ZERO else _ZERO


@helper
def period(s: Any) -> Any:
    """Return the period in samples of the sound that is kept, after a measurement."""
    return np.float32(s.lag) + _top(s)


@helper
def repeating(s: Any) -> Any:
    """Return the share of the power that repeats, r at the top of the parabola, above 0 and below 1, after a measurement."""
    r = s.peak - _QUARTER * (s.below - s.above) * _top(s)
    return min(max(r, _NOISE_FLOOR), _ONE - _NOISE_FLOOR)


@helper
def hnr_db(s: Any) -> Any:
    """Return the ratio at the top of the parabola, in dB within -MOST_DB..MOST_DB, after a measurement."""
    r = repeating(s)
    return _DB * (log2(r) - log2(_ONE - r))


@helper
def _correlation(s: Any, lag: Any) -> Any:
    """Return the normalised cross-correlation of the two stretches; four sums side by side keep the adders busy."""
    early = s.middle - (s.length + lag) // 2
    a0 = a1 = b0 = b1 = c0 = c1 = _ZERO
    for k in range(0, s.length - 1, 2):
        x0, y0 = s.sound[(early + k) & (RING - 1)], s.sound[(early + k + lag) & (RING - 1)]
        x1, y1 = s.sound[(early + k + 1) & (RING - 1)], s.sound[(early + k + 1 + lag) & (RING - 1)]
        a0 += x0 * x0
        a1 += x1 * x1
        b0 += y0 * y0
        b1 += y1 * y1
        c0 += x0 * y0
        c1 += x1 * y1
    a, b = a0 + a1, b0 + b1
    if a < _QUIET or b < _QUIET:
        return _ZERO
    return (c0 + c1) / np.sqrt(a * b)
