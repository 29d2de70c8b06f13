"""Fitting of the speaker encoder to utterances that are each said by several voices of known timbre.

Each voice of an utterance is taken as it is, and COPIES times as a part of 2.5 s and more, disturbed as microphones and rooms
do (`dataset.disturb`), but never in the length of its vocal tract, which is part of who speaks. NumPy only, some minutes; the
same corpus and seed give the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.models import dataset, speaker_encoder
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
    return dataset.disturb(bands[first : first + frames], float(random.uniform(*GAIN_DB)), random, warp=0.0)


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
