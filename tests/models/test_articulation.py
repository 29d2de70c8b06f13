"""Careless speech: what is meant and how long it goes on stay, how it is said does not."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.models import articulation
from autovoice.models.teacher import UNTOLD, Utterance

NAMES = [0, 3, 5, 4, UNTOLD, 5, 3, 4, 5, 0]  # 3 and 4 are vowels here
LENGTHS = [4, 3, 2, 6, 1, 2, 5, 4, 3, 4]
VOWELS = {3, 4}


@pytest.fixture
def utterance() -> Utterance:
    """Sounds of a column of their own each, voiced but for 5 and silence, with energy that says where it is."""
    columns = np.random.default_rng(0).normal(size=(16, len(NAMES)))
    phonemes = np.repeat(np.array(NAMES, np.int16), LENGTHS)
    voiced = np.repeat(np.isin(phonemes, (3, 4)), 2)
    return Utterance(
        content=np.repeat(columns, LENGTHS, 1)[None].astype(np.float32),
        f0_hz=np.where(voiced, 120.0, 0.0)[None].astype(np.float32),
        energy=np.arange(2.0 * len(phonemes), dtype=np.float32)[None],
        phonemes=phonemes,
        tokens=len(NAMES),
    )


@pytest.mark.parametrize("seed", range(6))
def test_an_uneven_pace_keeps_the_order_of_what_is_said_and_all_that_belongs_to_it(utterance: Utterance, seed: int) -> None:
    paced = articulation.paced(utterance, np.random.default_rng(seed))
    number = articulation.sounds(paced.content[0])
    first = np.searchsorted(number, np.arange(len(NAMES)))
    assert number[-1] == len(NAMES) - 1
    assert paced.phonemes[first].tolist() == NAMES
    assert np.array_equal(paced.content[0][:, first], utterance.content[0][:, np.cumsum(LENGTHS) - 1])
    stretched = np.bincount(number) / LENGTHS
    assert stretched.max() <= articulation.LONGEST + 0.5 and (np.bincount(number) >= 1).all()
    assert paced.f0_hz.shape == paced.energy.shape == (1, 2 * len(number))
    assert np.array_equal(paced.f0_hz[0] > 0, np.repeat(np.isin(paced.phonemes, (3, 4)), 2))
    assert (np.diff(paced.energy[0]) >= 0).all() and paced.energy[0, -1] > utterance.energy[0, -1] - 2
    assert not np.array_equal(stretched, np.ones(len(NAMES)))


@pytest.mark.parametrize("seed", range(6))
def test_without_care_sounds_run_together_and_with_all_care_they_stay(utterance: Utterance, seed: int) -> None:
    apart = []
    for care in (1.0, 0.5, 0.0):
        careless = articulation.relaxed(utterance, VOWELS, care, np.random.default_rng(seed))
        assert careless.content.shape == utterance.content.shape
        assert np.array_equal(careless.phonemes, utterance.phonemes)
        apart.append(float(np.abs(careless.content - utterance.content).mean()))
    assert apart[0] < 1e-6 < apart[1] < apart[2]
    low, high = (edge(utterance.content[0], 1) for edge in (np.min, np.max))
    assert (careless.content >= low[:, None] - 1e-6).all() and (careless.content <= high[:, None] + 1e-6).all()


def test_a_vowel_leans_to_a_vowel_and_a_consonant_that_has_no_mate_to_none(
    utterance: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("UNDERSHOOT", 0.0), ("BLUR", 0.0), ("ACCENTED", 1.0)):
        monkeypatch.setattr(articulation, name, value)
    accented = articulation.relaxed(utterance, VOWELS, 0.0, np.random.default_rng(3))
    moved = np.abs(accented.content - utterance.content)[0].max(0) > 1e-6
    assert moved[np.isin(utterance.phonemes, (3, 4))].all()
    assert not moved[~np.isin(utterance.phonemes, (3, 4))].any()


def test_a_creak_falls_at_the_end_of_voice_and_nowhere_does_silence_get_a_voice(
    utterance: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("DRIFT", 0.0), ("TREMBLE", 0.0), ("CREAKY", 1.0), ("CREAK", 1.0)):
        monkeypatch.setattr(articulation, name, value)
    creaky = articulation.relaxed(utterance, VOWELS, 0.0, np.random.default_rng(1)).f0_hz[0]
    voiced = utterance.f0_hz[0] > 0
    ends = np.flatnonzero(voiced[:-1] & ~voiced[1:])
    assert (creaky[ends] < 0.85 * 120).all() and (creaky[voiced] >= articulation.LOWEST_HZ).all()
    assert np.array_equal(creaky > 0, voiced)
    monkeypatch.setattr(articulation, "CREAKY", 0.0)
    steady = articulation.relaxed(utterance, VOWELS, 0.0, np.random.default_rng(1)).f0_hz[0]
    assert np.array_equal(steady, utterance.f0_hz[0])
