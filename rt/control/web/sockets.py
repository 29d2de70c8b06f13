"""One WebSocket client, and frames that are made once and written to many."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from aiohttp import web
from autovoice.rt.control.web.guard import MAX_MESSAGE

TEXT, BINARY = 1, 2  # opcodes
SEND_BUFFER = 128 * 1024  # bytes that the kernel holds for a client; more would only be older
MAX_BACKLOG = 4 << 20  # bytes that wait here for a client, above which it is cut off
HEARTBEAT_S = 15.0  # between pings; who does not answer for half as long is gone


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a whole message as the one unmasked frame that a server sends (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def text_frame(message: dict[str, Any]) -> bytes:
    """Return a JSON message as a frame."""
    return frame(json.dumps(message, separators=(",", ":")).encode())


class Client:
    """A connection. Nothing waits for it: `send` hands over what must arrive, `offer` what may be skipped."""

    def __init__(self, number: int, socket_: web.WebSocketResponse, transport: asyncio.Transport, write: bool) -> None:
        """Take over a prepared WebSocket; `number` is the origin of its changes, `write` whether it may make any."""
        self.number = number
        self.socket = socket_
        self.may_write = write
        self.skipped = 0  # frames
        self._transport = transport

    @property
    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet: more than none means that the client reads too slowly."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Send a frame; a client that has let megabytes pile up is cut off."""
        if self.socket.closed or self._transport.is_closing():
            return
        if self.backlog > MAX_BACKLOG:
            self._transport.abort()
            return
        self._transport.write(data)

    def offer(self, data: bytes) -> bool:
        """Send a frame if the client has taken all before it; say whether it was."""
        if self.backlog:
            self.skipped += 1
            return False
        self.send(data)
        return True


async def accept(request: web.Request, number: int, write: bool) -> Client:
    """Open a WebSocket for a request."""
    connection = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=MAX_MESSAGE, timeout=2.0)
    await connection.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client left before it was let in")
    inner = transport.get_extra_info("socket")
    if inner is not None:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return Client(number, connection, transport, write)
