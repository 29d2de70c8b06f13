"""Take rumble, plosives and stand noise away below a cutoff.

A Butterworth high-pass of 12 or 24 dB per octave, built from one or two topology-preserving state-variable filters
(V. Zavalishin, The Art of VA Filter Design, 2012, chapter 4), which stay stable and free of clicks while the cutoff
moves. States are float64: the output is a difference of neighbouring states times fs / (2 pi cutoff), which costs ten bits
at 20 Hz and 192 kHz.
"""

from __future__ import annotations

import math
from typing import Any

from autovoice.dsp.filters import HIGHPASS, highpass
from autovoice.dsp.stage import SEGMENT, Option, Param

PARAMETERS = (Param("cutoff", "Hz", 20.0, 1000.0, 80.0, scale="log", help="frequency that is lowered by 3 dB"),)
OPTIONS = (Option("slope", "", 0, 1, 0, scale="choice", choices=("12dB", "24dB"), help="fall per octave below the cutoff"),)
STATE = [
    ("sections", HIGHPASS, (2,)),
    ("row", "f8", (SEGMENT,)),
    ("steep", "i4"),
]

SETTLE_S = 0.05  # four time constants of the slowest setting, 20 Hz
K_12 = math.sqrt(2)  # damping 1 / Q of a Butterworth section of order 2
K_24A, K_24B = 2 * math.cos(math.pi / 8), 2 * math.cos(3 * math.pi / 8)  # and of the two sections of order 4


def settle(sample_rate: float, slope: str) -> int:
    """Return the frames after which a constant input has left the filter."""
    return round(SETTLE_S * sample_rate)


def prepare(state: Any, sample_rate: float, slope: str) -> None:
    """Choose the order; the first frame sets the cutoff."""
    state["steep"] = slope == "24dB"


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Filter every channel alike."""
    angle, frames = math.pi / block.sample_rate, block.frames
    for c in range(block.channels):
        row, sound = s[c].row, x[c]
        for i in range(frames):
            row[i] = sound[i]
        if s[c].steep:
            highpass(s[c].sections[0], row, p.cutoff, K_24A, angle, frames)
            highpass(s[c].sections[1], row, p.cutoff, K_24B, angle, frames)
        else:
            highpass(s[c].sections[0], row, p.cutoff, K_12, angle, frames)
        for i in range(frames):
            sound[i] = row[i]
