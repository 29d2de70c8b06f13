"""Slow a voice down, freeze it, and catch up again with what was sung meanwhile.

The sound runs over a tape of bounded length (see `autovoice.dsp.tape`). Behind the recording head it is played as it is, bit
for bit, `latency` frames late, until a speed other than 1 calls for leaps on the tape; those are spliced where the waveforms
agree (see `autovoice.dsp.splice`). What the tape holds back is on the bus as `buffered_s`, apart from the latency.

A tape that fills up slows the sound down less and less, until it runs at speed 1 with the whole tape behind it. Above speed 1
the sound eases into the live edge and from there on is exactly the delayed input again. `catch_up` goes there by itself: it
plays faster and leaves pauses out. `freeze` goes round and round in the last moments before the switch; as long as it does
so with a full tape, recording stops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import splice, tape
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT, Option, Param

PARAMETERS = (
    Param("speed", "", 0.25, 4.0, 1.0, scale="log", help="below 1 slower, at the same pitch; above 1 until it is live again"),
    Param("freeze", "", 0, 1, 0, scale="switch", help="1 = hold the present sound"),
    Param("catch_up", "", 0, 1, 0, scale="switch", help="1 = play faster and leave out pauses until it is live again"),
    Param("catch_up_speed", "", 1.1, 4.0, 1.5, scale="log", help="how fast catch_up plays"),
)
OPTIONS = (Option("buffer", "s", 0.5, 60.0, 5.0, scale="log", help="how much sound can be held back"),)

MARGIN_S = 0.25  # of tape beyond the buffer, for searches and fades
EASE_FULL = 0.1  # share of the buffer, before it is full, in which slowing down fades out
EASE_LIVE_S = 0.05  # held back, from which on a higher speed comes down to 1
LAND_S = 0.03  # held back, from which on the live edge itself is aimed at
PATIENCE_S = 0.2  # time in which landing becomes e times as urgent
MOST_URGENT = np.float32(1e5)
PAUSES_S = (0.64, 0.32, 0.16, 0.08, 0.04)  # that catch_up leaves out at a time
PAUSE_KEPT_S = 0.06  # of a pause
FREEZE_FADE_S = 0.028  # from grain to grain
FREEZE_SPAN_S = 0.036  # in which grains begin
FREEZE_TIMING = np.float32(0.05)  # share of the price of time: likeness decides
ZERO, ONE = np.float32(0), np.float32(1)

RING = ("length", "recorded")
STATE = [
    *tape.TAPE,
    *splice.SPLICER,
    ("started", "i8"),
    ("latency", "i8"),  # frames
    ("capacity", "i8"),  # frames
    ("recorded", "i8"),  # position on the tape that the next segment is recorded at
    ("recording", "i8"),  # whether it is: RECORD, FULL or AGAIN
    ("target", "f8"),  # position that should be played
    ("drift", "f8"),  # by how much faster than the tape it moves, frames per frame
    ("urgency", "f4"),  # factor of the price of being late
    ("held", "i8"),  # position that a freeze holds
    ("frozen", "i8"),
    ("freeze_fade", "i8"),  # frames
    ("usual_cycle", "i8"),  # segments
    ("freeze_span", "i8"),
    ("dice", "i8"),
]
RECORD, FULL, AGAIN = 0, 1, 2


def latency(sample_rate: float, buffer: float) -> int:
    """Return the frames by which the live edge is late: what a search for a splice must see."""
    return splice.ahead(sample_rate, tape.plan(sample_rate, 1.0)["factor"])


def memory(sample_rate: float, buffer: float) -> int:
    """Return the float32 values of each channel's tape."""
    return tape.values_needed(sample_rate, buffer + MARGIN_S)


