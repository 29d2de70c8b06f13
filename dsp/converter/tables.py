"""What the converter needs for a sample rate, laid out once in resident memory: windows, bands, responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import HARMONIC, NOISE
from autovoice.dsp.vector import TILE

Array = np.ndarray[Any, np.dtype[Any]]

TILT_LOWEST_HZ, TILT_CENTRE_HZ = 100.0, 1000.0  # the tilt is flat below and turns about the centre
NYQUIST_SHARE = 0.48  # of the sample rate, above which no harmonic is, whatever FADE_HZ says


@dataclass(frozen=True, slots=True)
class Tables:
    """Sizes in frames, and addresses."""

    hop: int
    size: int  # of the transforms
    bins: int  # of a response
    span: int  # of the analysis window
    analysis: int  # address of `span` float32
    first: int  # see `network.STATE`
    counts: int
    shares: int
    window: int  # see `synthesis.STATE`
    phases: tuple[int, int]
    lower: tuple[int, int]
    share: tuple[int, int]
    centres: int
    octaves: int

    @property
    def tiles(self) -> int:
        """Return the tiles of TILE bins that a response is computed in."""
        return -(-self.bins // TILE)


def sizes(sample_rate: float) -> tuple[int, int]:
    """Return the frames of a hop and of the transforms."""
    return round(features.HOP_S * sample_rate), features.transform_size(sample_rate)


def highest_hz(sample_rate: float) -> float:
    """Return the frequency above which there are no harmonics."""
    return min(features.FADE_HZ, NYQUIST_SHARE * sample_rate)


def hann(hop: int) -> Array:
    """Return the window of the synthesis, float64 (2 hop,): its copies at every hop add up to 1."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop))


def band_centres(count: int) -> Array:
    """Return the frequencies of the bands of a response, Hz."""
    return np.asarray(features.hertz(np.linspace(0.0, features.mel(features.TOP_HZ), count)))


def places(count: int, bins: int, sample_rate: float) -> tuple[Array, Array]:
    """Return for each bin of a response the band at or below it and how far it is on the way to the next one, 0..1."""
    centres = band_centres(count)
    hz = np.arange(bins) * sample_rate / features.transform_size(sample_rate)
    lower = np.clip(np.searchsorted(centres, hz, "right") - 1, 0, count - 2)
    share = np.clip((hz - centres[lower]) / (centres[lower + 1] - centres[lower]), 0.0, 1.0)
    return lower.astype(np.int32), share.astype(np.float32)


def octaves() -> Array:
    """Return how far each band of both responses is from the tilt's centre, octaves."""
    centres = np.concatenate([band_centres(HARMONIC), band_centres(NOISE)])
    return np.asarray(np.log2(np.maximum(centres, TILT_LOWEST_HZ) / TILT_CENTRE_HZ), np.float32)


@cache
def tables(sample_rate: float) -> Tables:
    """Compute and lay out the tables of a sample rate. Control thread only."""
    hop, size = sizes(sample_rate)
    window = features.window(sample_rate)
    matrix = features.mel_matrix(sample_rate)
    used = [np.flatnonzero(row) for row in matrix]
    first = np.array([bins[0] for bins in used], np.int32)
    last = np.array([bins[-1] for bins in used], np.int32)
    shares = np.concatenate([row[a : b + 1] for row, a, b in zip(matrix, first, last, strict=True)])
    phases, lower, share = [], [], []
    bins = 0
    for count in (HARMONIC, NOISE):
        rows = features.at_bins(features.response(count)[1], sample_rate) / (2 * np.pi)
        bins = len(rows)
        padded = np.pad(rows, ((0, -bins % TILE), (0, 0))).astype(np.float32)
        phases.append(resident.keep(padded.reshape(-1, TILE, count).transpose(0, 2, 1)))
        low, on = places(count, bins, sample_rate)
        lower.append(resident.keep(low))
        share.append(resident.keep(on))
    centres = np.concatenate([band_centres(HARMONIC), band_centres(NOISE)])
    return Tables(
        hop=hop,
        size=size,
        bins=bins,
        span=len(window),
        analysis=resident.keep(window.astype(np.float32)),
        first=resident.keep(first),
        counts=resident.keep(last - first + 1),
        shares=resident.keep(shares.astype(np.float32)),
        window=resident.keep(hann(hop).astype(np.float32)),
        phases=(phases[0], phases[1]),
        lower=(lower[0], lower[1]),
        share=(share[0], share[1]),
        centres=resident.keep(centres.astype(np.float32)),
        octaves=resident.keep(octaves()),
    )
