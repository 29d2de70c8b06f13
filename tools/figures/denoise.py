"""The figure of `denoise`: a reader in a fan's noise, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 6.0
SNR_DB = 5.0
LEAD_S = 1.0  # noise alone


def _fan(frames: int) -> np.ndarray[Any, Any]:
    """Return air that falls by 6 dB per octave from 250 Hz on, with blade tones of 118 Hz, RMS 1."""
    frequency = np.fft.rfftfreq(frames, 1 / RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(frames)) / np.sqrt(1 + (frequency / 250) ** 2)
    air = np.fft.irfft(spectrum, frames)
    time_s = np.arange(frames) / RATE
    tones = sum(np.sin(2 * np.pi * 118 * k * time_s) / k for k in (1, 2, 3))
    noise = air / air.std() + 0.35 * tones
    return np.asarray(noise / noise.std())


def draw(figure: Figure) -> None:
    """Draw both spectrograms above the mean gain."""
    voice = speech.load(speech.default_paths(), RATE, SECONDS)
    voice = np.pad(voice * 0.1 / voice.std(), (round(LEAD_S * RATE), 0))
    noisy = voice + 0.1 * 10 ** (-SNR_DB / 20) * _fan(len(voice))
    chain = Chain(["denoise"])
    heard = chain.render(noisy, sample_rate=RATE)
    gain = chain.analyse(noisy, sample_rate=RATE)
    axes = figure.subplots(3, sharex=True, height_ratios=(2, 2, 1))
    delay_ms = 1000 * chain.latency(RATE) / RATE
    for panel, sound, name in ((axes[0], noisy, "in"), (axes[1], heard, "out")):
        panel.specgram(sound, NFFT=1024, noverlap=768, Fs=RATE, scale="dB", vmin=-120, vmax=-40, cmap="magma")
        panel.set(ylim=(0, 6000), ylabel=f"{name}: Hz")
    axes[0].set_title(f"denoise: a reader in a fan's noise at {SNR_DB:g} dB, delayed by {delay_ms:.1f} ms")
    axes[2].plot(gain.time_s - delay_ms / 1000, gain.denoise_db, linewidth=0.8)
    axes[2].set(ylabel="mean gain (dB)", xlabel="time (s)", xlim=(0, len(voice) / RATE))
