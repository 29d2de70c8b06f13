"""The figure of `limiter`: a tone whose peaks lie between its samples, and the gain that bends before a peak comes."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
FINE = 16  # points per frame


def _between(sound: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the sound on a grid FINE times finer, by its spectrum."""
    spectrum = np.fft.rfft(sound)
    return np.asarray(np.fft.irfft(spectrum, FINE * len(sound)) * FINE)


def draw(figure: Figure) -> None:
    """Draw both kinds of peak, and a gain curve."""
    left, right = figure.subplots(1, 2)
    n = np.arange(4800)
    tone = np.sin(np.pi / 2 * n + np.pi / 4) * np.exp(-(((n - 2400) / 900.0) ** 2))  # its samples lie 3 dB below its peaks
    part = slice(2390, 2412)
    for peak, colour in (("sample", "tab:red"), ("true", "tab:blue")):
        heard = Chain([{"stage": "limiter", "ceiling": -3.0, "peak": peak}]).render(1.3 * tone, sample_rate=RATE)
        fine = _between(heard.astype(float))
        grid = np.arange(FINE * part.start, FINE * part.stop)
        left.plot(grid / FINE, fine[grid], color=colour, linewidth=1, label=f"peak={peak}")
        left.plot(n[part], heard[part], "o", color=colour, markersize=3)
    for side in (-1, 1):
        left.axhline(side * 10 ** (-3 / 20), color="black", linestyle=":", label="ceiling -3 dBFS" if side > 0 else None)
    left.set(xlabel="frame", ylabel="amplitude", title="limiter: samples, and what lies between", ylim=(-1.05, 1.5))
    left.legend(fontsize="small", ncols=2, loc="upper left")
    pulse = np.full(RATE // 10, 0.05, np.float32)
    pulse[RATE // 50] = 2.0
    for lookahead in (0.5, 1.5, 5.0):
        chain = Chain([{"stage": "limiter", "ceiling": -1.0, "lookahead": lookahead, "release": 30.0}])
        gain_db = 20 * np.log10(chain.render(pulse, sample_rate=RATE) / pulse)
        right.plot(1e3 * np.arange(len(pulse)) / RATE - 20, gain_db, label=f"look-ahead {lookahead:g} ms", linewidth=1)
    right.set(xlim=(-6, 30), xlabel="time after a peak at +6 dBFS (ms)", ylabel="gain (dB)", title="the gain around a peak")
    right.legend(fontsize="small")
    right.grid(alpha=0.3)
