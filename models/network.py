"""The converter as a torch module, for training; live it is compiled from the same weights (`autovoice.dsp.converter`).

    features (B, T, MELS + 2) -> encoder, speaker-free -> decoder, told the speaker -> log-magnitudes (B, T, HARMONIC + NOISE)

Every layer is causal; what it may know of the future is the look-ahead alone: the same network is asked for a frame 1, 3 or 8
frames back and is told which. A block is ConvNeXt's (Z. Liu et al., A ConvNet for the 2020s, CVPR 2022) with a gate: a
depthwise convolution over time, a norm over the channels of a frame, GLU, and a product back. The decoder's norms are scaled
and shifted by the speaker (E. Perez et al., FiLM, AAAI 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import FADE_HZ, HARMONIC, MELS, NOISE
from torch import Tensor, nn
from torch.nn import functional

CHANNELS, KERNEL = 256, 5
ENCODER = (1, 2, 4, 8, 1, 2, 4, 8)  # dilations
DECODER = (1, 2, 4, 1, 2)
SPEAKER = 128
CONTENT = 512
SYMBOLS = 178  # phonemes that the teacher knows
LOOKAHEADS = {"low": 1, "balanced": 3, "quality": 8}  # frames
INPUTS = MELS + 2  # bands, pitch as it comes on the bus, voicing
LOWEST, HIGHEST = -14.0, 2.0  # natural logarithm of a magnitude
RATE = 24_000  # Hz
QUIET = 1e-3  # added to the mean square of a frame's channels


class Block(nn.Module):
    """One residual block, causal."""

    def __init__(self, dilation: int) -> None:
        """Lay out the layers."""
        super().__init__()
        self.reach = (KERNEL - 1) * dilation
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, KERNEL, dilation=dilation, groups=CHANNELS)
        self.gate = nn.Linear(CHANNELS, 2 * CHANNELS)
        self.out = nn.Linear(CHANNELS, CHANNELS)
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """x: (B, T, CHANNELS); scale and shift of the speaker: (B, 1, CHANNELS)."""
        y = self.depthwise(functional.pad(x.transpose(1, 2), (self.reach, 0))).transpose(1, 2)
        y = functional.rms_norm(y, (CHANNELS,), eps=QUIET)
        if scale is not None and shift is not None:
            y = torch.addcmul(shift, y, 1 + scale)
        return x + self.out(functional.glu(self.gate(y), 2))


class Converter(nn.Module):
    """From a voice's features to the envelopes of the same words in another voice."""

    def __init__(self) -> None:
        """Lay out the layers; seeded by the caller."""
        super().__init__()
        self.inputs = nn.Linear(INPUTS, CHANNELS)
        self.lookahead = nn.Embedding(len(LOOKAHEADS), CHANNELS)
        self.encoder = nn.ModuleList(Block(dilation) for dilation in ENCODER)
        self.speaker = nn.Linear(SPEAKER, SPEAKER)
        self.film = nn.Linear(SPEAKER, 2 * CHANNELS * len(DECODER))
        nn.init.normal_(self.film.weight, std=0.02)
        nn.init.zeros_(self.film.bias)
        self.pitch = nn.Linear(1, CHANNELS)
        self.decoder = nn.ModuleList(Block(dilation) for dilation in DECODER)
        self.outputs = nn.Linear(CHANNELS, HARMONIC + NOISE)
        nn.init.constant_(self.outputs.bias, -6.0)
        self.content = nn.Linear(CHANNELS, CONTENT)  # this and the next only for training: see export.UNSHIPPED
        self.phonemes = nn.Linear(CHANNELS, SYMBOLS)
        self.bands = nn.Linear(CHANNELS, MELS)

    def encode(self, x: Tensor, mode: int) -> Tensor:
        """Return what is said, (B, T, CHANNELS), from features (B, T, INPUTS)."""
        h = self.inputs(x) + self.lookahead.weight[mode]
        for block in self.encoder:
            h = block(h)
        return h

    def decode(self, h: Tensor, speaker: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-magnitudes (B, T, HARMONIC + NOISE) for speakers (B, SPEAKER) at pitches (B, T, 1) in octaves.

        Beside them the target's bands, (B, T, MELS), as `features.bands` would find them.
        """
        film = self.film(functional.silu(self.speaker(speaker)))[:, None]
        h = h + self.pitch(pitch)
        for block, scale_shift in zip(self.decoder, film.chunk(len(DECODER), 2), strict=True):
            scale, shift = scale_shift.chunk(2, 2)
            h = block(h, scale, shift)
        return self.outputs(h).clamp(LOWEST, HIGHEST), self.bands(h)

    def forward(self, x: Tensor, mode: int, speaker: Tensor, pitch: Tensor) -> Tensor:
        """Return the envelopes; see `encode` and `decode`."""
        return self.decode(self.encode(x, mode), speaker, pitch)[0]


class Synthesis(nn.Module):
    """From envelopes and a pitch curve to sound at RATE, differentiable in the envelopes."""

    def __init__(self) -> None:
        """Compute the matrices."""
        super().__init__()
        self.hop = round(features.HOP_S * RATE)
        self.size = features.transform_size(RATE)
        self.register_buffer("window", torch.hann_window(2 * self.hop), persistent=False)
        for name, count in (("harmonic", HARMONIC), ("noise", NOISE)):
            for part, rows in zip(("magnitude", "phase"), features.response(count), strict=True):
                rows = torch.from_numpy(features.at_bins(rows, RATE)).float()
                self.register_buffer(f"{name}_{part}", rows, persistent=False)

    def forward(self, envelopes: Tensor, f0_hz: Tensor, hiss: Tensor, phase: Tensor | None = None) -> Tensor:
        """Return sound (B, T hop) whose sample 0 is the centre of frame 0.

        envelopes: (B, T, HARMONIC + NOISE) of frames 0..T - 1; f0_hz and hiss (unit variance): (B, (T + 1) hop), from a hop
        before the centre of frame 0; phase: turns at the start, (B, 1).
        """
        pulses = pulse_train(f0_hz, RATE, phase)
        spectrum = self._part("harmonic", envelopes[..., :HARMONIC], pulses) + self._part(
            "noise", envelopes[..., HARMONIC:], hiss
        )
        frames = torch.fft.irfft(spectrum, self.size)  # (B, T, size)
        count, hop = frames.shape[1], self.hop
        length = (count - 1) * hop + self.size
        whole = functional.fold(frames.transpose(1, 2), (1, length), (1, self.size), stride=(1, hop))[:, 0, 0]
        return whole[:, hop : hop + count * hop]

    def _part(self, name: str, envelope: Tensor, excitation: Tensor) -> Tensor:
        frames = excitation.unfold(1, 2 * self.hop, self.hop) * self.window
        spectrum = torch.fft.rfft(frames, self.size)
        magnitude = torch.exp(envelope @ getattr(self, f"{name}_magnitude").T)
        angle = envelope @ getattr(self, f"{name}_phase").T
        return spectrum * torch.polar(magnitude, angle)


def pulse_train(f0_hz: Tensor, sample_rate: float, phase: Tensor | None = None) -> Tensor:
    """Return the sum of all cosines of unit amplitude at multiples of f0 up to FADE_HZ, (B, samples)."""
    turns = torch.cumsum(f0_hz.double() / sample_rate, 1)
    turns = turns + phase if phase is not None else turns
    half = np.pi * (turns - turns.round())  # half the angle of the fundamental, -pi/2..pi/2
    count = torch.floor(FADE_HZ / f0_hz.double())
    low = torch.sin(half)
    safe = torch.where(low.abs() < 1e-6, torch.full_like(low, 1e-6), low)
    total = torch.where(low.abs() < 1e-6, 2 * count + 1, torch.sin((2 * count + 1) * half) / safe)
    return ((total - 1) / 2).float()


def parameters(module: nn.Module) -> int:
    """Return the number of weights."""
    return sum(int(weights.numel()) for weights in module.parameters())


def batch_of(arrays: list[np.ndarray[Any, Any]]) -> Tensor:
    """Return arrays of one shape as a float32 batch."""
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
