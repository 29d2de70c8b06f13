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
from autovoice.dsp.scalar import log2
from autovoice.dsp.stage import SEGMENT

GRAINS = 16  # places for grains; two or three are in use
STEER_MAX = 0.1  # frames that the read position is corrected by, per frame that is left for it
SHORTEST_FADE = 0.25  # of a slope: the grains that begin and end a run equal what they fade into
SHORTEST_PERIOD = 2.0  # frames from pulse to pulse at the output, whatever marks and ratio say
TAPS = 8  # of the interpolator
PHASES = 128  # per frame that a grain can be placed at: an error of 1/256 frame is -66 dB at 8 kHz
PHASE_BITS = 7
AHEAD = TAPS // 2  # frames after its position that the interpolator needs
FAST_TAPS = 16  # of those for grains that are read faster than they came, which would fold their top over
FASTEST = 12  # semitones; one interpolator for each
FAST_BAND = 0.92  # their cutoff (-6 dB) as a part of the band that is left

VOICE = np.dtype(
    [
        ("delay", "i8"),  # frames from input to output
        ("newest", "i8"),  # index of the newest grain
        (
            "spacing",
            "f8",
        ),  # frames from pulse to pulse that the output shall have, 0 = as the input and the ratio say
        ("next_centre", "f8"),  # of the grain to come
        ("next_slope", "f8"),  # frames from its start to its centre
        ("half_way", "f8"),  # from one output pulse to the next, in input periods
        ("first_centre", "f8"),  # of the first grain of the run
        ("centre", "f8", (GRAINS,)),  # output position of the middle
        (
            "source_from",
            "f8",
            (GRAINS,),
        ),  # input position shown in the middle, which glides ...
        ("source_to", "f8", (GRAINS,)),  # ... to here ...
        ("steer_from", "f8", (GRAINS,)),  # ... from this output position to `centre`
        ("pulse", "f8", (GRAINS,)),  # output position at which the mark itself sounds
        ("slope_in", "f8", (GRAINS,)),  # frames
        ("slope_out", "f8", (GRAINS,)),  # frames
        ("speed", "f8", (GRAINS,)),  # input frames read per frame: the formant ratio
        (
            "faster",
            "i8",
            (GRAINS,),
        ),  # semitones, rounded up: which interpolator; 0 = not faster
        ("live", "i8", (GRAINS,)),
        ("gain", "f4", (GRAINS,)),  # 1 at launch
    ],
    align=True,
)
"""One voice made of grains: a field of STATE, `("voice", psola.VOICE)`, or several, `("voices", psola.VOICE, (4,))`."""


