"""MIDI from control's side: controllers are learned, stages with note parameters play notes, programs choose presets."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from autovoice.dsp.stage import Param, StageError, suggest
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.control.board import Row
from autovoice.rt.control.family import Family, Handler
from autovoice.rt.midi import (
    ALL_SOUND_OFF,
    CHANNELS,
    CONTROL_CHANGE,
    CONTROLLERS,
    MAX_PLAYERS,
    MAX_VOICES,
    NOTE_ON,
    TARGETS_EACH,
)
from autovoice.rt.midi_input import MidiInput, MidiMap, Player, Target, midi_input
from autovoice.rt.presets import all_names
from autovoice.rt.processor import Processor

CENTRE = 64  # of a controller: the middle of a range lies exactly there
EVERY_CHANNEL = frozenset(range(CHANNELS))
ONE_VOICE_WHEN = {"vocoder": ("carrier", "saw")}
"""The setting with which a stage sounds the first of its notes alone."""
RECENT = 64  # messages kept for the monitor
_NOTE = re.compile(r"note(_\d+)?")


def positions() -> np.ndarray[Any, Any]:
    """Return where each value of a controller stands in a range, 0..1: 0 at its beginning, 64 in its middle, 127 at its end."""
    k = np.arange(CONTROLLERS)
    return np.where(k <= CENTRE, k / (2 * CENTRE), 0.5 + (k - CENTRE) / (2 * (CONTROLLERS - 1 - CENTRE)))


def values_of(row: Row) -> np.ndarray[Any, Any]:
    """Return a parameter's value for each of a controller's: along its scale; switches turn on at 64, choices share evenly."""
    if row.scale == "choice":
        return row.minimum + np.arange(CONTROLLERS) * len(row.choices) // CONTROLLERS
    return np.array([row.from_norm(float(position)) for position in positions()])


def note_rows(placed: Placed) -> tuple[int, ...]:
    """Return the rows of a stage's parameters that take MIDI notes, in their order."""
    table = placed.stage.parameters
    return tuple(k for k, p in enumerate(table) if p.unit == "MIDI" and _NOTE.fullmatch(p.name))[:MAX_VOICES]


