"""What the tests of the OSC server share: a client that keeps what it hears, and what the audio thread made of it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
from autovoice.rt import Engine
from autovoice.rt.control.board import Row
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.control.osc.packet import read, write
from autovoice.rt.journal import Journal
from autovoice.rt.layout import MOVE, OSC_PRODUCER
from support import wait_until

MALFORMED, UNKNOWN, INVALID, REFUSED, LATE = range(1, 6)
"""The numbers of `/error`, as docs/osc.md has them."""


class Client:
    """A datagram client that keeps what it hears."""

    def __init__(self, conductor: Conductor, *, subscribed: bool = False, hz: float = 0.0) -> None:
        assert conductor.osc is not None
        self.server = (conductor.osc["host"], conductor.osc["port"])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.02)
        self.port = self.socket.getsockname()[1]
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        if subscribed:
            self.send("/subscribe", "", 0, hz)
            assert self.hears("/subscribed")
            assert self.hears("/autovoice/recording")

    def send(self, address: str, *arguments: Any) -> None:
        self.socket.sendto(write(address, *arguments), self.server)

    def listen(self) -> None:
        try:
            packet = self.socket.recv(1 << 16)
        except TimeoutError:
            return
        self.heard += [(m.address, m.arguments) for group in read(packet) for m in group.messages]

    def hears(self, address: str, *arguments: Any) -> bool:
        """Wait until something is heard: any arguments, or these."""

        def found() -> bool:
            self.listen()
            return any(at == address and (not arguments or given == arguments) for at, given in self.heard)

        return wait_until(found)

    def said(self, address: str) -> list[tuple[Any, ...]]:
        return [given for at, given in self.heard if at == address]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.send("/unsubscribe")
        self.socket.close()


class NarrowRing:
    """An engine that takes so many changes."""

    def __init__(self) -> None:
        self.room = 0
        self.sent: list[float] = []

    def send(self, changes: Sequence[tuple[Row, float]], *, frame: int, origin: int) -> bool:
        return self.send_each(changes, origin=origin) == len(changes)

    def send_each(self, changes: Sequence[tuple[Row, float]], *, origin: int) -> int:
        fitting = changes[: self.room]
        self.room -= len(fitting)
        self.sent += [value for _, value in fitting]
        return len(fitting)


def value(engine: Engine, path: str) -> float:
    return engine.processor.values[path]


def moves_after(engine: Engine, count: int, act: Any) -> np.ndarray[Any, Any]:
    """Return the journal's lines for the first `count` moves by OSC after an action."""
    assert engine.processor.page is not None
    journal, found = Journal(engine.processor.page), []

    def done() -> bool:
        entries = journal.read()
        found.extend(entries[(entries["kind"] == MOVE) & (entries["producer"] == OSC_PRODUCER)])
        return len(found) >= count

    act()
    assert wait_until(done)
    return np.array(found)
