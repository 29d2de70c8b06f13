"""Voices: who the converter can become, as small files without pickle, and what can be done with them.

A voice is 128 timbre values, its usual pitch and the range of it, with where it came from: for an enrolled voice the source
files, the checks and the consent of whoever it belongs to, for a mixed one its parts. A file is safetensors; the rest is JSON
in its metadata, with a SHA-256 of everything. Voices that come with AutoVoice lie in `dsp/weights/voices.safetensors`, a
user's own in `$XDG_DATA_HOME/autovoice/voices/NAME.safetensors`. Control thread only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import autovoice.dsp
import numpy as np
from autovoice.dsp.stage import suggest
from autovoice.models import speaker_encoder
from autovoice.rt.store import PRIVATE, Store, check_name, read_file, write_file
from safetensors import SafetensorError
from safetensors.numpy import load, save

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
FORMAT = "autovoice voice"
SUFFIX = ".safetensors"
TIMBRE = 128
MAX_BYTES = 1 << 20  # of a file that is read; one has about 4 KB
MOST_TIMBRE = 16.0  # values of real voices stay within 1
PITCH_HZ = (40.0, 1000.0)  # what the converter takes as a median
SHIPPED_FILE = Path(autovoice.dsp.__path__[0]) / "weights" / "voices.safetensors"
PART = re.compile(r"(?P<name>.*?)\s*:\s*(?P<weight>[0-9.]+)\s*")


class VoiceError(ValueError):
    """A voice that cannot be had, read, written or mixed; the message is one line that says the way out."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Who the converter can become."""

    name: str
    timbre: Array  # float32 (128,), as the teacher has it
    median_hz: float
    low_hz: float  # 5 % of the voiced time are lower
    high_hz: float  # and 5 % higher
    kind: str = "enrolled"  # or "shipped", "mixed"
    consent: str = ""
    created: str = ""  # ISO 8601, UTC
    sources: tuple[dict[str, Any], ...] = ()  # files (name, sha256, seconds), or voices (name, weight)
    checks: dict[str, Any] = field(default_factory=dict)  # what was measured at enrolment
    licence: str = ""

    def about(self) -> dict[str, Any]:
        """Return everything but the numbers that make the voice: what may be shown to anyone."""
        return {name: value for name, value in asdict(self).items() if name != "timbre"}


OWN = Store("voice", "voices", SUFFIX, VoiceError, PRIVATE)
user_folder, user_file, user_names = OWN.folder, OWN.file, OWN.names


def shipped_names() -> list[str]:
    """Return the names of the voices that come with AutoVoice, in their own order."""
    return list(shipped())


def all_names() -> list[str]:
    """Return every name, those that come with AutoVoice first."""
    return [*shipped(), *(name for name in user_names() if name not in shipped())]


@cache
def shipped() -> dict[str, Voice]:
    """Return the voices that come with AutoVoice, by name."""
    tensors, metadata = _read(SHIPPED_FILE.read_bytes(), str(SHIPPED_FILE))
    described = json.loads(metadata["voices"])
    return {
        one["name"]: Voice(timbre=timbre, median_hz=float(median_hz), kind="shipped", **one)
        for one, timbre, median_hz in zip(described, tensors["timbre"], tensors["median_hz"], strict=True)
    }


def find(name: str) -> Voice:
    """Return a voice by its name; raises VoiceError that offers the nearest."""
    if name in shipped():
        return shipped()[name]
    if name not in user_names():
        raise VoiceError(f"no voice is called {name!r}{suggest(name, all_names())}; autovoice voices list shows them")
    path = user_file(name)
    return replace(read(path), name=name)


def read(path: Path) -> Voice:
    """Return the voice in a file; raises VoiceError with one line where it is none, or was changed since it was written."""
    return unpack(read_file(path, "voice", str(path), MAX_BYTES, VoiceError), str(path))


