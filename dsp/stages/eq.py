"""Shape the tone: six bands, each a bell, a shelf or a cut.

Every band follows its analogue model up to the top of the band (see dsp.matched: matched poles, and zeros after M. Vicanek,
Matched Second Order Digital Filters, 2016), where the usual bilinear design squeezes bells and shelves against half the sample
rate. It runs as a state-variable filter in state-space form, s' = A s + B x, y = C s + D x, with the bands side by side in
vector lanes (dsp.lanes): lane k works on the frame that lane k - 1 finished one step ago, so six bands take as long as one.

A setting that moves is designed anew every 64 frames, and A, B, C and D go there in straight lines: no step anywhere. This is
safe because the trapezoidal state-variable filter never gains energy, |A s| <= |s| (A is the Cayley transform of a dissipative
matrix), and means of such matrices do not either. A band that changes nothing has C = 0 and D = 1: it passes every bit, and
while all of them do, nothing is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp import matched
from autovoice.dsp.lanes import LANES, fma, lane, load, shift_in, splat, store, within
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import db_to_gain
from autovoice.dsp.stage import SEGMENT, Param

BANDS = 6
TYPES = ("off", "peak", "low_shelf", "high_shelf", "low_cut", "high_cut")
OFF, PEAK, LOW_SHELF, HIGH_SHELF, LOW_CUT, HIGH_CUT = range(len(TYPES))
_START = (("low_cut", 80.0), ("low_shelf", 150.0), ("peak", 400.0), ("peak", 1500.0), ("peak", 4000.0), ("high_shelf", 9000.0))


def _band(number: int, kind: str, frequency_hz: float) -> tuple[Param, ...]:
    """Return the parameters of one band."""
    name, start = f"band{number}_", "off" if kind == "low_cut" else kind
    return (
        Param(
            name + "type",
            "",
            0,
            len(TYPES) - 1,
            TYPES.index(start),
            scale="choice",
            choices=TYPES,
            help=f"what band {number} does",
        ),
        Param(
            name + "frequency",
            "Hz",
            20.0,
            20_000.0,
            frequency_hz,
            scale="log",
            help="middle of a bell or shelf, corner of a cut",
        ),
        Param(name + "gain", "dB", -24.0, 24.0, 0.0, help="of a bell or shelf"),
        Param(
            name + "q",
            "",
            0.1,
            20.0,
            math.sqrt(0.5),
            scale="log",
            help="frequency / width of a bell; above 0.71 the others ring",
        ),
    )


PARAMETERS = tuple(p for k, (kind, hz) in enumerate(_START) for p in _band(k + 1, kind, hz))

A11, G1, G2, C1, C2, D, ROWS = range(7)  # A = [[A11, -G1], [G1, 1 - G2]], B = [G1, G2], C = [C1, C2]
STATE = [
    ("set", "f4", (BANDS, 4)),  # type, Hz, dB and Q that `goal` was designed for; 0 Hz = not yet
    ("start", "f8", (ROWS, LANES)),  # coefficients in frame 0 of this segment
    ("step", "f8", (ROWS, LANES)),  # their change per frame
    ("goal", "f8", (ROWS, LANES)),  # and where they are going
    ("s1", "f8", (LANES,)),  # the two integrators
    ("s2", "f8", (LANES,)),
    ("left", "i8", (BANDS,)),  # segments until the goal is reached
    ("moving", "i8"),  # whether any band is on its way
    ("active", "i8"),  # whether any band does anything in this segment
]

LAST = BANDS - 1  # lane
HIGHEST = 0.45  # of the sample rate: the top of a band's frequency at low rates
LOUDEST = np.float32(16_384)  # amplitude: four times what the engine lets in and one band adds
TYPE_S = 0.02  # seconds in which one type of filter becomes another


def settle(sample_rate: float) -> int:
    """Return the frames after which a bell of Q 1 at 20 Hz has died away."""
    return round(0.1 * sample_rate)


def prepare(state: Any, sample_rate: float) -> None:
    """Let every lane pass what it gets."""
    for name in ("start", "goal"):
        state[name][:, D] = 1


@helper
def _design(kind: Any, w: Any, gain: Any, q: Any) -> Any:
    """Return (g, k, b2, b1, b0) of a band."""
    if kind == LOW_SHELF:
        return matched.low_shelf(w, gain, q)
    if kind == HIGH_SHELF:
        return matched.high_shelf(w, gain, q)
    if kind == LOW_CUT:
        return matched.low_cut(w, q)
    if kind == HIGH_CUT:
        return matched.high_cut(w, q)
    return matched.peak(w, gain, q)


@helper
def _write(goal: Any, band: Any, section: Any, idle: Any) -> None:
    """Write a section in state-space form; an idle one keeps its integrators going, unheard."""
    g, k, b2, b1, b0 = section
    a = 1.0 / (1.0 + g * (g + k))
    v1, v2 = b1 - b2 * k, b0 - b2  # shares of the band-pass and the low-pass in the output
    goal[A11, band] = 2.0 * a - 1.0
    goal[G1, band] = 2.0 * a * g
    goal[G2, band] = 2.0 * a * g * g
    goal[C1, band] = 0.0 if idle else a * (v1 + g * v2)
    goal[C2, band] = 0.0 if idle else a * (v2 * (1.0 + g * k) - g * v1)
    goal[D, band] = 1.0 if idle else b2 + a * g * (v1 + g * v2)


@helper
def _aim(state: Any, band: Any, kind: Any, frequency_hz: Any, gain_db: Any, q: Any, sample_rate: Any) -> Any:
    """Go on from where the last segment ended, towards a new design if a setting of the band has moved."""
    before, start, step, goal = state.set[band], state.start, state.step, state.goal
    moved = kind != before[0] or frequency_hz != before[1] or gain_db != before[2] or q != before[3]
    left = state.left[band]
    if left == 0 and not moved:
        return False
    for row in range(ROWS):
        start[row, band] = goal[row, band] if left <= 1 else start[row, band] + SEGMENT * step[row, band]
    left = max(left - 1, 0)
    if moved:
        idle = kind == OFF or (kind <= HIGH_SHELF and gain_db == np.float32(0))
        w = 2.0 * math.pi * min(np.float64(frequency_hz) / sample_rate, HIGHEST)
        _write(goal, band, _design(np.int64(kind), w, np.float64(db_to_gain(gain_db)), np.float64(q)), idle)
        left = max(left, 1 if kind == before[0] else max(np.int64(TYPE_S * sample_rate / SEGMENT), 1))
        if before[1] == np.float32(0):
            left = 0
        before[0], before[1], before[2], before[3] = kind, frequency_hz, gain_db, q
    for row in range(ROWS):
        if left == 0:
            start[row, band] = goal[row, band]
        step[row, band] = (goal[row, band] - start[row, band]) / (SEGMENT * max(left, 1))
    state.left[band] = left
    return left > 0


@helper
def _begin_segment(state: Any, p: Any, rate: Any) -> None:
    """Read the settings of all bands; they hold until the next multiple of SEGMENT frames."""
    a = _aim(state, 0, p.band1_type[0], p.band1_frequency[0], p.band1_gain[0], p.band1_q[0], rate)
    b = _aim(state, 1, p.band2_type[0], p.band2_frequency[0], p.band2_gain[0], p.band2_q[0], rate)
    c = _aim(state, 2, p.band3_type[0], p.band3_frequency[0], p.band3_gain[0], p.band3_q[0], rate)
    d = _aim(state, 3, p.band4_type[0], p.band4_frequency[0], p.band4_gain[0], p.band4_q[0], rate)
    e = _aim(state, 4, p.band5_type[0], p.band5_frequency[0], p.band5_gain[0], p.band5_q[0], rate)
    f = _aim(state, 5, p.band6_type[0], p.band6_frequency[0], p.band6_gain[0], p.band6_q[0], rate)
    state.moving = a or b or c or d or e or f
    state.active = state.moving
    for band in range(BANDS):
        if state.goal[C1, band] != 0.0 or state.goal[C2, band] != 0.0 or state.goal[D, band] != 1.0:
            state.active = 1


@helper
def _cascade(state: Any, shared: Any, x: Any, position: Any, frames: Any) -> None:
    """Run a channel through all bands: in step t, lane k is at frame t - k and takes what lane k - 1 gave a step ago."""
    a11, g1, g2 = load(shared.start[A11], 0), load(shared.start[G1], 0), load(shared.start[G2], 0)
    c1, c2, d = load(shared.start[C1], 0), load(shared.start[C2], 0), load(shared.start[D], 0)
    s1, s2 = load(state.s1, 0), load(state.s2, 0)
    one, y = splat(1.0), splat(0.0)
    a22 = one - g2
    at = splat(np.float64(position))
    for k in range(LANES):
        at = within(k, k, at - splat(np.float64(k)), at)
    for t in range(frames + LAST):
        v = shift_in(y, np.float64(x[min(t, frames - 1)]))
        if shared.moving:
            a11 = fma(at, load(shared.step[A11], 0), load(shared.start[A11], 0))
            g1 = fma(at, load(shared.step[G1], 0), load(shared.start[G1], 0))
            g2 = fma(at, load(shared.step[G2], 0), load(shared.start[G2], 0))
            c1 = fma(at, load(shared.step[C1], 0), load(shared.start[C1], 0))
            c2 = fma(at, load(shared.step[C2], 0), load(shared.start[C2], 0))
            d = fma(at, load(shared.step[D], 0), load(shared.start[D], 0))
            a22 = one - g2
            at = at + one
        y = fma(c1, s1, fma(c2, s2, d * v))
        next1 = fma(a11, s1, g1 * (v - s2))
        next2 = fma(a22, s2, fma(g1, s1, g2 * v))
        if t < LAST or t >= frames:
            s1, s2 = within(t - frames + 1, t, next1, s1), within(t - frames + 1, t, next2, s2)
        else:
            s1, s2 = next1, next2
        if t >= LAST:
            x[t - LAST] = np.float32(lane(y, LAST))
    _keep(state, s1, s2)
    for i in range(frames):
        x[i] = min(max(x[i], -LOUDEST), LOUDEST)


@helper
def _keep(state: Any, s1: Any, s2: Any) -> None:
    """Put the integrators away until the next call."""
    store(state.s1, 0, s1)
    store(state.s2, 0, s2)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Filter every channel by the same bands."""
    shared = s[0]
    if block.frame % SEGMENT == 0 or shared.set[0, 1] == np.float32(0):
        _begin_segment(shared, p, block.sample_rate)
    for c in range(block.channels):
        if shared.active:
            _cascade(s[c], shared, x[c], block.frame % SEGMENT, block.frames)
        else:
            for k in range(LANES):
                s[c].s1[k] = s[c].s2[k] = 0.0
