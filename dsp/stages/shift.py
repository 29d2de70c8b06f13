"""Change the pitch of a voice and keep its formants, or move the formants and keep the pitch.

Time-domain pitch-synchronous overlap-add: grains of up to two periods are cut out around pitch marks of the input and laid
down again at a new distance, so the spectral envelope inside a grain stays while the pitch follows the distance (E. Moulines
and F. Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis using diphones", Speech
Communication 9, 1990; K. Lent, "An efficient method for pitch shifting digitally sampled sounds", Computer Music Journal
13(4), 1989). Reading a grain faster or slower moves its formants. To be early, marks are predicted; a grain that already
sounds is corrected as soon as its own mark is measured (see `pitch_marks` and `psola`).

What has no pitch passes untouched, bit for bit, and so does everything when both parameters rest at 0. The first and the last
grain of a run stand exactly where they came from: they equal the passed sound, so the cross-fade under their slopes neither
doubles nor cancels anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import pitch_marks, psola
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2
from autovoice.dsp.stage import SEGMENT, Option, Param

REQUIRES = ("pitch",)

PARAMETERS = (
    Param("semitones", "st", -12.0, 12.0, 0.0, help="pitch shift; formants stay"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the formants; pitch stays"),
)
RANGES_MS = {"low": 12.5, "mid": 9.5, "high": 6.5}  # delay: a period of the lowest voice that all settings serve well
OPTIONS = (
    Option("range", "", 0, 2, 0, "choice", help="voice: from 80, 110 or 160 Hz; sets the delay", choices=tuple(RANGES_MS)),
)

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0  # pitches outside pass unshifted
RING_S = 0.068  # 3.4 of the longest periods
RING = 16384  # frames, a power of two, enough for that at 192 kHz
LOWPASS_HZ, HIGHPASS_HZ = 1200.0, 50.0  # of the signal that marks are found in: pulses without hiss and rumble
JUMP = 0.18  # a comb further than this from the bus's period starts anew
ENTER_CORRELATION = np.float32(0.5)  # between two periods, for a run of grains to begin ...
LEAVE_CORRELATION = np.float32(0.3)  # ... and to end: hiss that the pitch tracker took for a voice
STILL = 2  # segments at 0 after which the sound passes untouched
LEVEL_S = 0.08  # time constant of the powers by which the grains' gain is set
GAIN_MIN, GAIN_MAX = np.float32(0.7), np.float32(1.6)
PASS, SHIFT, LEAVE = 0, 1, 2
ZERO, ONE = np.float32(0), np.float32(1)

STATE = [
    ("ring", "f4", (2 * RING,)),  # input, twice in a row: any run of up to a ring's length lies in one piece
    ("wet", "f4", (SEGMENT,)),  # sum of the grains
    ("dry_power", "f4"),  # of the running segment
    ("wet_power", "f4"),
    # What follows is used of channel 0 alone.
    ("mask", "i8"),  # ring length - 1
    ("band", "f4", (RING,)),  # the channels' mean, band-limited
    ("low1", "f4"),
    ("low2", "f4"),
    ("slow", "f4"),
    ("low_step", "f4"),
    ("slow_step", "f4"),
    ("mode", "i8"),
    ("tracking", "i8"),
    ("restart", "i8"),  # the comb contradicts the bus: end the run of grains, then start the comb anew
    ("still", "i8"),  # segments for which both parameters have been 0
    ("leave", "i8"),  # the next grain shall be the last
    ("first_slope", "f8"),  # frames over which the passed sound fades out
    ("dry", "f4", (SEGMENT,)),  # weight of the passed sound
    ("gain", "f4", (SEGMENT,)),  # of the grains, which goes in a segment
    ("gain_from", "f4"),
    ("gain_to", "f4"),
    ("dry_level", "f4"),  # leaky sums of power
    ("wet_level", "f4"),
    ("leak", "f4"),
    *pitch_marks.COMB,
    *psola.POOL,
]


def latency(sample_rate: float, range: str) -> int:
    """Return the delay in frames."""
    return round(RANGES_MS[range] * 1e-3 * sample_rate)


def settle(sample_rate: float, range: str) -> int:
    """Return the frames until the marks sit on the pulses and the levels match."""
    return round(0.1 * sample_rate)


def prepare(state: Any, sample_rate: float, range: str) -> None:
    """Set what depends on the sample rate and the range."""
    first = state[0]
    first.delay = latency(sample_rate, range)
    first.mask = min(RING, 1 << int(np.ceil(np.log2(RING_S * sample_rate)))) - 1
    first.low_step = 1 - np.exp(-2 * np.pi * LOWPASS_HZ / sample_rate)
    first.slow_step = 1 - np.exp(-2 * np.pi * HIGHPASS_HZ / sample_rate)
    first.band_delay = 2 * (1 - first.low_step) / first.low_step  # of two one-poles at low frequencies
    first.leak = 1 - np.exp(-SEGMENT / (LEVEL_S * sample_rate))
    first.gain_from = first.gain_to = 1
    first.period = sample_rate / 100


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Delay the sound, or replace it by grains where it has a pitch and is to be changed."""
    t = s[0]
    store(s, x, block)
    if block.frame % SEGMENT == 0:
        match_levels(s, block.channels)
        follow_bus(t, block)
        choose_mode(t, p, block.frame)
    for c in range(block.channels):
        for i in range(block.frames):
            s[c].wet[i] = ZERO
    n = block.frame
    end = n + block.frames
    while n < end:  # from event to event; between two of them the same grains are at work
        comb = pitch_marks.comb_due(t) if t.tracking else end
        run = end
        if t.mode == SHIFT:
            run = psola.launch_frame(t)
        elif t.mode == LEAVE:
            run = psola.run_end(t)
        until = min(end, min(comb, run))
        i = n - block.frame
        here = np.float64(n - t.delay)
        if until > n:
            render(s, n, until, block)
            n = until
        elif comb <= n:
            pitch_marks.advance_comb(t, t.band, t.mask, t.mode == PASS)
            if t.mode == SHIFT:
                psola.steer(t, here, pitch_ratio(p, i))
        elif t.mode == SHIFT:
            psola.launch(t, here, pitch_ratio(p, i), formant_ratio(p, i), t.leave)
            if t.leave:
                t.mode = LEAVE
        else:
            t.mode = PASS
    mix(s, x, block)


