"""Fitting of the speaker encoder to utterances that are each said by several voices of known timbre.

Each voice of an utterance is taken as it is, and COPIES times as a part of 2.5 s and more, disturbed as microphones and rooms
do (`disturb`), but never in the length of its vocal tract, which is part of who speaks. NumPy only, some minutes; the
same corpus and seed give the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import CENTRE, FLOOR, HOP_S, MELS, SPREAD
from autovoice.models import speaker_encoder
from autovoice.models.dataset import HOP, RATE, Normal
from safetensors.numpy import load_file

Array = np.ndarray[Any, np.dtype[Any]]

COPIES = 2
SHORTEST = 250  # frames of a part
GAIN_DB = (-15.0, 8.0)
RIDGE = 0.01  # added to the kernel of an example with itself, which is 1


@dataclass(frozen=True, slots=True)
class Examples:
    """Voices as the encoder hears them."""

    statistics: Array  # float64 (n, STATISTICS)
    timbre: Array  # float32 (n, 128), in units of the training voices' spread


def voices(path: Path) -> Iterator[tuple[Array, Array]]:
    """Yield bands (frames, MELS) and timbre (128,) of each voice of an utterance."""
    given = load_file(path)
    for sound, timbre in zip(given["sound"], given["timbre"], strict=True):
        yield features.bands(sound.astype(np.float32) / 2**15, RATE)[: len(sound) // HOP], timbre


def examples(path: Path, normal: Normal, seed: int, copies: int = COPIES) -> Examples:
    """Return the examples of an utterance; what is random follows from the seed and the file's name."""
    random = np.random.default_rng((seed, *path.stem.encode()))
    statistics, timbres = [], []
    for bands, timbre in voices(path):
        parts = [bands, *(excerpt(bands, random) for _ in range(copies))]
        statistics += [speaker_encoder.statistics(part) for part in parts]
        timbres += [normal(timbre)] * len(parts)
    return Examples(np.stack(statistics), np.stack(timbres))


def excerpt(bands: Array, random: Any) -> Array:
    """Return a part at random, disturbed."""
    frames = int(random.integers(min(SHORTEST, len(bands)), len(bands) + 1))
    first = int(random.integers(len(bands) - frames + 1))
    return disturb(bands[first : first + frames], float(random.uniform(*GAIN_DB)), random)


def disturb(x: Array, gain_db: float, random: Any) -> Array:
    """Return bands (frames, MELS) as another microphone and room would have given them, reckoned on the bands alone."""
    random.uniform()  # once the length of the vocal tract: what ships was made with this sequence
    places = np.clip(np.arange(MELS) + random.uniform(-1, 1), 0, MELS - 1)
    low = places.astype(int)
    high = np.minimum(low + 1, MELS - 1)
    log_power = SPREAD * (x[:, low] * (high - places + (low == high)) + x[:, high] * (places - low)) + CENTRE
    response = np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 7), random.normal(0, 2.5, 7))  # dB
    response += np.linspace(0, random.normal(0, 3), MELS)
    log_power = log_power + (gain_db + response) * np.log(10) / 10
    power = np.exp(log_power)
    if random.uniform() < 0.2:  # a room: what was there decays by 60 dB in this time
        keep = 10 ** (-6 * HOP_S / random.uniform(0.15, 0.5))
        wet = 10 ** (random.uniform(-18, -8) / 10)
        tail = np.zeros(MELS)
        for k in range(len(power)):
            tail = keep * tail + power[k] * (1 - keep)
            power[k] += wet * tail
    if random.uniform() < 0.5:  # noise of a random colour
        colour = np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 5), random.normal(0, 6, 5))
        level = np.exp(CENTRE) * 10 ** ((gain_db + random.uniform(-45, -8) + colour) / 10)
        power = power + level * random.exponential(1.0, power.shape) ** 0.7
    if random.uniform() < 0.1:  # a narrow channel
        power[:, np.arange(MELS) > random.uniform(0.6, 0.95) * MELS] *= 1e-4
    return np.asarray((np.log(power + FLOOR) - CENTRE) / SPREAD, np.float32)


def fit(found: Examples, normal: Normal, ridge: float = RIDGE) -> dict[str, Array]:
    """Return the weights; those of the examples solve (kernel + ridge) matrix = timbre - its mean."""
    mean, deviation = found.statistics.mean(0), found.statistics.std(0) + 1e-6
    known = ((found.statistics - mean) / deviation).astype(np.float16)
    offset = found.timbre.mean(0)
    kernel = speaker_encoder.nearness(known.astype(np.float64), known.astype(np.float64))
    matrix = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), found.timbre - offset)
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "known": known,
        "matrix": matrix.astype(np.float16),
        "offset": offset.astype(np.float32),
        "normal.mean": normal.mean,
        "normal.std": normal.std,
    }


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of the angle between two timbres."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