def unpack(data: bytes, where: str) -> Voice:
    """Return the voice in the bytes of a file; raises VoiceError with one line that begins with `where`."""
    if len(data) > MAX_BYTES:
        raise VoiceError(f"{where}: a voice has at most {MAX_BYTES} bytes")
    tensors, metadata = _read(data, where)
    if metadata.get("format") != FORMAT:
        raise VoiceError(f"{where} holds tensors, but no voice; autovoice voices export writes one")
    if metadata.get("version") != str(VERSION):
        version = metadata.get("version", "?")[:20]
        raise VoiceError(f"{where}: this voice is of version {version} and this AutoVoice reads {VERSION}; update AutoVoice")
    if metadata.get("sha256") != _digest(tensors, metadata.get("voice", "")):
        raise VoiceError(f"{where} was changed or damaged since it was written (its SHA-256 differs); export it again")
    try:
        described: dict[str, Any] = json.loads(metadata["voice"])
        return _checked(Voice(**described, timbre=tensors["timbre"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VoiceError(f"{where} is no voice of this version: {' '.join(str(error).split())}") from error


def pack(voice: Voice) -> bytes:
    """Return a voice as the bytes of a file."""
    text = json.dumps(voice.about(), sort_keys=True)
    tensors = {"timbre": np.asarray(voice.timbre, np.float32)}
    metadata = {"format": FORMAT, "version": str(VERSION), "voice": text, "sha256": _digest(tensors, text)}
    return save(tensors, metadata)


def keep(voice: Voice, *, replace_old: bool = False) -> Path:
    """Write one of the user's own voices and return its file.

    Raises VoiceError where the name is not free to use, or where the file cannot be written; what was there is then still
    there.
    """
    return OWN.write(check_free(voice.name, replace_old=replace_old), pack(_checked(voice)))


def check_free(name: str, *, replace_old: bool = False) -> str:
    """Return a name under which a voice may be kept; raises VoiceError, or StageError for one that is no name."""
    check_name(name, "voice")
    if name.lower() in {one.lower() for one in shipped()}:
        raise VoiceError(f"voice {name} comes with AutoVoice; choose another name")
    if name in user_names() and not replace_old:
        raise VoiceError(f"there is a voice {name} already; choose another name, delete it, or give --force")
    return name


def check_own(name: str) -> str:
    """Return the name of a voice of the user's own; raises VoiceError where there is none, or where it came with AutoVoice."""
    if name in shipped():
        raise VoiceError(f"voice {name} comes with AutoVoice and cannot be deleted")
    return OWN.check_own(name)


def delete(name: str) -> None:
    """Delete one of the user's own voices; raises VoiceError as `check_own` does, or where that cannot be done."""
    OWN.delete(check_own(name))


def write(path: Path, data: bytes) -> None:
    """Write a voice's file, or another that only its owner may read, whole or not at all; raises OSError."""
    write_file(path, data, PRIVATE)


def parse_mix(text: str) -> dict[str, float]:
    """Return the parts of `Ada:0.6 Bruno:0.4` by name, their weights adding up to 1; raises VoiceError.

    Parts are separated by spaces or commas; a name may hold spaces, since its weight ends it.
    """
    parts: dict[str, float] = {}
    at = 0
    while at < len(text):
        found = PART.match(text, at)
        name = found["name"].strip(" ,") if found else ""
        if found is None or not name:
            raise VoiceError(f"a mix is NAME:WEIGHT NAME:WEIGHT, such as Ada:0.6 Bruno:0.4, got {text[:80]!r}")
        try:
            weight = float(found["weight"])
        except ValueError:
            raise VoiceError(f"the weight of {name} must be a number, got {found['weight']!r}") from None
        if name in parts:
            raise VoiceError(f"{name} stands twice in the mix; give it one weight")
        parts[name], at = weight, found.end()
    total = sum(parts.values())
    if not total > 0:
        raise VoiceError(f"a mix needs a weight above 0, such as Ada:0.6 Bruno:0.4, got {text[:80]!r}")
    return {name: weight / total for name, weight in parts.items()}


def mix(name: str, parts: Mapping[str, float]) -> Voice:
    """Return the weighted mean of voices: of their timbres, and of their pitches on a logarithmic scale."""
    found = {one: find(one) for one in parts}
    weights = np.array([*parts.values()])
    voices = [*found.values()]

    def height(pitches: list[float]) -> float:
        return float(np.exp(weights @ np.log(pitches)))

    notes = {one.name: one.consent for one in voices if one.consent}
    return Voice(
        name=name,
        timbre=(weights @ np.stack([one.timbre for one in voices])).astype(np.float32),
        median_hz=height([one.median_hz for one in voices]),
        low_hz=height([one.low_hz for one in voices]),
        high_hz=height([one.high_hz for one in voices]),
        kind="mixed",
        consent="; ".join(f"{one}: {note}" for one, note in notes.items()),
        sources=tuple({"name": one, "weight": round(weight, 6)} for one, weight in parts.items()),
    )


def similarity(a: Voice, b: Voice) -> float:
    """Return how alike two voices are, -1..1: the cosine of how their timbres differ from the training voices' mean."""
    x, y = speaker_encoder.unit(np.stack([a.timbre, b.timbre])).astype(np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-12))


def _checked(voice: Voice) -> Voice:
    """Return a voice whose every value is one that a voice can have; raises VoiceError."""
    timbre = np.asarray(voice.timbre)
    if timbre.shape != (TIMBRE,) or timbre.dtype != np.float32 or not (np.abs(timbre) <= MOST_TIMBRE).all():
        raise VoiceError(f"a timbre is {TIMBRE} float32 values within {MOST_TIMBRE:g}")
    sources = tuple(voice.sources)
    values = [*voice.checks.values(), *(one.get("weight", one.get("seconds")) for one in sources)]
    texts = [voice.kind, voice.consent, voice.created, voice.licence, *voice.checks]
    texts += [one["name"] for one in sources] + [one.get("sha256", "") for one in sources]
    if not all(isinstance(value, (int, float)) for value in values):
        raise VoiceError("checks, weights and seconds are numbers")
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise VoiceError("what is said of a voice is text on one line")
    low, high = PITCH_HZ
    if not low <= voice.low_hz <= voice.median_hz <= voice.high_hz <= high:
        raise VoiceError(
            f"pitches rise from low over median to high within {low:g}..{high:g} Hz, "
            f"got {voice.low_hz:g}, {voice.median_hz:g}, {voice.high_hz:g}"
        )
    check_name(voice.name, "voice")
    return replace(voice, sources=sources)


def _read(data: bytes, where: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Return tensors and metadata of a safetensors file."""
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VoiceError(f"{where} is no safetensors file, or a damaged one: {' '.join(str(error).split())}") from error
    return tensors, metadata


def _digest(tensors: Mapping[str, Array], text: str) -> str:
    """Return the SHA-256 of all that a file says."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"\0{name} {tensors[name].dtype} {tensors[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