@helper
def pitch_ratio(p, i):
    """Return output pitch over input pitch."""
    return np.float64(exp2(p.semitones[i] * np.float32(1 / 12)))


@helper
def formant_ratio(p, i):
    """Return output formant over input formant frequency."""
    return np.float64(exp2(p.formant[i] * np.float32(1 / 12)))


@helper
def store(s, x, block):
    """Write the input to the rings, and the band that marks are found in."""
    t = s[0]
    mask = t.mask
    for c in range(block.channels):
        ring = s[c].ring
        for i in range(block.frames):
            at = (block.frame + i) & mask
            ring[at] = x[c, i]
            ring[at + mask + 1] = x[c, i]
    low1, low2, slow = t.low1, t.low2, t.slow
    share = ONE / np.float32(block.channels)
    for i in range(block.frames):
        mean = x[0, i]
        for c in range(1, block.channels):
            mean += x[c, i]
        low1 += t.low_step * (mean * share - low1)
        low2 += t.low_step * (low1 - low2)
        slow += t.slow_step * (low2 - slow)
        t.band[(block.frame + i) & mask] = low2 - slow
    t.low1, t.low2, t.slow = low1, low2, slow


@helper
def follow_bus(t, block):
    """Start, restart or stop the comb by the pitch on the bus, which is some 15 ms old, about as old as the output."""
    f0 = np.float64(block.bus.f0_hz)
    if not LOWEST_HZ <= f0 <= HIGHEST_HZ:
        t.tracking = 0
        return
    period = block.sample_rate / f0
    t.restart = 1 if t.tracking and abs(period - t.period) > JUMP * t.period else 0
    if not t.tracking or (t.restart and t.mode == PASS):
        pitch_marks.start_comb(t, t.band, t.mask, block.frame, period)
        while pitch_marks.comb_due(t) <= block.frame:
            pitch_marks.advance_comb(t, t.band, t.mask, True)
        t.tracking = 1
        t.restart = 0


