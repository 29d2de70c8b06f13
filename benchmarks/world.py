"""Voices whose pitch is known, because it was put there: WORLD's analysis of a voice, resynthesised on a given f0 curve.

The method of Salamon et al. (2017), An analysis/synthesis framework for automatic f0 annotation of multitrack datasets: what a
tracker finds in a recording is only an estimate, but a voice synthesised from that estimate has exactly that pitch. WORLD
(Morise et al. 2016) supplies f0 (Harvest), envelope (CheapTrick), aperiodicity (D4C) and synthesis. A frame counts as voiced
only where DIO with StoneMask, another method and no peer of ours, agrees with Harvest, in runs of 40 ms or more; all else is
made noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]

PERIOD_MS = 1.0  # of every curve
FLOOR_HZ, CEILING_HZ = 50.0, 1100.0
SPOKEN_CEILING_HZ = 600.0
AGREEMENT_CENTS = 50.0
SHORTEST_RUN_MS = 40
NOISE = 1.0 - 1e-9  # aperiodicity of what is made unvoiced
SEMITONE = 1 / 12  # octaves
PORTAMENTO_MS = (60, 150)
NOTE_MS = (450, 1500)
VIBRATO_HZ, VIBRATO_CENTS = (4.0, 8.0), (20.0, 200.0)
VIBRATO_ONSET_MS = 150  # before it starts, and again over which it swells
SLOWING = 0.4  # speed at which sung vowels walk through the spoken ones
LONGEST_REST_MS = 120


@dataclass(frozen=True)
class Analysis:
    """A voice taken apart, one row per PERIOD_MS."""

    f0_hz: Array  # (rows,), 0 = unvoiced
    envelope: Array  # (rows, bins), power
    aperiodicity: Array  # (rows, bins)
    sample_rate: int

    def take(self, rows: Array) -> Analysis:
        """Return the analysis of other rows, in that order."""
        return Analysis(self.f0_hz[rows], self.envelope[rows], self.aperiodicity[rows], self.sample_rate)


@dataclass(frozen=True)
class Line:
    """A sung line, one row per PERIOD_MS."""

    f0_hz: Array  # sung, 0 = unvoiced
    note: Array  # the MIDI note meant, whole numbers
    vibrato_hz: Array  # rate, 0 = none
    vibrato_cents: Array  # extent, from the middle to the peak


def analyse(sound: Array, sample_rate: int, ceiling_hz: float = SPOKEN_CEILING_HZ) -> Analysis:
    """Take a voice of shape (frames,) apart; frames on which two trackers disagree come back unvoiced."""
    world = _world()
    x = sound.astype(np.float64)
    f0, times = world.harvest(x, sample_rate, f0_floor=FLOOR_HZ, f0_ceil=ceiling_hz, frame_period=PERIOD_MS)
    other, _ = world.dio(x, sample_rate, f0_floor=FLOOR_HZ, f0_ceil=ceiling_hz, frame_period=PERIOD_MS)
    other = world.stonemask(x, other, times, sample_rate)
    size = world.get_cheaptrick_fft_size(sample_rate, FLOOR_HZ)
    envelope = world.cheaptrick(x, f0, times, sample_rate, f0_floor=FLOOR_HZ, fft_size=size)
    aperiodicity = world.d4c(x, f0, times, sample_rate, fft_size=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        agreed = (f0 > 0) & (other > 0) & (np.abs(1200 * np.log2(other / f0)) < AGREEMENT_CENTS)
    f0 = np.where(_long_runs(agreed, round(SHORTEST_RUN_MS / PERIOD_MS)), f0, 0.0)
    aperiodicity[f0 == 0] = NOISE
    return Analysis(f0, envelope, aperiodicity, sample_rate)


def synthesise(voice: Analysis, f0_hz: Array | None = None) -> Array:
    """Put a voice together again, on another f0 curve if one is given; float32 of shape (frames,)."""
    curve = voice.f0_hz if f0_hz is None else f0_hz
    rows = [np.ascontiguousarray(part, np.float64) for part in (curve, voice.envelope, voice.aperiodicity)]
    return np.asarray(_world().synthesize(*rows, voice.sample_rate, PERIOD_MS), np.float32)


def deepen(voice: Analysis, median_hz: float, low_hz: float, high_hz: float) -> Array:
    """Return the voice's f0 curve, moved to a median and folded into a range."""
    voiced = voice.f0_hz > 0
    octaves = np.log2(np.where(voiced, voice.f0_hz, 1.0) / np.median(voice.f0_hz[voiced])) + np.log2(median_hz)
    return np.where(voiced, 2 ** np.clip(octaves, np.log2(low_hz), np.log2(high_hz)), 0.0)


