"""Harder sources: the validation utterances as other rooms, lines and bodies would give them, so that it shows who minds.

A trial is fixed, and none of the disturbances that training draws (`autovoice.models.disturbance`): bodies, for example, are
changed in bands there, and by WORLD here. A source keeps its text; what its listener loses of it already counts as the
source's own loss. The figures of a trial stand under its name in the report.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import soundfile
from autovoice.tools.quality import baselines, judges
from autovoice.tools.quality.material import RATE, Source
from autovoice.tools.quality.signal import Array, resample
from scipy.signal import fftconvolve

SNR_DB = 20.0
DECAY_S, DIRECT_DB, FIRST_S = 0.4, 6.0, 0.004  # of the room: by 60 dB, of what comes straight above the rest, first echo
LINE_RATE = 16_000  # Hz, of the coder
KNOTS_HZ = (0.0, 600.0, 2_500.0, 11_000.0, 12_000.0)
LONGER_HZ = (0.0, 530.0, 2_150.0, 10_300.0, 12_000.0)  # where a longer vocal tract has what was at KNOTS_HZ
SHORTER_HZ = (0.0, 690.0, 2_900.0, 11_900.0, 12_000.0)
FASTER, SLOWER, LOWER, BASS_HZ, DULLER = 1.3, 0.75, 0.75, 75.0, 0.7
CEPSTRUM = 60  # quefrencies, in samples at RATE, that make up the envelope
SHELF_DB, SHELF_HZ = -12.0, 1_500.0

Trial = Callable[[Array, np.random.Generator], Array]


def in_noise(sound: Array, random: np.random.Generator) -> Array:
    """Add pink noise, SNR_DB below the whole."""
    spectrum = np.fft.rfft(random.standard_normal(len(sound)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, len(sound))
    return np.asarray(sound + pink * (np.std(sound) / np.std(pink) * 10 ** (-SNR_DB / 20)))


def in_room(sound: Array, random: np.random.Generator) -> Array:
    """Convolve with noise that decays."""
    count = round(DECAY_S * RATE)
    echo = random.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    echo[: round(FIRST_S * RATE)] = 0
    echo *= 10 ** (-DIRECT_DB / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1
    return np.asarray(fftconvolve(sound, echo)[: len(sound)])


def coded(sound: Array, random: np.random.Generator) -> Array:
    """Send through MP3 at LINE_RATE, at a low rate of bits."""
    file = io.BytesIO()
    narrow = resample(sound, RATE, LINE_RATE)
    soundfile.write(file, narrow, LINE_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.8)
    file.seek(0)
    return resample(soundfile.read(file, dtype="float32")[0], LINE_RATE, RATE)


def dull(sound: Array, random: np.random.Generator) -> Array:
    """Play into a microphone that loses treble from SHELF_HZ on, SHELF_DB in the end."""
    spectrum = np.fft.rfft(sound)
    squares = (np.linspace(0, RATE / 2, len(spectrum)) / SHELF_HZ) ** 2
    return np.fft.irfft(spectrum * 10 ** (SHELF_DB / 20 * squares / (1 + squares)), len(sound))


def _by_world(
    *,
    moved_hz: tuple[float, ...] = KNOTS_HZ,
    speed: float = 1.0,
    pitch: float = 1.0,
    median_hz: float | None = None,
    contrast: float = 1.0,
) -> Trial:
    """Return a trial that takes a voice apart and puts it together as another body's; `median_hz` goes before `pitch`."""

    def trial(sound: Array, random: np.random.Generator) -> Array:
        f0, envelope, aperiodicity = baselines.analysis(sound)
        bins = np.linspace(0, RATE / 2, envelope.shape[1])
        asked = np.interp(bins, moved_hz, KNOTS_HZ)
        log_envelope = np.stack([np.interp(asked, bins, row) for row in np.log(envelope)])
        aperiodicity = np.stack([np.interp(asked, bins, row) for row in aperiodicity])
        if contrast != 1.0:
            cepstrum = np.fft.irfft(log_envelope, axis=1)
            cepstrum[:, 1:CEPSTRUM] *= contrast
            cepstrum[:, -CEPSTRUM + 1 :] *= contrast
            log_envelope = np.fft.rfft(cepstrum, axis=1).real
        period_ms = baselines.PERIOD_MS / speed
        ratio = median_hz / np.median(f0[f0 > 0]) if median_hz else pitch
        return np.asarray(judges.world().synthesize(ratio * f0, np.exp(log_envelope), aperiodicity, RATE, period_ms))

    return trial


TRIALS: Mapping[str, Trial] = {
    "in noise": in_noise,
    "in a room": in_room,
    "coded": coded,
    "dull microphone": dull,
    "resynthesised": _by_world(),
    "longer tract": _by_world(moved_hz=LONGER_HZ),
    "shorter tract": _by_world(moved_hz=SHORTER_HZ),
    "duller formants": _by_world(contrast=DULLER),
    "lower": _by_world(pitch=LOWER),
    "a bass": _by_world(median_hz=BASS_HZ),
    "faster": _by_world(speed=FASTER),
    "slower": _by_world(speed=SLOWER),
}


def tried(source: Source, name: str) -> Source:
    """Return a source as it is in the trial of a name; what is random in it follows from both names."""
    random = np.random.default_rng(zlib.crc32(f"{source.name} {name}".encode()))
    sound = TRIALS[name](resample(source.sound, source.rate, RATE), random)
    sound = np.clip(sound, -1.0, 1.0).astype(np.float32)
    return replace(source, name=f"{source.name}-{name.replace(' ', '-')}", sound=sound, rate=RATE, material=name, aligned={})
