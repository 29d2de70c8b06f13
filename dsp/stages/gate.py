"""Silence the pauses: room noise, bleed and breath below a threshold, which may be fixed or follow the noise.

The gate opens when the level reaches the threshold and closes once it has stayed below threshold - hysteresis for the hold
time (U. Zölzer, ed., DAFX, 2nd ed. 2011, chapter 4). Its place between open (0) and closed (1) moves in a straight
line and the gain is -range · place² dB, so that it comes to rest on 0 dB without a corner. The place is an integer: an
open gate multiplies by exactly 1 and every cutting of the input gives the same bits. The loudest channel drives all of them.

In `fixed` mode the level is the peak. In `adaptive` mode it is the amplitude in eight bands, each relative to its own noise
floor (dsp/noise_floor.py), averaged: hum and fans that fill some bands leave the others to the voice. It must be above the
floors by the margin for the time `confirm`, and not be falling away from its latest peak: a key stroke or a knock begins at
its loudest, a voice does not. The look-ahead makes up for the time that takes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp import bands, noise_floor
from autovoice.dsp.dynamics import linked_peak
from autovoice.dsp.filters import highpass_coefficients, highpass_tick, tan
from autovoice.dsp.native import bits_of_f32, helper
from autovoice.dsp.scalar import OCTAVES_PER_DB, db_to_gain, exp2
from autovoice.dsp.stage import SEGMENT, Option, Param

MODES = ("fixed", "adaptive")
ADAPTIVE = 1
PARAMETERS = (
    Param("threshold", "dBFS", -90.0, 0.0, -45.0, help="peak level that opens the gate; the least that does in adaptive mode"),
    Param("hysteresis", "dB", 0.0, 24.0, 6.0, help="how far below the threshold the level must fall to close it"),
    Param("attack", "ms", 0.1, 100.0, 1.0, scale="log", help="time from closed to open"),
    Param("hold", "ms", 10.0, 1000.0, 50.0, scale="log", help="time it stays open after the last peak"),
    Param("release", "ms", 5.0, 2000.0, 150.0, scale="log", help="time from open to closed"),
    Param("range", "dB", 0.0, 90.0, 60.0, help="how much a closed gate lowers the level"),
    Param("mode", "", 0, 1, 0, scale="choice", choices=MODES, help="adaptive: the threshold follows the noise, after 2 s"),
    Param("margin", "dB", 0.0, 24.0, 3.8, help="adaptive: how far above the noise the threshold lies"),
    Param(
        "confirm",
        "ms",
        0.0,
        20.0,
        5.5,
        help="adaptive: how long a loud sound must last to open it, a soft one half as long; 0 lets clicks through",
    ),
    Param("sidechain", "Hz", 20.0, 1000.0, 20.0, scale="log", help="what lies below is not listened to; 20 = listen to all"),
    Param("assist", "", 0, 1, 0, scale="switch", help="let the stage vad in front close it where there is no voice"),
    Param("playback", "", 0, 1, 0, scale="switch", help="on while the performer's own playback is in the room"),
    Param("playback_multiplier", "", 1.0, 16.0, 2.0, scale="log", help="what playback multiplies the threshold by"),
)
OPTIONS = (Option("lookahead", "ms", 0.0, 5.0, 0.0, help="how early it opens; the stage's latency"),)

RING = 2048  # frames: a power of two that holds 5 ms at 192 kHz and a segment
STATE = [
    *bands.analysis_fields(noise_floor.BANDS),
    *noise_floor.STATE,
    ("row", "f4", (SEGMENT,)),  # linear peak or decision, then gain
    ("heard", "f4", (1 + SEGMENT,)),  # what is listened to, after the last frame of before
    ("sidechain", "f4"),  # Hz, of this segment
    ("place", "i8"),  # 0 = open, CLOSED = closed
    ("open_for", "i8"),  # frames until it starts to close, 0 = closing or closed
    ("hold_frames", "i8"),
    ("up", "i8"),  # steps of `place` per frame
    ("down", "i8"),
    ("opening", "f4"),  # what opens it: a linear peak, or a decision
    ("keeping", "f4"),  # what keeps it open
    ("lookahead", "i8"),  # frames
    ("adaptive", "i8"),
    ("floors", "f4", (noise_floor.BANDS,)),  # 1 / power of the floors in use
    ("margin_gain", "f4"),  # amplitude that opens and that keeps it open, in units of the floors
    ("keep_gain", "f4"),
    ("confirm_ticks", "i8"),
    ("tick", "i8"),  # frames, a power of two
    ("smooth", "f4"),  # coefficients
    ("fade", "f4"),
    ("latest", "f4"),  # peak of the level, fading
    ("above", "i8"),  # ticks for which the level has been above the opening amplitude
    ("near", "i8"),  # and above the keeping one
    ("decision", "f4"),
    ("silent_for", "i8"),  # frames since the vad stage last heard a voice
    ("doubt", "i8"),  # DOUBT_MS in frames
    ("open_since", "i8"),  # frames for which it has been open
    ("vetoed", "i8"),  # closed because the vad stage heard no voice, until the level has fallen
    ("loud", "i8"),  # whether the level has reached the keeping one in this segment
    ("z", "f8"),  # side-chain filter: first integrator, the same a frame earlier, the input a frame earlier
    ("z_before", "f8"),
    ("x_before", "f8"),
    ("ratio", "f4"),  # share of the last seconds in which the gate was closed
    ("ratio_step", "f4"),
    ("audio", "f4", (RING + SEGMENT,)),
]

CLOSED = 1 << 30
OPENS, KEEPS, NEAR = np.float32(1), np.float32(0.5), np.float32(0.25)  # decisions of the adaptive mode
BAND_HZ = (150.0, 9000.0)  # centres of the lowest and the highest band
TICK_S = 1 / 3000  # between decisions; rounded to a power of two of frames
SMOOTH_MS = 1.0  # time constant of the power in the bands
FADE_DB_PER_MS = 0.2  # how fast the latest peak is forgotten: slower than a click fades
FALLEN = np.float32(10 ** (-1.5 / 20))  # 1.5 dB below its latest peak a sound is falling away
LOUD = np.float32(10 ** (4 / 20))  # 4 dB above the threshold; a softer click is below it when half of `confirm` has passed
UNREST = np.float32(1.5)  # how many times its own unrest a noise may exceed its floor
MOST_UNREST_DB = np.float32(10)
PEAK_OVER_BANDS_DB = np.float32(15)  # of a voice: its peaks over the amplitude in one of eight bands
DOUBT_MS = 150.0  # how long it stays open although the vad stage hears no voice: that needs its time, too
RATIO_S = 10.0  # time constant of the gating ratio
_CLOSED_F32 = np.float32(CLOSED)
LOWEST_SIDECHAIN = np.float32(20)  # Hz: nothing is filtered
K_BUTTERWORTH = math.sqrt(2)  # damping 1 / Q
_ZERO, _HALF, _ONE, _PER_BAND = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1 / noise_floor.BANDS)


def latency(sample_rate: float, lookahead: float) -> int:
    """Return the look-ahead in frames."""
    return round(lookahead * sample_rate / 1000)


def settle(sample_rate: float, lookahead: float) -> int:
    """Return the frames of a usual hold and release."""
    return round(0.2 * sample_rate)


def prepare(state: Any, sample_rate: float, lookahead: float) -> None:
    """Start closed, with nothing known of the noise; the first frame sets the rest."""
    state["place"] = CLOSED
    state["lookahead"] = latency(sample_rate, lookahead)
    bands.layout(state, sample_rate, noise_floor.BANDS, *BAND_HZ, knee=0.0)
    state["tick"] = tick = 2 ** round(np.log2(sample_rate * TICK_S))
    noise_floor.layout(state, sample_rate, tick)
    state["smooth"] = 1 - np.exp(-1000 / (SMOOTH_MS * sample_rate))
    state["fade"] = 10 ** (-FADE_DB_PER_MS * 1000 * tick / sample_rate / 20)
    state["doubt"] = round(DOUBT_MS * sample_rate / 1000)
    state["ratio"], state["ratio_step"] = 1, SEGMENT / (RATIO_S * sample_rate)


@helper
def _set(state: Any, p: Any, block: Any) -> None:
    """At the start of a segment, take over what acts through comparisons and counts."""
    per_ms = block.sample_rate / 1000.0
    louder = p.playback_multiplier[0] if p.playback[0] > _ZERO else _ONE
    state.hold_frames = max(1, np.int64(p.hold[0] * per_ms + 0.5))
    state.up = np.int64(CLOSED / max(p.attack[0] * per_ms, 1.0))
    state.down = np.int64(CLOSED / max(p.release[0] * per_ms, 1.0))
    state.sidechain = p.sidechain[0]
    adaptive = np.int64(p.mode[0])
    if adaptive != state.adaptive:
        noise_floor.forget(state)
        state.adaptive, state.above, state.near, state.decision = adaptive, 0, 0, _ZERO
    if adaptive:
        _set_floors(state, p, louder)
        state.confirm_ticks = np.int64(p.confirm[0] * per_ms / np.float64(state.tick) + 0.5)
        state.opening, state.keeping = OPENS, KEEPS
    else:
        state.opening = db_to_gain(p.threshold[0]) * louder
        state.keeping = db_to_gain(p.threshold[0] - p.hysteresis[0]) * louder
    state.open_since = state.open_since + SEGMENT if state.open_for > 0 else 0
    if p.assist[0] > _ZERO:
        _assist(state, block)
    else:
        state.vetoed = 0
    state.loud = 0


@helper
def _set_floors(state: Any, p: Any, louder: Any) -> None:
    """Take over the noise floors; never a level below the threshold parameter opens the gate."""
    least = p.threshold[0] - PEAK_OVER_BANDS_DB - p.margin[0]
    warm = state.learnt >= state.warm
    for b in range(noise_floor.BANDS):
        noise = state.floor_db[b] + min(UNREST * state.unrest_db[b], MOST_UNREST_DB)
        state.floors[b] = noise_floor.power_of_db(-(max(noise, least) if warm else least))
    state.margin_gain = db_to_gain(p.margin[0]) * louder
    state.keep_gain = db_to_gain(max(p.margin[0] - p.hysteresis[0], p.margin[0] * np.float32(0.25))) * louder


@helper
def _assist(state: Any, block: Any) -> None:
    """Let the vad stage hold the gate open, and close it where it has heard no voice for DOUBT_MS of an open gate."""
    voice = block.bus.vad > _ZERO
    state.silent_for = 0 if voice else min(state.silent_for + SEGMENT, 1 << 40)
    if voice:
        state.vetoed = 0
        state.keeping = NEAR if state.adaptive else state.keeping * _HALF
    elif min(state.silent_for, state.open_since) > state.doubt:
        state.vetoed, state.open_for = 1, 0
    elif state.loud == 0:
        state.vetoed = 0


@helper
def _listen(state: Any, x: Any, cutoff_hz: Any, block: Any) -> None:
    """Write what lies above the side chain's cutoff into `heard`."""
    g = tan(math.pi / block.sample_rate * np.float64(cutoff_hz))
    section = highpass_coefficients(g, K_BUTTERWORTH)
    z, z_before, before = state.z, state.z_before, state.x_before
    heard = state.heard
    for i in range(block.frames):
        now = np.float64(x[i])
        after = highpass_tick(z, z_before, now - before, section)
        heard[i + 1] = np.float32((after - z) * section[3])
        z, z_before, before = after, z, now
    state.z, state.z_before, state.x_before = z, z_before, before


