"""Which note a voice means, and how far it is to be moved towards it.

A pitch is a MIDI number in semitones with fractions. The note is decided on the mean of the pitch since the note began, so that
vibrato does not flip it, with a preference for the note that is held; a leap is taken at once when it has stayed a moment.
The correction is the distance to the note behind a smoother whose time constant is the retune time: what moves faster, such as
vibrato, stays; at 0 ms nothing does. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2, log2

KEYS = ("c", "c_sharp", "d", "e_flat", "e", "f", "f_sharp", "g", "a_flat", "a", "b_flat", "b")
SCALES: dict[str, tuple[int, ...]] = {
    "chromatic": tuple(range(12)),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic_minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic_major": (0, 2, 4, 7, 9),
    "pentatonic_minor": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole_tone": (0, 2, 4, 6, 8, 10),
}
"""Notes of a scale in semitones above its key."""
MASKS = np.array([sum(1 << note for note in notes) for notes in SCALES.values()], np.int64)

A4 = 69.0  # MIDI number
HOLD_BONUS, HOLD_FULL_S = 0.15, 0.2  # semitones by which the held note seems nearer than it is, once it is so old
FIRST, MEAN = 0.3, 3.0  # shortest and longest time that the pitch is averaged over, of the stability time
WIDE = 1.25  # semitones from the mean: more is on its way to another note, and is not pulled back to the old one
LEAP = 0.9  # semitones from the mean: more is a new note once it has stayed
STEADY = 0.12  # semitones: what moves less while it stays is no vibrato, and is taken after ...
STAYED, SWEPT = 0.6, 1.8  # ... the first of these parts of the stability time; all else after the second
HELD_FROM_S, HELD_TO_S = 0.1, 0.5  # a note counts as held more and more between these ages
HUMANISE_S = 0.4  # added to the retune time of a held note at full humanise

TUNER = np.dtype(
    [
        ("running", "i8"),  # whether a voice was there at the last call
        ("note", "f8"),  # target, MIDI number
        ("mean", "f8"),  # running mean of the pitch
        ("leap_s", "f8"),  # how long the pitch has been away from the mean, with its sign ...
        ("lowest", "f8"),  # ... and between which pitches
        ("highest", "f8"),
        ("age_s", "f8"),  # of the note
        ("since_s", "f8"),  # the last leap
        ("slow", "f8"),  # pitch without its vibrato
        ("eased", "f8"),  # correction in semitones, before ...
        ("correction", "f8"),  # ... and after the second pole
    ],
    align=True,
)
"""What tuning remembers: a field of a stage's STATE."""

# What is left of vibrato, |1 - H|, is 0.93 at 4 Hz for one pole of 100 ms; with a second one it is 0.97 to 1.03
# from 4 to 8 Hz.
SECOND_POLE = 0.05  # time constant, of the first one's
VIBRATO_S = 0.08  # time constant that parts vibrato (4 Hz and faster) from the line of the melody


@helper
def midi_of(frequency_hz, a4_hz):
    """Return the MIDI number, with fraction, of a frequency."""
    return A4 + 12.0 * np.float64(log2(np.float32(frequency_hz / a4_hz)))


@helper
def hz_of(midi, a4_hz):
    """Return the frequency of a MIDI number with fraction."""
    return a4_hz * np.float64(exp2(np.float32((midi - A4) / 12.0)))


@helper
def share(seconds, time_s):
    """Return how far a one-pole smoother goes in `seconds`; all the way where its time constant is 0."""
    return 1.0 - np.float64(exp2(np.float32(-1.442695 * seconds / time_s))) if time_s > 1e-4 else 1.0


@helper
def allowed(note, key, mask):
    """Say whether a whole MIDI number belongs to the scale."""
    return (mask >> ((np.int64(note) - key) % 12)) & 1 != 0


@helper
def nearest_note(pitch, held, bonus, key, mask):
    """Return the scale's note nearest to a pitch, where the note `held` counts as nearer by `bonus` semitones."""
    middle = np.floor(pitch + 0.5)
    best = middle
    least = 1e9
    for k in range(-6, 7):
        note = middle + k
        distance = abs(pitch - note) - (bonus if note == held else 0.0)
        if allowed(note, key, mask) and distance < least:
            best, least = note, distance
    return best


@helper
def steps_from(note, steps, key, mask):
    """Return the note so many steps of the scale above (or below) a note of it."""
    way = 1.0 if steps > 0 else -1.0
    left = abs(steps)
    while left > 0:
        note += way
        left -= 1 if allowed(note, key, mask) else 0
    return note


@helper
def start(u, pitch, key, mask):
    """Begin a run of voice at a pitch."""
    u.running = 1
    u.mean = pitch
    u.slow = pitch
    u.leap_s = 0.0
    u.age_s = 0.0
    u.since_s = 0.0
    u.eased = 0.0
    u.correction = 0.0
    u.note = nearest_note(pitch, 0.0, 0.0, key, mask)


@helper
def decide(u, pitch, seconds, stability_s, key, mask):
    """Follow the pitch for `seconds` and decide which note it means."""
    away = pitch - u.mean
    side = 1.0 if away > 0.0 else -1.0
    if abs(away) > LEAP and u.leap_s * side >= 0.0:
        u.lowest = min(u.lowest, pitch) if u.leap_s != 0.0 else pitch
        u.highest = max(u.highest, pitch) if u.leap_s != 0.0 else pitch
        u.leap_s += side * seconds
    else:
        u.leap_s = 0.0
    stayed = abs(u.leap_s)
    if stayed > SWEPT * stability_s or (stayed > STAYED * stability_s and u.highest - u.lowest < STEADY):
        u.mean = pitch
        u.leap_s = 0.0
        u.age_s = 0.0
        u.since_s = 0.0
    else:
        u.mean += seconds / min(max(u.since_s, FIRST * stability_s), MEAN * stability_s) * away
    u.since_s += seconds
    bonus = HOLD_BONUS * min(u.age_s / HOLD_FULL_S, 1.0)
    note = nearest_note(u.mean, u.note, bonus, key, mask)
    u.age_s = u.age_s + seconds if note == u.note else 0.0
    u.note = note


@helper
def correct(u, pitch, seconds, retune_s, humanise, vibrato, fixed):
    """Return by how many semitones to move the pitch now, so that it nears the note; vibrato 0..1 of its own stays.

    `fixed` says that the note is given and not decided on the pitch.
    """
    u.slow += share(seconds, VIBRATO_S) * (pitch - u.slow)
    if abs(pitch - u.mean) > WIDE and not fixed:
        return u.correction
    sustained = min(max((u.age_s - HELD_FROM_S) / (HELD_TO_S - HELD_FROM_S), 0.0), 1.0)
    wanted = u.note - pitch + vibrato * (pitch - u.slow)
    time_s = retune_s + humanise * HUMANISE_S * sustained
    u.eased += share(seconds, time_s) * (wanted - u.eased)
    u.correction += share(seconds, SECOND_POLE * time_s) * (u.eased - u.correction)
    return u.correction
