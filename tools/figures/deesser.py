"""The figure of `deesser`: a voice, what is taken from it and when, and the shelf that takes it."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 5.0


def draw(figure: Figure) -> None:
    """Draw the spectrogram above the gain, at the recorded level and 30 dB softer."""
    voice = speech.load(speech.default_paths(), RATE, SECONDS)
    voice = 0.5 * voice / np.abs(voice).max()
    above, below = figure.subplots(2, sharex=True, height_ratios=(1.3, 1))
    shown = voice + 1e-6 * np.random.default_rng(1).standard_normal(len(voice))  # or the spectrogram would take log(0)
    above.specgram(shown, NFFT=1024, noverlap=512, Fs=RATE, scale="dB", vmin=-130, vmax=-40, cmap="magma")
    above.axhline(4500, color="white", linewidth=0.8, linestyle="--")
    above.set(ylim=(0, 8000), ylabel="frequency (Hz)", title="deesser: a reader; sibilance begins at 4500 Hz here")
    settings = {"stage": "deesser", "frequency": 4500.0}
    for gain, label, style in ((1.0, "as recorded", "-"), (10 ** (-30 / 20), "30 dB softer", "--")):
        track = Chain([settings]).analyse(gain * voice, sample_rate=RATE)
        below.plot(track.time_s, track.deesser_db, style, label=label, linewidth=1)
    below.set(xlim=(0, SECONDS), xlabel="time (s)", ylabel="gain of the highs (dB)")
    below.legend(loc="lower right")
    below.grid(alpha=0.3)