@helper
def _decide(s: Any, channels: Any) -> None:
    """At a tick, compare the level with the floors; the loudest channel counts in each band."""
    state = s[0]
    level = _ZERO
    for b in range(noise_floor.BANDS):
        power = state.envelope[b]
        for c in range(1, channels):
            power = max(power, s[c].envelope[b])
        state.sum[b] += power
        level += np.sqrt(power * state.floors[b])
    level *= _PER_BAND
    state.latest = max(level, state.latest * state.fade)
    state.above = state.above + 1 if level > state.margin_gain else 0
    state.near = state.near + 1 if level > state.keep_gain else 0
    lasting = state.confirm_ticks
    rising = level >= state.latest * FALLEN or lasting == 0
    if state.near > lasting:
        state.voiced = 1
    enough = lasting if state.latest > LOUD * state.margin_gain else lasting >> 1
    if rising and state.above > enough:
        state.decision = OPENS
    elif rising and state.near > lasting:
        state.decision = KEEPS
    else:
        state.decision = NEAR if state.near > 0 else _ZERO


@helper
def _judge(s: Any, x: Any, block: Any, filtered: Any) -> None:
    """Run the bands over the frames and leave the decision of each in the row."""
    state, frames = s[0], block.frames
    row, mask = state.row, state.tick - 1
    for c in range(block.channels):
        if not filtered:
            for i in range(frames):
                s[c].heard[i + 1] = x[c, i]
    for i in range(frames):
        for c in range(block.channels):
            heard = s[c].heard
            bands.analyse_power(s[c], heard[i + 1] - heard[i], state.smooth, state.lanes)
        if ((block.frame + i + 1) & mask) == 0:
            _decide(s, block.channels)
        row[i] = state.decision
    for c in range(block.channels):
        s[c].heard[0] = s[c].heard[frames]


