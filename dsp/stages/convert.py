"""Speak or sing as another person: live, on the audio thread itself.

A hundred times a second the bands of the newest 25 ms, the pitch and whether there is a voice (from `pitch`) go into a small
causal network. It draws, for the voice that was asked for, the spectral envelopes of the harmonic and of the noisy part of the
same sounds; a pulse train at the new pitch and noise are filtered by them (a source-filter model: G. Fant, Acoustic Theory of
Speech Production, 1960; harmonic plus noise: Y. Stylianou, 1996). The network hears the voice at its usual level, and what was
changed for that is undone behind it. It looks 10, 30 or 80 ms ahead, as `mode` says; its work for one hop is spread evenly over
the next, in steps counted by absolute frames. All channels get the same voice, that of their mean; the dry part stays as it
was.

`voice` and `other` are slots of a table of voices (`autovoice.dsp.converter.voices`), between which `morph` moves. With
`match` on, the melody is moved so that the speaker's median pitch, as heard so far or given as `source`, becomes that of the
voice. Where the input has been exactly zero for a while, so is the output.

Where `singer` says whose voice comes in, enrolled as any voice is, the network is asked what that voice should sound like as
well, and what it misses of it is put back (`autovoice.dsp.converter.fidelity`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import fft
from autovoice.dsp.converter import fidelity, melody, network, synthesis, voices
from autovoice.dsp.converter.features import MELS, REFERENCE_HZ, TRACKED_S
from autovoice.dsp.converter.precise import precise_log2
from autovoice.dsp.converter.program import (
    ALWAYS,
    BANDS,
    BEGIN,
    COPY,
    DEPTHWISE,
    ENVELOPE,
    EXCITE,
    EXPECTED,
    FEATURES,
    GATE,
    HISS,
    INVERT,
    JOIN,
    LOOKAHEADS,
    MEND,
    NOTHING,
    OTHER_SINGER,
    OTHER_SPEAKER,
    OUTPUTS,
    OVERLAP,
    PITCH,
    PRODUCT,
    PULSES,
    RESPOND,
    RINGS,
    SHAPE,
    SHAPED,
    SINGER,
    SPEAK,
    TRANSFORM,
    UNIT,
    UNIT_BYTES,
    VOICE,
    WORK,
    program,
)
from autovoice.dsp.converter.tables import highest_hz, sizes, tables
from autovoice.dsp.converter.voices import SLOTS
from autovoice.dsp.native import as_pointer, helper, record_at
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.stage import SEGMENT, Option, Param
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vector import TILE

carray = numba.carray

REQUIRES = ("pitch",)
PARAMETERS = (
    Param("voice", "", 0, SLOTS - 1, 0, smooth_ms=0, help="slot of the voice to become"),
    Param("other", "", 0, SLOTS - 1, 1, smooth_ms=0, help="slot of a second voice to mix it with"),
    Param("morph", "", 0.0, 1.0, 0.0, help="from the voice (0) to the other (1)"),
    Param("match", "", 0, 1, 1, scale="switch", help="move the speaker's range of pitch to the voice's"),
    Param("source", "Hz", 0.0, 500.0, 0.0, smooth_ms=0, help="the speaker's median pitch, for match; 0 = as heard so far"),
    Param("singer", "", -1, SLOTS - 1, -1, smooth_ms=0, help="slot of the voice that comes in, enrolled; -1 = not known"),
    Param("fidelity", "", 0.0, 1.0, 1.0, help="how much of what is missed of a known singer is put back"),
    Param("pitch", "st", -24.0, 24.0, 0.0, help="pitch shift, on top of match"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the formants"),
    Param("intonation", "", 0.0, 2.0, 1.0, help="how far the melody leaves its median; 0 = monotone"),
    Param("expression", "", 0.0, 2.0, 1.0, help="how far the level leaves its mean, up to 12 dB"),
    Param("breathiness", "", -1.0, 1.0, 0.0, help="noise more and harmonics less, or the other way round"),
    Param("tilt", "dB/oct", -6.0, 6.0, 0.0, help="brighter or darker, about 1 kHz"),
    Param("mix", "", 0.0, 1.0, 1.0, help="from the dry sound (0) to the converted one (1)"),
)
OPTIONS = (
    Option(
        "mode", "", 0, 2, 1, scale="choice", choices=tuple(LOOKAHEADS), help="looks 10, 30 or 80 ms ahead, and 20 ms on top"
    ),
)

MEMORY_S = 0.5  # the network has mostly forgotten how it began
LINGER_HOPS = 5  # that are heard after the last frame of sound, beside look-ahead and window
LOWEST_SOURCE_HZ = np.float32(30.0)  # below, the median that was heard counts
LEVELS = 16  # hops, a power of 2: more than any look-ahead
LEVEL_HOPS, LEVEL_PRIOR = 500, 20  # hops of voice that the mean level is taken over, and that the usual one counts for at first
USUAL_LEVEL = -4.6  # natural logarithm of a voice's magnitude, that of the root mean of its bands' powers
LOUDER, QUIETER = np.float32(2.3), np.float32(-4.6)  # than that, as far as it is made up for: 20 and 40 dB
MINUS_TWO_LOG2_E = np.float32(-2 * np.log2(np.e))
LEVEL_RANGE = np.float32(12 / 20 * np.log(10))  # natural logarithm of a magnitude
LEAST_POWER = np.float32(1e-9)
SURE = np.float32(0.5)  # voicing from which a hop counts for the mean level
HALF_LN_2 = np.float32(0.5 * np.log(2))
BREATH = np.float32(12 / 20 * np.log(10))  # that noise rises by at full breathiness
NEPER_PER_DB = np.float32(np.log(10) / 20)
PER_SEMITONE = np.float32(1 / 12)
USUAL = np.float32(USUAL_LEVEL)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
REFERENCE = float(np.log2(REFERENCE_HZ))

VOICE_AT, OTHER_AT, MORPH_AT, MATCH_AT, SOURCE_AT, SINGER_AT, FIDELITY_AT, PITCH_AT = range(8)
FORMANT_AT, INTONATION_AT, EXPRESSION_AT, BREATH_AT, TILT_AT = range(8, 13)
"""Places of the parameters among the controls."""

RING = ("dry", "written")
LINKED = True
STATE = [
    ("memory", "i8"),  # dry ring; in the first channel also what follows from `_layout`
    ("input", "i8"),  # address of the ring of 2 size frames that the analysis reads
    ("analysis", "i8"),  # address of its window of `span` frames
    ("span", "i8"),
    ("program", "i8", (2,)),  # addresses: where it is not known who sings, and where it is
    ("units", "i8", (2,)),
    ("known", "i8"),
    ("unit", "i8"),  # the next to run
    ("hop", "i8"),  # the one whose analysis is worked on
    ("running", "i8"),
    ("begun", "i8"),  # hops
    ("lookahead", "i8"),  # hops
    ("tracked", "i8"),  # frames that the pitch comes late
    ("earlier", "i8"),  # frames that the pulses' pitch comes late where the look-ahead is shorter than the tracker's delay
    ("latency", "i8"),  # frames
    ("dry", "i8"),  # frames of the dry ring, a power of 2
    ("written", "i8"),  # the absolute frame that it is written up to
    ("loud", "i8"),  # the latest frame that was not zero
    ("loud_then", "i8"),  # as it was when the segment began
    ("audible", "i8"),
    ("asked", "i8", (3,)),  # whether steps that are run ALWAYS, where the speaker is another, ... are run in this hop
    ("pitch", "f4", (2,)),  # of the frame to be drawn, octaves from the reference: as it will be heard, and as it came in
    ("level", "f4", (LEVELS,)),  # natural logarithm of the magnitude of the last hops
    ("mean_level", "f4"),
    ("apart", "f4"),  # the mean level from the usual one, as far as this hop makes up for it
    ("levels", "i8"),  # hops that it rests on
    ("controls", "f4", (len(PARAMETERS),)),  # as they stood when the segment began
    ("fft", fft.STATE),
    ("net", network.STATE),
    ("synthesis", synthesis.STATE),
    ("melody", melody.STATE),
    ("cast", voices.STATE),
    ("fidelity", fidelity.STATE),
]


def latency(sample_rate: float, mode: str) -> int:
    """Return the look-ahead, a hop that is waited for and one over which the work is spread: 50 ms in mode balanced."""
    return (LOOKAHEADS[mode] + 2) * sizes(sample_rate)[0]


def settle(sample_rate: float, mode: str) -> int:
    """Return the frames in which the network hears what it needs to know."""
    return latency(sample_rate, mode) + round(MEMORY_S * sample_rate)


def _layout(sample_rate: float, mode: str) -> tuple[list[int], int]:
    """Return the offsets, in float32, of dry ring, input, pulses, sums, output, transform, work and rings; and their end."""
    hop, size = sizes(sample_rate)
    dry = 1 << (latency(sample_rate, mode) + SEGMENT - 1).bit_length()
    lengths = [dry, 2 * size, 2 * hop, size + 2 * TILE, 2 * size, fft.values(size), WORK, RINGS]
    ends = np.cumsum([-(-length // 16) * 16 for length in lengths])
    return [0, *(int(end) for end in ends[:-1])], int(ends[-1])


def memory(sample_rate: float, mode: str) -> int:
    """Return the float32 values of the rings, the transform and the network's past."""
    return _layout(sample_rate, mode)[1]