def _interpolator(taps: int, cutoff: float, beta: float) -> np.ndarray:
    """Windowed-sinc (Kaiser) fractional delays up to `cutoff` of the band, one row per phase, shape (PHASES, taps)."""
    x = np.arange(taps) - (taps // 2 - 1) - np.arange(PHASES)[:, None] / PHASES
    window = np.i0(beta * np.sqrt(np.maximum(0, 1 - (2 * x / taps) ** 2))) / np.i0(beta)
    table = np.sinc(cutoff * x) * window
    return np.asarray(table / table.sum(axis=1, keepdims=True), np.float32)


FRACTIONS = _interpolator(TAPS, 1.0, 5.0)
FRACTIONS[0] = np.arange(TAPS) == AHEAD - 1  # phase 0 is exactly the sample itself
FAST_FRACTIONS = np.stack([_interpolator(FAST_TAPS, FAST_BAND * 2 ** (-k / 12), 4.0) for k in range(1, FASTEST + 1)])
RAMP = np.arange(SEGMENT, dtype=np.float32)


@helper
def rise(v):
    """Return the smoothstep of v, clamped to 0..1: within 0.01 of a Hann slope; those of v and 1 - v add up to 1."""
    v = min(max(v, np.float32(0)), np.float32(1))
    return v * v * (np.float32(3) - np.float32(2) * v)


@helper
def begin_run(v, m, here, slope):
    """Plan a first grain that stands where it comes from, so that it fades in over the same sound."""
    v.next_centre = matching_mark(v, m, here, slope)
    v.next_slope = min(slope, v.next_centre - here)
    v.first_centre = v.next_centre
    for g in range(GRAINS):
        v.live[g] = 0


@helper
def matching_mark(v, m, here, slope):
    """Return the first mark that a grain launched at output position `here` can stand on, SHORTEST_FADE slopes later."""
    return mark_near(m, here + SHORTEST_FADE * slope + 0.5 * m.period)


@helper
def launch_frame(v):
    """Return the absolute frame at which the next grain begins to sound."""
    return np.int64(np.ceil(v.next_centre - v.next_slope)) + v.delay


@helper
def run_end(v):
    """Return the absolute frame at which the newest grain has faded."""
    return np.int64(np.ceil(v.centre[v.newest] + v.slope_out[v.newest])) + v.delay


@helper
def launch(v, m, here, ratio, speed, last):
    """Start the next grain at output position `here`, for a pitch ratio and a formant ratio, and plan the one after it.

    The `last` of a run stands where it comes from, like the first.
    """
    centre = matching_mark(v, m, here, v.next_slope) if last else max(v.next_centre, here + 0.5 * v.next_slope)
    g = (v.newest + 1) % GRAINS
    v.newest = g
    v.live[g] = 1
    v.gain[g] = np.float32(1)
    v.centre[g] = centre
    v.speed[g] = speed
    v.faster[g] = (
        min(
            np.int64(np.ceil(np.float32(12) * log2(np.float32(speed)) - np.float32(1e-3))),
            FASTEST,
        )
        if speed > 1.0
        else 0
    )
    v.slope_in[g] = max(min(v.next_slope, centre - here), 1.0)
    v.slope_out[g] = m.period / max(ratio, speed)
    source = mark_near(m, centre)
    # Where a formant shift or a low voice would need input that is yet to come, an earlier period is taken.
    source -= max(0.0, np.ceil((source - newest_source(v, g)) / m.period)) * m.period
    v.source_from[g] = source
    v.source_to[g] = source
    v.steer_from[g] = centre - 1.0
    v.pulse[g] = centre
    v.half_way = 0.5 / ratio
    v.next_slope = v.slope_out[g]
    plan(v, m, ratio)


@helper
def coming_period(v, m):
    """Return the input period that the distance to the grain to come is made from: the one at the middle between the two."""
    return period_near(m, v.pulse[v.newest] + v.half_way * m.period)


@helper
def following_pulse(v, m, g, ratio):
    """Return the output position of the pulse after that of grain g."""
    return v.pulse[g] + max(period_near(m, v.pulse[g] + v.half_way * m.period) / ratio, SHORTEST_PERIOD)


@helper
def plan(v, m, ratio):
    """Put the next grain one output period after the newest, as the comb knows the period now."""
    v.next_centre = following_pulse(v, m, v.newest, ratio)


@helper
def steer(v, m, here, ratio):
    """Correct where the newest grain reads, now that its mark and its period are measured, and plan the next one anew."""
    if v.next_centre <= v.first_centre:
        return  # the run's first grain is yet to start
    g = v.newest
    left = v.centre[g] - here
    source = source_at(v, g, here)
    mark = mark_near(m, source)
    if v.centre[g] > v.first_centre and left > 0.0:
        wanted = following_pulse(v, m, (g + GRAINS - 1) % GRAINS, ratio)
        change = mark - source + (v.centre[g] - wanted) * v.speed[g]
        change = min(max(change, -STEER_MAX * left), STEER_MAX * left)
        v.source_from[g] = source
        v.source_to[g] = min(source + change, max(source, newest_source(v, g)))
        v.steer_from[g] = here
    v.pulse[g] = v.centre[g] + (mark - v.source_to[g]) / v.speed[g]
    plan(v, m, ratio)


@helper
def source_at(v, g, here):
    """Return the input position that grain g has in its middle when the output is at `here`."""
    share = (here - v.steer_from[g]) / (v.centre[g] - v.steer_from[g])
    return v.source_from[g] + (v.source_to[g] - v.source_from[g]) * min(max(share, 0.0), 1.0)


@helper
def newest_source(v, g):
    """Return the newest input position that grain g may have in its middle without reading what is yet to come."""
    longest = max(v.slope_out[g], v.slope_in[g])
    ahead = FAST_TAPS // 2 if v.faster[g] > 0 else AHEAD
    return v.centre[g] + np.float64(v.delay - ahead - 1) - longest * abs(v.speed[g] - 1.0)


@helper
def draw(v, wet, ring, mask, begin, end, origin):
    """Add what the grains sound at output positions begin..end to `wet`, whose element 0 is position `origin`."""
    for g in range(GRAINS):
        if not v.live[g]:
            continue
        first = max(begin, np.int64(np.ceil(v.centre[g] - v.slope_in[g])))
        last = min(end, np.int64(np.floor(v.centre[g] + v.slope_out[g])) + 1)
        middle = max(first, np.int64(np.ceil(v.centre[g])))
        if first < min(middle, last):
            draw_slope(v, g, wet, ring, mask, first, min(middle, last), origin, v.slope_in[g])
        if middle < last:
            draw_slope(v, g, wet, ring, mask, middle, last, origin, v.slope_out[g])


@helper
def retire(v, end):
    """Free the places of the grains that have faded before output position `end`."""
    for g in range(GRAINS):
        if np.float64(end) > v.centre[g] + v.slope_out[g]:
            v.live[g] = 0


@helper
def draw_slope(v, g, wet, ring, mask, first, last, origin, slope):
    """Add output positions first..last of grain g, all on one side of its middle, to `wet`."""
    into = wet[first - origin : last - origin]
    frames = last - first
    centre, speed, source = v.centre[g], v.speed[g], v.source_to[g]
    turn = (v.source_from[g] - source) / (centre - v.steer_from[g])  # frames of correction still due, per frame to the middle
    whole = np.int64(np.floor(centre))
    part = np.float32(centre - np.float64(whole))
    start = np.float32(first - whole)  # whole numbers stay exact, so the window is the same however the input is cut
    inverse = np.float32(1.0 / slope)
    gain = v.gain[g]
    if speed == 1.0 and (turn == 0.0 or first > whole):
        at = np.int64(np.floor((source - centre) * PHASES + 0.5))
        taps = FRACTIONS[at & (PHASES - 1)]
        base = (first + (at >> PHASE_BITS) - (AHEAD - 1)) & mask
        x = ring[base : base + frames + TAPS]
        t0, t1, t2, t3, t4, t5, t6, t7 = (
            taps[0],
            taps[1],
            taps[2],
            taps[3],
            taps[4],
            taps[5],
            taps[6],
            taps[7],
        )
        for i in range(frames):
            value = (t0 * x[i] + t1 * x[i + 1] + t2 * x[i + 2] + t3 * x[i + 3]) + (
                t4 * x[i + 4] + t5 * x[i + 5] + t6 * x[i + 6] + t7 * x[i + 7]
            )
            into[i] += gain * rise(np.float32(1) - abs(start + RAMP[i] - part) * inverse) * value
        return
    kind = v.faster[g]
    for i in range(frames):
        to_middle = np.float64(first + i) - centre
        at = np.int64(np.floor((source + to_middle * speed - min(to_middle, 0.0) * turn) * PHASES + 0.5))
        value = np.float32(0)
        if kind == 0:
            taps = FRACTIONS[at & (PHASES - 1)]
            x = ring[((at >> PHASE_BITS) - (AHEAD - 1)) & mask :]
            for k in range(TAPS):
                value += taps[k] * x[k]
        else:
            taps = FAST_FRACTIONS[kind - 1, at & (PHASES - 1)]
            x = ring[((at >> PHASE_BITS) - (FAST_TAPS // 2 - 1)) & mask :]
            for k in range(FAST_TAPS):
                value += taps[k] * x[k]
        into[i] += gain * rise(np.float32(1) - abs(start + RAMP[i] - part) * inverse) * value
