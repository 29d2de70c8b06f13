"""De-esser: judges by proportion, takes the highs down on a smooth shelf, and is not there for anything else."""

import numpy as np
import pytest
from autovoice.rt import Chain
from scipy import signal

RATE = 48_000  # Hz


def _deesser(**settings):
    return Chain([{"stage": "deesser", **settings}])


def _db(level):
    return 20 * np.log10(np.abs(level))


def _tone(hz, seconds=1.0, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return np.minimum(20 * t, 1) * np.sin(2 * np.pi * hz * t)


def _highpass_db(hz, frequency, rate=RATE):
    return 10 * np.log10(
        np.abs(signal.sosfreqz(signal.butter(2, frequency, "high", fs=rate, output="sos"), [hz], fs=rate)[1]) ** 2
    )


def _vowel(seconds=1.0):
    t = np.arange(round(seconds * RATE)) / RATE
    return np.minimum(20 * t, 1) * sum(np.sin(2 * np.pi * 140 * k * t + k * k) / k**1.5 for k in range(1, 60)) * 0.2


def _hiss(frames, seed=1):
    sos = signal.butter(4, [5000, 9000], "band", fs=RATE, output="sos")
    return signal.sosfilt(sos, np.random.default_rng(seed).standard_normal(frames)) * 0.2


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize(("ratio", "threshold"), [(2.0, -12.0), (5.0, -20.0), (20.0, -6.0)])
def test_what_exceeds_the_threshold_goes_down_by_the_ratio(ratio, threshold, rate):
    for hz in (4000, 7000, 11_000):
        x = 0.3 * _tone(hz, 0.5, rate)
        track = _deesser(ratio=ratio, threshold=threshold, range=24.0, release=30.0).analyse(x, sample_rate=rate)
        over = max(float(_highpass_db(hz, 5500, rate)[0]) - threshold, 0)
        assert track.deesser_db[-1] == pytest.approx(-over * (1 - 1 / ratio), abs=0.1)


@pytest.mark.parametrize("depth", [3.0, 12.0, 24.0])
def test_the_gain_is_a_shelf_without_a_bump(depth):
    """A tone at 9 kHz sets the gain g, weak ones measure it: |g s² + √g k s + 1| / |s² + k s + 1| in the warped frequency."""
    settings = {"threshold": -30.0, "ratio": 20.0, "range": depth, "attack": 20.0, "release": 500.0}
    hz = np.array([50, 300, 1000, 2000, 3000, 4000, 5500, 7500, 11_000, 15_000, 20_000])
    x = 0.5 * _tone(9000, 2.0) + 1e-3 * sum(_tone(f, 2.0) for f in hz)
    spectra = [
        np.abs(np.fft.rfft(v[RATE:] * np.hanning(RATE))[hz]) for v in (x, _deesser(**settings).render(x, sample_rate=RATE))
    ]
    s = 1j * np.tan(np.pi * hz / RATE) / np.tan(np.pi * 5500 / RATE)
    root, k = 10 ** (-depth / 40), np.sqrt(2)
    expected = np.abs((root * root * s * s + root * k * s + 1) / (s * s + k * s + 1))
    np.testing.assert_allclose(_db(spectra[1] / spectra[0]), _db(expected), atol=0.05)
    assert np.all(np.diff(expected) < 0)


@pytest.mark.parametrize("level_db", [-50.0, -30.0, 0.0])
def test_it_works_alike_at_any_loudness(level_db):
    x = np.concatenate([_vowel(), _hiss(RATE // 2), _vowel()])
    loud, quiet = (_deesser().render(x * g, sample_rate=RATE) / g for g in (1.0, 10 ** (level_db / 20)))
    np.testing.assert_allclose(quiet, loud, atol=2e-3)
    s = slice(RATE + 4800, RATE + RATE // 2)
    assert _db(np.std(loud[s]) / np.std(x[s])) < -3.5


def test_a_vowel_passes_bit_for_bit_without_delay():
    x = _vowel().astype(np.float32)
    chain = _deesser(release=5.0)
    assert chain.latency(RATE) == 0
    np.testing.assert_array_equal(chain.render(x, sample_rate=RATE)[RATE // 10 :], x[RATE // 10 :])


@pytest.mark.parametrize("settings", [{"ratio": 1.0}, {"range": 0.0}])
def test_ratio_1_or_range_0_pass_every_bit(settings):
    x = np.random.default_rng(5).uniform(-1, 1, (2, RATE // 4)).astype(np.float32)
    np.testing.assert_array_equal(_deesser(**settings).render(x, sample_rate=RATE), x)


def test_an_s_between_vowels_is_caught_within_10_ms_and_the_vowel_after_it_is_whole_after_200():
    vowel, hiss = _vowel(0.5), _hiss(RATE // 4)
    x = np.concatenate([vowel, hiss, vowel[RATE // 8 :]])
    track = _deesser().analyse(x, sample_rate=RATE)
    start, end = 0.5, 0.75
    assert np.all(track.deesser_db[(track.time_s > start - 0.2) & (track.time_s < start)] > -0.1)
    assert np.all(track.deesser_db[(track.time_s > start + 0.010) & (track.time_s < end)] < -4)
    assert np.all(track.deesser_db[track.time_s > end + 0.2] > -0.2)


def test_an_s_in_one_channel_turns_both_down_alike():
    hiss = _hiss(RATE)
    x = np.stack([hiss, 0.01 * _hiss(RATE, 2)])
    track = _deesser().analyse(x, sample_rate=RATE)
    y = _deesser().render(x, sample_rate=RATE)
    falls = _db(y[:, RATE // 2 :].std(axis=1) / x[:, RATE // 2 :].std(axis=1))
    assert track.deesser_db[-1] < -5
    assert falls[0] == pytest.approx(falls[1], abs=0.2)


def test_a_moving_frequency_stays_clean():
    from autovoice.rt import Event

    x = 0.25 * _tone(200)
    events = [Event(f, "deesser/frequency", (2000.0, 12_000.0)[k % 2]) for k, f in enumerate(range(4800, 40_000, 3501))]
    y = _deesser(release=5.0).render(x, sample_rate=RATE, events=events)
    np.testing.assert_array_equal(y[RATE // 10 :], x.astype(np.float32)[RATE // 10 :])
    hiss = _hiss(RATE)
    still, moved = (_deesser().render(hiss, sample_rate=RATE, events=e) for e in ((), events))
    assert np.abs(moved).max() < 1.2 * np.abs(hiss).max() and np.abs(still).max() < np.abs(hiss).max()
