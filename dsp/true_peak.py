"""Peaks between the samples: what a converter or a resampler will make of a recording, estimated with little work.

The sound between two frames is interpolated at 1/8, 3/8, 5/8 and 7/8 by 12 taps each, the places and the length of the meter
of ITU-R BS.1770-4, annex 2. The taps are a sinc under a nearly flat Kaiser window: they rather over-read close to half
the sample rate, where the meter's own under-read. Mirrored places share their products: with e and o the even and
the odd part, the values are e + o and e - o, and the larger magnitude is |e| + |o|. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import fma, helper
from autovoice.dsp.stage import SEGMENT

TAPS = 12
HISTORY = TAPS - 1  # frames of before that an estimate needs
DELAY = TAPS // 2  # frames after which the peak between two frames is known, counted from the first of them
HEADROOM_DB = 0.15  # what an estimate is raised by: it covers the places between, and a gain that moves within the taps
_BETA = 1.0
_BESIDE = np.float32(1.001)  # and what a sample is raised by, for what lies right beside it


def _taps(place: float) -> Any:
    """Return the 12 taps for a place between frame 5 and frame 6 of 0..11."""
    t = place + (DELAY - 1) - np.arange(TAPS)
    window = np.i0(_BETA * np.sqrt(np.maximum(1 - (t / DELAY) ** 2, 0)))
    taps = np.sinc(t) * window
    return taps / taps.sum() * 10 ** (HEADROOM_DB / 20)


def _parts(place: float) -> tuple[list[np.float32], list[np.float32]]:
    """Return the even and odd taps for the sums and differences of the frames 5 and 6, 4 and 7, ..., 0 and 11."""
    taps = _taps(place)
    left, right = taps[DELAY - 1 :: -1], taps[DELAY:]
    return [np.float32(v) for v in (left + right) / 2], [np.float32(v) for v in (right - left) / 2]


(A0, A1, A2, A3, A4, A5), (B0, B1, B2, B3, B4, B5) = _parts(1 / 8)
(C0, C1, C2, C3, C4, C5), (D0, D1, D2, D3, D4, D5) = _parts(3 / 8)
LARGEST = np.float32(1.001 * max(np.abs(_taps(place)).sum() for place in (1 / 8, 3 / 8)))
"""No estimate exceeds the largest magnitude of its frames by more than this factor."""


@helper
def raise_between(near, peak, frames):
    """Raise `peak[i]` to the frame i + 11 of `near` and to the estimate between the frames i + 5 and i + 6.

    `near` has the shape (HISTORY + SEGMENT,), float32.
    """
    for i in range(frames):
        s0, d0 = near[i + 5] + near[i + 6], near[i + 6] - near[i + 5]
        s1, d1 = near[i + 4] + near[i + 7], near[i + 7] - near[i + 4]
        s2, d2 = near[i + 3] + near[i + 8], near[i + 8] - near[i + 3]
        s3, d3 = near[i + 2] + near[i + 9], near[i + 9] - near[i + 2]
        s4, d4 = near[i + 1] + near[i + 10], near[i + 10] - near[i + 1]
        s5, d5 = near[i] + near[i + 11], near[i + 11] - near[i]
        outer = abs(fma(A0, s0, fma(A1, s1, A2 * s2)) + fma(A3, s3, fma(A4, s4, A5 * s5)))
        outer += abs(fma(B0, d0, fma(B1, d1, B2 * d2)) + fma(B3, d3, fma(B4, d4, B5 * d5)))
        inner = abs(fma(C0, s0, fma(C1, s1, C2 * s2)) + fma(C3, s3, fma(C4, s4, C5 * s5)))
        inner += abs(fma(D0, d0, fma(D1, d1, D2 * d2)) + fma(D3, d3, fma(D4, d4, D5 * d5)))
        peak[i] = max(max(peak[i], _BESIDE * abs(near[i + 11])), max(outer, inner))


@helper
def remember(near, x, frames):
    """Append frames to `near`, whose first HISTORY frames are those of before."""
    for i in range(frames):
        near[HISTORY + i] = x[i]


@helper
def forget(near, frames):
    """Keep the last HISTORY frames for the next call."""
    for i in range(HISTORY):
        near[i] = near[i + frames]


NEAR = ("near", "f4", (HISTORY + SEGMENT,))
"""The field of STATE that holds a channel's frames at hand and before."""