class MidiFamily(Family):
    """What MIDI does in an engine: the bindings by path, and the map that the audio thread has of them.

    A binding outlives its stage: it acts again when a stage of that name plays again.
    """

    def __init__(self, conductor: Any) -> None:
        """Begin with nothing bound; every stage that plays notes hears every channel."""
        super().__init__(conductor)
        self.controls: dict[str, tuple[int, int]] = {}  # (channel 0..15, controller) by path
        self.hearing: dict[str, frozenset[int]] = {}  # channels by stage, where they are not all
        self.learning: str | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._changes = 0
        self._plan: object = None  # what the audio thread's map was made from
        self._lay_out()

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands."""
        return {
            "midi/learn": self.learn,
            "midi/forget": self.forget,
            "midi/map": self.bind,
            "midi/monitor": lambda: list(self._recent),
        }

    def learn(self, path: str) -> dict[str, Any]:
        """Bind the next controller that moves to a parameter; for a note parameter, the next note's channel to its stage."""
        self._processor.resolve(path)
        self._listen()  # what moved before does not count
        self.learning = path
        return self._change()

    def forget(self, path: str) -> dict[str, Any]:
        """Free a parameter from its controller, or stop learning it; a note parameter's stage then hears no notes."""
        stage = self._note_stage(path)
        if path == self.learning:
            self.learning = None
        elif stage is not None:
            self.hearing[stage] = frozenset()
        elif self.controls.pop(path, None) is None:
            raise StageError(f"no controller is bound to {path!r}{suggest(path, self.controls)}")
        return self._change()

    def bind(self, path: str, channel: int, controller: int = -1) -> dict[str, Any]:
        """Bind a controller of a channel, 1..16, to a parameter; for a note parameter a channel, 0 = all, to its stage."""
        self._processor.resolve(path)
        channel, controller = int(channel), int(controller)
        stage = self._note_stage(path)
        first = 1 if stage is None else 0
        if not first <= channel <= CHANNELS:
            raise StageError(f"a MIDI channel must be in {first}..{CHANNELS}, got {channel}")
        if stage is not None:
            self.hearing[stage] = frozenset({channel - 1}) if channel else EVERY_CHANNEL
            return self._change()
        if not 0 <= controller < ALL_SOUND_OFF:
            raise StageError(f"a MIDI controller must be in 0..{ALL_SOUND_OFF - 1}, got {controller}")
        place = channel - 1, controller
        others = [other for other, taken in self.controls.items() if taken == place and other != path]
        if len(others) >= TARGETS_EACH:
            raise StageError(
                f"controller {controller} of channel {channel} moves {', '.join(others)} already; free one with midi/forget"
            )
        self.controls[path] = place
        return self._change()

    def swapped(self, chain: Chain, keep_state: bool) -> None:
        """After a panic, and where the engine began afresh, no key is down; otherwise held notes go on in the new chain."""
        if not keep_state:
            self._input.release()

    def tick(self, now_s: float) -> None:
        """Learn, keep the audio thread's map true to what plays, and load the preset that was asked for."""
        self._listen()
        self._lay_out()
        programs = self._input.programs()
        if len(programs):
            self._choose(int(programs[-1]["first"]))

    def state(self) -> dict[str, Any]:
        """Return the bindings, with channels from 1; `channels` of a stage that plays notes: those it hears."""
        controls = [{"path": path, "channel": c + 1, "controller": k} for path, (c, k) in sorted(self.controls.items())]
        notes = [
            {"stage": placed.key, "channels": [c + 1 for c in sorted(self.hearing.get(placed.key, EVERY_CHANNEL))]}
            for placed in self.conductor.engine.chain.placed
            if note_rows(placed)
        ]
        return {"midi": {"learning": self.learning, "controls": controls, "notes": notes}}

    @property
    def _processor(self) -> Processor:
        processor: Processor = self.conductor.engine.processor
        return processor

    @property
    def _input(self) -> MidiInput:
        return midi_input(self._processor)

    def _change(self) -> dict[str, Any]:
        self._changes += 1
        self._lay_out()
        self.conductor.changed()
        midi: dict[str, Any] = self.state()["midi"]
        return midi

    def _note_stage(self, path: str) -> str | None:
        """Return the stage of a note parameter that plays, None for any other path."""
        key, _, name = path.partition("/")
        for placed in self._processor.chain.placed:
            if placed.key == key and any(placed.stage.parameters[k].name == name for k in note_rows(placed)):
                return key
        return None

    def _listen(self) -> None:
        """Take the messages that came: for the monitor, and to learn from."""
        for message in self._input.messages():
            kind, channel = int(message["status"]) >> 4, (int(message["status"]) & 0xF) + 1
            first, second = int(message["first"]), int(message["second"])
            self._recent.append({"frame": int(message["frame"]), "kind": kind, "channel": channel, "data": [first, second]})
            if self.learning is None:
                continue
            by_note = self._note_stage(self.learning) is not None
            if (kind == NOTE_ON and second > 0) if by_note else (kind == CONTROL_CHANGE and first < ALL_SOUND_OFF):
                self._learned(self.learning, channel, first)

    def _learned(self, path: str, channel: int, controller: int) -> None:
        self.learning = None
        try:
            self.bind(path, channel, controller)
        except StageError as error:
            self.conductor.changed()
            self.conductor.notice(f"{path} learned nothing: {error}", "error")
            return
        what = f"notes of channel {channel}" if self._note_stage(path) else f"controller {controller} of channel {channel}"
        self.conductor.notice(f"{path} follows {what}", "midi", path=path)

    def _lay_out(self) -> None:
        """Publish a map of what is bound and what plays, where it is not the one in use."""
        processor, midi = self._processor, self._input
        image = processor.image
        players = tuple(self._player(placed) for placed in image.chain.placed if note_rows(placed))[:MAX_PLAYERS]
        plan = (midi.address, int(image.record[0]["generation"]), self._changes, players)
        if plan == self._plan or not midi.settled:
            return
        controls: dict[tuple[int, int], list[Target]] = {}
        for path, place in self.controls.items():
            try:
                uid, index, parameter = processor.resolve(path)
            except StageError:
                continue  # it does not play now
            row = _row(path, uid, index, parameter)
            controls.setdefault(place, []).append(Target(uid, index, values_of(row)))
        if midi.publish(MidiMap(controls, players)):
            self._plan = plan

    def _player(self, placed: Placed) -> Player:
        processor, index = self._processor, note_rows(placed)
        voices = len(index)
        if placed.stage.name in ONE_VOICE_WHEN:
            name, choice = ONE_VOICE_WHEN[placed.stage.name]
            uid, row, parameter = processor.resolve(f"{placed.key}/{name}")
            if processor.page is not None and processor.page.value(uid, row) == parameter.choices.index(choice):
                voices = 1
        return Player(processor.image.uids[placed.key], index, voices, self.hearing.get(placed.key, EVERY_CHANNEL))

    def _choose(self, program: int) -> None:
        """Load the preset of a program's number, in the order of their names."""
        names = all_names()
        if program >= len(names):
            raise StageError(f"program {program + 1} asks for a preset, and there are {len(names)}")
        self.conductor.do("preset/load", names[program])
        self.conductor.notice(f"program {program + 1}: preset {names[program]}", "midi")


def _row(path: str, uid: int, index: int, parameter: Param) -> Row:
    names = ("name", "unit", "minimum", "maximum", "default", "scale", "choices", "help")
    return Row(path, uid, index, **{name: getattr(parameter, name) for name in names})
