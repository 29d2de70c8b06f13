"""How people talk who are no announcers: uneven, with sounds that run into each other and vowels of their own.

A text-to-speech model says every phoneme as it should be. People leave out and run together what a listener will guess, each
has an accent, their pitch trembles and creaks. Between the teacher's halves (`autovoice.models.teacher`) an utterance is
content, pitch and energy, so it can be said carelessly and, aligned to the frame, clearly: a converter is shown what was
meant. B. Lindblom, Explaining phonetic variation: a sketch of the H&H theory (1990), for undershoot, which `relaxed` follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from autovoice.models.teacher import Utterance
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray[Any, np.dtype[Any]]

LONGEST, SHORTEST = 2.2, 0.55  # that a sound becomes, of itself
ACCENTED, ACCENT = 0.5, 0.5  # share of phonemes that lean to another one, and how far at most
UNDERSHOOT = 0.7  # of the way to what is around a sound, at most
BLUR = 1.5  # frames of content, at most
TREMBLE = 0.03  # of the pitch from value to value, at most
DRIFT, DRIFT_VALUES = 0.06, 12  # of the melody, and how many values of it lie between two moves
CREAKY, CREAK = 0.5, 0.35  # share of the speakers who creak, and of the ends of their voiced stretches
CREAK_VALUES, CREAK_DEPTH, LOWEST_HZ = (4, 20), (0.3, 0.6), 35.0
SWAY, SWAY_VALUES = 1.6, 16  # of the energy, in the teacher's units
VOICED_HZ = 20.0


def sounds(content: Array) -> Array:
    """Return the number of the sound that each frame of content, (values, frames), belongs to: frames of a sound are alike."""
    return np.concatenate([[0], np.cumsum((content[:, 1:] != content[:, :-1]).any(0))])


def paced(utterance: Utterance, random: Any) -> Utterance:
    """Return an utterance at an uneven pace: sounds of other lengths, some passages hurried, some drawn out."""
    lengths = np.bincount(sounds(utterance.content[0]))
    count = len(lengths)
    knots = max(3, count // 6)
    pace = _line(count, random.uniform(-0.35, 0.45, knots)) + random.normal(0, 0.18, count) + random.uniform(-0.15, 0.3)
    wanted = np.maximum(1, np.round(lengths * np.clip(np.exp(pace), SHORTEST, LONGEST))).astype(int)
    begins = np.cumsum(lengths) - lengths
    places = np.concatenate(
        [begins[k] + (np.arange(wanted[k]) + 0.5) * lengths[k] / wanted[k] for k in range(count)]
    )  # in frames
    frames = np.minimum(places.astype(int), lengths.sum() - 1)
    at = np.interp(np.arange(2 * len(places)) + 0.5, 2 * np.arange(len(places)) + 1, 2 * places)
    nearest = np.minimum(at.astype(int), 2 * lengths.sum() - 1)
    energy = np.interp(at, np.arange(2 * lengths.sum()) + 0.5, utterance.energy[0])
    return replace(
        utterance,
        content=utterance.content[:, :, frames],
        f0_hz=utterance.f0_hz[:, nearest],  # where voice begins, it begins at once
        energy=energy[None].astype(np.float32),
        phonemes=utterance.phonemes[frames],
    )


def relaxed(utterance: Utterance, vowels: set[int], care: float, random: Any) -> Utterance:
    """Return an utterance as somebody says it with less care, 1 = as announcers do, 0 = barely to be understood.

    What it says, its phonemes, stays; each goes on for as long as before. `vowels` are tokens.
    """
    loose = 1.0 - care
    content, energy = _mumbled(utterance, vowels, loose, random), utterance.energy[0]
    sway = _line(len(energy), random.normal(0, SWAY * loose, max(3, len(energy) // SWAY_VALUES)))
    f0_hz = _unsteady(utterance.f0_hz[0].astype(float), loose, random)
    return replace(
        utterance,
        content=content[None].astype(np.float32),
        f0_hz=f0_hz[None].astype(np.float32),
        energy=(energy + sway)[None].astype(np.float32),
    )


def _mumbled(utterance: Utterance, vowels: set[int], loose: float, random: Any) -> Array:
    """Return content, (values, frames), with an accent and undershoot."""
    number = sounds(utterance.content[0])
    first = np.searchsorted(number, np.arange(number[-1] + 1))
    said, names = utterance.content[0][:, first].T.astype(float), utterance.phonemes[first]
    spoken = sorted({int(name) for name in names if name > 0})
    leaning = said.copy()
    for name in spoken:
        mates = [other for other in spoken if other != name and (other in vowels) == (name in vowels)]
        if mates and random.uniform() < ACCENTED:
            there = np.flatnonzero(names == random.choice(mates))
            share = random.uniform(0, ACCENT) * loose
            for k in np.flatnonzero(names == name):
                leaning[k] += share * (said[random.choice(there)] - said[k])
    padded = np.pad(leaning, ((1, 1), (0, 0)), mode="edge")
    short = np.minimum(UNDERSHOOT, 0.9 * loose * random.beta(1, 3, len(said)))[:, None] * (names > 0)[:, None]
    leaning += short * ((padded[:-2] + padded[2:]) / 2 - leaning)
    return np.asarray(gaussian_filter1d(leaning[number], max(0.05, random.uniform(0, BLUR) * loose), axis=0, mode="nearest").T)


def _unsteady(f0_hz: Array, loose: float, random: Any) -> Array:
    """Return a pitch curve that trembles and drifts, and in some speakers creaks where a voiced stretch ends."""
    voiced, count = f0_hz > VOICED_HZ, len(f0_hz)
    drift = _line(count, random.normal(0, DRIFT * loose, max(3, count // DRIFT_VALUES)))
    moved = f0_hz * np.exp(np.where(voiced, drift + random.normal(0, random.uniform(0, TREMBLE) * loose, count), 0.0))
    if random.uniform() < CREAKY:
        for end in np.flatnonzero(voiced[:-1] & ~voiced[1:]).tolist():
            if random.uniform() < CREAK:
                length = min(int(random.integers(*CREAK_VALUES)), end + 1)
                stretch = slice(end + 1 - length, end + 1)
                fall = np.linspace(0, np.log(random.uniform(*CREAK_DEPTH)), length) + random.normal(0, 0.12, length)
                creak = np.maximum(moved[stretch] * np.exp(fall), LOWEST_HZ)
                moved[stretch] = np.where(voiced[stretch], creak, moved[stretch])
    return np.asarray(moved)


def _line(count: int, knots: Array) -> Array:
    """Return straight lines between knots, spread over so many values."""
    return np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)
