"""The figure of `vibrato`: a note whose vibrato quickens and then deepens, and what the stage says of it."""

from __future__ import annotations

import numpy as np
from autovoice.dsp.undulation import WINDOW_S
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
NOTE_HZ = 220.0
HARMONICS = 24
PUT_IN, MEASURED, PITCH = "#9aa5b1", "#c8553d", "#2a6f97"


def draw(figure: Figure) -> None:
    """Draw the pitch that the tracker found, and rate and extent as they were put in and as they were measured."""
    time_s = np.arange(9 * RATE) / RATE
    rate_hz = np.interp(time_s, [1.5, 4.5], [4.5, 7.0])
    extent_cents = np.interp(time_s, [0.4, 1.0, 4.5, 7.5], [0, 40, 40, 150])
    turns = np.cumsum(rate_hz) / RATE
    phase = 2 * np.pi * np.cumsum(NOTE_HZ * 2 ** (extent_cents / 1200 * np.sin(2 * np.pi * turns))) / RATE
    voice = 0.05 * np.sum([np.sin(k * phase) / k for k in range(1, HARMONICS + 1)], axis=0)
    track = Chain(["vibrato"]).analyse(voice, sample_rate=RATE)
    middle_s = track.time_s - WINDOW_S / 2  # of the window that a report speaks of
    found = track.vibrato_hz > 0

    pitch, rate, extent = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1, 1)})
    heard = track.f0_hz > 0
    cents = 1200 * np.log2(np.where(heard, track.f0_hz, NOTE_HZ) / NOTE_HZ)
    pitch.plot(track.time_s, np.where(heard, cents, np.nan), color=PITCH, linewidth=0.9)
    pitch.set(ylabel="cents from A3", title="vibrato: a sung note, its pitch, and the rate and extent that are measured")
    for axes, truth, values, unit in (
        (rate, rate_hz, track.vibrato_hz, "rate (Hz)"),
        (extent, extent_cents, track.vibrato_cents, "extent (cents)"),
    ):
        axes.plot(time_s, truth, color=PUT_IN, linewidth=4, alpha=0.6, label="put in")
        axes.plot(middle_s, np.where(found, values, np.nan), color=MEASURED, linewidth=1.3, label="measured")
        axes.set(ylabel=unit)
        axes.grid(alpha=0.25)
    rate.set(ylim=(3, 8.5))
    rate.legend(loc="upper left", ncols=2, fontsize=8, frameon=False)
    extent.set(xlabel="time (s)", xlim=(0, 9))
    figure.align_ylabels()
