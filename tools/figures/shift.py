"""The figure of `shift`: a reader, higher by a fifth with the same formants, and with higher formants at the same pitch."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
START_S, END_S = 4.35, 5.15  # of the reading
SETTINGS = {
    "in": {},
    "semitones = 7": {"semitones": 7.0},
    "formant = 5": {"formant": 5.0},
}


def draw(figure: Figure) -> None:
    """Draw the spectrogram of the voice as it is and of two settings."""
    voice = speech.load(speech.default_paths(), RATE, END_S + 0.5)
    panels = figure.subplots(1, len(SETTINGS), sharex=True, sharey=True)
    for axes, (title, settings) in zip(panels, SETTINGS.items(), strict=True):
        heard = Chain([{"stage": "shift", **settings}]).render(voice, sample_rate=RATE)
        part = heard[round(START_S * RATE) : round(END_S * RATE)]
        part = part + 1e-6 * np.random.default_rng(0).standard_normal(len(part))  # or silence would be log(0)
        axes.specgram(part, NFFT=2400, noverlap=2280, pad_to=8192, Fs=RATE, scale="dB", vmin=-95, vmax=-40, cmap="magma")
        axes.set(title=title, xlabel="time (s)", ylim=(0, 3000))
    panels[0].set_ylabel("frequency (Hz)")
    figure.suptitle("shift: harmonics move apart and formants stay; formants move and harmonics stay")
