"""Tell whether a voice is there: Silero's network or WebRTC's detector on the audio thread; the sound passes unchanged.

The mean of the channels is brought to 16 kHz (`autovoice.dsp.resampler`, 2 ms) and judged in chunks of 32 ms
(`autovoice.dsp.silero`) or frames of 10, 20 or 30 ms (`autovoice.dsp.vad_webrtc`). The probability of each goes to the bus as
`vad_probability`, with the input frame in its middle as `vad_frame`: 14.4 ms (Silero) or at once (WebRTC) after its last sample
at 16 kHz. `vad` turns 1 when the probability has been at or above the threshold for the attack, and 0 when it has been more
than 0.15 below it for the release, but not before the hold is over; both are decided at absolute multiples of 64 frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import resampler, silero, vad_webrtc
from autovoice.dsp.native import helper
from autovoice.dsp.stage import MIN_SAMPLE_RATE, SEGMENT, Option, Param

PARAMETERS = (
    Param("threshold", "", 0.05, 0.95, 0.5, help="probability from which a sound counts as voice", smooth_ms=0),
    Param("attack", "ms", 0.0, 500.0, 0.0, help="how long it must be voice before vad turns 1", smooth_ms=0),
    Param("hold", "ms", 0.0, 2000.0, 100.0, help="how long vad stays 1 at least", smooth_ms=0),
    Param("release", "ms", 0.0, 2000.0, 100.0, help="how long it must not be voice before vad turns 0", smooth_ms=0),
)
OPTIONS = (
    Option("model", "", 0, 1, 0, scale="choice", choices=("silero", "webrtc"), help="which detector"),
    Option("mode", "", 0, 3, 3, scale="choice", choices=("0", "1", "2", "3"), help="webrtc: 3 says voice least often"),
    Option("frame_ms", "ms", 0, 2, 0, scale="choice", choices=("10", "20", "30"), help="webrtc: length of what is judged"),
)

RATE = silero.RATE  # Hz, of both detectors
HYSTERESIS = np.float32(0.15)  # between beginning and end of a voice; Silero's own offline segmenter has the same
LOWEST_THRESHOLD = np.float32(0.01)
SETTLE_S = 0.25  # the network's memory has mostly forgotten how it began
MOST = resampler.conversion(MIN_SAMPLE_RATE, RATE).most(SEGMENT)  # samples that a segment can bring
ZERO, ONE = np.float32(0), np.float32(1)

STATE = [
    ("webrtc", "i8"),  # 1 = WebRTC's detector, 0 = Silero's
    ("delay", "f8"),  # frames, of the resampler
    ("active", "i8"),
    ("since", "i8"),  # frames for which `active` has been as it is
    ("voiced", "i8"),  # frames for which the probability has been above
    ("unvoiced", "i8"),  # and below
    ("mean", "f4", (SEGMENT,)),
    ("samples", "f4", (MOST,)),
    ("down", resampler.STATE),
    ("silero", silero.STATE),
    ("detector", vad_webrtc.STATE),
]


def settle(sample_rate: float, model: str, mode: str, frame_ms: str) -> int:
    """Return the frames after which the decision no longer depends on the beginning."""
    return round(SETTLE_S * sample_rate)


def prepare(state: Any, sample_rate: float, model: str, mode: str, frame_ms: str) -> None:
    """Lay the chosen detector out."""
    plan = resampler.plan(state["down"], sample_rate, RATE)
    state["delay"] = plan.delay_s * sample_rate
    state["webrtc"] = model == "webrtc"
    if model == "webrtc":
        vad_webrtc.plan(state["detector"], int(mode), int(frame_ms))
    else:
        silero.plan(state["silero"])


@helper
def _post(s: Any, probability: Any, middle: Any, block: Any) -> None:
    """Post a probability and the input frame it speaks of; `middle` counts samples at 16 kHz."""
    frame = middle * s.down.down / s.down.up - s.delay
    block.post.vad_probability = probability
    block.post.vad_frame = np.int64(np.floor(frame + 0.5)) - block.upstream


@helper
def _decide(s: Any, probability: Any, p: Any, i: Any, block: Any) -> None:
    """Let a segment pass: count how long it has been voice or not, and turn."""
    frames_per_ms = block.sample_rate / 1000
    threshold = max(p.threshold[i] - HYSTERESIS, LOWEST_THRESHOLD) if s.active else p.threshold[i]
    above = probability >= threshold
    s.voiced = s.voiced + SEGMENT if above else 0
    s.unvoiced = 0 if above else s.unvoiced + SEGMENT
    s.since += SEGMENT
    if s.active:
        turns = s.unvoiced > p.release[i] * frames_per_ms and s.since > p.hold[i] * frames_per_ms
    else:
        turns = s.voiced > p.attack[i] * frames_per_ms
    if turns:
        s.active = 1 - s.active
        s.since = 0
    block.post.vad = ONE if s.active else ZERO


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Bring the mean of the channels to 16 kHz and let the detector take it; the audio is only read."""
    s = s[0]
    scale = ONE / np.float32(block.channels)
    for i in range(block.frames):
        s.mean[i] = x[0, i] * scale
    for c in range(1, block.channels):
        for i in range(block.frames):
            s.mean[i] += x[c, i] * scale
    end = block.frame + block.frames
    before, after = resampler.ready(s.down, block.frame), resampler.ready(s.down, end)
    resampler.push(s.down, block.frame, s.mean, block.frames)
    resampler.pull(s.down, before, after - before, s.samples)
    if s.webrtc:
        judged = s.detector.frames
        vad_webrtc.push(s.detector, before, s.samples, after - before)
        if s.detector.frames != judged:
            _post(s, s.detector.voice, s.detector.frames * s.detector.length - s.detector.length // 2, block)
    else:
        judged = s.silero.chunks
        silero.push(s.silero, before, s.samples, after - before)
        silero.advance(s.silero, before, after)
        if s.silero.chunks != judged:
            _post(s, s.silero.probability, s.silero.chunks * silero.CHUNK - silero.CHUNK // 2, block)
    if end % SEGMENT == 0:
        _decide(s, s.detector.voice if s.webrtc else s.silero.probability, p, block.frames - 1, block)
