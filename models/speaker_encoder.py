"""Who speaks: what the converter should be given to speak as the voice that is heard in some seconds of sound.

    bands (frames, MELS) -> at a common level, pauses left out -> statistics over time -> 128 timbre values

The statistics are mean and deviation of the cepstrum (the cosine transform of the log bands: S. B. Davis and P. Mermelstein,
IEEE TASSP 28(4), 1980), the 10, 50 and 90 % levels of each band, and the deviation of the cepstrum's changes from frame to
frame. The timbre values, each in units of its spread over the training voices, follow from them by kernel ridge regression
(C. Saunders, A. Gammerman and V. Vovk, ICML 1998): a weighted sum of how near the statistics are to those of each training
example. The estimate tells voices apart, too: those whose estimates point the same way sound alike.

NumPy only; the weights are made by `autovoice.tools.train_speaker`. Any thread but the audio's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.converter.features import MELS, SPREAD
from safetensors.numpy import load_file

Array = np.ndarray[Any, np.dtype[Any]]

CEPSTRA, CHANGES = 40, 20  # lowest cosines that are kept, of the frames and of what changes between them
LEVELS = (10, 50, 90)  # per cent
STATISTICS = 2 * CEPSTRA + len(LEVELS) * MELS + CHANGES
PAUSE_DB = 30.0  # below the loud moments (95 %): what is softer does not count
WIDTH = 0.1  # of the Gaussian kernel, 1 / variance of the mean squared distance of statistics
WEIGHTS = Path(__file__).resolve().parent / "weights" / "speaker.safetensors"


def statistics(bands: Array) -> Array:
    """Return what describes a voice in bands (frames, MELS), float64 (STATISTICS,); some seconds of speech or song."""
    loudness = bands.mean(1)
    loud = loudness > np.percentile(loudness, 95) - PAUSE_DB * np.log(10) / 10 / SPREAD
    levelled = bands - loudness[loud].mean()
    cepstra = levelled @ _cosines()
    changes = np.diff(cepstra[:, :CHANGES], axis=0)
    spoken = cepstra[loud]
    levels = np.percentile(levelled[loud], LEVELS, axis=0) / 2
    return np.concatenate([spoken.mean(0), spoken.std(0), levels.ravel(), changes.std(0)]).astype(np.float64)


def timbre(bands: Array, weights: dict[str, Array] | None = None) -> Array:
    """Return the timbre of the voice in bands (frames, MELS), float32 (128,), in units of the training voices' spread."""
    w = load() if weights is None else weights
    near = nearness((statistics(bands) - w["mean"]) / w["deviation"], w["known"])
    return np.asarray(near @ w["matrix"] + w["offset"], np.float32)


def nearness(x: Array, known: Array) -> Array:
    """Return the kernel, 0..1 (..., n), of standardised statistics (..., STATISTICS) and those known (n, STATISTICS)."""
    squares = (x**2).sum(-1)[..., None] + (known**2).sum(-1) - 2 * x @ known.T
    return np.asarray(np.exp(-WIDTH / 2 * squares / STATISTICS))


def unit(values: Array) -> Array:
    """Return timbres (..., 128) in units of the training voices' spread, from what the teacher and the converter take."""
    w = load()
    return np.asarray((values - w["normal.mean"]) / w["normal.std"], np.float32)


def raw(values: Array) -> Array:
    """Return timbres (..., 128) as the teacher and the converter take them; the inverse of `unit`."""
    w = load()
    return np.asarray(values * w["normal.std"] + w["normal.mean"], np.float32)


@cache
def load(path: Path = WEIGHTS) -> dict[str, Array]:
    """Return the weights as float32: of the regression, and mean and spread of the training voices' timbre (`normal.`)."""
    return {name: value.astype(np.float32) for name, value in load_file(path).items()}


@cache
def _cosines() -> Array:
    """Return the cosine transform of MELS values, (MELS, CEPSTRA), orthonormal."""
    rows = np.cos(np.pi / MELS * (np.arange(MELS)[:, None] + 0.5) * np.arange(CEPSTRA))
    rows[:, 0] *= np.sqrt(0.5)
    return np.asarray(rows * np.sqrt(2 / MELS))
