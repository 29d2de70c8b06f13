"""What gate, compressor, de-esser and limiter share: the level of all channels as one, time constants, a smooth detector.

Their levels are in octaves of amplitude (6.02 dB each), since 2**x and log2 are the cheapest to compute. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import fma, helper
from autovoice.dsp.stage import SEGMENT

# A row stands before the rows that it is computed from: a vector loop may then write it without fear of its own input.
DETECTOR = np.dtype(
    [
        ("least", "f4", (SEGMENT,)),  # octaves: what `held` is at least, whatever came before these two frames
        ("share", "f4", (SEGMENT,)),  # octaves: what the two frames add to the fading value of before
        ("need", "f4", (1 + SEGMENT,)),  # octaves: reduction that is asked for, after the last frame of before
        ("held", "f4", (2,)),  # octaves: y1 of eq. 17, the peak with its release, one and two frames ago
        ("reduction", "f4"),  # octaves: yL of eq. 17, the peak with release and attack
        ("attack", "f4"),  # coefficients of the two one-poles
        ("release", "f4"),
    ],
    align=True,
)
"""The smooth decoupled peak detector of Giannoulis, Massberg & Reiss, J. Audio Eng. Soc. 60(6), 2012; a field of a state."""

_ONE = np.float32(1)


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


@helper
def detect(state, reduction, frames):
    """Smooth `state.need[1:]` into a row by eq. 17: y1 = max(x, a y1' + b x), then yL = a yL' + b y1.

    y1 is taken two frames at a time, max(x, a x' + b x, a² y1'' + a b x' + b x): it then waits for half as long.
    """
    need, least, share = state.need, state.least, state.share
    a = state.release
    b = _ONE - a
    twice = a * a
    ab = (_ONE - twice) - b  # so that the shares add up to 1 in spite of rounding: the static curve depends on it
    for i in range(frames):
        fresh = b * need[i + 1]
        least[i] = max(need[i + 1], fma(a, need[i], fresh))
        share[i] = fma(ab, need[i], fresh)
    attack = state.attack
    rise = _ONE - attack
    newer, older, smooth = state.held[0], state.held[1], state.reduction
    for i in range(frames):
        newer, older = max(least[i], fma(twice, older, share[i])), newer
        smooth = fma(attack, smooth, rise * newer)
        reduction[i] = smooth
    need[0] = need[frames]
    state.held[0], state.held[1], state.reduction = newer, older, smooth
