"""The page's WebSocket at `/live`: what plays, what moves, what is heard, and the performer's own changes on their way in.

Telemetry, journal and spectrum are read once a tick and made into frames once, whoever listens. A client that reads too
slowly skips meters, and gets the newest of each value once it has caught up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType
from autovoice.rt.control.osc.arguments import value_of
from autovoice.rt.control.osc.echo import Move
from autovoice.rt.control.surface import Row, Surface
from autovoice.rt.control.web.asking import Asked, Inbox
from autovoice.rt.control.web.guard import Pace, parse
from autovoice.rt.control.web.readings import Readings
from autovoice.rt.control.web.sockets import BINARY, Client, frame, text_frame

PROTOCOL = 1
MAX_HZ = 30.0  # ticks a second
DEFAULT_HZ = 15.0  # of meters, for a client that has not said
BOARD_S = 0.2  # between two boards sent
HISTOGRAM_S = 1.0
INCIDENTS_S = 0.25  # between two looks at what is logged
IN_FLIGHT_S = 0.5  # that a page's move may take to get here
LOG_LINES = 100  # that a newcomer is told
MAX_CHANGES = 256  # values in one message


@dataclass(slots=True)
class Listener:
    """A page, and what it asked for."""

    client: Client
    hz: float = DEFAULT_HZ
    spectrum: bool = False
    due: float = 0.0  # ticks saved up, in meters
    pending: dict[str, float | None] = field(default_factory=dict)  # values that it has not taken yet
    stale: bool = False  # it has not taken the newest board
    told_at: float = -math.inf  # when it was last sent all values


class Live:
    """All pages. On the event loop's thread."""

    def __init__(self, surface: Surface, readings: Readings, inbox: Inbox) -> None:
        """Serve the board of a surface."""
        self._surface = surface
        self._inbox = inbox
        self._readings = readings
        self._seen = (surface.board, surface.board.version)
        self._shown = _shown(surface.board.data)
        self._board_at = self._histogram_at = self._watched_at = -math.inf
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_LINES)
        self.listeners: dict[int, Listener] = {}

    async def serve(self, client: Client) -> None:
        """Talk to a page until it leaves."""
        self._look()
        listener = self.listeners[client.number] = Listener(client)
        pace = Pace()
        try:
            client.send(text_frame(self._hello(client)))
            for line in self._log:
                client.send(text_frame(line))
            async for message in client.socket:
                if message.type != WSMsgType.TEXT:
                    self._complain(client, "messages to /live are JSON text")
                else:
                    self._take(listener, message.data)
                await pace.rest()
        finally:
            self.listeners.pop(client.number, None)

    def _hello(self, client: Client) -> dict[str, Any]:
        return {
            "type": "hello",
            "session": self._shown.get("session", ""),
            "version": PROTOCOL,
            "write": client.may_write,
            "board": self._shown,
            "values": self._values(),
        }

    def _values(self) -> dict[str, float | None]:
        return {path: _short(value) for path, value in self._surface.values().items()}

    def tick(self, now: float, moves: Sequence[Move]) -> None:
        """Tell every page what is new."""
        if now - self._board_at >= BOARD_S and self._look():
            self._board_at = now
        if any(x.stale and not x.client.backlog for x in self.listeners.values()):
            self._send_board(now)
        self._spread(now, moves)
        due = [x for x in self.listeners.values() if self._is_due(x)]
        self._send_meters(due)
        if now - self._histogram_at >= HISTOGRAM_S and self.listeners:
            self._histogram_at = now
            self._offer(self.listeners.values(), text_frame(self._readings.histogram()))
        if now - self._watched_at >= INCIDENTS_S:
            self._watched_at = now
            self.watch()

    def watch(self) -> None:
        """Log what was counted since the last look."""
        for line in self._readings.incidents():
            self.log(**line)

    def _look(self) -> bool:
        """Look at the board; say whether pages have to be told of it anew."""
        board = self._surface.board
        if (board, board.version) == self._seen:
            return False
        self._seen, before, self._shown = (board, board.version), self._shown, _shown(board.data)
        if self._shown == before:
            return False
        for listener in self.listeners.values():
            listener.stale = True
        return True

    def _send_board(self, now: float) -> None:
        data = text_frame({"type": "board", "board": self._shown, "values": self._values()})
        for listener in self.listeners.values():
            if listener.stale and listener.client.offer(data):
                listener.stale, listener.told_at = False, now
                listener.pending.clear()

    def _spread(self, now: float, moves: Sequence[Move]) -> None:
        """Send what moved to everybody but who moved it; one frame serves all who moved nothing and wait for nothing.

        Whoever moves something while all values are on their way is told the value of before, so it hears of its own move too.
        """
        newest = {moved.row.path: moved for moved in moves}
        values = {path: _short(moved.value) for path, moved in newest.items()}
        movers = {moved.origin for moved in newest.values()}
        shared = text_frame({"type": "values", "values": values}) if values else b""
        for number, listener in self.listeners.items():
            if number not in movers and not listener.pending and not listener.client.backlog:
                if shared:
                    listener.client.send(shared)
                continue
            for path, moved in newest.items():
                if moved.origin == number and not 0 < now - listener.told_at < IN_FLIGHT_S:
                    listener.pending.pop(path, None)
                else:
                    listener.pending[path] = values[path]
            if listener.pending and listener.client.offer(text_frame({"type": "values", "values": listener.pending})):
                listener.pending.clear()

    @staticmethod
    def _is_due(listener: Listener) -> bool:
        listener.due = min(listener.due + listener.hz / MAX_HZ, 1.0 + listener.hz / MAX_HZ)
        if listener.due < 1.0 - 1e-9:
            return False
        listener.due -= 1.0
        return True

    def _send_meters(self, due: list[Listener]) -> None:
        if not due:
            return
        self._offer(due, text_frame(self._readings.meters()))
        if watching := [x for x in due if x.spectrum]:
            for column in self._readings.columns():
                self._offer(watching, frame(column, BINARY))

    @staticmethod
    def _offer(listeners: Iterable[Listener], data: bytes) -> None:
        for listener in listeners:
            listener.client.offer(data)

    def log(self, kind: str, text: str, t: float | None = None) -> None:
        """Tell every page a line: xrun, miss, late, notice or error."""
        line = {"type": "log", "t": self._readings.time_s() if t is None else t, "kind": kind, "text": text}
        self._log.append(line)
        data = text_frame(line)
        for listener in self.listeners.values():
            listener.client.send(data)

    def reply(self, asked: Asked, message: Mapping[str, Any]) -> None:
        """Hand the Conductor's answer to the page that asked."""
        listener = self.listeners.get(asked.client)
        if listener is not None:
            answer = {k: message[k] for k in ("ok", "result", "error") if k in message}
            listener.client.send(text_frame({"type": "reply", "id": asked.number, **answer}))

    def _take(self, listener: Listener, text: str) -> None:
        """Act on a page's message; what is wrong with it is said in one line."""
        try:
            message = parse(text)
            kind = message.get("type")
            if not isinstance(kind, str) or kind not in _KINDS:
                raise ValueError(f"type must be one of {', '.join(_KINDS)}, got {str(kind)[:40]!r}")
            _KINDS[kind](self, listener, message)
        except (ValueError, TypeError, OverflowError) as error:
            self._complain(listener.client, str(error))

    @staticmethod
    def _complain(client: Client, text: str) -> None:
        client.offer(text_frame({"type": "log", "t": 0.0, "kind": "error", "text": text}))

    def _rate(self, listener: Listener, message: Mapping[str, Any]) -> None:
        hz = message.get("hz", listener.hz)
        if not isinstance(hz, (int, float)) or not math.isfinite(hz):
            raise ValueError(f"hz must be a number in 0..{MAX_HZ:g}, got {str(hz)[:40]!r}")
        listener.hz = min(max(float(hz), 0.0), MAX_HZ)
        listener.spectrum = bool(message.get("spectrum", listener.spectrum))

    def _set(self, listener: Listener, message: Mapping[str, Any]) -> None:
        """Move parameters, all at one frame; a value that was clamped goes back to its sender."""
        if not listener.client.may_write:
            raise ValueError(READ_ONLY)
        wanted = message.get("values")
        if not isinstance(wanted, dict) or not 0 < len(wanted) <= MAX_CHANGES:
            raise ValueError(f"values must be an object of 1..{MAX_CHANGES} paths and numbers")
        changes = [self._change(path, value) for path, value in wanted.items()]
        self._inbox.move(changes, listener.client.number)
        taken = {row.path: _short(value) for row, value in changes if value != wanted[row.path]}
        if taken:
            listener.client.send(text_frame({"type": "values", "values": taken}))

    def _change(self, path: str, value: Any) -> tuple[Row, float]:
        row = self._surface.board.rows.get(path)
        if row is None:
            raise ValueError(f"nothing here is called {path[:60]!r}")
        number = value_of(row, [value], self._surface.value(row)) if value is not None else None
        if number is None:
            raise ValueError(f"{path} must be a number, got {str(value)[:40]!r}")
        return row, number

    def _command(self, listener: Listener, message: Mapping[str, Any]) -> None:
        """Pass a command on; its answer comes later."""
        number, name, arguments = message.get("id"), message.get("name"), message.get("args", [])
        try:
            if not listener.client.may_write:
                raise ValueError(READ_ONLY)
            if not isinstance(name, str) or not isinstance(arguments, list):
                raise ValueError('a command is {"type": "command", "id": 1, "name": "undo", "args": []}')
            if self._inbox.ask(name, arguments, listener.client.number, number):
                listener.client.send(text_frame({"type": "reply", "id": number, "ok": True, "result": None}))
        except ValueError as error:
            listener.client.send(text_frame({"type": "reply", "id": number, "ok": False, "error": str(error)}))


READ_ONLY = "this page may look but not change anything: open it with the ?token= that AutoVoice printed"
_KINDS: dict[str, Callable[[Live, Listener, Mapping[str, Any]], None]] = {
    "set": Live._set,
    "command": Live._command,
    "rate": Live._rate,
}


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the board as pages get it: without the counts, which change every second and are for /metrics."""
    return {**data, "state": {k: v for k, v in data.get("state", {}).items() if k != "counts"}}


def _short(value: float) -> float | None:
    """Round to what a fader shows; JSON has no NaN."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
