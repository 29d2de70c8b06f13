"""What gate, compressor, de-esser and limiter share: the level of all channels as one, time constants, a smooth detector.

Their levels are in octaves of amplitude (6.02 dB each), since 2**x and log2 are the cheapest to compute. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import fma, helper
from autovoice.dsp.stage import SEGMENT

BEFORE = 3  # frames of the past that `detect` looks at
# A row stands before the rows that it is computed from: a vector loop may then write it without fear of its own input.
DETECTOR = np.dtype(
    [
        ("least", "f4", (SEGMENT,)),  # octaves: what `held` is at least, whatever came before these four frames
        ("share", "f4", (SEGMENT,)),  # octaves: what the four frames add to the fading value of before
        ("need", "f4", (BEFORE + SEGMENT,)),  # octaves: reduction that is asked for, after the last frames of before
        ("held", "f4", (4,)),  # octaves: y1 of eq. 17, the peak with its release, one to four frames ago
        ("reduction", "f4", (2,)),  # octaves: yL of eq. 17, the peak with release and attack, one and two frames ago
        ("attack_ms", "f4"),
        ("release_ms", "f4"),
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
def set_times(state, attack_ms, release_ms, sample_rate):
    """Compute the coefficients of both one-poles where a time has changed."""
    if attack_ms != state.attack_ms or release_ms != state.release_ms:
        state.attack_ms, state.release_ms = attack_ms, release_ms
        state.attack, state.release = forgetting(attack_ms, sample_rate), forgetting(release_ms, sample_rate)


@helper
def detect(state, reduction, frames):
    """Smooth `state.need[BEFORE:]` into a row by eq. 17: y1 = max(x, a y1' + b x), then yL = a yL' + b y1.

    A recursion waits for its last value. Put into itself four times, that of y1 waits for the value of four frames before,
    y1[n] = max(x0, a x1 + b x0, a^2 max(x2, a x3 + b x2) + ab x1 + b x0, a^4 y1[n - 4] + the weighted sum of x0..x3)
    with xk = x[n - k], and that of yL, put into itself twice, for the value of two frames before.
    """
    need, least, share = state.need, state.least, state.share
    a = state.release
    b = _ONE - a
    a2 = a * a
    a4 = a2 * a2
    ab = (_ONE - a2) - b  # so that the weights add up to 1 in spite of rounding: the static curve depends on it
    a2b = a2 * b
    a3b = (((_ONE - a4) - b) - ab) - a2b
    for i in range(frames):
        x0, x1, x2, x3 = need[i + 3], need[i + 2], need[i + 1], need[i]
        fresh = b * x0
        pair = fma(ab, x1, fresh)
        least[i] = max(max(x0, fma(a, x1, fresh)), fma(a2, max(x2, fma(a, x3, b * x2)), pair))
        share[i] = fma(a3b, x3, fma(a2b, x2, pair))
    attack = state.attack
    attack2 = attack * attack
    rise = _ONE - attack
    rise2 = (_ONE - attack2) - rise
    y1, y2, y3, y4 = state.held[0], state.held[1], state.held[2], state.held[3]
    smooth, before = state.reduction[0], state.reduction[1]
    for i in range(frames):
        y = max(least[i], fma(a4, y4, share[i]))
        smooth, before = fma(attack2, before, fma(rise2, y1, rise * y)), smooth
        y1, y2, y3, y4 = y, y1, y2, y3
        reduction[i] = smooth
    for k in range(BEFORE):
        need[k] = need[frames + k]
    state.held[0], state.held[1], state.held[2], state.held[3] = y1, y2, y3, y4
    state.reduction[0], state.reduction[1] = smooth, before
