"""Plain moves: messages that set one parameter to one number, which are nearly all that a fader ever sends.

Such a packet is the same bytes each time but for its last four, the number. The bytes before them are laid out here for every
address of the table, so that a move is known by one look into a dictionary, and only its number is read. A packet of any other
shape, however little it differs, is python-osc's to parse.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from autovoice.rt.control.osc.packet import write

if TYPE_CHECKING:
    from autovoice.rt.control.osc.table import Target
    from autovoice.rt.control.surface import Row

NUMBER_BYTES = 4
_FLOAT, _INT = struct.Struct(">f"), struct.Struct(">i")


class Plain(NamedTuple):
    """What a packet moves that begins like this, and how the number at its end is read."""

    row: Row
    normal: bool  # the number is 0..1
    unpack: Callable[[bytes], tuple[Any, ...]]


def plain_moves(targets: Mapping[str, Target]) -> dict[bytes, Plain]:
    """Return what packets move that set an address to an f or an i, by their bytes before the number."""
    moves = {}
    for address, (row, normal) in targets.items():
        moves[write(address, 0.0)[:-NUMBER_BYTES]] = Plain(row, normal, _FLOAT.unpack)
        moves[write(address, 0)[:-NUMBER_BYTES]] = Plain(row, normal, _INT.unpack)
    return moves
