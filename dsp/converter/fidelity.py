"""What the network misses of a singer whom it knows, put back into what it draws: analysis by synthesis.

The decoder is asked a second time, for the voice of who sings. What it says then should be what was heard; where it is not, by
more than DOUBT, the network took one sound for another or left one out, and the difference, band by band, is added to the
envelopes of the voice that is asked for, as much higher as that voice's resonances lie (`voices.RECORD`). The idea is that of
C. G. Bell et al., Reduction of speech spectra by analysis-by-synthesis techniques, JASA 33(12), 1961; the threshold is soft, as
in D. L. Donoho, De-noising by soft-thresholding, IEEE Transactions on Information Theory 41(3), 1995. What is always different
is the microphone or the room, and is left out: its mean over some seconds of sound. Pauses are left as the network draws them.
Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import HARMONIC, MELS, NOISE, SPREAD
from autovoice.dsp.converter.voices import RECORD, VALUES
from autovoice.dsp.native import as_pointer, helper, load_acquire, record_at
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.toolchain import numba

carray = numba.carray

OUTPUTS = HARMONIC + NOISE
HELD = 16  # hops, a power of 2: more than any look-ahead
SETTLED = 40  # hops: what the decoder remembers
FADE = 20  # hops from nothing to all of it
PRIOR, MEMORY = 20, 300  # hops of sound that the mean's start, 0, counts for, and over which it is taken
DOUBT, MOST = 0.35, 1.7  # natural logarithm of a magnitude: 3 dB, up to which it is chance, and 15 dB beyond
FIRM = 1.2  # times what is beyond is put back: it makes up for some of the doubt
SOFTEST_DB, LOUD_DB = -24.0, -14.0  # mean of a frame's bands, of a voice at its usual level: from nothing to all of it
REACH = 8  # bands to either side
DB = 10 / np.log(10) * SPREAD  # of a band's value
WIDTH = 2.0  # bands, deviation of the Gaussian that smooths what was missed

STATE = np.dtype(
    [
        ("table", "i8"),  # address: of voices
        ("centres", "i8"),  # address of float32 (OUTPUTS,): Hz of the bands of the synthesis
        ("record", "i8"),  # of who sings; 0 = nobody
        ("hops", "i8"),  # that the decoder has been asked about this one
        ("count", "i8"),  # hops that the mean rests on
        ("tract", "f4"),  # of who sings, see `voices.RECORD`
        ("trust", "f4"),  # share of what was missed that is put back now
        ("heard", "f4", (HELD, MELS)),
        ("mean", "f4", (MELS,)),
        ("missed", "f4", (MELS,)),
        ("mended", "f4", (MELS,)),
    ],
    align=True,
)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
STEP = np.float32(1 / FADE)
TO_MAGNITUDE, MORE = np.float32(SPREAD / 2), np.float32(FIRM)
LEAST, MOST_MISSED = np.float32(DOUBT), np.float32(MOST)
SOFTEST, PER_WAY = np.float32(SOFTEST_DB / DB), np.float32(DB / (LOUD_DB - SOFTEST_DB))
PER_BAND = np.float32(1 / MELS)
PER_700 = np.float32(1 / 700.0)
BAND_MEL = float(features.mel(features.HIGHEST_HZ) - features.mel(features.LOWEST_HZ)) / (MELS + 1)  # from one to the next
PER_OCTAVE = np.float32(features.mel(700.0) / BAND_MEL)  # bands for each doubling of 1 + f / 700 Hz
FIRST, LAST = np.float32(features.mel(features.LOWEST_HZ) / BAND_MEL + 1), np.float32(MELS - 1)


def kernel() -> Any:
    """Return the weights of the smoothing, float64 (2 REACH + 1,), whose sum is 1."""
    weights = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / WIDTH) ** 2)
    return weights / weights.sum()


KERNEL = tuple(np.float32(weight) for weight in kernel())


def plan(state: Any, table: Any, centres: int) -> None:
    """Fill the zeroed `state` of any shape. Control thread only.

    table: address of the table of voices; centres: of the frequencies of the synthesis' bands in Hz, float32 (OUTPUTS,).
    """
    state["table"], state["centres"], state["count"] = table, centres, PRIOR


@helper
def hear(s, hop, bands):
    """Keep the bands of a hop."""
    kept = s.heard[hop & (HELD - 1)]
    for b in range(MELS):
        kept[b] = bands[b]


@helper
def turn_to(s, singer, fidelity, values, first):
    """Turn to the singer in a slot, -1 = nobody; returns whether to ask the decoder, and whether about another one.

    `singer` is the slot as the parameter has it; their values are written to `values` where it is another. The decoder is
    believed when it has been asked for a while, or in the first hop of all, before which there is nothing to remember.
    """
    slot = np.int64(np.floor(singer + HALF))
    wanted = slot >= 0 and fidelity > ZERO
    changed = False
    if wanted:
        address = load_acquire(s.table + 8 * slot)
        if address != s.record:
            changed = True
            s.record, s.hops, s.count = address, SETTLED if first else np.int64(0), PRIOR
            record = record_at(address, RECORD)
            s.tract = record.tract
            for k in range(VALUES):
                values[k] = record.values[k]
            for b in range(MELS):
                s.mean[b] = ZERO
    goal = fidelity if wanted and s.hops >= SETTLED else ZERO
    s.trust = goal if first else s.trust + min(max(goal - s.trust, -STEP), STEP)
    asked = wanted or s.trust > ZERO
    s.hops += 1
    if not asked:
        s.record = 0
    return asked, changed


@helper
def mend(s, frame, expected, drawn, tract):
    """Add what was missed to the envelopes of a frame.

    expected: the bands that the decoder expects of who sings; tract: of the voice that is drawn, see `voices.RECORD`.
    """
    heard = s.heard[frame & (HELD - 1)]
    level = ZERO
    for b in range(MELS):
        level += heard[b]
    weight = min(max((level * PER_BAND - SOFTEST) * PER_WAY, ZERO), ONE)
    if weight >= ONE:
        s.count += 1
    newest = ONE / np.float32(min(s.count, MEMORY)) if weight >= ONE else ZERO
    for b in range(MELS):
        off = (heard[b] - expected[b]) * TO_MAGNITUDE
        s.mean[b] += newest * (off - s.mean[b])
        s.missed[b] = off - s.mean[b]
    for b in range(MELS):
        smooth = ZERO
        for k in range(2 * REACH + 1):
            smooth += KERNEL[k] * s.missed[min(max(b + k - REACH, 0), MELS - 1)]
        beyond = min(max(abs(smooth) - LEAST, ZERO), MOST_MISSED)
        s.mended[b] = beyond if smooth > ZERO else -beyond
    centres = carray(as_pointer(s.centres), (OUTPUTS,), np.float32)
    lower_by = exp2(s.tract - tract) * PER_700
    gain = MORE * s.trust * weight
    for row in range(OUTPUTS):
        place: Any = min(max(log2(ONE + centres[row] * lower_by) * PER_OCTAVE - FIRST, ZERO), LAST)
        below: Any = min(np.int64(place), MELS - 2)
        share = place - np.float32(below)
        drawn[row] += gain * (s.mended[below] + share * (s.mended[below + 1] - s.mended[below]))
