"""Reverb: RT60 by frequency as set, a tail as dense and as smooth as noise, two sides that differ, an end."""

import math

import numpy as np
import pytest
from autovoice.dsp import network
from autovoice.rt import Chain
from scipy import signal

RATE = 48_000  # Hz


def _reverb(**settings):
    return Chain([{"stage": "reverb", **settings}])


def _response(rate=RATE, seconds=3.0, channels=2, **settings):
    x = np.zeros(round(rate * seconds), np.float32)
    x[0] = 1
    chain = _reverb(**{"mix": 1.0, "predelay": 0.0, **settings})
    return chain.render(x, sample_rate=rate, channels=channels).astype(float)


def _rt60(h, rate, hz):
    """Return the RT60 of an octave from -5 to -35 dB of M. Schroeder's backward integral, mean of both sides."""
    sos = signal.butter(4, [hz / 2**0.5, hz * 2**0.5], "band", fs=rate, output="sos")
    energy = np.cumsum(np.sum(signal.sosfiltfilt(sos, h) ** 2, axis=0)[::-1])[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-30)
    first, last = np.argmax(level_db < -5), np.argmax(level_db < -35)
    return -60 / (np.polyfit(np.arange(first, last), level_db[first:last], 1)[0] * rate)


def _echo_density(h, rate):
    """Return (seconds, normalised echo density in windows of 20 ms) by J. Abel & P. Huang, AES 121, 2006; 1 = noise."""
    width = round(0.02 * rate)
    w = np.hanning(width + 2)[1:-1]
    w /= w.sum()
    centres = np.arange(width // 2, len(h) - width // 2, rate // 200)
    parts = np.stack([h[c - width // 2 : c - width // 2 + width] for c in centres])
    outside = np.abs(parts) > np.sqrt(parts**2 @ w)[:, None]
    return centres / rate, outside @ w / math.erfc(2**-0.5)


def _shelf_db(hz, edge_hz, gain_db, rate):
    """Return the level of a first-order high shelf with half its gain at the edge."""
    gain, t = 10 ** (gain_db / 20), np.tan(np.pi * np.array([hz, edge_hz]) / rate)
    s = 1j * t[0] / t[1]
    return 20 * np.log10(abs((gain * s + gain**0.5) / (s + gain**0.5)))


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("decay", [0.5, 1.5, 4.0])
def test_the_tail_decays_as_set_in_every_octave(decay, rate):
    h = _response(rate, 1.2 * decay + 0.2, decay=decay, high=1.0, motion=0.0, early=0.0)
    for hz in (250, 500, 1000, 2000, 4000, 8000):
        assert _rt60(h, rate, hz) == pytest.approx(decay, rel=0.08), hz


@pytest.mark.parametrize(("low", "high"), [(2.0, 0.3), (0.5, 0.7)])
def test_lows_and_highs_decay_by_jots_law(low, high):
    decay, seconds = 2.0, np.mean(network.prime_lengths(RATE, 1.0)) / RATE
    h = _response(RATE, 4.0, decay=decay, low=low, high=high, motion=0.0, early=0.0)
    for hz in (125, 500, 1000, 2000, 8000):
        per_s = -60 / decay
        fall_db = per_s * seconds + _shelf_db(hz, 4000, per_s * seconds * (1 / high - 1), RATE)
        fall_db += per_s * seconds * (1 / low - 1) - _shelf_db(hz, 250, per_s * seconds * (1 / low - 1), RATE)
        assert _rt60(h, RATE, hz) == pytest.approx(-60 * seconds / fall_db, rel=0.1), hz


@pytest.mark.parametrize(("size", "mixing_s"), [(0.4, 0.06), (1.0, 0.11), (2.0, 0.2)])
def test_echoes_soon_are_as_dense_as_noise_and_stay_so(size, mixing_s):
    for side in _response(size=size):
        time_s, density = _echo_density(side, RATE)
        assert time_s[np.argmax(density > 0.9)] < mixing_s
        late = density[(time_s > 0.25) & (time_s < 0.8)]
        assert late.mean() == pytest.approx(1, abs=0.04) and late.min() > 0.75


def _late_tail(h, decay):
    """Return 0.3..1.3 s of a response, its decay undone and its colour taken out in third octaves."""
    t = np.arange(len(h)) / RATE
    tail = (h * 10 ** (3 * t / decay))[round(0.3 * RATE) : round(1.3 * RATE)]
    power = np.abs(np.fft.rfft(tail * np.hanning(len(tail)))) ** 2
    return power[200:8000] / signal.convolve(power, np.ones(301) / 301, "same")[200:8000]


def test_the_tail_does_not_ring():
    """No line of its spectrum stands out, no delay repeats itself; Gaussian noise has 10 and 0.04."""
    for side in _response(decay=2.0, high=1.0, motion=1.0):
        lines = _late_tail(side, 2.0)
        assert lines.max() < 19
        repeats = np.abs(np.fft.rfft(lines - lines.mean())) / lines.sum()
        assert repeats[5:1200].max() < 0.1  # 0.6..150 ms


def test_there_is_no_slow_flutter():
    for side in _response(decay=3.0, high=1.0, motion=1.0):
        t = np.arange(len(side)) / RATE
        level = np.sqrt(signal.convolve((side * 10 ** (t * 3 / 3.0)) ** 2, np.hanning(2400) / 1200, "same"))[
            RATE // 2 : 2 * RATE
        ]
        assert level.std() / level.mean() < 0.12


def test_left_and_right_hear_different_tails_of_one_loudness_and_width_0_the_same():
    wide, narrow = _response(early=0.0), _response(width=0.0)
    assert abs(np.corrcoef(wide)[0, 1]) < 0.1
    assert 10 * np.log10(np.sum(wide[0] ** 2) / np.sum(wide[1] ** 2)) == pytest.approx(0, abs=0.5)
    np.testing.assert_array_equal(narrow[0], narrow[1])


@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_the_first_reflection_comes_after_the_predelay(rate):
    h = _response(rate, 0.5, predelay=50.0)
    first = [np.argmax(np.abs(side) > 1e-3) for side in h]
    np.testing.assert_allclose(first, [round(0.05 * rate) + round(s * rate) for s in (0.0053, 0.0067)], atol=1)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_the_tail_ends_in_exact_silence(rate):
    noise = np.random.default_rng(1).uniform(-1, 1, rate // 10)
    y = _reverb(decay=0.6).render(np.pad(noise, (0, 3 * rate)), sample_rate=rate)
    assert np.abs(y[rate // 10 : rate // 4]).max() > 1e-3
    assert np.all(y[-rate // 10 :] == 0)


def test_mix_0_passes_every_bit_and_mono_stays_mono():
    x = np.random.default_rng(2).uniform(-1, 1, RATE // 2).astype(np.float32)
    np.testing.assert_array_equal(_reverb(mix=0.0).render(x, sample_rate=RATE), x)
    np.testing.assert_allclose(_response(channels=1, seconds=1.0), _response(seconds=1.0)[0], atol=1e-7)


def test_moving_every_decay_parameter_stays_smooth():
    from autovoice.rt import Event

    x = (0.25 * np.sin(2 * np.pi * 200 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    ends = {"decay": (0.3, 10.0), "low": (0.3, 3.0), "high": (0.1, 1.0), "motion": (0.0, 1.0), "high_edge": (1e3, 12e3)}
    events = [Event(20_000 + 3000 * k, f"reverb/{n}", v[k % 2]) for k, (n, v) in enumerate([*ends.items()] * 6)]
    y = _reverb(mix=1.0).render(x, sample_rate=RATE, events=events)[RATE // 2 :].astype(float)
    high = signal.sosfilt(signal.butter(8, 4000, "high", fs=RATE, output="sos"), y)[2000:]
    assert np.abs(y).max() < 2
    assert np.abs(high).max() < np.abs(y).max() * 10 ** (-50 / 20)