def prepare(state: Any, sample_rate: float, mode: str) -> None:
    """Lay out network, tables and voices."""
    t = tables(sample_rate)
    offsets, _ = _layout(sample_rate, mode)
    dry, ring, pulses, sums, out, transform, work, rings = (state["memory"] + 4 * offset for offset in offsets)
    state["input"], state["dry"] = ring, (ring - dry) // 4
    state["analysis"], state["span"] = t.analysis, t.span
    state["lookahead"], state["latency"] = LOOKAHEADS[mode], latency(sample_rate, mode)
    state["tracked"] = round(TRACKED_S * sample_rate)
    state["loud"] = state["loud_then"] = -(1 << 62)
    state["mean_level"], state["levels"] = USUAL_LEVEL, LEVEL_PRIOR
    fft.plan(state["fft"], t.size, transform)
    stranger, steps = (program(t.hop, fft.steps(t.size), t.tiles, mode, known) for known in (False, True))
    state["program"], state["units"] = (stranger.units, steps.units), (stranger.count, steps.count)
    state["earlier"] = melody.earlier(sample_rate, t.hop, LOOKAHEADS[mode], stranger.late)
    net = state["net"]
    net["integers"], net["floats"], net["work"], net["rings"] = steps.integers, steps.floats, work, rings
    net["first"], net["counts"], net["shares"] = t.first, t.counts, t.shares
    heard = state["synthesis"]
    for name in ("hop", "size", "bins", "window", "centres", "octaves", "phases", "lower", "share"):
        heard[name] = getattr(t, name)
    heard["pulses"], heard["sums"], heard["out"] = pulses, sums, out
    sung = state["melody"]
    sung["hop"], sung["highest"] = t.hop, highest_hz(sample_rate)
    sung["whisper"] = np.sqrt(sample_rate / 4 / highest_hz(sample_rate))
    melody.begin_all(sung)
    voices.plan(state["cast"])
    fidelity.plan(state["fidelity"], state["cast"]["table"], t.centres)
    state["asked"][..., ALWAYS] = 1


