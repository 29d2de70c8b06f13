"""What could be done without a model: our `shift` stage alone, and WORLD with its envelope mapped.

Both know the whole source beforehand, which no live converter does: its median pitch, and for WORLD its mean envelope.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np
from autovoice.tools.quality import judges, material, pitch
from autovoice.tools.quality.converters import Converted
from autovoice.tools.quality.material import RATE
from autovoice.tools.quality.signal import Array, resample

SHIFT_RATE = 48_000  # Hz
FORMANT_PER_PITCH = 0.39  # semitones of formants for one of pitch: fitted to 288 pairs of training voices, correlation 0.89
MOST_SEMITONES, MOST_FORMANT = 24.0, 12.0  # of the stage
PERIOD_MS = 5.0
SMOOTHING_HZ = 200.0  # of the mapping: broad colour, not harmonics


@cache
def target_hz(target: str) -> float:
    """Return the geometric mean of the medians of a target's references."""
    return float(
        np.exp(np.mean([np.log(pitch.melody(sound, RATE, target).median_hz()) for sound in material.references(target)]))
    )


def shift(source: Array, rate: int, target: str) -> Converted:
    """Shift the pitch to the target's median, and the formants by FORMANT_PER_PITCH of that."""
    from autovoice.rt import Chain

    steps = 12 * np.log2(target_hz(target) / pitch.melody(source, rate, "source").median_hz())
    semitones = float(np.clip(steps, -MOST_SEMITONES, MOST_SEMITONES))
    formant = float(np.clip(FORMANT_PER_PITCH * steps, -MOST_FORMANT, MOST_FORMANT))
    chain = Chain([{"stage": "shift", "semitones": semitones, "formant": formant}])
    sound = resample(source, rate, SHIFT_RATE)
    begun = time.process_time()
    wet = chain.render(sound, sample_rate=SHIFT_RATE, compensate=False)
    seconds = time.process_time() - begun
    return resample(wet, SHIFT_RATE, rate)[: len(source)], chain.latency(SHIFT_RATE) / SHIFT_RATE, seconds


def world(source: Array, rate: int, target: str) -> Converted:
    """Resynthesise with WORLD: pitch at the target's median, the mean log envelope of voiced and of other frames the target's.

    M. Morise, F. Yokomori and K. Ozawa, "WORLD", IEICE Trans. E99-D(7), 2016. The whole file is analysed: no delay is declared.
    """
    engine = judges.world()
    begun = time.process_time()
    f0, envelope, aperiodicity = analysis(resample(source, rate, RATE))
    wanted = _means(target)
    voiced = f0 > 0
    log_envelope = np.log(envelope)
    for which, mean in ((voiced, wanted[0]), (~voiced, wanted[1])):
        if which.any():
            log_envelope[which] += mean - _colour(log_envelope[which])
    moved = np.where(voiced, f0 * target_hz(target) / np.median(f0[voiced]), 0.0)
    sound = engine.synthesize(moved, np.exp(log_envelope), aperiodicity, RATE, PERIOD_MS)
    seconds = time.process_time() - begun
    return resample(sound.astype(np.float32), RATE, rate)[: len(source)], 0.0, seconds


def analysis(sound: Array) -> tuple[Array, Array, Array]:
    """Return f0, power envelope and aperiodicity, one row every PERIOD_MS; f0 is 0 where D4C finds no voice."""
    engine = judges.world()
    x = np.ascontiguousarray(sound, np.float64)
    f0, times = engine.harvest(x, RATE, f0_floor=pitch.FLOOR_HZ, f0_ceil=pitch.CEILING_HZ, frame_period=PERIOD_MS)
    size = engine.get_cheaptrick_fft_size(RATE, pitch.FLOOR_HZ)
    envelope = engine.cheaptrick(x, f0, times, RATE, f0_floor=pitch.FLOOR_HZ, fft_size=size)
    aperiodicity = engine.d4c(x, f0, times, RATE, fft_size=size)
    return np.where(aperiodicity[:, 0] < pitch.UNVOICED_APERIODICITY, f0, 0.0), envelope, aperiodicity


def _colour(log_envelope: Array) -> Array:
    """Return the mean log envelope of the louder half of the rows, smoothed over SMOOTHING_HZ."""
    level = log_envelope.mean(1)
    mean = log_envelope[level >= np.median(level)].mean(0)
    width = max(3, round(SMOOTHING_HZ / (RATE / 2 / (len(mean) - 1))) | 1)
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(mean, width // 2, "edge"), window / window.sum(), "valid")


@cache
def _means(target: str) -> tuple[Array, Array]:
    """Return a target's mean log envelopes, of voiced frames and of the others."""
    parts = [analysis(sound) for sound in material.references(target)]
    f0 = np.concatenate([part[0] for part in parts])
    log_envelope = np.log(np.concatenate([part[1] for part in parts]))
    return _colour(log_envelope[f0 > 0]), _colour(log_envelope[f0 == 0])
