"""Silence the pauses: room noise, bleed and breath below a threshold.

The gate opens on the first frame whose peak reaches the threshold and closes once the level has stayed below
threshold - hysteresis for the hold time (U. Zölzer, ed., DAFX, 2nd ed. 2011, chapter 4). Its place between open (0)
and closed (1) moves in a straight line and the gain is -range · place² dB, so that it comes to rest on 0 dB without
a corner. The place is an integer: an open gate multiplies by exactly 1 and every cutting of the input gives the same bits.
The loudest channel drives all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.dynamics import linked_peak
from autovoice.dsp.native import bits_of_f32, helper
from autovoice.dsp.scalar import OCTAVES_PER_DB, db_to_gain, exp2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("threshold", "dBFS", -90.0, 0.0, -45.0, help="peak level that opens the gate"),
    Param("hysteresis", "dB", 0.0, 24.0, 6.0, help="how far below the threshold the level must fall to close it"),
    Param("attack", "ms", 0.1, 100.0, 1.0, scale="log", help="time from closed to open"),
    Param("hold", "ms", 10.0, 1000.0, 50.0, scale="log", help="time it stays open after the last peak"),
    Param("release", "ms", 5.0, 2000.0, 150.0, scale="log", help="time from open to closed"),
    Param("range", "dB", 0.0, 90.0, 60.0, help="how much a closed gate lowers the level"),
)
STATE = [
    ("row", "f4", (SEGMENT,)),  # linear peak, then gain
    ("place", "i8"),  # 0 = open, CLOSED = closed
    ("open_for", "i8"),  # frames until it starts to close, 0 = closing or closed
    ("hold", "i8"),  # frames
    ("up", "i8"),  # steps of `place` per frame
    ("down", "i8"),
    ("opening", "f4"),  # linear peak that opens it
    ("keeping", "f4"),  # linear peak that keeps it open
]

CLOSED = 1 << 30
_CLOSED_F32 = np.float32(CLOSED)
_ZERO = np.float32(0)


def settle(sample_rate: float) -> int:
    """Return the frames of a usual hold and release."""
    return round(0.2 * sample_rate)


def prepare(state: Any, sample_rate: float) -> None:
    """Start closed; the first frame sets the rest."""
    state["place"] = CLOSED


@helper
def _set(state: Any, p: Any, sample_rate: Any) -> None:
    """Take over the parameters that act through comparisons and counts."""
    per_ms = sample_rate / 1000.0
    state.opening = db_to_gain(p.threshold[0])
    state.keeping = db_to_gain(p.threshold[0] - p.hysteresis[0])
    state.hold = max(1, np.int64(p.hold[0] * per_ms + 0.5))
    state.up = np.int64(CLOSED / max(p.attack[0] * per_ms, 1.0))
    state.down = np.int64(CLOSED / max(p.release[0] * per_ms, 1.0))


@helper
def _follow(state: Any, row: Any, frames: Any) -> None:
    """Run the gate over a row of peaks frame by frame, without a branch, and leave the places in it."""
    place, open_for, hold, up, down = state.place, state.open_for, state.hold, state.up, state.down
    opening, keeping = state.opening, state.keeping
    for i in range(frames):
        loud = hold if row[i] >= opening else 0
        kept = hold if row[i] >= keeping else 0
        open_for = max(loud, max(kept, open_for - 1) if open_for > 0 else 0)
        place = max(place - up, 0) if open_for > 0 else min(place + down, CLOSED)
        row[i] = np.float32(place)
    state.place, state.open_for = place, open_for


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Decide for the whole block where nothing changes in it, frame by frame where it may."""
    state = s[0]
    row = state.row
    frames = block.frames
    if block.frame % SEGMENT == 0 or state.hold == 0:
        _set(state, p, block.sample_rate)
    linked_peak(x, row, block)
    loudest, last_kept = np.int32(0), np.int32(-1)
    keeping = bits_of_f32(state.keeping)
    for i in range(frames):
        peak = bits_of_f32(row[i])  # bits of magnitudes are in the order of the magnitudes
        loudest = max(loudest, peak)
        last_kept = max(last_kept, np.int32(i) if peak >= keeping else np.int32(-1))
    if state.open_for > frames:
        again = state.hold - (frames - 1 - np.int64(last_kept)) if last_kept >= 0 else 0
        state.open_for = max(state.open_for - frames, again)
        if state.place == 0:
            block.post.gate_db = _ZERO
            return
        place, up = state.place, state.up
        for i in range(frames):
            row[i] = np.float32(max(place - up * (i + 1), 0))
        state.place = max(place - up * frames, 0)
    elif state.open_for == 0 and loudest < bits_of_f32(state.opening):
        place, down = state.place, state.down
        for i in range(frames):
            row[i] = np.float32(min(place + down * (i + 1), CLOSED))
        state.place = min(place + down * frames, CLOSED)
    else:
        _follow(state, row, frames)
    for i in range(frames):
        depth = row[i] / _CLOSED_F32
        row[i] = exp2(-p.range[i] * OCTAVES_PER_DB * (depth * depth))
    for c in range(block.channels):
        for i in range(frames):
            x[c, i] *= row[i]
    depth = np.float32(state.place) / _CLOSED_F32
    block.post.gate_db = -p.range[frames - 1] * (depth * depth)