@helper
def _analyse(s: Any, end: Any) -> None:
    """Take the window that ends before frame `end`, for the transform."""
    size = s.fft.size
    ring, signal = carray(as_pointer(s.input), (2 * size,), np.float32), fft.signal(s.fft)
    window = carray(as_pointer(s.analysis), (s.span,), np.float32)
    for i in range(s.span):
        signal[i] = window[i] * ring[(end - s.span + i) & (2 * size - 1)]
    for i in range(s.span, size):
        signal[i] = ZERO


@helper
def _begin(s: Any) -> None:
    """Begin the hop: take the sound, the pitch and the controls."""
    synthesis_frame = s.hop + 1 - s.lookahead
    end = (s.hop + 1) * s.synthesis.hop
    _analyse(s, end)
    c = s.controls
    voices.advance(s.cast, np.int64(c[VOICE_AT] + HALF), np.int64(c[OTHER_AT] + HALF))
    changed = voices.mix(s.cast, c[MORPH_AT], network.work(s.net, VOICE, voices.VALUES))
    s.asked[OTHER_SPEAKER] = 1 if changed or s.begun == 0 else 0
    values = network.work(s.net, SINGER, voices.VALUES)
    s.known, s.asked[OTHER_SINGER] = fidelity.turn_to(s.fidelity, c[SINGER_AT], c[FIDELITY_AT], values, s.begun == 0)
    excursion = np.float64(c[INTONATION_AT])
    anchor = melody.move_anchor(s.melody)
    median = anchor if c[SOURCE_AT] < LOWEST_SOURCE_HZ else precise_log2(c[SOURCE_AT])
    offset = np.float64(c[PITCH_AT]) / 12.0 + (1.0 - excursion) * median
    if c[MATCH_AT] > HALF:
        offset += np.float64(voices.median(s.cast, c[MORPH_AT])) - median
    melody.aim(s.melody, excursion, offset, s.begun == 0)
    told = end - s.tracked
    heard, voicing = melody.heard_at(s.melody, told)
    inputs = network.work(s.net, FEATURES, MELS + 2)
    inputs[MELS] = np.float32(heard - REFERENCE)
    inputs[MELS + 1] = voicing
    own = melody.curve_at(s.melody, min(synthesis_frame * s.synthesis.hop, told))
    s.pitch[0], s.pitch[1] = np.float32(melody.sung(own, excursion, offset) - REFERENCE), np.float32(own - REFERENCE)
    silent_since = end - s.loud_then
    s.audible = silent_since <= s.span + (s.lookahead + LINGER_HOPS) * s.synthesis.hop
    s.begun += 1


