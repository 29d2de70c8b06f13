"""The figure of `highpass`: measured responses of both slopes over the formula of Butterworth's filters."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
CUTOFF_HZ = 120.0
ORDERS = {"12dB": 2, "24dB": 4}


def draw(figure: Figure) -> None:
    """Draw the level of an impulse's spectrum behind the filter."""
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)[10:]
    axes = figure.subplots()
    for slope, order in ORDERS.items():
        chain = Chain([{"stage": "highpass", "cutoff": CUTOFF_HZ, "slope": slope}])
        response = np.abs(np.fft.rfft(chain.render(impulse, sample_rate=RATE)))[10:]
        # The bilinear transform bends the frequency axis: tan(pi f / rate) stands for f.
        ratio = np.tan(np.pi * CUTOFF_HZ / RATE) / np.tan(np.pi * hertz / RATE)
        axes.semilogx(hertz, 20 * np.log10(response), linewidth=2.5, alpha=0.6, label=f"{slope}: measured")
        axes.semilogx(hertz, -10 * np.log10(1 + ratio ** (2 * order)), "k--", linewidth=0.8, label=f"{slope}: formula")
    axes.axvline(CUTOFF_HZ, color="grey", linewidth=0.6)
    axes.set(xlim=(10, 2000), ylim=(-60, 3), xlabel="frequency (Hz)", ylabel="gain (dB)", title="highpass: cutoff 120 Hz")
    axes.grid(alpha=0.4, which="both")
    axes.legend(loc="lower right")
