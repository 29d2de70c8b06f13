"""Put the voice into a room: early reflections, then a smooth tail whose length is set for lows, mids and highs.

The sound, all channels as one, passes a pre-delay, from which taps of their own give each side its early reflections, then four
Schroeder all-passes that thicken it, then a feedback delay network of sixteen slowly moving lines (dsp.network). Left and right
hear different mixtures of the lines, so the tail has no place; `width` takes their difference down. Size and pre-delay are
options, because they lay out the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import network
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.stage import SEGMENT, Option, Param
from autovoice.dsp.toolchain import numba

DESIGN_MS = 500.0  # in which a decay parameter moves: the network takes it over every 64 frames, in steps too small to hear
PARAMETERS = (
    Param("decay", "s", 0.2, 20.0, 1.5, "log", "time in which the tail falls by 60 dB, RT60", smooth_ms=DESIGN_MS),
    Param("low", "", 0.25, 3.0, 1.0, "log", "times that, below `low_edge`", smooth_ms=DESIGN_MS),
    Param("high", "", 0.1, 1.0, 0.5, "log", "times that, above `high_edge`: the damping", smooth_ms=DESIGN_MS),
    Param("low_edge", "Hz", 50.0, 1000.0, 250.0, "log", "where the lows end", smooth_ms=DESIGN_MS),
    Param("high_edge", "Hz", 1000.0, 12_000.0, 4000.0, "log", "where the highs begin", smooth_ms=DESIGN_MS),
    Param("early", "", 0.0, 1.0, 0.35, help="level of the early reflections"),
    Param("motion", "", 0.0, 1.0, 0.7, help="how far the lines of the network move: 0 = a still room", smooth_ms=2000.0),
    Param("width", "", 0.0, 1.0, 1.0, help="0 = the room in the middle, 1 = all around"),
    Param("mix", "", 0.0, 1.0, 0.2, help="0 = the voice alone, 1 = the room alone"),
)
OPTIONS = (
    Option("size", "", 0.4, 2.0, 1.0, help="of the room: 1 = a hall whose walls are 15 m apart"),
    Option("predelay", "ms", 0.0, 250.0, 15.0, help="before the room answers"),
)
SPREADS = True

EARLY_S = np.array([[0.0053, 0.0113, 0.0179, 0.0257, 0.0341, 0.0433], [0.0067, 0.0097, 0.0199, 0.0233, 0.0367, 0.0409]])
EARLY_GAIN = np.array([[0.84, -0.67, 0.58, 0.46, -0.38, 0.30], [0.80, 0.71, -0.55, 0.49, 0.35, -0.32]], np.float32)
TAPS = EARLY_S.shape[1]
DIFFUSER_S = np.array([0.00477, 0.00359, 0.01273, 0.00931])  # after J. Dattorro, Effect Design, J. Audio Eng. Soc. 45(9), 1997
DIFFUSERS = len(DIFFUSER_S)
STATE = [
    ("memory", "i8"),  # pre-delay, then diffusers, then the network's lines
    ("net", network.NETWORK),
    ("size", "i8", (1 + DIFFUSERS,)),  # frames of the rings of pre-delay and diffusers
    ("start", "i8", (1 + DIFFUSERS,)),
    ("at", "i8", (1 + DIFFUSERS,)),  # where they are written next
    ("lag", "i8", (1 + DIFFUSERS,)),  # frames of delay
    ("early", "i8", (2, TAPS)),  # frames of delay of the reflections
    ("set", "f4", (5,)),  # decay parameters that the network was designed for; 0 = not yet
    ("sound", "f4", (SEGMENT,)),  # what goes into the network
    ("delayed", "f4", (SEGMENT,)),
    ("heard", "f4", (2, SEGMENT)),  # left and right
    ("reflected", "f4", (2, SEGMENT)),
]

_DIFFUSION = np.float32(0.6)
_TAIL, _HALF = np.float32(2), np.float32(0.5)
_QUIET = np.float32(1e-7)
LOUDEST = np.float32(16_384)  # amplitude


def _ring(frames: int) -> int:
    """Return the frames of a ring for a delay: a multiple of SEGMENT that holds a segment beside it."""
    return (frames + 2 * SEGMENT - 1) // SEGMENT * SEGMENT


def _lags(sample_rate: float, size: float, predelay: float) -> tuple[list[int], np.ndarray[Any, Any]]:
    """Return the frames of pre-delay and diffusers, and of the reflections."""
    before = round(predelay * sample_rate / 1000)
    diffusers = [max(round(s * sample_rate), SEGMENT) for s in DIFFUSER_S]
    return [before, *diffusers], before + np.round(EARLY_S * size * sample_rate).astype(int)


def _rings(sample_rate: float, size: float, predelay: float) -> list[int]:
    """Return the sizes of all rings, in the order in which they lie in the memory."""
    lags, early = _lags(sample_rate, size, predelay)
    return [_ring(max(int(early.max()), lags[0])), *map(_ring, lags[1:]), *network.ring_sizes(sample_rate, size)]


def memory(sample_rate: float, size: float, predelay: float) -> int:
    """Return the frames of all rings."""
    return sum(_rings(sample_rate, size, predelay))


def prepare(state: Any, sample_rate: float, size: float, predelay: float) -> None:
    """Lay out the rings."""
    sizes = _rings(sample_rate, size, predelay)
    starts = np.cumsum([0, *sizes[:-1]])
    state["size"], state["start"] = sizes[: 1 + DIFFUSERS], starts[: 1 + DIFFUSERS]
    state["lag"], state["early"] = _lags(sample_rate, size, predelay)
    net = state["net"]
    net["size"], net["start"] = sizes[1 + DIFFUSERS :], starts[1 + DIFFUSERS :]
    net["length"] = network.prime_lengths(sample_rate, size)


@helper
def _begin_segment(state: Any, p: Any, block: Any) -> None:
    """Design the decay anew if a setting of it has moved, and let the lines move on."""
    before = state.set
    decay, low, high, low_hz, high_hz = p.decay[0], p.low[0], p.high[0], p.low_edge[0], p.high_edge[0]
    if decay != before[0] or low != before[1] or high != before[2] or low_hz != before[3] or high_hz != before[4]:
        before[0], before[1], before[2], before[3], before[4] = decay, low, high, low_hz, high_hz
        network.design(state.net, block.sample_rate, np.float64(decay), low, high, low_hz, high_hz)
    network.sway(state.net, block.frame - block.frame % SEGMENT, block.sample_rate, np.float64(p.motion[0]))


@helper
def _gather(state: Any, x: Any, block: Any) -> None:
    """Write the mean of all channels."""
    sound, share = state.sound, np.float32(1.0 / block.channels)
    for i in range(block.frames):
        sound[i] = x[0, i] * share
    for c in range(1, block.channels):
        for i in range(block.frames):
            sound[i] += x[c, i] * share


@helper
def _add(ring: Any, start: Any, size: Any, at: Any, gain: Any, row: Any, frames: Any) -> None:
    """Add frames of a ring, from a place on, to a row."""
    first = min(frames, size - at)
    there = ring[start + at :]
    for i in range(first):
        row[i] += gain * there[i]
    there = ring[start:]
    for i in range(first, frames):
        row[i] += gain * there[i - first]


@helper
def _reflect(state: Any, ring: Any, sides: Any, frames: Any) -> None:
    """Delay the sound and add up the early reflections of one or two sides."""
    size, at = state.size[0], state.at[0]
    there = ring[state.start[0] + at :]
    for i in range(frames):
        there[i] = np.float32(0) if abs(state.sound[i]) < _QUIET else state.sound[i]
    for side in range(sides):
        reflected = state.reflected[side]
        for i in range(frames):
            reflected[i] = np.float32(0)
        for tap in range(TAPS):
            place = at - state.early[side, tap]
            _add(ring, state.start[0], size, place + size if place < 0 else place, EARLY_GAIN[side, tap], reflected, frames)
    place = at - state.lag[0]
    network.copy_out(ring, state.start[0], size, place + size if place < 0 else place, state.sound, frames)


@helper
def _diffuse(state: Any, ring: Any, k: Any, frames: Any) -> None:
    """Pass the sound through an all-pass, y = -g v + v', v = x + g v'."""
    size, sound = state.size[k], state.sound
    place = state.at[k] - state.lag[k]
    place = place + size if place < 0 else place
    delayed = ring[state.start[k] + place :]
    if place + frames > size:
        network.copy_out(ring, state.start[k], size, place, state.delayed, frames)
        delayed = state.delayed[:]
    there = ring[state.start[k] + state.at[k] :]
    for i in range(frames):
        before = delayed[i]
        v = sound[i] + _DIFFUSION * before
        there[i] = np.float32(0) if abs(v) < _QUIET else v
        sound[i] = before - _DIFFUSION * v


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Run the room on the mean of all channels, and give its left to the even and its right to the odd ones."""
    state, frames, sides = s[0], block.frames, min(block.channels, 2)
    if block.frame % SEGMENT == 0 or state.set[0] == np.float32(0):
        _begin_segment(state, p, block)
    ring = numba.carray(
        as_pointer(state.memory), (state.net.start[network.LINES - 1] + state.net.size[network.LINES - 1],), np.float32
    )
    _gather(state, x, block)
    _reflect(state, ring, sides, frames)
    for k in range(1, 1 + DIFFUSERS):
        _diffuse(state, ring, k, frames)
    network.run(state.net, ring, state.sound, state.heard, sides, block.frame, frames)
    for k in range(1 + DIFFUSERS):
        state.at[k] += frames
        if state.at[k] >= state.size[k]:
            state.at[k] -= state.size[k]
    for side in range(sides):
        heard, reflected = state.heard[side], state.reflected[side]
        for i in range(frames):
            heard[i] = min(max(_TAIL * heard[i] + p.early[i] * reflected[i], -LOUDEST), LOUDEST)
    if sides == 2:
        left, right = state.heard[0], state.heard[1]
        for i in range(frames):
            middle, aside = _HALF * (left[i] + right[i]), _HALF * p.width[i] * (left[i] - right[i])
            left[i], right[i] = middle + aside, middle - aside
    for c in range(block.channels):
        heard = state.heard[c & 1]
        for i in range(frames):
            x[c, i] += p.mix[i] * (heard[i] - x[c, i])
