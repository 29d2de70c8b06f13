"""Which peak of the correlation is the pitch, and is there any: a small network gives odds, a hidden Markov filter weighs them.

Each candidate of `autovoice.dsp.f0` is described by FEATURES numbers: how high it stands over the long and the short window,
what the correlation does at simple multiples and fractions of its lag (where a period repeats and what lies between does
not), what stood at its lag in earlier frames, and how the frame's level relates to the loudness and to the noise floor. A
network of one hidden layer turns them into the log-odds of "this is the pitch" against "there is no voice".

The forward recursion of a hidden Markov model (L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77(2), 1989,
equation 20) carries them along: its states are the candidates and "unvoiced", a leap of d octaves weighs 1 / (1 + (d/width)^2)
and a little more. So the outcome is a probability given all the sound up to now, and final at once. Network and transitions
were fitted together, to maximise the probability of the truth (`benchmarks/fit_f0.py`); the weights are data of the package.

Everything here is called on the audio thread, except `plan`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp import vector
from autovoice.dsp.f0 import CANDIDATES, FRAMES, GROUP, MAX_LAGS, QUIET
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2, log2
from safetensors.numpy import load_file

WEIGHTS_FILE = Path(__file__).parent / "weights" / "f0.safetensors"
FEATURES = 21
HIDDEN = vector.TILE  # units of the network
LOUDEST_OCTAVES, SOFTEST_OCTAVES = np.float32(12), np.float32(-8)  # of power; levels are clipped to these
MEMORY = 4  # frames looked back
TILT_S = np.float32(0.000125)  # lag at which, and at twice which, the correlation tells a dark sound from a bright one

ZERO, THIRD, HALF, ONE, TWO, THREE = (np.float32(v) for v in (0, 1 / 3, 0.5, 1, 2, 3))
ONE_AND_A_HALF, TWO_THIRDS = np.float32(1.5), np.float32(2 / 3)
DRIFT = np.float32(0.015)  # lag by which a peak may lie off its place, relative, from one frame to the next and per multiple

CHOICE = [
    ("hidden", "i8"),
    ("hidden_weight", "f4", (FEATURES, HIDDEN)),
    ("hidden_bias", "f4", (HIDDEN,)),
    ("output_weight", "f4", (HIDDEN,)),
    ("output_bias", "f4"),
    ("leap_width", "f4"),  # octaves
    ("leap_least", "f4"),  # weight of any leap
    ("onset", "f4"),  # weight of unvoiced to voiced, for each candidate
    ("ending", "f4"),  # probability of voiced to unvoiced
    ("activation", "f4", (HIDDEN,)),  # scratch
    ("linear_lag", "f4", (CANDIDATES,)),  # scratch, analysis samples
    ("feature", "f4", (CANDIDATES, FEATURES)),  # of the latest frame
    ("voices", "i8"),  # candidates of the latest frame
    ("voice_lag", "f4", (CANDIDATES,)),  # log2
    ("probability", "f4", (CANDIDATES,)),  # of each to be the pitch, given all until now
    ("new_probability", "f4", (CANDIDATES,)),  # scratch
]


def plan(state: Any) -> None:
    """Put the weights in place and start unvoiced. Control thread only."""
    for name, values in load_file(WEIGHTS_FILE).items():
        state[name] = values
    state["hidden"] = HIDDEN


@helper
def choose(s: Any, frame: Any) -> None:
    """Update `voice_lag` and `probability` of `voices` candidates with a complete frame; what is left to 1 is unvoiced."""
    slot = frame & (FRAMES - 1)
    count = s.candidates[slot]
    unvoiced = ONE
    for i in range(s.voices):
        unvoiced -= s.probability[i]
    unvoiced = max(unvoiced, ZERO)
    _describe(s, frame, count)
    highest = ZERO
    for j in range(count):
        s.new_probability[j] = _log_odds(s, s.feature[j])
        highest = max(highest, s.new_probability[j])
    total = unvoiced * (ONE - s.onset) + (ONE - unvoiced) * s.ending
    total *= exp2(-highest)
    for j in range(count):
        arriving = ZERO
        for i in range(s.voices):
            leap = (s.voice_lag[i] - s.lag[slot, j]) / s.leap_width
            arriving += s.probability[i] * (ONE / (ONE + leap * leap) + s.leap_least)
        arriving = (ONE - s.ending) * arriving + unvoiced * s.onset
        s.new_probability[j] = arriving * exp2(s.new_probability[j] - highest)
        total += s.new_probability[j]
    for j in range(count):
        s.probability[j], s.voice_lag[j] = s.new_probability[j] / total, s.lag[slot, j]
    s.voices = count


@helper
def _log_odds(s: Any, feature: Any) -> Any:
    """Return the network's output: log2 of the odds of a candidate against no voice."""
    activation = s.activation
    for h in range(s.hidden):
        activation[h] = s.hidden_bias[h]
    vector.accumulate(s.hidden_weight.ctypes.data, feature.ctypes.data, activation.ctypes.data, FEATURES)
    for h in range(s.hidden):
        activation[h] = max(activation[h], ZERO)
    return s.output_bias + vector.dot(activation.ctypes.data, s.output_weight.ctypes.data, s.hidden)


