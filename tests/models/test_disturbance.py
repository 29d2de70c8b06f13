"""What disturbs the examples of training: each piece does what it is named after, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import MELS

pytest.importorskip("scipy.fft")
from autovoice.models import disturbance

RATE = 24_000  # Hz
SEEDS = range(8)


@pytest.fixture(scope="module")
def tone() -> Any:
    """One second of a low voice's harmonics, RMS 0.1."""
    time_s = np.arange(RATE) / RATE
    made = np.sum([np.sin(2 * np.pi * 110 * k * time_s + k * k) / k for k in range(1, 100)], 0)
    return (0.1 * made / np.sqrt(np.mean(made**2))).astype(np.float32)


def level_db(sound: Any) -> float:
    return float(10 * np.log10(np.mean(np.asarray(sound, np.float64) ** 2)))


def share_above(sound: Any, hz: float) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(power[np.arange(len(power)) * RATE / len(sound) > hz].sum() / power.sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_room_answers_a_click_and_dies_away(seed: int) -> None:
    click = np.zeros(RATE, np.float32)
    click[1000] = 1.0
    heard = disturbance.in_room(click, RATE, np.random.default_rng(seed))
    assert np.abs(heard[:1000]).max() < 1e-5
    assert heard[1000] == pytest.approx(1.0, abs=0.01)
    echo = heard[1010:]
    low, high = disturbance.DIRECT_DB
    assert -high - 6 < 10 * np.log10(np.sum(echo**2)) < -low + 1  # its treble is damped, so it may be less
    assert level_db(echo[: RATE // 20]) > level_db(echo[RATE // 2 :]) + 20


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_has_a_colour_and_the_mean_square_one(seed: int) -> None:
    made = disturbance.noise(RATE, RATE, np.random.default_rng(seed))
    assert level_db(made) == pytest.approx(0, abs=0.01)
    other = disturbance.noise(RATE, RATE, np.random.default_rng(seed + 100))
    assert abs(np.corrcoef(made, other)[0, 1]) < 0.2
    assert share_above(made, 2_000.0) != pytest.approx(share_above(other, 2_000.0), rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_coder_takes_treble_and_what_is_masked_and_leaves_the_rest(seed: int, tone: Any) -> None:
    made = disturbance.coded(tone, RATE, np.random.default_rng(seed))
    assert made.shape == tone.shape
    assert np.corrcoef(made[512:-512], tone[512:-512])[0, 1] > 0.97
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    assert share_above(disturbance.coded(noise, RATE, np.random.default_rng(seed)), 11_100.0) < 0.003


def test_what_is_heard_is_the_voice_and_as_much_noise_as_is_allowed(tone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOM", "OVERLOADED", "CODED"):
        monkeypatch.setattr(disturbance, name, 0.0)
    apart = []
    for seed in range(40):
        heard = disturbance.heard(tone, 0.1, RATE, np.random.default_rng(seed))
        apart.append(level_db(tone) - level_db(heard - tone + 1e-12))
    noisy = [db for db in apart if db < 100]
    low, high = disturbance.SNR_DB
    assert all(low - 0.1 < db < high + 0.1 for db in noisy) and np.ptp(noisy) > 20
    assert 0.5 < len(noisy) / len(apart) < 0.9  # NOISY of them, the others are as they were


def test_an_overloaded_recording_never_exceeds_what_it_was(tone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, share in (("ROOM", 0.0), ("NOISY", 0.0), ("CODED", 0.0), ("OVERLOADED", 1.0)):
        monkeypatch.setattr(disturbance, name, share)
    heard = disturbance.heard(tone, 0.1, RATE, np.random.default_rng(2))
    assert np.abs(heard).max() < np.abs(tone).max()
    assert np.corrcoef(heard, tone)[0, 1] > 0.9 and not np.allclose(heard, tone, rtol=0.05)


def peak(x: Any) -> float:
    """Return the band around which most lies."""
    power = features.power(x).mean(0)
    return float(power @ np.arange(MELS) / power.sum())


def test_another_body_moves_resonances_either_way_and_keeps_silence_apart() -> None:
    bands = np.arange(MELS)
    x = np.tile(-1.5 + 2.5 * np.exp(-(((bands - 40) / 4) ** 2)), (50, 1)).astype(np.float32)
    x[:10] = -1.7
    moved = [disturbance.body(x, np.random.default_rng(seed)) for seed in range(30)]
    places = [peak(one[10:]) for one in moved]
    assert min(places) < 37 and max(places) > 43 and 38 < np.median(places) < 42
    heights = [float(np.ptp(one[30])) for one in moved]
    assert min(heights) < 2.0 < max(heights)  # duller and sharper
    assert all(one.dtype == np.float32 and np.isfinite(one).all() for one in moved)
    assert all(one[:10].mean() < one[10:].mean() for one in moved)


def test_a_level_is_one_for_all_or_swells() -> None:
    levels = [disturbance.gain_db(200, np.random.default_rng(seed)) for seed in range(60)]
    still = [one for one in levels if np.ptp(one) == 0]
    low, high = disturbance.GAIN_DB
    assert all(low <= one[0] <= high for one in still)
    assert 0.5 < len(still) / len(levels) < 0.9
    assert 4 < max(np.ptp(one) for one in levels) <= 16
    assert max(np.abs(np.diff(one)).max() for one in levels) < 3  # dB in 10 ms


def test_some_trackers_find_nothing_at_all() -> None:
    pitch, voicing = np.linspace(-0.5, 0.5, 200), np.ones(200)
    found = [disturbance.tracked(pitch, voicing, np.random.default_rng(seed)) for seed in range(100)]
    lost = [heard for heard in found if not heard[1].any()]
    assert 4 < len(lost) < 25
    assert all((heard[0] == -0.5).all() for heard in lost)


def test_a_tracker_errs_by_octaves_and_loses_voicing_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "LOST", 0.0)
    pitch, voicing = np.zeros(200), np.ones(200)
    octaves = lost = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        found, heard = disturbance.tracked(pitch, voicing, random)
        apart = np.abs(found - np.median(found))
        octaves += bool((apart > 0.9).any())
        lost += bool((heard < 1).any())
        assert np.count_nonzero(apart > 0.1) < 24 and np.count_nonzero(heard < 1) < 24
        assert abs(np.median(found)) < 0.3
    assert 3 < octaves < 20 and 8 < lost < 35
    assert (voicing == 1).all() and (pitch == 0).all()  # what was given stays as it was
