"""Find the pitch marks of a voice as it comes in: a comb one period apart, corrected once per period, predicted ahead.

`mark`, `period` and `drift` (the period's growth per period) follow the voice as an alpha-beta-gamma filter does; the measured
lag is the peak of the normalised cross-correlation between the last two periods. Marks are held on the energy centre of the
period (the angle of its first circular moment), so that a window around a mark holds the glottal pulse. Positions are absolute
frames as float64. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper

POINTS = 64  # samples of a period that the tracker looks at, about
MAX_POINTS = 96  # where a step of one frame would be too short and one of two too long
CENTRE_POINTS = 32  # samples of a period that its energy centre is found from
LAGS = 8  # searched on either side of the predicted mark, each a 64th of a period: +-12.5 %
WINDOW_AHEAD = 0.35  # part of the tracker's one-period window that lies after the mark
REACH = 1.0 + WINDOW_AHEAD + (LAGS + 3) / POINTS  # periods from a mark to the last input that the next one is measured by ...
MARGIN = LAGS + 2  # ... and frames more, for steps are whole frames
TRUST_CORRELATION = np.float32(0.5)  # below it the waveform is not periodic enough to correct the comb
LAG_PENALTY = np.float32(0.004)  # of the correlation, per lag: a tie goes to the predicted mark
PERIOD_SHARE = 0.7  # of a period's prediction error that corrects the period ...
DRIFT_SHARE = 0.2  # ... and the drift
DRIFT_MAX = 0.04  # of a period, per period
GATHERED = np.float32(0.1)  # an energy centre weaker than this, as a sine has, says nothing
SILENCE = 1e-12  # sum of squares of a period below which nothing correlates
CENTRE_PULL = 0.1  # share of the way to the energy centre that a mark is moved per period ...
CENTRE_PULL_MAX = 0.01  # ... but no more than this part of a period, 17 cents

COMB = [
    ("mark", "f8"),  # newest measured mark
    ("period", "f8"),  # frames
    ("shortest", "f8"),  # that it may become: at a lag near 0 anything correlates with itself
    ("longest", "f8"),
    ("rise", "i8"),  # frames, see `energy_centre`
    ("drift", "f8"),  # frames by which the period grows each period
    ("correlation", "f4"),  # of the newest two periods
    ("reference", "f4", (MAX_POINTS,)),
    ("target", "f4", (MAX_POINTS + 2 * LAGS + 8,)),
    ("scores", "f4", (2 * LAGS + 1,)),
]
"""What the comb adds to a stage's STATE."""

_ANGLES = 2 * np.pi * np.arange(CENTRE_POINTS) / CENTRE_POINTS
COS = np.cos(_ANGLES).astype(np.float32)
SIN = np.sin(_ANGLES).astype(np.float32)
A1, A3, A5, A7, A9 = (np.float32(c / (2 * np.pi)) for c in (0.9998660, -0.3302995, 0.1801410, -0.0851330, 0.0208351))


@helper
def turn_of(re, im):
    """Return the angle of a complex number as 0..1 of a turn, within 0.0001; float32."""
    a, b = abs(re), abs(im)
    low, high = min(a, b), max(a, b)
    v = low / max(high, np.float32(1e-30))
    # atan(v) / 2 pi on 0..1: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 4.4.47
    square = v * v
    turn = v * (A1 + square * (A3 + square * (A5 + square * (A7 + square * A9))))
    turn = np.float32(0.25) - turn if b > a else turn
    turn = np.float32(0.5) - turn if re < np.float32(0) else turn
    return np.float32(1) - turn if im < np.float32(0) else turn


@helper
def energy_centre(band, mask, start, period, rise):
    """Return where in the period after `start` the energy gathers, as 0..1 of the period, and how strongly, 0..1.

    It is the angle of the first circular moment of the band's energy, of what changes within `rise` frames: the ringing after a
    pulse, and not the slow wave between pulses that a deep voice has.
    """
    re = np.float32(0)
    im = np.float32(0)
    total = np.float32(1e-20)
    for i in range(CENTRE_POINTS):
        at = np.int64(start + period * (i / CENTRE_POINTS))
        value = band[at & mask] - band[(at - rise) & mask]
        energy = value * value
        re += energy * COS[i]
        im += energy * SIN[i]
        total += energy
    return np.float64(turn_of(re, im)), np.sqrt(re * re + im * im) / total


