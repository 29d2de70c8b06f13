"""Reads a take's log. All of it is checked, to the last field: a log may come from anybody."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.bus import MAX_CHANNELS, SEGMENT
from autovoice.dsp.stage import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from autovoice.rt.layout import MAX_PENDING, MAX_STAGES
from autovoice.rt.take.log import (
    FORMAT,
    KINDS,
    MAX_DELAY,
    MAX_FRAME,
    MAX_LINE,
    MAX_TEXT,
    MOST_TIMBRE,
    PITCH_HZ,
    SETTINGS,
    SLOTS,
    TIMBRE,
    VERSION,
    Adopted,
    Broken,
    End,
    Header,
    Heard,
    Line,
    Move,
    Restarted,
    StageLine,
    Sync,
    TakeError,
    Voice,
)


class TakeLog:
    """A log to read: `header`, and the lines, as often as one iterates. Raises TakeError with the line's number.

    A last line that was cut short, as when the process was killed, is left out.
    """

    def __init__(self, path: Path) -> None:
        """Read and check the header."""
        self.path = path
        if not path.is_file():
            raise TakeError(f"no take's log at {path}")
        number, data = next(self._objects(), (1, None))
        if data is None:
            raise TakeError(f"{path} is empty; a take's log begins with a header")
        self.header = self._checked(number, data, _header)

    def __iter__(self) -> Iterator[Line]:
        """Go through the lines after the header in order."""
        objects = self._objects()
        next(objects, None)
        frame, together = self.header.first_frame, 0
        for number, data in objects:
            line: Line = self._checked(number, data, _line)
            if isinstance(line, (Sync, Broken, End)):  # these may speak of what is behind
                yield line
                if isinstance(line, End):
                    return
                continue
            if line.frame < frame:
                raise TakeError(f"{self.path}, line {number}: frame {line.frame} comes after {frame}")
            if isinstance(line, Move):
                together = together + 1 if line.frame == frame else 1
                if together > MAX_PENDING:
                    raise TakeError(f"{self.path}, line {number}: more than {MAX_PENDING} moves at frame {frame}")
            frame = line.frame
            yield line

    def _objects(self) -> Iterator[tuple[int, Any]]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while raw := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(raw) > MAX_LINE:
                        raise TakeError(f"{self.path}, line {number}: longer than {MAX_LINE} bytes")
                    if not raw.endswith(b"\n"):
                        return
                    yield number, self._parsed(number, raw)
        except OSError as error:
            raise TakeError(f"{self.path} cannot be read: {error.strerror}") from error

    def _parsed(self, number: int, raw: bytes) -> Any:
        try:
            return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            reason = str(error).split(":")[0]
            raise TakeError(f"{self.path}, line {number}: no JSON object ({reason})") from None

    def _checked(self, number: int, data: Any, check: Callable[[Any], Any]) -> Any:
        try:
            if not isinstance(data, dict):
                raise TakeError("an object was expected")
            return check(data)
        except TakeError as error:
            raise TakeError(f"{self.path}, line {number}: {error}") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


@dataclass(frozen=True, slots=True)
class _Fields:
    """Reads the fields of one object, each checked, and refuses what is left over."""

    data: dict[str, Any]
    seen: set[str] = field(default_factory=set)

    def get(self, name: str) -> Any:
        if name not in self.data:
            raise TakeError(f"{name} is missing")
        self.seen.add(name)
        return self.data[name]

    def whole(self, name: str, least: int, most: int) -> int:
        value = self.get(name)
        if type(value) is not int or not least <= value <= most:
            raise TakeError(f"{name} must be a whole number in {least}..{most}, got {_shown(value)}")
        return value

    def number(self, name: str, least: float = -1e300, most: float = 1e300) -> float:
        return _number(name, self.get(name), least, most)

    def text(self, name: str) -> str:
        return _checked_text(name, self.get(name))

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if not isinstance(value, bool):
            raise TakeError(f"{name} must be true or false, got {_shown(value)}")
        return value

    def choice(self, name: str, *choices: str) -> str:
        value = self.get(name)
        if value not in choices:
            raise TakeError(f"{name} must be one of {', '.join(choices)}, got {_shown(value)}")
        return str(value)

    def table(self, name: str) -> dict[str, Any]:
        value = self.get(name)
        if not isinstance(value, dict) or len(value) > SETTINGS:
            raise TakeError(f"{name} must be an object of at most {SETTINGS} values, got {_shown(value)}")
        return value

    def chain(self, name: str) -> tuple[StageLine, ...]:
        value = self.get(name)
        if not isinstance(value, list) or len(value) > MAX_STAGES:
            raise TakeError(f"{name} must be a list of at most {MAX_STAGES} stages, got {_shown(value)}")
        stages = tuple(_stage(one) for one in value)
        for what in ("key", "uid"):
            if len({getattr(one, what) for one in stages}) < len(stages):
                raise TakeError(f"{name}: two stages have the same {what}")
        return stages

    def voice(self, frame: int) -> Voice:
        voice = Voice(
            frame, self.whole("slot", 0, SLOTS - 1), self.text("name"), self.text("timbre"), self.number("median_hz", *PITCH_HZ)
        )
        try:
            sound = base64.b64decode(voice.timbre, validate=True)
        except ValueError:
            sound = b""
        if len(sound) != 4 * TIMBRE or not (np.abs(np.frombuffer(sound, "<f4")) <= MOST_TIMBRE).all():
            span = f"-{MOST_TIMBRE:g}..{MOST_TIMBRE:g}"
            raise TakeError(f"timbre must be {TIMBRE} float32 in {span} as base64, got {_shown(voice.timbre)}")
        return voice

    def voices(self, name: str) -> tuple[Voice, ...]:
        value = self.get(name)
        if not isinstance(value, list) or len(value) > SLOTS:
            raise TakeError(f"{name} must be a list of at most {SLOTS} voices, got {_shown(value)}")
        found = []
        for one in value:
            if not isinstance(one, dict):
                raise TakeError(f"a voice is an object, got {_shown(one)}")
            f = _Fields(one)
            found.append(f.voice(f.whole("frame", 0, MAX_FRAME)))
            f.finish()
        return tuple(found)

    def finish(self) -> None:
        if left := self.data.keys() - self.seen:
            raise TakeError(f"there is no field {_shown(min(left))} here")


def _number(name: str, value: Any, least: float = -1e300, most: float = 1e300) -> float:
    # A whole number may be too long for a float to hold; comparing it is safe.
    if type(value) not in (int, float) or not least <= value <= most:
        raise TakeError(f"{name} must be a number in {least:g}..{most:g}, got {_shown(value)}")
    assert math.isfinite(value)
    return float(value)


def _checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise TakeError(f"{name} must be a line of at most {MAX_TEXT} characters, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 1 << 80 else "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."


def _stage(data: Any) -> StageLine:
    if not isinstance(data, dict):
        raise TakeError(f"a stage is an object, got {_shown(data)}")
    f = _Fields(data)
    stage = StageLine(
        key=f.text("key"),
        stage=f.text("stage"),
        uid=f.whole("uid", 1, 1 << 31),
        values={name: _number(name, value) for name, value in f.table("values").items()},
        options={name: _option(name, value) for name, value in f.table("options").items()},
        bypass=f.flag("bypass"),
        code=f.text("code"),
    )
    f.finish()
    return stage


def _option(name: str, value: Any) -> float | str:
    return _checked_text(name, value) if isinstance(value, str) else _number(name, value)


def _header(data: dict[str, Any]) -> Header:
    if data.get("format") != FORMAT:
        raise TakeError(f"this is no take's log: the first line says format {_shown(data.get('format'))}")
    if data.get("version") != VERSION:
        raise TakeError(f"this AutoVoice reads takes of version {VERSION}, this one has {_shown(data.get('version'))}")
    f = _Fields(data, {"format", "version"})
    header = Header(
        autovoice=f.text("autovoice"),
        made=f.text("made"),
        sample_rate=f.number("sample_rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        block=f.whole("block", 1, 8192),
        in_channels=f.whole("in_channels", 1, MAX_CHANNELS),
        out_channels=f.whole("out_channels", 1, MAX_CHANNELS),
        channels=f.whole("channels", 1, MAX_CHANNELS),
        latency=f.whole("latency", 0, MAX_DELAY),
        first_frame=f.whole("first_frame", 0, MAX_FRAME),
        fresh=f.flag("fresh"),
        master={name: _number(name, value) for name, value in f.table("master").items()},
        chain=f.chain("chain"),
        machine={name: _checked_text(name, value) for name, value in f.table("machine").items()},
        voices=f.voices("voices") if "voices" in data else (),  # older takes have none
    )
    f.finish()
    if header.channels not in (header.in_channels, max(header.in_channels, header.out_channels)):
        raise TakeError(f"channels must be {header.in_channels} as the input's, or the output's, got {header.channels}")
    return header


def _line(data: dict[str, Any]) -> Line:
    f = _Fields(data)
    frame, kind = f.whole("frame", 0, MAX_FRAME), f.choice("kind", *KINDS)
    line: Line
    if kind == "voice":
        line = f.voice(frame)
    elif kind == "move":
        line = Move(frame, f.text("path"), f.whole("uid", 0, 1 << 31), f.number("value"), f.text("by"))
    elif kind == "adopted":
        line = Adopted(
            frame=frame,
            generation=f.whole("generation", 0, 1 << 31),
            settle=f.whole("settle", 0, MAX_DELAY),
            state=f.choice("state", "kept", "fresh"),
            follow=f.flag("follow"),
            chain=f.chain("chain"),
        )
        if frame % SEGMENT or line.settle % SEGMENT:
            raise TakeError(f"a chain is adopted, and settles, in multiples of {SEGMENT} frames, got {frame} and {line.settle}")
    elif kind == "heard":
        line = Heard(frame, f.whole("generation", 0, 1 << 31))
    elif kind == "restarted":
        line = Restarted(frame, None if f.get("chain") is None else f.chain("chain"))
    elif kind == "broken":
        line = Broken(frame, f.whole("until", 0, 2 * MAX_FRAME), f.text("reason"))
    elif kind == "sync":
        line = Sync(frame)
    else:
        trouble = f.get("trouble")
        line = End(frame, f.whole("dropped", 0, MAX_FRAME), None if trouble is None else _checked_text("trouble", trouble))
    f.finish()
    return line