@helper
def _peaks(s: Any, x: Any, block: Any, filtered: Any) -> None:
    """Leave the peak of all channels in the row."""
    row, frames = s[0].row, block.frames
    if not filtered:
        linked_peak(x, row, block)
        return
    for i in range(frames):
        row[i] = abs(s[0].heard[i + 1])
    for c in range(1, block.channels):
        for i in range(frames):
            row[i] = max(row[i], abs(s[c].heard[i + 1]))


@helper
def _measure(state: Any, x: Any, block: Any) -> None:
    """Take the power of one frame per tick for the statistics of the whole sound; that tells it to a decibel."""
    total, tick, at = state.sum[noise_floor.WHOLE], state.tick, (state.tick - 1) & ~block.frame
    while at < block.frames:
        power = x[0, at] * x[0, at]
        for c in range(1, block.channels):
            power = max(power, x[c, at] * x[c, at])
        total += power
        at += tick
    state.sum[noise_floor.WHOLE] = total


@helper
def _follow(state: Any, row: Any, frames: Any) -> None:
    """Run the gate over a row of levels frame by frame, without a branch, and leave the places in it."""
    place, open_for, hold, up, down = state.place, state.open_for, state.hold_frames, state.up, state.down
    opening, keeping = state.opening, state.keeping
    for i in range(frames):
        loud = hold if row[i] >= opening else 0
        kept = hold if row[i] >= keeping else 0
        open_for = max(loud, max(kept, open_for - 1) if open_for > 0 else 0)
        place = max(place - up, 0) if open_for > 0 else min(place + down, CLOSED)
        row[i] = np.float32(place)
    state.place, state.open_for = place, open_for