@helper
def start_comb(t, band, mask, earliest, frame, period):
    """Set the comb on an energy centre near frame `earliest`, or before it, so that the next mark can be checked at `frame`."""
    start = min(frame - (1.0 + REACH) * period - MARGIN, earliest)
    where, _ = energy_centre(band, mask, start, period, t.rise)
    t.mark = start + where * period
    t.period = period
    t.drift = 0.0
    t.correlation = np.float32(0)


@helper
def comb_due(t):
    """Return the absolute frame at which all input for the next correction of the comb is there."""
    return np.int64(np.ceil(t.mark + (t.period + t.drift) * REACH)) + MARGIN


@helper
def advance_comb(t, band, mask, free):
    """Move the comb on by one period, to where the waveform is most like that around the last mark.

    A small pull towards the energy centre keeps the marks from drifting off the glottal pulses; when `free`, they are put
    on it.
    """
    expected = t.period + t.drift
    measured = measured_period(t, band, mask, expected)
    t.mark += measured
    t.period = min(max(expected + PERIOD_SHARE * (measured - expected), t.shortest), t.longest)
    t.drift += DRIFT_SHARE * (measured - expected)
    t.drift = min(max(t.drift, -DRIFT_MAX * t.period), DRIFT_MAX * t.period)

    where, strength = energy_centre(band, mask, t.mark - (1.0 - WINDOW_AHEAD) * t.period, t.period, t.rise)
    if strength > GATHERED:
        off = where - (1.0 - WINDOW_AHEAD)
        off -= np.floor(off + 0.5)
        t.mark += (off if free else min(max(CENTRE_PULL * off, -CENTRE_PULL_MAX), CENTRE_PULL_MAX)) * t.period


@helper
def measured_period(t, band, mask, expected):
    """Return the lag of the highest normalised cross-correlation around `expected`, or `expected` where there is none.

    One period around the last mark is compared, at about 64 points; a parabola through the peak gives the fraction.
    """
    old = np.int64(np.floor(t.mark + 0.5))
    new = np.int64(np.floor(t.mark + expected + 0.5))
    step = max(np.int64(1), np.int64(t.period / POINTS + 0.5))
    points = min(np.int64(t.period / step), np.int64(MAX_POINTS))
    before = np.int64((1.0 - WINDOW_AHEAD) * points) * step
    reference, target, scores = t.reference, t.target, t.scores
    for i in range(points):
        reference[i] = band[(old - before + i * step) & mask]
    for i in range(points, MAX_POINTS):
        reference[i] = np.float32(0)
    for i in range(points + 2 * LAGS + 1):
        target[i] = band[(new - before + (i - LAGS) * step) & mask]

    own = np.float32(SILENCE)
    energy = np.float32(SILENCE)
    for i in range(points):
        own += reference[i] * reference[i]
        energy += target[i] * target[i]
    best = np.int64(0)
    for lag in range(2 * LAGS + 1):
        tie = np.float32(1) - LAG_PENALTY * np.float32(abs(lag - LAGS))
        scores[lag] = tie * product(reference, target, lag, points) / np.sqrt(own * max(energy, np.float32(SILENCE)))
        energy += target[lag + points] * target[lag + points] - target[lag] * target[lag]
        if scores[lag] > scores[best]:
            best = lag
    t.correlation = scores[best]
    if t.correlation < TRUST_CORRELATION or best == 0 or best == 2 * LAGS:
        return expected
    left, middle, right = scores[best - 1], scores[best], scores[best + 1]
    bend = left - np.float32(2) * middle + right
    fraction = np.float32(0.5) * (left - right) / bend if bend < np.float32(0) else np.float32(0)
    return np.float64(new - old) + (np.float64(best - LAGS) + np.float64(fraction)) * np.float64(step)


@helper
def product(a, b, lag, points):
    """Return the sum of a[i] * b[i + lag]; in eight partial sums of fixed order, which the compiler puts side by side."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
    for block in range((points + 7) // 8):
        i = 8 * block
        k = i + lag
        s0 += a[i] * b[k]
        s1 += a[i + 1] * b[k + 1]
        s2 += a[i + 2] * b[k + 2]
        s3 += a[i + 3] * b[k + 3]
        s4 += a[i + 4] * b[k + 4]
        s5 += a[i + 5] * b[k + 5]
        s6 += a[i + 6] * b[k + 6]
        s7 += a[i + 7] * b[k + 7]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
