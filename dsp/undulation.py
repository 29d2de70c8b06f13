"""The sinusoid in a curve with gaps and a trend, by least squares: what vibrato is to a line of pitch.

y[n] = c0 + c1 t + c2 t^2 + a cos(2 pi f t) + b sin(2 pi f t) is fitted to the last WINDOW_S of a curve for each f of a grid,
all five terms at once, by projecting the parabola out of data and sinusoids alike. With c0 alone this is the generalised
Lomb-Scargle periodogram (M. Zechmeister and M. Kürster, Astronomy and Astrophysics 496, 2009, equations 4 to 7), which also
solves the two equations that are left. The f that explains most wins, and a parabola through it and its neighbours refines
it. Points carry weights: a cosine taper times the trust in the value, which is 0 where there is none. All frequencies are
summed side by side, a few points per call. Compiled code, except `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper

STEP_S = 0.005  # between points
POINTS = 160  # of the curve looked at
WINDOW_S = POINTS * STEP_S
RING = 256  # points kept, a power of 2
RATES = 32
LOWEST_HZ, GRID_HZ = 2.5, 0.25
LEAST_SHARE = 0.4  # of the taper that must fall on values, trusted or not

_ZERO, _HALF, _QUARTER, _ONE, _TWO = (np.float32(v) for v in (0, 0.5, 0.25, 1, 2))
_TINY = np.float32(1e-9)
_GRID, _LOWEST = np.float32(GRID_HZ), np.float32(LOWEST_HZ)
SUMS = 11
PC0, PC1, PC2, PS0, PS1, PS2, CC, SS, CS, YC, YS = range(SUMS)

UNDULATION = [
    ("value", "f4", (RING,)),  # the curve, by its points' absolute numbers
    ("trust", "f4", (RING,)),  # weight of the value, 0 = there is none
    ("taper", "f4", (POINTS,)),
    ("least_taper", "f4"),
    ("point", "i8"),  # of the window, next to be summed; POINTS = all are
    ("chunk", "i8"),  # points summed per call
    ("weight", "f4", (POINTS,)),
    ("residue", "f4", (POINTS,)),  # the curve less its parabola
    ("poly", "f4", (3, POINTS)),  # orthonormal under the weights
    ("power", "f4"),  # weighted square sum of the residue
    ("mean", "f4"),  # weighted mean of the curve
    ("cosine", "f4", (RATES,)),  # at the present point
    ("sine", "f4", (RATES,)),
    ("turn_cosine", "f4", (RATES,)),  # from point to point
    ("turn_sine", "f4", (RATES,)),
    ("first_cosine", "f4", (RATES,)),  # at the first point
    ("first_sine", "f4", (RATES,)),
    ("sums", "f4", (SUMS, RATES)),
    ("explained", "f4", (RATES,)),
    ("height", "f4", (RATES,)),
    ("rate", "f4"),  # Hz, result, 0 = none
    ("extent", "f4"),  # result: amplitude
    ("share", "f4"),  # result: of the residue's power explained, 0..1
]


def plan(state: Any, chunk: int) -> None:
    """Fill the tables; `chunk` points are summed per call. Control thread only."""
    t = (np.arange(POINTS) - (POINTS - 1) / 2) * STEP_S
    turns = 2 * np.pi * (LOWEST_HZ + GRID_HZ * np.arange(RATES))
    taper = np.cos(np.pi * t / WINDOW_S)
    state["taper"] = taper
    state["least_taper"] = LEAST_SHARE * taper.sum()
    state["turn_cosine"], state["turn_sine"] = np.cos(turns * STEP_S), np.sin(turns * STEP_S)
    state["first_cosine"], state["first_sine"] = np.cos(turns * t[0]), np.sin(turns * t[0])
    state["chunk"] = chunk
    state["point"] = POINTS


@helper
def begin(s: Any, newest: Any) -> Any:
    """Take a copy of the curve up to its point number `newest`; returns whether there is enough of it to look at."""
    total = there = _ZERO
    first = newest - (POINTS - 1)
    for n in range(POINTS):
        at = (first + n) & (RING - 1)
        s.weight[n] = s.taper[n] * s.trust[at]
        s.residue[n] = s.value[at]
        total += s.weight[n]
        there += s.taper[n] if s.trust[at] > _ZERO else _ZERO
    if there < s.least_taper:
        return False
    for i in range(3):
        _orthonormalise(s, i)
    s.mean = _ZERO
    for n in range(POINTS):
        s.mean += s.weight[n] * s.residue[n]
    s.mean /= total
    for n in range(POINTS):
        s.residue[n] -= s.mean
    for i in range(3):
        _remove(s, s.poly[i], s.residue)
    s.power = _ZERO
    for n in range(POINTS):
        s.power += s.weight[n] * s.residue[n] * s.residue[n]
    for k in range(RATES):
        s.cosine[k], s.sine[k] = s.first_cosine[k], s.first_sine[k]
    for row in range(SUMS):
        for k in range(RATES):
            s.sums[row, k] = _ZERO
    s.point = 0
    return True


@helper
def _orthonormalise(s: Any, power: Any) -> None:
    """Make the row t^power orthogonal to the rows before it, and of norm 1, under the weights."""
    row = s.poly[power]
    scale = _TWO / np.float32(POINTS - 1)
    for n in range(POINTS):
        t = np.float32(n) * scale - _ONE
        row[n] = _ONE if power == 0 else (t if power == 1 else t * t)
    for i in range(power):
        _remove(s, s.poly[i], row)
    norm = _ZERO
    for n in range(POINTS):
        norm += s.weight[n] * row[n] * row[n]
    norm = _ONE / np.sqrt(max(norm, _TINY))
    for n in range(POINTS):
        row[n] *= norm


@helper
def _remove(s: Any, unit: Any, row: Any) -> None:
    """Take out of a row what it shares with a row of norm 1."""
    shared = _ZERO
    for n in range(POINTS):
        shared += s.weight[n] * unit[n] * row[n]
    for n in range(POINTS):
        row[n] -= shared * unit[n]


@helper
def advance(s: Any) -> Any:
    """Sum some more points, and fit once all are summed; returns whether the results are new."""
    if s.point >= POINTS:
        return False
    last = min(s.point + s.chunk, POINTS)
    for n in range(s.point, last):
        _add(s, s.weight[n], s.residue[n], s.poly[0, n], s.poly[1, n], s.poly[2, n])
    s.point = last
    if last < POINTS:
        return False
    _solve(s)
    _choose(s)
    return True


@helper
def _add(s: Any, weight: Any, y: Any, p0: Any, p1: Any, p2: Any) -> None:
    """Add one point to all sums of all rates, and turn the sinusoids to the next."""
    sums = s.sums
    pc0, pc1, pc2, ps0, ps1, ps2 = sums[PC0], sums[PC1], sums[PC2], sums[PS0], sums[PS1], sums[PS2]
    cc, ss, cs, yc, ys = sums[CC], sums[SS], sums[CS], sums[YC], sums[YS]
    for k in range(RATES):
        c, d = s.cosine[k], s.sine[k]
        wc, wd = weight * c, weight * d
        pc0[k] += p0 * wc
        pc1[k] += p1 * wc
        pc2[k] += p2 * wc
        ps0[k] += p0 * wd
        ps1[k] += p1 * wd
        ps2[k] += p2 * wd
        cc[k] += c * wc
        ss[k] += d * wd
        cs[k] += c * wd
        yc[k] += y * wc
        ys[k] += y * wd
        s.cosine[k] = c * s.turn_cosine[k] - d * s.turn_sine[k]
        s.sine[k] = c * s.turn_sine[k] + d * s.turn_cosine[k]


@helper
def _solve(s: Any) -> None:
    """Solve the two equations left for cosine and sine at every rate."""
    sums = s.sums
    for k in range(RATES):
        pc0, pc1, pc2, ps0, ps1, ps2 = (
            sums[PC0, k], sums[PC1, k], sums[PC2, k], sums[PS0, k], sums[PS1, k], sums[PS2, k],
        )  # fmt: skip
        cc = sums[CC, k] - (pc0 * pc0 + pc1 * pc1 + pc2 * pc2)
        ss = sums[SS, k] - (ps0 * ps0 + ps1 * ps1 + ps2 * ps2)
        cs = sums[CS, k] - (pc0 * ps0 + pc1 * ps1 + pc2 * ps2)
        scale = _ONE / max(cc * ss - cs * cs, _TINY)
        a = (sums[YC, k] * ss - sums[YS, k] * cs) * scale
        b = (sums[YS, k] * cc - sums[YC, k] * cs) * scale
        s.explained[k] = a * sums[YC, k] + b * sums[YS, k]
        s.height[k] = np.sqrt(a * a + b * b)


@helper
def _choose(s: Any) -> None:
    """Find the rate that explains most; at the edge of the grid there is no peak, and so no undulation."""
    best = 0
    for k in range(1, RATES):
        if s.explained[k] > s.explained[best]:
            best = k
    s.rate = s.extent = s.share = _ZERO
    if best == 0 or best == RATES - 1 or s.power < _TINY:
        return
    before, peak, after = s.explained[best - 1], s.explained[best], s.explained[best + 1]
    curve = before - peak - peak + after
    offset = _HALF * (before - after) / curve if curve < _ZERO else _ZERO
    s.rate = _LOWEST + _GRID * (np.float32(best) + offset)
    s.extent = s.height[best] - _QUARTER * (s.height[best - 1] - s.height[best + 1]) * offset
    s.share = min((peak - _QUARTER * (before - after) * offset) / s.power, _ONE)
