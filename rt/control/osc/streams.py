"""TCP clients: each a stream of packets in and a bounded heap of bytes out."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING

from autovoice.rt.control.osc.framing import Framing, framing_of
from autovoice.rt.control.osc.packet import Malformed

if TYPE_CHECKING:
    from autovoice.rt.control.osc.clients import Address

READ_BYTES = 1 << 16  # in one turn
UNSENT_BYTES = 1 << 18  # that may wait for a slow client before it is given up
KEEPALIVE_S, UNANSWERED_MS = 10, 20_000  # until a dead peer is noticed


class Gone(ConnectionError):
    """A stream that has ended, or has to; the message says why, and is empty where the client left of its own."""


class Stream:
    """One connection."""

    def __init__(self, connection: socket.socket, address: Address) -> None:
        """Take over an accepted connection."""
        self.connection, self.address = connection, address
        self.packets: deque[bytes] = deque()
        self.malformed: deque[Malformed] = deque()
        self._framing: Framing | None = None
        self._unsent = bytearray()
        connection.setblocking(False)
        with contextlib.suppress(OSError, AttributeError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)

    @property
    def waiting(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._unsent)

    def receive(self) -> None:
        """Read what came into `packets` and `malformed`; raises Gone, and Malformed where the stream is lost for good."""
        try:
            data = self.connection.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        if self._framing is None:
            self._framing = framing_of(data[0])
        for found in self._framing.decode(data):
            if isinstance(found, Malformed):
                self.malformed.append(found)
            else:
                self.packets.append(found)

    def send(self, packet: bytes) -> None:
        """Send a packet, or as much of it as goes; raises Gone where the client takes nothing for too long."""
        if self._framing is None:
            return
        self._unsent += self._framing.encode(packet)
        self.flush()
        if len(self._unsent) > UNSENT_BYTES:
            raise Gone(f"{self.address[0]} port {self.address[1]} does not read what it asked for")

    def flush(self) -> None:
        """Send what waits, as far as it goes; raises Gone."""
        try:
            sent = self.connection.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise Gone from error
        del self._unsent[:sent]

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
