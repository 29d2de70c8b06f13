"""Even out the loudness of a voice.

A feed-forward compressor that works on the logarithm of the level throughout (D. Giannoulis, M. Massberg, J. D. Reiss,
Digital Dynamic Range Compressor Design, J. Audio Eng. Soc. 60(6), 2012): the static curve with a soft knee (eq. 4),
then the smooth decoupled peak detector (eq. 17) on the gain reduction, which neither lags behind the threshold
nor jumps between attack and release. The loudest channel drives all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.dynamics import forgetting, linked_peak
from autovoice.dsp.native import fma, helper
from autovoice.dsp.scalar import DB_PER_OCTAVE, OCTAVES_PER_DB, exp2, log2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("threshold", "dBFS", -60.0, 0.0, -20.0, help="peak level above which the gain goes down"),
    Param("ratio", "", 1.0, 20.0, 3.0, scale="log", help="dB of input above the threshold for one dB more of output"),
    Param("knee", "dB", 0.0, 24.0, 6.0, help="width of the bend around the threshold"),
    Param("attack", "ms", 0.1, 100.0, 5.0, scale="log", help="time constant of the gain going down"),
    Param("release", "ms", 5.0, 2000.0, 100.0, scale="log", help="time constant of the gain coming back"),
    Param("makeup", "dB", -12.0, 24.0, 0.0, help="gain after compression"),
)
# A row stands before the rows that it is computed from: a vector loop may then write it without fear of its own input.
STATE = [
    ("least", "f4", (SEGMENT,)),  # octaves: what `held` is at least, whatever came before these two frames
    ("share", "f4", (SEGMENT,)),  # octaves: what the two frames add to the fading value of before
    ("need", "f4", (1 + SEGMENT,)),  # octaves: reduction by the static curve, after the last frame of before
    ("gain", "f4", (SEGMENT,)),  # linear peak, then reduction in octaves, then gain
    ("held", "f4", (2,)),  # octaves: y1 of eq. 17, the peak with its release, one and two frames ago
    ("reduction", "f4"),  # octaves: yL of eq. 17, the peak with release and attack
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
        need[i + 1] = slope * (bent * bent / (half * _FOUR) + max(over - half, _ZERO))


@helper
def _detect(state: Any, frames: Any) -> None:
    """Smooth the reduction by eq. 17: y1 = max(x, a y1' + b x), then yL = a yL' + b y1.

    y1 is taken two frames at a time, max(x, a x' + b x, a² y1'' + a b x' + b x): it then waits for half as long.
    """
    need, least, share, reduction = state.need, state.least, state.share, state.gain
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


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Measure, compute the reduction, smooth it, apply it: one pass each, of which only the smoothing is a recursion."""
    state = s[0]
    gain, frames = state.gain, block.frames
    if block.frame % SEGMENT == 0 or state.attack == _ZERO:
        state.attack = forgetting(p.attack[0], block.sample_rate)
        state.release = forgetting(p.release[0], block.sample_rate)
    linked_peak(x, gain, block)
    _curve(state, p, frames)
    _detect(state, frames)
    for i in range(frames):
        gain[i] = exp2(p.makeup[i] * OCTAVES_PER_DB - gain[i])
    for c in range(block.channels):
        for i in range(frames):
            x[c, i] *= gain[i]
    block.post.compressor_db = -state.reduction * DB_PER_OCTAVE
