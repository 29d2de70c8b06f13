"""What the measures share: resampling, levels, loudness contours, mel spectra and the delay between two sounds."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from scipy.fft import dct
from scipy.signal import fftconvolve, resample_poly

Array = np.ndarray[Any, np.dtype[Any]]

JUDGED_RATE = 16_000  # Hz; what every judge listens at
CONTOUR_RATE = 1_000  # Hz, of loudness contours
CONTOUR_S = 0.02  # width of the Hann window that smooths them
EARLIEST_S, LATEST_S = -0.1, 0.6  # between which a delay is looked for
MEL_WINDOW_S, MEL_HOP_S, MEL_BANDS = 0.025, 0.01, 40
CEPSTRA = 13  # of the mel cepstrum, without the level
CONTRAST_DB = 40.0  # below the loudest: where a spectrum counts as silent
ACTIVE_DB = -30.0  # a frame is active above this, relative to the loud ones


def resample(sound: Array, rate: int, wanted: int) -> Array:
    """Return a sound at another rate, float32, by a polyphase FIR (scipy's resample_poly)."""
    if rate == wanted:
        return np.asarray(sound, np.float32)
    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(sound, wanted // common, rate // common), np.float32)


def levelled(sound: Array, dbfs: float = -26.0) -> Array:
    """Return a sound whose active parts have this RMS level, softer where its peaks would pass full scale."""
    gain = 10 ** ((dbfs - active_dbfs(sound)) / 20)
    return np.asarray(sound * min(gain, 0.99 / float(np.abs(sound).max())), np.float32)


def frame_power(sound: Array, rate: int, hop_s: float = MEL_HOP_S) -> Array:
    """Return the mean square of each hop, shape (hops,)."""
    size = round(hop_s * rate)
    return np.asarray(np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1))


def active(sound: Array, rate: int) -> Array:
    """Return which 10 ms hops are speech: within 30 dB of the mean of the loud ones, as a fixed point (after ITU-T P.56)."""
    power = frame_power(sound, rate) + 1e-12
    loud = power > power.max() * 1e-5
    for _ in range(8):
        loud = power > power[loud].mean() * 10 ** (ACTIVE_DB / 10)
    return np.asarray(loud)


def active_dbfs(sound: Array) -> float:
    """Return the RMS level of the active parts; the hop is taken at JUDGED_RATE, which only sets its length."""
    power = frame_power(sound, JUDGED_RATE) + 1e-12
    return float(10 * np.log10(power[active(sound, JUDGED_RATE)].mean()))


def contour(sound: Array, rate: int) -> Array:
    """Return the loudness contour at CONTOUR_RATE: the magnitude under a Hann window, to the power 0.3 as loudness goes."""
    window = np.hanning(round(CONTOUR_S * rate))
    smooth = np.maximum(fftconvolve(np.abs(sound), window / window.sum(), "same"), 0.0)
    at = np.arange(0, len(sound), rate / CONTOUR_RATE)
    return np.asarray(np.interp(at, np.arange(len(sound)), smooth) ** 0.3)


def delay_s(source: Array, converted: Array, rate: int) -> float:
    """Return by how many seconds `converted` is later, from the normalised cross-correlation of the loudness contours.

    Between EARLIEST_S and LATEST_S; a parabola through the best point and its neighbours gives a fraction of a millisecond.
    """
    a, b = contour(source, rate), contour(converted, rate)
    a, b = (v - v.mean() for v in (a, b))
    score = fftconvolve(b, a[::-1])
    first = len(a) - 1 + round(EARLIEST_S * CONTOUR_RATE)
    last = len(a) - 1 + round(LATEST_S * CONTOUR_RATE)
    first, last = max(first, 0), min(last, len(score) - 1)
    best = first + int(np.argmax(score[first : last + 1]))
    part = 0.0
    if 0 < best < len(score) - 1:
        left, top, right = score[best - 1 : best + 2]
        part = 0.5 * (left - right) / (left - 2 * top + right) if left - 2 * top + right else 0.0
    return float(best + part - (len(a) - 1)) / CONTOUR_RATE


def undelayed(sound: Array, rate: int, seconds: float, frames: int) -> Array:
    """Return the sound that many seconds earlier, of so many frames, zeros where there is none."""
    late = round(seconds * rate)
    moved = sound[late:] if late >= 0 else np.concatenate([np.zeros(-late, sound.dtype), sound])
    return np.asarray(np.pad(moved, (0, max(0, frames - len(moved))))[:frames])


@cache
def mel_bank(rate: int, size: int, bands: int) -> Array:
    """Return triangular filters of equal area on Slaney's mel scale (Auditory Toolbox, 1998), shape (bands, size // 2 + 1)."""
    step, knee, slope = 200 / 3, 1000.0, np.log(6.4) / 27  # linear below 1 kHz, logarithmic above

    def to_hz(mel: Array) -> Array:
        return np.where(mel < knee / step, mel * step, knee * np.exp(slope * (mel - knee / step)))

    top = knee / step + np.log(rate / 2 / knee) / slope
    edges = to_hz(np.linspace(0.0, top, bands + 2))
    bins = np.arange(size // 2 + 1) * rate / size
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None])


def mel_power(sound: Array, rate: int, bands: int = MEL_BANDS) -> Array:
    """Return mel powers of Hann windows of 25 ms every 10 ms, centred at multiples of the hop; shape (hops, bands)."""
    size, hop = round(MEL_WINDOW_S * rate), round(MEL_HOP_S * rate)
    padded = np.pad(np.asarray(sound, np.float64), size // 2)
    window = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    return np.asarray(np.square(np.abs(np.fft.rfft(frames))) @ mel_bank(rate, size, bands).T)


def log_mel_db(sound: Array, rate: int) -> Array:
    """Return mel levels in dB, not deeper than CONTRAST_DB below the loudest; shape (hops, MEL_BANDS)."""
    power = mel_power(sound, rate)
    return np.asarray(10 * np.log10(np.maximum(power, power.max() * 10 ** (-CONTRAST_DB / 10))))


def mel_cepstra(sound: Array, rate: int) -> Array:
    """Return mel cepstra 1..CEPSTRA of natural log amplitudes, shape (hops, CEPSTRA)."""
    amplitude = log_mel_db(sound, rate) * (np.log(10) / 20)
    return np.asarray(dct(amplitude, type=2, norm="ortho", axis=1)[:, 1 : CEPSTRA + 1] * np.sqrt(2 / MEL_BANDS))
