"""Change the sample rate inside a stage: a streaming polyphase filter, linear in phase, with a delay known to the frame.

A rate is changed by the ratio L / M in lowest terms: L - 1 zeros put after each frame, a low-pass, every M-th value kept. Of
the low-pass only the taps that meet a frame are computed: L rows of them, one for each phase (P. P. Vaidyanathan, Multirate
Systems and Filter Banks, 1993, section 4.3). The low-pass is a sinc under a Kaiser window (J. F. Kaiser, "Nonrecursive digital
filter design using the I0-sinh window function", ISCAS 1974): below -90 dB from the lower rate's Nyquist frequency on, so
nothing folds or mirrors to anywhere above that. The delay sets how steep it is: with DELAY_S = 2 ms the response has fallen by
0.05 dB 1.31 kHz below that frequency, whatever the rates (`docs/decisions/0022-resampler.md` has the curve).

Frames in and out are counted absolutely: frame m of the output lies at frame m M / L - delay of the input, and is complete
with frame floor(m M / L). A stage that works at another rate, in `process`, for channel c:

    first, end = ready(s[c].down, block.frame), ready(s[c].down, block.frame + block.frames)
    push(s[c].down, block.frame, x[c], block.frames)
    pull(s[c].down, first, end - first, low)       # low: frames first..end - 1 at the lower rate
    ...
    push(s[c].up, first, low, end - first)
    pull(s[c].up, block.frame, block.frames, x[c])

with `("down", resampler.STATE)` and `("up", resampler.STATE)` in its STATE, filled by `plan` in its `prepare`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.native import helper
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vector import DOT_STEP, dot

DELAY_S = 0.002  # at most; the nearest whole frame of the higher rate below it is taken
STOPBAND_DB = 92.0  # by Kaiser's formula; what is measured is within 2 dB of it
MOST_PHASES = 640  # of a ratio; 441 for 16 kHz to 44.1. One that needs more is rounded, by less than 1 in 1000
RING = 1024  # frames of the past, a power of 2: the filter at 192 kHz takes 768, and a block comes on top

STATE = [
    ("bank", "i8"),  # address of the taps, (L, taps) float32, oldest frame first
    ("taps", "i8"),  # of one phase, a multiple of DOT_STEP
    ("up", "i8"),  # L
    ("down", "i8"),  # M
    ("ring", "f4", (2 * RING,)),  # the past, written twice so that any stretch of it lies in one piece
]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A change of rate from `source` Hz to `target` Hz: output frame m is input frame m down / up - delay."""

    source: float
    target: float
    up: int
    down: int
    half: int  # the tap at the centre of the low-pass, counted at `up` times the source's rate

    @property
    def delay_s(self) -> float:
        """Seconds of delay, exactly: a whole number of frames of the higher rate."""
        return self.half / (self.up * self.source)

    @property
    def transition_hz(self) -> float:
        """The width of the transition by Kaiser's formula, below the lower rate's Nyquist frequency."""
        return (STOPBAND_DB - 7.95) / 14.36 * self.up * self.source / (2 * self.half - 2) if self.half else 0.0

    def most(self, frames: int) -> int:
        """Return the largest number of output frames that `frames` frames of input complete."""
        return -(-frames * self.up // self.down) + 1


def conversion(source: float, target: float, delay_s: float = DELAY_S) -> Conversion:
    """Return how a rate becomes another, with at most `delay_s` of delay; none where the rates are equal."""
    high, low = max(source, target), min(source, target)
    ratio = (Fraction(high) / Fraction(low)).limit_denominator(MOST_PHASES)
    up, down = (ratio.denominator, ratio.numerator) if source == high else (ratio.numerator, ratio.denominator)
    half = int(delay_s * high) * min(up, down) if up != down else 0
    return Conversion(source, source * up / down, up, down, half)


def lowpass(plan: Conversion) -> np.ndarray[Any, Any]:
    """Return the low-pass at `up` times the source's rate, float64 of shape (2 half,), its centre at `half`.

    The first tap is zero, which leaves an odd number about the centre and makes rows of a round length.
    """
    if not plan.half:
        return np.ones(1)
    n = np.arange(1 - plan.half, plan.half)
    cutoff_hz = (min(plan.source, plan.target) - plan.transition_hz) / 2  # the middle of the transition
    window = np.kaiser(n.size, 0.1102 * (STOPBAND_DB - 8.7))
    taps = np.sinc(2 * cutoff_hz / (plan.up * plan.source) * n) * window
    return np.concatenate([[0.0], taps * (plan.up / taps.sum())])


@cache
def _bank(plan: Conversion) -> tuple[int, int]:
    """Return (address, taps of a phase) of the polyphase bank: row p holds taps p, p + L, ..., the newest frame's last."""
    prototype = lowpass(plan)
    taps = -(-math.ceil(prototype.size / plan.up) // DOT_STEP) * DOT_STEP
    rows = np.zeros((taps, plan.up))
    rows.ravel()[: prototype.size] = prototype
    return resident.keep(rows[::-1].T.astype(np.float32)), taps


def plan(state: Any, source: float, target: float, delay_s: float = DELAY_S) -> Conversion:
    """Fill the zeroed `state` of any shape for a change of rate, in Hz. Control thread only; for `prepare`."""
    chosen = conversion(source, target, delay_s)
    state["bank"], state["taps"] = _bank(chosen)
    state["up"], state["down"] = chosen.up, chosen.down
    return chosen


@helper
def ready(s: Any, frame: Any) -> Any:
    """Return how many output frames are complete when the input frames before `frame` are in: the next one's number."""
    return (frame * s.up + s.down - 1) // s.down


@helper
def push(s: Any, frame: Any, source: Any, count: Any) -> None:
    """Take input frames `frame` ... from source[0] ..., at most RING - taps of them."""
    at = frame & (RING - 1)
    first = min(count, RING - at)
    for start, end, to in ((0, first, at), (first, count, 0)):
        ring, mirror = s.ring[to : to + end - start], s.ring[to + RING : to + RING + end - start]
        part = source[start:end]
        for i in range(end - start):
            ring[i] = part[i]
            mirror[i] = part[i]


@helper
def pull(s: Any, first: Any, count: Any, target: Any) -> None:
    """Compute output frames `first` ... into target[0] ...; their input must have been pushed, and lie in the ring still."""
    newest = first * s.down // s.up
    phase = first * s.down - newest * s.up
    steps = s.down // s.up
    rest = s.down - steps * s.up
    ring = s.ring.ctypes.data
    for k in range(count):
        oldest = (newest - s.taps + 1) & (RING - 1)
        target[k] = dot(s.bank + 4 * phase * s.taps, ring + 4 * oldest, s.taps)
        newest += steps
        phase += rest
        if phase >= s.up:
            phase -= s.up
            newest += 1


@numba.njit(error_model="numpy")
def _convert(s: Any, x: Any, block: Any, y: Any) -> Any:
    done = 0
    for at in range(0, len(x), block):
        count = min(block, len(x) - at)
        push(s, at, x[at : at + count], count)
        end = ready(s, at + count)
        pull(s, done, end - done, y[done:end])
        done = end
    return done


def convert(sound: np.ndarray[Any, Any], source: float, target: float, *, block: int = 64) -> np.ndarray[Any, Any]:
    """Return a recording at another rate just as a stage makes it in blocks of up to 128 frames, its delay left in.

    float32 of shape (frames,), rates in Hz. For tests and pictures, on any thread but the audio's: it is compiled when called.
    """
    state = np.zeros(1, np.dtype(STATE, align=True))
    result = np.zeros(plan(state, source, target).most(len(sound)), np.float32)
    return result[: _convert(state.view(np.recarray)[0], np.ascontiguousarray(sound, np.float32), block, result)]
