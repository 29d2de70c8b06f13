"""Follow the pitch of one voice (f0) for the stages that need it; the sound passes unchanged and undelayed.

The mean of the channels is decimated to about 16 kHz by a linear-phase low-pass and correlated with its own past (see
`autovoice.dsp.f0`). Every 5 ms the peaks compete with one another and with "unvoiced": a small network fitted to voices of
known pitch gives each its odds, and a hidden Markov filter carries them from frame to frame (see
`autovoice.dsp.f0_choice`). `voicing` is the probability that there is a voice within the range; from `threshold` on, `f0_hz`
is its likeliest pitch. Nothing is revised, so a decision is final at once: it is on the bus 17 to 19 ms after the moment it
speaks of, which `f0_frame` names.

Any periodic sound is a voice to it; a mains hum above `floor` is one for its first few seconds, until it counts as the room's
own noise, and rumble now and then: put `highpass` in front of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import f0, f0_choice, vector
from autovoice.dsp.native import helper
from autovoice.dsp.stage import MAX_SAMPLE_RATE, SEGMENT, Param

PARAMETERS = (
    Param("floor", "Hz", 50.0, 400.0, 60.0, scale="log", help="lowest pitch to look for"),
    Param("ceiling", "Hz", 200.0, 1100.0, 1100.0, scale="log", help="highest pitch to look for"),
    Param("threshold", "", 0.1, 0.9, 0.3, help="probability from which the sound counts as voiced"),
)

HOP_S = 0.005
ANALYSIS_RATE = 15_500.0  # Hz, aimed at; the nearest whole fraction of the sample rate is taken
PASSBAND_HZ = 3_000.0  # -6 dB: harmonics enough for a sharp peak, fricatives and hiss kept out
FILTER_HALF_S = 0.0005  # the low-pass delays by this much; it spans twice as much
RUMBLE_HZ = 15.0  # one-pole high-pass behind it
RANGE_TOLERANCE = np.float32(1.01)  # a pitch right at the floor or ceiling belongs to the range

MAX_TAPS = vector.DOT_STEP * -(-(2 * round(FILTER_HALF_S * MAX_SAMPLE_RATE) + 1) // vector.DOT_STEP)
ZERO, ONE = np.float32(0), np.float32(1)

LINKED = True
STATE = [
    ("started", "i8"),
    ("factor", "i8"),  # of the decimation
    ("delay", "i8"),  # frames, of the low-pass
    ("hop", "i8"),  # frames
    ("taps", "i8"),  # of the low-pass, a multiple of vector.DOT_STEP
    ("lowpass", "f4", (MAX_TAPS,)),
    ("recent", "f4", (MAX_TAPS - 1 + SEGMENT,)),  # mean of the channels: what the low-pass still needs, then this call's
    ("until_next", "i8"),  # frames from the start of the next call to the next analysis sample
    ("rumble", "f4"),
    ("rumble_step", "f4"),
    ("frame", "i8"),  # number of the next analysis frame to begin
    ("decided", "i8"),  # of the latest that is complete
    ("centre", "i8", (f0.FRAMES,)),  # its row, for each frame in progress
    *f0.CORRELATOR,
    *f0_choice.CHOICE,
]


def settle(sample_rate: float) -> int:
    """Return the frames that the longest comparison spans, and those that a choice looks back on."""
    return round((2 * f0.LOOKAHEAD_S + (f0_choice.MEMORY + 2) * HOP_S) * sample_rate)


def prepare(state: Any, sample_rate: float) -> None:
    """Design the low-pass (a sinc under a Hann window) and lay out the analysis."""
    factor = max(1, round(sample_rate / ANALYSIS_RATE))
    delay = max(1, round(FILTER_HALF_S * sample_rate))
    n = np.arange(-delay, delay + 1)
    lowpass = np.sinc(2 * PASSBAND_HZ / sample_rate * n) * np.cos(np.pi * n / (2 * delay + 2)) ** 2
    taps = vector.DOT_STEP * -(-lowpass.size // vector.DOT_STEP)
    state["lowpass"][:, taps - lowpass.size : taps] = lowpass / lowpass.sum()
    state["factor"], state["delay"], state["taps"] = factor, delay, taps
    state["hop"] = round(HOP_S * sample_rate)
    state["rumble_step"] = 1 - np.exp(-2 * np.pi * RUMBLE_HZ * factor / sample_rate)
    f0.plan(state, sample_rate / factor)
    f0_choice.plan(state)


@helper
def _start(s: Any, frame: Any) -> None:
    """Join the grids of analysis samples, rows and hops, which count from absolute frame 0."""
    s.started = 1
    sample = (frame + s.factor - 1) // s.factor
    s.until_next = sample * s.factor - frame
    f0.join(s, sample)
    s.frame = frame // s.hop
    s.decided = s.frame - 1


@helper
def _row_at(s: Any, frame: Any) -> Any:
    """Return the row that begins nearest to an absolute frame: analysis sample m speaks of frame m * factor - delay."""
    span = f0.ROW * s.factor
    return (2 * (frame + s.delay) + s.factor + span) // (2 * span)


@helper
def _publish(s: Any, p: Any, i: Any, frame: Any, block: Any) -> None:
    """Decide on a complete frame and post it."""
    f0_choice.choose(s, frame)
    shortest, longest = s.rate / (p.ceiling[i] * RANGE_TOLERANCE), s.rate / p.floor[i] * RANGE_TOLERANCE
    voicing = likeliest = f0_hz = ZERO
    for j in range(s.voices):
        if shortest <= s.linear_lag[j] <= longest:
            voicing += s.probability[j]
            if s.probability[j] > likeliest:
                likeliest, f0_hz = s.probability[j], s.rate / s.linear_lag[j]
    block.post.f0_frame = frame * s.hop - block.upstream
    block.post.voicing = min(voicing, ONE)
    block.post.f0_hz = f0_hz if voicing >= p.threshold[i] else ZERO


@helper
def _analyse_row(s: Any, p: Any, i: Any, block: Any) -> None:
    """Let every frame in progress use the complete row."""
    centre = _row_at(s, s.frame * s.hop)
    if centre + s.first <= s.row:
        s.centre[s.frame & (f0.FRAMES - 1)] = centre
        f0.begin(s, s.frame)
        s.frame += 1
    for frame in range(s.decided + 1, s.frame):
        if f0.advance(s, frame, s.centre[frame & (f0.FRAMES - 1)]):
            s.decided = frame
            _publish(s, p, i, frame, block)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Analyse the mean of the channels; the audio is only read."""
    s = s[0]
    if not s.started:
        _start(s, block.frame)
    history = s.taps - 1
    scale = ONE / np.float32(block.channels)
    for i in range(block.frames):
        s.recent[history + i] = x[0, i] * scale
    for c in range(1, block.channels):
        for i in range(block.frames):
            s.recent[history + i] += x[c, i] * scale
    i = s.until_next
    while i < block.frames:
        low = vector.dot(s.lowpass.ctypes.data, s.recent.ctypes.data + 4 * i, s.taps)
        s.rumble += s.rumble_step * (low - s.rumble)
        if f0.push(s, low - s.rumble):
            _analyse_row(s, p, i, block)
            f0.next_row(s)
        i += s.factor
    s.until_next = i - block.frames
    for j in range(history):
        s.recent[j] = s.recent[block.frames + j]
