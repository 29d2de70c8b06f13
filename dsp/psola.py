"""Grains of pitch-synchronous overlap-add: when they start, what they show, how they are drawn.

A grain is a stretch of input around one pitch mark under a window of two slopes. At the output it stands at `centre` (frames
of the input's clock: the output at frame n is at n - delay). Neighbours' slopes add up to 1 when the pitch goes up. A grain
that has begun on a predicted mark is steered while it still rises: where it reads from glides to where the mark turned out
to be, so that prediction costs no jitter. Only the frames at hand are drawn, so the cost is even. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.pitch_marks import mark_near, period_near
from autovoice.dsp.stage import SEGMENT

GRAINS = 16  # places for grains; two or three are in use
STEER_MAX = 0.1  # frames that the read position is corrected by, per frame that is left for it
TAPS = 8  # of the interpolator
PHASES = 128  # per frame that a grain can be placed at: an error of 1/256 frame is -66 dB at 8 kHz
PHASE_BITS = 7
AHEAD = TAPS // 2  # frames after its position that the interpolator needs

POOL = [
    ("delay", "i8"),  # frames from input to output
    ("band_delay", "f8"),  # frames by which marks lie later than in the input
    ("newest", "i8"),  # index of the newest grain
    ("next_centre", "f8"),  # of the grain to come
    ("next_slope", "f8"),  # frames from its start to its centre
    ("first_centre", "f8"),  # of the first grain of the run
    ("centre", "f8", (GRAINS,)),  # output position of the middle
    ("source_from", "f8", (GRAINS,)),  # input position shown in the middle, which glides ...
    ("source_to", "f8", (GRAINS,)),  # ... to here ...
    ("steer_from", "f8", (GRAINS,)),  # ... from this output position to `centre`
    ("pulse", "f8", (GRAINS,)),  # output position at which the mark itself sounds
    ("slope_in", "f8", (GRAINS,)),  # frames
    ("slope_out", "f8", (GRAINS,)),  # frames
    ("speed", "f8", (GRAINS,)),  # input frames read per frame: the formant ratio
    ("live", "i8", (GRAINS,)),
]
"""What grains add to a stage's STATE, beside `pitch_marks.COMB`."""


def _interpolator() -> np.ndarray:
    """Windowed-sinc (Kaiser, beta 5) fractional delays, one row per phase; row 0 is exactly the sample itself."""
    x = np.arange(TAPS) - (AHEAD - 1) - np.arange(PHASES)[:, None] / PHASES
    window = np.i0(5 * np.sqrt(np.maximum(0, 1 - (x / AHEAD) ** 2))) / np.i0(5)
    table = np.sinc(x) * window
    table /= table.sum(axis=1, keepdims=True)
    table[0] = np.arange(TAPS) == AHEAD - 1
    return table.astype(np.float32)


FRACTIONS = _interpolator()
RAMP = np.arange(SEGMENT, dtype=np.float32)


@helper
def rise(v):
    """Return the smoothstep of v, clamped to 0..1: within 0.01 of a Hann slope; those of v and 1 - v add up to 1."""
    v = min(max(v, np.float32(0)), np.float32(1))
    return v * v * (np.float32(3) - np.float32(2) * v)


@helper
def begin_run(t, here, slope):
    """Plan a first grain that stands where it comes from, so that it fades in over the same sound."""
    t.next_centre = matching_mark(t, here, slope)
    t.next_slope = min(slope, t.next_centre - here)
    t.first_centre = t.next_centre
    for g in range(GRAINS):
        t.live[g] = 0


@helper
def matching_mark(t, here, slope):
    """Return the first mark that a grain launched at output position `here` can stand on with half a slope before it."""
    return mark_near(t, here + 0.5 * (slope + t.period) + t.band_delay) - t.band_delay


@helper
def launch_frame(t):
    """Return the absolute frame at which the next grain begins to sound."""
    return np.int64(np.ceil(t.next_centre - t.next_slope)) + t.delay


@helper
def run_end(t):
    """Return the absolute frame at which the newest grain has faded."""
    return np.int64(np.ceil(t.centre[t.newest] + t.slope_out[t.newest])) + t.delay


@helper
def launch(t, here, ratio, speed, last):
    """Start the next grain at output position `here`, for a pitch ratio and a formant ratio, and plan the one after it.

    The `last` of a run stands where it comes from, like the first.
    """
    centre = matching_mark(t, here, t.next_slope) if last else max(t.next_centre, here + 0.5 * t.next_slope)
    g = (t.newest + 1) % GRAINS
    t.newest = g
    t.live[g] = 1
    t.centre[g] = centre
    t.speed[g] = speed
    t.slope_in[g] = max(min(t.next_slope, centre - here), 1.0)
    t.slope_out[g] = t.period / max(ratio, speed)
    source = mark_near(t, centre + t.band_delay) - t.band_delay
    # Where a formant shift or a low voice would need input that is yet to come, an earlier period is taken.
    source -= max(0.0, np.ceil((source - newest_source(t, g)) / t.period)) * t.period
    t.source_from[g] = source
    t.source_to[g] = source
    t.steer_from[g] = centre - 1.0
    t.pulse[g] = centre
    t.next_slope = t.slope_out[g]
    plan(t, ratio)


