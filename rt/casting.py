"""Voices by name: which slot of the converter's table a voice is in, for chains, presets, takes and the command `voice`.

A voice that is asked for by name is put into a slot that nothing plays from. So a voice changes while it plays without a gap:
the new one is in its slot before the parameter moves there, and the old one's slot stays as it is until nobody holds it. What
nobody holds stays until its place is needed, the longest unused first. Where a setting of a chain names a voice, the chain
holds it for good: scenes and steps to undo may come back to it. The store of voices is a floor above, which says of itself
how one is found (`entrust`); until it does, the voices that ship are known. Any thread but the audio's.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from autovoice.dsp.stage import Param, StageError, suggest

STAGE = "convert"
PARAMETERS = ("voice", "other", "singer")
"""The stage that becomes somebody, and the parameters of it that are slots."""


class Voice(Protocol):
    """Who can be become, as far as the table takes it."""

    @property
    def timbre(self) -> Any:
        """Return the 128 values."""

    @property
    def median_hz(self) -> float:
        """Return the usual pitch."""


Find = Callable[[str], Voice]


class SlotsTaken(RuntimeError):
    """Every slot of the table of voices is in use; the message is one line that says the way out."""


@dataclass(slots=True)
class Slot:
    """One slot of the converter's table."""

    name: str
    voice: Voice
    users: int = 0


class VoiceSlots:
    """Names of voices, and the slots of a table where they are; see the module.

    `put(slot, timbre, median_hz, name)` writes to the table; voices that are always there are given with their slots. `find`
    returns a voice by name or raises ValueError.
    """

    def __init__(
        self, put: Callable[[int, Any, float, str], None], *, slots: int, fixed: Mapping[str, int], find: Find
    ) -> None:
        """Know the voices that are always there, by slot."""
        self._put, self._find, self._fixed = put, find, dict(fixed)
        self._free = [slot for slot in range(slots) if slot not in self._fixed.values()]
        self._used: OrderedDict[int, Slot] = OrderedDict()  # the longest unused first
        self._lock = threading.Lock()

    def check(self, name: str) -> None:
        """Raise ValueError with one line where no voice of that name can be had."""
        if name not in self._fixed:
            self._find(name)

    def acquire(self, name: str) -> int:
        """Return the slot in which a voice is, put there if need be; it stays there until `release`.

        Raises ValueError for a name that no voice has, SlotsTaken where all slots are in use.
        """
        if name in self._fixed:
            return self._fixed[name]
        voice = self._find(name)
        with self._lock:
            slot = next((slot for slot, one in self._used.items() if one.name == name and _same(one.voice, voice)), None)
            if slot is None:  # new, or enrolled anew: then whoever plays the old one keeps what they have
                old = next((slot for slot, one in self._used.items() if one.name == name and not one.users), None)
                slot = self._enter(old if old is not None else self._place(name), name, voice)
            self._used[slot].users += 1
            self._used.move_to_end(slot)
            return slot

    def lend(self, name: str, voice: Voice, at: int) -> int:
        """Return a slot into which a voice was put that need not be in the store, for this borrower alone; until `release`.

        It is slot `at` where that is free.
        """
        with self._lock:
            free = at in self._free and at not in self._used
            slot = self._enter(at if free else self._place(name), name, voice)
            self._used[slot].users = 1
            return slot

    def release(self, slot: int) -> None:
        """Let a slot go that `acquire` or `lend` gave; the voice stays there until its place is needed."""
        with self._lock:
            if slot in self._fixed.values():
                return
            one = self._used.get(slot)
            if one is None or one.users == 0:
                raise KeyError(f"slot {slot} is not in use")
            one.users -= 1
            self._used.move_to_end(slot)

    @contextmanager
    def use(self, name: str) -> Iterator[int]:
        """Lend a voice's slot for as long as the context lasts."""
        slot = self.acquire(name)
        try:
            yield slot
        finally:
            self.release(slot)

    def names(self) -> dict[int, str]:
        """Return the names of the voices in the table, by slot."""
        with self._lock:
            found = {slot: name for name, slot in self._fixed.items()} | {slot: one.name for slot, one in self._used.items()}
            return dict(sorted(found.items()))

    def is_fixed(self, slot: int) -> bool:
        """Say whether a slot belongs to a voice that is always there."""
        return slot in self._fixed.values()

    def own(self, slot: int) -> str | None:
        """Return the name of the voice in a slot, where it is none of those that are always there."""
        with self._lock:
            return self._used[slot].name if slot in self._used else None

    def users(self, slot: int) -> int:
        """Return how many hold a slot."""
        with self._lock:
            return self._used[slot].users if slot in self._used else 0

    def _enter(self, slot: int, name: str, voice: Voice) -> int:
        self._put(slot, voice.timbre, voice.median_hz, name)
        self._used[slot] = Slot(name, voice)
        return slot

    def _place(self, name: str) -> int:
        """Return a slot that nobody holds: a free one, else the one that was unused for the longest time."""
        for slot in self._free:
            if slot not in self._used:
                return slot
        for slot, one in self._used.items():
            if not one.users:
                del self._used[slot]
                return slot
        raise SlotsTaken(
            f"no slot is left for {name}: all {len(self._free)} are held by other voices; "
            "move away from one by the command voice, or start again"
        )


