"""Enrol a voice: from 5 to 30 s of someone, checked, to a profile. No torch; the speaker encoder is NumPy.

    voice = enrol([Path("me.wav")], "Me", consent="my own voice, 21 November, for my own shows")

What is checked, in this order, each with one line that says the way out: that the files can be read and their rate is known,
level, length, clipping, noise, that there is enough of voiced sound, and that one person speaks. Level, pitch, voice activity
and noise are what the live stages `vad`, `pitch` and `gate` find. Control thread only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice, VoiceError

Array = np.ndarray[Any, np.dtype[Any]]

RATE = 24_000  # Hz, of the encoder
STAGES_RATE = 48_000  # Hz, at which the stages listen
LOWEST_RATE = 8_000  # Hz
SHORTEST_S, LONGEST_S = 5.0, 30.0
MOST_S = 600.0  # of one file: more is no recording of a voice, but of a day
SILENCE_RMS = 0.001
CLIPPED_RUN = 3  # samples in a row at full scale are one clipping
CLIPPED = 0.98  # of full scale, and FLAT of the sound's own peak: a limiter's ceiling, or a recording turned down later
FLAT = 0.9995
MOST_CLIPPED = 5e-4  # share of the samples
LEAST_SNR_DB = 12.0
LEAST_VOICED_S = 2.0
WINDOW_S, HOP_S = 3.0, 0.5  # of the stretches that are compared to tell one speaker from two
LEAST_SHARE = 0.15  # of the stretches, that another speaker must have
MOST_DISTANCE = 0.28  # between the two groups of stretches, 1 - cosine; one speaker measured 0.02..0.16, two 0.30..1.04
SOFTEST_DB = 40.0  # below the loudest: what is softer is a pause


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was measured, and whether it will do."""

    name: str
    value: float
    unit: str
    limit: str  # what will do, in words
    passed: bool
    advice: str  # what to do where not

    @property
    def line(self) -> str:
        """The check in one line."""
        found = f"{self.name} {self.value:.4g}{' ' + self.unit if self.unit else ''} ({self.limit})"
        return found if self.passed else f"{found}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Recording:
    """The sound that a voice is made of, and where it came from."""

    sound: Array  # float32 (samples,) at RATE
    sources: tuple[dict[str, Any], ...]
    clipped: float  # share of samples


