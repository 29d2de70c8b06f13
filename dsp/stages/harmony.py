"""Sing in up to four more voices: by scale degree, by interval, or on notes that are played.

Every voice is made of grains as in `shift`; all of them read the same pitch marks and the same recording of the last moments,
so four voices cost far less than four shifters. The mean of the channels is what they sing, placed in the stereo picture where
there are two channels; the lead passes at the same delay. What has no pitch is not sung four times over: `consonants` says how
much of it the voices share.

By degree, the lead's note is looked up in the scale (`tuning`) and each voice sings so many steps above or below it, with the
lead's own intonation. By notes, each voice sings the MIDI note it is given, exactly. `humanise` lets each voice drift by some
cents and come in a little late, differently each time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import pitch_marks, psola, shifter, tuning
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.scalar import db_to_gain, exp2
from autovoice.dsp.shifter import DOUBTS, ENTER_CORRELATION, LEAVE_CORRELATION, RING_S
from autovoice.dsp.stage import SEGMENT, Param
from autovoice.dsp.toolchain import numba

REQUIRES = ("marks",)
SPREADS = True

VOICES = 4
OFF_DB = -60.0  # a voice at this level is silent, and costs nothing
STEPS = ("degree", "interval", "notes")
_FIRST = {"level": -6.0, "degree": 2, "interval": 4.0, "pan": -0.5}
_OTHERS = {"level": OFF_DB, "degree": 0, "interval": 0.0, "pan": 0.0}


def _voice(k: int) -> tuple[Param, ...]:
    start = _FIRST if k == 1 else _OTHERS
    return (
        Param(f"level_{k}", "dB", OFF_DB, 12.0, start["level"], help=f"level of voice {k}; {OFF_DB:g} = off"),
        Param(f"degree_{k}", "", -14, 14, start["degree"], smooth_ms=0, help=f"steps of the scale from the lead, voice {k}"),
        Param(f"interval_{k}", "st", -24.0, 24.0, start["interval"], help=f"interval from the lead, voice {k}"),
        Param(f"note_{k}", "MIDI", 0.0, 127.0, 0.0, smooth_ms=0, help=f"note of voice {k}; 0 = silent"),
        Param(f"pan_{k}", "", -1.0, 1.0, start["pan"], help=f"place of voice {k}: -1 = left, 1 = right"),
    )


PARAMETERS = (
    Param("by", "", 0, len(STEPS) - 1, 0, "choice", help="what the voices follow", choices=STEPS),
    Param("key", "", 0, 11, 0, "choice", help="key of the scale", choices=tuning.KEYS),
    Param("scale", "", 0, len(tuning.SCALES) - 1, 1, "choice", help="notes to sing by degree", choices=tuple(tuning.SCALES)),
    Param("reference", "Hz", 400.0, 480.0, 440.0, smooth_ms=0, help="frequency of A4"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the voices' formants"),
    Param("humanise", "", 0.0, 1.0, 0.3, help="drift and lateness of each voice"),
    Param("width", "", 0.0, 1.0, 1.0, help="how far the voices are spread in stereo"),
    Param("consonants", "", 0.0, 1.0, 0.3, help="share of the voices in what has no pitch"),
    Param("lead", "dB", OFF_DB, 12.0, 0.0, help=f"level of the voice itself; {OFF_DB:g} = off"),
    *(row for k in range(1, VOICES + 1) for row in _voice(k)),
)
OPTIONS = shifter.OPTIONS
latency, settle = shifter.latency, shifter.settle

STABILITY_S = 0.04  # how long the lead must stay on a note for the voices to follow
DRIFT_S = 0.25  # time constant of a voice's drift
DRIFT_CENTS = 9.0  # RMS at full humanise
LATE_S = 0.014  # by which a voice comes in late at most, at full humanise
GAIN_MIN, GAIN_MAX = 0.7, 1.6  # against the power that denser or sparser grains carry
BY_DEGREE, BY_NOTES = np.float32(STEPS.index("degree")), np.float32(STEPS.index("notes"))
IDLE, SOUNDING, LEAVING = 0, 1, 2
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
SILENT_DB = np.float32(OFF_DB)
MASKS = tuning.MASKS
carray = numba.carray

VOICE = np.dtype(
    [
        ("grains", psola.VOICE),
        ("mode", "i8"),
        ("drawn", "i8"),  # absolute frame up to which `wet` holds this voice ...
        ("now", "i8"),  # ... and up to which its grains have started
        ("ratio", "f8"),  # output pitch over the lead's
        ("drift", "f8"),  # -1..1
        ("gain", "f4"),  # of grains to come
        ("wet", "f4", (SEGMENT,)),
    ],
    align=True,
)

STATE = [
    ("memory", "i8"),  # the channel's own sound; channel 0 has that of the voices behind it, twice in a row
    ("unvoiced", "f4", (SEGMENT,)),  # share of the sound that has no pitch
    ("gain", "f4", (VOICES + 1, SEGMENT)),  # of each voice, and of the lead
    ("share", "f4"),  # of the last frame that had one
    ("step", "f4"),  # by which it moves in a frame
    ("mask", "i8"),  # ring length - 1
    ("delay", "i8"),  # frames
    ("random", "i8"),
    ("speed", "f8"),  # frames read per frame: the formant ratio
    ("drift_step", "f8"),
    ("drift_scale", "f8"),
    ("doubts", "i8"),  # marks in a row that correlate badly
    ("marks", pitch_marks.VIEW),
    ("tuner", tuning.TUNER),
    ("voices", VOICE, (VOICES,)),
]


def _ring(sample_rate: float) -> int:
    return 1 << int(np.ceil(np.log2((RING_S + LATE_S) * sample_rate)))


def memory(sample_rate: float, range: str) -> int:
    """Return the values of a channel's ring and of the voices' double one."""
    return 3 * _ring(sample_rate)


def prepare(state: Any, sample_rate: float, range: str) -> None:
    """Set what depends on the sample rate and the range."""
    first = state[0]
    first.mask = _ring(sample_rate) - 1
    first.delay = latency(sample_rate, range)
    first.step = 1 / (0.005 * sample_rate)
    first.random = 1
    first["marks"]["period"] = sample_rate / 100
    first["voices"]["grains"]["delay"] = first.delay
    first["voices"]["ratio"] = 1
    segment_s = SEGMENT / sample_rate
    first.drift_step = segment_s / DRIFT_S
    first.drift_scale = DRIFT_CENTS / 1200 * np.sqrt(3 * (2 - first.drift_step) / first.drift_step)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Draw the grains of every voice up to each event of its own, then place the voices beside the lead."""
    t = s[0]
    m, record = t.marks, pitch_marks.marks_of(block)
    store(s, x, block)
    size = t.mask + 1
    ring = carray(as_pointer(t.memory + 4 * size), (2 * size,), np.float32)
    if block.frame % SEGMENT == 0:
        decide(t, p, record, block)
    for k in range(VOICES):
        voice = t.voices[k]
        voice.drawn = voice.now = block.frame
        if voice.mode != IDLE:
            wet = voice.wet
            for i in range(block.frames):
                wet[i] = ZERO
    n = block.frame
    end = n + block.frames
    while n < end:
        due = pitch_marks.next_due(m, record)
        n = min(end, max(due, n))
        start_grains(t, n)
        if n < end:
            pitch_marks.take(m, record, block)
            t.doubts = t.doubts + 1 if m.correlation < LEAVE_CORRELATION else 0
            steer(t, ring, block, n)
    for k in range(VOICES):
        voice = t.voices[k]
        if voice.mode != IDLE:
            draw_to(t, voice, ring, block, end)
            if voice.mode == LEAVING and psola.run_end(voice.grains) <= end:
                voice.mode = IDLE
    mix(s, p, x, block)


