"""Even out the loudness of a voice.

A feed-forward compressor that works on the logarithm of the level throughout (D. Giannoulis, M. Massberg, J. D. Reiss,
Digital Dynamic Range Compressor Design, J. Audio Eng. Soc. 60(6), 2012): the static curve with a soft knee (eq. 4),
then the smooth decoupled peak detector (eq. 17) on the gain reduction, which neither lags behind the threshold
nor jumps between attack and release. The loudest channel drives all of them. A high-pass in the side-chain keeps
plosives and the nearness of a microphone from pulling the voice down; the sound itself does not pass it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp.dynamics import BEFORE, DETECTOR, detect, linked_peak, set_times
from autovoice.dsp.filters import HIGHPASS, highpass
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import DB_PER_OCTAVE, OCTAVES_PER_DB, exp2, log2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("threshold", "dBFS", -60.0, 0.0, -20.0, help="peak level above which the gain goes down"),
    Param("ratio", "", 1.0, 20.0, 3.0, scale="log", help="dB of input above the threshold for one dB more of output"),
    Param("knee", "dB", 0.0, 24.0, 6.0, help="width of the bend around the threshold"),
    Param("attack", "ms", 0.1, 100.0, 5.0, scale="log", help="time constant of the gain going down"),
    Param("release", "ms", 5.0, 2000.0, 100.0, scale="log", help="time constant of the gain coming back"),
    Param("makeup", "dB", -12.0, 24.0, 0.0, help="gain after compression"),
    Param("sidechain", "Hz", 0.0, 1000.0, 0.0, help="what lies lower does not count: 12 dB per octave, 0 = all counts"),
)
STATE = [
    ("detector", DETECTOR),
    ("gain", "f4", (SEGMENT,)),  # linear peak, then reduction in octaves, then gain
    ("heard", HIGHPASS),  # each channel's side-chain
    ("row", "f8", (SEGMENT,)),
]

_NARROWEST_KNEE = np.float32(1e-3)  # dB: a knee of zero would divide by zero
_BUTTERWORTH = math.sqrt(2)  # damping 1 / Q
_ZERO, _QUARTER, _HALF, _ONE = np.float32(0), np.float32(0.25), np.float32(0.5), np.float32(1)


def settle(sample_rate: float) -> int:
    """Return the frames of a usual release."""
    return round(0.1 * sample_rate)


@helper
def _side_chain_peak(s: Any, p: Any, x: Any, block: Any) -> None:
    """Write the largest magnitude over all channels behind the high-pass."""
    peak, angle, frames = s[0].gain, math.pi / block.sample_rate, block.frames
    for c in range(block.channels):
        row, sound = s[c].row, x[c]
        for i in range(frames):
            row[i] = sound[i]
        highpass(s[c].heard, row, p.sidechain, _BUTTERWORTH, angle, frames)
        for i in range(frames):
            level = abs(np.float32(row[i]))
            peak[i] = level if c == 0 else max(peak[i], level)


@helper
def _reduction(level: Any, threshold: Any, half: Any, per_half: Any, slope: Any) -> Any:
    """Return the reduction in octaves that the static curve (eq. 4) asks for, `half` a knee being `per_half` of 1/4."""
    over = level - threshold
    bent = min(max(over + half, _ZERO), half + half)
    return slope * (bent * bent * per_half + max(over - half, _ZERO))


@helper
def _curve(need: Any, peak: Any, p: Any, frames: Any) -> None:
    """Write the reduction that the static curve asks for: the same bits where the parameters rest, without the divisions."""
    last = frames - 1
    if p.knee[0] == p.knee[last] and p.ratio[0] == p.ratio[last] and p.threshold[0] == p.threshold[last]:
        half = max(p.knee[0], _NARROWEST_KNEE) * (_HALF * OCTAVES_PER_DB)
        threshold, slope, per_half = p.threshold[0] * OCTAVES_PER_DB, _ONE - _ONE / p.ratio[0], _QUARTER / half
        for i in range(frames):
            need[BEFORE + i] = _reduction(log2(peak[i]), threshold, half, per_half, slope)
    else:
        for i in range(frames):
            half = max(p.knee[i], _NARROWEST_KNEE) * (_HALF * OCTAVES_PER_DB)
            slope = _ONE - _ONE / p.ratio[i]
            need[BEFORE + i] = _reduction(log2(peak[i]), p.threshold[i] * OCTAVES_PER_DB, half, _QUARTER / half, slope)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Measure, compute the reduction, smooth it, apply it: one pass each, of which only the smoothing is a recursion."""
    detector, gain, frames = s[0].detector, s[0].gain, block.frames
    if block.frame % SEGMENT == 0 or detector.attack == _ZERO:
        set_times(detector, p.attack[0], p.release[0], block.sample_rate)
    if p.sidechain[0] == _ZERO and p.sidechain[frames - 1] == _ZERO and s[0].heard.cutoff == _ZERO:
        linked_peak(x, gain, block)
        for c in range(block.channels):
            s[c].heard.fresh = 1  # so that a cutoff which comes up starts from 0 Hz
    else:
        _side_chain_peak(s, p, x, block)
    _curve(detector.need, gain, p, frames)
    detect(detector, gain, frames)
    for i in range(frames):
        gain[i] = exp2(p.makeup[i] * OCTAVES_PER_DB - gain[i])
        x[0, i] *= gain[i]
    for c in range(1, block.channels):
        for i in range(frames):
            x[c, i] *= gain[i]
    block.post.compressor_db = -detector.reduction[0] * DB_PER_OCTAVE
