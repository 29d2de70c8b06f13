"""Take noise out of a voice: fans, hiss, hum.

Short-time spectral attenuation with a low delay: the analysis window is long and leans on the newest sound, the synthesis
window is short (D. Mauler and R. Martin, A low delay, variable resolution, perfect reconstruction spectral analysis-synthesis
system for speech enhancement, EUSIPCO 2007). Every 2.7 ms a small network judges how much voice there is in each band
(`autovoice.dsp.suppressor`), and a gain for each bin follows from that and from the noise tracked there
(`autovoice.dsp.noise_gain`). All channels are judged together and get the same gains, so that nothing moves in the stereo
image. What is synthesised is the difference that the gains make, and it is added to the delayed sound: with `strength` 0 every
bit of the input comes through.

The steps of transform, network and inverse transform are spread evenly over the segments between two spectra.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import fft, noise_gain, resident, suppressor
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.scalar import DB_PER_OCTAVE, OCTAVES_PER_DB, exp2
from autovoice.dsp.stage import SEGMENT, Param
from autovoice.dsp.suppressor import BANDS, UNITS
from autovoice.dsp.toolchain import numba

carray = numba.carray

PARAMETERS = (
    Param("strength", "", 0.0, 1.0, 0.6, help="share of what is found best, in dB; 0 = untouched"),
    Param("reduction", "dB", 0.0, 60.0, 20.0, help="how much it lowers at most, whatever the strength"),
    Param("smoothing", "ms", 0.0, 200.0, 5.0, help="time constant of the bands' gains going down"),
)

WINDOW_S = 0.0213  # of the analysis: the nearest power of 2 is taken
HOP_S = 0.00267  # the nearest whole number of segments
SYNTHESIS_S = 0.008  # what is synthesised of each window
LONGEST_DELAY_S = 0.01  # kept from 16 kHz on
SETTLE_S = 0.5
TASKS = UNITS + 6  # of a hop, beside the steps of the two transforms
SHORTEST_MS = np.float32(1e-3)  # a smoothing of zero would divide by zero
LOG2_E = np.float32(np.log2(np.e))
ZERO, ONE = np.float32(0), np.float32(1)

STATE = [
    ("memory", "i8"),  # of each channel: input ring of 2 size, output ring of size, transform, gains of the bins
    ("analysis", "i8"),  # address of the window
    ("synthesis", "i8"),
    ("delay", "i8"),  # frames
    ("length", "i8"),  # of the synthesis window
    ("segments", "i8"),  # of a hop
    ("running", "i8"),  # 1 from the first whole hop on
    ("fft", fft.STATE),
    ("net", suppressor.STATE),  # in the first channel: of all of them
    ("bins", noise_gain.STATE),  # likewise
    ("gain", "f4", (BANDS,)),  # smoothed
]


def _layout(sample_rate: float) -> tuple[int, int, int]:
    """Return samples of the window, segments of a hop, and samples of the synthesis window."""
    size = 1 << min(max(round(np.log2(WINDOW_S * sample_rate)), 7), 12)
    segments = max(1, round(HOP_S * sample_rate / SEGMENT))
    within = int(LONGEST_DELAY_S * sample_rate) - SEGMENT * (segments - 1)
    length = min(round(SYNTHESIS_S * sample_rate), within) // 2 * 2
    return size, segments, max(length, 2 * SEGMENT * segments)


def latency(sample_rate: float) -> int:
    """Return the synthesis window and the time that the work is spread over: 448 frames at 48 kHz."""
    _, segments, length = _layout(sample_rate)
    return length + SEGMENT * (segments - 1)


def settle(sample_rate: float) -> int:
    """Return the frames in which the network gets to know the noise."""
    return round(SETTLE_S * sample_rate)


def memory(sample_rate: float) -> int:
    """Return the float32 values of two rings, a transform and the gains."""
    size = _layout(sample_rate)[0]
    return 3 * size + fft.values(size) + noise_gain.values(size)


def windows(size: int, hop: int, length: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the analysis window of `size` and the synthesis window of `length` frames.

    The product of the last `length` of the one and the other is a box of one hop smoothed by a Hann window: the sum of its
    copies at every hop is 1. The analysis window shares the falling half of that product evenly, and rises slowly before.
    """
    product = np.convolve(np.ones(hop), np.hanning(length - hop + 2)[1:-1])
    product = np.pad(product, (0, length - len(product))) * hop / product.sum()
    half = length // 2
    rise = size - half
    falling = np.sqrt(product[half:] / product[half:].max())
    analysis = np.concatenate([np.sin(np.pi / 2 * (np.arange(rise) + 0.5) / rise), falling])
    return analysis, product / np.maximum(analysis[-length:], 1e-9)


@cache
def _windows(size: int, hop: int, length: int) -> tuple[np.ndarray[Any, Any], int, int]:
    analysis, synthesis = windows(size, hop, length)
    return analysis, resident.keep(analysis.astype(np.float32)), resident.keep(synthesis.astype(np.float32))


