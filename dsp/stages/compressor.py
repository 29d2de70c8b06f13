"""Even out the loudness of a voice.

A feed-forward compressor that works on the logarithm of the level throughout (D. Giannoulis, M. Massberg, J. D. Reiss,
Digital Dynamic Range Compressor Design, J. Audio Eng. Soc. 60(6), 2012): the static curve with a soft knee (eq. 4),
then the smooth decoupled peak detector (eq. 17) on the gain reduction, which neither lags behind the threshold
nor jumps between attack and release. The loudest channel drives all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.dynamics import DB_PER_OCTAVE, OCTAVES_PER_DB, forgetting, linked_peak
from autovoice.dsp.native import fma, helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("threshold", "dBFS", -60.0, 0.0, -20.0, help="peak level above which the gain goes down"),
    Param("ratio", "", 1.0, 20.0, 3.0, scale="log", help="dB of input above the threshold for one dB more of output"),
    Param("knee", "dB", 0.0, 24.0, 6.0, help="width of the bend around the threshold"),
    Param("attack", "ms", 0.1, 100.0, 5.0, scale="log", help="time constant of the gain going down"),
    Param("release", "ms", 5.0, 2000.0, 100.0, scale="log", help="time constant of the gain coming back"),
    Param("makeup", "dB", -12.0, 24.0, 0.0, help="gain after compression"),
)
PAST = 8  # frames kept in front of a row, of which three are read; eight keep it aligned

# A row stands before the rows that it is computed from: a vector loop may then write it without fear of its own input.
STATE = [
    ("least", "f4", (SEGMENT,)),  # octaves: what `held` is at least, whatever came before the last four frames
    ("share", "f4", (SEGMENT,)),  # octaves: what these four frames add to the fading value of before
    ("need", "f4", (PAST + SEGMENT,)),  # octaves: reduction by the static curve, after the last frames of before
    ("gain", "f4", (SEGMENT,)),  # linear peak, then reduction in octaves, then gain
    ("held", "f4", (4,)),  # octaves: y1 of eq. 17, the peak with its release, one to four frames ago
    ("reduction", "f4", (2,)),  # octaves: yL of eq. 17, the peak with release and attack, one and two frames ago
    ("attack", "f4"),  # coefficients of the two one-poles, 0 = not set yet
    ("release", "f4"),
]

_NARROWEST_KNEE = np.float32(1e-3)  # dB: a knee of zero would divide by zero
_ZERO, _HALF, _ONE, _FOUR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(4)


def settle(sample_rate: float) -> int:
    """Return the frames of a usual release."""
    return round(0.1 * sample_rate)


@helper
def _curve(state: Any, p: Any, frames: Any) -> None:
    """Write the reduction that the static curve (eq. 4) asks for."""
    peak, need = state.gain, state.need
    for i in range(frames):
        half = max(p.knee[i], _NARROWEST_KNEE) * (_HALF * OCTAVES_PER_DB)
        slope = _ONE - _ONE / p.ratio[i]
        over = log2(peak[i]) - p.threshold[i] * OCTAVES_PER_DB
        bent = min(max(over + half, _ZERO), half + half)
        need[i + PAST] = slope * (bent * bent / (half * _FOUR) + max(over - half, _ZERO))


@helper
def _look_back(state: Any, frames: Any) -> None:
    """Write the detector's first stage, y1[n] = max(x[n], a y1[n-1] + b x[n]), over four frames at once.

    Put into itself three times it is a maximum over a line again: y1[n] = max(least, a^4 y1[n-4] + share).
    """
    need, least, share = state.need, state.least, state.share
    a1 = state.release
    a2 = a1 * a1
    a3 = a2 * a1
    b0 = _ONE - a1
    b1, b2 = a1 * b0, a2 * b0
    b3 = (_ONE - a2 * a2) - b0 - b1 - b2  # so that all add up to 1 in spite of rounding: the static curve depends on it
    for i in range(frames):
        x0, x1, x2, x3 = need[i + PAST], need[i + PAST - 1], need[i + PAST - 2], need[i + PAST - 3]
        s0 = b0 * x0
        s1 = fma(b1, x1, s0)
        s2 = fma(b2, x2, s1)
        least[i] = max(max(x0, fma(a1, x1, s0)), max(fma(a2, x2, s1), fma(a3, x3, s2)))
        share[i] = fma(b3, x3, s2)
    for i in range(PAST):
        need[i] = need[i + frames]


@helper
def _detect(state: Any, frames: Any) -> None:
    """Smooth the reduction by eq. 17. Recursions reach back four and two frames, not one, so that they wait less."""
    least, share, reduction = state.least, state.share, state.gain
    a2 = state.release * state.release
    a4 = a2 * a2
    h1, h2, h3, h4 = state.held[0], state.held[1], state.held[2], state.held[3]
    attack = state.attack
    attack2 = attack * attack
    rise = _ONE - attack
    rise1 = (_ONE - attack2) - rise
    y1, y2 = state.reduction[0], state.reduction[1]
    for i in range(frames):
        h1, h2, h3, h4 = max(least[i], fma(a4, h4, share[i])), h1, h2, h3
        y1, y2 = fma(attack2, y2, fma(rise1, h2, rise * h1)), y1
        reduction[i] = y1
    state.held[0], state.held[1], state.held[2], state.held[3] = h1, h2, h3, h4
    state.reduction[0], state.reduction[1] = y1, y2


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Measure, compute the reduction, smooth it, apply it: one pass each, of which only the smoothing is a recursion."""
    state = s[0]
    gain, frames = state.gain, block.frames
    if block.frame % SEGMENT == 0 or state.attack == _ZERO:
        state.attack = forgetting(p.attack[0], block.sample_rate)
        state.release = forgetting(p.release[0], block.sample_rate)
    linked_peak(x, gain, block)
    _curve(state, p, frames)
    _look_back(state, frames)
    _detect(state, frames)
    for i in range(frames):
        gain[i] = exp2(p.makeup[i] * OCTAVES_PER_DB - gain[i])
    for c in range(block.channels):
        for i in range(frames):
            x[c, i] *= gain[i]
    block.post.compressor_db = -state.reduction[0] * DB_PER_OCTAVE
