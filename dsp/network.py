"""A feedback delay network: sixteen delay lines whose outputs are attenuated, mixed by a Hadamard matrix and fed back.

After J.-M. Jot and A. Chaigne, Digital Delay Networks for Designing Artificial Reverberators (AES 90, 1991), and Jot (ICASSP
1992): the matrix is orthogonal, so without attenuation nothing is lost, and a line of d frames that attenuates by
60 d / (rate T60) dB makes everything decay by 60 dB in T60, whatever way it takes. T60 depends on frequency through a low and
a high shelf of first order in every line, each with half its gain, in dB, at the same frequency in all lines.

The lines move by a few frames, each at its own slow pace, which spreads the modes and keeps them from ringing; between frames
they are read by Lagrange's cubic. The work goes in rows of up to 64 frames per line where it can; shelves and matrix
go frame by frame with the lines in vector lanes (dsp.lanes), where a Hadamard matrix is four butterflies. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import math

import numpy as np
from autovoice.dsp.lanes import LANES, fma, load, splat, store, swap_1, swap_2, swap_4, transpose
from autovoice.dsp.native import fma as fma_f32
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT

LINES = 2 * LANES
SPAN = SEGMENT + 3  # frames that a cubic needs for a segment
QUIET = np.float32(1e-7)  # amplitude: what is below enters no line, so that a tail ends
NETWORK = np.dtype(
    [
        ("start", "i8", (LINES,)),  # of each line's ring in the memory
        ("size", "i8", (LINES,)),  # and its frames, a multiple of SEGMENT
        ("at", "i8", (LINES,)),  # where it is written next
        ("length", "f8", (LINES,)),  # frames of delay at rest
        ("base", "i8", (LINES,)),  # whole frames of delay while the weights hold
        ("weight", "f4", (LINES, 4)),  # of the four frames around a place between frames, at `since`
        ("change", "f4", (LINES, 4)),  # per frame
        ("since", "i8", (LINES,)),  # absolute frame
        ("moved", "f8", (LINES,)),  # frames by which the line will be longer than at rest when the weights end
        ("span", "f4", (SPAN,)),
        ("rows", "f4", (LINES * SEGMENT,)),  # by line
        ("columns", "f4", (LINES * SEGMENT,)),  # by frame
        ("through", "f4", (2, LINES)),  # low and high shelf, y = through x + s, s' = keep s + fresh x
        ("keep", "f4", (2, LINES)),
        ("fresh", "f4", (2, LINES)),
        ("s", "f4", (2, LINES)),
        ("ready", "i8"),
    ],
    align=True,
)
"""The network, a field of a stage's state; its rings lie in the memory of channel 0."""

SHORTEST_S, LONGEST_S = 0.0229, 0.0797  # seconds, at size 1
_SPREAD = np.array([0.0, 0.11, -0.07, 0.05, -0.13, 0.09, -0.02, 0.12, -0.08, 0.03, -0.11, 0.07, 0.14, -0.05, 0.1, 0.0])
LENGTHS_S = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** ((np.arange(LINES) + _SPREAD) / (LINES - 1))
"""Delays at size 1: a geometric series, disturbed so that no two have a simple ratio."""
ORDER = np.array([0, 9, 4, 13, 2, 11, 6, 15, 1, 8, 5, 12, 3, 10, 7, 14])  # which delay each line has: short beside long
SWAY_S = 0.0003  # seconds by which a line moves at most
SWAY_HZ = 0.31 * 1.09 ** np.arange(LINES)  # 0.31..1.13 Hz, no two in step
BENT = np.array(
    [
        [1, -1, -1, 1, -1, -1, -1, -1, -1, -1, 1, 1, -1, 1, -1, 1],
        [1, 1, 1, 1, 1, 1, -1, -1, 1, -1, 1, -1, 1, -1, -1, 1],
        [1, -1, 1, -1, 1, -1, -1, 1, 1, 1, 1, 1, 1, 1, -1, -1],
    ],
    np.float32,
) * np.float32(0.25)
"""How the input enters the lines, and how left and right hear them.

The three are orthogonal and bent: the matrix turns each into another sequence of equal magnitudes (O. Rothaus, On "Bent"
Functions, J. Comb. Theory A 20, 1976), so no side hears a single line come back after its own delay.
"""
TURNS = 4  # segments in which every line moves on once
STEP = TURNS * SEGMENT  # frames


def prime_lengths(sample_rate: float, size: float) -> list[int]:
    """Return the delays of the lines in frames: the nearest primes, so that no two share a period."""

    def is_prime(n: int) -> bool:
        return n > 1 and all(n % k for k in range(2, math.isqrt(n) + 1))

    wanted = [max(round(LENGTHS_S[k] * size * sample_rate), 2 * SEGMENT) for k in ORDER]
    taken: list[int] = []
    for n in wanted:
        while not is_prime(n) or n in taken:
            n += 1
        taken.append(n)
    return taken


