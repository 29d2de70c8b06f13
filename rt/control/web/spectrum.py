"""Spectrum columns for the page: a short-time Fourier transform of what was last heard, on an axis of octaves."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 192
LOWEST_HZ, HIGHEST_HZ = 50.0, 12_000.0  # middles of the first and the last bin
FLOOR_DBFS = -100.0  # sent as 0; 0 dBFS as 255
WINDOW_S = 0.08  # long enough to part the harmonics of a low voice


class Spectrum:
    """The transform for one sample rate. A full-scale sine reads 0 dBFS."""

    def __init__(self, sample_rate: float) -> None:
        """Lay out window and axis for a sample rate in Hz."""
        self.sample_rate = sample_rate
        self.frames = 1 << round(np.log2(WINDOW_S * sample_rate))
        window = np.hanning(self.frames + 1)[:-1]
        self._window = (window * 2 / window.sum()).astype(np.float32)
        ratio = (HIGHEST_HZ / LOWEST_HZ) ** (1 / (BINS - 1))
        middles = LOWEST_HZ * ratio ** np.arange(BINS)
        edges = np.append(middles / np.sqrt(ratio), middles[-1] * np.sqrt(ratio)) * self.frames / sample_rate  # in lines
        last = self.frames // 2
        self._position = np.minimum(middles * self.frames / sample_rate, last)
        self._edges = np.minimum(np.ceil(edges), last).astype(np.intp)  # the first line of each bin, and the end of the last
        self._wide = np.diff(self._edges) >= 2  # take the loudest line; elsewhere lie between two
        self._above = middles > sample_rate / 2
        self._lines = np.arange(last + 1)

    def column(self, sound: np.ndarray[Any, Any]) -> bytes:
        """Return the BINS levels of the newest frames, float32 (frames,), as bytes: 0 = -100 dBFS, 255 = 0 dBFS."""
        newest = np.zeros(self.frames, np.float32)
        taken = sound[-self.frames :]
        newest[self.frames - len(taken) :] = taken
        magnitude = np.abs(np.fft.rfft(newest * self._window))
        levels = np.interp(self._position, self._lines, magnitude)
        levels[self._wide] = np.maximum.reduceat(magnitude, self._edges)[:-1][self._wide]
        levels[self._above] = 0
        dbfs = 20 * np.log10(np.maximum(levels, 1e-6))
        scaled = np.clip(np.rint((dbfs / -FLOOR_DBFS + 1) * 255), 0, 255)
        return bytes(scaled.astype(np.uint8).tobytes())
