"""The picture of `autovoice analyse`: spectrogram, pitch on a grid of notes, vibrato, colour and level of one recording."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from autovoice.tools.report import DRY, WANTED, WET, Array, draw_spectrogram, voiced
from autovoice.tools.status import A4_HZ, A4_MIDI, NOTES
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from autovoice.rt import Track

SHADE = "#f2c14e"
TITLE_SIZE, TEXT_SIZE = 10, 8
MOST_NOTES = 14  # named on the axis


def draw(target: Path, sound: Array, track: Track, vibratos: list[dict[str, float]], sample_rate: float, *, title: str) -> None:
    """Write the picture of one recording, `sound` being of shape (frames,)."""
    figure, rows = plt.subplots(
        5, 1, figsize=(14, 13), layout="constrained", sharex=True, gridspec_kw={"height_ratios": (2.2, 2, 1, 1, 0.8)}
    )
    spectrum, pitch, vibrato, colour, level = rows
    draw_spectrogram(spectrum, sound, sample_rate, track, title)
    draw_notes(pitch, track, vibratos)
    draw_vibrato(vibrato, track)
    draw_colour(colour, track)
    level.plot(track.time_s, track.level_dbfs, color=DRY, linewidth=0.8)
    level.set(ylim=(-90, 0), ylabel="dBFS RMS", xlabel="s")
    level.grid(alpha=0.25)
    level.set_title("Level", loc="left", fontsize=TITLE_SIZE)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def draw_notes(axes: Axes, track: Track, vibratos: list[dict[str, float]]) -> None:
    """Draw the pitch over a grid of notes, with each vibrato shaded and its figures beside it."""
    heard = track.f0_hz[track.f0_hz > 0]
    midi = A4_MIDI + 12 * np.log2(voiced(track) / A4_HZ)
    low, high = np.nanpercentile(midi, [1, 99]) if len(heard) else (A4_MIDI, A4_MIDI)
    bottom, top = math.floor(low - 1.5), math.ceil(high + 2.5)
    step = next(step for step in (1, 2, 3, 4, 6, 12, 24, 48) if (top - bottom) / step <= MOST_NOTES)
    ticks = range(bottom, top + 1, step)
    axes.plot(track.time_s, midi, color=WET, linewidth=1.3)
    for part in vibratos:
        axes.axvspan(part["start_s"], part["end_s"], color=SHADE, alpha=0.3, linewidth=0)
        middle = (part["start_s"] + part["end_s"]) / 2
        text = f"{part['rate_hz']:.1f} Hz\n{part['extent_cents']:.0f} cents"
        axes.text(middle, 0.97, text, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=TEXT_SIZE)
    axes.set_yticks(list(ticks), [f"{NOTES[tick % 12]}{tick // 12 - 1}" for tick in ticks])
    axes.set(ylim=(bottom, top), ylabel="note")
    axes.grid(alpha=0.25)
    axes.set_title("Pitch, and where it has vibrato", loc="left", fontsize=TITLE_SIZE)


def draw_vibrato(axes: Axes, track: Track) -> None:
    """Draw rate and extent of the vibrato of the 0.8 s before, and how regular the movement of the pitch is."""
    there = track.vibrato_hz > 0
    axes.plot(track.time_s, np.where(there, track.vibrato_hz, np.nan), color=DRY, linewidth=1.6, label="rate, Hz")
    axes.plot(track.time_s, 10 * track.vibrato_regularity, color=WANTED, linewidth=0.8, label="regularity, tenths")
    axes.set(ylim=(0, 11), ylabel="Hz")
    extent = axes.twinx()
    extent.plot(track.time_s, np.where(there, track.vibrato_cents, np.nan), color=WET, linewidth=1.6, label="extent, cents")
    extent.set(ylabel="cents", ylim=(0, max(60.0, 1.3 * float(track.vibrato_cents.max(initial=0)))))
    _legend(axes, extent)
    axes.set_title("Vibrato", loc="left", fontsize=TITLE_SIZE)


def draw_colour(axes: Axes, track: Track) -> None:
    """Draw harmonics to noise and spectral tilt of what is voiced."""
    there = track.f0_hz > 0
    axes.plot(track.time_s, np.where(there, track.hnr_db, np.nan), color=DRY, linewidth=1.0, label="harmonics to noise, dB")
    axes.set(ylabel="dB", ylim=(-10, 60))
    tilt = axes.twinx()
    tilt.plot(track.time_s, np.where(there, track.tilt_db, np.nan), color=WET, linewidth=1.4, label="tilt, dB per octave")
    tilt.set(ylabel="dB per octave", ylim=(-25, 5))
    _legend(axes, tilt)
    axes.set_title("Colour", loc="left", fontsize=TITLE_SIZE)


def _legend(left: Axes, right: Axes) -> None:
    """Put the names of the curves of both scales in one row."""
    left.grid(alpha=0.25)
    curves = [*left.get_lines(), *right.get_lines()]
    names = [str(curve.get_label()) for curve in curves]
    right.legend(curves, names, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=TEXT_SIZE, frameon=False)
