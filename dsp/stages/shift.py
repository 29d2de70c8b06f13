"""Change the pitch of a voice and keep its formants, or move the formants and keep the pitch.

Time-domain pitch-synchronous overlap-add: grains of up to two periods are cut out around pitch marks of the input and laid
down again at a new distance, so the spectral envelope inside a grain stays while the pitch follows the distance (F. Charpentier
and E. Moulines, "Pitch-synchronous waveform processing techniques", Speech Communication 9, 1990; K. Lent, "An efficient
method for pitch shifting digitally sampled sounds", Computer Music Journal 13(4), 1989). Reading a grain faster or slower
moves its formants. To be early, marks are predicted by one period and corrected by correlation when their input is there.

What has no pitch passes untouched. Between the two the first and the last grain of a run stand exactly where they came from:
they equal the passed sound, so the cross-fade under their slopes neither doubles nor cancels anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.psola import AHEAD, HISTORY, LAGS, POINTS, add_half_grain, advance_comb, comb_due, mark_near, period_near, rise, start_comb
from autovoice.dsp.scalar import exp2
from autovoice.dsp.stage import SEGMENT, Option, Param

REQUIRES = ("pitch",)

PARAMETERS = (
    Param("semitones", "st", -12.0, 12.0, 0.0, help="pitch shift; formants stay"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the formants; pitch stays"),
)
RANGES = {"low": 12.5, "mid": 9.5, "high": 6.5}  # ms of delay, about one period of the lowest voice that it suits
OPTIONS = (
    Option("range", "", 0, 2, 0, "choice", help="lowest voice: 80, 105 or 155 Hz", choices=tuple(RANGES)),
)

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0  # pitches outside pass unshifted
RING = 16384  # frames; a power of two that holds 3.4 of the longest periods at 192 kHz
RING_SECONDS = 0.068
GRAINS = 16
OVERLAP = 1.0  # longest slope of a grain, in output periods
LOWPASS_HZ, HIGHPASS_HZ = 1200.0, 50.0  # of the signal that marks are found in: pulses without hiss and rumble
JUMP = 0.18  # a comb this far from the bus's period starts anew
LEVEL_SECONDS = 0.08  # time constant of the loudness that wet and dry are matched by
GAIN_MIN, GAIN_MAX = np.float32(0.7), np.float32(1.6)
PASS, SHIFT, LEAVE = 0, 1, 2
PLAN_AT = 0.5
STEER_MAX = 0.1
ENTER_CORRELATION, LEAVE_CORRELATION = np.float32(0.5), np.float32(0.3)

STATE = [
    ("ring", "f4", (2 * RING,)),  # input, twice in a row: any run of up to a ring's length lies in one piece
    ("wet", "f4", (SEGMENT,)),
    ("dry_power", "f4"),  # of the running segment
    ("wet_power", "f4"),
    # What follows is used of channel 0 alone.
    ("band", "f4", (RING,)),  # the channels' mean, band-limited
    ("low1", "f4"),
    ("low2", "f4"),
    ("slow", "f4"),
    ("low_step", "f4"),
    ("slow_step", "f4"),
    ("band_delay", "f8"),  # frames
    ("mask", "i8"),
    ("delay", "i8"),  # frames
    ("tracking", "i8"),
    ("restart", "i8"),  # the comb contradicts the bus: end the run of grains, then start the comb anew
    ("mode", "i8"),
    ("mark", "f8"),  # newest corrected pitch mark, in frames of `band`
    ("period", "f8"),  # frames
    ("drift", "f8"),  # frames by which the period grows each period
    ("marks", "f8", (HISTORY,)),
    ("newest_mark", "i8"),
    ("correlation", "f4"),
    ("reference", "f4", (POINTS + POINTS // 2,)),
    ("target", "f4", (POINTS + POINTS // 2 + 2 * LAGS,)),
    ("scores", "f4", (2 * LAGS + 1,)),
    ("next_centre", "f8"),  # of the next grain, at the output, in input frames
    ("next_slope", "f8"),  # frames from its start to its centre
    ("first_centre", "f8"),  # of the run of grains
    ("first_slope", "f8"),
    ("leave", "i8"),  # the next grain shall be the last
    ("still", "i8"),  # segments for which both parameters have been 0
    ("newest", "i8"),  # index of the newest grain
    ("centre", "f8", (GRAINS,)),
    ("source_from", "f8", (GRAINS,)),  # input position of the middle ...
    ("source_to", "f8", (GRAINS,)),  # ... which glides to here ...
    ("steer_from", "f8", (GRAINS,)),  # ... from this output position to `centre`
    ("pulse", "f8", (GRAINS,)),  # output position at which the mark itself sounds
    ("slope_in", "f8", (GRAINS,)),
    ("slope_out", "f8", (GRAINS,)),
    ("speed", "f8", (GRAINS,)),
    ("live", "i8", (GRAINS,)),
    ("dry", "f4", (SEGMENT,)),  # weight of the passed sound
    ("gain", "f4", (SEGMENT,)),  # of the grains
    ("gain_from", "f4"),
    ("gain_to", "f4"),
    ("dry_level", "f4"),  # leaky mean squares
    ("wet_level", "f4"),
    ("leak", "f4"),
]


def latency(sample_rate: float, range: str) -> int:
    """Return the delay in frames: about one period of the lowest voice."""
    return round(RANGES[range] * 1e-3 * sample_rate)


def settle(sample_rate: float, range: str) -> int:
    """Return the frames until the marks sit on the pulses and the levels match."""
    return round(0.1 * sample_rate)


def prepare(state: Any, sample_rate: float, range: str) -> None:
    """Set what depends on the sample rate and the range."""
    first = state[0]
    first.delay = latency(sample_rate, range)
    first.mask = min(RING, 1 << int(np.ceil(np.log2(RING_SECONDS * sample_rate)))) - 1
    first.low_step = 1 - np.exp(-2 * np.pi * LOWPASS_HZ / sample_rate)
    first.slow_step = 1 - np.exp(-2 * np.pi * HIGHPASS_HZ / sample_rate)
    first.band_delay = 2 * (1 - first.low_step) / first.low_step
    first.leak = 1 - np.exp(-SEGMENT / (LEVEL_SECONDS * sample_rate))
    first.gain_from = first.gain_to = 1
    first.period = sample_rate / 100


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
    share = np.float32(1) / np.float32(block.channels)
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
    """Start, correct or stop the comb by the pitch on the bus, which is some 15 ms old, about as old as the output."""
    f0 = np.float64(block.bus.f0_hz)
    if not LOWEST_HZ <= f0 <= HIGHEST_HZ:
        t.tracking = 0
        return
    period = block.sample_rate / f0
    if not t.tracking:
        start_comb(t, t.band, t.mask, block.frame, period)
        t.tracking = 1
        t.restart = 0
    elif abs(period - t.period) > JUMP * t.period:
        t.restart = 1
        if t.mode == PASS:
            start_comb(t, t.band, t.mask, block.frame, period)
            t.restart = 0
    else:
        t.restart = 0


@helper
def choose_mode(t, p, block):
    """Begin or end a run of grains; both parameters must rest at 0 for a segment before the sound passes untouched."""
    t.still = t.still + 1 if p.semitones[0] == np.float32(0) and p.formant[0] == np.float32(0) else 0
    sure = ENTER_CORRELATION if t.mode == PASS else LEAVE_CORRELATION
    wanted = t.tracking != 0 and t.restart == 0 and t.still < 2 and t.correlation > sure
    if t.mode == PASS and wanted:
        t.mode = SHIFT
        t.leave = 0
        t.next_slope = slope(t, p, 0)
        t.next_centre = matching_mark(t, block.frame)
        t.next_slope = min(t.next_slope, t.next_centre - np.float64(block.frame - t.delay))
        t.first_centre = t.next_centre
        t.first_slope = t.next_slope
        for g in range(GRAINS):
            t.live[g] = 0
    elif t.mode == SHIFT:
        t.leave = 0 if wanted else 1


@helper
def slope(t, p, i):
    """Return the frames from a grain's middle to its end: one input period, but no more than reaches the next grain."""
    return min(t.period / np.float64(formant_ratio(p, i)), OVERLAP * t.period / np.float64(pitch_ratio(p, i)))


