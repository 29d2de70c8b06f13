"""A noise floor by percentiles: what lies under a voice, band by band, learnt while the voice goes on.

Every hop of about 10 ms puts the mean level of each band into a histogram of the last 8 s. The floor is the level
that 20 % of them do not reach (after V. Stahl, A. Fischer, R. Bippus, Quantile Based Noise Estimation for Spectral
Subtraction and Wiener Filtering, ICASSP 2000), and the distance from there down to the 4 % level tells how restless
the noise is: a room full of talkers needs more room above its floor than a fan. A hop with a voice in it weighs a tenth of
one without, so that the share of speech hardly moves the percentiles, and a note held for seconds does not become noise.
A noise that grows is known after 6 to 8 s, one that fades after 2.

Levels are powers, those of the last row are of the whole sound. Hops and updates hang on absolute segments. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.stage import SEGMENT

BANDS = 8
WHOLE = BANDS  # the row of the whole sound
ROWS = BANDS + 1
BINS = 256
LOWEST_DB, PER_DB = np.float32(-120), np.float32(2)  # bin 1 begins at LOWEST_DB; a bin is half a dB wide
HOP_MS, WINDOW_S, WARM_UP_S, UPDATE_MS = 10, 8, 2, 200
MOST_HOPS = 1024
QUIET_WEIGHT, VOICE_WEIGHT = 10, 1
FLOOR_SHARE, DEEP_SHARE = np.float32(0.2), np.float32(0.04)

STATE = [
    ("sum", "f4", (ROWS,)),  # powers, added up over the hop
    ("share", "f4"),  # 1 / how many
    ("hop", "i8"),  # segments
    ("hop_left", "i8"),  # segments of it that are still to come
    ("window", "i8"),  # hops
    ("warm", "i8"),  # hops that must have been learnt before the floor is used
    ("every", "i8"),  # hops between updates
    ("learnt", "i8"),  # hops
    ("weight", "i8"),  # of all that the histograms hold
    ("voiced", "i8"),  # whether a voice was heard in this hop
    ("floor_db", "f4", (ROWS,)),  # of power, the 20 % level
    ("unrest_db", "f4", (ROWS,)),  # from the 4 % to the 20 % level
    ("bins", "u1", (MOST_HOPS, ROWS)),  # of each hop; 0 = silence, which is not counted
    ("weights", "u1", (MOST_HOPS,)),
    ("counts", "i4", (ROWS, BINS)),
]
"""Fields of one floor, to be part of a stage's STATE."""

_DB_PER_OCTAVE = np.float32(10 * np.log10(2.0))  # of power
_ZERO, _ONE = np.float32(0), np.float32(1)
_TOP = np.float32(BINS - 1)


def layout(state: Any, sample_rate: float, tick: int) -> None:
    """Set up zeroed states, shape (channels,); powers are added to the sums every `tick` frames."""
    state["hop"] = state["hop_left"] = hop = max(1, round(HOP_MS * sample_rate / 1000 / SEGMENT))
    state["share"] = tick / (hop * SEGMENT)
    per_s = sample_rate / (hop * SEGMENT)
    state["window"] = min(round(WINDOW_S * per_s), MOST_HOPS)
    state["warm"] = round(WARM_UP_S * per_s)
    state["every"] = round(UPDATE_MS * per_s / 1000)
    state["floor_db"] = LOWEST_DB


@helper
def _bin_of(power):
    """Return the bin of a power, 0 for silence."""
    place = (log2(power) * _DB_PER_OCTAVE - LOWEST_DB) * PER_DB + _ONE
    return np.int64(min(max(place, _ZERO), _TOP))


@helper
def _level_at(counts, wanted):
    """Return the level in dB that lies above `wanted` of what a histogram holds; it holds more than that."""
    below, b = _ZERO, 0
    while b < BINS - 1 and below + np.float32(counts[b]) <= wanted:
        below += np.float32(counts[b])
        b += 1
    part = (wanted - below) / max(np.float32(counts[b]), _ONE)
    return LOWEST_DB + (np.float32(b - 1) + part) / PER_DB


@helper
def forget(s):
    """Begin anew, as at the start."""
    for r in range(ROWS):
        s.sum[r], s.floor_db[r], s.unrest_db[r] = _ZERO, LOWEST_DB, _ZERO
        for b in range(BINS):
            s.counts[r, b] = 0
    for h in range(MOST_HOPS):
        s.weights[h] = 0
    s.learnt, s.weight, s.voiced = 0, 0, 0


@helper
def end_hop(s, first):
    """Put the hop that ends into the histograms of the rows from `first` on and read one row's floor, if it is its turn."""
    slot = s.learnt % s.window
    old, new = np.int64(s.weights[slot]), VOICE_WEIGHT if s.voiced != 0 else QUIET_WEIGHT
    if _bin_of(s.sum[WHOLE] * s.share) > 0:
        for r in range(first, ROWS):
            now = _bin_of(s.sum[r] * s.share)
            s.counts[r, s.bins[slot, r]] -= np.int32(old)
            s.counts[r, now] += np.int32(new)
            s.bins[slot, r] = np.uint8(now)
        s.weight += new - old
        s.weights[slot] = np.uint8(new)
        s.learnt += 1
    for r in range(ROWS):
        s.sum[r] = _ZERO
    s.voiced = 0
    row = s.learnt % s.every
    if first <= row < ROWS and s.learnt >= s.warm - s.every:
        total = np.float32(s.weight)
        high = _level_at(s.counts[row], FLOOR_SHARE * total)
        s.floor_db[row] = high
        s.unrest_db[row] = high - _level_at(s.counts[row], DEEP_SHARE * total)


@helper
def power_of_db(db):
    """Return the power of a level in dB."""
    return exp2(db / _DB_PER_OCTAVE)
