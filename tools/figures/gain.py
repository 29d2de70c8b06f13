"""The figure of `gain`: a move of 12 dB on a steady tone glides, and the tone never jumps."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain, Event
from matplotlib.figure import Figure

RATE = 48_000  # Hz


def draw(figure: Figure) -> None:
    """Draw a tone before and after its gain was moved."""
    time_s = np.arange(RATE // 10) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 440 * time_s)
    heard = Chain(["gain"]).render(tone, sample_rate=RATE, events=[Event(RATE // 50, "gain/gain", 12.0)])
    axes = figure.subplots()
    axes.plot(time_s * 1e3, heard, label="out", linewidth=0.9)
    axes.plot(time_s * 1e3, tone, label="in", linewidth=0.9)
    axes.axvspan(20, 40, alpha=0.15, color="grey", label="the move: +12 dB over 20 ms")
    axes.set(xlabel="time (ms)", ylabel="amplitude", title="gain: a 440 Hz tone, moved from 0 to +12 dB at 20 ms")
    axes.legend(loc="upper left")
