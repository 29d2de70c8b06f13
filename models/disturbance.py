"""What stands between a voice and a converter that must not mind: the body, the room, the microphone, the line, the tracker.

A converter that is taught with one teacher's clean speech learns that speech, and hears people worse. So the examples of
training are disturbed before they are heard, while what is wanted of them stays as it is. What mixes waves (a room, noise, a
recording that was overloaded or coded) is done to the sound itself, so that its statistics are those of the real thing; what
is another body (the length of a vocal tract, how sharp its resonances are, how much of a treble it has) is done to the bands.
After D. S. Park et al., SpecAugment (Interspeech 2019), for what is masked, and T. Ko et al., A study on data augmentation of
reverberant speech (ICASSP 2017), for the rooms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp.converter.features import MELS, SPREAD, mel
from scipy import fft

Array = np.ndarray[Any, np.dtype[Any]]

ROOM, NOISY, OVERLOADED, CODED, SWELLS = 0.35, 0.7, 0.1, 0.15, 0.3  # shares of the examples
BODY, MASKED, TILTS, UNVOICED, OCTAVES, LOST = 0.8, 0.2, 0.3, 0.2, 0.1, 0.12
GAIN_DB = (-15.0, 8.0)
SNR_DB = (6.0, 50.0)
DECAY_S = (0.1, 0.6)  # of a room, by 60 dB
DIRECT_DB = (-2.0, 18.0)  # of what comes straight, above the room
CODE_SIZE = 512  # samples of a coder's transform
TREND = 4  # cosines over the bands that make up its broad shape


def gain_db(count: int, random: Any, per_s: float = 100.0) -> Array:
    """Return a level in dB at each of `count` frames: one for all, or one that swells up to 8 dB either way."""
    level = np.full(count, random.uniform(*GAIN_DB))
    if random.uniform() < SWELLS:
        knots = max(4, round(count / per_s * random.uniform(1.0, 8.0)))
        swell = np.interp(np.linspace(0, knots - 1, count), np.arange(knots), random.uniform(-1, 1, knots))
        level += random.uniform(2.0, 8.0) * swell
    return level


def heard(sound: Array, rms: float, rate: float, random: Any) -> Array:
    """Return a sound as a microphone in a room gives it, float32; `rms` is what the voice has where it speaks, more or less."""
    found: Array = np.asarray(sound, np.float32)
    if random.uniform() < ROOM:
        found = in_room(found, rate, random)
    if random.uniform() < NOISY:
        found = found + np.float32(rms * 10 ** (-random.uniform(*SNR_DB) / 20)) * noise(len(found), rate, random)
    if random.uniform() < OVERLOADED:
        limit = np.abs(found).max() / random.uniform(1.0, 4.0) + 1e-9
        found = np.asarray(limit * np.tanh(found / limit), np.float32)
    if random.uniform() < CODED:
        found = coded(found, rate, random)
    return np.asarray(found, np.float32)


def in_room(sound: Array, rate: float, random: Any) -> Array:
    """Return a sound with the echoes of a room: noise that decays, its treble sooner."""
    count = round(random.uniform(*DECAY_S) * rate)
    size = fft.next_fast_len(len(sound) + count, real=True)
    decay = 10 ** (-3 * np.arange(count) / count)
    echo = (random.standard_normal(count) * decay).astype(np.float32)
    echo[: round(random.uniform(0.001, 0.01) * rate)] = 0
    spectrum = fft.rfft(echo, size)
    spectrum /= np.sqrt(np.sum(echo**2)) * (1 + np.arange(len(spectrum)) * rate / size / random.uniform(2_000, 8_000))
    wet = 10 ** (-random.uniform(*DIRECT_DB) / 20)
    return np.asarray(fft.irfft(fft.rfft(sound, size) * (1 + wet * spectrum), size)[: len(sound)])


def noise(count: int, rate: float, random: Any) -> Array:
    """Return noise of a random colour, sometimes one that comes and goes, with the mean square 1."""
    size = fft.next_fast_len(count, real=True)
    frequencies = np.arange(size // 2 + 1) * rate / size
    colour_db = np.interp(mel(frequencies), np.linspace(0, mel(rate / 2), 6), random.normal(0, 6, 6))
    colour_db -= random.uniform(0, 6) * np.log2(np.maximum(frequencies, 60.0) / 60.0)
    spectrum = fft.rfft(random.standard_normal(size).astype(np.float32)) * (10 ** (colour_db / 20)).astype(np.float32)
    made = fft.irfft(spectrum, size)[:count]
    if random.uniform() < 0.3:
        knots = max(4, round(count / rate * random.uniform(1, 10)))
        made = made * 10 ** (np.interp(np.linspace(0, knots - 1, count), np.arange(knots), random.normal(0, 5, knots)) / 20)
    return np.asarray(made / np.sqrt(np.mean(made**2)), np.float32)


def coded(sound: Array, rate: float, random: Any) -> Array:
    """Return a sound as a coder with few bits leaves it: no treble, and holes in the spectrum beside what is loud."""
    hop = CODE_SIZE // 2
    window = np.sin(np.pi * (np.arange(CODE_SIZE) + 0.5) / CODE_SIZE).astype(np.float32)
    count = -(-len(sound) // hop) + 1
    padded = np.zeros((count + 1) * hop, np.float32)
    padded[hop : hop + len(sound)] = sound
    frames = np.lib.stride_tricks.sliding_window_view(padded, CODE_SIZE)[::hop]
    spectrum = fft.rfft(frames * window, axis=1)
    power_db = 10 * np.log10(np.abs(spectrum) ** 2 + 1e-9)
    near = np.lib.stride_tricks.sliding_window_view(np.pad(power_db, ((0, 0), (8, 8)), mode="edge"), 17, axis=1).max(-1)
    spectrum[power_db < near - random.uniform(12, 30)] = 0
    spectrum[:, np.arange(spectrum.shape[1]) * rate / CODE_SIZE > random.uniform(3_400, 11_000)] = 0
    pieces = fft.irfft(spectrum, axis=1) * window
    made = np.zeros_like(padded)
    for parity in (0, 1):  # pieces of one parity lie side by side
        row = pieces[parity::2].reshape(-1)
        made[parity * hop : parity * hop + len(row)] += row
    return made[hop : hop + len(sound)]


@cache
def _trend() -> Array:
    """Return cosines over the bands, orthonormal, (MELS, TREND): the broad shape of a spectrum without its level."""
    places = (np.arange(MELS) + 0.5) / MELS
    return np.asarray(np.sqrt(2 / MELS) * np.cos(np.pi * places[:, None] * np.arange(1, TREND + 1)))


def body(x: Array, random: Any) -> Array:
    """Return bands (frames, MELS), as the network takes them, as another body and microphone would have given them."""
    x = _microphone(np.asarray(x, np.float64), random)
    if random.uniform() < BODY:
        x = _sharpened(_warped(x, random), random)
    return np.asarray(x, np.float32)


def _microphone(x: Array, random: Any) -> Array:
    """Another response, a smooth one that stays, one that moves slowly, and now and then a dip."""
    count = len(x)
    response_db = np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 7), random.normal(0, 2.5, 7))
    response_db = response_db + np.linspace(0, random.normal(0, 3), MELS)
    if random.uniform() < TILTS:
        slope = np.interp(np.linspace(0, 3, count), np.arange(4), random.normal(0, 3, 4))
        response_db = response_db + slope[:, None] * np.linspace(-1, 1, MELS)
    if random.uniform() < MASKED:
        away = np.abs(np.arange(MELS) - random.uniform(0, MELS)) / random.uniform(2, 7)
        response_db = response_db - random.uniform(6, 25) * np.cos(np.pi / 2 * np.minimum(away, 1)) ** 2
    return np.asarray(x + response_db * np.log(10) / 10 / SPREAD)


def _warped(x: Array, random: Any) -> Array:
    """Another length of the vocal tract, and other proportions of it."""
    knots = np.linspace(0, MELS - 1, 5)
    moved = knots * random.uniform(0.87, 1.13) + np.concatenate([[0.0], random.normal(0, 1.2, 4)]) + random.uniform(-1, 1)
    places = np.clip(np.interp(np.arange(MELS), knots, moved), 0, MELS - 1)
    low = np.minimum(places.astype(int), MELS - 2)
    share = places - low
    return np.asarray(x[:, low] * (1 - share) + x[:, low + 1] * share)


def _sharpened(x: Array, random: Any) -> Array:
    """Resonances that are sharper or duller, and another balance of bass and treble."""
    mean = x.mean(1, keepdims=True)
    broad = (x - mean) @ _trend() @ _trend().T
    detail = x - mean - broad
    return np.asarray(
        mean + broad * np.exp(random.normal(0, 0.15)) + detail * np.clip(np.exp(random.normal(-0.1, 0.25)), 0.5, 1.5)
    )


def tracked(pitch: Array, voicing: Array, random: Any) -> tuple[Array, Array]:
    """Return a pitch in octaves and its voicing, (frames,) each, as a tracker gives them that errs now and then.

    Or, LOST, one that finds no pitch at all: who is hoarse, or has no tracker, is to be heard as well.
    """
    count = len(pitch)
    if random.uniform() < LOST:
        return np.full(count, pitch[0]), np.zeros(count)
    pitch = pitch + random.uniform(-0.25, 0.25) + 0.01 * random.standard_normal(count)
    if random.uniform() < OCTAVES:
        first, last = _stretch(count, random)
        pitch[first:last] += random.choice([-1.0, 1.0])
    if random.uniform() < UNVOICED:
        first, last = _stretch(count, random)
        pitch[first:last], voicing = pitch[first], voicing.copy()
        voicing[first:last] *= random.uniform(0.0, 0.5)
    return pitch, voicing


def _stretch(count: int, random: Any) -> tuple[int, int]:
    first = int(random.integers(count))
    return first, first + int(random.integers(4, 24))