@helper
def _hear(s: Any) -> None:
    """Describe the sound by its bands, as if the voice had the usual level on the whole, and follow that."""
    re, im = fft.bins(s.fft)
    s.apart = min(max(s.mean_level - USUAL, QUIETER), LOUDER)
    power = network.bands(s.net, re, im, exp2(MINUS_TWO_LOG2_E * s.apart))
    fidelity.hear(s.fidelity, s.hop, network.work(s.net, FEATURES, MELS))
    level = HALF_LN_2 * log2(power + LEAST_POWER)
    s.level[s.hop & (LEVELS - 1)] = level
    if network.work(s.net, FEATURES, MELS + 2)[MELS + 1] > SURE:
        s.levels += 1
        s.mean_level += (level - s.mean_level) / np.float32(min(s.levels, LEVEL_HOPS))


@helper
def _shape(s: Any) -> None:
    """Change the envelopes as the controls say."""
    c = s.controls
    frame = s.hop + 1 - s.lookahead
    excursion = min(max(s.level[frame & (LEVELS - 1)] - s.mean_level, -LEVEL_RANGE), LEVEL_RANGE)
    level = s.apart + (c[EXPRESSION_AT] - ONE) * excursion
    breath = BREATH * c[BREATH_AT]
    drawn = network.work(s.net, ENVELOPE, OUTPUTS)
    shaped = network.work(s.net, SHAPED, OUTPUTS)
    formant = exp2(c[FORMANT_AT] * PER_SEMITONE)
    synthesis.shape(s.synthesis, drawn, shaped, formant, level, -HALF * max(breath, ZERO), breath, c[TILT_AT] * NEPER_PER_DB)


@helper
def _excite(s: Any, k: Any, sample_rate: Any) -> None:
    """Compute a part of the hop of pulses behind the centre of the frame to be drawn."""
    frame = s.hop + 1 - s.lookahead
    first, end = synthesis.excitation(s.synthesis, k)
    begin_at = frame * s.synthesis.hop
    pulses = synthesis.half(s.synthesis, frame)[first:end]
    melody.excite(s.melody, begin_at + first, end - first, begin_at, s.earlier, sample_rate, pulses)


