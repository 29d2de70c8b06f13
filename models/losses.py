"""How far a synthesised sound is from the one it should be, as far as ears tell: spectra of several resolutions.

After R. Yamamoto, E. Song and J.-M. Kim, Parallel WaveGAN (ICASSP 2020): at each window length the mean difference of the
logarithms of magnitudes and the error's share of the energy; and the difference of log-mel bands, which are blind to the fine
structure that two trackers of pitch disagree about. The mean and the spread over time of those bands count once more: a voice
is known by its mean spectrum, and a network that is not sure draws curves that move too little (T. Toda, A. W. Black and
K. Tokuda, Voice conversion based on maximum-likelihood estimation of spectral parameter trajectory, 2007: global variance).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from autovoice.dsp.converter import features
from torch import Tensor, nn

WINDOWS = (240, 600, 1200)  # samples at 24 kHz
MEL_BANDS, LOWEST_HZ = 80, 40.0  # up to half the rate
MEL_WINDOW, MEL_WEIGHT = 600, 2.0
MOMENT_WEIGHT = 1.0  # of the mean and of the spread
QUIET = 3e-5  # magnitude below which nothing counts; a full-scale sine has 1


class SpectralLoss(nn.Module):
    """Multi-resolution spectral and mel distance of sounds at 24 kHz."""

    def __init__(self) -> None:
        """Compute windows and mel bands."""
        super().__init__()
        for length in WINDOWS:
            window = torch.hann_window(length)
            self.register_buffer(f"window_{length}", 2 * window / window.sum(), persistent=False)
            size = _size(length)
            edges = edges_mel()
            places = features.mel(np.arange(size // 2 + 1) * 24_000 / size)
            rise = (places - edges[:-2, None]) / np.diff(edges)[0]
            weights = np.maximum(0, np.minimum(rise, 2 - rise))
            weights /= np.maximum(weights.sum(1, keepdims=True), 1e-6)
            self.register_buffer(f"mel_{length}", torch.from_numpy(weights.T).float(), persistent=False)

    def magnitude(self, sound: Tensor, length: int) -> Tensor:
        """Return magnitudes (B, frames, bins)."""
        size = _size(length)
        window = getattr(self, f"window_{length}")
        spectrum = torch.stft(sound, size, length // 4, length, window, center=False, return_complex=True)
        return (torch.view_as_real(spectrum).square().sum(-1) + 1e-12).sqrt().transpose(1, 2)

    def log_mel(self, magnitude: Tensor, length: int) -> Tensor:
        """Return log-mel bands of the magnitudes of a window."""
        return torch.log(magnitude @ getattr(self, f"mel_{length}") + QUIET)

    def forward(self, made: Tensor, wanted: Tensor, length: int | None = None) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of sounds (B, samples), and its parts; `length` has one window stand for all, which costs less."""
        total = made.new_zeros(())
        parts = {}
        for window in sorted({*((length,) if length else WINDOWS), MEL_WINDOW}):
            a, b = self.magnitude(made, window), self.magnitude(wanted, window)
            if length in (None, window):
                log = (torch.log(a + QUIET) - torch.log(b + QUIET)).abs().mean()
                share = torch.linalg.vector_norm(a - b) / (torch.linalg.vector_norm(b) + 1e-3)
                total = total + (log + 0.5 * share) * (len(WINDOWS) if length else 1)
                parts[f"log_{window}"] = log.item()
            if window == MEL_WINDOW:
                mel, moments = self._bands(self.log_mel(a, window), self.log_mel(b, window))
                total = total + MEL_WEIGHT * mel + MOMENT_WEIGHT * moments
                parts |= {"mel": mel.item(), "moments": moments.item()}
        return total, parts

    def _bands(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far log-mel bands are apart, and how far their means and spreads over time."""
        mean = (made.mean(1) - wanted.mean(1)).abs().mean()
        spread = (made.std(1) - wanted.std(1)).abs().mean()
        return (made - wanted).abs().mean(), mean + spread


def edges_mel() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return where the bands begin, have their centres (all but the first and the last), and end."""
    return np.linspace(features.mel(LOWEST_HZ), features.mel(12_000.0), MEL_BANDS + 2)


def _size(length: int) -> int:
    """Return the samples of the transform of a window: the next power of two."""
    return 1 << (length - 1).bit_length()
