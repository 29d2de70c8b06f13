"""Mark the glottal pulses of one voice for the stages that shift it; the sound passes unchanged and undelayed.

Pitch-synchronous stages cut grains around pitch marks: one mark per period, on the pulse. The comb (`dsp.pitch_comb`) starts
from the pitch on the bus and then follows the waveform itself, ahead of the tracker. All stages behind read the same marks
(`dsp.pitch_marks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import pitch_comb, pitch_marks
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT

REQUIRES = ("pitch",)

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0  # pitches outside get no marks
MARGIN = 1.2  # factor by which a comb may leave that range
RING_S = 0.068  # 3.4 of the longest periods
RING = 16384  # frames, a power of two, enough for that at 192 kHz
LOWPASS_HZ, HIGHPASS_HZ = 1200.0, 50.0  # of the signal that marks are found in: pulses without hiss and rumble
RISE_S = 0.0004  # within which a pulse's ringing changes
JUMP = 0.18  # a comb whose period lay further than this from the bus's, at the time that the bus speaks of ...
DOUBT_S = 0.006  # ... for so long, starts anew
HOLD_CORRELATION = np.float32(0.7)  # of two periods, that goes on without a pitch on the bus ...
HOLD_S = 0.06  # ... for so long
LOOK_BACK_S = 0.02  # marks are found so far back when the comb starts: readers are late by their delay
FREE_CORRELATION = np.float32(0.5)  # below it marks may leap to the pulses, since no grain stands on them
ONE = np.float32(1)

STATE = [
    ("record", pitch_marks.MARKS),
    ("band", "f4", (RING,)),  # the channels' mean, band-limited
    ("mask", "i8"),  # ring length - 1
    ("band_delay", "f8"),  # frames by which the band is late
    ("low1", "f4"),
    ("low2", "f4"),
    ("slow", "f4"),
    ("low_step", "f4"),
    ("slow_step", "f4"),
    ("doubtful", "i8"),  # frames for which comb and bus have been at odds
    ("held", "i8"),  # frames for which the comb has gone on alone
    *pitch_comb.COMB,
]


def settle(sample_rate: float) -> int:
    """Return the frames until the marks sit on the pulses."""
    return round(0.1 * sample_rate)


def prepare(state: Any, sample_rate: float) -> None:
    """Set what depends on the sample rate."""
    first = state[0]
    first.mask = min(RING, 1 << int(np.ceil(np.log2(RING_S * sample_rate)))) - 1
    first.low_step = 1 - np.exp(-2 * np.pi * LOWPASS_HZ / sample_rate)
    first.slow_step = 1 - np.exp(-2 * np.pi * HIGHPASS_HZ / sample_rate)
    first.band_delay = 2 * (1 - first.low_step) / first.low_step  # of two one-poles at low frequencies
    first.rise = max(1, round(RISE_S * sample_rate))
    first.period = sample_rate / 100
    first.shortest, first.longest = sample_rate / (MARGIN * HIGHEST_HZ), sample_rate * MARGIN / LOWEST_HZ


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Let the comb see this call's frames; the audio is only read."""
    t = s[0]
    store_band(t, x, block)
    if block.frame % SEGMENT == 0:
        follow_bus(t, block)
    if t.record.voiced:
        while pitch_comb.comb_due(t) < block.frame + block.frames:
            write_mark(t, max(pitch_comb.comb_due(t), block.frame))
    pitch_marks.publish(t.record, block, 0)


@helper
def write_mark(t, due):
    """Advance the comb and append what it found, due at absolute frame `due`."""
    pitch_comb.advance_comb(t, t.band, t.mask, t.correlation < FREE_CORRELATION)
    pitch_marks.append(t.record, t.mark - t.band_delay, t.period, t.drift, t.correlation, due)


@helper
def store_band(t, x, block):
    """Write the band that marks are found in to its ring."""
    low1, low2, slow = t.low1, t.low2, t.slow
    share = ONE / np.float32(block.channels)
    for i in range(block.frames):
        mean = x[0, i]
        for c in range(1, block.channels):
            mean += x[c, i]
        low1 += t.low_step * (mean * share - low1)
        low2 += t.low_step * (low1 - low2)
        slow += t.slow_step * (low2 - slow)
        t.band[(block.frame + i) & t.mask] = low2 - slow
    t.low1, t.low2, t.slow = low1, low2, slow


@helper
def follow_bus(t, block):
    """Once a segment: start, restart or stop the comb by the pitch on the bus, which is older than the comb's."""
    f0 = np.float64(block.bus.f0_hz)
    if not LOWEST_HZ <= f0 <= HIGHEST_HZ:
        # What still repeats goes on: a tracker may miss a few periods of a rough voice.
        t.held += SEGMENT
        holds = t.correlation > HOLD_CORRELATION and t.held < HOLD_S * block.sample_rate
        t.record.voiced = 1 if t.record.voiced and holds else 0
        return
    t.held = 0
    period = block.sample_rate / f0
    if t.record.voiced:
        own = pitch_marks.written_period(t.record, np.float64(block.bus.f0_frame + block.upstream))
        t.doubtful = 0 if abs(period - own) <= JUMP * own else t.doubtful + SEGMENT
        if t.doubtful <= DOUBT_S * block.sample_rate:
            return
    t.doubtful = 0
    pitch_comb.start_comb(t, t.band, t.mask, block.frame - LOOK_BACK_S * block.sample_rate, block.frame, period)
    pitch_marks.begin(t.record, block.frame, t.mark - t.band_delay, period)
    while pitch_comb.comb_due(t) <= block.frame:
        write_mark(t, block.frame)
    t.record.voiced = 1
