"""A processor's MIDI input as control sees it: the maps that say what messages do, and the messages themselves."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.rt import atomics
from autovoice.rt.layout import MIDI_PRODUCER
from autovoice.rt.memory import Arena, address_of, aligned
from autovoice.rt.midi import (
    CONTROLLERS,
    HUSH_AT,
    MAP,
    MAP_AT,
    MAX_PLAYERS,
    MAX_TARGETS,
    MAX_VOICES,
    MESSAGE,
    MIDI,
    NEXT_AT,
    NONE,
    TARGET,
    TARGETS_EACH,
)
from autovoice.rt.processor import Processor
from autovoice.rt.ring import Ring

MESSAGES, PROGRAMS = 2048, 64  # that wait for control


@dataclass(frozen=True, slots=True)
class Target:
    """A parameter that a controller moves: `values`, float64 of shape (128,), one for each of the controller's."""

    uid: int
    index: int
    values: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Player:
    """A stage that plays notes: the rows of its note parameters, of which `voices` are in use, and the channels it hears."""

    uid: int
    index: tuple[int, ...]
    voices: int
    channels: frozenset[int]  # 0..15


class MidiMap:
    """What messages do, laid out for the audio thread. Raises ValueError where there is no room for it.

    `controls` has, by (channel 0..15, controller 0..127), the targets it moves, at most TARGETS_EACH.
    """

    def __init__(self, controls: Mapping[tuple[int, int], Sequence[Target]], players: Sequence[Player]) -> None:
        """Lay it out."""
        count = sum(len(targets) for targets in controls.values())
        if count > MAX_TARGETS or any(len(targets) > TARGETS_EACH for targets in controls.values()):
            raise ValueError(f"a controller moves at most {TARGETS_EACH} parameters, and all together {MAX_TARGETS}")
        if len(players) > MAX_PLAYERS or any(len(player.index) > MAX_VOICES for player in players):
            raise ValueError(f"at most {MAX_PLAYERS} stages play notes, with at most {MAX_VOICES} voices each")
        self._arena = Arena(aligned(MAP.itemsize) + count * TARGET.itemsize)
        record = self._arena.take(MAP)
        rows = self._arena.take(TARGET, count)
        self.address = address_of(record)
        tables = record[0]
        tables["targets"], tables["target_count"], tables["controls"] = address_of(rows), count, NONE
        tables["player_count"] = len(players)
        at = 0
        for (channel, controller), targets in controls.items():
            for k, target in enumerate(targets):
                rows[at] = (target.uid, target.index, target.values)
                tables["controls"][channel * CONTROLLERS + controller, k] = at
                at += 1
        for row, player in zip(tables["players"], players, strict=False):
            mask = sum(1 << channel for channel in player.channels)
            row["uid"], row["channels"], row["voices"], row["count"] = player.uid, mask, player.voices, len(player.index)
            row["index"][: len(player.index)] = player.index


class MidiInput:
    """A processor's MIDI input, as control sees it. One control thread at a time."""

    def __init__(self, events: int) -> None:
        """Lay out an input that does nothing yet; `events` is the address of the ring that takes its parameter events."""
        self._arena = Arena(MIDI.itemsize)
        self._record = self._arena.take(MIDI)
        self._messages, self._programs = Ring(MESSAGE, MESSAGES), Ring(MESSAGE, PROGRAMS)
        self._map = MidiMap({}, ())
        self._coming: MidiMap | None = None  # published, not yet taken up
        self.address = address_of(self._record)
        record = self._record[0]
        record["self_address"], record["events"], record["map"] = self.address, events, self._map.address
        record["messages"], record["programs"] = self._messages.address, self._programs.address
        record["sounding"]["keys"] = NONE

    def publish(self, tables: MidiMap) -> bool:
        """Let the audio thread take up a map at its next block; False while it has not taken up the last one."""
        if not self.settled:
            return False
        self._coming = tables
        atomics.store(self.address + NEXT_AT, tables.address)
        return True

    @property
    def settled(self) -> bool:
        """Whether the audio thread uses the newest map; the one before is free then."""
        if self._coming is not None and atomics.load(self.address + MAP_AT) == self._coming.address:
            self._map, self._coming = self._coming, None
        return self._coming is None

    def release(self) -> None:
        """Let every note go at the next block: the keyboard that held them may be gone."""
        atomics.store(self.address + HUSH_AT, 1)

    def messages(self) -> np.ndarray[Any, Any]:
        """Return what came since the last call, as MESSAGEs, shape (n,)."""
        return self._messages.pop(MESSAGES)

    def programs(self) -> np.ndarray[Any, Any]:
        """Return the program changes since the last call, as MESSAGEs, shape (n,)."""
        return self._programs.pop(PROGRAMS)

    @property
    def counts(self) -> dict[str, int]:
        """Messages heard and malformed, events lost, messages that control was too slow to see."""
        return {name: int(self._record[0][name]) for name in ("heard", "malformed", "lost", "unseen")}


_INPUTS: weakref.WeakKeyDictionary[Processor, MidiInput] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def midi_input(processor: Processor) -> MidiInput:
    """Return a processor's MIDI input, made when it is first asked for. Before the driver starts, or after `open_control`."""
    with _making:
        if processor not in _INPUTS:
            processor.open_control()
            _INPUTS[processor] = MidiInput(processor.rings[MIDI_PRODUCER].address)
        return _INPUTS[processor]
