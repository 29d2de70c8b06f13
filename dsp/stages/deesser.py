"""Soften sharp s, sh and t sounds, and leave the rest of the voice alone.

A sound is sibilant when most of it lies high: what a Butterworth high-pass leaves is compared with the whole, both as mean
squares over 5 ms, so a whisper and a shout are judged alike. What exceeds the threshold is compressed by the ratio, smoothed
by the detector of the compressor, and taken away by a shelf that shares its filter with the detection: of the state-variable
outputs it makes x + (√g - 1) k band + (g - 1) high = low + √g k band + g high, with poles at rest and zeros at frequency / √g.
It has the gain g far above the frequency and no bump around it, follows the gain frame by frame, delays nothing, and is the
input itself, bit for bit, while nothing is to be done. The channels are judged as one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp.dynamics import BEFORE, DETECTOR, detect, forgetting, set_times
from autovoice.dsp.native import fma, helper
from autovoice.dsp.scalar import DB_PER_OCTAVE, OCTAVES_PER_DB, exp2, log2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("frequency", "Hz", 2000.0, 12_000.0, 5500.0, scale="log", help="where sibilance begins"),
    Param("threshold", "dB", -30.0, 0.0, -12.0, help="level of the highs, against the whole voice, above which they go down"),
    Param("ratio", "", 1.0, 20.0, 3.0, scale="log", help="dB of sibilance above the threshold for one dB more of output"),
    Param("range", "dB", 0.0, 24.0, 12.0, help="how far the highs go down at most"),
    Param("attack", "ms", 0.1, 20.0, 0.5, scale="log", help="time constant of the highs going down"),
    Param("release", "ms", 5.0, 500.0, 40.0, scale="log", help="time constant of the highs coming back"),
)
STATE = [
    ("detector", DETECTOR),
    ("amount", "f4", (SEGMENT,)),  # reduction in octaves, then gain
    ("band", "f4", (SEGMENT,)),  # outputs of the state-variable filter
    ("high", "f4", (SEGMENT,)),
    ("sibilant", "f4", (SEGMENT,)),  # mean squares
    ("whole", "f4", (SEGMENT,)),
    ("s1", "f8"),  # integrators of the filter
    ("s2", "f8"),
    ("sibilant_before", "f4"),  # mean squares after the last frame
    ("whole_before", "f4"),
    ("g", "f8"),
    ("frequency", "f4"),  # Hz, the one `g` was made for; 0 = not set yet
]

WINDOW_MS = 5.0  # time constant of the mean squares
FLOOR = np.float32(1e-10)  # of a mean square: at -100 dBFS sibilance ends
HIGHEST = 0.45  # of the sample rate
DAMPING = math.sqrt(2)  # k = 1 / Q of a Butterworth filter: then neither high-pass nor shelf has a bump
_DAMPING = np.float32(DAMPING)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


def settle(sample_rate: float) -> int:
    """Return the frames of a usual release."""
    return round(0.05 * sample_rate)


@helper
def _split(state: Any, x: Any, frequency_hz: Any, block: Any) -> None:
    """Write the band-pass and the high-pass of a channel (V. Zavalishin, The Art of VA Filter Design, 2012, chapter 4)."""
    s1, s2, g, now = state.s1, state.s2, state.g, state.frequency
    turn = 2.0 * g / (1.0 + g * (g + DAMPING))
    for i in range(block.frames):
        if frequency_hz[i] != now:
            now = frequency_hz[i]
            g = math.tan(math.pi * min(np.float64(now) / block.sample_rate, HIGHEST))
            turn = 2.0 * g / (1.0 + g * (g + DAMPING))
        sound = np.float64(x[i])
        next1 = fma(1.0 - turn * (g + DAMPING), s1, turn * (sound - s2))
        next2 = fma(1.0 - turn * g, s2, turn * fma(g, sound, s1))
        band, low = 0.5 * (s1 + next1), 0.5 * (s2 + next2)
        state.band[i], state.high[i] = band, sound - DAMPING * band - low
        s1, s2 = next1, next2
    state.s1, state.s2, state.g, state.frequency = s1, s2, g, now


@helper
def _measure(s: Any, x: Any, block: Any) -> None:
    """Write the mean squares of the highs and of the whole, over all channels, as running means."""
    state, frames = s[0], block.frames
    sibilant, whole = state.sibilant, state.whole
    for i in range(frames):
        sibilant[i] = whole[i] = _ZERO
    for c in range(block.channels):
        high, sound = s[c].high, x[c]
        for i in range(frames):
            sibilant[i] += high[i] * high[i]
            whole[i] += sound[i] * sound[i]
    keep = forgetting(WINDOW_MS, block.sample_rate)
    fresh = _ONE - keep
    a, b = state.sibilant_before, state.whole_before
    for i in range(frames):
        a = fma(keep, a, fresh * sibilant[i])
        b = fma(keep, b, fresh * whole[i])
        sibilant[i], whole[i] = a, b
    state.sibilant_before, state.whole_before = a, b


@helper
def _need(state: Any, p: Any, frames: Any) -> None:
    """Write the reduction that the sibilance above the threshold asks for, in octaves."""
    need, sibilant, whole = state.detector.need, state.sibilant, state.whole
    for i in range(frames):
        share = _HALF * (log2(max(sibilant[i], FLOOR)) - log2(max(whole[i], FLOOR)))
        over = max(share - p.threshold[i] * OCTAVES_PER_DB, _ZERO)
        need[BEFORE + i] = min(over * (_ONE - _ONE / p.ratio[i]), p.range[i] * OCTAVES_PER_DB)
    for i in range(frames):
        if whole[i] <= FLOOR:
            need[BEFORE + i] = _ZERO


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Split, judge, smooth, and turn the highs of every channel down alike."""
    state, detector, amount, frames = s[0], s[0].detector, s[0].amount, block.frames
    if block.frame % SEGMENT == 0 or detector.attack == _ZERO:
        set_times(detector, p.attack[0], p.release[0], block.sample_rate)
    for c in range(block.channels):
        _split(s[c], x[c], p.frequency, block)
    _measure(s, x, block)
    _need(state, p, frames)
    detect(detector, amount, frames)
    for c in range(block.channels):
        band, high = s[c].band, s[c].high
        for i in range(frames):
            root = exp2(-_HALF * amount[i])
            x[c, i] += (root - _ONE) * (_DAMPING * band[i] + (root + _ONE) * high[i])
    block.post.deesser_db = -detector.reduction[0] * DB_PER_OCTAVE
