"""Compressor: the static curve, the time constants and the knee of the paper it follows."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event

RATE = 48_000  # Hz
SEGMENT = 64  # frames: the grid of the bus


def _compressor(**settings):
    return Chain([{"stage": "compressor", **settings}])


def _curve(level_db, threshold, ratio, knee):
    """Return the output level of Giannoulis, Massberg & Reiss 2012, eq. 4, as printed."""
    over = np.asarray(level_db, float) - threshold
    bent = level_db + (1 / ratio - 1) * (over + knee / 2) ** 2 / (2 * max(knee, 1e-9))
    return np.where(2 * over < -knee, level_db, np.where(2 * over > knee, threshold + over / ratio, bent))


def _db(level):
    return 20 * np.log10(np.abs(level))


@pytest.mark.parametrize("rate", [44_100, 192_000])
@pytest.mark.parametrize("knee", [0.0, 6.0, 24.0])
@pytest.mark.parametrize("ratio", [1.0, 3.0, 20.0])
def test_the_static_curve_is_the_papers(ratio, knee, rate):
    level_db = np.linspace(-60, 0, rate)  # so slow a rise that the detector follows it
    settings = {"threshold": -30.0, "ratio": ratio, "knee": knee, "attack": 0.1, "release": 2000.0}
    y = _compressor(**settings).render(10 ** (level_db / 20), sample_rate=rate)
    np.testing.assert_allclose(_db(y), _curve(level_db, -30, ratio, knee), atol=0.02)


@pytest.mark.parametrize("level_db", [-40.0, -20.0, -10.0, 0.0])
@pytest.mark.parametrize("hz", [100, 1000])
def test_a_steady_tone_comes_out_on_the_curve_within_a_tenth_of_a_db(level_db, hz):
    x = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE)
    y = _compressor(threshold=-24.0, ratio=4.0, knee=6.0, attack=5.0, release=2000.0).render(x, sample_rate=RATE)
    assert _db(np.abs(y[RATE:]).max()) == pytest.approx(_curve(level_db, -24, 4, 6), abs=0.1)


@pytest.mark.parametrize("attack", [0.5, 5.0, 100.0])
def test_the_attack_reaches_63_percent_after_its_time_constant(attack):
    x = np.concatenate([np.full(RATE // 10, 0.001), np.full(RATE, 1.0)]).astype(np.float32)
    y = _compressor(threshold=-20.0, ratio=4.0, knee=0.0, attack=attack).render(x, sample_rate=RATE)
    reduction = -_db(y / x)[RATE // 10 :]
    assert reduction[-1] == pytest.approx(15, abs=0.01)
    reached = np.flatnonzero(reduction >= 15 * (1 - np.exp(-1)))[0] + 1
    assert reached == pytest.approx(attack * RATE / 1000, rel=0.01, abs=1)


@pytest.mark.parametrize("release", [20.0, 100.0, 1000.0])
def test_the_release_falls_to_37_percent_after_its_time_constant(release):
    x = np.concatenate([np.full(RATE // 2, 1.0), np.full(2 * RATE, 0.001)]).astype(np.float32)
    y = _compressor(threshold=-20.0, ratio=4.0, knee=0.0, attack=0.1, release=release).render(x, sample_rate=RATE)
    reduction = -_db(y / x)[RATE // 2 :]
    left = np.flatnonzero(reduction <= 15 * np.exp(-1))[0] + 1
    assert left == pytest.approx((release + 0.1) * RATE / 1000, rel=0.01)


def test_the_smoothed_reduction_is_the_papers_recursion():
    """Equation 17 of the paper, one frame at a time, on a voice-like tone."""
    t = np.arange(RATE // 2) / RATE
    x = (np.sin(2 * np.pi * 110 * t) * np.clip(np.sin(2 * np.pi * 5 * t), 0, None)).astype(np.float32) + np.float32(1e-4)
    y = _compressor(threshold=-30.0, ratio=5.0, knee=10.0, attack=3.0, release=60.0).render(x, sample_rate=RATE)
    need = _db(x) - _curve(_db(x), -30, 5, 10)
    attack, release = (np.exp(-1000 / (ms * RATE)) for ms in (3, 60))
    held = smooth = 0.0
    expected = np.empty(len(x))
    for n, now in enumerate(need):
        held = max(now, release * held + (1 - release) * now)
        smooth = attack * smooth + (1 - attack) * held
        expected[n] = smooth
    np.testing.assert_allclose(-_db(y / x), expected, atol=0.002)


def test_the_knee_has_neither_step_nor_corner():
    level_db = np.linspace(-40, -20, 2 * RATE)
    y = _compressor(threshold=-30.0, ratio=8.0, knee=10.0, attack=0.1).render(10 ** (level_db / 20), sample_rate=RATE)
    grain = RATE // 20  # half a dB, far above the rounding of float32
    slope = np.diff(_db(y)[::grain]) / np.diff(level_db[::grain])
    assert np.all(slope < 1.002) and np.all(slope > 1 / 8 - 0.002)
    assert np.abs(np.diff(slope)).max() < 1.2 * (1 - 1 / 8) / 20  # the slope changes evenly over the 20 steps of the knee


def test_ratio_1_passes_every_bit():
    x = np.random.default_rng(5).uniform(-1, 1, (2, RATE // 4)).astype(np.float32)
    np.testing.assert_array_equal(_compressor(ratio=1.0, threshold=-60.0).render(x, sample_rate=RATE), x)


@pytest.mark.parametrize("makeup", [-12.0, 0.0, 24.0])
def test_makeup_is_added_after_compression(makeup):
    x = np.full(RATE // 10, 0.001, np.float32)
    y = _compressor(makeup=makeup).render(x, sample_rate=RATE)
    np.testing.assert_allclose(_db(y), -60 + makeup, atol=1e-4)


def test_the_bus_shows_the_reduction_without_makeup():
    x = np.full(RATE, 1.0, np.float32)
    track = _compressor(threshold=-20.0, ratio=4.0, knee=0.0, makeup=9.0).analyse(x, sample_rate=RATE)
    assert track.compressor_db[-1] == pytest.approx(-15, abs=0.01)


@pytest.mark.parametrize("rate", [44_100, 192_000])
def test_the_side_chain_hears_through_a_butterworth_high_pass(rate):
    t = np.arange(rate) / rate
    settings = {"threshold": -40.0, "ratio": 4.0, "knee": 0.0, "attack": 0.1, "release": 2000.0, "sidechain": 200.0}
    for hz in (50, 200, 800):
        x = 0.5 * np.minimum(2 * t, 1) * np.sin(2 * np.pi * hz * t)  # no start that rings
        track = _compressor(**settings).analyse(x, sample_rate=rate)
        heard_db = _db(0.5) - 10 * np.log10(1 + (200 / hz) ** 4)
        assert track.compressor_db[-1] == pytest.approx(-0.75 * max(heard_db + 40, 0), abs=0.1)


def test_the_sound_does_not_pass_the_side_chain():
    x = np.random.default_rng(8).uniform(-1, 1, (2, RATE // 4)).astype(np.float32)
    np.testing.assert_array_equal(_compressor(ratio=1.0, sidechain=500.0).render(x, sample_rate=RATE), x)


def test_a_side_chain_that_opens_and_closes_comes_back_to_hearing_everything():
    x = (0.5 * np.sin(2 * np.pi * 60 * np.arange(RATE) / RATE)).astype(np.float32)
    events = [Event(8000, "compressor/sidechain", 500.0), Event(20_000, "compressor/sidechain", 0.0)]
    chain = _compressor(threshold=-40.0, release=20.0)
    moved, plain = (chain.render(x, sample_rate=RATE, events=e) for e in (events, ()))
    assert np.abs(moved[15_000:20_000]).max() > 2 * np.abs(plain[15_000:20_000]).max()
    np.testing.assert_allclose(moved[-8000:], plain[-8000:], atol=1e-5)
