"""What moved since the last tick, and who has to be told: everybody but who moved it.

However many moves a parameter made between two ticks, its newest value is told once. Values that change without a line in the
journal (a chain taken up, a reader that was lapped) are found by comparing all of them with what was told before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from autovoice.rt.layout import ADOPTED, MOVE

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row, Surface


class Move(NamedTuple):
    """The newest value of a parameter."""

    row: Row
    value: float
    origin: int  # the number of our own client that moved it, 0 = somebody else


class Echo:
    """Follows the journal of one engine for the surface that sends as `producer`."""

    def __init__(self, surface: Surface, producer: int) -> None:
        """Begin with the values as they are."""
        self._surface, self._producer = surface, producer
        self._told = surface.values()
        self._version = surface.board.version
        self.applied = 0  # moves of ours that the audio thread applied

    def moves(self) -> list[Move]:
        """Return what moved since the last call, each parameter once."""
        surface = self._surface
        newest: dict[tuple[int, int], tuple[float, int]] = {}
        entries = surface.read_journal()
        compare = surface.lapped or surface.board.version != self._version
        if len(entries):
            kinds = entries["kind"]
            compare = compare or bool((kinds == ADOPTED).any())
            moved = entries[kinds == MOVE]
            ours = moved["producer"] == self._producer
            self.applied += int(ours.sum())
            origins = moved["origin"] * ours
            columns = (moved[name].tolist() for name in ("uid", "index", "value"))
            for uid, index, value, origin in zip(*columns, origins.tolist(), strict=True):
                newest[uid, index] = value, origin
        surface.lapped, self._version = False, surface.board.version
        found = [self._move(*place, *what) for place, what in newest.items()]
        moves = {move.row.path: move for move in found if move is not None}
        for move in moves.values():
            self._told[move.row.path] = move.value
        return [*moves.values(), *(self._compared() if compare else [])]

    def _move(self, uid: int, index: int, value: float, origin: int) -> Move | None:
        path = self._surface.path_of(uid, index)
        row = self._surface.board.rows.get(path) if path is not None else None
        return Move(row, value, origin) if row is not None else None

    def _compared(self) -> list[Move]:
        """Return the parameters whose value is not what was told last, and forget those that are gone."""
        values, rows = self._surface.values(), self._surface.board.rows
        told = self._told
        changed = [Move(rows[path], value, 0) for path, value in values.items() if told.get(path) != value]
        self._told = values
        return changed
