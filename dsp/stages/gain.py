"""Make the voice louder or softer.

The gain glides in a straight line in dB, which the ear hears as even. At 0 dB every sample passes bit for bit.
"""

from __future__ import annotations

from typing import Any

from autovoice.dsp.scalar import db_to_gain
from autovoice.dsp.stage import Param

PARAMETERS = (Param("gain", "dB", -60.0, 24.0, 0.0, help="amount of gain"),)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Multiply every frame by the gain; a moving gain is followed frame by frame."""
    for c in range(block.channels):
        for i in range(block.frames):
            x[c, i] *= db_to_gain(p.gain[i])