@helper
def _move(state: Any, p: Any, frames: Any) -> Any:
    """Turn the row of levels into gains, for the whole block where nothing changes in it; say whether it is open throughout."""
    row = state.row
    loudest, last_kept = np.int32(0), np.int32(-1)
    keeping = bits_of_f32(state.keeping)
    for i in range(frames):
        level = bits_of_f32(row[i])  # bits of magnitudes are in the order of the magnitudes
        loudest = max(loudest, level)
        last_kept = max(last_kept, np.int32(i) if level >= keeping else np.int32(-1))
    state.loud |= last_kept >= 0
    if state.open_for > frames:
        again = state.hold_frames - (frames - 1 - np.int64(last_kept)) if last_kept >= 0 else 0
        state.open_for = max(state.open_for - frames, again)
        if state.place == 0:
            return True
        place, up = state.place, state.up
        for i in range(frames):
            row[i] = np.float32(max(place - up * (i + 1), 0))
        state.place = max(place - up * frames, 0)
    elif state.open_for == 0 and (loudest < bits_of_f32(state.opening) or state.vetoed != 0):
        place, down = state.place, state.down
        for i in range(frames):
            row[i] = np.float32(min(place + down * (i + 1), CLOSED))
        state.place = min(place + down * frames, CLOSED)
    else:
        _follow(state, row, frames)
    for i in range(frames):
        depth = row[i] / _CLOSED_F32
        row[i] = exp2(-p.range[i] * OCTAVES_PER_DB * (depth * depth))
    return False


@helper
def _delay(state: Any, x: Any, frame: Any, frames: Any, lookahead: Any) -> None:
    """Delay a channel by the look-ahead. A segment never wraps in the ring; the first stands once more behind the last."""
    audio = state.audio
    at, start = frame & (RING - 1), (frame - lookahead) & (RING - 1)
    now, again, delayed = audio[at:], audio[at + RING :], audio[start:]
    for i in range(frames):
        now[i] = x[i]
    if at < SEGMENT:
        for i in range(frames):
            again[i] = x[i]
    for i in range(frames):
        x[i] = delayed[i]


@helper
def _end_segment(state: Any, block: Any) -> None:
    """Keep the statistics and post them."""
    open_now = state.open_for > 0
    state.ratio += state.ratio_step * ((_ZERO if open_now else _ONE) - state.ratio)
    if state.adaptive == 0 and open_now:
        state.voiced = 1
    state.hop_left -= 1
    if state.hop_left <= 0:
        state.hop_left = state.hop
        noise_floor.end_hop(state, 0 if state.adaptive else noise_floor.WHOLE)
    block.post.gating_ratio = state.ratio
    block.post.noise_dbfs = state.floor_db[noise_floor.WHOLE]


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Listen, move the gate, delay by the look-ahead, apply the gain."""
    state, frames = s[0], block.frames
    if block.frame % SEGMENT == 0 or state.hold_frames == 0:
        _set(state, p, block)
    filtered = state.sidechain > LOWEST_SIDECHAIN
    if filtered:
        for c in range(block.channels):
            _listen(s[c], x[c], state.sidechain, block)
    _measure(state, x, block)
    if state.adaptive:
        _judge(s, x, block, filtered)
    else:
        _peaks(s, x, block, filtered)
    is_open = _move(state, p, frames)
    if state.lookahead > 0:
        for c in range(block.channels):
            _delay(s[c], x[c], block.frame, frames, state.lookahead)
    if not is_open:
        row = state.row
        for c in range(block.channels):
            for i in range(frames):
                x[c, i] *= row[i]
    depth = np.float32(state.place) / _CLOSED_F32
    block.post.gate_db = -p.range[frames - 1] * (depth * depth) if state.place > 0 else _ZERO
    if (block.frame + frames) % SEGMENT == 0:
        _end_segment(state, block)
