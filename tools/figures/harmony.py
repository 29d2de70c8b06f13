"""The figure of `harmony`: a scale, and the third and the fifth that follow it."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SCALE = (60, 62, 64, 65, 67)  # MIDI
VOICES = {"level_2": -6.0, "degree_2": 4, "pan_2": 0.5, "humanise": 0.5, "key": "c", "scale": "major"}


def draw(figure: Figure) -> None:
    """Draw the spectrogram of a sung scale with two voices, left and right together, over that of the lead."""
    time_s = np.arange(len(SCALE) * RATE * 2 // 3) / RATE
    melody = np.repeat(SCALE, RATE * 2 // 3) + 0.2 * np.sin(2 * np.pi * 5.5 * time_s)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((melody - 69) / 12)) / RATE
    lead = 0.2 * np.sum([np.sin(k * phase) / k for k in range(1, 4)], axis=0)
    heard = Chain([{"stage": "harmony", **VOICES}]).render(lead, sample_rate=RATE, channels=2).mean(0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, sound, title in zip(panels, (lead, heard), ("the lead", "with a third and a fifth above, C major"), strict=True):
        axes.specgram(sound, NFFT=4096, Fs=RATE, noverlap=3584, vmin=-120, vmax=-40, cmap="magma")
        axes.set(xlabel="time (s)", ylim=(200, 900), title=title)
    panels[0].set_ylabel("frequency (Hz)")
    figure.suptitle("harmony: a sung scale (three harmonics)")
