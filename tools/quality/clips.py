"""What is assessed: a clip, with all that is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.tools.quality.signal import Array, resample

SILENCE_RMS = 0.001
SHORTEST_S = 0.5
LENGTHS_APART_S = 1.0


class QualityError(ValueError):
    """A clip cannot be assessed."""


@dataclass(frozen=True)
class Clip:
    """A source, what a converter made of it, and what there is to compare with; sounds are mono, all at one rate."""

    name: str
    source: Array = field(repr=False)
    converted: Array = field(repr=False)  # as it came out: the converter's delay is still in it
    rate: int  # Hz
    references: tuple[Array, ...] = field(default=(), repr=False)  # the target's own speech, any words
    aligned: Array | None = field(default=None, repr=False)  # the source's words in the target's voice, frame by frame
    text: str | None = None  # what is said; the transcript of the source takes its place where it is not known
    delay_s: float | None = None  # as the converter declares it; measured where it does not
    compute_s: float | None = None  # seconds it took
    system: str = "converted"  # which converter
    material: str = "clips"  # which set of sources
    said: str = ""  # names the source; clips of one source are one draw where intervals are taken
    target: str = ""

    def __post_init__(self) -> None:
        """Refuse what no measure could make sense of."""
        if self.rate < 8_000:
            raise QualityError(f"{self.name}: rate must be at least 8000 Hz, got {self.rate}")
        sounds = {"source": self.source, "converted": self.converted, "aligned": self.aligned}
        sounds |= {f"reference {k}": sound for k, sound in enumerate(self.references, 1)}
        for what, sound in sounds.items():
            if sound is not None:
                _check(f"{self.name}: {what}", sound, self.rate)
        for what in ("converted", "aligned"):
            sound = sounds[what]
            if sound is not None and abs(len(sound) - len(self.source)) > LENGTHS_APART_S * self.rate:
                lengths = f"{len(sound) / self.rate:.2f} s at {self.rate} Hz, source {len(self.source) / self.rate:.2f} s"
                raise QualityError(f"{self.name}: {what} has {lengths}: another length, or another rate")


def _check(what: str, sound: Array, rate: int) -> None:
    if sound.ndim != 1:
        raise QualityError(f"{what} must be mono, of shape (frames,), got {sound.shape}")
    if len(sound) < SHORTEST_S * rate:
        raise QualityError(f"{what} must last {SHORTEST_S} s or more, got {len(sound) / rate:.2f} s")
    if not np.isfinite(sound).all():
        raise QualityError(f"{what} holds {int((~np.isfinite(sound)).sum())} values that are not finite")
    rms = float(np.sqrt(np.square(sound, dtype=np.float64).mean()))
    if rms < SILENCE_RMS:
        raise QualityError(f"{what} is silent: RMS {rms:.2g}, below {SILENCE_RMS}")


def load(source: Path, converted: Path, references: Sequence[Path] = (), **known: Any) -> Clip:
    """Return a clip of files, all brought to the source's rate, channels averaged."""
    sound, rate = _read(source)
    others = [resample(other, other_rate, rate) for other, other_rate in map(_read, [converted, *references])]
    return Clip(known.pop("name", converted.stem), sound, others[0], rate, references=tuple(others[1:]), **known)


def _read(path: Path) -> tuple[Array, int]:
    try:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise QualityError(f"{path} cannot be read: {error}") from error
    return sound.mean(1), rate