@helper
def store(s, x, block):
    """Write each channel to its ring, and their mean to the one that the voices read."""
    t = s[0]
    size = t.mask + 1
    ring = carray(as_pointer(t.memory + 4 * size), (2 * size,), np.float32)
    at = block.frame & t.mask  # a ring is a multiple of SEGMENT long: a call never wraps
    share = ONE / np.float32(block.channels)
    for c in range(block.channels):
        own = carray(as_pointer(s[c].memory + 4 * at), (block.frames,), np.float32)
        for i in range(block.frames):
            own[i] = x[c, i]
    low, high = ring[at : at + block.frames], ring[at + size : at + size + block.frames]
    for i in range(block.frames):
        low[i] = x[0, i]
    for c in range(1, block.channels):
        for i in range(block.frames):
            low[i] += x[c, i]
    for i in range(block.frames):
        low[i] *= share
        high[i] = low[i]


@helper
def decide(t, p, record, block):
    """Once a segment: find the lead's note, set each voice's ratio, begin and end its runs of grains."""
    m = t.marks
    sounding = False
    for k in range(VOICES):
        sounding = sounding or t.voices[k].mode != IDLE
    marked = pitch_marks.watch(m, record, block, not sounding)
    t.speed = np.float64(exp2(p.formant[0] * np.float32(1 / 12)))
    here = np.float64(block.frame - t.delay)
    lead = tuning.midi_of(block.sample_rate / pitch_marks.period_near(m, here), np.float64(p.reference[0]))
    key, mask = np.int64(p.key[0]), MASKS[np.int64(p.scale[0])]
    if not marked:
        t.tuner.running = 0
    elif not t.tuner.running:
        tuning.start(t.tuner, lead, key, mask)
    else:
        tuning.decide(t.tuner, lead, SEGMENT / block.sample_rate, STABILITY_S, key, mask)
    voice_on(t, 0, p.by[0], p.level_1[0], p.degree_1[0], p.interval_1[0], p.note_1[0], marked, lead, key, mask, p, block)
    voice_on(t, 1, p.by[0], p.level_2[0], p.degree_2[0], p.interval_2[0], p.note_2[0], marked, lead, key, mask, p, block)
    voice_on(t, 2, p.by[0], p.level_3[0], p.degree_3[0], p.interval_3[0], p.note_3[0], marked, lead, key, mask, p, block)
    voice_on(t, 3, p.by[0], p.level_4[0], p.degree_4[0], p.interval_4[0], p.note_4[0], marked, lead, key, mask, p, block)