@helper
def pitch_ratio(p, i):
    """Return output pitch over input pitch."""
    return exp2(p.semitones[i] * np.float32(1 / 12))


@helper
def formant_ratio(p, i):
    """Return output formant over input formant frequency."""
    return exp2(p.formant[i] * np.float32(1 / 12))


@helper
def matching_mark(t, n):
    """Return the first pitch mark that a grain launched at frame n can stand on with at least half of its slope before."""
    earliest = np.float64(n - t.delay) + 0.5 * t.next_slope
    return mark_near(t, earliest + 0.5 * t.period + t.band_delay) - t.band_delay


@helper
def launch_frame(t):
    """Return the absolute frame at which the next grain begins to sound."""
    return np.int64(np.ceil(t.next_centre - t.next_slope)) + t.delay


@helper
def run_end(t):
    """Return the absolute frame at which the last grain of the run has faded."""
    return np.int64(np.ceil(t.centre[t.newest] + t.slope_out[t.newest])) + t.delay


@helper
def launch(t, p, n, i):
    """Start the next grain at frame n (index i of the block) and plan the one after it."""
    here = np.float64(n - t.delay)
    t.next_centre = max(t.next_centre, here + 0.5 * t.next_slope)  # the plan may have moved it into the past
    t.next_slope = min(t.next_slope, t.next_centre - here)
    g = (t.newest + 1) % GRAINS
    t.newest = g
    speed = np.float64(formant_ratio(p, i))
    out = slope(t, p, i)
    if t.leave:
        centre = matching_mark(t, n)
        t.next_slope = max(min(t.next_slope, centre - here), 1.0)
        t.next_centre = centre
        t.mode = LEAVE
    centre = t.next_centre
    source = mark_near(t, centre + t.band_delay) - t.band_delay
    t.centre[g] = centre
    t.slope_in[g] = t.next_slope
    t.slope_out[g] = out
    t.speed[g] = speed
    # Where a formant shift or a low voice would need input to come, an earlier period is taken.
    source -= max(0.0, np.ceil((source - newest_source(t, g)) / t.period)) * t.period
    t.source_from[g] = source
    t.source_to[g] = source
    t.steer_from[g] = centre - 1.0
    t.pulse[g] = centre
    t.live[g] = 1
    t.next_slope = out
    plan(t, p, i)