@helper
def _work(s: Any, end: Any, sample_rate: Any) -> None:
    """Run the steps of the program that are due before frame `end`."""
    while True:
        unit = record_at(s.program[s.known] + s.unit * UNIT_BYTES, UNIT)
        if (s.hop + 1) * s.synthesis.hop + unit.due >= end:
            break
        kind = unit.kind if s.asked[unit.asked] else NOTHING
        frame = s.hop + 1 - s.lookahead
        if kind == PRODUCT:
            network.product(s.net, unit)
        elif kind == DEPTHWISE:
            network.depthwise(s.net, unit, s.hop)
        elif kind == GATE:
            network.gate(s.net)
        elif kind == TRANSFORM:
            fft.forward(s.fft, unit.index)
        elif kind == RESPOND:
            re, im = fft.bins(s.fft)
            synthesis.respond(s.synthesis, network.work(s.net, SHAPED, OUTPUTS), re, im, unit.count, unit.index)
        elif kind == EXCITE:
            _excite(s, unit.index, sample_rate)
        elif kind == INVERT:
            fft.inverse(s.fft, unit.index)
        elif kind == OVERLAP:
            if s.audible:
                synthesis.overlap(s.synthesis, fft.signal(s.fft), frame, unit.index)
        elif kind == BEGIN:
            _begin(s)
        elif kind == BANDS:
            _hear(s)
        elif kind == SPEAK:
            network.speak(s.net)
        elif kind == PITCH:
            network.tell_pitch(s.net, unit, s.pitch[unit.index])
        elif kind == COPY:
            network.copy(s.net, unit)
        elif kind == MEND:
            expected, drawn = network.work(s.net, EXPECTED, MELS), network.work(s.net, ENVELOPE, OUTPUTS)
            fidelity.mend(s.fidelity, frame, expected, drawn, voices.tract(s.cast, s.controls[MORPH_AT]))
        elif kind == SHAPE:
            _shape(s)
        elif kind in (PULSES, HISS):
            synthesis.load(s.synthesis, fft.signal(s.fft), frame, kind == HISS)
        elif kind == JOIN:
            re, im = fft.bins(s.fft)
            synthesis.join(s.synthesis, re, im)
        s.unit += 1
        if s.unit == s.units[s.known]:
            s.unit = 0
            s.hop += 1


@helper
def _latch(s: Any, p: Any, block: Any) -> None:
    """Take the controls and the bus as they stand at the start of a segment."""
    s.controls[VOICE_AT], s.controls[OTHER_AT], s.controls[MORPH_AT] = p.voice[0], p.other[0], p.morph[0]
    s.controls[MATCH_AT], s.controls[SOURCE_AT] = p.match[0], p.source[0]
    s.controls[SINGER_AT], s.controls[FIDELITY_AT] = p.singer[0], p.fidelity[0]
    s.controls[PITCH_AT], s.controls[FORMANT_AT] = p.pitch[0], p.formant[0]
    s.controls[INTONATION_AT], s.controls[EXPRESSION_AT] = p.intonation[0], p.expression[0]
    s.controls[BREATH_AT], s.controls[TILT_AT] = p.breathiness[0], p.tilt[0]
    s.loud_then = s.loud
    melody.listen(s.melody, block.bus.f0_frame, block.bus.f0_hz, block.bus.voicing, block.upstream)


@helper
def _hearken(s: Any, x: Any, block: Any) -> None:
    """Put the mean of the channels where the analysis reads it."""
    inside = 2 * s.fft.size - 1
    ring = carray(as_pointer(s.input), (2 * s.fft.size,), np.float32)
    scale = ONE / np.float32(block.channels)
    for i in range(block.frames):
        total, loudest = ZERO, ZERO
        for c in range(block.channels):
            total += x[c, i]
            loudest = max(loudest, abs(x[c, i]))
        ring[(block.frame + i) & inside] = total * scale
        if loudest > ZERO:
            s.loud = block.frame + i


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Take the sound in, do what is due, and put out what was finished."""
    head = s[0]
    if not head.running:
        head.running = 1
        head.hop = block.frame // head.synthesis.hop
    if block.frame % SEGMENT == 0:
        _latch(head, p, block)
    _hearken(head, x, block)
    _work(head, block.frame + block.frames, block.sample_rate)
    out = carray(as_pointer(head.synthesis.out), (2 * head.synthesis.size,), np.float32)
    inside, around = 2 * head.synthesis.size - 1, head.dry - 1
    then = block.frame - head.latency
    for c in range(block.channels):
        dry = carray(as_pointer(s[c].memory), (head.dry,), np.float32)
        for i in range(block.frames):
            dry[(block.frame + i) & around] = x[c, i]
        for i in range(block.frames):
            wet = out[(then + i) & inside]
            x[c, i] = p.mix[i] * wet + (ONE - p.mix[i]) * dry[(then + i) & around]
    for i in range(block.frames):
        out[(then + i) & inside] = ZERO
    head.written = block.frame + block.frames