@helper
def random(t):
    """Return a number in 0..1 (Knuth's 64-bit linear congruential generator)."""
    t.random = t.random * np.int64(6364136223846793005) + np.int64(1442695040888963407)
    return np.float64((t.random >> 33) & 0x7FFFFFFF) / 2147483648.0


@helper
def voice_on(t, k, by, level, degree, interval, note, marked, lead, key, mask, p, block):
    """Set one voice's ratio, and begin or end its run."""
    voice, m = t.voices[k], t.marks
    v = voice.grains
    voice.drift += t.drift_step * (2.0 * random(t) - 1.0 - voice.drift)
    semitones = np.float64(interval)
    if by == BY_DEGREE:
        semitones = tuning.steps_from(t.tuner.note, np.int64(degree), key, mask) - t.tuner.note
    elif by == BY_NOTES:
        semitones = np.float64(note) - lead
    octaves = min(max(semitones, -24.0), 24.0) / 12.0 + np.float64(p.humanise[0]) * t.drift_scale * voice.drift
    voice.ratio = np.float64(exp2(np.float32(octaves)))
    # A played note is sung exactly, whatever the lead does.
    v.spacing = block.sample_rate / tuning.hz_of(lead + 12.0 * octaves, np.float64(p.reference[0])) if by == BY_NOTES else 0.0
    voice.gain = np.float32(min(max(1.0 / np.sqrt(voice.ratio), GAIN_MIN), GAIN_MAX))
    wanted = marked and level > SILENT_DB and (by != BY_NOTES or note > ZERO)
    wanted = wanted and (m.correlation > ENTER_CORRELATION if voice.mode == IDLE else t.doubts < DOUBTS)
    if voice.mode == SOUNDING and not wanted:
        voice.mode = LEAVING
    elif voice.mode == IDLE and wanted:
        late = np.float64(p.humanise[0]) * LATE_S * block.sample_rate * random(t)
        v.delay = t.delay + np.int64(late)
        psola.begin_run(v, m, np.float64(block.frame - v.delay), m.period / voice.ratio)
        voice.mode = SOUNDING


@helper
def start_grains(t, until):
    """Launch every voice's grains up to absolute frame `until`; none sounds before its own frame, so drawing can wait."""
    for k in range(VOICES):
        voice = t.voices[k]
        v = voice.grains
        while voice.mode == SOUNDING and psola.launch_frame(v) < until:
            n = voice.now = max(psola.launch_frame(v), voice.now)
            psola.launch(v, t.marks, np.float64(n - v.delay), voice.ratio, t.speed, 0)
            v.gain[v.newest] = voice.gain
        voice.now = until


