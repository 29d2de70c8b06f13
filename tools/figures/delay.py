"""The figure of `delay`: echoes of a short syllable thrown from side to side, darker each time."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz


def draw(figure: Figure) -> None:
    """Draw both sides, and their spectrogram."""
    frames = round(2.2 * RATE)
    time_s = np.arange(frames) / RATE
    buzz = sum(np.sin(2 * np.pi * 150 * k * time_s + k * k) / k**0.5 for k in range(1, 70))
    syllable = 0.08 * buzz * np.where(time_s < 0.12, np.sin(np.pi * time_s / 0.12) ** 2, 0)
    settings = {"note": "1/8d", "bpm": 125.0, "feedback": 0.65, "pingpong": 1.0, "mix": 0.5, "high_cut": 3500.0}
    heard = Chain([{"stage": "delay", **settings}]).render(syllable, sample_rate=RATE, channels=2)
    above, below = figure.subplots(2, sharex=True)
    for side, name, offset in ((heard[0], "left", 0.6), (heard[1], "right", -0.6)):
        above.plot(time_s, side + offset, linewidth=0.6, label=name)
    for k in range(7):
        above.axvline(0.06 + k * 0.36, color="grey", linewidth=0.6, linestyle=":")
    above.set(
        ylabel="amplitude",
        yticks=[],
        title="delay: dotted eighths at 125 bpm = 360 ms, feedback 0.65, ping-pong, high cut 3.5 kHz",
    )
    above.legend(loc="upper right")
    mixed = heard.mean(axis=0) + 1e-6 * np.random.default_rng(0).standard_normal(frames)
    below.specgram(mixed, NFFT=1024, noverlap=768, Fs=RATE, scale="dB", vmin=-130, vmax=-50, cmap="magma")
    below.set(ylim=(0, 12_000), xlim=(0, 2.2), xlabel="time (s)", ylabel="frequency (Hz)")
