"""The figure of `compressor`: its static curve, and attack and release on a burst."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz


def draw(figure: Figure) -> None:
    """Draw output against input for three knees, and the gain over time."""
    left, right = figure.subplots(1, 2)
    level_db = np.linspace(-50, 0, 2 * RATE)
    for knee in (0.0, 6.0, 18.0):
        settings = {"threshold": -24.0, "ratio": 4.0, "knee": knee, "attack": 0.1, "release": 2000.0}
        heard = Chain([{"stage": "compressor", **settings}]).render(10 ** (level_db / 20), sample_rate=RATE)
        left.plot(level_db, 20 * np.log10(heard), label=f"knee {knee:g} dB")
    left.plot(level_db, level_db, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="peak in (dBFS)", ylabel="peak out (dBFS)", title="compressor: threshold -24 dBFS, ratio 4")
    left.legend()
    left.grid(alpha=0.3)
    time_s = np.arange(RATE // 2) / RATE
    burst = np.where((time_s > 0.05) & (time_s < 0.2), 1.0, 0.03).astype(np.float32)
    for attack, release in ((1.0, 30.0), (5.0, 100.0), (20.0, 100.0)):
        settings = {"threshold": -24.0, "ratio": 4.0, "attack": attack, "release": release}
        heard = Chain([{"stage": "compressor", **settings}]).render(burst, sample_rate=RATE)
        right.plot(1e3 * time_s, 20 * np.log10(heard / burst), label=f"attack {attack:g} ms, release {release:g} ms")
    right.axvspan(50, 200, color="grey", alpha=0.15, label="0 dBFS instead of -30")
    right.set(xlabel="time (ms)", ylabel="gain (dB)", title="a loud burst")
    right.legend(fontsize="small")
    right.grid(alpha=0.3)
