"""A surface's line to the engine: it moves parameters through shared memory, and asks for the rest over a socket.

For processes beside the engine's; imports no compiler. One thread at a time.
"""

from __future__ import annotations

import json
import mmap
import os
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from autovoice.rt.control.board import Board, Row
from autovoice.rt.journal import ControlPage, Journal, fence
from autovoice.rt.layout import EVENT, IMMEDIATELY, MAX_PENDING, SCOPE, SCOPE_FRAMES
from autovoice.rt.telemetry import Telemetry

__all__ = ["Board", "EventRing", "Row", "Scope", "Surface"]

WRITE, READ, CAPACITY, ITEM, DATA = 0, 64, 128, 136, 192  # byte offsets in a ring; see autovoice.rt.ring
PACKED = struct.Struct("=qqqdqqq")  # one EVENT
ATTACH_S = 10.0
SEND_S = 1.0  # how long the engine's process may leave its end of the socket unread
READ_BYTES = 1 << 16
STOP: dict[str, Any] = {"stop": True}


class EventRing:
    """The producer's end of a ring of events in shared memory."""

    def __init__(self, path: str) -> None:
        """Map it; raises ValueError where it holds something else."""
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
        self._words = memoryview(self._memory).cast("q")
        self._mask = self._words[CAPACITY // 8] - 1
        if self._words[ITEM // 8] != PACKED.size or PACKED.size != EVENT.itemsize:
            raise ValueError(f"{path} holds items of {self._words[ITEM // 8]} bytes, an event has {EVENT.itemsize}")

    @property
    def room(self) -> int:
        """How many events it takes now."""
        return int(self._mask + 1 - (self._words[WRITE // 8] - self._words[READ // 8]))

    def push(self, events: Sequence[tuple[int, int, int, float, int, int, int]]) -> bool:
        """Push all events, given in the order of EVENT's fields, or none where there is no room; say whether it was done."""
        if self.room < len(events):
            return False
        memory, mask, size, pack = self._memory, self._mask, PACKED.size, PACKED.pack_into
        at = write = self._words[WRITE // 8]
        for event in events:
            pack(memory, DATA + (at & mask) * size, *event)
            at += 1
        fence()
        self._words[WRITE // 8] = write + len(events)
        return True


class Scope:
    """The newest frames that went in and came out."""

    def __init__(self, path: str) -> None:
        """Map the page."""
        with open(path, "rb") as file:
            memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size, prot=mmap.PROT_READ)
        self._words = np.frombuffer(memory, np.int64, 1)
        self._page: Any = np.frombuffer(memory, SCOPE, 1)[0]

    @property
    def written(self) -> int:
        """The absolute frame up to which the page reaches."""
        return int(self._words[0])

    def latest(self, frames: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the newest frames of input and output, float32 of shape (frames,) each, at most half of SCOPE_FRAMES."""
        at = np.arange(self.written - min(frames, SCOPE_FRAMES // 2), self.written) & (SCOPE_FRAMES - 1)
        fence()
        return self._page["input"][at], self._page["output"][at]


class Surface:
    """What a surface sees and may do; made from the socket that the Conductor handed down."""

    def __init__(self, channel: socket.socket, producer: int) -> None:
        """Wait for the first message, which says where everything lies; raises TimeoutError where none comes."""
        self._channel = channel
        self._producer = producer
        self._unread = b""
        self._messages: list[dict[str, Any]] = []
        self._asked = 0
        self._attached = False
        self.lapped = False  # journal entries were lost to this reader: read `values()` anew and clear it
        channel.setblocking(False)
        end = time.monotonic() + ATTACH_S
        waiting = selectors.DefaultSelector()
        waiting.register(channel, selectors.EVENT_READ)
        while not self._attached:
            if time.monotonic() > end:
                raise TimeoutError("the engine has not said where its pages lie")
            waiting.select(0.1)
            self._messages += self._read()
        waiting.close()

    def _attach(self, where: dict[str, Any]) -> None:
        self.telemetry = Telemetry.attach(where["telemetry"])
        self._page = ControlPage.attach(where["control"])
        self._ring = EventRing(where["ring"])
        self.scope = Scope(where["scope"])
        self.board = Board(self._page)
        self._journal = Journal(self._page)
        self.lapped = self._attached
        self._attached = True

    def send(self, changes: Sequence[tuple[Row, float]], *, frame: int = IMMEDIATELY, origin: int = 0) -> bool:
        """Send one group of changes, applied together at an absolute frame; False where there is no room and nothing was sent.

        Values must be in range (Row.clamp). Raises ValueError for a group that is too long.
        """
        count = len(changes)
        if count > MAX_PENDING // 2:
            raise ValueError(f"a group holds at most {MAX_PENDING // 2} changes, got {count}")
        producer = self._producer
        return self._ring.push(
            [(frame, row.uid, row.index, value, count - 1 - k, producer, origin) for k, (row, value) in enumerate(changes)]
        )

    def send_each(self, changes: Sequence[tuple[Row, float]], *, origin: int = 0) -> int:
        """Send changes, each to be applied as soon as it is read, as many of the first as there is room for.

        Values must be in range (Row.clamp). Returns how many were sent.
        """
        producer, fitting = self._producer, changes[: self._ring.room]
        self._ring.push([(IMMEDIATELY, row.uid, row.index, value, 0, producer, origin) for row, value in fitting])
        return len(fitting)

    def value(self, row: Row) -> float:
        """Return a parameter's value as last applied."""
        return self._page.value(row.uid, row.index)

    def values(self) -> dict[str, float]:
        """Return every value by path, as last applied."""
        return {path: self._page.value(row.uid, row.index) for path, row in self.board.rows.items()}

    def read_journal(self) -> np.ndarray[Any, Any]:
        """Return the journal's new entries, an ENTRY array of shape (n,); sets `lapped` where some were lost."""
        entries = self._journal.read()
        self.lapped |= self._journal.lapped
        self._journal.lapped = False
        return entries

    def path_of(self, uid: int, index: int) -> str | None:
        """Return the path of what an event moves, None where it plays no more."""
        return self.board.path_of(uid, index)

    def request(self, name: str, *arguments: Any, origin: int = 0) -> int:
        """Ask the Conductor for a command; returns the number of its reply. Raises TimeoutError where it is stuck."""
        self._asked += 1
        self.tell({"do": name, "arguments": arguments, "id": self._asked, "origin": origin})
        return self._asked

    def notify(self, text: str, **more: Any) -> None:
        """Let the Conductor tell the user something, in one line."""
        self.tell({"notice": text, **more})

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message; what is sent after the engine's process is gone is lost."""
        self._channel.settimeout(SEND_S)
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except TimeoutError:  # a part may have gone out: nothing that follows would be understood
            self._messages.append(STOP)
            raise
        except OSError:
            self._messages.append(STOP)
        finally:
            self._channel.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when messages came."""
        return self._channel.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that came: replies, notices, stop. Never waits."""
        messages, self._messages = self._messages + self._read(), []
        return messages

    def _read(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            try:
                piece = self._channel.recv(READ_BYTES)
            except BlockingIOError:
                return found
            except OSError:
                piece = b""
            if not piece:
                return [*found, STOP]
            *lines, self._unread = (self._unread + piece).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "attach" in message:
                    self._attach(message["attach"])
                else:
                    found.append(message)