def prepare(state: Any, sample_rate: float, buffer: float) -> None:
    """Lay out the tape."""
    tape.lay_out(state, sample_rate, buffer + MARGIN_S)
    splice.lay_out(state, sample_rate)
    first = state[0]
    first["latency"] = first["lag"] = latency(sample_rate, buffer)
    first["capacity"] = round(buffer * sample_rate)
    first["freeze_fade"] = SEGMENT * round(FREEZE_FADE_S * sample_rate / SEGMENT)
    first["usual_cycle"] = first["cycle"]
    first["freeze_span"] = round(FREEZE_SPAN_S * sample_rate)
    first["urgency"] = 1
    first["dice"] = 1


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Record the input and play the tape."""
    t = s[0]
    if block.frame % SEGMENT == 0:
        turn(s, t, p, block)
    offset = block.frame % SEGMENT
    if t.recording != FULL:
        for c in range(block.channels):
            tape.record(s[c : c + 1], t.length, x[c : c + 1], t.recorded + offset, block.frames, 1)
    splice.play(s, t, block.frame, x, block.frames, block.channels)


@helper
def turn(s, t, p, block):
    """Between two segments: take note of what was recorded, decide what to play."""
    if t.started == 0:
        t.started = 1
        t.recorded = block.frame
        t.next_low = block.frame // t.factor + 1
        t.target = np.float64(block.frame - t.lag)
    elif t.recording != FULL:
        if t.recording == AGAIN:
            tape.shape(s, t.recorded, block.channels, True)
            t.recording = RECORD
        t.recorded += SEGMENT
        tape.listen(s, t.recorded, block.channels)
    freeze_or_move(t, p, block)
    if splice.search_due(t, block.frame):
        aim(s, t, p, block)
    splice.search(s, t, block.frame, block.channels)
    edge = np.float64(t.recorded + SEGMENT - t.latency)
    full = t.frozen != 0 and edge - t.target >= np.float64(t.capacity)
    if full and t.recording == RECORD:
        tape.shape(s, t.recorded - SEGMENT, block.channels, False)
        t.recording = FULL
    elif not full and t.recording == FULL:
        t.recording = AGAIN
    at = t.target if t.frozen != 0 else np.float64(block.frame + SEGMENT - t.lag)
    block.post.buffered_s = np.float32(min(max(edge - at, 0.0), np.float64(t.capacity)) / block.sample_rate)


@helper
def freeze_or_move(t, p, block):
    """Hold the target, or move it on by a segment."""
    if p.freeze[0] != ZERO:
        if t.frozen == 0:
            t.frozen = 1
            t.held = block.frame - t.lag
            t.target = np.float64(t.held)
        return
    if t.frozen != 0:
        t.frozen = 0
        t.searching = 0
        t.cycle = t.usual_cycle
        t.level = ZERO
    live = np.float64(t.recorded + SEGMENT - t.latency)
    held = live - SEGMENT - t.target
    speed = np.float64(p.speed[0])
    if p.catch_up[0] != ZERO:
        speed = np.float64(p.catch_up_speed[0])
    if speed < 1.0:
        room = (np.float64(t.capacity) - held) / (EASE_FULL * np.float64(t.capacity))
        speed = 1.0 - (1.0 - speed) * min(max(room, 0.0), 1.0)
    elif speed > 1.0:
        speed = 1.0 + (speed - 1.0) * min(max(held / (EASE_LIVE_S * block.sample_rate), 0.0), 1.0)
    here = np.float64(block.frame - t.lag)
    if speed == 1.0 and abs(t.target - here) < np.float64(2 * t.reach * t.factor):
        t.target = here
    t.target += SEGMENT * speed
    t.drift = speed - 1.0
    if speed >= 1.0 and live - t.target < LAND_S * block.sample_rate:
        t.target = live
        t.drift = 0.0
        t.urgency = min(t.urgency * np.float32(1.0 + SEGMENT / (PATIENCE_S * block.sample_rate)), MOST_URGENT)
    else:
        t.urgency = ONE


@helper
def aim(s, t, p, block):
    """Begin a search for the place to go on at."""
    least = t.recorded - t.length + t.keep
    most = t.recorded + t.cycle * SEGMENT - t.latency
    place = block.frame + t.cycle * SEGMENT - t.lag
    t.next_fade = t.fade_frames
    if t.frozen != 0:
        go_round(s, t, block.frame, block.channels, place, least, most)
        return
    if p.catch_up[0] != ZERO:
        leave_out_pause(t, place, most, block.sample_rate)
    ahead = np.float64((t.cycle - 1) * SEGMENT)
    splice.begin_search(t, block.frame, min(t.target + ahead, np.float64(most)), least, most, t.urgency, t.drift)


@helper
def go_round(s, t, frame, channels, place, least, most):
    """Look for the next grain of a freeze: anywhere in the span, where it is most like the one that sounds.

    The first leap goes back there with a short fade. From then on grains of two long fades overlap without end, and a search
    has a whole fade's time.
    """
    if place + 2 * t.freeze_fade <= most:
        t.next_fade = t.freeze_fade
        if t.cycle == t.usual_cycle:
            t.cycle = t.freeze_fade // SEGMENT
            t.level = splice.power_around(s, t, t.held - t.freeze_fade, channels)
            return
    t.dice = (t.dice * 1103515245 + 12345) & 0x7FFFFFFF
    latest = t.held - 3 * t.freeze_fade
    goal = latest - t.freeze_span * (t.dice >> 16) // 0x8000
    splice.begin_search(t, frame, np.float64(goal), least, latest, FREEZE_TIMING, 0.0)


@helper
def leave_out_pause(t, place, most, sample_rate):
    """Move the target over what is quiet from here on, if the sound is not behind already."""
    kept = np.int64(PAUSE_KEPT_S * sample_rate)
    if t.target - np.float64(place) > np.float64(kept):
        return
    for seconds in PAUSES_S:
        pause = np.int64(seconds * sample_rate)
        end = place + pause + kept // 2
        if end < most and tape.quiet_before(t, end - t.cell) >= pause + kept:
            t.target += np.float64(pause)
            return
