"""A take's log: one JSON object a line, a header first. `autovoice.rt.take.reader` reads it.

Every line after the header has a `frame`, counted from the engine's start, and a `kind`:

    voice       who is in a slot of the converter's table, from before a move or a chain names that slot: slot, name, timbre
                (base64 of 128 float32, little-endian), median_hz; those of the first chain stand in the header
    move        a parameter was set: path, uid, value, by (who sent it)
    adopted     a chain was taken up, unheard for `settle` frames: generation, state ("kept" or "fresh"), follow, chain
    heard       that chain was faded in wholly: generation
    restarted   the driver came back, and the voice fades in again; with `chain` where another one had been set meanwhile
    broken      what was played cannot be rendered again from here on, nor what depends on it: until, from where on all is known
                again, and the reason
    sync        the log holds all that happened before this frame
    end         the take ended: dropped (frames lost), trouble (a line of text, or null)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from autovoice.dsp.stage import StageError

FORMAT, VERSION = "autovoice take", 1
LOG, DRY, WET = "log.jsonl", "dry.wav", "wet.wav"
MAX_LINE = 1 << 20  # bytes
MAX_FRAME = 1 << 52
MAX_DELAY = 1 << 20  # frames of latency and of settling: what a stage may have
MAX_TEXT = 1000  # characters
SETTINGS = 512  # parameters or options of a stage
SLOTS, TIMBRE = 64, 128  # of the converter's table, and values of a voice in it
MOST_TIMBRE = 16.0  # values of real voices stay within 1
PITCH_HZ = (30.0, 1000.0)  # of a voice's median


class TakeError(StageError):
    """A take, or a name for one, that cannot be used; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of a chain as the log has it, not yet held against the stage's own table."""

    key: str
    stage: str  # a name, or the path of a user's own file
    uid: int  # what moves name it by
    values: dict[str, float]
    options: dict[str, float | str]
    bypass: bool
    code: str  # a hash of the sources it was compiled from


@dataclass(frozen=True, slots=True)
class Voice:
    """Who is in a slot of the converter's table, from before that slot is named on."""

    frame: int
    slot: int
    name: str
    timbre: str  # see `timbre_text`
    median_hz: float

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """Return the timbre, float32 (TIMBRE,)."""
        return np.frombuffer(base64.b64decode(self.timbre), "<f4")


def timbre_text(values: np.ndarray[Any, Any]) -> str:
    """Return a timbre as the log has it."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: the engine as it was when the take began."""

    autovoice: str  # version
    made: str  # local date and time
    sample_rate: float  # Hz
    block: int  # frames
    in_channels: int
    out_channels: int
    channels: int  # that the chain runs with
    latency: int  # frames from input to output
    first_frame: int  # of both files, counted from the engine's start
    fresh: bool  # the chain began with this frame, so all of the take can be rendered again
    master: dict[str, float]
    chain: tuple[StageLine, ...]
    machine: dict[str, str]
    voices: tuple[Voice, ...] = ()  # that the chain names


@dataclass(frozen=True, slots=True)
class Move:
    """A parameter was set."""

    frame: int
    path: str
    uid: int
    value: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A chain was taken up, unheard."""

    frame: int
    generation: int
    settle: int  # frames
    state: str  # "kept" or "fresh"
    follow: bool  # parameters were taken over as they were set
    chain: tuple[StageLine, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """A chain was faded in wholly."""

    frame: int
    generation: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The driver came back."""

    frame: int
    chain: tuple[StageLine, ...] | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """Something is missing between two frames."""

    frame: int
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sync:
    """All before this frame is in the log."""

    frame: int


@dataclass(frozen=True, slots=True)
class End:
    """The take ended."""

    frame: int
    dropped: int = 0
    trouble: str | None = None


Line = Voice | Move | Adopted | Heard | Restarted | Broken | Sync | End
KINDS: dict[str, type[Any]] = {
    "voice": Voice,
    "move": Move,
    "adopted": Adopted,
    "heard": Heard,
    "restarted": Restarted,
    "broken": Broken,
    "sync": Sync,
    "end": End,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def header_text(header: Header) -> str:
    """Return the first line of a log."""
    return _text({"format": FORMAT, "version": VERSION, **asdict(header)})


def line_text(line: Line) -> str:
    """Return any other line of a log."""
    if isinstance(line, Move):  # there may be thousands a second
        path, by = json.dumps(line.path), json.dumps(line.by)
        return f'{{"frame":{line.frame},"kind":"move","path":{path},"uid":{line.uid},"value":{line.value!r},"by":{by}}}\n'
    frame, *rest = asdict(line).items()
    return _text(dict([frame, ("kind", _NAMES[type(line)]), *rest]))


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n"
