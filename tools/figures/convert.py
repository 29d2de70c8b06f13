"""The figure of `convert`: a reader, the same words as two other people say them, and half way between."""

from __future__ import annotations

import numpy as np
from autovoice.dsp.converter import voices
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
START_S, END_S = 4.35, 5.55  # of the reading


def draw(figure: Figure) -> None:
    """Draw the spectrogram of the reader, of two voices that ship, and of their middle."""
    voice = speech.load(speech.default_paths(), RATE, END_S + 0.5)
    names = {slot: name for name, slot in voices.voices().items()}
    settings = {
        "in": None,
        f"voice 0: {names[0]}": {"voice": 0},
        "morph 0.5": {"voice": 0, "other": 5, "morph": 0.5},
        f"voice 5: {names[5]}": {"voice": 5},
    }
    panels = figure.subplots(1, len(settings), sharex=True, sharey=True)
    for axes, (title, own) in zip(panels, settings.items(), strict=True):
        heard = voice if own is None else Chain([{"stage": "convert", **own}]).render(voice, sample_rate=RATE)
        part = heard[round(START_S * RATE) : round(END_S * RATE)]
        part = part + 1e-6 * np.random.default_rng(0).standard_normal(len(part))  # or silence would be log(0)
        axes.specgram(part, NFFT=1600, noverlap=1440, pad_to=4096, Fs=RATE, scale="dB", vmin=-110, vmax=-45, cmap="magma")
        axes.set(title=title, xlabel="time (s)", ylim=(0, 6000))
    panels[0].set_ylabel("frequency (Hz)")
    figure.suptitle("convert: the same words at the same time, at another pitch and with another vocal tract")
