"""The figure of `vocoder`: a voice, a chord that speaks with it, and the lines of the chord under the held envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain, Event
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 3.0
NAMES = ("voice", "vocoder, carrier chord (A major)")
FROZEN_S = 1.0  # in the middle of a vowel
LINE_HZ = 110  # of the saw A2


def draw(figure: Figure) -> None:
    """Draw both spectrograms, and beside them the spectrum of the frozen vowel with formants as they are and moved."""
    voice: np.ndarray[Any, Any] = speech.load(speech.default_paths(), RATE, SECONDS)
    voice = 0.4 * voice / np.abs(voice).max() + 1e-7 * np.random.default_rng(0).standard_normal(len(voice))
    heard = Chain([{"stage": "vocoder", "carrier": "chord"}]).render(voice, sample_rate=RATE)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1))
    for row, sound in enumerate((voice, heard + 1e-8)):
        axes = figure.add_subplot(grid[row, 0])
        axes.specgram(sound, NFFT=2048, noverlap=1536, Fs=RATE, scale="dB", vmin=-130, vmax=-40, cmap="magma")
        axes.set(ylim=(0, 8000), ylabel="frequency (Hz)", title=NAMES[row])
    axes.set(xlabel="time (s)")
    spectra = figure.add_subplot(grid[:, 1])
    freeze = [Event(round(FROZEN_S * RATE), "vocoder/freeze", 1.0)]
    lines = np.arange(1, 110) * LINE_HZ
    for formant, colour in ((0.0, "tab:blue"), (6.0, "tab:orange")):
        chain = Chain([{"stage": "vocoder", "formant": formant, "note_1": 45.0, "sibilance": 0.0}])
        held = chain.render(voice, sample_rate=RATE, events=freeze)[-RATE:]
        spectrum = np.abs(np.fft.rfft(held * np.hanning(RATE))) / RATE * 4  # a bin is 1 Hz wide
        level = 20 * np.log10(spectrum[lines] + 1e-9)
        spectra.plot(lines, level, ".-", linewidth=0.7, markersize=3, color=colour, label=f"formant {formant:+g} st")
    spectra.set(xscale="log", xlim=(80, 12_000), ylim=(-110, -20), xlabel="frequency (Hz)", ylabel="level (dBFS)")
    spectra.set(title="freeze: harmonics of the saw A2")
    spectra.legend(loc="lower left", fontsize="small")
