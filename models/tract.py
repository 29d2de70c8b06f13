"""How long the vocal tract of a voice is beside everybody's mean: by what ratio its resonances lie higher, from its timbre.

What the converter should say in a voice is what it should say in the mean voice, but for a factor on the frequencies (G. Fant,
Speech Sounds and Features, 1973) and for what does not move. So bands that the decoder expects of one voice over some speech
are laid over those that it expects of the mean voice, stretched by each factor of a grid, and the best is taken. Its logarithm
is close to linear in the timbre, so one ridge regression on the training voices and mixtures of them is all that ships:
`tract.weight`. A person's tract follows from their enrolment. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import MELS
from autovoice.models import reference
from autovoice.models.dataset import TRACKED, Utterance

Array = np.ndarray[Any, np.dtype[Any]]

GRID = np.arange(-0.5, 0.501, 0.015)  # octaves
LOWEST_HZ, HIGHEST_HZ = 250.0, 5_000.0  # that are compared: resonances
PITCH = 0.3  # octaves from the reference, of every voice alike
LAG = 3  # frames by which the decoder answers late in mode balanced
LOUD = 50  # percentile of the level from which a frame counts
RIDGE = 10.0
MODE = "balanced"


class Ruler:
    """Measures voices over the same speech."""

    def __init__(self, w: dict[str, Array], utterances: Sequence[Utterance]) -> None:
        """Take the network's tensors, and speech that it encodes."""
        self.w = w
        self._said = [_encoded(w, utterance) for utterance in utterances]
        self._inside = (_centres_hz() > LOWEST_HZ) & (_centres_hz() < HIGHEST_HZ)
        mean = self._expected(np.zeros(w["speaker.weight"].shape[1]))
        self._stretched = [_moving(stretched(mean, factor))[:, self._inside] for factor in np.exp2(GRID)]

    def __call__(self, speaker: Array) -> float:
        """Return a voice's factor in octaves; `speaker`: 128 values as the network takes them."""
        found = _moving(self._expected(speaker))[:, self._inside]
        apart = [float(((found - one) ** 2).mean()) for one in self._stretched]
        best = int(np.argmin(apart))
        if not 0 < best < len(GRID) - 1:
            return float(GRID[best])
        before, here, behind = apart[best - 1 : best + 2]
        return float(GRID[best] + (GRID[1] - GRID[0]) * (before - behind) / (2 * (before - 2 * here + behind)))

    def _expected(self, speaker: Array) -> Array:
        """Return the bands of all that is said, (frames, MELS)."""
        found = [reference.decode(self.w, h, speaker, np.full(len(h), PITCH))[1][loud] for h, loud in self._said]
        return np.concatenate(found)


def _encoded(w: dict[str, Array], utterance: Utterance) -> tuple[Array, Array]:
    """Return what a clear voice says, (frames, CHANNELS), and which answers of the decoder are loud."""
    row = int(np.flatnonzero(utterance.clear)[0])
    bands = utterance.bands[row].astype(np.float64)
    tracked = features.pitch(utterance.f0_hz[row])[::TRACKED], utterance.voicing[row][::TRACKED]
    x = np.concatenate([bands, *(curve[: len(bands), None] for curve in tracked)], 1)
    level = np.roll(bands.mean(1), LAG)
    return reference.encode(w, x, MODE), np.flatnonzero(level > np.percentile(level, LOUD))


def stretched(bands: Array, factor: float) -> Array:
    """Return bands (frames, MELS) as of a tract whose resonances lie higher by a factor."""
    hz = _centres_hz()
    return np.stack([np.interp(features.mel(hz / factor), features.mel(hz), row) for row in bands])


def weights(speakers: Array, octaves: Array) -> Array:
    """Return the 128 weights by which the factor, in octaves, follows from `speakers`, (voices, 128)."""
    return np.asarray(np.linalg.solve(speakers.T @ speakers + RIDGE * np.eye(speakers.shape[1]), speakers.T @ octaves))


def _moving(bands: Array) -> Array:
    """Return what moves in bands: without each frame's level and each band's mean."""
    shape = bands - bands.mean(1, keepdims=True)
    return np.asarray(shape - shape.mean(0))


def _centres_hz() -> Array:
    edges = np.linspace(features.mel(features.LOWEST_HZ), features.mel(features.HIGHEST_HZ), MELS + 2)
    return np.asarray(features.hertz(edges[1:-1]))
