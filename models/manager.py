"""What is resident: models and voices, shared by whoever uses them, within a budget of memory.

    manager = ModelManager(budget_bytes=200 << 20)
    with manager.use("speaker encoder", load) as weights:
        ...

A thing is loaded when it is first asked for, or before (`preload`), and stays while somebody uses it. What nobody uses is
unloaded after a time (`ttl_s`), or when its place is needed, the longest unused first. Bytes are those of the arrays in it.
Any thread but the audio's; two that ask for the same thing wait for one load.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

MEGABYTE = 1e6
TTL_S = 600.0


class BudgetTooSmall(MemoryError):
    """What is asked for does not fit beside what is in use; the message is one line that says the way out."""


@dataclass(slots=True)
class Resident:
    """One thing in memory."""

    value: Any
    bytes: int
    users: int
    idle_since: float  # when the last user left, on the manager's clock


class ModelManager:
    """Keeps things in memory by name; see the module."""

    def __init__(self, budget_bytes: int, *, ttl_s: float = TTL_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep nothing yet."""
        if budget_bytes <= 0:
            raise BudgetTooSmall(f"the memory budget must be above 0 bytes, got {budget_bytes}")
        self.budget_bytes, self.ttl_s, self._clock = budget_bytes, ttl_s, clock
        self._kept: OrderedDict[str, Resident] = OrderedDict()  # the longest unused first
        self._loading: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def use(self, name: str, load: Callable[[], Any]) -> Iterator[Any]:
        """Lend a thing, loaded if need be, for as long as the context lasts; raises BudgetTooSmall, or what `load` raises."""
        value = self.acquire(name, load)
        try:
            yield value
        finally:
            self.release(name)

    def acquire(self, name: str, load: Callable[[], Any]) -> Any:
        """Return a thing, loaded if need be; whoever got it gives it back with `release`."""
        with self._changed:
            while name in self._loading:
                self._changed.wait()
            found = self._kept.get(name)
            if found is not None:
                found.users += 1
                self._kept.move_to_end(name)
                return found.value
            self._loading.add(name)
        try:
            value = load()
            size = bytes_of(value)
            with self._changed:
                self._make_room(name, size)
                self._kept[name] = Resident(value, size, 1, self._clock())
        finally:
            with self._changed:
                self._loading.discard(name)
                self._changed.notify_all()
        return value

    def release(self, name: str) -> None:
        """Give a thing back; it stays until its time is over or its place is needed."""
        with self._changed:
            found = self._kept.get(name)
            if found is None or found.users == 0:
                raise KeyError(f"{name} is not in use")
            found.users -= 1
            found.idle_since = self._clock()
            self._kept.move_to_end(name)

    def preload(self, loads: Mapping[str, Callable[[], Any]]) -> None:
        """Load things before they are needed."""
        for name, load in loads.items():
            with self.use(name, load):
                pass

    def sweep(self) -> list[str]:
        """Unload what nobody has used for the time; returns the names. To be called now and then."""
        with self._changed:
            now = self._clock()
            over = [name for name, one in self._kept.items() if not one.users and now - one.idle_since >= self.ttl_s]
            for name in over:
                del self._kept[name]
            return over

    def resident(self) -> dict[str, dict[str, int]]:
        """Return bytes and users of everything in memory, the longest unused first."""
        with self._changed:
            return {name: {"bytes": one.bytes, "users": one.users} for name, one in self._kept.items()}

    @property
    def bytes(self) -> int:
        """How much is resident."""
        with self._changed:
            return sum(one.bytes for one in self._kept.values())

    def _make_room(self, name: str, size: int) -> None:
        """Unload what is unused, the longest unused first, until so many bytes are free; nothing where that cannot be had."""
        held = sum(one.bytes for one in self._kept.values() if one.users)
        if held + size > self.budget_bytes:
            raise BudgetTooSmall(
                f"{name} needs {size / MEGABYTE:.3g} MB, and {max(self.budget_bytes - held, 0) / MEGABYTE:.3g} MB of the "
                f"budget of {self.budget_bytes / MEGABYTE:.3g} MB are not in use; raise the budget or let something go"
            )
        for other in list(self._kept):
            if sum(one.bytes for one in self._kept.values()) + size <= self.budget_bytes:
                return
            if not self._kept[other].users:
                del self._kept[other]


def bytes_of(value: Any) -> int:
    """Return the bytes of all arrays in a value: in mappings, sequences, dataclasses and attributes; each memory once."""
    seen: set[int] = set()
    memories: dict[int, int] = {}

    def visit(one: Any) -> None:
        if id(one) in seen or isinstance(one, (str, int, float, type(None))):
            return
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
            memories[id(one)] = one.nbytes
        elif isinstance(one, (bytes, bytearray, memoryview)):
            memories[id(one)] = len(one)
        elif isinstance(one, Mapping):
            for part in one.values():
                visit(part)
        elif isinstance(one, (list, tuple, set, frozenset)):
            for part in one:
                visit(part)
        elif is_dataclass(one) and not isinstance(one, type):
            for field in fields(one):
                visit(getattr(one, field.name))
        elif hasattr(one, "__dict__") and not isinstance(one, type):
            visit(vars(one))

    visit(value)
    return sum(memories.values())
