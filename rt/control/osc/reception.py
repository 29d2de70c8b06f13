"""From messages to what they ask for: moves for the audio thread, commands for the Conductor, answers for the sender."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.osc.arguments import BadArgument, command_arguments, taken, value_of
from autovoice.rt.control.osc.clients import FORMS, MAX_HZ, MIN_HZ, Client, Clients, Subscribers
from autovoice.rt.control.osc.clock import FrameClock, monotonic_of_tag, realtime_offset_ns
from autovoice.rt.control.osc.counts import Counts
from autovoice.rt.control.osc.hub import Hub
from autovoice.rt.control.osc.network import AllowList, NetworkError, numeric
from autovoice.rt.control.osc.outputs import METERS, heartbeat, meter_messages, playing, value_messages
from autovoice.rt.control.osc.packet import IMMEDIATE, Group, Message, write
from autovoice.rt.control.osc.plain import NUMBER_BYTES, plain_moves
from autovoice.rt.control.osc.schedule import AHEAD_BLOCKS, AHEAD_NS, FARTHEST_S, MAX_CHANGES, Outbox, Schedule
from autovoice.rt.control.osc.table import SWITCHES, Table, UnknownAddress
from autovoice.rt.layout import BLOCK_NOW, IMMEDIATELY

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row, Surface

MALFORMED, UNKNOWN, INVALID, REFUSED, LATE, NO_ROOM, TOO_MANY = range(1, 8)
"""The numbers that `/error` sends with its text."""

OURS = ("/error", "/done", "/subscribed")
"""What only a server says: it is not answered, or two of them would never end."""
SENT_S = 0.1  # for which a value that was sent counts as the present one, until the journal has it
MAX_ASKED = 32  # commands without an answer yet: what the socket to the engine is sure to hold


class Asked(NamedTuple):
    """A command that was handed to the Conductor."""

    client: Client
    name: str


class Reception:
    """Acts on groups of messages. One thread."""

    def __init__(
        self,
        surface: Surface,
        hub: Hub,
        clients: Clients,
        subscribers: Subscribers,
        allowed: AllowList,
        counts: Counts,
    ) -> None:
        """Serve the board of an attached surface."""
        self._surface, self._hub, self._counts = surface, hub, counts
        self._clients, self._subscribers, self._allowed = clients, subscribers, allowed
        self._clock = self._new_clock()
        self._commands = {f"/{name}": command for name, command in COMMANDS.items()}
        self._own: dict[str, Callable[[Sequence[Any], Client], None]] = {
            "/subscribe": self._subscribe,
            "/unsubscribe": self._unsubscribe,
            "/query": self._query,
            "/refresh": self._refresh,
            "/heartbeat": self._heartbeat,
        }
        self._sent: dict[str, tuple[float, float]] = {}
        self._asked: dict[int, Asked] = {}
        self.schedule = Schedule()
        self.outbox = Outbox(surface)
        self._lay_out()

    def _lay_out(self) -> None:
        self._rows = self._surface.board.rows
        self._table = Table(self._rows, (*self._commands, *self._own))
        self._plain = plain_moves(self._table.targets)
        self._sent.clear()

    def _new_clock(self) -> FrameClock:
        self._telemetry = self._surface.telemetry
        return FrameClock(float(self._telemetry["sample_rate"]), self._block())

    def _block(self) -> int:
        telemetry = self._surface.telemetry
        return telemetry.driver(BLOCK_NOW) or int(telemetry["block"])

    def look(self) -> None:
        """Follow the driver's clock and what plays; to be called often."""
        if self._surface.telemetry is not self._telemetry:  # another engine, after a restart of the driver
            self._clock = self._new_clock()
        self._clock.look(self._telemetry)
        blocks_ns = round(AHEAD_BLOCKS * self._block() * 1e9 / float(self._telemetry["sample_rate"]))
        self.schedule.ahead_ns = max(AHEAD_NS, blocks_ns)
        self._follow_board()

    def _follow_board(self) -> None:
        board = self._surface.board
        board.refresh()
        if board.rows is not self._rows:
            self._lay_out()

    def keep_going(self) -> None:
        """Send what had to wait for its time or for room."""
        for held in self.schedule.release():
            self._act(held.messages, held.client, held.due_ns)
        for group in self.outbox.retry():
            self._counts.dropped += len(group.changes)
            self._hub.error(group.client, "the engine takes no changes now: its ring is full, or it stands still", NO_ROOM)

    def plain(self, packets: Sequence[bytes], start: int) -> list[tuple[Row, float]]:
        """Return what the packets from `start` on move, up to the first that has to be read to know it."""
        self._follow_board()
        known, moves = self._plain, []
        for k in range(start, len(packets)):
            packet = packets[k]
            plain = known.get(packet[:-NUMBER_BYTES])
            if plain is None:
                break
            row, normal, unpack = plain
            (number,) = unpack(packet[-NUMBER_BYTES:])
            if number != number:
                break
            moves.append((row, taken(row, number, normal=normal)))
        return moves

    def move(self, moves: Sequence[tuple[Row, float]], client: Client) -> None:
        """Do what plain packets ask for, each by itself."""
        self._counts.messages += len(moves)
        self._counts.moves += len(moves)
        until_s = time.monotonic() + SENT_S
        for row, value in moves:
            self._sent[row.path] = value, until_s
        self.outbox.put_each(moves, client)

    def take(self, groups: Sequence[Group], client: Client) -> None:
        """Act on what a packet holds."""
        self._follow_board()
        count = sum(len(group.messages) for group in groups)
        self._counts.messages += count
        client.messages.owe(count - 1)
        for group in groups:
            if group.tag == IMMEDIATE:
                self._act(group.messages, client, None)
            else:
                self._time(group, client)

    def _time(self, group: Group, client: Client) -> None:
        """Act on a group with a time tag, or hold it until then."""
        due_ns = monotonic_of_tag(group.tag, realtime_offset_ns())
        ahead_ns = due_ns - time.monotonic_ns()
        if ahead_ns > FARTHEST_S * 1e9:
            self._counts.invalid += len(group.messages)
            text = f"the time tag lies {ahead_ns * 1e-9:.0f} s ahead, the most is {FARTHEST_S:.0f} s"
            self._hub.error(client, f"{text}: do both clocks tell the same time?", INVALID)
        elif ahead_ns <= self.schedule.ahead_ns:
            self._act(group.messages, client, due_ns)
        elif not self.schedule.hold(due_ns, group.messages, client):
            self._counts.dropped += len(group.messages)
            self._hub.error(client, f"{len(self.schedule)} groups wait for their time already", NO_ROOM)

    def _act(self, messages: Sequence[Message], client: Client, due_ns: int | None) -> None:
        """Do what a group asks for: its moves as one group for one frame, the rest in order."""
        changes: list[tuple[Row, float]] = []
        commands: list[tuple[str, Sequence[Any]]] = []
        for address, arguments in messages:
            try:
                self._collect(address, arguments, client, changes, commands)
            except UnknownAddress as error:
                self._counts.unknown += 1
                self._hub.error(client, partial(self._table.explain, error), UNKNOWN)
            except (BadArgument, NetworkError) as error:
                self._counts.invalid += 1
                self._hub.error(client, str(error), INVALID)
        if len(changes) > MAX_CHANGES:
            self._counts.invalid += len(changes)
            self._hub.error(client, f"a bundle moves at most {MAX_CHANGES} values, this one {len(changes)}", INVALID)
        elif changes:
            self._counts.moves += len(changes)
            self.outbox.put(changes, client, IMMEDIATELY if due_ns is None else self._frame(due_ns, client))
        for name, given in commands:
            self._ask(name, given, client)

    def _frame(self, due_ns: int, client: Client) -> int:
        """Return the frame that is due at a time, or IMMEDIATELY where the audio thread is past it; the sender is told."""
        telemetry = self._telemetry
        self._clock.look(telemetry)
        if not self._clock.ready:
            return IMMEDIATELY
        frame = self._clock.frame_at(due_ns)
        behind = int(telemetry["now_frame"]) + self._block() - frame
        if behind <= 0:
            return frame
        self._counts.late += 1
        late_ms = 1e3 * behind / float(telemetry["sample_rate"])
        self._hub.error(client, f"late by {late_ms:.2f} ms: applied at once; send it earlier, or see to the clocks", LATE)
        return IMMEDIATELY

    def _collect(
        self,
        address: str,
        arguments: Sequence[Any],
        client: Client,
        changes: list[tuple[Row, float]],
        commands: list[tuple[str, Sequence[Any]]],
    ) -> None:
        """Add a message's moves and commands to its group's, or answer it; raises UnknownAddress, BadArgument, NetworkError."""
        if address in OURS:
            return
        own = self._own.get(address)
        if own is not None:
            own(arguments, client)
            return
        command = self._commands.get(address)
        if command is not None and address not in SWITCHES:
            if address == "/panic":
                row = self._surface.board.rows["master/mute"]
                changes.append((row, 1.0))
                self._note(row, 1.0)
            commands.append((command.name, command_arguments(command.name, command.kinds, arguments)))
            return
        if self._table.is_new_pattern(address) and not client.patterns.take():
            raise BadArgument(f"more than {client.patterns.per_s:.0f} new patterns a second")
        for row, normal in self._table.find(address):
            value = value_of(row, arguments, self._present(row), normal=normal)
            if value is None:
                self._hub.reply(client, value_messages(row, self._present(row), "norm" if normal else "real"))
            else:
                changes.append((row, value))
                self._note(row, value)

    def _present(self, row: Row) -> float:
        """Return a parameter's value: what was sent just now, else what was applied last."""
        value, until_s = self._sent.get(row.path, (0.0, 0.0))
        return value if time.monotonic() < until_s else self._surface.value(row)

    def _note(self, row: Row, value: float) -> None:
        self._sent[row.path] = value, time.monotonic() + SENT_S

    def _ask(self, name: str, arguments: Sequence[Any], client: Client) -> None:
        if name == "panic" and any(asked.name == name for asked in self._asked.values()):
            return  # it is being seen to
        if not client.commands.take() or len(self._asked) >= MAX_ASKED:
            self._counts.limited += 1
            self._hub.error(client, f"too many commands wait to be carried out: /{name} is not", TOO_MANY)
            return
        self._counts.commands += 1
        try:
            self._asked[self._surface.request(name, *arguments, origin=client.number)] = Asked(client, name)
        except TimeoutError:
            self._hub.error(client, f"the engine's process does not listen: /{name} is not carried out", REFUSED)

    def replied(self, message: dict[str, Any]) -> None:
        """Pass on what the Conductor says to a command."""
        asked = self._asked.pop(message["reply"], None)
        if asked is None:
            return
        if message.get("ok"):
            result = message.get("result")
            if isinstance(result, list):
                result = ",".join(map(str, result))
            said = [result] if isinstance(result, (bool, int, float, str)) else []
            self._hub.reply(asked.client, [write("/done", asked.name, *said)])
        else:
            self._hub.error(asked.client, f"/{asked.name}: {message.get('error', 'refused')}", REFUSED)

    def _subscribe(self, arguments: Sequence[Any], client: Client) -> None:
        host, port, hz, form = _subscription(arguments)
        same = not host and not port
        address = client.address if same else (numeric(host) if host else client.address[0], port or client.address[1])
        if address[0] not in self._allowed:
            raise NetworkError(f"{address[0]} is not on the allow-list, and is told nothing")
        subscriber = self._subscribers.add(address, client, hz, form)
        place = self._hub.place(subscriber)
        self._hub.send(place, write("/subscribed", *address, float(hz), form))
        self._hub.tell(subscriber, playing(self._surface.board.data).values())

    def _unsubscribe(self, arguments: Sequence[Any], client: Client) -> None:
        host, port, _, _ = _subscription(arguments)
        if host or port:
            found = self._subscribers.of((numeric(host) if host else client.address[0], port or client.address[1]))
        else:
            found = self._subscribers.for_client(client)
        if found is None or found.kept:
            raise BadArgument("there is no such subscription; /unsubscribe takes the host and port of /subscribe")
        self._subscribers.remove(found)

    def _query(self, arguments: Sequence[Any], client: Client) -> None:
        """Say the values that a path, an address, a pattern or the name of a stage means."""
        text = str(arguments[0]) if arguments else "/"
        meter = text if text.startswith("/") else f"/autovoice/{text}"
        if meter in METERS or meter == "/autovoice/meter":
            said = zip(METERS, meter_messages(self._surface.telemetry), strict=True)
            self._hub.reply_all(client, [message for at, message in said if at.startswith(meter)])
        elif meter in (now := playing(self._surface.board.data)):
            self._hub.reply(client, [now[meter]])
        else:
            client.messages.owe(len(self._rows))
            self._tell_values(client, [(t.row, "norm" if t.normal else "real") for t in self._table.under(text)])

    def _refresh(self, arguments: Sequence[Any], client: Client) -> None:
        """Say every value, and what plays."""
        if not client.refreshes.take():
            raise BadArgument("asked for everything too often; subscribe instead")
        subscriber = self._subscribers.for_client(client)
        form = subscriber.form if subscriber else FORMS[0]
        self._hub.reply_all(client, playing(self._surface.board.data).values())
        self._tell_values(client, [(row, form) for row in self._surface.board.rows.values()])

    def _tell_values(self, client: Client, wanted: Sequence[tuple[Row, str]]) -> None:
        self._hub.reply_all(client, [m for row, form in wanted for m in value_messages(row, self._present(row), form)])

    def _heartbeat(self, arguments: Sequence[Any], client: Client) -> None:
        if arguments:  # it is an answer itself, another server's
            return
        self._hub.reply(client, [heartbeat(self._surface.board.data)])


def _subscription(arguments: Sequence[Any]) -> tuple[str, int, float, str]:
    """Read `[host] [port] [hz] [form]`, each recognised by its type; raises BadArgument.

    Some programs send every number as a float: after a host the first number is the port whatever its type.
    """
    host, port, hz, form = "", 0, 0.0, FORMS[0]
    texts = [a for a in arguments if isinstance(a, str)]
    for text in texts:
        if text in FORMS:
            form = text
        else:
            host = text
    numbers = [a for a in arguments if isinstance(a, (int, float)) and not isinstance(a, bool)]
    if numbers and (host or isinstance(numbers[0], int)):
        port = round(numbers.pop(0)) if numbers[0] == numbers[0] and abs(numbers[0]) < 1e9 else -1
    if numbers:
        hz = float(numbers.pop(0))
    if not 0 <= port < 1 << 16 or numbers or hz != hz:
        raise BadArgument("/subscribe takes [host] [port 1..65535] [Hz of meters] [real | norm | both]")
    return host, port, min(max(hz, MIN_HZ), MAX_HZ) if hz > 0 else 0.0, form
