"""Normalised correlation of a voice over lags, as a stream: each sample costs the same, whatever the hop.

The measure is the normalised square difference function of McLeod and Wyvill ("A smarter way to find pitch", ICMC 2005,
equation 9), 2 sum(w x[n] x[n-k]) / sum(w (x[n]^2 + x[n-k]^2)). For every lag k the two stretches that are compared lie
symmetrically about the frame's centre, as de Cheveigné and Kawahara propose for YIN (JASA 111(4), 2002, section II.F), so
that a glide is measured where the frame says. It is taken over two windows w at once. The long one, tapered, is
LONG_WINDOW_S or a period, less where it would reach beyond LOOKAHEAD_S: noise averages out of it. The short one is three
quarters of a period, at least SHORT_WINDOW_S, from the middle of the same stretch: it tells a voice that begins, ends or
bends from one that is merely noisy.

Work is shared and spread. A row of ROW samples multiplies its past once, `products[k] = sum(x[n] x[n-k])`. A stretch is a
whole number of rows; lags go in groups of GROUP, whose stretch shifts by one row from group to group. A complete row is added
at once to all frames whose stretches it lies in, so every row costs the same, and when a frame's last row is there, nothing is
left but to divide and to look for peaks. `autovoice.dsp.f0_choice` decides what they mean.

Everything here is called on the audio thread, except `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import vector
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import log2

ROW = vector.LANES  # analysis samples summed into one row of products
GROUP = 2 * vector.LANES  # lags that share one stretch: its centre moves half as fast as the lag
LOWEST_HZ, HIGHEST_HZ = 50.0, 1450.0  # of the peaks kept; above the ceiling, or a higher voice would pass for its octave
MAX_RATE = 23_250  # Hz, the highest analysis rate
MAX_GROUPS = 30  # 480 lags: LOWEST_HZ at MAX_RATE
MAX_LAGS = MAX_GROUPS * GROUP
RING = 512  # samples kept: the longest lag and a row
MAX_ROWS = 96  # of a frame
MAX_HALF = 64  # rows on either side of a stretch's middle row
FRAMES = 8  # a power of 2: so many are in progress at most, and so many results are kept
CANDIDATES = 8  # peaks kept for each frame

LONG_WINDOW_S = 0.030  # tapered by RAMP_S at either end
RAMP_S = 0.006
SHORT_WINDOW_S = 0.009
SHORT_WINDOW_PERIODS = 0.75
LOOKAHEAD_S = 0.0165  # from the frame's centre to the end of the latest stretch

WEAKEST_PEAK = np.float32(0.12)  # correlation below which a peak is no candidate
LEAST_RISE = np.float32(0.15)  # of a peak above the deepest valley before it: what rumbles or decays has ripples, but no valley
OCTAVE_BONUS = np.float32(0.04)  # for each octave up, where there are too many candidates: a period's multiples are as high
REFERENCE_HZ = 100.0  # where the bonus is zero
QUIET = np.float32(1e-8)  # power (-80 dBFS) below which nothing correlates
BACKGROUND = np.float32(10**-3.2)  # power relative to the recent loudness (-32 dB) below which it hardly does
ATTACK_S, RELEASE_S = 0.02, 1.5  # time constants of the recent loudness
FLOOR_RISE_DB_PER_S = 5.0  # of the noise floor, which falls at once
FLOOR_FALL = np.float32(0.1)  # share of the way down, for each row
FLOOR_START = -10.0  # log2 of power

PEAKS = (1 << vector.LANES) - 1  # the bits of `vector.turns` that mark peaks

ZERO, HALF, QUARTER, ONE, TWO = (np.float32(v) for v in (0, 0.5, 0.25, 1, 2))

CORRELATOR = [
    ("rate", "f4"),  # Hz, analysis samples per second
    ("reference_lag", "f4"),  # log2 of the lag at REFERENCE_HZ
    ("shortest", "f4"),  # lag of HIGHEST_HZ
    ("longest", "f4"),  # lag of LOWEST_HZ
    ("groups", "i8"),  # of lags in use
    ("first", "i8"),  # first row of a frame, counted from its centre
    ("rows", "i8"),  # of a frame
    ("weight", "f4", (MAX_ROWS, MAX_GROUPS)),  # of a frame's row in the long window of each group
    ("long_from", "i4", (MAX_ROWS,)),  # first group in whose long stretch the row lies
    ("long_groups", "i4", (MAX_ROWS,)),  # and how many there are: they are neighbours
    ("short_from", "i4", (MAX_ROWS,)),
    ("short_groups", "i4", (MAX_ROWS,)),
    ("long_weight", "f4", (MAX_GROUPS,)),  # sum over the rows of a stretch
    ("short_weight", "f4", (MAX_GROUPS,)),
    ("lanes", "i8"),  # GROUP, as a variable: a loop of constant length would be unrolled and not vectorised
    ("ones", "f4", (MAX_GROUPS,)),  # weights of the short window
    ("attack", "f4"),  # loudness coefficients for one row
    ("release", "f4"),
    ("loudness", "f4"),  # recent power of a sample
    ("smooth_power", "f4"),
    ("floor_rise", "f4"),  # for one row
    ("noise_floor", "f4"),  # log2 of the power below which the sound seldom falls
    ("row", "i8"),  # absolute number of the row being filled
    ("filled", "i8"),  # samples in it
    ("newest", "i8"),  # index of the newest sample in the rings, which are written downwards and twice: lag k is at newest + k;
    # a multiple of ROW whenever a row is complete
    ("samples", "f4", (2 * RING,)),
    ("power", "f4", (2 * RING,)),  # of each sample and its ROW - 1 predecessors, summed; up to the latest complete row
    ("products", "f4", (MAX_LAGS,)),  # of the latest complete row
    ("long_products", "f4", (FRAMES, MAX_LAGS)),  # sums of the frames in progress
    ("long_power", "f4", (FRAMES, MAX_LAGS)),  # of the past, lag by lag
    ("long_own_power", "f4", (FRAMES, MAX_GROUPS)),
    ("short_products", "f4", (FRAMES, MAX_LAGS)),
    ("short_power", "f4", (FRAMES, MAX_LAGS)),
    ("short_own_power", "f4", (FRAMES, MAX_GROUPS)),
    ("long", "f4", (FRAMES, MAX_LAGS)),  # correlation over the long window
    ("short", "f4", (FRAMES, MAX_LAGS)),  # and over the short one
    ("frame_power", "f4", (FRAMES,)),  # of a sample, over the long window of the shortest lags
    ("candidates", "i8", (FRAMES,)),
    ("strength", "f4", (FRAMES, CANDIDATES)),  # height with bonus, falling
    ("height", "f4", (FRAMES, CANDIDATES)),  # of the peak
    ("valley", "f4", (FRAMES, CANDIDATES)),  # deepest correlation before it
    ("lag", "f4", (FRAMES, CANDIDATES)),  # log2 of analysis samples
]


def plan(state: Any, rate: float) -> None:
    """Lay out the stretches for an analysis rate in Hz. Control thread only."""
    groups = -(-(int(rate / LOWEST_HZ) + 2) // GROUP)
    reach = int(LOOKAHEAD_S * rate / ROW)  # rows
    half, short_half = np.zeros(groups, int), np.zeros(groups, int)  # rows on either side of the one in which half the lag ends
    for group in range(groups):
        period = 2 * group + 1  # rows, the group's middle lag
        half[group] = min(max(period, LONG_WINDOW_S * rate / ROW), 2 * (reach - group) + 1) / 2
        short_half[group] = min(half[group], max(SHORT_WINDOW_PERIODS * period, SHORT_WINDOW_S * rate / ROW) / 2)
    first, last = -half[0], groups - 1 + half[-1]
    away = np.abs(np.arange(first, last + 1)[:, None] - np.arange(groups))  # rows from the middle of each group's stretch
    taper = np.minimum(1.0, (np.arange(MAX_HALF) + 0.5) * ROW / (RAMP_S * rate))  # by the distance from the end
    weight = np.where(away <= half, taper[np.maximum(half - away, 0)], 0.0)
    rows = len(weight)
    state["weight"][:, :rows, :groups] = weight
    for name, inside in (("long", weight > 0), ("short", away <= short_half)):
        state[f"{name}_from"][:, :rows] = inside.argmax(1)
        state[f"{name}_groups"][:, :rows] = inside.sum(1)
    state["long_weight"][:, :groups], state["short_weight"][:, :groups] = weight.sum(0), 2 * short_half + 1
    state["ones"], state["lanes"] = 1, GROUP
    state["groups"], state["first"], state["rows"], state["rate"] = groups, first, rows, rate
    state["shortest"], state["longest"] = rate / HIGHEST_HZ, 1.01 * rate / LOWEST_HZ
    state["reference_lag"] = np.log2(rate / REFERENCE_HZ)
    state["attack"] = 1 - np.exp(-ROW / (rate * ATTACK_S))
    state["release"] = 1 - np.exp(-ROW / (rate * RELEASE_S))
    state["floor_rise"] = FLOOR_RISE_DB_PER_S / (10 * np.log10(2)) * ROW / rate
    state["noise_floor"] = FLOOR_START


@helper
def join(s: Any, sample: Any) -> None:
    """Start with the analysis sample of an absolute number."""
    s.row, s.filled = sample // ROW, sample % ROW
    s.newest = RING - s.filled


@helper
def push(s: Any, sample: Any) -> Any:
    """Take one analysis sample; returns whether it completed a row."""
    s.newest = (s.newest - 1) & (RING - 1)
    s.samples[s.newest] = sample
    s.samples[s.newest + RING] = sample
    s.filled += 1
    if s.filled < ROW:
        return False
    samples, power = s.samples.ctypes.data + 4 * s.newest, s.power.ctypes.data + 4 * s.newest
    vector.lagged_products(samples, s.products.ctypes.data, s.groups * GROUP)
    vector.running_power(samples, power)
    vector.running_power(samples, power + 4 * RING)
    _follow_level(s, s.power[s.newest] * np.float32(1 / ROW))
    return True


@helper
def _follow_level(s: Any, power: Any) -> None:
    """Keep the recent loudness and the noise floor."""
    s.loudness += (s.attack if power > s.loudness else s.release) * (power - s.loudness)
    s.smooth_power += s.attack * (power - s.smooth_power)
    octaves = log2(s.smooth_power + QUIET)
    s.noise_floor += s.floor_rise if octaves > s.noise_floor else FLOOR_FALL * (octaves - s.noise_floor)


@helper
def next_row(s: Any) -> None:
    """Begin a row, after the frames have used the complete one."""
    s.filled = 0
    s.row += 1


@helper
def begin(s: Any, frame: Any) -> None:
    """Put a frame in progress."""
    slot = frame & (FRAMES - 1)
    for k in range(s.groups * GROUP):
        s.long_products[slot, k] = ZERO
        s.long_power[slot, k] = ZERO
        s.short_products[slot, k] = ZERO
        s.short_power[slot, k] = ZERO
    for group in range(s.groups):
        s.long_own_power[slot, group] = ZERO
        s.short_own_power[slot, group] = ZERO
    s.candidates[slot] = 0


@helper
def advance(s: Any, frame: Any, centre: Any) -> Any:
    """Add the row that is complete to a frame in progress; returns whether that was its last.

    `centre` is the row that begins at the frame's centre.
    """
    slot, row = frame & (FRAMES - 1), s.row - centre - s.first
    own_power = s.power[s.newest]
    at, groups = np.int64(s.long_from[row]), np.int64(s.long_groups[row])
    for group in range(at, at + groups):
        s.long_own_power[slot, group] += s.weight[row, group] * own_power
    weights = s.weight.ctypes.data + 4 * (row * MAX_GROUPS + at)
    _add_row(s, s.long_products.ctypes.data, s.long_power.ctypes.data, slot, at, groups, weights)
    at, groups = np.int64(s.short_from[row]), np.int64(s.short_groups[row])
    for group in range(at, at + groups):
        s.short_own_power[slot, group] += own_power
    _add_row(s, s.short_products.ctypes.data, s.short_power.ctypes.data, slot, at, groups, s.ones.ctypes.data)
    if row < s.rows - 1:
        return False
    s.frame_power[slot] = s.long_own_power[slot, 0] / (s.long_weight[0] * np.float32(ROW))
    _correlate(s, slot)
    _pick_peaks(s, slot)
    return True


@helper
def _add_row(s: Any, products: Any, power: Any, slot: Any, at: Any, groups: Any, weights: Any) -> None:
    """Add the products of the complete row and the power of its past to those sums of a slot that belong to some groups."""
    into = 4 * (slot * MAX_LAGS + at * GROUP)
    vector.add_weighted(products + into, s.products.ctypes.data + 4 * at * GROUP, weights, groups)
    vector.add_weighted(power + into, s.power.ctypes.data + 4 * (s.newest + at * GROUP), weights, groups)


@helper
def _correlate(s: Any, slot: Any) -> None:
    """Turn the sums of a frame into both correlations."""
    background = (QUIET + BACKGROUND * s.loudness) * np.float32(ROW)
    for group in range(s.groups):
        long_own = s.long_own_power[slot, group] + background * s.long_weight[group]
        short_own = s.short_own_power[slot, group] + background * s.short_weight[group]
        at, to = group * GROUP, group * GROUP + GROUP
        _divide(s.long[slot][at:to], s.long_products[slot][at:to], long_own, s.long_power[slot][at:to], s.lanes)
        _divide(s.short[slot][at:to], s.short_products[slot][at:to], short_own, s.short_power[slot][at:to], s.lanes)


@helper
def _divide(correlation: Any, products: Any, own_power: Any, past_power: Any, count: Any) -> None:
    for k in range(count):
        correlation[k] = TWO * products[k] / (own_power + past_power[k])


@helper
def _pick_peaks(s: Any, slot: Any) -> None:
    """Collect the maxima of the long correlation, refined by a parabola through three lags."""
    values = s.long[slot]
    deepest, lags = values[1], s.groups * GROUP
    for first in range(2, lags - 1, vector.LANES):
        turns = vector.turns(s.long.ctypes.data + 4 * (slot * MAX_LAGS + first))
        peaks, either = turns & PEAKS, (turns | turns >> vector.LANES) & PEAKS
        while either:
            k = first + vector.lowest_bit(either)
            is_peak = peaks & either & -either
            either &= either - 1
            if k >= lags - 1:
                continue
            peak = values[k]
            if not is_peak:
                deepest = min(deepest, peak)
                continue
            if peak <= WEAKEST_PEAK or peak - deepest < LEAST_RISE:
                continue
            before, after = values[k - 1], values[k + 1]
            offset = HALF * (before - after) / (before - peak - peak + after)
            lag = np.float32(k) + offset
            if s.shortest <= lag <= s.longest:
                _keep(s, slot, log2(lag), min(peak - QUARTER * (before - after) * offset, ONE), deepest)


@helper
def _keep(s: Any, slot: Any, lag: Any, height: Any, valley: Any) -> None:
    """Insert a candidate by its strength, the correlation with the bonus; the weakest falls out of a full list."""
    strength = height + OCTAVE_BONUS * (s.reference_lag - lag)
    strengths, heights, valleys, lags = s.strength[slot], s.height[slot], s.valley[slot], s.lag[slot]
    j = s.candidates[slot]
    if j == CANDIDATES:
        j -= 1
        if strength <= strengths[j]:
            return
    else:
        s.candidates[slot] = j + 1
    while j > 0 and strengths[j - 1] < strength:
        strengths[j], heights[j], valleys[j], lags[j] = strengths[j - 1], heights[j - 1], valleys[j - 1], lags[j - 1]
        j -= 1
    strengths[j], heights[j], valleys[j], lags[j] = strength, height, valley, lag
