"""The converter over a whole recording in plain NumPy: what the stage `convert` must do, written the obvious way.

It shares definitions and weights with the stage and with the torch module, and none of their code. Layers are computed over all
frames at once, filters over all bins, phases by a sum: tests hold stage and torch module to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.dsp import fft
from autovoice.dsp.converter import features, weights
from autovoice.dsp.converter.features import HARMONIC, NOISE, REFERENCE_HZ
from autovoice.dsp.converter.melody import earlier
from autovoice.dsp.converter.program import DECODER, ENCODER, KERNEL, LOOKAHEADS, program
from autovoice.dsp.converter.tables import hann, highest_hz, sizes, tables
from scipy.ndimage import gaussian_filter1d

Array = np.ndarray[Any, np.dtype[Any]]

LOWEST, HIGHEST = -14.0, 2.0  # natural logarithm of a magnitude
USUAL_LEVEL, LEVEL_PRIOR, LEVEL_HOPS = -4.6, 20, 500
LOUDER, QUIETER, SURE = 2.3, -4.6, 0.5
QUIET = 1e-3  # added to the mean square of a frame's channels
DB_PER_VALUE = 10 / np.log(10) * features.SPREAD  # of a band
DOUBT, MOST, FIRM, SOFTEST_DB, LOUD_DB = 0.35, 1.7, 1.2, -24.0, -14.0  # see `autovoice.dsp.converter.fidelity`
PRIOR, MEMORY = 20, 300  # hops


@dataclass(frozen=True, slots=True)
class Melody:
    """Decisions of a tracker: the frames they speak of, log2 of the pitch in Hz, held where there is no voice, and voicing."""

    frames: Array
    pitch: Array
    voicing: Array

    @classmethod
    def of(cls, frames: Array, f0_hz: Array, voicing: Array) -> Melody:
        """Take what `Chain.analyse` found, the frames rounded to whole ones; what comes before the first is the reference."""
        return cls(frames, np.log2(features.held(f0_hz.astype(np.float64))), voicing)

    def heard(self, frames: Array) -> tuple[Array, Array]:
        """Return pitch and voicing of the newest decision up to each frame."""
        number = np.searchsorted(self.frames, frames, "right") - 1
        known = number >= 0
        pitch = np.where(known, self.pitch[number], np.log2(REFERENCE_HZ))
        return pitch, np.where(known, self.voicing[number], 0.0)

    def curve(self, frames: Array) -> Array:
        """Return the pitch at each frame, drawn straight between decisions."""
        return np.asarray(np.interp(frames, self.frames, self.pitch, left=np.log2(REFERENCE_HZ)))


def network(w: dict[str, Array], x: Array, mode: str, speaker: Array, pitch: Array) -> Array:
    """Return the envelopes (frames, HARMONIC + NOISE) for features (frames, INPUTS) and pitches in octaves, (frames,)."""
    return np.asarray(np.clip(decode(w, encode(w, x, mode), speaker, pitch)[0], LOWEST, HIGHEST))


def encode(w: dict[str, Array], x: Array, mode: str) -> Array:
    """Return what is said, (frames, CHANNELS)."""
    h = x @ w["inputs.weight"].T + w["inputs.bias"] + w["lookahead.weight"][list(LOOKAHEADS).index(mode)]
    for number, dilation in enumerate(ENCODER):
        h = _block(w, f"encoder.{number}", dilation, h)
    return np.asarray(h)


def decode(w: dict[str, Array], h: Array, speaker: Array, pitch: Array) -> tuple[Array, Array]:
    """Return the envelopes, not bounded yet, and the bands (frames, MELS) that would be heard of them."""
    embedded = speaker @ w["speaker.weight"].T + w["speaker.bias"]
    film = (embedded / (1 + np.exp(-embedded))) @ w["film.weight"].T + w["film.bias"]
    h = h + pitch[:, None] * w["pitch.weight"][:, 0] + w["pitch.bias"]
    for number, (dilation, own) in enumerate(zip(DECODER, np.split(film, len(DECODER)), strict=True)):
        h = _block(w, f"decoder.{number}", dilation, h, *np.split(own, 2))
    envelopes, bands = (h @ w[f"{name}.weight"].T + w[f"{name}.bias"] for name in ("outputs", "bands"))
    return np.asarray(envelopes), np.asarray(bands)


def missed(heard: Array, expected: Array, octaves: float, strength: float = 1.0) -> Array:
    """Return what to add to envelopes, (frames, HARMONIC + NOISE), for bands (frames, MELS) heard and expected of a singer.

    Rows are the frames that are drawn, the first the one that is drawn with the first hop. octaves: how much higher the
    resonances of the voice that is drawn lie than the singer's.
    """
    level = DB_PER_VALUE * heard.mean(1)
    weight = np.clip((level - SOFTEST_DB) / (LOUD_DB - SOFTEST_DB), 0, 1)
    off = (heard - expected) * features.SPREAD / 2
    mean, count, left = np.zeros(features.MELS), PRIOR, []
    for row, loud in zip(off, weight >= 1, strict=True):
        count += loud
        mean = mean + loud * (row - mean) / min(count, MEMORY)
        left.append(row - mean)
    smooth = gaussian_filter1d(np.array(left), 2.0, axis=1, mode="nearest")
    beyond = FIRM * np.sign(smooth) * np.clip(np.abs(smooth) - DOUBT, 0, MOST)
    centres = np.linspace(features.mel(features.LOWEST_HZ), features.mel(features.HIGHEST_HZ), features.MELS + 2)[1:-1]
    drawn = np.concatenate([np.linspace(0, features.mel(features.TOP_HZ), count) for count in (HARMONIC, NOISE)])
    lower = features.mel(features.hertz(drawn) / 2**octaves)
    rows = np.stack([np.interp(lower, centres, row) for row in beyond])
    return np.asarray(strength * weight[:, None] * rows)


def _block(w: dict[str, Array], name: str, dilation: int, h: Array, scale: Any = 0.0, shift: Any = 0.0) -> Array:
    reach = (KERNEL - 1) * dilation
    past = np.pad(h, ((reach, 0), (0, 0)))
    taps = w[f"{name}.depthwise.weight"][:, 0]
    y = sum(past[k * dilation : k * dilation + len(h)] * taps[:, k] for k in range(KERNEL)) + w[f"{name}.depthwise.bias"]
    y = y / np.sqrt((y**2).mean(1, keepdims=True) + QUIET) * (1 + scale) + shift
    a, b = np.split(y @ w[f"{name}.gate.weight"].T + w[f"{name}.gate.bias"], 2, axis=1)
    return np.asarray(h + (a / (1 + np.exp(-b))) @ w[f"{name}.out.weight"].T + w[f"{name}.out.bias"])


def pulses(f0_hz: Array, sample_rate: float) -> Array:
    """Return the sum of all cosines of unit amplitude at multiples of f0 up to the highest harmonic, (samples,)."""
    turns = np.cumsum(f0_hz / sample_rate)
    half = np.pi * (turns - np.round(turns))
    odd = 2 * np.floor(highest_hz(sample_rate) / f0_hz) + 1
    low = np.sin(half)
    safe = np.where(np.abs(low) < 1e-6, 1e-6, low)
    return np.asarray((np.where(np.abs(low) < 1e-6, odd, np.sin(odd * half) / safe) - 1) / 2)


def hiss(first: int, count: int) -> Array:
    """Return the noise of variance 1 that belongs to absolute frames `first` ...: see `autovoice.dsp.carriers.noise_at`."""
    h = np.arange(first, first + count, dtype=np.int64).astype(np.uint32)
    for _ in range(2):
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x45D9F3B)
    return np.asarray((h ^ (h >> np.uint32(16))).astype(np.int32) * (np.sqrt(3) / 2**31))


def synthesise(envelopes: Array, excitations: tuple[Array, Array], sample_rate: float) -> Array:
    """Return the sound of frames 0..T - 1, ((T + 1) hop + tail,), which begins a hop before the centre of frame 0.

    envelopes: (T, HARMONIC + NOISE); excitations, pulses and noise: ((T + 1) hop,) each, from the same moment on.
    """
    hop, size = sizes(sample_rate)
    out = np.zeros((len(envelopes) - 1) * hop + size)
    responses = []
    for count, drawn in ((HARMONIC, envelopes[:, :HARMONIC]), (NOISE, envelopes[:, HARMONIC:])):
        magnitude, phase = (features.at_bins(rows, sample_rate) for rows in features.response(count))
        responses.append(np.exp(drawn @ magnitude.T + 1j * (drawn @ phase.T)))
    for k in range(len(envelopes)):
        spectrum = np.zeros(size // 2 + 1, complex)
        for response, excitation in zip(responses, excitations, strict=True):
            frame = excitation[k * hop : (k + 2) * hop] * hann(hop)
            spectrum[: response.shape[1]] += np.fft.rfft(frame, size)[: response.shape[1]] * response[k]
        out[k * hop : k * hop + size] += np.fft.irfft(spectrum, size)
    return out


def apart_from_usual(power: Array, voicing: Array) -> Array:
    """Return for each hop how far the mean level of the voice before it is from the usual one, natural logarithm, bounded."""
    mean, count = USUAL_LEVEL, LEVEL_PRIOR
    found = []
    for level, voiced in zip(0.5 * np.log(power + features.FLOOR), voicing, strict=True):
        found.append(mean - USUAL_LEVEL)
        if voiced > SURE:
            count += 1
            mean += (level - mean) / min(count, LEVEL_HOPS)
    return np.clip(found, QUIETER, LOUDER)


def rounded(w: dict[str, Array]) -> dict[str, Array]:
    """Return the weights as the stage computes with them: matrices as whole numbers times a scale for each row."""
    exact = ("pitch.weight", "lookahead.weight")
    return {name: weights.rounded(values) if values.ndim == 2 and name not in exact else values for name, values in w.items()}


def convert(
    sound: Array,
    melody: Melody,
    speaker: Array,
    *,
    sample_rate: float,
    mode: str = "balanced",
    octaves: float = 0.0,
    singer: Array | None = None,
    w: dict[str, Array] | None = None,
) -> Array:
    """Return a recording (frames,) in another voice, aligned with it; `octaves` is how far its pitch is moved.

    speaker: 128 values as the network takes them; singer: those of who is heard, where that is known.
    """
    w = rounded(weights.tensors()) if w is None else w
    hop, size = sizes(sample_rate)
    ahead = LOOKAHEADS[mode]
    late = program(hop, fft.steps(size), tables(sample_rate).tiles, mode).late
    seen = features.bands(sound, sample_rate)
    hops = np.arange(len(seen))
    known = (hops + 1) * hop - round(features.TRACKED_S * sample_rate)
    heard, voicing = melody.heard(known)
    power = np.exp(features.SPREAD * seen.astype(np.float64) + features.CENTRE) - features.FLOOR
    apart = apart_from_usual(power.mean(1), voicing)
    seen = features.scaled(power * np.exp(-2 * apart)[:, None])
    x = np.concatenate([seen, (heard - np.log2(REFERENCE_HZ))[:, None], voicing[:, None]], 1)
    centres = (hops + 1 - ahead) * hop
    pitch = melody.curve(np.minimum(centres, known)) + octaves - np.log2(REFERENCE_HZ)
    said = encode(w, x.astype(np.float64), mode)
    envelopes = decode(w, said, speaker, pitch)[0]
    if singer is not None:
        heard_then = seen[np.maximum(hops + 1 - ahead, 0)] * (hops + 1 >= ahead)[:, None]
        longer = float((speaker - singer) @ w["tract.weight"])
        envelopes = envelopes + missed(heard_then, decode(w, said, singer, pitch - octaves)[1], longer)
    envelopes = np.clip(envelopes, LOWEST, HIGHEST) + apart[:, None]
    older = earlier(sample_rate, hop, ahead, late)
    start = int(centres[0])  # pulses begin with the centre of the first frame, noise has always been there
    places = np.arange(start, start + len(seen) * hop)
    f0_hz = np.exp2(melody.curve(places - older) + octaves)
    train = np.concatenate([np.zeros(hop), pulses(f0_hz, sample_rate)])
    noise = hiss(start - hop, (len(seen) + 1) * hop)
    heard_from = start - hop
    out = synthesise(envelopes, (train, noise), sample_rate)
    out = out[-heard_from:] if heard_from < 0 else np.pad(out, (heard_from, 0))
    return np.asarray(out[: len(sound)], np.float32)
