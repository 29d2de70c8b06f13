"""What gate, compressor and limiter share: the level of all channels as one, and time constants.

Their levels are in octaves of amplitude (6.02 dB each), since 2**x and log2 are the cheapest to compute. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper


@helper
def linked_peak(x, peak, block):
    """Write the largest magnitude over all channels of each frame into `peak`: one gain for all keeps the image still."""
    for i in range(block.frames):
        peak[i] = abs(x[0, i])
    for c in range(1, block.channels):
        for i in range(block.frames):
            peak[i] = max(peak[i], abs(x[c, i]))


@helper
def forgetting(time_ms, sample_rate):
    """Return the coefficient a = exp(-1 / (T rate)) of a one-pole that reaches 1 - 1/e of a step after T, as float32.

    By the (2, 2) Padé approximant of exp, within 0.4 % in T from 0.8 frames on; float32 rounds T by 0.7 % for 2 s at 192 kHz.
    """
    u = 1000.0 / (time_ms * sample_rate)
    return np.float32(1.0 - u / (1.0 + u * (0.5 + u / 12.0)))