@helper
def _highest_near(values: Any, lag: Any, tolerance: Any, limit: Any) -> Any:
    """Return the highest correlation within a tolerance of a lag, all in analysis samples; `values` is the address of lag 0."""
    first, last = max(int(lag - tolerance + HALF), 1), min(int(lag + tolerance + HALF), limit)
    return vector.highest(values + 4 * first, last + 1 - first, -ONE)


@helper
def _between(values: Any, lag: Any) -> Any:
    """Return the correlation at a lag that need not be whole, on a straight line between its neighbours."""
    k = int(lag)
    return values[k] + (lag - np.float32(k)) * (values[k + 1] - values[k])


@helper
def _row_of(values: Any, frame: Any) -> Any:
    """Return the address of a frame's correlation."""
    return values.ctypes.data + 4 * MAX_LAGS * (frame & (FRAMES - 1))


@helper
def _describe(s: Any, frame: Any, count: Any) -> None:
    """Fill the features of a frame's candidates."""
    slot = frame & (FRAMES - 1)
    long, short = _row_of(s.long, frame), _row_of(s.short, frame)
    limit = s.groups * GROUP - 1
    power = s.frame_power[slot] + QUIET
    over_loudness = _clip(log2(power / (s.loudness + QUIET)))
    over_floor = _clip(log2(power) - s.noise_floor)
    rise = _clip(log2(power / (s.frame_power[(frame - 1) & (FRAMES - 1)] + QUIET)))
    dark, darker = _between(s.long[slot], TILT_S * s.rate), _between(s.long[slot], TWO * TILT_S * s.rate)
    for j in range(count):
        s.linear_lag[j] = exp2(s.lag[slot, j])
    for j in range(count):
        f, lag = s.feature[j], s.linear_lag[j]
        wide = ONE + DRIFT * lag
        f[0] = s.height[slot, j]
        f[1] = _highest_near(short, lag, ONE, limit)
        f[2] = s.lag[slot, j] - s.reference_lag
        f[3] = _highest_near(long, TWO * lag, wide, limit) if TWO * lag < limit - 2 else f[0]
        f[4] = _highest_near(long, HALF * lag, ONE, limit)
        f[5] = _highest_near(long, ONE_AND_A_HALF * lag, wide, limit) if ONE_AND_A_HALF * lag < limit - 2 else f[4]
        f[6] = _highest_near(long, TWO_THIRDS * lag, ONE, limit)
        f[7] = _highest_near(long, THREE * lag, wide + wide, limit) if THREE * lag < limit - 2 else f[3]
        f[8] = _highest_near(short, HALF * lag, ONE, limit)
        f[9] = s.valley[slot, j]
        f[10] = f[11] = ZERO  # highest rival of a shorter lag, and of any
        for i in range(count):
            if i != j:
                f[11] = max(f[11], s.height[slot, i])
                if s.linear_lag[i] < lag:
                    f[10] = max(f[10], s.height[slot, i])
        f[12] = _highest_near(_row_of(s.long, frame - 2), lag, ONE + TWO * DRIFT * lag, limit)
        f[13] = _highest_near(_row_of(s.long, frame - MEMORY), lag, ONE + THREE * DRIFT * lag, limit)
        f[14] = _highest_near(_row_of(s.short, frame - 1), lag, wide, limit)
        f[15], f[16] = dark, darker
        f[17], f[18], f[19] = over_loudness, over_floor, rise
        f[20] = np.float32(count)


@helper
def _clip(octaves: Any) -> Any:
    return min(max(octaves, SOFTEST_OCTAVES), LOUDEST_OCTAVES)
