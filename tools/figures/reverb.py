"""The figure of `reverb`: its response to a click, how fast each band decays, and how soon its echoes are as dense as noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
DECAY_S, LOW, HIGH = 2.0, 1.4, 0.4


def _octave_decay_db(h: np.ndarray[Any, Any], hz: float) -> np.ndarray[Any, Any]:
    """Return M. Schroeder's backward integral of an octave, dB."""
    spectrum, f = np.fft.rfft(h, 2 * len(h)), np.fft.rfftfreq(2 * len(h), 1 / RATE)
    band = np.exp(-((np.log2(np.maximum(f, 1) / hz) / 0.5) ** 4))
    energy = np.cumsum(np.fft.irfft(spectrum * band)[: len(h)][::-1] ** 2)[::-1]
    return np.asarray(10 * np.log10(energy / energy[0] + 1e-12))


def _echo_density(h: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (ms, normalised echo density in windows of 20 ms) after J. Abel & P. Huang, AES 121, 2006."""
    width = RATE // 50
    window = np.hanning(width + 2)[1:-1] / np.hanning(width + 2).sum()
    centres = np.arange(width // 2, RATE // 2, RATE // 500)
    parts = np.stack([h[c - width // 2 : c - width // 2 + width] for c in centres])
    outside = np.abs(parts) > np.sqrt(parts**2 @ window)[:, None]
    return 1e3 * centres / RATE, np.asarray(outside @ window / math.erfc(2**-0.5))


def draw(figure: Figure) -> None:
    """Draw the response of one side, decays by octave, and echo density for three sizes."""
    click = np.zeros(3 * RATE, np.float32)
    click[0] = 1
    settings = {"stage": "reverb", "decay": DECAY_S, "low": LOW, "high": HIGH, "mix": 1.0, "predelay": 0.0}
    h = Chain([settings]).render(click, sample_rate=RATE, channels=2)[0].astype(float)
    tail = Chain([{**settings, "early": 0.0}]).render(click, sample_rate=RATE, channels=2)[0].astype(float)
    response, decay, density = figure.subplots(1, 3)
    ms = 1e3 * np.arange(RATE // 4) / RATE
    response.plot(ms, h[: len(ms)], linewidth=0.5)
    response.set(xlabel="time (ms)", ylabel="amplitude", title="reverb: a click, left side")
    for hz, times in ((125, LOW), (1000, 1.0), (10_000, HIGH)):
        level_db = _octave_decay_db(tail, hz)
        line = decay.plot(np.arange(len(h)) / RATE, level_db, label=f"{hz:g} Hz")[0]
        decay.plot([0, DECAY_S * times], [0, -60], ":", color=line.get_color(), linewidth=1)
    decay.set(ylim=(-70, 2), xlim=(0, 3), xlabel="time (s)", ylabel="level (dB)", title=f"decay {DECAY_S:g} s: as set (dotted)")
    decay.legend(fontsize="small")
    for size in (0.4, 1.0, 2.0):
        side = Chain([{**settings, "size": size}]).render(click, sample_rate=RATE, channels=2)[0].astype(float)
        density.plot(*_echo_density(side), label=f"size {size:g}", linewidth=1)
    density.axhline(1, color="grey", linestyle=":", linewidth=1)
    density.set(xlabel="time (ms)", ylabel="1 = Gaussian noise", title="echo density", ylim=(0, 1.4))
    density.legend(fontsize="small")
