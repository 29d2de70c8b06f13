"""What the converter hears and what it draws: definitions that training, the stage and the tests share. NumPy only.

Time is cut into frames of HOP_S. Analysis frame k ends at (k + 1) HOP_S and spans WINDOW_S before that. Synthesis frame j is
centred on j HOP_S and spans one hop to either side; with a look-ahead of L frames, analysis frame k yields synthesis frame
k + 1 - L.

A band of the analysis is the mean power of a triangle of the mel scale (S. S. Stevens and J. Volkmann, 1940; O'Shaughnessy's
formula), its logarithm scaled so that speech lies within about -1.5..1.5. The synthesis multiplies the spectra of a pulse
train and of noise by minimum-phase responses. The logarithm of a response's magnitude is drawn by straight lines between the
values of bands; its phase is the Hilbert transform of that (A. V. Oppenheim and R. W. Schafer, Discrete-Time Signal
Processing, section 13.5), so both are matrices times the band values.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

HOP_S = 0.010
WINDOW_S = 0.025
MELS, LOWEST_HZ, HIGHEST_HZ = 80, 50.0, 8_000.0  # bands of the analysis
FLOOR = 1e-9  # mean power of a band that counts as silence: about -90 dBFS
CENTRE, SPREAD = -14.0, 4.0  # of the natural logarithm of a band's power, in speech at -26 dBFS
HARMONIC, NOISE = 80, 40  # bands of the synthesis
TOP_HZ = 12_000.0  # and where they end
FADE_HZ = 11_500.0  # no harmonic above
REFERENCE_HZ = 150.0  # pitch 0 of the network
TRACKED_S = 0.020  # age of the newest pitch on the bus

FINE = 16_384  # points on the circle where phases are computed, at twice TOP_HZ


def mel(hz: Any) -> Any:
    """Return the pitch in mel."""
    return 2595.0 * np.log10(1.0 + np.asarray(hz, np.float64) / 700.0)


def hertz(mels: Any) -> Any:
    """Return the frequency of a pitch in mel."""
    return 700.0 * (10.0 ** (np.asarray(mels, np.float64) / 2595.0) - 1.0)


def transform_size(sample_rate: float) -> int:
    """Return the samples of the transforms: 1024 at 24 kHz, 2048 at 44.1 and 48 kHz."""
    return 1 << int(np.ceil(np.log2(0.04 * sample_rate)))


@cache
def window(sample_rate: float) -> Array:
    """Return the analysis window, so that a full-scale sine has the magnitude 1; float64 (samples,)."""
    frames = round(WINDOW_S * sample_rate)
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames)
    return np.asarray(2 * shape / shape.sum())


@cache
def mel_matrix(sample_rate: float) -> Array:
    """Return the weights of the bins in each band, float64 (MELS, bins); each row sums to 1."""
    size = transform_size(sample_rate)
    frequencies = mel(np.arange(size // 2 + 1) * sample_rate / size)
    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), MELS + 2)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    nearest = np.abs(frequencies - edges[1:-1, None]).argmin(1)  # a narrow band may hold no bin
    weights[np.arange(MELS), nearest] = np.maximum(weights[np.arange(MELS), nearest], 1e-3)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def bands(sound: Array, sample_rate: float) -> Array:
    """Return the analysis of a whole sound, float32 (frames, MELS): frame k ends at (k + 1) HOP_S."""
    shape, size = window(sample_rate), transform_size(sample_rate)
    hop = round(HOP_S * sample_rate)
    count = len(sound) // hop
    padded = np.pad(np.asarray(sound, np.float64), (len(shape) - hop, 0))
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(shape))[::hop][:count]
    power = np.abs(np.fft.rfft(frames * shape, size)) ** 2
    return scaled(power @ mel_matrix(sample_rate).T)


def scaled(power: Array) -> Array:
    """Return the network's view of bands' powers, float32."""
    return ((np.log(power + FLOOR) - CENTRE) / SPREAD).astype(np.float32)


def power(values: Array) -> Array:
    """Return the powers of which `scaled` makes these values, and FLOOR."""
    return np.asarray(np.exp(SPREAD * np.asarray(values, np.float64) + CENTRE))


def pitch(f0_hz: Array) -> Array:
    """Return the network's view of a pitch: octaves from REFERENCE_HZ."""
    return np.asarray(np.log2(np.maximum(f0_hz, 1.0) / REFERENCE_HZ), np.float32)


def held(f0_hz: Array, before: float = REFERENCE_HZ) -> Array:
    """Return the pitch curve with its gaps (0) filled by what went before, `before` at the start."""
    curve = np.concatenate([[before], f0_hz])
    last = np.maximum.accumulate(np.where(curve > 0, np.arange(len(curve)), 0))
    return np.asarray(curve[last][1:])


@cache
def response(count: int) -> tuple[Array, Array]:
    """Return what each band adds to the logarithm of a response's magnitude and to its phase, (FINE / 2 + 1, count) each.

    The rows are even frequencies from 0 to TOP_HZ; `at_bins` picks those of a transform.
    """
    points = FINE // 2 + 1
    frequencies = np.linspace(0.0, TOP_HZ, points)
    centres = hertz(np.linspace(0.0, mel(TOP_HZ), count))
    magnitude = np.stack([np.interp(frequencies, centres, row) for row in np.eye(count)], 1)
    cepstrum = np.fft.irfft(magnitude, FINE, axis=0)
    cepstrum[1 : FINE // 2] *= 2
    cepstrum[FINE // 2 + 1 :] = 0
    return magnitude, np.fft.rfft(cepstrum, axis=0).imag


def at_bins(rows: Array, sample_rate: float) -> Array:
    """Return the rows of `response` for the bins up to TOP_HZ of a transform at a sample rate, (bins, count)."""
    size = transform_size(sample_rate)
    top = min(int(TOP_HZ * size / sample_rate), size // 2)
    places = np.arange(top + 1) * sample_rate / size / TOP_HZ * (len(rows) - 1)
    low = np.minimum(places.astype(int), len(rows) - 2)
    share = (places - low)[:, None]
    return np.asarray(rows[low] * (1 - share) + rows[low + 1] * share)
