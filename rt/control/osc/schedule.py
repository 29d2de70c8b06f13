"""Groups that wait: for their time, where their tag lies ahead, or for room, where the engine's ring is full."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from autovoice.rt.control.osc.clients import Client
from autovoice.rt.control.osc.packet import Message
from autovoice.rt.layout import IMMEDIATELY, MAX_PENDING

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row

AHEAD_NS = 50_000_000  # before its time a group goes to the engine, which has places for few that wait; at least ...
AHEAD_BLOCKS = 3  # ... so many of the driver's before
FARTHEST_S = 60.0  # a tag farther ahead is taken for a wrong clock
MAX_HELD = 4096  # groups
MAX_HELD_EACH = 1024  # ... of one client
PATIENCE_S = 0.25  # for a full ring
MAX_WAITING = 4096  # groups
MAX_CHANGES = MAX_PENDING // 2  # in one group, as the engine takes them


class Held(NamedTuple):
    """A group whose time is to come."""

    due_ns: int  # CLOCK_MONOTONIC
    order: int
    messages: list[Message]
    client: Client


class Schedule:
    """Groups by their time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.ahead_ns = AHEAD_NS
        self._heap: list[Held] = []
        self._order = itertools.count()
        self._each: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._heap)

    def hold(self, due_ns: int, messages: list[Message], client: Client) -> bool:
        """Keep a group until shortly before its time; False where too many wait."""
        mine = self._each.get(client.number, 0)
        if len(self._heap) >= MAX_HELD or mine >= MAX_HELD_EACH:
            return False
        self._each[client.number] = mine + 1
        heapq.heappush(self._heap, Held(due_ns, next(self._order), messages, client))
        return True

    def wait_s(self) -> float:
        """Return how long it is until the next group has to go."""
        if not self._heap:
            return float("inf")
        return max(self._heap[0].due_ns - self.ahead_ns - time.monotonic_ns(), 0) * 1e-9

    def release(self) -> list[Held]:
        """Return the groups that have to go now, the earliest first."""
        until = time.monotonic_ns() + self.ahead_ns
        found = []
        while self._heap and self._heap[0].due_ns <= until:
            held = heapq.heappop(self._heap)
            left = self._each.pop(held.client.number) - 1
            if left:
                self._each[held.client.number] = left
            found.append(held)
        return found


class Waiting(NamedTuple):
    """A group that the ring had no room for."""

    changes: Sequence[tuple[Row, float]]
    frame: int
    client: Client
    until_s: float


class Sender(Protocol):
    """The way to the engine: a Surface."""

    def send(self, changes: Sequence[tuple[Row, float]], *, frame: int, origin: int) -> bool:
        """Send one group; say whether there was room."""

    def send_each(self, changes: Sequence[tuple[Row, float]], *, origin: int) -> int:
        """Send groups of one change each while there is room; returns how many."""


class Outbox:
    """Hands groups to the engine in order, and keeps them while its ring is full."""

    def __init__(self, sender: Sender) -> None:
        """Send this way; nothing waits yet."""
        self._sender = sender
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        """Return how many groups wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be read until there is room."""
        return len(self._waiting) >= MAX_WAITING

    def put(self, changes: Sequence[tuple[Row, float]], client: Client, frame: int = IMMEDIATELY) -> None:
        """Send a group, or keep it until there is room."""
        if self._waiting or not self._sender.send(changes, frame=frame, origin=client.number):
            self._waiting.append(Waiting(changes, frame, client, time.monotonic() + PATIENCE_S))

    def put_each(self, changes: Sequence[tuple[Row, float]], client: Client) -> None:
        """Send each change as a group of its own, to be applied at once, or keep those that there is no room for."""
        sent = 0 if self._waiting else self._sender.send_each(changes, origin=client.number)
        until_s = time.monotonic() + PATIENCE_S
        self._waiting.extend(Waiting((change,), IMMEDIATELY, client, until_s) for change in changes[sent:])

    def retry(self) -> list[Waiting]:
        """Send what waits, as far as it goes; returns the groups that waited too long and are given up."""
        given_up = []
        while self._waiting:
            first = self._waiting[0]
            if self._sender.send(first.changes, frame=first.frame, origin=first.client.number):
                self._waiting.popleft()
            elif time.monotonic() > first.until_s:
                given_up.append(self._waiting.popleft())
            else:
                break
        return given_up