@helper
def plan(t, p, i):
    """Put the next grain one output period after the newest, as the comb knows the period now."""
    last = t.pulse[t.newest]
    t.next_centre = last + period_near(t, last + t.band_delay + PLAN_AT * t.period) / np.float64(pitch_ratio(p, i))


@helper
def steer(t, p, n, i):
    """Correct where a rising grain reads, now that its mark is measured: predicted marks and periods err by a percent or two."""
    g = t.newest
    here = np.float64(n - t.delay)
    left = t.centre[g] - here
    source = source_at(t, g, here)
    mark = mark_near(t, source + t.band_delay) - t.band_delay
    if t.centre[g] > t.first_centre and left > 0.0:
        before = t.pulse[(g + GRAINS - 1) % GRAINS]
        wanted = before + period_near(t, before + t.band_delay + PLAN_AT * t.period) / np.float64(pitch_ratio(p, i))
        change = mark - source + (t.centre[g] - wanted) * t.speed[g]
        change = min(max(change, -STEER_MAX * left), STEER_MAX * left)
        t.source_from[g] = source
        t.source_to[g] = min(source + change, max(source, newest_source(t, g)))
        t.steer_from[g] = here
    t.pulse[g] = t.centre[g] + (mark - t.source_to[g]) / t.speed[g]


@helper
def source_at(t, g, here):
    """Return the input position that stands in grain g's middle when the output is at `here`."""
    share = (here - t.steer_from[g]) / (t.centre[g] - t.steer_from[g])
    return t.source_from[g] + (t.source_to[g] - t.source_from[g]) * min(max(share, 0.0), 1.0)


