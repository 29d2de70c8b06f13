"""The figure of `eq`: six bands and their sum, measured, over the analogue filters they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain
from matplotlib.figure import Figure

RATE = 48_000  # Hz
BANDS = (
    ("low_cut", 80.0, 0.0, 0.71),
    ("low_shelf", 180.0, 5.0, 0.71),
    ("peak", 400.0, -6.0, 1.5),
    ("peak", 2500.0, 4.0, 0.8),
    ("peak", 6500.0, -8.0, 5.0),
    ("high_shelf", 12_000.0, 7.0, 0.71),
)


def _measured_db(bands: dict[int, tuple[str, float, float, float]]) -> np.ndarray[Any, Any]:
    """Return the level at every whole Hz of an equaliser with these bands, the others off."""
    settings: dict[str, Any] = {f"band{k}_type": "off" for k in range(1, 7)}
    for k, (kind, frequency, gain, q) in bands.items():
        settings |= {f"band{k}_type": kind, f"band{k}_frequency": frequency, f"band{k}_gain": gain, f"band{k}_q": q}
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    heard = Chain([{"stage": "eq", **settings}]).render(impulse, sample_rate=RATE)
    return np.asarray(20 * np.log10(np.abs(np.fft.rfft(heard.astype(float))) + 1e-9))


def _analogue_db(kind: str, frequency: float, gain: float, q: float, hz: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the level of the analogue filter."""
    s, a = 1j * hz / frequency, 10 ** (gain / 40)
    r = a**0.5 / q
    h = {
        "low_cut": s * s / (s * s + s / q + 1),
        "peak": (s * s + a / q * s + 1) / (s * s + s / (a * q) + 1),
        "low_shelf": a * (s * s + r * s + a) / (a * s * s + r * s + 1),
        "high_shelf": a * (a * s * s + r * s + 1) / (s * s + r * s + a),
    }[kind]
    return np.asarray(20 * np.log10(np.abs(h)))


def draw(figure: Figure) -> None:
    """Draw every band alone, all together, and the analogue sum."""
    axes = figure.subplots()
    hz = np.arange(20, 22_000)
    for k, band in enumerate(BANDS):
        axes.plot(hz, _measured_db({k + 1: band})[hz], linewidth=0.8, alpha=0.7, label=f"{k + 1}: {band[0].replace('_', ' ')}")
    together = _measured_db({k + 1: band for k, band in enumerate(BANDS)})[hz]
    axes.plot(hz, together, color="black", linewidth=1.8, label="all six, measured")
    axes.plot(hz, sum(_analogue_db(*band, hz) for band in BANDS), color="orange", linestyle=":", linewidth=2, label="analogue")
    axes.set(xscale="log", xlim=(20, 22_000), ylim=(-18, 12), xlabel="frequency (Hz)", ylabel="gain (dB)")
    axes.set(title="eq: six bands at 48 kHz, measured from an impulse, and the analogue filters they follow")
    axes.set_xticks([20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000], "20 50 100 200 500 1k 2k 5k 10k 20k".split())
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", ncols=3, fontsize="small")
