"""How packets stand in a TCP stream: SLIP, as OSC 1.1 asks, or behind their size, as OSC 1.0 did.

The first byte tells which: a size below 16 MiB begins with 0, a SLIP stream (RFC 1055, with an END on both sides) with END, or
with the `/` or `#` of its first packet. Anything else is no OSC at all, such as the "POST" of a web page that tries its luck
with a port on the user's own machine.
"""

from __future__ import annotations

import re
from typing import Protocol

from autovoice.rt.control.osc.packet import MAX_BYTES, Malformed

END, ESC = b"\xc0", b"\xdb"
ESC_END, ESC_ESC = ESC + b"\xdc", ESC + b"\xdd"
_BROKEN = re.compile(rb"\xdb(?![\xdc\xdd])")
_MEANING = {ESC_END: END, ESC_ESC: ESC}
_ESCAPED = re.compile(rb"\xdb[\xdc\xdd]")
SIZE_BYTES = 4


class Framing(Protocol):
    """One way to put packets into a stream and to get them back."""

    def encode(self, packet: bytes) -> bytes:
        """Return a packet as it stands in the stream."""

    def decode(self, received: bytes) -> list[bytes | Malformed]:
        """Return the packets that these bytes complete, with an error in the place of each that cannot be read."""


class Slip:
    """Packets between END bytes."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._rest = b""
        self._skipping = False

    def encode(self, packet: bytes) -> bytes:
        """Return a packet as it stands in the stream."""
        return END + packet.replace(ESC, ESC_ESC).replace(END, ESC_END) + END

    def decode(self, received: bytes) -> list[bytes | Malformed]:
        """Return the packets that these bytes complete; a broken one is skipped to its END."""
        *whole, self._rest = (self._rest + received).split(END)
        found: list[bytes | Malformed] = []
        for frame in whole:
            if self._skipping:
                self._skipping = False
            elif frame:
                found.append(_unescape(frame))
        if len(self._rest) > 2 * MAX_BYTES:
            if not self._skipping:
                found.append(Malformed(f"a packet of more than {MAX_BYTES} bytes"))
            self._rest, self._skipping = b"", True
        return found


def _unescape(frame: bytes) -> bytes | Malformed:
    if ESC in frame:
        if _BROKEN.search(frame):
            return Malformed("a SLIP escape that means nothing")
        frame = _ESCAPED.sub(lambda found: _MEANING[found[0]], frame)
    return frame if len(frame) <= MAX_BYTES else Malformed(f"a packet of more than {MAX_BYTES} bytes")


class Sized:
    """Packets behind their size, an int32."""

    def __init__(self) -> None:
        """Begin at the start of a stream."""
        self._rest = b""

    def encode(self, packet: bytes) -> bytes:
        """Return a packet as it stands in the stream."""
        return len(packet).to_bytes(SIZE_BYTES, "big") + packet

    def decode(self, received: bytes) -> list[bytes | Malformed]:
        """Return the packets that these bytes complete; raises Malformed where the stream is lost for good."""
        data, at = self._rest + received, 0
        found: list[bytes | Malformed] = []
        while len(data) - at >= SIZE_BYTES:
            size = int.from_bytes(data[at : at + SIZE_BYTES], "big")
            if size > MAX_BYTES:
                raise Malformed(f"a packet of {size} bytes; the most is {MAX_BYTES}")
            if len(data) - at - SIZE_BYTES < size:
                break
            found.append(data[at + SIZE_BYTES : at + SIZE_BYTES + size])
            at += SIZE_BYTES + size
        self._rest = data[at:]
        return found


def framing_of(first: int) -> Framing:
    """Return the framing of a stream by its first byte; raises Malformed where it is no OSC."""
    if first == 0:
        return Sized()
    if first in b"\xc0/#":
        return Slip()
    raise Malformed(f"a TCP stream of OSC begins with a size, END, / or #, not with {bytes([first])!r}")
