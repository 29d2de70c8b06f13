"""What a key does to the engine: moves and commands over OSC, as any other controller sends them."""

from __future__ import annotations

import time
from typing import Any

from autovoice.rt.control.board import Row
from autovoice.tools.send import HERE, ROOT
from autovoice.tools.view.reading import Link
from pythonosc.osc_packet import OscPacket, ParseError
from pythonosc.udp_client import SimpleUDPClient

STEP, LEAP = 0.01, 0.1  # of a fader's way, for a key and for one with Shift
READ_ONLY = "read-only: this engine listens to no OSC; start it with autovoice live --osc-port 9000"
REMEMBERED_S = 0.3  # a held key goes on from what it asked for last, not from what has come back


class Hand:
    """The way to one engine; without an OSC port it can do nothing, and `reason` says so."""

    def __init__(self, link: Link) -> None:
        """Open nothing yet: the port may become known later."""
        self._link = link
        self._way: SimpleUDPClient | None = None
        self._asked: dict[str, tuple[float, float]] = {}  # by path: value, when

    @property
    def _client(self) -> SimpleUDPClient | None:
        port, board = self._link.entry.osc, self._link.board
        if self._way is None and port and board is not None:
            host = str(((board.data.get("state") or {}).get("osc") or {}).get("host", "127.0.0.1"))
            self._way = SimpleUDPClient(HERE.get(host, host), port)
        return self._way

    @property
    def reason(self) -> str | None:
        """Why nothing can be moved; None where it can."""
        return READ_ONLY if self._client is None else None

    def close(self) -> None:
        """Close the socket."""
        if self._way is not None:
            self._way.close()

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message."""
        if (client := self._client) is not None:
            client.send_message(address, list(arguments))

    def move(self, row: Row, now: float, steps: float) -> float:
        """Move a parameter by steps of its fader; a switch and a choice go on by one. Returns what was asked for."""
        value, at = self._asked.get(row.path, (now, 0.0))
        if time.monotonic() - at > REMEMBERED_S:
            value = now
        if row.scale in ("switch", "choice"):
            wanted = row.clamp(value + (1 if steps > 0 else -1))
        else:
            wanted = row.from_norm(row.to_norm(value) + steps)
        return self.set(row, wanted)

    def set(self, row: Row, value: float) -> float:
        """Ask for a value; returns it, in range."""
        wanted = row.clamp(value)
        self._asked[row.path] = (wanted, time.monotonic())
        self.send(ROOT + row.path, wanted)
        return wanted

    def answers(self) -> list[str]:
        """Return what the engine said since: errors, one line each."""
        found: list[str] = []
        while (client := self._client) is not None:
            try:
                packet = client.receive(0.0)
            except OSError:  # nobody listens there any more
                break
            if not packet:
                break
            try:
                said = [timed.message for timed in OscPacket(packet).messages]
            except ParseError:
                continue
            found += [str(message.params[0]) for message in said if message.address == "/error" and message.params]
        return found
