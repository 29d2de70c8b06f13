"""Normalised correlation of a voice over lags, as a stream: each sample costs the same, whatever the hop.

The measure is the normalised square difference function of McLeod and Wyvill ("A smarter way to find pitch", ICMC 2005,
equation 9), 2 sum(x[n] x[n-k]) / sum(x[n]^2 + x[n-k]^2), in two forms of theirs made one: for every lag k the two stretches
that are compared lie symmetrically about the frame's centre, as de Cheveigné and Kawahara propose for YIN (JASA 111(4),
2002, section II.F), so that a glide is measured where the frame says. The stretch is a period long but at least
SHORTEST_WINDOW_S, and shorter where both would reach beyond LOOKAHEAD_S after the centre.

Work is shared and spread. A new sample multiplies its past once, `products[row, k] += x[n] x[n-k]`, into a row of ROW
samples. A stretch is a whole number of rows, so its sum is a few additions for each lag; lags go in groups of GROUP, whose
stretch shifts by one row from group to group. Each frame computes a group as soon as the group's last row is complete:
short lags first, one group or so for each row, and nothing is left to do at the end but to choose.

Everything here is called on the audio thread, except `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import log2

ROW = 8  # analysis samples summed into one row of products
GROUP = 2 * ROW  # lags that share one stretch: its centre moves half as fast as the lag
LOWEST_HZ = 50.0  # lags reach down to this
MAX_RATE = 23_250  # Hz, the highest analysis rate
MAX_GROUPS = 30  # 480 lags: LOWEST_HZ at MAX_RATE
MAX_LAGS = MAX_GROUPS * GROUP
ROWS = 64  # kept, a power of 2: the longest stretch is 47 rows at MAX_RATE
RING = 1024  # samples kept: the longest stretch and the longest lag
FRAMES = 4  # that can be in progress at a time
CANDIDATES = 6  # peaks kept for each frame

SHORTEST_WINDOW_S = 0.016
LOOKAHEAD_S = 0.0155  # from the frame's centre to the end of the latest stretch

WEAKEST_PEAK = np.float32(0.3)  # correlation below which a peak is no candidate
LEAST_RISE = np.float32(0.4)  # of a peak above the deepest valley before it: what rumbles or decays has ripples, but no valley
OCTAVE_BONUS = np.float32(0.04)  # correlation granted for each octave up: a period's multiples correlate as well as itself
REFERENCE_HZ = 100.0  # where the bonus is zero
QUIET = np.float32(1e-8)  # power (-80 dBFS) below which nothing counts as voiced
BACKGROUND = np.float32(10**-3.2)  # power relative to the recent loudness (-32 dB) below which it hardly does
ATTACK_S, RELEASE_S = 0.02, 1.5  # time constants of the recent loudness
RANGE_TOLERANCE = np.float32(1.01)  # a pitch right at the floor or ceiling belongs to the range

ZERO, HALF, QUARTER, ONE, TWO = (np.float32(v) for v in (0, 0.5, 0.25, 1, 2))

CORRELATOR = [
    ("rate", "f4"),  # Hz, analysis samples per second
    ("reference_lag", "f4"),  # log2 of the lag at REFERENCE_HZ
    ("groups", "i8"),  # of lags in use
    ("length", "i4", (MAX_GROUPS,)),  # rows of each group's stretch
    ("last", "i4", (MAX_GROUPS,)),  # its last row, counted from the frame's centre
    ("attack", "f4"),  # loudness coefficients for one row
    ("release", "f4"),
    ("loudness", "f4"),  # recent power of a sample
    ("row", "i8"),  # absolute number of the row being filled
    ("filled", "i8"),  # samples in it
    ("newest", "i8"),  # index of the newest sample in the rings, which are written downwards and twice: lag k is at newest + k
    ("samples", "f4", (2 * RING,)),
    ("power", "f4", (2 * RING,)),  # of each sample and its ROW - 1 predecessors, summed
    ("products", "f4", (ROWS, MAX_LAGS)),
    ("sum_products", "f4", (GROUP,)),  # scratch
    ("sum_power", "f4", (GROUP,)),  # scratch
    ("correlation", "f4", (FRAMES, MAX_LAGS)),
    ("group", "i8", (FRAMES,)),  # next to compute for each frame in progress
    ("valley", "f4", (FRAMES,)),  # lowest correlation of the lags so far
    ("candidates", "i8", (FRAMES,)),
    ("strength", "f4", (FRAMES, CANDIDATES)),  # falling
    ("lag", "f4", (FRAMES, CANDIDATES)),  # log2 of analysis samples
]


def plan(state: Any, rate: float) -> None:
    """Lay out the stretches for an analysis rate in Hz. Control thread only."""
    groups = -(-(int(rate / LOWEST_HZ) + 2) // GROUP)
    reach = int(LOOKAHEAD_S * rate / ROW)  # rows
    for group in range(groups):
        period = 2 * group + 1  # rows, the group's middle lag
        rows = min(max(period, SHORTEST_WINDOW_S * rate / ROW), 2 * (reach - group) + 1)
        half = int(rows / 2)  # an odd number of rows has its centre in a row, where half of the middle lag ends
        state["length"][:, group] = 2 * half + 1
        state["last"][:, group] = group + half
    state["groups"], state["rate"] = groups, rate
    state["reference_lag"] = np.log2(rate / REFERENCE_HZ)
    state["attack"] = 1 - np.exp(-ROW / (rate * ATTACK_S))
    state["release"] = 1 - np.exp(-ROW / (rate * RELEASE_S))
    state["group"] = groups  # no frame is in progress


@helper
def push(s: Any, sample: Any) -> Any:
    """Take one analysis sample; returns whether it completed a row."""
    at = s.newest - 1 if s.newest > 0 else RING - 1
    s.newest = at
    s.samples[at] = sample
    s.samples[at + RING] = sample
    power = ZERO
    for j in range(ROW):
        power += s.samples[at + j] * s.samples[at + j]
    s.power[at] = power
    s.power[at + RING] = power
    lags = s.groups * GROUP
    row = s.row & (ROWS - 1)
    past, products = s.samples[at : at + lags], s.products[row][:lags]
    if s.filled == 0:
        for k in range(lags):
            products[k] = sample * past[k]
    else:
        for k in range(lags):
            products[k] += sample * past[k]
    s.filled += 1
    if s.filled < ROW:
        return False
    power *= np.float32(1 / ROW)
    s.loudness += (s.attack if power > s.loudness else s.release) * (power - s.loudness)
    return True


@helper
def next_row(s: Any) -> None:
    """Begin a row, after the frames have used the complete one."""
    s.filled = 0
    s.row += 1


@helper
def begin(s: Any, frame: Any) -> None:
    """Put a frame in progress."""
    s.group[frame % FRAMES] = 0
    s.candidates[frame % FRAMES] = 0
    s.valley[frame % FRAMES] = ONE


@helper
def advance(s: Any, frame: Any, centre: Any, shortest: Any, longest: Any) -> Any:
    """Compute the groups of a frame whose last row is the present one; returns whether the frame is now complete.

    `centre` is the row that begins at the frame's centre. `shortest` and `longest` bound the lags, in analysis samples.
    """
    slot = frame % FRAMES
    group = s.group[slot]
    if group == s.groups:
        return False
    while group < s.groups and centre + s.last[group] <= s.row:
        _correlate(s, slot, group)
        _pick_peaks(s, slot, group, shortest, longest)
        group += 1
    s.group[slot] = group
    return group == s.groups


@helper
def _correlate(s: Any, slot: Any, group: Any) -> None:
    """Compute the correlation of a group of lags over the stretch of rows that ends with the present one."""
    first, rows = group * GROUP, s.length[group]
    products, power = s.sum_products, s.sum_power
    products[:] = ZERO
    power[:] = ZERO
    own_power = ZERO
    for i in range(rows):
        at = s.newest + i * ROW
        own_power += s.power[at]
        of_row = s.products[(s.row - i) & (ROWS - 1)][first : first + GROUP]
        of_past = s.power[at + first : at + first + GROUP]
        for k in range(GROUP):
            products[k] += of_row[k]
            power[k] += of_past[k]
    background = (QUIET + BACKGROUND * s.loudness) * np.float32(rows * ROW)
    result = s.correlation[slot][first : first + GROUP]
    for k in range(GROUP):
        result[k] = TWO * products[k] / (own_power + power[k] + background)


@helper
def _pick_peaks(s: Any, slot: Any, group: Any, shortest: Any, longest: Any) -> None:
    """Collect the maxima whose right neighbour the group has just brought, refined by a parabola through three lags."""
    values = s.correlation[slot]
    for k in range(max(2, group * GROUP - 1), group * GROUP + GROUP - 1):
        before, peak, after = values[k - 1], values[k], values[k + 1]
        s.valley[slot] = min(s.valley[slot], before)
        if peak <= WEAKEST_PEAK or peak <= before or peak < after or peak - s.valley[slot] < LEAST_RISE:
            continue
        offset = HALF * (before - after) / (before - peak - peak + after)
        lag = np.float32(k) + offset
        if lag * RANGE_TOLERANCE < shortest or lag > longest * RANGE_TOLERANCE:
            continue
        height = min(peak - QUARTER * (before - after) * offset, ONE)
        _keep(s, slot, log2(lag), height)


@helper
def _keep(s: Any, slot: Any, lag: Any, height: Any) -> None:
    """Insert a candidate by its strength, the correlation with the bonus; the weakest falls out of a full list."""
    strength = height + OCTAVE_BONUS * (s.reference_lag - lag)
    strengths, lags = s.strength[slot], s.lag[slot]
    j = s.candidates[slot]
    if j == CANDIDATES:
        j -= 1
        if strength <= strengths[j]:
            return
    else:
        s.candidates[slot] = j + 1
    while j > 0 and strengths[j - 1] < strength:
        strengths[j], lags[j] = strengths[j - 1], lags[j - 1]
        j -= 1
    strengths[j], lags[j] = strength, lag
