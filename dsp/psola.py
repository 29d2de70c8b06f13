"""Pitch-synchronous overlap-add, part by part: the pitch-mark tracker and the grain renderer of the `shift` stage.

Marks are a comb: one mark and the local period, corrected once per period, so a mark that is not there yet is predicted.
Positions are absolute frames of the stage's input, as float64. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT

POINTS = 64  # samples per period that the tracker looks at
LAGS = 8  # searched on either side of the predicted mark, each a 64th of a period: +-12.5 %
WINDOW_AHEAD = 0.35  # part of the tracker's one-period window that lies after the mark
TRUST_CORRELATION = np.float32(0.5)  # below it the waveform is not periodic enough to correct the comb
LAG_PENALTY = np.float32(0.004)  # of the correlation, per lag: a tie goes to the predicted mark
PERIOD_SHARE = 0.6  # of a period's prediction error that corrects the period ...
DRIFT_SHARE = 0.2  # ... and the drift
DRIFT_MAX = 0.04  # of a period, per period
HISTORY = 16  # marks remembered
AHEAD_PERIODS = 2.0  # the drift is trusted so far into the future
CENTRE_PULL = 0.1  # share of the way to the energy centre that a mark is moved per period ...
CENTRE_PULL_MAX = 0.004  # ... but no more than this part of a period, 7 cents

TAPS = 8  # of the interpolator
PHASES = 128  # per frame that a grain can be placed at: an error of 1/256 frame is -66 dB at 8 kHz
AHEAD = TAPS // 2  # frames after its position that the interpolator needs


def _interpolator() -> np.ndarray:
    """Windowed-sinc (Kaiser, beta 5) fractional delays, one row per phase; row 0 is exactly the sample itself."""
    x = np.arange(TAPS) - (AHEAD - 1) - np.arange(PHASES)[:, None] / PHASES
    window = np.i0(5 * np.sqrt(np.maximum(0, 1 - (x / AHEAD) ** 2))) / np.i0(5)
    table = np.sinc(x) * window
    table /= table.sum(axis=1, keepdims=True)
    table[0] = np.arange(TAPS) == AHEAD - 1
    return table.astype(np.float32)


FRACTIONS = _interpolator()
COS = np.cos(2 * np.pi * np.arange(POINTS) / POINTS).astype(np.float32)
SIN = np.sin(2 * np.pi * np.arange(POINTS) / POINTS).astype(np.float32)
RAMP = np.arange(SEGMENT, dtype=np.float32)


@helper
def rise(v):
    """Return the smoothstep of v clamped to 0..1: within 0.01 of a Hann slope, and rise(v) + rise(1 - v) == 1."""
    v = min(max(v, np.float32(0)), np.float32(1))
    return v * v * (np.float32(3) - np.float32(2) * v)


@helper
def energy_centre(t, band, mask, start, period):
    """Find where in the period after `start` the energy gathers: the angle of its first circular moment.

    Returns that place in 0..1 of a period, to a 64th, and how strongly the energy gathers, 0..1.
    """
    re = np.float32(0)
    im = np.float32(0)
    total = np.float32(1e-20)
    for i in range(POINTS):
        value = band[(np.int64(start + period * (i / POINTS))) & mask]
        energy = value * value
        re += energy * COS[i]
        im += energy * SIN[i]
        total += energy
    best = 0
    most = np.float32(-1)
    for i in range(POINTS):
        along = re * COS[i] + im * SIN[i]
        if along > most:
            most = along
            best = i
    return best / POINTS, most / total


@helper
def start_comb(t, band, mask, frame, period):
    """Set the comb on the energy centre of a period old enough that the next mark can be checked at once."""
    start = frame - (2.0 + WINDOW_AHEAD + (LAGS + 1) / POINTS) * period
    where, _ = energy_centre(t, band, mask, start, period)
    t.mark = start + where * period
    t.period = period
    t.drift = 0.0
    for i in range(HISTORY):
        t.marks[i] = t.mark - (HISTORY - 1 - i) * period
    t.newest_mark = HISTORY - 1
    t.correlation = np.float32(0)


@helper
def comb_due(t):
    """Return the absolute frame at which all input for the next correction of the comb is there."""
    return np.int64(np.ceil(t.mark + t.period * (1.0 + WINDOW_AHEAD + (LAGS + 1) / POINTS))) + LAGS + 2


@helper
def advance_comb(t, band, mask):
    """Move the comb on by one period to where the waveform correlates best with the last one.

    Normalised cross-correlation of one period around the old and the new mark, parabola through its peak; then a small
    pull towards the energy centre, which keeps the marks from drifting off the glottal pulses.
    """
    old = np.int64(np.floor(t.mark + 0.5))
    expected = t.period + t.drift
    new = np.int64(np.floor(t.mark + expected + 0.5))
    step = max(np.int64(1), np.int64(t.period / POINTS + 0.5))
    points = min(np.int64(t.period / step), np.int64(POINTS + POINTS // 2))
    before = np.int64((1.0 - WINDOW_AHEAD) * points) * step
    reference, target, scores = t.reference, t.target, t.scores
    for i in range(points):
        reference[i] = band[(old - before + i * step) & mask]
    for i in range(points + 2 * LAGS):
        target[i] = band[(new - before + (i - LAGS) * step) & mask]

    for lag in range(2 * LAGS + 1):
        scores[lag] = np.float32(0)
    energy = np.float32(1e-12)
    own = np.float32(1e-12)
    for i in range(points):
        value = reference[i]
        own += value * value
        energy += target[i] * target[i]
        for lag in range(2 * LAGS + 1):
            scores[lag] += value * target[i + lag]
    best = np.int64(0)
    for lag in range(2 * LAGS + 1):
        scores[lag] *= (np.float32(1) - LAG_PENALTY * np.float32(abs(lag - LAGS))) / np.sqrt(own * max(energy, np.float32(1e-12)))
        energy += target[lag + points] * target[lag + points] - target[lag] * target[lag] if lag < 2 * LAGS else np.float32(0)
        if scores[lag] > scores[best]:
            best = lag
    t.correlation = scores[best]

    measured = expected
    if t.correlation > TRUST_CORRELATION and 0 < best < 2 * LAGS:
        left, middle, right = scores[best - 1], scores[best], scores[best + 1]
        bend = left - np.float32(2) * middle + right
        offset = np.float32(0.5) * (left - right) / bend if bend < np.float32(-1e-9) else np.float32(0)
        measured = np.float64(new - old) + (np.float64(best - LAGS) + np.float64(offset)) * np.float64(step)
    t.mark += measured
    t.period = expected + PERIOD_SHARE * (measured - expected)
    t.drift += DRIFT_SHARE * (measured - expected)
    t.drift = min(max(t.drift, -DRIFT_MAX * t.period), DRIFT_MAX * t.period)

    start = t.mark - (1.0 - WINDOW_AHEAD) * t.period
    where, strength = energy_centre(t, band, mask, start, t.period)
    if strength > np.float32(0.1):
        off = where - (1.0 - WINDOW_AHEAD)
        off -= np.floor(off + 0.5)
        t.mark += min(max(CENTRE_PULL * off, -CENTRE_PULL_MAX), CENTRE_PULL_MAX) * t.period
    t.newest_mark = (t.newest_mark + 1) % HISTORY
    t.marks[t.newest_mark] = t.mark


@helper
def mark_near(t, frame):
    """Return the mark nearest to `frame`: a past one, or one predicted from the newest."""
    mark = t.mark
    period = t.period + t.drift
    if frame >= mark:
        while frame - mark > 0.5 * period and frame - mark < 8.0 * t.period:
            mark += period
            period += t.drift
        return mark
    k = t.newest_mark
    for _ in range(HISTORY - 1):
        before = t.marks[(k + HISTORY - 1) % HISTORY]
        if frame >= 0.5 * (mark + before):
            break
        mark = before
        k = (k + HISTORY - 1) % HISTORY
    return mark


@helper
def period_near(t, frame):
    """Return the period at `frame`: between past marks, or predicted."""
    if frame >= t.mark:
        return t.period + t.drift * min(np.float64(AHEAD_PERIODS), (frame - t.mark) / t.period)
    mark = t.mark
    k = t.newest_mark
    for _ in range(HISTORY - 1):
        k = (k + HISTORY - 1) % HISTORY
        before = t.marks[k]
        if frame >= before:
            break
        mark = before
    return mark - before


@helper
def add_half_grain(total, ring, mask, first, last, origin, t, g, slope):
    """Add frames first..last of one side of a grain to `total`, whose element 0 is output position `origin`.

    The grain's middle stands at output position `centre` and shows the input at `source`; `speed` is the input frames read
    per frame (the formant ratio); the window falls to 0 at `slope` frames from the middle.
    """
    into = total[first - origin : last - origin]
    frames = last - first
    centre, speed = t.centre[g], t.speed[g]
    source, turn, onset = t.source_to[g], t.source_from[g] - t.source_to[g], t.steer_from[g]
    turn /= centre - onset
    whole = np.int64(np.floor(centre))
    part = np.float32(centre - np.float64(whole))
    begin = np.float32(first - whole)  # whole numbers stay exact, so that the window is the same for every cutting
    inverse = np.float32(1.0 / slope)
    if speed == 1.0 and (turn == 0.0 or first >= centre):
        at = np.int64(np.floor((source - centre) * PHASES + 0.5))
        taps = FRACTIONS[at & (PHASES - 1)]
        base = (first + (at >> 7) - (AHEAD - 1)) & mask
        x = ring[base : base + frames + TAPS]
        t0, t1, t2, t3, t4, t5, t6, t7 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7]
        for i in range(frames):
            value = (t0 * x[i] + t1 * x[i + 1] + t2 * x[i + 2] + t3 * x[i + 3]) + (
                t4 * x[i + 4] + t5 * x[i + 5] + t6 * x[i + 6] + t7 * x[i + 7]
            )
            into[i] += rise(np.float32(1) - abs(begin + RAMP[i] - part) * inverse) * value
        return
    for i in range(frames):
        to_centre = np.float64(first + i) - centre
        at = np.int64(np.floor((source + to_centre * speed - min(to_centre, 0.0) * turn) * PHASES + 0.5))
        taps = FRACTIONS[at & (PHASES - 1)]
        base = ((at >> 7) - (AHEAD - 1)) & mask
        x = ring[base : base + TAPS]
        value = np.float32(0)
        for k in range(TAPS):
            value += taps[k] * x[k]
        into[i] += rise(np.float32(1) - abs(begin + RAMP[i] - part) * inverse) * value
