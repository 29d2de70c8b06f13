"""The figure of `tune`: an off-pitch line with vibrato, as it was sung and tuned at two retune times."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
NOTES = (57.25, 60.3, 63.7, 61.8)  # MIDI, as they are sung


def draw(figure: Figure) -> None:
    """Draw the pitch of the line and of what `tune` makes of it, over the notes of the scale."""
    time_s = np.arange(len(NOTES) * RATE) / RATE
    melody = np.repeat(NOTES, RATE) + 0.45 * np.sin(2 * np.pi * 5.5 * time_s) * np.clip(4 * (time_s % 1 - 0.3), 0, 1)
    glide = np.hanning(RATE // 10)
    melody = np.convolve(np.pad(melody, len(glide) // 2, mode="edge"), glide / glide.sum(), mode="same")
    melody = melody[len(glide) // 2 :][: len(time_s)]
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((melody - 69) / 12)) / RATE
    voice = 0.2 * np.sum([np.sin(k * phase) / k for k in range(1, 15)], axis=0)
    axes = figure.subplots()
    axes.plot(*_pitch(voice), label="sung", color="grey", linewidth=1)
    for retune in (100.0, 0.0):
        heard = Chain([{"stage": "tune", "scale": "major", "retune": retune}]).render(voice, sample_rate=RATE)
        axes.plot(*_pitch(heard), label=f"retune {retune:g} ms", linewidth=1.2)
    axes.set_yticks([57, 59, 60, 62, 64, 65], ["A3", "B3", "C4", "D4", "E4", "F4"])
    axes.grid(axis="y", alpha=0.5)
    axes.set(xlabel="time (s)", ylabel="note", ylim=(56.3, 65), title="tune: an off-pitch line with vibrato, pulled to C major")
    axes.legend(loc="upper left", ncols=3)


def _pitch(sound: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    track = Chain(["pitch"]).analyse(sound, sample_rate=RATE)
    midi = np.where(track.f0_hz > 0, 69 + 12 * np.log2(np.maximum(track.f0_hz, 1) / 440), np.nan)
    return track.time_s, midi
