"""Repeat the voice in time: echoes by milliseconds or by note value, growing darker and thinner, or thrown from side to side.

A ring of memory, a tap, and a loop: tap, first-order high cut and low cut, feedback, ring. A new time is reached by a
cross-fade from one tap to another over 30 ms, so the pitch of what sounds does not bend. With `pingpong` at 1 the left side
gets the sound of both and each side feeds the other: left after one time, right after two. What falls below -140 dBFS
enters the ring as zero, so an echo ends.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp.dynamics import forgetting
from autovoice.dsp.native import as_pointer, fma, helper
from autovoice.dsp.stage import SEGMENT, Option, Param
from autovoice.dsp.toolchain import numba

NOTES = {"off": 0.0, "1/32": 1 / 8, "1/16t": 1 / 6, "1/16": 1 / 4, "1/8t": 1 / 3, "1/16d": 3 / 8, "1/8": 1 / 2, "1/4t": 2 / 3}
NOTES |= {"1/8d": 3 / 4, "1/4": 1.0, "1/2t": 4 / 3, "1/4d": 3 / 2, "1/2": 2.0, "1/1": 4.0}
"""Quarter notes in each note value; t = triplet, d = dotted."""

PARAMETERS = (
    Param("time", "ms", 10.0, 2000.0, 350.0, scale="log", smooth_ms=0, help="from one echo to the next"),
    Param(
        "note",
        "",
        0,
        len(NOTES) - 1,
        0,
        scale="choice",
        choices=tuple(NOTES),
        help="time as a note value at `bpm`; off = in ms",
    ),
    Param("bpm", "1/min", 30.0, 300.0, 120.0, smooth_ms=0, help="quarter notes per minute"),
    Param("feedback", "", 0.0, 0.98, 0.35, help="gain from one echo to the next"),
    Param("low_cut", "Hz", 20.0, 2000.0, 100.0, scale="log", help="every echo loses what lies lower, 6 dB per octave"),
    Param("high_cut", "Hz", 500.0, 20_000.0, 6000.0, scale="log", help="every echo loses what lies higher; 20000 = nothing"),
    Param("pingpong", "", 0.0, 1.0, 0.0, help="0 = echoes stay on their side, 1 = they change sides"),
    Param("mix", "", 0.0, 1.0, 0.25, help="0 = the voice alone, 1 = the echoes alone"),
)
OPTIONS = (Option("longest", "ms", 100.0, 10_000.0, 2000.0, help="longest time there is memory for"),)
SPREADS = True
RING = ("size", "written")
STATE = [
    ("memory", "i8"),  # the ring
    ("size", "i8"),  # of the ring, a multiple of SEGMENT
    ("written", "i8"),  # the absolute frame that it is written up to
    ("here", "i8"),  # frames of delay of the tap
    ("there", "i8"),  # and of the one it fades to
    ("faded", "i8"),  # frames of the fade so far, 0 = none
    ("fade", "i8"),  # frames of a fade
    ("tap", "f4", (1 + SEGMENT,)),  # what the tap gives, after the last frame of before
    ("dull", "f4", (2 + SEGMENT,)),  # behind the high cut, likewise
    ("slow", "f4", (2 + SEGMENT,)),  # what the low cut takes away
    ("keep_dull", "f4"),  # coefficients of the two one-poles
    ("keep_slow", "f4"),
]

FADE_S = 0.03
OPEN_HZ = np.float32(20_000)  # a high cut that cuts nothing
QUIET = np.float32(1e-7)
LOUDEST = np.float32(8192)  # amplitude
_BEATS = np.array(list(NOTES.values()))
_ZERO, _HALF, _ONE, _THREE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(3)


def memory(sample_rate: float, longest: float) -> int:
    """Return the frames of the ring: the longest delay and the segment that is written meanwhile."""
    return (math.ceil(longest * sample_rate / 1000 / SEGMENT) + 2) * SEGMENT


def prepare(state: Any, sample_rate: float, longest: float) -> None:
    """Note the sizes; the first frame sets the time."""
    state["size"] = memory(sample_rate, longest)
    state["fade"] = round(FADE_S * sample_rate)


@helper
def _begin_segment(state: Any, p: Any, rate: Any) -> None:
    """Read time and cuts; a new time waits for a fade that is under way."""
    beats = _BEATS[np.int64(p.note[0])]
    seconds = beats * 60.0 / p.bpm[0] if beats > 0.0 else p.time[0] * 1e-3
    wanted = min(max(np.int64(seconds * rate + 0.5), SEGMENT), state.size - 2 * SEGMENT)
    if state.here == 0:
        state.here = wanted
    elif state.faded == 0 and wanted != state.here:
        state.there, state.faded = wanted, 1
    turn = 2000.0 * math.pi
    state.keep_dull = _ZERO if p.high_cut[0] >= OPEN_HZ else forgetting(1e6 / (turn * p.high_cut[0]), rate)
    state.keep_slow = forgetting(1e6 / (turn * p.low_cut[0]), rate)


@helper
def _read(ring: Any, at: Any, size: Any, row: Any, frames: Any) -> None:
    """Copy frames out of the ring from a place on, round its end."""
    first = min(frames, size - at)
    there = ring[at:]
    for i in range(first):
        row[i] = there[i]
    for i in range(first, frames):
        row[i] = ring[i - first]


@helper
def _tap(state: Any, shared: Any, at: Any, frames: Any) -> None:
    """Write what the tap gives, or the mean of two taps while one fades into the other."""
    size, row = shared.size, state.tap[1:]
    ring = numba.carray(as_pointer(state.memory), (size,), np.float32)
    _read(ring, (at - shared.here + size) % size, size, row, frames)
    if shared.faded > 0:
        other, scale = state.dull[2:], _ONE / np.float32(shared.fade)
        _read(ring, (at - shared.there + size) % size, size, other, frames)
        for i in range(frames):
            place = min(np.float32(shared.faded + i) * scale, _ONE)
            share = place * place * (_THREE - place - place)  # without a corner at either end
            row[i] = (_ONE - share) * row[i] + share * other[i]  # at 1 exactly the other tap


@helper
def _colour(state: Any, shared: Any, frames: Any) -> None:
    """Filter the tap in place: a high cut, then a low cut, both two frames at a time: so they wait half as long."""
    tap, dull, slow = state.tap, state.dull, state.slow
    a, c = shared.keep_dull, shared.keep_slow
    b, d = _ONE - a, _ONE - c
    aa, ab, cc, cd = a * a, a * b, c * c, c * d
    last, dull1, dull2, slow1, slow2 = tap[frames], dull[1], dull[0], slow[1], slow[0]
    before = tap[0]
    for i in range(frames):
        now = tap[i + 1]
        fresh = fma(aa, dull2, fma(ab, before, b * now))
        low = fma(cc, slow2, fma(cd, dull1, d * fresh))
        dull2, dull1, slow2, slow1, before = dull1, fresh, slow1, low, now
        tap[i + 1] = fresh - low
    tap[0], dull[0], dull[1], slow[0], slow[1] = last, dull2, dull1, slow2, slow1


@helper
def _feed(ring: Any, sound: Any, other: Any, echo: Any, crossed: Any, p: Any, side: Any, frames: Any) -> None:
    """Write sound and feedback into the ring: from its own side, and by `pingpong` from the other one."""
    for i in range(frames):
        across = p.pingpong[i]
        both = _HALF * (sound[i] + other[i]) if side == 0 else _ZERO
        v = sound[i] + across * (both - sound[i]) + p.feedback[i] * (echo[i] + across * (crossed[i] - echo[i]))
        v = min(max(v, -LOUDEST), LOUDEST)
        ring[i] = _ZERO if abs(v) < QUIET else v


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Read and colour the taps of all channels, feed the rings, mix."""
    shared, frames = s[0], block.frames
    if block.frame % SEGMENT == 0 or shared.here == 0:
        _begin_segment(shared, p, block.sample_rate)
    at = block.frame % shared.size
    for c in range(block.channels):
        _tap(s[c], shared, at, frames)
        _colour(s[c], shared, frames)
    for c in range(block.channels):
        ring = numba.carray(as_pointer(s[c].memory), (shared.size,), np.float32)[at:]
        partner = c ^ 1
        if partner < block.channels:
            _feed(ring, x[c], x[partner], s[c].tap[1:], s[partner].tap[1:], p, c & 1, frames)
        else:
            _feed(ring, x[c], x[c], s[c].tap[1:], s[c].tap[1:], p, 0, frames)
    for c in range(block.channels):
        echo = s[c].tap[1:]
        for i in range(frames):
            x[c, i] += p.mix[i] * (echo[i] - x[c, i])
    shared.written = block.frame + frames
    if shared.faded > 0:
        shared.faded += frames
        if shared.faded > shared.fade:
            shared.here, shared.faded = shared.there, 0
