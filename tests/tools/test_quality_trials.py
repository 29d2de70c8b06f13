"""Harder sources for the quality bench: each is what it is named after, the same every time, and still as long or as fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy.signal")
pytest.importorskip("soundfile")

from autovoice.tools.quality import judges, pitch, trials
from autovoice.tools.quality.material import RATE, Source
from talking import talk

WORLDS = ("resynthesised", "longer tract", "shorter tract", "duller formants", "lower", "a bass", "faster", "slower")


@pytest.fixture(scope="module")
def source() -> Source:
    """Somebody who talks."""
    return Source("one", 0.3 * talk()[: 2 * RATE], RATE, "Hello there.", "validation", {"af_heart": talk()})


def centroid_hz(sound: Any) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(power @ np.linspace(0, RATE / 2, len(power)) / power.sum())


def level_db(sound: Any) -> float:
    return float(10 * np.log10(np.mean(np.asarray(sound, np.float64) ** 2)))


@pytest.mark.parametrize("name", [name for name in trials.TRIALS if name not in WORLDS])
def test_a_trial_is_the_same_every_time_and_has_no_teacher(name: str, source: Source) -> None:
    tried = trials.tried(source, name)
    assert np.array_equal(tried.sound, trials.tried(source, name).sound)
    assert (tried.material, tried.text, tried.aligned, tried.rate) == (name, source.text, {}, RATE)
    assert tried.name.startswith("one-") and " " not in tried.name
    assert len(tried.sound) == pytest.approx(len(source.sound), abs=2_000)
    assert not np.allclose(tried.sound[: len(source.sound)], source.sound[: len(tried.sound)], atol=1e-3)


def test_noise_is_as_far_below_as_it_says(source: Source) -> None:
    tried = trials.tried(source, "in noise")
    assert level_db(source.sound) - level_db(tried.sound - source.sound) == pytest.approx(trials.SNR_DB, abs=0.2)


def test_a_room_answers_after_its_first_echo(source: Source) -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1.0
    heard = trials.in_room(click, np.random.default_rng(1))
    first = round(trials.FIRST_S * RATE)
    assert heard[0] == pytest.approx(1) and np.abs(heard[1:first]).max() < 1e-9
    assert 10 * np.log10(np.sum(heard[first:] ** 2)) == pytest.approx(-trials.DIRECT_DB, abs=0.1)


def test_a_dull_microphone_and_a_coder_lose_treble(source: Source) -> None:
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32) * 0.1
    assert centroid_hz(trials.dull(noise, np.random.default_rng(1))) < 0.8 * centroid_hz(noise)
    spectrum = np.abs(np.fft.rfft(trials.coded(noise, np.random.default_rng(1)))) ** 2
    assert spectrum[len(spectrum) * 3 // 4 :].sum() < 1e-4 * spectrum.sum()  # above 9 kHz


def test_other_bodies_by_world_are_other_bodies(source: Source) -> None:
    if judges.missing("world"):
        pytest.skip("pyworld is not installed, a judge that only the bench asks for")
    same, longer, shorter, fast, slow, bass = (
        trials.tried(source, name).sound
        for name in ("resynthesised", "longer tract", "shorter tract", "faster", "slower", "a bass")
    )
    assert centroid_hz(longer) < 0.95 * centroid_hz(same) < 0.95 * 0.95 * centroid_hz(shorter)
    assert len(fast) == pytest.approx(len(source.sound) / trials.FASTER, abs=500)
    assert len(slow) == pytest.approx(len(source.sound) / trials.SLOWER, abs=500)
    before, after = (pitch.melody(sound, RATE, "one").median_hz() for sound in (same, bass))
    assert after == pytest.approx(trials.BASS_HZ, rel=0.15) and after < 0.8 * before  # what goes below 60 Hz is not seen
    assert level_db(same) == pytest.approx(level_db(source.sound), abs=2)
