"""Let another sound speak with the voice: a channel vocoder of 8 to 40 bands.

The voice's envelope in each band (H. Dudley, Remaking Speech, J. Acoust. Soc. Am. 11, 1939) opens the same band of a carrier:
a saw, a chord played by MIDI or OSC, noise, a second input, or a saw at the voice's own pitch where a `pitch` stage stands
in front. Bands are analytic (dsp/bands.py), so envelopes need no long smoothing; internal carriers have a white spectrum
(dsp/carriers.py), and each band plays as loud as the voice is there. Consonants that have no pitch are spoken with noise in
place of the carrier, as far as `sibilance` says. Nothing is delayed but by the bands themselves.

With two channels the voice is their mean, or the first alone where the second is the carrier (with one, `input` is `saw`),
and `width` lets the bands alternate between left and right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.bands import STATE as BANK
from autovoice.dsp.bands import aim_synthesis, analyse, layout, level_carrier, sibilant_share, sum_alternate, synthesise
from autovoice.dsp.carriers import harmonics_of, noise_at, note_hz, phase_step, pulse
from autovoice.dsp.dynamics import forgetting
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2
from autovoice.dsp.stage import SEGMENT, Option, Param

CARRIERS = ("saw", "chord", "noise", "voice", "input")
SAW, CHORD, NOISE, VOICE, INPUT = range(5)
NOTES = 4
_NOTE_HELP = "MIDI note of the carrier, fractions allowed; 0 = none"

PARAMETERS = (
    Param(
        "carrier",
        "",
        0,
        len(CARRIERS) - 1,
        0,
        scale="choice",
        choices=CARRIERS,
        help="what speaks: a saw at note_1, a chord of note_1 to note_4, noise, a saw at the voice's own pitch (after the "
        "stage pitch), or the second input channel",
    ),
    Param(
        "note_1",
        "MIDI",
        0.0,
        127.0,
        0.0,
        smooth_ms=0,
        help=f"{_NOTE_HELP}; without any note the saw hums an A, the chord A major",
    ),
    *(Param(f"note_{k}", "MIDI", 0.0, 127.0, 0.0, smooth_ms=0, help=_NOTE_HELP) for k in (2, 3, 4)),
    Param("attack", "ms", 0.5, 100.0, 2.0, scale="log", help="time constant of a band's envelope going up"),
    Param("release", "ms", 2.0, 1000.0, 15.0, scale="log", help="time constant of a band's envelope going down"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="moves the voice's envelope along the frequency axis"),
    Param("sibilance", "", 0.0, 1.0, 0.8, help="how far noise takes the carrier's place in unvoiced sounds"),
    Param("freeze", "", 0, 1, 0, scale="switch", help="holds the vowel of this moment"),
    Param("width", "", 0.0, 1.0, 0.5, help="how far neighbouring bands lie apart in stereo"),
    Param("mix", "", 0.0, 1.0, 1.0, help="0 = the voice alone, 1 = the vocoder alone"),
)
OPTIONS = (Option("bands", "", 8, 40, 24, help="how many bands; few = a robot, many = clear words"),)
SPREADS = True
# Rows that a loop writes stand before those that it reads: a vector loop may then write them without fear of its own input.
STATE = [
    *BANK,
    ("carrier", "f4", (SEGMENT,)),
    ("tone", "f4", (SEGMENT,)),
    ("power", "f4", (SEGMENT,)),
    ("voice", "f4", (1 + SEGMENT,)),  # the modulator, after the last frame of before
    ("even", "f4", (SEGMENT,)),
    ("odd", "f4", (SEGMENT,)),
    ("phase", "i8", (NOTES,)),
    ("hz", "f4", (NOTES,)),
    ("level", "i8", (NOTES,)),  # 0..FULL
    ("unvoiced", "f4"),  # 0..1, at the start of the segment
    ("unvoiced_slope", "f4"),  # per frame
    ("rise", "f4"),
    ("fall", "f4"),
    ("forget", "f4"),
    ("offset", "f4"),  # of the carrier from outside
    ("aimed", "f4"),  # semitones and spectrum that the synthesis bands were set for
    ("aimed_white", "i8"),
    ("ready", "i8"),
]

FULL = 1 << 20
FADE_MS = 5.0  # of a note that begins or ends
SPLIT_HZ = np.float32(3000)  # above it lies the power of a sibilant
UNVOICED_FROM, UNVOICED_SPAN = np.float32(0.3), np.float32(0.4)  # share of power above SPLIT_HZ
OFFSET_RADIANS = 2 * np.pi * 10  # per second: a constant offset of a carrier from outside is taken off below 10 Hz
CARRIER_MEMORY_MS = 50.0  # time constant of the level of a carrier from outside
SIDE = np.float32(0.32)  # power of even minus odd bands, of that of all: neighbours add up where they overlap
LOUDEST = np.float32(16 * 1024)  # 24 dB above what comes in
_HUM = np.float32(45)  # A2
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_PER_FULL, _PER_SEGMENT, _PER_SEMITONE = np.float32(1 / FULL), np.float32(1 / SEGMENT), np.float32(1 / 12)


def settle(sample_rate: float, bands: int) -> int:
    """Return the frames that the narrowest band and a usual release take."""
    return round(0.2 * sample_rate)


def prepare(state: Any, sample_rate: float, bands: int) -> None:
    """Lay out the bands; the first frame sets the rest."""
    layout(state, sample_rate, int(bands))


@helper
def _set(state: Any, p: Any, block: Any) -> None:
    """At the start of a segment, take over what moves in steps: times, places of the bands, the voice's pitch."""
    kind = np.int64(p.carrier[0])
    white = kind != INPUT or block.channels < 2
    if state.ready == 0 or p.formant[0] != state.aimed or white != (state.aimed_white != 0):
        state.aimed, state.aimed_white = p.formant[0], white
        aim_synthesis(state, exp2(p.formant[0] * _PER_SEMITONE), block.sample_rate, white)
    state.rise = _ONE - forgetting(p.attack[0], block.sample_rate)
    state.fall = _ONE - forgetting(p.release[0], block.sample_rate)
    state.forget = forgetting(CARRIER_MEMORY_MS, block.sample_rate)
    share = (sibilant_share(state, SPLIT_HZ) - UNVOICED_FROM) / UNVOICED_SPAN
    state.unvoiced += state.unvoiced_slope * np.float32(SEGMENT)
    state.unvoiced_slope = (min(max(share, _ZERO), _ONE) - state.unvoiced) * _PER_SEGMENT
    state.ready = 1


