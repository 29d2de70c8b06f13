"""Moves and commands on their way in, from the page or as OSC packets over the WebSocket: checked here, done elsewhere.

Moves go by the ring straight to the audio thread, and so does what cannot wait: mute, bypass, the silence of a panic. All else
goes to the Conductor over a socket. What waits there for an answer is bounded, so that the socket never fills, however long a
command takes.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.osc.arguments import command_arguments, value_of
from autovoice.rt.control.osc.packet import Group, read
from autovoice.rt.control.osc.table import SWITCHES, Table
from autovoice.rt.control.surface import Row, Surface

MAX_WAITING = 16  # commands of one client that are not answered yet
MAX_WAITING_BYTES = 64 * 1024  # of all clients, with what the kernel keeps beside each
MESSAGE_BYTES = 1024  # that the kernel takes for the shortest message


class Refused(ValueError):
    """What cannot be done; the message is one line."""


class Asked(NamedTuple):
    """A command that waits for its answer."""

    client: int
    number: Any  # under which the client asked
    bytes: int


class Inbox:
    """What clients want, on its way to the engine. On the event loop's thread."""

    def __init__(self, surface: Surface) -> None:
        """Hand on to a surface."""
        self._surface = surface
        self._asked: dict[int, Asked] = {}
        self.stuck = False  # the Conductor has not read its end of the socket for long: a line may have gone out in part

    def move(self, changes: Sequence[tuple[Row, float]], client: int) -> None:
        """Move parameters, all at one frame; raises Refused."""
        if changes and not self._surface.send(changes, origin=client):
            raise Refused("the engine takes no moves now: too many are waiting, or it has stopped")

    def ask(self, name: str, arguments: Sequence[Any], client: int, number: Any = None) -> bool:
        """Ask for a command; says whether it is done already, else the answer will come. Raises ValueError with one line."""
        command = COMMANDS.get(name)
        if command is None:
            near = difflib.get_close_matches(name[:40], COMMANDS, n=1)
            raise Refused(f"no command is called {name[:40]!r}; {f'did you mean {near[0]!r}?' if near else 'see the manual'}")
        rows = self._surface.board.rows
        if (path := SWITCHES.get(f"/{name}")) is not None:
            value = value_of(rows[path], arguments, self._surface.value(rows[path]))
            self.move([] if value is None else [(rows[path], value)], 0)
            return True
        plain = [json.dumps(a) if isinstance(a, (list, dict)) else a for a in arguments]
        given = command_arguments(name, command.kinds, plain)
        if name == "panic":
            self.move([(rows["master/mute"], 1.0)], 0)
        self._request(name, given, client, number)
        return False

    def _request(self, name: str, arguments: Sequence[Any], client: int, number: Any) -> None:
        size = MESSAGE_BYTES + len(json.dumps(arguments))
        if sum(one.client == client for one in self._asked.values()) >= MAX_WAITING:
            raise Refused(f"{MAX_WAITING} commands of yours wait for an answer; wait for one")
        if size + sum(one.bytes for one in self._asked.values()) > MAX_WAITING_BYTES:
            raise Refused("the engine has more to do than it can take now; wait, or say less at once")
        try:
            self._asked[self._surface.request(name, *arguments, origin=client)] = Asked(client, number, size)
        except TimeoutError:
            self.stuck = True
            raise Refused("the engine's process does not listen") from None

    def answered(self, reply: Mapping[str, Any]) -> Asked | None:
        """Return whose command a reply answers."""
        return self._asked.pop(int(reply["reply"]), None)

    def act(self, table: Table, packet: bytes, client: int) -> None:
        """Act on an OSC packet: each bundle's moves at one frame, its commands after them.

        Time tags are not followed. Raises ValueError or LookupError with one line.
        """
        for group in read(packet):
            self._act(table, group, client)

    def _act(self, table: Table, group: Group, client: int) -> None:
        changes: list[tuple[Row, float]] = []
        commands = []
        for message in group.messages:
            name = message.address[1:]
            if name in COMMANDS and message.address not in SWITCHES:
                commands.append((name, message.arguments))
                continue
            for target in table.find(message.address):
                value = value_of(target.row, message.arguments, self._surface.value(target.row), normal=target.normal)
                if value is not None:
                    changes.append((target.row, value))
        self.move(changes, client)
        for name, arguments in commands:
            self.ask(name, arguments, client)