def sing(voice: Analysis, low_hz: float, high_hz: float, detune_cents: float, seed: int) -> tuple[Analysis, Line]:
    """Turn a spoken voice into a singer: slower vowels, shorter rests, and a melody with portamento and vibrato.

    Each note is off by up to `detune_cents` either way. Consonants keep their speed and stay unvoiced.
    """
    random = np.random.default_rng(seed)
    stretched = voice.take(_sung_rows(voice.f0_hz > 0))
    count = len(stretched.f0_hz)
    octave, note, rate, extent = (np.zeros(count) for _ in range(4))
    lowest, highest = (int(edge) for edge in np.round(69 + 12 * np.log2(np.array([low_hz, high_hz]) / 440)))
    pitch, start = int(random.integers(lowest, highest + 1)), 0
    while start < count:
        end = min(start + int(random.uniform(*NOTE_MS) / PERIOD_MS), count)
        octave[start:end] = (pitch - 69) * SEMITONE + random.uniform(-detune_cents, detune_cents) / 1200
        note[start:end] = pitch
        onset = start + round(VIBRATO_ONSET_MS / PERIOD_MS)
        rate[onset:end] = random.uniform(*VIBRATO_HZ)
        extent[onset:end] = np.exp(random.uniform(*np.log(VIBRATO_CENTS)))
        step = random.choice([-7, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 7])
        pitch += int(step if lowest <= pitch + step <= highest else -step)
        pitch = min(max(pitch, lowest), highest)
        start = end
    glide = np.hanning(round(random.uniform(*PORTAMENTO_MS) / PERIOD_MS) + 2)
    swell = np.hanning(2 * round(VIBRATO_ONSET_MS / PERIOD_MS))
    turns = np.cumsum(rate) * PERIOD_MS / 1000
    extent = _smooth(extent, swell)
    swing = extent / 1200 * np.sin(2 * np.pi * turns)
    drift = _smooth(random.standard_normal(count), np.hanning(60))
    octave = _smooth(octave, glide) + swing + 3 / 1200 * drift / drift.std()
    f0 = np.clip(440 * 2**octave, FLOOR_HZ, CEILING_HZ)
    return stretched, Line(np.where(stretched.f0_hz > 0, f0, 0.0), note, rate, extent)


def _sung_rows(voiced: Array) -> Array:
    """Return which spoken row each sung one is taken from."""
    edges = np.flatnonzero(np.diff(voiced.astype(int), prepend=0, append=0))
    rows: list[Array] = []
    at = 0
    for start, end in [*edges.reshape(-1, 2), (len(voiced), len(voiced))]:
        rest = np.arange(at, start)
        limit = round(LONGEST_REST_MS / PERIOD_MS)
        rows.append(rest if len(rest) <= limit else np.concatenate([rest[: limit // 2], rest[-limit // 2 :]]))
        rows.append(np.arange(start, end, SLOWING).astype(int))
        at = end
    return np.concatenate(rows)


def _long_runs(mask: Array, shortest: int) -> Array:
    """Return the mask without its runs shorter than `shortest`."""
    kept = mask.copy()
    for start, end in np.flatnonzero(np.diff(mask.astype(int), prepend=0, append=0)).reshape(-1, 2):
        kept[start:end] = end - start >= shortest
    return kept


def _smooth(curve: Array, window: Array) -> Array:
    """Convolve with a window of sum 1; the ends are continued."""
    half = len(window) // 2
    return np.convolve(np.pad(curve, (half, len(window) - 1 - half), "edge"), window / window.sum(), "valid")


def _world() -> Any:
    return pytest.importorskip("pyworld", reason="pitch truth needs pip install pyworld==0.3.5 'setuptools<81'")
