"""The correlator against its formula, and the choice of the pitch against the same arithmetic in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.dsp import f0, f0_choice
from autovoice.dsp.native import call_stage
from autovoice.dsp.stage import BLOCK, SEGMENT, load
from autovoice.dsp.toolchain import numba
from numpy.typing import NDArray
from safetensors.numpy import load_file

Signal = NDArray[np.float32]

RATE = 16_000  # Hz


@numba.njit(error_model="numpy")
def correlate(s, x, centre):
    """Feed all samples and bring one frame to its end; returns whether it got there."""
    begun = False
    for n in range(x.size):
        if f0.push(s, x[n]):
            if not begun and centre + s.first <= s.row:
                f0.begin(s, 0)
                begun = True
            if begun and f0.advance(s, 0, centre):
                return True
            f0.next_row(s)
    return False


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_the_correlation_is_its_formula(rate):
    """Both windows, every lag: 2 sum(w x[n] x[n-k]) / sum(w (x[n]^2 + x[n-k]^2)) over rows about the centre plus half a lag."""
    random = np.random.default_rng(5)
    x = (0.1 * random.normal(size=4000)).astype(np.float32)
    state = np.zeros(1, np.dtype(f0.CORRELATOR, align=True)).view(np.recarray)
    f0.plan(state, rate)
    s, centre = state[0], 250
    assert correlate(s, x, centre)
    y = x.astype(np.float64)
    samples = np.arange((centre + s.first) * f0.ROW, (centre + s.first + s.rows) * f0.ROW)
    for window, result in ((long_window(s), s.long), (short_window(s), s.short)):
        for lag in (k for group in range(s.groups) for k in (group * f0.GROUP, group * f0.GROUP + 7)):
            weight = np.repeat(window[:, lag // f0.GROUP], f0.ROW)
            now, past = y[samples], y[samples - lag]
            background = weight.sum() * (f0.QUIET + f0.BACKGROUND * s.loudness)
            expected = 2 * (weight * now * past).sum() / ((weight * (now**2 + past**2)).sum() + background)
            assert result[0, lag] == pytest.approx(expected, abs=1e-3)


def long_window(s) -> Signal:
    """Return the weights of the long window where they are in use, shape (rows, groups)."""
    return np.where(inside(s, s.long_from, s.long_groups), s.weight[: s.rows, : s.groups], 0)


def short_window(s) -> Signal:
    """Return 1 in the short window and 0 outside, shape (rows, groups)."""
    return inside(s, s.short_from, s.short_groups).astype(np.float32)


def inside(s, first, count) -> NDArray[np.bool_]:
    """Return in which groups' stretches each row of a frame lies."""
    group, start = np.arange(s.groups), first[: s.rows, None]
    return (group >= start) & (group < start + count[: s.rows, None])


@pytest.mark.parametrize("rate", [8_000, 14_700, 16_000, 22_050, 23_250])
def test_a_stretch_lies_about_its_lag_and_within_the_lookahead(rate):
    """Both windows are symmetric about a row that moves half as fast as the lag, the long one tapered and the wider."""
    state = np.zeros(1, np.dtype(f0.CORRELATOR, align=True)).view(np.recarray)
    f0.plan(state, rate)
    s = state[0]
    long, short = long_window(s), short_window(s)
    assert s.first + s.rows - 1 <= f0.LOOKAHEAD_S * rate / f0.ROW
    assert s.rows / (0.005 * rate / f0.ROW) <= f0.FRAMES  # frames in progress at a time
    assert s.groups * f0.GROUP + f0.ROW <= f0.RING
    assert np.all(long[short > 0] > 0)
    for group in range(s.groups):
        rows = np.arange(s.first, s.first + s.rows) - group
        for window in (long[:, group], short[:, group]):
            assert (rows * window).sum() == pytest.approx(0, abs=1e-3)
            assert np.all(np.diff(np.flatnonzero(window)) == 1)
        assert long[:, group].max() == 1
        assert s.long_weight[group] == pytest.approx(long[:, group].sum())
        assert s.short_weight[group] == short[:, group].sum()


@numba.njit(error_model="numpy")
def decisions(stage, s, state, parameters, audio, block, b, sound, x, feature, lag, probability, count):
    """Run the stage and keep what it decided from and the outcome; returns the number of decisions."""
    last, t = -1, 0
    for k in range(sound.size // SEGMENT):
        x[0, :] = sound[k * SEGMENT : (k + 1) * SEGMENT]
        b[0].frame = k * SEGMENT
        call_stage(stage, state, parameters, audio, block)
        if b[0].post.f0_frame > last:
            last = b[0].post.f0_frame
            feature[t], lag[t], probability[t], count[t] = s[0].feature, s[0].voice_lag, s[0].probability, s[0].voices
            t += 1
    return t


def voice_in_noise() -> Signal:
    """Return a gliding pulse train that comes and goes in noise."""
    t = np.arange(48_000) / 48_000
    phase = np.cumsum(2 * np.pi * 130 * 2 ** np.sin(3 * t) / 48_000)
    pulses = sum(np.cos(k * phase) for k in range(1, 25)) * (np.sin(2 * np.pi * 2.5 * t) > -0.3)
    return (0.02 * (pulses + 1.5 * np.random.default_rng(3).normal(size=len(t)))).astype(np.float32)


def test_the_choice_is_the_forward_recursion_of_its_weights():
    """Network and recursion in float64 from the shipped weights give every candidate's probability within 1e-3."""
    stage, most = load("pitch"), 400
    s = np.zeros(1, stage.state).view(np.recarray)
    stage.prepare(s, 48_000, {})
    parameters = np.zeros(1, stage.parameter_block)
    for parameter in stage.parameters:
        parameters[parameter.name] = parameter.default
    b = np.zeros(1, BLOCK)
    b["frames"], b["channels"], b["sample_rate"] = SEGMENT, 1, 48_000
    b["post"]["f0_frame"] = -1
    x = np.zeros((1, SEGMENT), np.float32)
    shape = (most, f0.CANDIDATES)
    feature, lag, probability = np.zeros((*shape, f0_choice.FEATURES), np.float32), np.zeros(shape), np.zeros(shape)
    count = np.zeros(most, np.int64)
    pointers = (s.ctypes.data, parameters.ctypes.data, x.ctypes.data, b.ctypes.data)
    t = decisions(stage.address, s, *pointers, b, voice_in_noise(), x, feature, lag, probability, count)
    assert t > 190

    w = {name: values.squeeze() for name, values in load_file(f0_choice.WEIGHTS_FILE).items()}
    hidden = np.maximum(feature @ w["hidden_weight"].astype(np.float64) + w["hidden_bias"], 0)
    odds = 2 ** (hidden @ w["output_weight"] + w["output_bias"])
    voices, lags, unvoiced = np.zeros(0), np.zeros(0), 1.0
    voiced = np.zeros(t)
    for k in range(t):
        n = count[k]
        leap = (lags[:, None] - lag[k, None, :n]) / w["leap_width"]
        moved = (1 - w["ending"]) * (voices[:, None] * (1 / (1 + leap**2) + w["leap_least"])).sum(0) + unvoiced * w["onset"]
        quiet = unvoiced * (1 - w["onset"]) + (1 - unvoiced) * w["ending"]
        voices, lags = moved * odds[k, :n], lag[k, :n]
        total = voices.sum() + quiet
        voices, unvoiced = voices / total, quiet / total
        np.testing.assert_allclose(probability[k, :n], voices, atol=1e-3)
        voiced[k] = 1 - unvoiced
    assert voiced.min() < 0.1
    assert voiced.max() > 0.99