@helper
def steer(t, ring, block, n):
    """Correct every voice's newest grain by a mark that is new at absolute frame n; what has sounded is drawn before."""
    for k in range(VOICES):
        voice = t.voices[k]
        v = voice.grains
        here = np.float64(n - v.delay)
        if voice.mode == SOUNDING:
            if v.centre[v.newest] > here:
                draw_to(t, voice, ring, block, n)
            psola.steer(v, t.marks, here, voice.ratio)


@helper
def draw_to(t, voice, ring, block, until):
    """Draw what is missing of a voice up to absolute frame `until`."""
    v = voice.grains
    if until > voice.drawn:
        psola.draw(v, voice.wet, ring, t.mask, voice.drawn - v.delay, until - v.delay, block.frame - v.delay)
        psola.retire(v, until - v.delay)
    voice.drawn = until


@helper
def mix(s, p, x, block):
    """Write the lead and the voices, each at its level and place."""
    t = s[0]
    frames = block.frames
    for c in range(block.channels):
        lead = carray(as_pointer(s[c].memory), (t.mask + 1,), np.float32)
        at = (block.frame - t.delay) & t.mask
        first = min(frames, t.mask + 1 - at)
        copy(x[c], lead[at : at + first], first)
        copy(x[c, first:], lead, frames - first)
    gains(t.gain[0], p.level_1, frames)
    gains(t.gain[1], p.level_2, frames)
    gains(t.gain[2], p.level_3, frames)
    gains(t.gain[3], p.level_4, frames)
    gains(t.gain[4], p.lead, frames)
    weigh_lead(t, p.consonants, frames)
    for c in range(block.channels):
        for i in range(frames):
            x[c, i] *= t.gain[4, i]
    place(t, 0, p.pan_1, p, x, block)
    place(t, 1, p.pan_2, p, x, block)
    place(t, 2, p.pan_3, p, x, block)
    place(t, 3, p.pan_4, p, x, block)


@helper
def copy(target, source, frames):
    """Copy the first frames of a row."""
    for i in range(frames):
        target[i] = source[i]


@helper
def weigh_lead(t, consonants, frames):
    """Add the voices' share of what has no pitch to the lead's gain, in 5 ms where a pitch begins or ends."""
    running = ONE if t.tuner.running else ZERO
    if t.share == running == ONE:
        return
    for i in range(frames):
        t.share = min(t.share + t.step, ONE) if running == ONE else max(t.share - t.step, ZERO)
        t.unvoiced[i] = ONE - t.share
    g = t.gain
    for i in range(frames):
        power = (g[0, i] * g[0, i] + g[1, i] * g[1, i]) + (g[2, i] * g[2, i] + g[3, i] * g[3, i])
        g[4, i] += consonants[i] * np.sqrt(power) * t.unvoiced[i]


@helper
def gain_of(level):
    """Return the gain of a level in dB; it fades to exactly 0 over the last 6 dB above OFF_DB."""
    return db_to_gain(level) * min((level - SILENT_DB) * np.float32(1 / 6), ONE)


@helper
def gains(row, level, frames):
    """Fill a row with the gains of a level; a level that rests is looked at once."""
    if level[0] == level[frames - 1]:
        gain = gain_of(level[0])
        for i in range(frames):
            row[i] = gain
        return
    for i in range(frames):
        row[i] = gain_of(level[i])


@helper
def place(t, k, pan, p, x, block):
    """Add a voice to the channels: even ones are left, odd ones right, at constant power; one channel gets it whole."""
    voice = t.voices[k]
    if voice.mode == IDLE and voice.drawn == block.frame:
        return
    wet = voice.wet
    for i in range(block.frames):
        wet[i] *= t.gain[k, i]
    if block.channels == 1:
        for i in range(block.frames):
            x[0, i] += wet[i]
        return
    for c in range(block.channels):
        side = -ONE if c & 1 == 0 else ONE
        for i in range(block.frames):
            x[c, i] += wet[i] * np.sqrt(max(ONE + side * pan[i] * p.width[i], ZERO))