def prepare(state: Any, sample_rate: float) -> None:
    """Lay out windows, transforms and network."""
    size, segments, length = _layout(sample_rate)
    window, state["analysis"], state["synthesis"] = _windows(size, SEGMENT * segments, length)
    state["segments"], state["length"], state["delay"] = segments, length, latency(sample_rate)
    fft.plan(state["fft"], size, state["memory"] + 12 * size)
    suppressor.plan(state["net"], size, sample_rate, window)
    hop_s = SEGMENT * segments / sample_rate
    noise_gain.plan(state["bins"], size, hop_s, state["memory"] + 12 * size + 4 * fft.values(size))
    state["gain"] = 1


@helper
def _ring(s: Any, which: Any) -> Any:
    """View the ring of input, 2 size frames, or of what is added to it, size frames."""
    size = s.fft.size
    if which == 0:
        return carray(as_pointer(s.memory), (2 * size,), np.float32)
    return carray(as_pointer(s.memory + 8 * size), (size,), np.float32)


@helper
def _load(s: Any, end: Any) -> None:
    """Take the window that ends before frame `end`, for the transform."""
    size = s.fft.size
    ring, signal = _ring(s, 0), fft.signal(s.fft)
    window = carray(as_pointer(s.analysis), (size,), np.float32)
    at = (end - size) & (2 * size - 1)
    first = min(size, 2 * size - at)
    for i in range(first):
        signal[i] = window[i] * ring[at + i]
    for i in range(first, size):
        signal[i] = window[i] * ring[at - 2 * size + i]


@helper
def _smooth(s: Any, p: Any, block: Any) -> None:
    """Let the gains of the bands rise at once and fall slowly."""
    hop_ms = np.float32(SEGMENT * s.segments * 1000.0 / block.sample_rate)
    fall = ONE - exp2(-LOG2_E * hop_ms / max(p.smoothing[0], SHORTEST_MS))
    for b in range(BANDS):
        g = s.net.gain[b]
        s.gain[b] += (ONE if g > s.gain[b] else fall) * (g - s.gain[b])


@helper
def _decide(s: Any, p: Any, block: Any) -> None:
    """Find the gain of each bin, and post their mean."""
    octaves = noise_gain.judge(s.bins, -p.reduction[0] * OCTAVES_PER_DB, p.strength[0])
    block.post.denoise_db = suppressor.mean_over_bands(s.net, octaves) * DB_PER_OCTAVE
    noise_gain.to_linear(s.bins)


@helper
def _overlap(s: Any, end: Any) -> None:
    """Add the end of the inverse transform to what will be heard."""
    size, length = s.fft.size, s.length
    ring, signal = _ring(s, 1), fft.signal(s.fft)
    window = carray(as_pointer(s.synthesis), (length,), np.float32)
    at = (end - length) & (size - 1)
    first = min(length, size - at)
    start = size - length
    for i in range(first):
        ring[at + i] += window[i] * signal[start + i]
    for i in range(first, length):
        ring[at - size + i] += window[i] * signal[start + i]


@helper
def _work(s: Any, p: Any, task: Any, end: Any, block: Any) -> None:
    """Do one of the tasks of the hop whose window ends before frame `end`."""
    head = s[0]
    steps = head.fft.steps
    if task == 0:
        for c in range(block.channels):
            _load(s[c], end)
    elif task <= steps:
        for c in range(block.channels):
            fft.forward(s[c].fft, task - 1)
    elif task == steps + 1:
        suppressor.clear(head.net)
        for c in range(block.channels):
            re, im = fft.bins(s[c].fft)
            noise_gain.take(head.bins, re, im, c == 0)
            suppressor.add_power(head.net, re, im)
    elif task <= steps + 1 + UNITS:
        suppressor.advance(head.net, task - steps - 2, block.channels)
    elif task == steps + UNITS + 2:
        _smooth(head, p, block)
        noise_gain.learn(head.bins, head.net, head.gain)
    elif task == steps + UNITS + 3:
        _decide(head, p, block)
    elif task == steps + UNITS + 4:
        for c in range(block.channels):
            re, im = fft.bins(s[c].fft)
            noise_gain.apply(head.bins, re, im)
    elif task < TASKS + 2 * steps - 1:
        for c in range(block.channels):
            fft.inverse(s[c].fft, task - steps - UNITS - 5)
    else:
        for c in range(block.channels):
            _overlap(s[c], end)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """At the start of a segment do its share of the work of the hop; then delay, and add what the gains change."""
    head = s[0]
    if block.frame % SEGMENT == 0:
        number = block.frame // SEGMENT
        part = number % head.segments
        if part == 0 and not head.running:
            head.running = 1
            window = head.fft.size // (SEGMENT * head.segments)
            noise_gain.begin(head.bins, window)
            suppressor.begin(head.net, window)
        if head.running:
            tasks = TASKS + 2 * head.fft.steps
            first, last = tasks * part // head.segments, tasks * (part + 1) // head.segments
            for task in range(first, last):
                _work(s, p, task, block.frame - SEGMENT * part, block)
    inside, outside = 2 * head.fft.size - 1, head.fft.size - 1
    for c in range(block.channels):
        sound, change = _ring(s[c], 0), _ring(s[c], 1)
        at, then = block.frame & inside, block.frame - head.delay
        for i in range(block.frames):
            sound[at + i] = x[c, i]
        for i in range(block.frames):
            x[c, i] = sound[(then + i) & inside] + change[(then + i) & outside]
            change[(then + i) & outside] = ZERO