def _same(a: Voice, b: Voice) -> bool:
    return a.median_hz == b.median_hz and bool(np.array_equal(a.timbre, b.timbre))


def _nobody(name: str) -> Voice:
    raise ValueError(f"no voice is called {name!r}{suggest(name, slots().names().values())}")


_find: Find = _nobody
_making = threading.Lock()


def entrust(find: Find) -> None:
    """Let voices be found where they are kept; `find` returns one by its name or raises ValueError."""
    global _find
    _find = find


def slots() -> VoiceSlots:
    """Return the slots of the converter's own table, of which a process has one."""
    with _making:
        return _slots()


@cache
def _slots() -> VoiceSlots:
    from autovoice.dsp.converter import voices as table

    return VoiceSlots(table.put_voice, slots=table.SLOTS, fixed=table.voices(), find=lambda name: _find(name))


def slot_of(name: str) -> float:
    """Return the slot of a voice for good, or what a text says that is a number and no voice's name; raises StageError."""
    try:
        return float(slots().acquire(name))
    except (ValueError, RuntimeError) as error:
        with contextlib.suppress(ValueError):
            return float(name)
        raise StageError(str(error)) from error


def numbered(stage: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a stage with slots in place of the names of voices; raises StageError."""
    if stage != STAGE:
        return dict(settings)
    return {
        name: slot_of(value) if name in PARAMETERS and isinstance(value, str) else value for name, value in settings.items()
    }


def named(stage: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a stage with the names of voices in place of the slots that hold one."""
    if stage != STAGE:
        return dict(settings)
    names = slots().names()
    return {key: names.get(slot_at(value), value) if key in PARAMETERS else value for key, value in settings.items()}


def own_voices(stage: str, values: Mapping[str, float]) -> list[str]:
    """Return the names of the voices that a stage is set to and that do not ship."""
    found = [slots().own(slot_at(values[name])) for name in PARAMETERS] if stage == STAGE else []
    return [name for name in found if name is not None]


def is_slot(parameter: Param) -> bool:
    """Say whether a parameter's values are slots, between which there is nothing but other people."""
    return parameter.name in PARAMETERS and parameter.steps


def slot_at(value: object) -> int:
    """Return the slot that a parameter's value means; -1 for none."""
    return math.floor(value + 0.5) if isinstance(value, (int, float)) else -1


def present(stage: str, settings: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return a stage's settings without the voices that are not there any more, and a line on each."""
    if stage != STAGE:
        return dict(settings), []
    kept, lines = dict(settings), []
    for key in PARAMETERS:
        name = settings.get(key)
        if isinstance(name, str):
            try:
                slots().check(name)
            except ValueError as error:
                del kept[key]
                lines.append(f"{STAGE}/{key} stays at its default: {error}")
    return kept, lines