def ring_sizes(sample_rate: float, size: float) -> list[int]:
    """Return the frames of memory that each line needs: its delay, its sway, a segment and the cubic."""
    sway = math.ceil(SWAY_S * sample_rate)
    return [(n + sway + SEGMENT + 4 + SEGMENT - 1) // SEGMENT * SEGMENT for n in prime_lengths(sample_rate, size)]


@helper
def design(net, rate, decay_s, low, high, low_hz, high_hz):
    """Set every line's shelves for T60 = decay_s in the middle, low and high times that below and above."""
    t_low, t_high = math.tan(math.pi * low_hz / rate), math.tan(math.pi * min(high_hz / rate, 0.45))
    for k in range(LINES):
        per_s = -3.0 * math.log(10.0) * net.length[k] / rate  # nepers in 60 dB, times the share of a second
        middle = math.exp(per_s / decay_s)
        below = math.exp(per_s / decay_s * (1.0 / low - 1.0))
        above = math.exp(per_s / decay_s * (1.0 / high - 1.0))
        scale = middle * 0.25  # a Hadamard matrix of 16 is orthogonal times 4
        a = t_low / math.sqrt(below)
        through = (1.0 + t_low * math.sqrt(below)) / (1.0 + a)
        net.through[0, k], net.keep[0, k] = scale * through, (1.0 - a) / (1.0 + a)
        net.fresh[0, k] = scale * ((t_low * math.sqrt(below) - 1.0) / (1.0 + a) + (1.0 - a) / (1.0 + a) * through)
        a = t_high * math.sqrt(above)
        through = (above + a) / (1.0 + a)
        net.through[1, k], net.keep[1, k] = through, (1.0 - a) / (1.0 + a)
        net.fresh[1, k] = (a - above) / (1.0 + a) + (1.0 - a) / (1.0 + a) * through


@helper
def _cubic(f):
    """Return Lagrange's weights of the frames at -1, 0, 1 and 2 for a place f in 0..1."""
    up, down, far = f + 1.0, f - 1.0, f - 2.0
    return -f * down * far / 6.0, up * down * far / 2.0, -up * f * far / 2.0, up * f * down / 6.0


@helper
def _move(net, k, frame, rate, motion):
    """Send a line to where a slow wave of parabolas will be in STEP frames, in a straight line of weights."""
    turns = (frame + STEP) * (SWAY_HZ[k] / rate) + k * (1.0 / LINES)
    t = 2.0 * (turns - math.floor(turns)) - 1.0
    there = motion * (SWAY_S * 0.5) * rate * (1.0 + 4.0 * t * (1.0 - abs(t)))
    here = net.moved[k] if net.ready else there
    whole = math.floor(net.length[k] + 0.5 * (here + there))
    start, end = _cubic(net.length[k] + here - whole), _cubic(net.length[k] + there - whole)
    for j in range(4):
        net.weight[k, j] = np.float32(start[j])
        net.change[k, j] = np.float32((end[j] - start[j]) / STEP)
    net.base[k], net.since[k], net.moved[k] = np.int64(whole), frame, there


@helper
def sway(net, frame, rate, motion):
    """Move the lines on at the start of a segment: every fourth line now, the others in the next three segments."""
    if net.ready == 0:
        for k in range(LINES):
            _move(net, k, frame, rate, motion)
        net.ready = 1
    for k in range((frame // SEGMENT) % TURNS, LINES, TURNS):
        _move(net, k, frame, rate, motion)


@helper
def copy_out(memory, start, size, at, row, frames):
    """Copy frames out of a ring from a place on, round its end."""
    first = min(frames, size - at)
    there = memory[start + at :]
    for i in range(first):
        row[i] = there[i]
    there = memory[start:]
    for i in range(first, frames):
        row[i] = there[i - first]


@helper
def _read(net, memory, frame, frames):
    """Write what the lines give into their rows, by a cubic through four frames, the last of which is the first in `source`."""
    span = net.span
    for k in range(LINES):
        size = net.size[k]
        at = net.at[k] - net.base[k] - 2
        at = at + size if at < 0 else at
        source = memory[net.start[k] + at :]
        if at + frames + 3 > size:
            copy_out(memory, net.start[k], size, at, span, frames + 3)
            source = span[:]
        row, weight, change, position = net.rows[k * SEGMENT :], net.weight[k], net.change[k], np.int32(frame - net.since[k])
        w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
        c0, c1, c2, c3 = change[0], change[1], change[2], change[3]
        for i in range(frames):
            n = np.float32(np.int32(i) + position)
            newer = fma_f32(fma_f32(n, c0, w0), source[i + 3], fma_f32(n, c1, w1) * source[i + 2])
            row[i] = newer + fma_f32(fma_f32(n, c2, w2), source[i + 1], fma_f32(n, c3, w3) * source[i])


@helper
def _hadamard(v, sign_1, sign_2, sign_4):
    """Multiply by the Hadamard matrix of order 8: three butterflies."""
    v = fma(v, sign_1, swap_1(v))
    v = fma(v, sign_2, swap_2(v))
    return fma(v, sign_4, swap_4(v))


@helper
def _circulate(net, sound, frames):
    """Take every frame through shelves and matrix, and add the input."""
    columns = net.columns
    b0, b1, c0, c1 = load(net.through[0], 0), load(net.through[0], LANES), load(net.through[1], 0), load(net.through[1], LANES)
    k0, k1, l0, l1 = load(net.keep[0], 0), load(net.keep[0], LANES), load(net.keep[1], 0), load(net.keep[1], LANES)
    f0, f1, g0, g1 = load(net.fresh[0], 0), load(net.fresh[0], LANES), load(net.fresh[1], 0), load(net.fresh[1], LANES)
    s0, s1, t0, t1 = load(net.s[0], 0), load(net.s[0], LANES), load(net.s[1], 0), load(net.s[1], LANES)
    in0, in1 = load(BENT[0], 0), load(BENT[0], LANES)
    sign_1, sign_2, sign_4 = load(_SIGNS, 0), load(_SIGNS, LANES), load(_SIGNS, 2 * LANES)
    for i in range(frames):
        x0, x1 = load(columns, i * LINES), load(columns, i * LINES + LANES)
        y0, y1 = fma(b0, x0, s0), fma(b1, x1, s1)
        s0, s1 = fma(k0, s0, f0 * x0), fma(k1, s1, f1 * x1)
        z0, z1 = fma(c0, y0, t0), fma(c1, y1, t1)
        t0, t1 = fma(l0, t0, g0 * y0), fma(l1, t1, g1 * y1)
        u0 = _hadamard(z0 + z1, sign_1, sign_2, sign_4)
        u1 = _hadamard(z0 - z1, sign_1, sign_2, sign_4)
        fresh = splat(sound[i])
        store(columns, i * LINES, fma(fresh, in0, u0))
        store(columns, i * LINES + LANES, fma(fresh, in1, u1))
    store(net.s[0], 0, s0)
    store(net.s[0], LANES, s1)
    store(net.s[1], 0, t0)
    store(net.s[1], LANES, t1)


_SIGNS = np.array([[-1.0 if k & d else 1.0 for k in range(LANES)] for d in (1, 2, 4)], np.float32).ravel()


@helper
def _hear(net, side, signs, frames):
    """Write what a side hears of the lines."""
    for i in range(frames):
        side[i] = np.float32(0)
    for k in range(0, LINES, 4):
        a, b, c, d = signs[k], signs[k + 1], signs[k + 2], signs[k + 3]
        rows = net.rows[k * SEGMENT :]
        for i in range(frames):
            near = a * rows[i] + b * rows[i + SEGMENT]
            side[i] += near + (c * rows[i + 2 * SEGMENT] + d * rows[i + 3 * SEGMENT])


@helper
def _write(net, memory, frames):
    """Put the rows into the rings, without what nobody could hear."""
    for k in range(LINES):
        ring, row = memory[net.start[k] + net.at[k] :], net.rows[k * SEGMENT :]
        first = min(frames, net.size[k] - net.at[k])
        for i in range(first):
            ring[i] = np.float32(0) if abs(row[i]) < QUIET else row[i]
        net.at[k] += frames
        if net.at[k] >= net.size[k]:
            net.at[k] -= net.size[k]


@helper
def run(net, memory, sound, heard, sides, frame, frames):
    """Feed a row of sound to the network and write what comes out into the rows of one or two sides."""
    _read(net, memory, frame, frames)
    squares = (frames + LANES - 1) // LANES
    for half in range(2):
        for square in range(squares):
            to = square * LANES * LINES + half * LANES
            transpose(net.rows, half * LANES * SEGMENT + square * LANES, SEGMENT, net.columns, to, LINES)
    _circulate(net, sound, frames)
    for half in range(2):
        for square in range(squares):
            start = square * LANES * LINES + half * LANES
            transpose(net.columns, start, LINES, net.rows, half * LANES * SEGMENT + square * LANES, SEGMENT)
    for side in range(sides):
        _hear(net, heard[side], BENT[1 + side], frames)
    _write(net, memory, frames)