def enrol(paths: Sequence[Path], name: str, consent: str, *, replace_old: bool = False) -> tuple[Voice, list[Check]]:
    """Return the voice in sound files, not yet kept, and what was checked; raises VoiceError where a check fails."""
    voices.check_free(name, replace_old=replace_old)
    if not consent.strip():
        raise VoiceError("a voice belongs to somebody: say in --consent whose it is, and that they agree")
    recording = listen(paths)
    checks, track = examine(recording)
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        raise VoiceError(failed.line)
    voiced = track.f0_hz[track.f0_hz > 0]
    low, median, high = (float(value) for value in np.percentile(voiced, [5, 50, 95]))
    return Voice(
        name=name,
        timbre=speaker_encoder.raw(speaker_encoder.timbre(features.bands(spoken(recording.sound), RATE))),
        median_hz=median,
        low_hz=low,
        high_hz=high,
        consent=" ".join(consent.split()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sources=recording.sources,
        checks={check.name: round(check.value, 6) for check in checks},
    ), checks


def listen(paths: Sequence[Path]) -> Recording:
    """Read files, one after the other, the mean of their channels; raises VoiceError, or BackendError for what is no sound."""
    from autovoice.rt.backends.file import open_sound

    if not paths:
        raise VoiceError("name at least one sound file of the voice")
    sounds, sources, clipped, samples = [], [], 0, 0
    for path in paths:
        with open_sound(path) as file:
            rate = int(file.samplerate)
            if rate < LOWEST_RATE:
                raise VoiceError(f"{path}: the sample rate must be at least {LOWEST_RATE} Hz, got {rate}; record it anew")
            if file.frames > MOST_S * rate:
                raise VoiceError(
                    f"{path} lasts {file.frames / rate:.0f} s; cut {SHORTEST_S:g} to {LONGEST_S:g} s of the voice out"
                )
            try:
                heard = file.read(dtype="float32", always_2d=True)
            except (RuntimeError, OSError) as error:
                raise VoiceError(f"{path} cannot be read as sound: {error}") from error
        if not np.isfinite(heard).all():
            raise VoiceError(f"{path} holds samples that are not numbers; export it again")
        clipped += sum(clipped_samples(channel) for channel in heard.T)
        samples += heard.size
        mono = heard.mean(1)
        sounds.append(resample(mono, rate, RATE))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shown = "".join(letter if letter.isprintable() else "?" for letter in path.name)
        sources.append({"name": shown, "sha256": digest, "seconds": round(len(mono) / rate, 3), "sample_rate": rate})
    return Recording(np.concatenate(sounds).astype(np.float32), tuple(sources), clipped / samples)


def examine(recording: Recording) -> tuple[list[Check], Any]:
    """Return what was measured, up to the first check that fails, and the stages' track (None before they were asked)."""
    sound = recording.sound
    seconds = len(sound) / RATE
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    checks = [
        Check(
            "level", level, "RMS", f"at least {SILENCE_RMS:g}", level >= SILENCE_RMS, "this is silence; check the microphone"
        ),
        Check("length", seconds, "s", f"at least {SHORTEST_S:g}", seconds >= SHORTEST_S, "record more of the voice"),
        Check(
            "clipping",
            100 * recording.clipped,
            "%",
            f"at most {100 * MOST_CLIPPED:g}",
            recording.clipped <= MOST_CLIPPED,
            "the sound is cut off at full scale; turn the microphone down and record anew",
        ),
    ]
    if not all(check.passed for check in checks):
        return checks, None
    track = _track(sound)
    snr_db = _snr_db(track)
    checks.append(
        Check(
            "signal to noise", snr_db, "dB", f"at least {LEAST_SNR_DB:g}", snr_db >= LEAST_SNR_DB, "record in a quieter place"
        )
    )
    voiced_s = float(np.count_nonzero(track.f0_hz > 0) / max(len(track.f0_hz), 1) * seconds)
    checks.append(
        Check(
            "voiced", voiced_s, "s", f"at least {LEAST_VOICED_S:g}", voiced_s >= LEAST_VOICED_S, "speak or sing; do not whisper"
        )
    )
    if all(check.passed for check in checks):
        apart = two_speakers(sound)
        advice = "two people seem to speak; cut one of them out"
        checks.append(Check("speakers apart", apart, "", f"at most {MOST_DISTANCE:g}", apart <= MOST_DISTANCE, advice))
    return checks, track


def _track(sound: Array) -> Any:
    """Return what the stages find in the sound."""
    from autovoice.rt import Chain

    chain = Chain(["pitch", "vad", {"stage": "gate", "mode": "adaptive"}])
    return chain.analyse(resample(sound, RATE, STAGES_RATE).astype(np.float32), sample_rate=STAGES_RATE)


def _snr_db(track: Any) -> float:
    """Return the level while the vad hears a voice, over the noise floor that the gate has learnt by the end."""
    voice = track.vad > 0.5
    if not voice.any():
        return 0.0
    power = 10 ** (track.level_dbfs[voice] / 10)
    floor = max(float(track.noise_dbfs[-1]), -100.0)
    return float(10 * np.log10(power.mean()) - floor)


def spoken(sound: Array) -> Array:
    """Return up to LONGEST_S of the sound, without its long pauses, so that a person who pauses is heard for as long."""
    hop = RATE // 100
    frames = sound[: len(sound) // hop * hop].reshape(-1, hop)
    power = np.square(frames, dtype=np.float64).mean(1)
    loud = power > power.max() * 10 ** (-SOFTEST_DB / 10)
    reach = 15  # frames to either side
    kept = np.convolve(loud, np.ones(2 * reach + 1), "same") > 0.5
    return np.asarray(frames[kept].ravel()[: round(LONGEST_S * RATE)])


def two_speakers(sound: Array) -> float:
    """Return how far apart the two groups are that the stretches of a sound fall into, 1 - cosine; 0 for one group.

    Two-means on the unit sphere, begun with the two stretches that are farthest apart; a group of less than LEAST_SHARE is no
    speaker, but a cough.
    """
    bands = features.bands(spoken(sound), RATE)
    window, hop = round(WINDOW_S / features.HOP_S), round(HOP_S / features.HOP_S)
    starts = range(0, len(bands) - window + 1, hop)
    if len(starts) < 4:
        return 0.0
    heard = np.stack([_place(bands[start : start + window]) for start in starts])
    alike = heard @ heard.T
    seeds = np.unravel_index(alike.argmin(), alike.shape)
    means = heard[list(seeds)]
    group = np.zeros(len(heard), int)
    for _ in range(20):
        group = (heard @ means.T).argmax(1)
        if len(set(group)) < 2:
            return 0.0
        means = np.stack([heard[group == k].mean(0) for k in (0, 1)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
    if min(np.mean(group == 0), np.mean(group == 1)) < LEAST_SHARE:
        return 0.0
    return float(1 - means[0] @ means[1])


def _place(bands: Array) -> Array:
    """Return where a stretch lies among voices, of unit length."""
    timbre = speaker_encoder.timbre(bands)
    return np.asarray(timbre / np.linalg.norm(timbre))


def clipped_samples(sound: Array) -> int:
    """Return how many samples lie in runs of CLIPPED_RUN and more at full scale, or at a flat top below it."""
    peak = float(np.abs(sound).max(initial=0.0))
    if peak < 0.05:
        return 0
    at_top = np.abs(sound) >= (CLIPPED if peak >= CLIPPED else FLAT * peak)
    edges = np.flatnonzero(np.diff(at_top.astype(np.int8), prepend=0, append=0))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def resample(sound: Array, source: int, target: int) -> Array:
    """Return the sound at another rate, band-limited, by its spectrum; both ends count as silence."""
    if source == target:
        return np.asarray(sound)
    common = int(np.gcd(source, target))
    step, every = source // common, target // common
    count = len(sound)
    blocks = -(-(count + source // 5) // step)  # with a fifth of a second of silence, in which the ends ring out
    spectrum = np.fft.rfft(sound, blocks * step)
    size = blocks * every
    kept = np.zeros(size // 2 + 1, complex)
    bins = min(len(spectrum), len(kept))
    kept[:bins] = spectrum[:bins]
    return np.asarray(np.fft.irfft(kept, size)[: round(count * target / source)] * (size / (blocks * step)))
