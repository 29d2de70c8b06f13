"""A sound's picture for the page: spectrogram with the pitch over it, as PNG."""

from __future__ import annotations

import io

import numpy as np
from autovoice.tools.quality import pitch
from autovoice.tools.quality.signal import JUDGED_RATE, Array, resample

WIDTH_IN, HEIGHT_IN, DPI = 4.6, 1.6, 80


def picture(sound: Array, rate: int) -> bytes:
    """Return a PNG of a sound's spectrogram, 60 Hz to 8 kHz on a logarithmic axis, with its pitch; control thread only."""
    from autovoice.tools.report import HIGH_HZ, LOW_HZ, RANGE_DB, TRACK_OVER_SOUND, spectrogram
    from matplotlib.figure import Figure

    times, frequencies, levels = spectrogram(np.asarray(sound, np.float32), rate)
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI)
    axes = figure.add_axes((0.09, 0.16, 0.9, 0.8))
    top = float(levels.max())
    axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - RANGE_DB,
        vmax=top,
        extent=(0, float(times[-1]), 0, len(frequencies)),
    )

    def row(hz: Array) -> Array:
        return np.asarray(np.interp(np.log(hz), np.log(frequencies), np.arange(len(frequencies)) + 0.5))

    f0 = pitch.melody(resample(sound, rate, JUDGED_RATE), JUDGED_RATE).f0_hz
    f0 = np.where(f0 > 0, f0, np.nan)
    axes.plot(np.arange(len(f0)) * pitch.HOP_S, row(f0), color=TRACK_OVER_SOUND, linewidth=1.1)
    ticks = np.array([tick for tick in (100, 300, 1000, 3000) if LOW_HZ < tick < min(HIGH_HZ, rate / 2)])
    axes.set_yticks(row(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(0, float(times[-1]))
    axes.tick_params(labelsize=7, length=2, pad=2)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()
