"""OSCQuery: what there is to control, over HTTP, and what moves, over a WebSocket (Vidvox, OSCQuery Proposal)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.osc.echo import Move
from autovoice.rt.control.osc.packet import write
from autovoice.rt.control.osc.table import Table
from autovoice.rt.control.surface import Surface
from autovoice.rt.control.web.asking import Asked, Inbox
from autovoice.rt.control.web.guard import Pace, error, parse
from autovoice.rt.control.web.live import READ_ONLY
from autovoice.rt.control.web.sockets import BINARY, Client, frame, text_frame
from autovoice.rt.control.web.tree import ATTRIBUTES, READ, ROOT, UNSUPPORTED, Node, Tree, Values

MAX_LISTENING = 2048  # addresses for one client
METERS_S = 0.1  # between two messages of a meter
HOST_INFO = "HOST_INFO"
OPTIONAL = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "CLIPMODE", "OVERLOADS")
EXTENSIONS = {
    **dict.fromkeys((*OPTIONAL, "LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED"), True),
    **dict.fromkeys((*UNSUPPORTED, "PATH_RENAMED"), False),
}


@dataclass(slots=True)
class Listener:
    """A client of the WebSocket at `/`, and the addresses that it listens to."""

    client: Client
    addresses: set[str] = field(default_factory=set)
    told: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # the last value of meters
    pending: set[str] = field(default_factory=set)  # addresses that moved while it read too slowly


class OscQuery:
    """The tree of one engine and its listeners. On the event loop's thread."""

    def __init__(self, surface: Surface, inbox: Inbox) -> None:
        """Describe the board of a surface."""
        self._surface = surface
        self._inbox = inbox
        self._seen = (surface.board, surface.board.version)
        self._described = _described(surface.board.data)
        self._tree = Tree(surface.board)
        self._table = Table(surface.board.rows, tuple(f"/{name}" for name in COMMANDS))
        self._meters_at = 0.0
        self.listeners: dict[int, Listener] = {}

    def tree(self) -> Tree:
        """Return the tree of the newest board; listeners hear what changed."""
        board = self._surface.board
        board.refresh()
        if (board, board.version) != self._seen:
            self._seen = (board, board.version)
            described = _described(board.data)
            if described != self._described:  # most boards differ in the Conductor's state alone
                self._described = described
                before, self._tree = self._tree, Tree(board)
                self._table = Table(board.rows, tuple(f"/{name}" for name in COMMANDS))
                self._tell_structure(before, self._tree)
        return self._tree

    def values(self) -> Values:
        """Return what every readable node reads now."""
        surface = self._surface
        return {**self._tree.values(surface.values()), **self._tree.read(surface.telemetry, surface.board.data)}

    def answer(self, request: web.Request) -> web.Response:
        """Answer a GET for a node, or for some of its attributes."""
        asked = [name for name in request.query if name != "token"]
        if HOST_INFO in asked:
            return _json(self.host_info(request))
        tree = self.tree()
        path = request.path.rstrip("/") or "/"
        node = tree.nodes.get(path)
        if node is None:
            return error(404, f"nothing at {path[:100]}")
        if unknown := [name for name in asked if name not in (*ATTRIBUTES, *UNSUPPORTED)]:
            return error(400, f"no attribute is called {unknown[0][:40]!r}; known are {', '.join(ATTRIBUTES)}")
        if any(name in UNSUPPORTED for name in asked) or ("VALUE" in asked and not node.access & READ):
            return web.Response(status=204)
        values = self.values()
        if not asked:
            return _json(node.describe(values))
        found = {name: node.attribute(name, values) for name in asked}
        return _json({name: value for name, value in found.items() if value is not None})

    def host_info(self, request: web.Request) -> dict[str, Any]:
        """Return where OSC and WebSocket are, and what this server can do."""
        data = self._surface.board.data
        osc = data.get("state", {}).get("osc") or {}
        info: dict[str, Any] = {"NAME": f"AutoVoice {data.get('name', '')}".strip(), "EXTENSIONS": EXTENSIONS}
        sockname = request.transport.get_extra_info("sockname") if request.transport else None
        if osc.get("port"):
            wildcard = osc.get("host") in (None, "", "0.0.0.0", "::")
            info["OSC_IP"] = sockname[0] if wildcard and sockname else osc.get("host")
            info["OSC_PORT"] = int(osc["port"])
            info["OSC_TRANSPORT"] = "UDP"
        if sockname:
            info["WS_IP"], info["WS_PORT"] = sockname[0], sockname[1]
        return info

    async def serve(self, client: Client) -> None:
        """Talk to a client of the WebSocket until it leaves."""
        listener = self.listeners[client.number] = Listener(client)
        pace = Pace()
        try:
            async for message in client.socket:
                if message.type == WSMsgType.TEXT:
                    self._take(listener, message.data)
                elif message.type == WSMsgType.BINARY:
                    self._take_packet(listener, message.data)
                await pace.rest()
        finally:
            self.listeners.pop(client.number, None)

    def _take(self, listener: Listener, text: str) -> None:
        """Act on LISTEN or IGNORE; the proposal knows no error answers, so ours is an ERROR command of one line."""
        try:
            message = parse(text)
            command, address = message.get("COMMAND"), message.get("DATA")
            if command not in ("LISTEN", "IGNORE") or not isinstance(address, str):
                raise ValueError('a message is {"COMMAND": "LISTEN" or "IGNORE", "DATA": an address}')
            if command == "IGNORE":
                listener.addresses.discard(address)
                return
            node = self.tree().nodes.get(address)
            if node is None or not node.type or not node.access & READ:
                raise ValueError(f"no value to listen to at {address[:100]!r}")
            if len(listener.addresses) >= MAX_LISTENING:
                raise ValueError(f"one client listens to at most {MAX_LISTENING} addresses")
            listener.addresses.add(address)
        except ValueError as problem:
            self._complain(listener, str(problem))

    @staticmethod
    def _complain(listener: Listener, text: str) -> None:
        listener.client.offer(text_frame({"COMMAND": "ERROR", "DATA": text}))

    def _take_packet(self, listener: Listener, packet: bytes) -> None:
        """Act on an OSC packet that came over the WebSocket."""
        try:
            if not listener.client.may_write:
                raise ValueError(READ_ONLY)
            self.tree()
            self._inbox.act(self._table, packet, listener.client.number)
        except (ValueError, LookupError) as problem:
            self._complain(listener, str(problem))

    def reply(self, asked: Asked, message: Mapping[str, Any]) -> None:
        """Say what came of a command where it was refused."""
        listener = self.listeners.get(asked.client)
        if listener is not None and not message.get("ok"):
            self._complain(listener, str(message.get("error", "refused")))

    def tick(self, now: float, moves: Sequence[Move]) -> None:
        """Send what moved to those who listen, and meters ten times a second."""
        tree = self.tree()
        if not self.listeners:
            return
        for listener in self.listeners.values():
            for move in moves:
                if move.origin != listener.client.number:
                    listener.pending.update(node.path for node in tree.by_row.get(move.row.path, ()))
            if listener.pending and not listener.client.backlog:
                self._send_values(listener, tree)
        if now - self._meters_at >= METERS_S:
            self._meters_at = now
            self._send_meters(tree)

    def _send_values(self, listener: Listener, tree: Tree) -> None:
        for address in sorted(listener.addresses & listener.pending):
            node = tree.nodes[address]
            if node.row is not None:
                listener.client.send(_packet(node, (node.read(self._surface.value(node.row)),)))
        listener.pending.clear()

    def _send_meters(self, tree: Tree) -> None:
        found: Values | None = None
        for listener in self.listeners.values():
            for address in sorted(listener.addresses & tree.readings.keys()):
                found = found or tree.read(self._surface.telemetry, self._surface.board.data)
                value = found[address]
                if listener.told.get(address) != value and listener.client.offer(_packet(tree.nodes[address], value)):
                    listener.told[address] = value

    def _tell_structure(self, before: Tree, after: Tree) -> None:
        """Say which methods came and went, and what to reload."""
        old, new = ({n.path: n.shape() for n in tree.methods()} for tree in (before, after))
        if old == new and list(old) == list(new):
            return
        news = [("PATH_REMOVED", path) for path in old if path not in new]
        news += [("PATH_ADDED", path) for path in new if path not in old]
        frames = [text_frame({"COMMAND": command, "DATA": path}) for command, path in (*news, ("PATH_CHANGED", ROOT))]
        for listener in self.listeners.values():
            listener.addresses &= new.keys()
            for data in frames:
                listener.client.send(data)


def is_query(request: web.Request) -> bool:
    """Whether a request asks for attributes, so that even a browser wants JSON."""
    return any(name in (HOST_INFO, *ATTRIBUTES, *UNSUPPORTED) for name in request.query)


def _described(data: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(data.get(name) for name in ("generation", "chain", "master"))


def _packet(node: Node, arguments: tuple[Any, ...]) -> bytes:
    return frame(write(node.path, *arguments), BINARY)


def _json(data: Any) -> web.Response:
    return web.Response(
        body=json.dumps(data, separators=(",", ":")).encode(),
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store"},
    )
