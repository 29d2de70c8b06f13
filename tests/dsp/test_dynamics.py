"""What high-pass, gate, compressor, limiter and gain owe alike: the stage contract, on sound that makes all of them work."""

import numpy as np
import pytest
from autovoice.dsp.stage import load
from autovoice.rt import Chain, Event
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 48_000  # Hz
STAGES = {
    "gain": {"gain": -3.0},
    "highpass": {"slope": "24dB"},
    "gate": {"threshold": -30.0, "release": 20.0, "hold": 10.0},
    "compressor": {"threshold": -30.0},
    "limiter": {"ceiling": -12.0},
}


def _chain(*names):
    return Chain([{"stage": name, **STAGES[name]} for name in names])


def _voice(frames, rate=RATE, seed=0):
    """Return syllables of a buzzing tone over a floor of noise, shape (frames,)."""
    random = np.random.default_rng(seed)
    t = np.arange(frames) / rate
    buzz = sum(np.sin(2 * np.pi * 130 * k * t + k) / k for k in range(1, 12))
    syllables = 0.5 * np.clip(np.sin(2 * np.pi * 9 * t), 0, None)
    return (buzz * syllables + 0.003 * random.standard_normal(frames)).astype(np.float32)


def _moves(random, name, frames):
    """Every parameter sent to random places of its range, or to random choices, at random frames."""

    def place(p):
        value = random.uniform(p.minimum, p.maximum)
        return float(round(value) if p.scale in ("switch", "choice") else value)

    return [Event(int(random.integers(frames)), f"{name}/{p.name}", place(p)) for p in load(name).parameters for _ in range(3)]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block=st.integers(1, 700))
@pytest.mark.parametrize("name", STAGES)
def test_every_cutting_gives_the_same_bits_while_parameters_move(name, seed, block):
    random = np.random.default_rng(seed)
    x = np.stack([_voice(5000, seed=seed % 7), _voice(5000, seed=8)])
    events = _moves(random, name, 5000)
    expected = _chain(name).render(x, sample_rate=RATE, events=events)
    np.testing.assert_array_equal(_chain(name).render(x, sample_rate=RATE, events=events, block=block), expected)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("name", STAGES)
def test_extreme_input_and_wild_parameters_stay_finite(name, rate):
    random = np.random.default_rng(rate)
    n = np.arange(rate // 4)
    loud = np.stack([1024.0 * (-1.0) ** n, np.full(len(n), -1024.0), 1024 * (n % 997 == 0), 1e-38 * (-1.0) ** n])
    y = _chain(name).render(loud, sample_rate=rate, events=_moves(random, name, len(n)))
    assert np.all(np.isfinite(y))
    assert np.abs(y).max() < 1024 * 2 * 16  # 24 dB of gain at most, and a high-pass may double a square


@pytest.mark.parametrize("name", STAGES)
def test_silence_stays_silence_and_a_sound_dies_to_exact_silence(name):
    assert not np.any(_chain(name).render(np.zeros(RATE // 2), sample_rate=RATE))
    x = np.concatenate([_voice(RATE // 2), np.zeros(RATE)])
    assert not np.any(_chain(name).render(x, sample_rate=RATE)[-RATE // 4 :])


@pytest.mark.parametrize("name", ["gate", "compressor", "limiter"])
def test_the_stereo_image_stays_where_it_is(name):
    left = _voice(RATE)
    y = _chain(name).render(np.stack([left, left / 4, -left / 8]), sample_rate=RATE)
    assert not np.array_equal(y[0], left)
    np.testing.assert_allclose(y[1], y[0] / 4, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(y[2], -y[0] / 8, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["gate", "compressor", "limiter"])
def test_the_loudest_channel_drives_all(name):
    quiet, loud = _voice(RATE, seed=1) / 8, _voice(RATE, seed=2)
    alone = _chain(name).render(loud, sample_rate=RATE)
    np.testing.assert_array_equal(_chain(name).render(np.stack([quiet, loud]), sample_rate=RATE)[1], alone)


@pytest.mark.parametrize("name", STAGES)
def test_two_equal_channels_are_two_mono_voices(name):
    x = _voice(RATE // 2)
    mono = _chain(name).render(x, sample_rate=RATE)
    np.testing.assert_array_equal(_chain(name).render(np.stack([x, x]), sample_rate=RATE), np.stack([mono, mono]))


def test_a_move_of_any_parameter_makes_no_click():
    """A 90 Hz tone bends by 7e-5 of full scale per frame and frame; a step of the gain would show as a far sharper bend."""
    x = 0.5 * np.sin(2 * np.pi * 90 * np.arange(RATE) / RATE)
    for name in STAGES:
        for parameter in load(name).parameters:
            sent = (parameter.minimum + parameter.maximum) / 2
            sent = float(np.ceil(sent)) if parameter.scale in ("switch", "choice") else sent
            y = _chain(name).render(x, sample_rate=RATE, events=[Event(RATE // 2, f"{name}/{parameter.name}", sent)])
            jolt = np.abs(np.diff(y.astype(float), 2))
            assert jolt[RATE // 4 :].max() < 0.002, f"{name}/{parameter.name}"