@helper
def following_pulse(t, pulse, ratio):
    """Return the output position of the pulse after the one at `pulse`: a period of the middle between them, shifted."""
    return pulse + period_near(t, pulse + t.band_delay + 0.5 * t.period) / ratio


@helper
def plan(t, ratio):
    """Put the next grain one output period after the newest, as the comb knows the period now."""
    t.next_centre = following_pulse(t, t.pulse[t.newest], ratio)


@helper
def steer(t, here, ratio):
    """Correct where the newest grain reads, now that its mark and its period are measured, and plan the next one anew."""
    if t.next_centre <= t.first_centre:
        return  # the run's first grain is yet to start
    g = t.newest
    left = t.centre[g] - here
    source = source_at(t, g, here)
    mark = mark_near(t, source + t.band_delay) - t.band_delay
    if t.centre[g] > t.first_centre and left > 0.0:
        wanted = following_pulse(t, t.pulse[(g + GRAINS - 1) % GRAINS], ratio)
        change = mark - source + (t.centre[g] - wanted) * t.speed[g]
        change = min(max(change, -STEER_MAX * left), STEER_MAX * left)
        t.source_from[g] = source
        t.source_to[g] = min(source + change, max(source, newest_source(t, g)))
        t.steer_from[g] = here
    t.pulse[g] = t.centre[g] + (mark - t.source_to[g]) / t.speed[g]
    plan(t, ratio)


@helper
def source_at(t, g, here):
    """Return the input position that grain g has in its middle when the output is at `here`."""
    share = (here - t.steer_from[g]) / (t.centre[g] - t.steer_from[g])
    return t.source_from[g] + (t.source_to[g] - t.source_from[g]) * min(max(share, 0.0), 1.0)


@helper
def newest_source(t, g):
    """Return the newest input position that grain g may have in its middle without reading what is yet to come."""
    longest = max(t.slope_out[g], t.slope_in[g])
    return t.centre[g] + np.float64(t.delay - AHEAD - 1) - longest * abs(t.speed[g] - 1.0)


@helper
def draw_grains(t, wet, ring, mask, begin, end, origin):
    """Add what the grains sound at output positions begin..end to `wet`, whose element 0 is position `origin`."""
    for g in range(GRAINS):
        if not t.live[g]:
            continue
        first = max(begin, np.int64(np.ceil(t.centre[g] - t.slope_in[g])))
        last = min(end, np.int64(np.floor(t.centre[g] + t.slope_out[g])) + 1)
        middle = max(first, np.int64(np.ceil(t.centre[g])))
        if first < min(middle, last):
            draw_slope(t, g, wet, ring, mask, first, min(middle, last), origin, t.slope_in[g])
        if middle < last:
            draw_slope(t, g, wet, ring, mask, middle, last, origin, t.slope_out[g])


@helper
def retire_grains(t, end):
    """Free the places of the grains that have faded before output position `end`."""
    for g in range(GRAINS):
        if np.float64(end) > t.centre[g] + t.slope_out[g]:
            t.live[g] = 0


@helper
def draw_slope(t, g, wet, ring, mask, first, last, origin, slope):
    """Add output positions first..last of grain g, all on one side of its middle, to `wet`."""
    into = wet[first - origin : last - origin]
    frames = last - first
    centre, speed, source = t.centre[g], t.speed[g], t.source_to[g]
    turn = (t.source_from[g] - source) / (centre - t.steer_from[g])  # frames of correction still due, per frame to the middle
    whole = np.int64(np.floor(centre))
    part = np.float32(centre - np.float64(whole))
    start = np.float32(first - whole)  # whole numbers stay exact, so the window is the same however the input is cut
    inverse = np.float32(1.0 / slope)
    if speed == 1.0 and (turn == 0.0 or first > whole):
        at = np.int64(np.floor((source - centre) * PHASES + 0.5))
        taps = FRACTIONS[at & (PHASES - 1)]
        base = (first + (at >> PHASE_BITS) - (AHEAD - 1)) & mask
        x = ring[base : base + frames + TAPS]
        t0, t1, t2, t3, t4, t5, t6, t7 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7]
        for i in range(frames):
            value = (t0 * x[i] + t1 * x[i + 1] + t2 * x[i + 2] + t3 * x[i + 3]) + (
                t4 * x[i + 4] + t5 * x[i + 5] + t6 * x[i + 6] + t7 * x[i + 7]
            )
            into[i] += rise(np.float32(1) - abs(start + RAMP[i] - part) * inverse) * value
        return
    for i in range(frames):
        to_middle = np.float64(first + i) - centre
        at = np.int64(np.floor((source + to_middle * speed - min(to_middle, 0.0) * turn) * PHASES + 0.5))
        taps = FRACTIONS[at & (PHASES - 1)]
        base = ((at >> PHASE_BITS) - (AHEAD - 1)) & mask
        x = ring[base : base + TAPS]
        value = np.float32(0)
        for k in range(TAPS):
            value += taps[k] * x[k]
        into[i] += rise(np.float32(1) - abs(start + RAMP[i] - part) * inverse) * value
