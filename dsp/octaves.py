"""The power of a signal octave by octave, by a tree of half-band filters: each level halves the rate of the one before.

A half-band low-pass and the high-pass that completes it to a delay share all their products (P. P. Vaidyanathan, Multirate
Systems and Filter Banks, 1993, section 4.6): with h the odd taps, low = x/2 + sum h x and high = x/2 - sum h x. Level j turns
one value of the high-pass out every 2^(j+1) frames, which aliases the octave but keeps its power, and hands the low-pass on.
So the whole tree costs less than two values of the filter for each frame. Compiled code, except `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper

LEVELS = 11  # from 96 kHz, at a sample rate of 192 kHz, down to 47 Hz
HALF = 11  # taps on either side of the middle, of which every other one is not zero
SPAN = 32  # kept of each level's input, a power of 2 above 2 * HALF

_ZERO, _MIDDLE = np.float32(0), np.float32(0.5)


def _design() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return taps 1, 3, 5, ... 11 places from the middle: a sinc under a Kaiser window, about 60 dB of stop band, sum 1/4."""
    place = np.arange(1, HALF + 1, 2)
    taps = 0.5 * np.sinc(place / 2) * np.kaiser(2 * HALF + 3, 5.6)[HALF + 1 + place]
    return np.asarray(taps / (4 * taps.sum()), np.float32)


H1, H3, H5, H7, H9, H11 = _design()

TREE = [
    ("levels", "i8"),  # in use
    ("line", "f4", (LEVELS, 2 * SPAN)),  # of each level's input, written downwards and twice: newest first at `newest`
    ("newest", "i8", (LEVELS,)),
    ("octave", "f4", (LEVELS,)),  # sum of the squares of each level's high-pass since it was last cleared
    ("octave_hz", "f4", (LEVELS,)),  # middle of each level's octave
]


def plan(state: Any, sample_rate: float, lowest_hz: float) -> None:
    """Lay out the octaves whose middle is at least `lowest_hz`. Control thread only."""
    middle = sample_rate / 2 ** (np.arange(LEVELS) + 1.5)
    state["levels"] = np.count_nonzero(middle >= lowest_hz)
    state["octave_hz"] = middle


@helper
def push(s: Any, sample: Any, frame: Any) -> None:
    """Take one sample; `frame` is its absolute number, on which the halving hangs."""
    level = 0
    while level < s.levels:
        at = (s.newest[level] - 1) & (SPAN - 1)
        s.newest[level] = at
        line = s.line[level]
        line[at] = sample
        line[at + SPAN] = sample
        if frame & 1 == 0:
            return
        middle = _MIDDLE * line[at + 11]
        near = H1 * (line[at + 10] + line[at + 12]) + H3 * (line[at + 8] + line[at + 14])
        wide = H5 * (line[at + 6] + line[at + 16]) + H7 * (line[at + 4] + line[at + 18])
        far = H9 * (line[at + 2] + line[at + 20]) + H11 * (line[at] + line[at + 22])
        odd = near + (wide + far)
        high = middle - odd
        s.octave[level] += high * high
        sample = middle + odd
        frame >>= 1
        level += 1


@helper
def clear(s: Any) -> None:
    """Begin new sums."""
    for level in range(s.levels):
        s.octave[level] = _ZERO
