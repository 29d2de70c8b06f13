"""What `shift` and `tune` do with a voice: runs of grains where it has a pitch that is to be changed, else the sound itself.

A stage fills three rows of its first channel's state for the frames of a call, `semitones`, `formant` and `target_hz`, and
calls `run`. The rows are read when a grain starts. With a target (0 = none) the output has exactly that pitch, transposed by
`semitones`, whatever the input's period is.

A run begins and ends with a grain that stands exactly where it came from, at gain 1: it equals the passed sound, so the
cross-fade under its slopes neither doubles nor cancels anything. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import pitch_marks, psola
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.scalar import exp2
from autovoice.dsp.stage import SEGMENT, Option
from autovoice.dsp.toolchain import numba

carray = numba.carray
RANGES_MS = {"low": 16.0, "mid": 10.0, "high": 7.0}  # delay: a period of the lowest voice that all settings serve well
OPTIONS = (
    Option("range", "", 0, 2, 1, "choice", help="voice: from 65, 110 or 160 Hz; sets the delay", choices=tuple(RANGES_MS)),
)
RING_S = 0.068  # 3.4 of the longest periods
ENTER_CORRELATION = np.float32(0.5)  # between two periods, for a run of grains to begin
LEAVE_CORRELATION = np.float32(0.3)  # below it for DOUBTS marks in a row, a run ends: what the pitch tracker heard is hiss
DOUBTS = 3
RATIO_MAX = 16.0  # of pitches: a target may be far from the voice
STILL = 2  # segments without a change after which the sound passes untouched
LEVEL_S = 0.08  # time constant of the powers by which the grains' gain is set
GAIN_MIN, GAIN_MAX = np.float32(0.4), np.float32(1.6)
LEAST_RATIO, MOST_RATIO = 0.125, 8.0  # of pitches: a grain must never stand still
PASS, SHIFT, LEAVE = 0, 1, 2
ZERO, ONE, OCTAVES_PER_SEMITONE = np.float32(0), np.float32(1), np.float32(1 / 12)

STATE = [
    ("memory", "i8"),  # address of the input, twice in a row: any run of up to a ring's length lies in one piece
    ("wet", "f4", (SEGMENT,)),  # sum of the grains
    ("dry_power", "f4"),  # of the running segment
    ("wet_power", "f4"),
    # What follows is used of channel 0 alone.
    ("semitones", "f4", (SEGMENT,)),  # rows that the stage fills
    ("formant", "f4", (SEGMENT,)),
    ("target_hz", "f4", (SEGMENT,)),
    ("mask", "i8"),  # ring length - 1
    ("mode", "i8"),
    ("still", "i8"),  # segments for which nothing was to change
    ("doubts", "i8"),  # marks in a row that correlate badly
    ("leave", "i8"),  # the next grain shall be the last
    ("first_slope", "f8"),  # frames over which the passed sound fades out
    ("dry", "f4", (SEGMENT,)),  # weight of the passed sound
    ("level", "f4"),  # gain of the grains to come
    ("dry_level", "f4"),  # leaky sums of power
    ("wet_level", "f4"),
    ("leak", "f4"),
    ("marks", pitch_marks.VIEW),
    ("voice", psola.VOICE),
    ("record", pitch_marks.MARKS),  # of the output
    ("voiced_before", "i8"),  # history of `pitch_marks.voiced_later`
    ("passed", "f8"),  # next mark that passes, at the input's clock
]


def ring_frames(sample_rate: float) -> int:
    """Return how many frames of input are kept, a power of two. Control thread only."""
    return 1 << int(np.ceil(np.log2(RING_S * sample_rate)))


def memory(sample_rate: float, **options: object) -> int:
    """Return the float32 values of memory that each channel needs. Control thread only."""
    return 2 * ring_frames(sample_rate)


def latency(sample_rate: float, range: str) -> int:
    """Return the delay in frames."""
    return round(RANGES_MS[range] * 1e-3 * sample_rate)


def settle(sample_rate: float, range: str) -> int:
    """Return the frames until the levels match and the marks sit on the pulses."""
    return round(0.1 * sample_rate)


def prepare(state: Any, sample_rate: float, range: str) -> None:
    """Set what depends on the sample rate and the range. Control thread only."""
    first = state[0]
    first["voice"]["delay"] = latency(sample_rate, range)
    first["mask"] = ring_frames(sample_rate) - 1
    first["leak"] = 1 - np.exp(-SEGMENT / (LEVEL_S * sample_rate))
    first["level"] = 1
    first["marks"]["period"] = sample_rate / 100


@helper
def run(s, x, block):
    """Delay the sound, or replace it by grains where it has a pitch and is to be changed."""
    t = s[0]
    m, v, record = t.marks, t.voice, pitch_marks.marks_of(block)
    store(s, x, block)
    if block.frame % SEGMENT == 0:
        match_levels(s, block.channels)
        choose_mode(t, record, block)
        follow_output(t, block.frame)
    for c in range(block.channels):
        for i in range(block.frames):
            s[c].wet[i] = ZERO
    n = block.frame
    end = n + block.frames
    while n < end:  # from event to event; between two of them the same grains are at work
        due = pitch_marks.next_due(m, record)
        until = min(end, min(due, next_event(t)))
        i = n - block.frame
        here = np.float64(n - v.delay)
        v.spacing = wanted_period(t, i, block)
        if until > n:
            render(s, n, until, block)
            n = until
        elif due <= n:
            pitch_marks.take(m, record, block)
            t.doubts = t.doubts + 1 if m.correlation < LEAVE_CORRELATION else 0
            if t.mode == SHIFT:
                psola.steer(v, m, here, pitch_ratio(t, i, block))
        elif t.mode == PASS:
            pass_mark(t, n)
        elif t.mode == SHIFT:
            launch(t, n, i, block)
        else:
            t.mode = PASS
            t.passed = v.centre[v.newest] + m.period
    mix(s, x, block)
    pitch_marks.publish(t.record, block, v.delay)


@helper
def next_event(t):
    """Return the absolute frame at which a mark passes, a grain starts or a run is over."""
    if t.mode == SHIFT:
        return psola.launch_frame(t.voice)
    if t.mode == LEAVE:
        return psola.run_end(t.voice)
    return np.int64(np.ceil(t.passed)) + t.voice.delay if t.record.voiced else pitch_marks.NEVER


@helper
def launch(t, n, i, block):
    """Start the grain that is planned, at frame n, which is frame i of the call; the last of a run if it is to end."""
    m, v = t.marks, t.voice
    first = v.next_centre == v.first_centre
    psola.launch(v, m, np.float64(n - v.delay), pitch_ratio(t, i, block), formant_ratio(t, i), t.leave)
    psola.plan(v, m, pitch_ratio(t, i, block))  # a target's ratio is that of the period now to come
    v.gain[v.newest] = ONE if first or t.leave else t.level
    write_mark(t, v.centre[v.newest], v.next_centre - v.centre[v.newest], n)
    if t.leave:
        t.mode = LEAVE


@helper
def pass_mark(t, frame):
    """Hand on a mark that reaches the output unchanged."""
    write_mark(t, t.passed, t.marks.period, frame)
    t.passed = max(pitch_marks.mark_near(t.marks, t.passed + t.marks.period), t.passed + 0.5 * t.marks.period)


@helper
def write_mark(t, centre, period, frame):
    """Append a mark of the output."""
    pitch_marks.append(t.record, centre + np.float64(t.voice.delay), period, 0.0, t.marks.correlation, frame)


@helper
def follow_output(t, frame):
    """Once a segment: begin or end the output's row of marks, a delay after the input's."""
    before = t.record.voiced
    t.voiced_before, t.record.voiced = pitch_marks.voiced_later(t.voiced_before, t.marks.voiced, t.voice.delay)
    if t.record.voiced and not before:
        here = np.float64(frame - t.voice.delay)
        first = pitch_marks.mark_near(t.marks, here)
        period = pitch_marks.period_near(t.marks, here)
        pitch_marks.begin(t.record, frame, first + np.float64(t.voice.delay), period)
        t.passed = first + period


@helper
def wanted_period(t, i, block):
    """Return the output period in frames that a target asks for, 0 where there is none."""
    if t.target_hz[i] == ZERO:
        return 0.0
    period = block.sample_rate / (np.float64(t.target_hz[i]) * np.float64(exp2(t.semitones[i] * OCTAVES_PER_SEMITONE)))
    return min(max(period, t.marks.period / MOST_RATIO), t.marks.period / LEAST_RATIO)


@helper
def pitch_ratio(t, i, block):
    """Return output pitch over input pitch for the grain to come."""
    period = wanted_period(t, i, block)
    ratio = (
        coming_period(t, block.frame + i) / period if period > 0.0 else np.float64(exp2(t.semitones[i] * OCTAVES_PER_SEMITONE))
    )
    return min(max(ratio, LEAST_RATIO), MOST_RATIO)


@helper
def coming_period(t, frame):
    """Return the input period that the distance to the next grain is made from."""
    v = t.voice
    if t.mode == SHIFT and v.next_centre > v.first_centre:
        return psola.coming_period(v, t.marks)
    return pitch_marks.period_near(t.marks, np.float64(frame - v.delay))


@helper
def formant_ratio(t, i):
    """Return output formant over input formant frequency."""
    return np.float64(exp2(t.formant[i] * OCTAVES_PER_SEMITONE))


@helper
def ring_of(s, c):
    """View the ring of channel c."""
    return carray(as_pointer(s[c].memory), (2 * (s[0].mask + 1),), np.float32)


@helper
def store(s, x, block):
    """Write the input to the rings."""
    mask = s[0].mask
    for c in range(block.channels):
        ring = ring_of(s, c)
        for i in range(block.frames):
            at = (block.frame + i) & mask
            ring[at] = x[c, i]
            ring[at + mask + 1] = x[c, i]


@helper
def choose_mode(t, record, block):
    """Once a segment: begin or end a run of grains."""
    m, v = t.marks, t.voice
    marked = pitch_marks.watch(m, record, block, True)
    t.still = t.still + 1 if t.semitones[0] == ZERO and t.formant[0] == ZERO and t.target_hz[0] == ZERO else 0
    wanted = marked and t.still < STILL
    if t.mode == PASS and wanted and m.correlation > ENTER_CORRELATION:
        t.mode = SHIFT
        t.leave = 0
        psola.begin_run(v, m, np.float64(block.frame - v.delay), m.period / max(pitch_ratio(t, 0, block), formant_ratio(t, 0)))
        t.first_slope = v.next_slope
    elif t.mode == SHIFT:
        t.leave = 0 if wanted and t.doubts < DOUBTS else 1
    elif t.mode == LEAVE and wanted and t.doubts == 0 and np.float64(block.frame - v.delay) < v.centre[v.newest]:
        t.mode = SHIFT  # the voice is back before the last grain has reached its middle: it need not be the last
        t.leave = 0


@helper
def render(s, n, until, block):
    """Draw the grains from frame n to frame `until`, and note the weight of the passed sound."""
    t = s[0]
    v = t.voice
    origin = block.frame - v.delay
    begin, end = n - v.delay, until - v.delay
    if t.mode == PASS:
        for i in range(begin - origin, end - origin):
            t.dry[i] = ONE
        return
    for c in range(block.channels):
        psola.draw(v, s[c].wet, ring_of(s, c), t.mask, begin, end, origin)
    psola.retire(v, end)
    for frame in range(begin, end):
        weight = ZERO
        before = v.first_centre - np.float64(frame)
        if before > 0.0:
            weight = ONE - psola.rise(np.float32(1.0 - before / t.first_slope))
        elif t.mode == LEAVE:
            after = np.float64(frame) - v.centre[v.newest]
            weight = psola.rise(np.float32(after / v.slope_out[v.newest]))
        t.dry[frame - origin] = weight


@helper
def match_levels(s, channels):
    """Once a segment, set the gain of grains to come so that they carry the power of the sound they replace."""
    t = s[0]
    dry = ZERO
    wet = ZERO
    for c in range(channels):
        dry += s[c].dry_power
        wet += s[c].wet_power
        s[c].dry_power = ZERO
        s[c].wet_power = ZERO
    if dry == ZERO or t.mode == PASS:
        return
    t.dry_level += t.leak * (dry - t.dry_level)
    t.wet_level += t.leak * (wet / (t.level * t.level) - t.wet_level)
    if t.wet_level > ZERO:
        t.level = min(max(np.sqrt(t.dry_level / t.wet_level), GAIN_MIN), GAIN_MAX)


@helper
def mix(s, x, block):
    """Write grains and passed sound to the output, each with its weight, and measure both for `match_levels`."""
    t = s[0]
    for c in range(block.channels):
        base = (block.frame - t.voice.delay) & t.mask
        passed = ring_of(s, c)[base : base + block.frames]
        wet = s[c].wet
        dry_power, wet_power = s[c].dry_power, s[c].wet_power
        for i in range(block.frames):
            weight = t.dry[i]
            x[c, i] = passed[i] if weight == ONE else wet[i] + weight * passed[i]
            heard = ONE if weight == ZERO else ZERO
            dry_power += heard * passed[i] * passed[i]
            wet_power += heard * wet[i] * wet[i]
        s[c].dry_power, s[c].wet_power = dry_power, wet_power
