"""A cable as a stage: a delay, a gain, noise and clipping that are known, for the tests of the latency laboratory."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.stage import Option, Param

LONGEST = 8192  # frames, a power of two
PARAMETERS = (
    Param("gain", "", -4.0, 4.0, 1.0, smooth_ms=0, help="negative = upside down"),
    Param("noise", "", 0.0, 2.0, 0.0, smooth_ms=0, help="RMS of white noise"),
    Param("clip", "", 0.0, 8.0, 8.0, smooth_ms=0, help="largest sample"),
)
OPTIONS = (
    Option("delay", "frames", 0, LONGEST - 64, 0, help="how late it is"),
    Option("declared", "frames", 0, LONGEST, 0, help="how late it says it is"),
)
STATE = [("line", "f4", (LONGEST,)), ("delay", "i8"), ("seed", "u8")]
SCALE = np.float32(2 * np.sqrt(3) / 2**32)  # from a uniform integer to noise of RMS 1
HALF = np.float32(0.5 * 2**32)


def latency(sample_rate: float, delay: float, declared: float) -> int:
    """Return what is declared, true or not."""
    return round(declared)


def prepare(state: Any, sample_rate: float, delay: float, declared: float) -> None:
    """Set the length of the delay line."""
    state["delay"], state["seed"] = round(delay), 88172645463325252


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Delay, scale, add noise and clip."""
    for c in range(block.channels):
        for i in range(block.frames):
            at = block.frame + i
            s[c].line[at & (LONGEST - 1)] = x[c, i]
            seed = s[c].seed  # xorshift64 (G. Marsaglia, J. Statistical Software 8(14), 2003)
            seed ^= seed << np.uint64(13)
            seed ^= seed >> np.uint64(7)
            seed ^= seed << np.uint64(17)
            s[c].seed = seed
            noise = (np.float32(seed >> np.uint64(32)) - HALF) * SCALE * p.noise[i]
            y = s[c].line[(at - s[c].delay) & (LONGEST - 1)] * p.gain[i] + noise
            x[c, i] = min(max(y, -p.clip[i]), p.clip[i])
