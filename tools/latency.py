"""The delay between what was sent and what came back, measured to the frame."""

from __future__ import annotations

from typing import Any

import numpy as np

CHIRP_S, CHIRP_LOW_HZ, CHIRP_HIGH_HZ, CHIRP_AMPLITUDE = 0.25, 1_000.0, 8_000.0, 0.25


def chirp(sample_rate: float) -> np.ndarray[Any, Any]:
    """Return a band-limited linear sweep with a Hann envelope; float32 of shape (frames,).

    It stays above the region in which a high-pass bends the phase, so the peak of the cross-correlation is the delay.
    """
    time_s = np.arange(round(CHIRP_S * sample_rate)) / sample_rate
    phase = 2 * np.pi * (CHIRP_LOW_HZ + (CHIRP_HIGH_HZ - CHIRP_LOW_HZ) * time_s / (2 * CHIRP_S)) * time_s
    return (CHIRP_AMPLITUDE * np.hanning(len(time_s)) * np.sin(phase)).astype(np.float32)


def delay_frames(sent: np.ndarray[Any, Any], received: np.ndarray[Any, Any], longest: int) -> int:
    """Return the lag in 0..longest at which `received` resembles `sent` most; both of shape (frames,).

    The peak of the cross-correlation (C. H. Knapp and G. C. Carter, IEEE Trans. ASSP 24(4), 1976, eq. 3). Raises ValueError
    where nothing came back.
    """
    size = 1 << (len(sent) + longest).bit_length()
    spectrum = np.conj(np.fft.rfft(sent, size)) * np.fft.rfft(received[: len(sent) + longest], size)
    correlation = np.fft.irfft(spectrum, size)[: longest + 1]
    if not correlation.max() > 0.01 * float(np.square(sent, dtype=np.float64).sum()):
        raise ValueError("nothing of what was sent came back")
    return int(np.argmax(correlation))
