"""Pull a voice to the notes of a scale, or to a note that is played; its formants stay.

The pitch that the marks give is compared with the scale; `tuning` decides which note is meant and how much of the distance to
close, and the shifter of `shift` gives the voice exactly the pitch that results, period by period, at no more delay. At a
retune time of 0 the note is hit at once and held flat; with a longer one, what is faster than it stays, above all vibrato.
`vibrato` keeps it at any retune time, `humanise` leaves notes that are held more of their own drift. A `note` above 0 is the
target whatever the scale says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import shifter, tuning
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT, Param

REQUIRES = ("marks",)

PARAMETERS = (
    Param("key", "", 0, 11, 0, "choice", help="key of the scale", choices=tuning.KEYS),
    Param("scale", "", 0, len(tuning.SCALES) - 1, 0, "choice", help="notes to tune to", choices=tuple(tuning.SCALES)),
    Param("note", "MIDI", 0.0, 127.0, 0.0, smooth_ms=0, help="note to tune to instead of the scale; 0 = none"),
    Param("retune", "ms", 0.0, 400.0, 20.0, help="time constant of the correction; 0 = at once"),
    Param("amount", "", 0.0, 1.0, 1.0, help="share of the correction that is made"),
    Param("humanise", "", 0.0, 1.0, 0.0, help="more time on notes that are held"),
    Param("vibrato", "", 0.0, 1.0, 0.0, help="share of the voice's vibrato that stays at any retune time"),
    Param("stability", "ms", 5.0, 200.0, 50.0, scale="log", help="how long the voice must mean a new note"),
    Param("semitones", "st", -24.0, 24.0, 0.0, help="transposes the tuned voice"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the formants"),
    Param("reference", "Hz", 400.0, 480.0, 440.0, smooth_ms=0, help="frequency of A4"),
)
OPTIONS = shifter.OPTIONS
STATE = [("tuner", tuning.TUNER), ("goal_hz", "f4"), *shifter.STATE]
memory, latency, settle, prepare = shifter.memory, shifter.latency, shifter.settle, shifter.prepare
MASKS = tuning.MASKS
ZERO = np.float32(0)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Set the pitch of the grains to come, once a segment, and hand them to the shifter."""
    t = s[0]
    if block.frame % SEGMENT == 0:
        t.goal_hz = aim(t, p, block)
    for i in range(block.frames):
        t.semitones[i] = p.semitones[i]
        t.formant[i] = p.formant[i]
        t.target_hz[i] = t.goal_hz
    shifter.run(s, x, block)


@helper
def aim(t, p, block):
    """Return the pitch in Hz that the voice shall have now, 0 where it keeps its own."""
    u = t.tuner
    reference = np.float64(p.reference[0])
    if not t.marks.voiced:
        u.running = 0
        block.post.target_hz = ZERO
        return ZERO
    lead = tuning.midi_of(block.sample_rate / shifter.coming_period(t, block.frame), reference)
    key, mask = np.int64(p.key[0]), MASKS[np.int64(p.scale[0])]
    seconds = SEGMENT / block.sample_rate
    if not u.running:
        tuning.start(u, lead, key, mask)
    tuning.decide(u, lead, seconds, 1e-3 * np.float64(p.stability[0]), key, mask)
    if p.note[0] > ZERO:
        u.note = np.float64(p.note[0])
    change = tuning.correct(
        u,
        lead,
        seconds,
        1e-3 * np.float64(p.retune[0]),
        np.float64(p.humanise[0]),
        np.float64(p.vibrato[0]),
        p.note[0] > ZERO,
    )
    block.post.target_hz = np.float32(tuning.hz_of(u.note, reference))
    if p.amount[0] == ZERO:
        return ZERO
    return np.float32(tuning.hz_of(lead + np.float64(p.amount[0]) * change, reference))