@helper
def newest_source(t, g):
    """Return the newest input position that grain g may have in its middle without reading what is yet to come."""
    return t.centre[g] + np.float64(t.delay - AHEAD - 1) - max(t.slope_out[g], t.slope_in[g]) * abs(t.speed[g] - 1.0)


@helper
def render(s, n, until, block):
    """Add what the grains at work sound from frame n to frame `until`, and note the weight of the passed sound."""
    t = s[0]
    origin = block.frame - t.delay
    begin, end = n - t.delay, until - t.delay
    for g in range(GRAINS):
        if not t.live[g]:
            continue
        first = max(begin, np.int64(np.ceil(t.centre[g] - t.slope_in[g])))
        last = min(end, np.int64(np.floor(t.centre[g] + t.slope_out[g])) + 1)
        middle = min(max(first, np.int64(np.ceil(t.centre[g]))), max(first, last))
        for c in range(block.channels):
            wet, ring = s[c].wet, s[c].ring
            if middle > first:
                add_half_grain(wet, ring, t.mask, first, middle, origin, t, g, t.slope_in[g])
            if last > middle:
                add_half_grain(wet, ring, t.mask, middle, last, origin, t, g, t.slope_out[g])
        if last < end:
            t.live[g] = 0
    for frame in range(begin, end):
        weight = np.float32(0)
        if t.mode == PASS:
            weight = np.float32(1)
        elif np.float64(frame) < t.first_centre:
            weight = np.float32(1) - rise(np.float32(1.0 - (t.first_centre - np.float64(frame)) / t.first_slope))
        elif t.mode == LEAVE:
            after = np.float64(frame) - t.centre[t.newest]
            weight = rise(np.float32(after / t.slope_out[t.newest]))
        t.dry[frame - origin] = weight


@helper
def match_levels(s, channels):
    """Once a segment, set the grains' gain so that they carry the power of the sound they replace."""
    t = s[0]
    dry = np.float32(0)
    wet = np.float32(0)
    for c in range(channels):
        dry += s[c].dry_power
        wet += s[c].wet_power
        s[c].dry_power = np.float32(0)
        s[c].wet_power = np.float32(0)
    t.gain_from = t.gain_to
    if dry == np.float32(0) or t.mode == PASS:
        return
    t.dry_level += t.leak * (dry - t.dry_level)
    t.wet_level += t.leak * (wet - t.wet_level)
    if t.wet_level > np.float32(0):
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
        for i in range(block.frames):
            weight = t.dry[i]
            x[c, i] = passed[i] if weight == np.float32(1) else t.gain[i] * wet[i] + weight * passed[i]
        dry_power, wet_power = s[c].dry_power, s[c].wet_power
        for i in range(block.frames):
            heard = np.float32(1) if t.dry[i] == np.float32(0) else np.float32(0)
            dry_power += heard * passed[i] * passed[i]
            wet_power += heard * wet[i] * wet[i]
        s[c].dry_power, s[c].wet_power = dry_power, wet_power


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Delay the sound, or replace it by grains where it has a pitch and is to be changed."""
    t = s[0]
    store(s, x, block)
    if block.frame % SEGMENT == 0:
        match_levels(s, block.channels)
        follow_bus(t, block)
        if t.tracking and comb_due(t) <= block.frame:
            advance_comb(t, t.band, t.mask)
        choose_mode(t, p, block)
    for c in range(block.channels):
        for i in range(block.frames):
            s[c].wet[i] = np.float32(0)
    n = block.frame
    end = n + block.frames
    while n < end:  # from event to event; between two of them the same grains are at work
        comb = comb_due(t) if t.tracking else end
        run = end
        if t.mode == SHIFT:
            run = launch_frame(t)
        elif t.mode == LEAVE:
            run = run_end(t)
        until = min(end, min(comb, run))
        if until > n:
            render(s, n, until, block)
            n = until
        elif comb <= n:
            advance_comb(t, t.band, t.mask)
            if t.mode == SHIFT and t.next_centre > t.first_centre:
                steer(t, p, n, n - block.frame)
                plan(t, p, n - block.frame)
        elif t.mode == SHIFT:
            launch(t, p, n, n - block.frame)
        else:
            t.mode = PASS
    mix(s, x, block)
