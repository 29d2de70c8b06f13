"""The figure of `stretch`: a reader slowed down, frozen, and caught up with, above the sound that is held back."""

from __future__ import annotations

import numpy as np
from autovoice.dsp.stage import SEGMENT
from autovoice.rt import Chain, Event
from autovoice.rt.rendering import render
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 8.0
MOVES = (
    (1.0, "speed", 0.5, "speed 0.5"),
    (2.35, "freeze", 1.0, "freeze"),
    (3.35, "freeze", 0.0, "speed 1"),
    (3.35, "speed", 1.0, ""),
    (4.6, "catch_up", 1.0, "catch_up"),
)


def draw(figure: Figure) -> None:
    """Draw both spectrograms above the time held back, with the moves that were made."""
    voice = speech.load(speech.default_paths(), RATE, SECONDS)
    events = [Event(round(at * RATE), f"stretch/{name}", value) for at, name, value, _ in MOVES]
    heard, bus = render(Chain(["stretch"]), voice, sample_rate=RATE, block=SEGMENT, events=events, trace=True)
    axes = figure.subplots(3, sharex=True, height_ratios=(2, 2, 1))
    for panel, sound, name in ((axes[0], voice, "in"), (axes[1], heard, "out")):
        floor = 1e-6 * np.random.default_rng(0).standard_normal(len(sound))
        panel.specgram(sound + floor, NFFT=2048, noverlap=1536, Fs=RATE, scale="dB", vmin=-110, vmax=-40, cmap="magma")
        panel.set(ylabel=f"{name}: frequency (Hz)", ylim=(0, 4000))
    axes[2].plot(np.arange(len(bus)) * SEGMENT / RATE, bus["buffered_s"])
    axes[2].set(xlabel="time (s)", ylabel="held back (s)", xlim=(0, SECONDS))
    axes[2].grid(alpha=0.3)
    for at, _, _, label in MOVES:
        for panel in axes:
            panel.axvline(at, color="white" if panel is not axes[2] else "gray", linewidth=0.8, linestyle="--")
        axes[1].text(at + 0.05, 3550, label, color="white", fontsize="small")
    axes[0].set_title("stretch: slower, held, as it is, and back to the live edge")