@helper
def _wanted_hz(state: Any, p: Any, block: Any, kind: Any, k: Any) -> Any:
    """Return the frequency that a note should have now, 0 = none."""
    if kind == VOICE:
        if k > 0:
            return _ZERO
        sung = block.bus.f0_hz
        return sung if sung > _ZERO else state.hz[0] if state.hz[0] > _ZERO else note_hz(_HUM)
    if kind != CHORD and k > 0:
        return _ZERO
    note = p.note_1[0] if k == 0 else p.note_2[0] if k == 1 else p.note_3[0] if k == 2 else p.note_4[0]
    if note > _ZERO:
        return note_hz(note)
    if kind != CHORD:
        return note_hz(_HUM)
    if p.note_1[0] + p.note_2[0] + p.note_3[0] + p.note_4[0] > _ZERO:
        return _ZERO
    third = np.float32(4) if k == 1 else np.float32(7) if k == 2 else np.float32(12) if k == 3 else _ZERO
    return note_hz(_HUM + third)


@helper
def _play(state: Any, p: Any, block: Any, kind: Any) -> None:
    """Write the sum of the notes into `tone`, as loud for one note as for four."""
    tone, power, frames = state.tone, state.power, block.frames
    for i in range(frames):
        tone[i], power[i] = _ZERO, _ZERO
    step_up = np.int64(FULL * 1000.0 / (FADE_MS * block.sample_rate)) + 1
    for k in range(NOTES):
        wanted = _wanted_hz(state, p, block, kind, k)
        if wanted > _ZERO:
            state.hz[k] = wanted
        if state.level[k] == 0:
            state.phase[k] = 0  # a note that has faded begins anew, in whichever block its level reached 0
            if wanted == _ZERO:
                continue
        hz, level, phase = state.hz[k], state.level[k], state.phase[k]
        step, count = phase_step(hz, block.sample_rate), harmonics_of(hz, block.sample_rate)
        ramp = step_up if wanted > _ZERO else -step_up
        size = np.sqrt(np.float32(hz / block.sample_rate))
        for i in range(frames):
            share = np.float32(min(max(level + ramp * (i + 1), 0), FULL)) * _PER_FULL
            tone[i] += share * size * pulse(phase + step * i, count)
            power[i] += share * share
        state.level[k] = min(max(level + ramp * frames, 0), FULL)
        state.phase[k] = (phase + step * frames) & 0xFFFFFFFF
    for i in range(frames):
        tone[i] /= np.sqrt(max(power[i], _ONE))


