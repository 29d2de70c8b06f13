"""Normalised correlation of a voice over lags, as a stream: each sample costs the same, whatever the hop.

The measure is the normalised square difference function of McLeod and Wyvill ("A smarter way to find pitch", ICMC 2005,
equation 9), 2 sum(w x[n] x[n-k]) / sum(w (x[n]^2 + x[n-k]^2)). For every lag k the two stretches that are compared lie
symmetrically about the frame's centre, as de Cheveigné and Kawahara propose for YIN (JASA 111(4), 2002, section II.F), so
that a glide is measured where the frame says. It is taken over two windows w at once. The long one, tapered, is
LONG_WINDOW_S or a period, less where it would reach beyond LOOKAHEAD_S: noise averages out of it. The short one is three
quarters of a period, at least SHORT_WINDOW_S, from the middle of the same stretch: it tells a voice that begins, ends or
bends from one that is merely noisy.

Work is shared and spread. A new sample multiplies its past once, `products[k] += x[n] x[n-k]`, into a row of ROW samples. A
stretch is a whole number of rows; lags go in groups of GROUP, whose stretch shifts by one row from group to group. A complete
row is added at once to all frames whose stretches it lies in, so every row costs the same, and when a frame's last row is
there, nothing is left but to divide and to look for peaks. `autovoice.dsp.f0_choice` decides what they mean.

Everything here is called on the audio thread, except `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import log2

ROW = 8  # analysis samples summed into one row of products
GROUP = 2 * ROW  # lags that share one stretch: its centre moves half as fast as the lag
LOWEST_HZ, HIGHEST_HZ = 50.0, 1450.0  # of the peaks kept; above the ceiling, or a higher voice would pass for its octave
MAX_RATE = 23_250  # Hz, the highest analysis rate
MAX_GROUPS = 30  # 480 lags: LOWEST_HZ at MAX_RATE
MAX_LAGS = MAX_GROUPS * GROUP
RING = 512  # samples kept: the longest lag and a row
TAPERED_ROWS = 64  # no stretch is longer than twice as many
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

ZERO, HALF, QUARTER, ONE, TWO = (np.float32(v) for v in (0, 0.5, 0.25, 1, 2))

CORRELATOR = [
    ("rate", "f4"),  # Hz, analysis samples per second
    ("reference_lag", "f4"),  # log2 of the lag at REFERENCE_HZ
    ("shortest", "f4"),  # lag of HIGHEST_HZ
    ("longest", "f4"),  # lag of LOWEST_HZ
    ("groups", "i8"),  # of lags in use
    ("lanes", "i8"),  # GROUP, as a variable: a loop of constant length would be unrolled and not vectorised
    ("half", "i4", (MAX_GROUPS,)),  # rows of each group's long stretch on either side of its middle row
    ("short_half", "i4", (MAX_GROUPS,)),
    ("first", "i8"),  # first row of a frame, counted from its centre
    ("last", "i8"),
    ("taper", "f4", (TAPERED_ROWS,)),  # weight of a row, by its distance from the end of the stretch
    ("attack", "f4"),  # loudness coefficients for one row
    ("release", "f4"),
    ("loudness", "f4"),  # recent power of a sample
    ("smooth_power", "f4"),
    ("floor_rise", "f4"),  # for one row
    ("noise_floor", "f4"),  # log2 of the power below which the sound seldom falls
    ("row", "i8"),  # absolute number of the row being filled
    ("filled", "i8"),  # samples in it
    ("newest", "i8"),  # index of the newest sample in the rings, which are written downwards and twice: lag k is at newest + k
    ("samples", "f4", (2 * RING,)),
    ("power", "f4", (2 * RING,)),  # of each sample and its ROW - 1 predecessors, summed
    ("products", "f4", (MAX_LAGS,)),  # of the row being filled
    ("long_products", "f4", (FRAMES, MAX_LAGS)),  # sums of the frames in progress
    ("long_power", "f4", (FRAMES, MAX_LAGS)),  # of the past, lag by lag
    ("long_own_power", "f4", (FRAMES, MAX_GROUPS)),
    ("short_products", "f4", (FRAMES, MAX_LAGS)),
    ("short_power", "f4", (FRAMES, MAX_LAGS)),
    ("short_own_power", "f4", (FRAMES, MAX_GROUPS)),
    ("long", "f4", (FRAMES, MAX_LAGS)),  # correlation over the long window
    ("short", "f4", (FRAMES, MAX_LAGS)),  # and over the short one
    ("frame_power", "f4", (FRAMES,)),  # of a sample, over the long window of the shortest lags
    ("deepest", "f4", (FRAMES,)),  # lowest correlation of the lags so far
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
    for group in range(groups):
        period = 2 * group + 1  # rows, the group's middle lag
        half = int(min(max(period, LONG_WINDOW_S * rate / ROW), 2 * (reach - group) + 1) / 2)
        state["half"][:, group] = half  # an odd number of rows has its centre in a row, where half the lag ends
        state["short_half"][:, group] = min(half, int(max(SHORT_WINDOW_PERIODS * period, SHORT_WINDOW_S * rate / ROW) / 2))
    state["first"] = -state["half"][:, 0]
    state["last"] = groups - 1 + state["half"][:, groups - 1]
    state["groups"], state["lanes"], state["rate"] = groups, GROUP, rate
    state["shortest"], state["longest"] = rate / HIGHEST_HZ, 1.01 * rate / LOWEST_HZ
    state["taper"] = np.minimum(1.0, (np.arange(TAPERED_ROWS) + 0.5) * ROW / (RAMP_S * rate))
    state["reference_lag"] = np.log2(rate / REFERENCE_HZ)
    state["attack"] = 1 - np.exp(-ROW / (rate * ATTACK_S))
    state["release"] = 1 - np.exp(-ROW / (rate * RELEASE_S))
    state["floor_rise"] = FLOOR_RISE_DB_PER_S / (10 * np.log10(2)) * ROW / rate
    state["noise_floor"] = FLOOR_START


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
    past, products = s.samples[at : at + lags], s.products[:lags]
    if s.filled == 0:
        for k in range(lags):
            products[k] = sample * past[k]
    else:
        for k in range(lags):
            products[k] += sample * past[k]
    s.filled += 1
    if s.filled < ROW:
        return False
    _follow_level(s, power * np.float32(1 / ROW))
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
    s.deepest[slot] = ONE


@helper
def advance(s: Any, frame: Any, centre: Any) -> Any:
    """Add the row that is complete to a frame in progress; returns whether that was its last.

    `centre` is the row that begins at the frame's centre.
    """
    slot = frame & (FRAMES - 1)
    own_power = s.power[s.newest]
    for group in range(s.groups):
        away = s.row - centre - group  # rows from the middle of the stretch
        half = s.half[group]
        if abs(away) > half:
            continue
        weight = s.taper[half - abs(away)]
        first = group * GROUP
        past_power = s.power[s.newest + first : s.newest + first + GROUP]
        products = s.products[first : first + GROUP]
        s.long_own_power[slot, group] += weight * own_power
        _add(s.long_products[slot][first : first + GROUP], products, weight, s.lanes)
        _add(s.long_power[slot][first : first + GROUP], past_power, weight, s.lanes)
        if abs(away) <= s.short_half[group]:
            s.short_own_power[slot, group] += own_power
            _add(s.short_products[slot][first : first + GROUP], products, ONE, s.lanes)
            _add(s.short_power[slot][first : first + GROUP], past_power, ONE, s.lanes)
        if away == half:
            _correlate(s, slot, group)
            _pick_peaks(s, slot, group)
    return s.row - centre == s.last


@helper
def _add(sums: Any, values: Any, weight: Any, count: Any) -> None:
    for k in range(count):
        sums[k] += weight * values[k]


@helper
def _correlate(s: Any, slot: Any, group: Any) -> None:
    """Turn the sums of a group of lags into both correlations."""
    half = s.half[group]
    weights = ZERO
    for away in range(-half, half + 1):
        weights += s.taper[half - abs(away)]
    if group == 0:
        s.frame_power[slot] = s.long_own_power[slot, 0] / (weights * np.float32(ROW))
    background = (QUIET + BACKGROUND * s.loudness) * np.float32(ROW)
    long_own = s.long_own_power[slot, group] + background * weights
    short_own = s.short_own_power[slot, group] + background * np.float32(2 * s.short_half[group] + 1)
    for k in range(group * GROUP, group * GROUP + s.lanes):
        s.long[slot, k] = TWO * s.long_products[slot, k] / (long_own + s.long_power[slot, k])
        s.short[slot, k] = TWO * s.short_products[slot, k] / (short_own + s.short_power[slot, k])


@helper
def _pick_peaks(s: Any, slot: Any, group: Any) -> None:
    """Collect the maxima whose right neighbour the group has just brought, refined by a parabola through three lags."""
    values = s.long[slot]
    for k in range(max(2, group * GROUP - 1), group * GROUP + GROUP - 1):
        before, peak, after = values[k - 1], values[k], values[k + 1]
        s.deepest[slot] = min(s.deepest[slot], before)
        if peak <= WEAKEST_PEAK or peak <= before or peak < after or peak - s.deepest[slot] < LEAST_RISE:
            continue
        offset = HALF * (before - after) / (before - peak - peak + after)
        lag = np.float32(k) + offset
        if s.shortest <= lag <= s.longest:
            _keep(s, slot, log2(lag), min(peak - QUARTER * (before - after) * offset, ONE))


@helper
def _keep(s: Any, slot: Any, lag: Any, height: Any) -> None:
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
    strengths[j], heights[j], valleys[j], lags[j] = strength, height, s.deepest[slot], lag
