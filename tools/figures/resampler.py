"""The figure of `autovoice.dsp.resampler`: tones swept through it, what passes, what folds, and what the delay buys."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import resampler
from matplotlib.figure import Figure

FROM, TO = 48_000, 16_000  # Hz
FRAMES = 9_600  # of each tone
DELAYS_MS = (0.5, 1.0, 2.0, 4.0)


def _levels(hz: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the level in dB of what comes out for a tone of 0 dB at each frequency below FROM / 2."""
    settled = slice(FRAMES * TO // FROM // 4, None)
    tones = (np.sqrt(2) * np.sin(2 * np.pi * f / FROM * np.arange(FRAMES)) for f in hz)
    heard = (resampler.convert(tone, FROM, TO)[settled] for tone in tones)
    return 20 * np.log10([max(float(np.sqrt(np.mean(one.astype(float) ** 2))), 1e-7) for one in heard])


def _low_pass_db(delay_ms: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (Hz, dB) of the low-pass with another delay."""
    gain = np.abs(np.fft.rfft(resampler.lowpass(resampler.conversion(FROM, TO, delay_ms * 1e-3)), 1 << 16))
    return np.fft.rfftfreq(1 << 16, 1 / FROM), 20 * np.log10(np.maximum(gain, 1e-7))


def draw(figure: Figure) -> None:
    """Draw the level over frequency, whole and at the passband's edge, and the transition over the delay."""
    whole, edge = figure.subplots(1, 2, width_ratios=(1.5, 1))
    hz = np.arange(125.0, FROM / 2, 125.0)
    level = _levels(hz)
    for shown, label in ((hz < TO / 2, "tones that pass"), (hz >= TO / 2, "tones that fold")):
        whole.plot(hz[shown] * 1e-3, level[shown], ".-", markersize=3, linewidth=0.8, label=label)
    whole.axhline(-90, color="grey", linestyle=":", linewidth=1, label="-90 dB")
    whole.set(xlabel="frequency in (kHz)", ylabel="level out (dB)", ylim=(-130, 8), xlim=(0, 24))
    whole.set_title(f"resampler: {FROM // 1000} to {TO // 1000} kHz, delay 2 ms")
    whole.legend(fontsize="small", loc=(0.42, 0.62))
    for delay_ms in DELAYS_MS:
        f, db = _low_pass_db(delay_ms)
        edge.plot(f * 1e-3, db, linewidth=0.9, label=f"{delay_ms:g} ms")
    edge.axhspan(-0.05, 0.05, color="grey", alpha=0.3, label="±0.05 dB")
    edge.set(xlabel="frequency (kHz)", ylabel="gain (dB)", xlim=(1, 8), ylim=(-0.5, 0.15), title="what a longer delay buys")
    edge.legend(fontsize="small", loc="lower left")
