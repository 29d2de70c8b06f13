"""Hold every peak at or below a ceiling, without distortion, by looking ahead.

Peaks are true ones, samples and what lies between them (see dsp.true_peak), so that no converter or resampler clips later; the
estimate is made only where a sample comes within 7 dB of the ceiling, since no other can lead to a peak above it.

The reduction that a frame needs, in octaves, passes a sliding maximum as long as the look-ahead, a release in a straight
line and a triangular average of the same length: the gain bends down in an S and has arrived when the peak leaves
the delay line. The maximum is taken over windows that grow fourfold, so that a frame costs the same whatever the signal;
the average is a cascaded integrator-comb of two stages (E. B. Hogenauer, IEEE Trans. ASSP 29(2), 1981).

From the logarithm to the average all is integer arithmetic, hence exact: the running sums never drift, and where nothing
has to be reduced the gain is exactly 1; where nothing has to be for a while, those zeros are not even computed. The loudest
channel drives all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import true_peak
from autovoice.dsp.dynamics import linked_peak
from autovoice.dsp.native import bits_of_f32, f32_of_bits, helper
from autovoice.dsp.scalar import DB_PER_OCTAVE, OCTAVES_PER_DB, db_to_gain, exp2, log2
from autovoice.dsp.stage import SEGMENT, Option, Param

PARAMETERS = (
    Param("ceiling", "dBFS", -20.0, 0.0, -1.0, help="level that no peak exceeds"),
    Param("release", "ms", 10.0, 1000.0, 100.0, scale="log", help="time in which the gain comes back by 10 dB"),
)
OPTIONS = (
    Option("lookahead", "ms", 0.5, 5.0, 1.5, help="how early the gain starts to move"),
    Option(
        "peak", "", 0, 1, 0, scale="choice", choices=("true", "sample"), help="true: between the samples too, 6 frames later"
    ),
)

RING = 2048  # frames: a power of two that holds 5 ms at 192 kHz and a segment
ROW = RING + SEGMENT  # the first segment stands once more after the last, so that 64 frames from anywhere lie in a row
LEVELS = 5  # the window grows fourfold with each, up to 967 frames
LEAP = 8  # frames that the release advances at a time

STATE = [
    ("audio", "f4", (ROW,)),
    ("ceiling", "f4", (ROW,)),  # linear; delayed as the audio is, so that each sample meets its own
    ("windows", "i4", (LEVELS, ROW)),  # needed reduction, its maximum over 4, 16, ... frames
    # `released` stands before `held`, from which it is computed: a vector loop may then write it without fear of its own input.
    ("released", "i4", (LEAP + SEGMENT,)),  # reduction with the release, after the last frames of before
    ("held", "i4", (LEAP + SEGMENT,)),  # maximum of the needed reduction over the look-ahead, likewise
    ("history", "i4", (ROW,)),  # `released`, for the comb of the average
    ("comb", "i4", (SEGMENT,)),
    ("gain", "f4", (SEGMENT,)),  # linear peak, then gain
    true_peak.NEAR,
    ("true", "i8"),  # whether peaks between the samples count
    ("shifts", "i8", (LEVELS, 3)),  # frames by which each level reaches back
    ("levels", "i8"),
    ("mask", "i8"),  # length of the rings - 1
    ("lookahead", "i8"),  # frames
    ("first", "i8"),  # frames of the two moving averages that make the triangle
    ("second", "i8"),
    ("slope", "i8"),  # the two integrators
    ("total", "i8"),
    ("fall", "i4"),  # release per frame, 0 = not set yet
    ("scale", "f4"),  # octaves per unit of the sum
    ("busy", "i8"),  # frames until every ring holds nothing but zeros, provided that no peak comes
]

UNITS = 1 << 22  # per octave: 1.4 microdecibels
_UNITS_F32, _MARGIN = np.float32(UNITS), np.float32(UNITS * 4e-6)  # the margin covers the error of log2 and exp2
_RELEASE = 10 / (20 * np.log10(2.0)) * UNITS * 1000  # units in 10 dB, times ms in a second
_NOTHING, _ONE = np.int32(0), np.float32(1)


def latency(sample_rate: float, lookahead: float, peak: str) -> int:
    """Return the frames of the look-ahead and, for true peaks, of the interpolation."""
    return round(lookahead * sample_rate / 1000) + (true_peak.DELAY if peak == "true" else 0)


def settle(sample_rate: float, lookahead: float, peak: str) -> int:
    """Return the frames of a usual release."""
    return round(0.05 * sample_rate)


def prepare(state: Any, sample_rate: float, lookahead: float, peak: str) -> None:
    """Lay out windows, rings and averages: the window is as long as the delay, and the average has arrived before."""
    frames, bend = latency(sample_rate, lookahead, peak), latency(sample_rate, lookahead, "sample")
    state["true"] = peak == "true"
    width, shifts = 1, []
    while width < frames + 1:  # a peak and the frames before it
        shifts.append([min(k * width, frames + 1 - width) for k in (1, 2, 3)])
        width += shifts[-1][-1]
    state["shifts"][:, : len(shifts)] = shifts
    state["levels"] = len(shifts)
    state["mask"] = (1 << (frames + 2 + SEGMENT - 1).bit_length()) - 1  # the comb reaches back by frames + 2
    state["lookahead"] = frames
    state["first"] = first = bend // 2 + 1
    state["second"] = second = bend - bend // 2 + 1
    state["scale"] = 1 / (UNITS * first * second)


@helper
def _mirror(ring: Any, at: Any, mask: Any, frames: Any) -> None:
    """Repeat what was written into the first segment of a ring after its end."""
    if at < SEGMENT:
        again, now = ring[at + mask + 1 :], ring[at:]
        for i in range(frames):
            again[i] = now[i]


@helper
def _lay_ceiling(state: Any, p: Any, at: Any, frames: Any) -> Any:
    """Write the linear ceiling and return its lowest value."""
    ceiling, lowest = state.ceiling[at:], np.int32(0x7F000000)
    if p.ceiling[0] == p.ceiling[frames - 1]:  # it rests: a glide is a straight line
        top = db_to_gain(p.ceiling[0])
        for i in range(frames):
            ceiling[i] = top
        return top
    for i in range(frames):
        top = db_to_gain(p.ceiling[i])
        ceiling[i] = top
        lowest = min(lowest, bits_of_f32(top))  # bits of magnitudes are in the order of the magnitudes
    return f32_of_bits(lowest)


@helper
def _largest(row: Any, first: Any, last: Any) -> Any:
    """Return the largest magnitude in a part of a row."""
    largest = np.int32(0)
    for i in range(first, last):
        largest = max(largest, bits_of_f32(abs(row[i])))
    return f32_of_bits(largest)


@helper
def _look_between(s: Any, x: Any, lowest: Any, block: Any) -> None:
    """Raise the peaks in `gain` to those between the samples, in the channels that come near the ceiling."""
    for c in range(block.channels):
        near = s[c].near
        true_peak.remember(near, x[c], block.frames)
        if _largest(near, 0, true_peak.HISTORY + block.frames) * true_peak.LARGEST > lowest:
            true_peak.raise_between(near, s[0].gain, block.frames)
        true_peak.forget(near, block.frames)


@helper
def _need(state: Any, p: Any, at: Any, frames: Any) -> None:
    """Write the reduction that each frame needs; none, exactly, for a peak at or below the ceiling."""
    peak, ceiling, need = state.gain, state.ceiling[at:], state.windows[0][at:]
    for i in range(frames):
        over = log2(peak[i]) - p.ceiling[i] * OCTAVES_PER_DB
        need[i] = np.int32(over * _UNITS_F32 + _MARGIN) if peak[i] > ceiling[i] else _NOTHING


@helper
def _widen(ring: Any, shifts: Any, at: Any, mask: Any, wide: Any, frames: Any) -> None:
    """Write the maxima over four windows of the level below."""
    a, b = ring[at:], ring[(at - shifts[0]) & mask :]
    c, d = ring[(at - shifts[1]) & mask :], ring[(at - shifts[2]) & mask :]
    for i in range(frames):
        wide[i] = max(max(a[i], b[i]), max(c[i], d[i]))


@helper
def _release(state: Any, fall: Any, frames: Any) -> None:
    """Let the reduction fall by a straight line: the maximum over lines from the last frames and from LEAP frames ago."""
    held, released = state.held, state.released
    f2, f3, f4 = np.int32(2 * fall), np.int32(3 * fall), np.int32(4 * fall)
    f5, f6, f7, f8 = np.int32(5 * fall), np.int32(6 * fall), np.int32(7 * fall), np.int32(8 * fall)
    for i in range(frames):
        a = max(held[i + 8], np.int32(held[i + 7] - fall))
        b = max(np.int32(held[i + 6] - f2), np.int32(held[i + 5] - f3))
        c = max(np.int32(held[i + 4] - f4), np.int32(held[i + 3] - f5))
        d = max(np.int32(held[i + 2] - f6), np.int32(held[i + 1] - f7))
        released[i + 8] = max(max(max(a, b), max(c, d)), np.int32(released[i] - f8))


@helper
def _average(state: Any, at: Any, mask: Any, frames: Any) -> None:
    """Turn the released reduction into gains by the triangular average."""
    comb, gain = state.comb, state.gain
    a, b = state.history[at:], state.history[(at - state.first) & mask :]
    c, d = state.history[(at - state.second) & mask :], state.history[(at - state.first - state.second) & mask :]
    for i in range(frames):
        comb[i] = np.int32(np.int32(a[i] - b[i]) - np.int32(c[i] - d[i]))
    slope, height = state.slope, state.total
    for i in range(frames):
        slope += comb[i]
        height += slope
        gain[i] = np.float32(height)
    state.slope, state.total = slope, height
    scale = -state.scale
    for i in range(frames):
        gain[i] = exp2(gain[i] * scale)


@helper
def _reduce(state: Any, p: Any, at: Any, mask: Any, frames: Any) -> None:
    """Turn the peaks in `gain` into gains."""
    _need(state, p, at, frames)
    last = state.levels - 1
    for level in range(last):
        _mirror(state.windows[level], at, mask, frames)
        _widen(state.windows[level], state.shifts[level], at, mask, state.windows[level + 1][at:], frames)
    _mirror(state.windows[last], at, mask, frames)
    _widen(state.windows[last], state.shifts[last], at, mask, state.held[LEAP:], frames)
    _release(state, state.fall, frames)
    history, any_reduction = state.history[at:], _NOTHING
    for i in range(frames):
        history[i] = state.released[LEAP + i]
        any_reduction |= state.released[LEAP + i]
    _mirror(state.history, at, mask, frames)
    for i in range(LEAP):
        state.held[i] = state.held[i + frames]
        state.released[i] = state.released[i + frames]
    _average(state, at, mask, frames)
    state.busy = mask + 1 if any_reduction != 0 else max(state.busy - frames, 0)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Find the gain of each frame, unless it must be 1, and turn the delayed audio down by it."""
    state = s[0]
    frames = block.frames
    mask = state.mask & (RING - 1)  # the compiler then knows that no index is negative
    at = block.frame & mask
    if block.frame % SEGMENT == 0 or state.fall == 0:
        state.fall = np.int32(_RELEASE / (p.release[0] * block.sample_rate) + 0.5)
    gain = state.gain
    linked_peak(x, gain, block)
    lowest = _lay_ceiling(state, p, at, frames)
    _mirror(state.ceiling, at, mask, frames)
    if state.true:
        _look_between(s, x, lowest, block)
    if state.busy > 0 or _largest(gain, 0, frames) > lowest:
        _reduce(state, p, at, mask, frames)
    else:
        for i in range(frames):
            gain[i] = _ONE

    start = (at - state.lookahead) & mask
    ceiling = state.ceiling[start:]
    for c in range(block.channels):
        now, delayed = s[c].audio[at:], s[c].audio[start:]
        for i in range(frames):
            now[i] = x[c, i]
        _mirror(s[c].audio, at, mask, frames)
        for i in range(frames):
            top = ceiling[i]  # rounding may exceed it by a bit or two
            x[c, i] = min(max(delayed[i] * gain[i], -top), top)
    block.post.limiter_db = -np.float32(state.total) * state.scale * DB_PER_OCTAVE