@helper
def choose_mode(t, p, frame):
    """Begin or end a run of grains."""
    t.still = t.still + 1 if p.semitones[0] == ZERO and p.formant[0] == ZERO else 0
    least = ENTER_CORRELATION if t.mode == PASS else LEAVE_CORRELATION
    wanted = t.tracking != 0 and t.restart == 0 and t.still < STILL and t.correlation > least
    if t.mode == PASS and wanted:
        t.mode = SHIFT
        t.leave = 0
        psola.begin_run(t, np.float64(frame - t.delay), t.period / max(pitch_ratio(p, 0), formant_ratio(p, 0)))
        t.first_slope = t.next_slope
    elif t.mode == SHIFT:
        t.leave = 0 if wanted else 1


@helper
def render(s, n, until, block):
    """Draw the grains from frame n to frame `until`, and note the weight of the passed sound."""
    t = s[0]
    origin = block.frame - t.delay
    begin, end = n - t.delay, until - t.delay
    if t.mode == PASS:
        for i in range(begin - origin, end - origin):
            t.dry[i] = ONE
        return
    for c in range(block.channels):
        psola.draw_grains(t, s[c].wet, s[c].ring, t.mask, begin, end, origin)
    psola.retire_grains(t, end)
    for frame in range(begin, end):
        weight = ZERO
        before = t.first_centre - np.float64(frame)
        if before > 0.0:
            weight = ONE - psola.rise(np.float32(1.0 - before / t.first_slope))
        elif t.mode == LEAVE:
            after = np.float64(frame) - t.centre[t.newest]
            weight = psola.rise(np.float32(after / t.slope_out[t.newest]))
        t.dry[frame - origin] = weight


@helper
def match_levels(s, channels):
    """Once a segment, set the grains' gain so that they carry the power of the sound they replace."""
    t = s[0]
    dry = ZERO
    wet = ZERO
    for c in range(channels):
        dry += s[c].dry_power
        wet += s[c].wet_power
        s[c].dry_power = ZERO
        s[c].wet_power = ZERO
    t.gain_from = t.gain_to
    if dry == ZERO or t.mode == PASS:
        return
    t.dry_level += t.leak * (dry - t.dry_level)
    t.wet_level += t.leak * (wet - t.wet_level)
    if t.wet_level > ZERO:
        t.gain_to = min(max(np.sqrt(t.dry_level / t.wet_level), GAIN_MIN), GAIN_MAX)


@helper
def mix(s, x, block):
    """Write grains and passed sound to the output, each with its weight, and measure both for `match_levels`."""
    t = s[0]
    offset = block.frame % SEGMENT
    for i in range(block.frames):
        t.gain[i] = t.gain_from + (t.gain_to - t.gain_from) * (np.float32(offset + i) * np.float32(1 / SEGMENT))
    for c in range(block.channels):
        base = (block.frame - t.delay) & t.mask
        passed = s[c].ring[base : base + block.frames]
        wet = s[c].wet
        dry_power, wet_power = s[c].dry_power, s[c].wet_power
        for i in range(block.frames):
            weight = t.dry[i]
            x[c, i] = passed[i] if weight == ONE else t.gain[i] * wet[i] + weight * passed[i]
            heard = ONE if weight == ZERO else ZERO
            dry_power += heard * passed[i] * passed[i]
            wet_power += heard * wet[i] * wet[i]
        s[c].dry_power, s[c].wet_power = dry_power, wet_power
