"""The contrast that a network loses by not being sure, given back by one matrix behind its last layer.

A regression draws the mean of all envelopes that might be meant; formants come out flatter and move less than in any real
voice, and the ear takes that for another, muffled talker. What was drawn and what was wanted have the covariances A and W.
Of all linear maps that turn A into W the one that changes least is the optimal transport of one Gaussian to the other
(I. Olkin and F. Pukelsheim, The distance between two random vectors with given dispersion matrices, 1982):

    T = A^-1/2 (A^1/2 W A^1/2)^1/2 A^-1/2

It is measured once, on training utterances, and folded into the weights that ship, so it costs nothing live. Level is left
alone: the map acts on what is left of a frame when its mean over the bands is taken off. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import HARMONIC, NOISE

Array = np.ndarray[Any, np.dtype[Any]]

LOUD = -7.5  # mean over the bands of a frame's log-mel; quieter frames tell nothing of a voice
RIDGE = 2e-3  # added to variances, so that bands without any do not count


def loud(made: Array, wanted: Array) -> Array:
    """Return which frames, of log-mel bands (frames, bands), speak in both."""
    return np.asarray((made.mean(1) > LOUD) & (wanted.mean(1) > LOUD))


def root(matrix: Array, power: float = 0.5) -> Array:
    """Return a power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-12) ** power) @ vectors.T)


def transport(made: Array, wanted: Array, strength: float = 1.0) -> tuple[Array, Array]:
    """Return T to the power of `strength`, (bands, bands), and the mean shape that it leaves, (bands,).

    made, wanted: log-mel bands of the same frames, (frames, bands). A strength of 0 changes nothing; above 1 there is more
    contrast than was wanted, which makes up for what a mean over all talkers hides.
    """
    shapes = [rows.astype(np.float64) - rows.mean(1, keepdims=True) for rows in (made, wanted)]
    a, w = (np.cov(rows.T) + RIDGE * np.eye(rows.shape[1]) for rows in shapes)
    inner = root(root(a) @ w @ root(a))
    return root(root(a, -0.5) @ inner @ root(a, -0.5), strength), np.asarray(shapes[0].mean(0))


def folded(weight: Array, bias: Array, matrix: Array, mean: Array, centres_mel: Array) -> tuple[Array, Array]:
    """Return the last layer with a transport behind it.

    weight: (HARMONIC + NOISE, channels), bias: (HARMONIC + NOISE,) of the layer; matrix and mean: of `transport`;
    centres_mel: the bands' centres, from which the transport is brought to those of the harmonics and of the noise.
    """
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    rows = slice(0)
    parts = []
    for count in (HARMONIC, NOISE):
        rows = slice(rows.stop, rows.stop + count)
        centres = np.linspace(0.0, features.mel(features.TOP_HZ), count)
        to_bands = np.stack([np.interp(centres_mel, centres, row) for row in np.eye(count)], 1)
        to_rows = np.stack([np.interp(centres, centres_mel, row) for row in np.eye(len(centres_mel))], 1)
        more = to_rows @ (matrix - np.eye(len(matrix))) @ to_bands
        shape = np.eye(count) - 1 / count
        parts.append((weight[rows] + more @ shape @ weight[rows], bias[rows] + more @ (shape @ bias[rows] - to_rows @ mean)))
    return np.concatenate([w for w, _ in parts]).astype(np.float32), np.concatenate([b for _, b in parts]).astype(np.float32)
