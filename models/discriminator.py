"""A critic for training: it tells recordings of a voice from guesses at their mean.

A mean of all spectra that might come next is blurred, and a loss of differences rewards it; a critic that sees patches of
log-mel spectrograms does not (X. Mao et al., Least squares generative adversarial networks, ICCV 2017; K. Kumar et al.,
MelGAN, NeurIPS 2019, for the matching of features). It is told the speaker by projection (T. Miyato and M. Koyama, cGANs with
projection discriminator, ICLR 2018), so what it rejects is another voice as much as a blurred one.
"""

from __future__ import annotations

import torch
from autovoice.models.losses import SpectralLoss
from autovoice.models.network import SPEAKER
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

VIEWS = (600, 1200)  # samples at 24 kHz: windows of the spectrograms
WIDTHS = (32, 32, 64, 64)
STRIDES = ((1, 2), (2, 2), (2, 2), (1, 2))  # in time, in frequency


class View(nn.Module):
    """The critic of one resolution."""

    def __init__(self) -> None:
        """Lay out the layers."""
        super().__init__()
        widths = (1, *WIDTHS)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, 5, stride, 2))
            for before, after, stride in zip(widths[:-1], widths[1:], STRIDES, strict=True)
        )
        self.verdict = weight_norm(nn.Conv2d(WIDTHS[-1], 1, 3, 1, 1))
        self.speaker = nn.Linear(SPEAKER, WIDTHS[-1])

    def forward(self, spectrogram: Tensor, speaker: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return verdicts (B, 1, time, frequency), 1 = a recording, and what the layers saw, of (B, time, bands)."""
        x = spectrogram[:, None] / 4.0 + 1.5  # log-mel of speech lies around -6
        seen = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            seen.append(x)
        likeness = torch.einsum("bctf,bc->btf", x, self.speaker(speaker))[:, None] / WIDTHS[-1] ** 0.5
        return self.verdict(x) + likeness, seen


class Critic(nn.Module):
    """All resolutions."""

    def __init__(self) -> None:
        """Lay out the views."""
        super().__init__()
        self.views = nn.ModuleList(View() for _ in VIEWS)
        self.spectra = SpectralLoss()

    def forward(self, sound: Tensor, speaker: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Return the verdicts and features of sounds (B, samples) at 24 kHz by view."""
        return [
            view(self.spectra.log_mel(self.spectra.magnitude(sound, length), length), speaker)
            for view, length in zip(self.views, VIEWS, strict=True)
        ]


def critic_loss(real: list[tuple[Tensor, list[Tensor]]], made: list[tuple[Tensor, list[Tensor]]]) -> Tensor:
    """Return what the critic learns from: recordings are 1, what was made is 0."""
    parts = [(a - 1).square().mean() + b.square().mean() for (a, _), (b, _) in zip(real, made, strict=True)]
    return torch.stack(parts).mean()


def maker_loss(real: list[tuple[Tensor, list[Tensor]]], made: list[tuple[Tensor, list[Tensor]]]) -> tuple[Tensor, Tensor]:
    """Return what the converter learns from: to pass as a recording, and to look like one to every layer."""
    passing = torch.stack([(b - 1).square().mean() for b, _ in made]).mean()
    layers = zip((a.detach() for _, seen in real for a in seen), (b for _, seen in made for b in seen), strict=True)
    alike = torch.stack([(a - b).abs().mean() / a.abs().mean().clamp_min(1e-3) for a, b in layers]).mean()
    return passing, alike