@helper
def _excite(state: Any, p: Any, x: Any, block: Any, kind: Any) -> None:
    """Write the carrier of these frames and the voice, mixed down."""
    carrier, frames, first = state.carrier, block.frames, block.frame
    outside = kind == INPUT and block.channels > 1
    loud = np.float32(0.1) if outside else _ONE
    if outside:
        offset, step = state.offset, np.float32(OFFSET_RADIANS / block.sample_rate)
        for i in range(frames):
            offset += step * (x[1, i] - offset)
            carrier[i] = x[1, i] - offset
        state.offset = offset
    elif kind == NOISE:
        for i in range(frames):
            carrier[i] = noise_at(first + i)
    else:
        _play(state, p, block, kind)
        for i in range(frames):
            carrier[i] = state.tone[i]
    at = first % SEGMENT
    for i in range(frames):
        unvoiced = (state.unvoiced + state.unvoiced_slope * np.float32(at + i)) * p.sibilance[i]
        carrier[i] += unvoiced * (loud * noise_at(first + i) - carrier[i])

    voice, sources = state.voice, 1 if outside else block.channels
    share = _ONE / np.float32(sources)
    for i in range(frames):
        voice[1 + i] = x[0, i]
    for c in range(1, sources):
        for i in range(frames):
            voice[1 + i] += x[c, i]
    for i in range(frames):
        voice[1 + i] *= share


@helper
def _speak(state: Any, p: Any, frames: Any) -> None:
    """Run both banks over the frames; leave the sums of even and of odd bands."""
    held = p.freeze[0] > _ZERO
    rise, fall = (_ZERO, _ZERO) if held else (state.rise, state.fall)
    voice, carrier, lanes = state.voice, state.carrier, state.lanes
    for i in range(frames):
        analyse(state, voice[i + 1] - voice[i], rise, fall, lanes)
        synthesise(state, carrier[i], lanes)
        if state.aimed_white == 0:
            level_carrier(state, state.forget, lanes)
        state.even[i], state.odd[i] = sum_alternate(state, lanes)
    voice[0] = voice[frames]


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Make the carrier, run the banks across bands frame by frame, mix."""
    state, frames = s[0], block.frames
    if block.frame % SEGMENT == 0 or state.ready == 0:
        _set(state, p, block)
    kind = np.int64(p.carrier[0])
    _excite(state, p, x, block, kind)
    _speak(state, p, frames)
    even, odd = state.even, state.odd
    for c in range(block.channels):
        side = _ZERO if block.channels == 1 else _ONE if c & 1 == 0 else -_ONE
        for i in range(frames):
            apart = side * p.width[i]
            wet = ((_ONE + apart) * even[i] + (_ONE - apart) * odd[i]) / np.sqrt(_ONE + SIDE * apart * apart)
            wet = min(max(wet, -LOUDEST), LOUDEST)
            x[c, i] = wet * p.mix[i] + x[c, i] * (_ONE - p.mix[i])
