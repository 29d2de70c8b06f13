"""The server: one loop that reads packets, hands moves to the audio thread, and tells subscribers what moved."""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from autovoice.rt.control.osc.clients import Client, Clients, Subscribers
from autovoice.rt.control.osc.counts import Counts
from autovoice.rt.control.osc.echo import Echo, Move
from autovoice.rt.control.osc.hub import Hub
from autovoice.rt.control.osc.network import AllowList, Doors, lost_packets, numeric, refusals
from autovoice.rt.control.osc.outputs import heartbeat, meter_messages, playing, value_messages
from autovoice.rt.control.osc.packet import MAX_BYTES, Malformed, read
from autovoice.rt.control.osc.priority import Priority
from autovoice.rt.control.osc.reception import MALFORMED, TOO_MANY, Reception
from autovoice.rt.control.osc.streams import Gone, Stream

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Surface

DRAIN, DRAIN_BYTES = 256, 1 << 18  # datagrams, and about their bytes, read before anything else gets its turn
STREAM_PACKETS = 64  # of one TCP client, likewise
MAX_STREAMS = 64
TICK_S = 0.01
REPORT_S = 1.0  # between heartbeats, counts, and looks at what the kernel lost
RETRY_S = 0.0005  # while the engine's ring is full
STORM = 20  # packets between two ticks: from so many on ...
GATHER_S = 0.001  # ... packets wait for one another, so that a turn finds many
MAX_FAULTS_SHOWN = 10
NO_SUCH_FILES = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is started with beside its sockets."""

    allowed: tuple[str, ...] = ()
    subscribers: tuple[tuple[str, int, float, str], ...] = ()  # host, port, Hz of meters, form: told from the start on


class Server:
    """One engine's OSC server."""

    def __init__(self, surface: Surface, doors: Doors, settings: Settings, producer: int) -> None:
        """Serve an attached surface through open sockets."""
        self._surface, self._doors = surface, doors
        self.counts = Counts()
        self._allowed = AllowList(settings.allowed)
        self._clients = Clients()
        self._subscribers = Subscribers(self._clients)
        for host, port, hz, form in settings.subscribers:
            self._subscribers.add((numeric(host), port), None, hz, form, kept=True)
        self._hub = Hub(doors.udp, self._subscribers, self.counts, self._drop)
        self._reception = Reception(surface, self._hub, self._clients, self._subscribers, self._allowed, self.counts)
        self._echo = Echo(surface, producer)
        self._playing = playing(surface.board.data)
        self._streams: dict[Stream, Client] = {}
        self._selector = selectors.DefaultSelector()
        self._register(doors.udp, self._read_datagrams)
        self._register(doors.tcp, self._accept)
        self._register(surface, self._read_channel)
        self._tick_at = self._report_at = time.monotonic()
        self._buffer = bytearray(MAX_BYTES)  # one for all datagrams: 64 KiB for each would leave holes all over the heap
        self._view = memoryview(self._buffer)
        self._said: dict[str, int] = {}
        self._storm, self._packets_at_tick = False, 0
        self._priority = Priority()
        self._stopping = False

    def _register(self, what: socket.socket | Surface, act: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, act)

    def run(self) -> None:
        """Serve until the Conductor says stop, or is gone."""
        while not self._stopping:
            ready = self._selector.select(self._patience())
            if self._reception.outbox.full:  # what came stays where it is
                time.sleep(RETRY_S)
                self._safely(self._read_channel)
            else:
                for key, _ in ready:
                    self._safely(key.data)
                for stream in self._unfinished():
                    self._safely(partial(self._serve, stream))
            self._safely(self._reception.keep_going)
            now = time.monotonic()
            if now >= self._tick_at:
                self._tick_at = max(self._tick_at + TICK_S, now)
                self._safely(self._tick)
            if now >= self._report_at:
                self._report_at = max(self._report_at + REPORT_S, now)
                self._safely(self._report)
            if self._storm:  # to be woken costs more than to read ten packets
                time.sleep(GATHER_S)
        for stream in list(self._streams):
            self._drop(stream, "")
        self._selector.close()

    def _patience(self) -> float:
        if self._reception.outbox:
            return RETRY_S
        if self._unfinished():
            return 0.0
        return max(min(self._tick_at - time.monotonic(), self._reception.schedule.wait_s()), 0.0)

    def _unfinished(self) -> list[Stream]:
        """Return the streams with packets in hand that may go on."""
        return [stream for stream, client in self._streams.items() if stream.packets and client.messages.available]

    def _safely(self, act: Callable[[], None]) -> None:
        """Act; an error of ours costs what was in hand, not the show."""
        try:
            act()
        except Exception:
            self.counts.faults += 1
            if self.counts.faults <= MAX_FAULTS_SHOWN:
                traceback.print_exc(file=sys.stderr)

    def _read_channel(self) -> None:
        for message in self._surface.receive():
            if message.get("stop"):
                self._stopping = True
            elif "reply" in message:
                self._reception.replied(message)

    def _read_datagrams(self) -> None:
        for (host, port, *_), packets in self._datagrams():
            if host in self._allowed:
                self._take(packets, self._clients.get((host, port)))
            else:
                self.counts.refused += len(packets)

    def _datagrams(self) -> list[tuple[Any, list[bytes]]]:
        """Return what came, in order, as runs of packets with the address that they are all from."""
        receive, buffer, view = self._doors.udp.recvfrom_into, self._buffer, self._view
        runs: list[tuple[Any, list[bytes]]] = []
        packets: list[bytes] = []
        sender, held = None, 0
        for k in range(DRAIN):
            try:
                size, address = receive(buffer)
            except BlockingIOError:
                if k == 0:  # woken by nothing but refusals, and again until they are read
                    self._drop_refused()
                break
            except OSError:
                self._drop_refused()
                continue
            if address != sender:
                sender, packets = address, []
                runs.append((sender, packets))
            packets.append(bytes(view[:size]))
            held += size
            if held > DRAIN_BYTES:
                break
        return runs

    def _take(self, packets: Sequence[bytes], client: Client) -> None:
        """Act on what one client sent, in order; plain moves in a row go to the engine together."""
        self.counts.packets += len(packets)
        at = 0
        while at < len(packets):
            moves = self._reception.plain(packets, at)
            if moves:
                at += len(moves)
                granted = client.messages.take_some(len(moves))
                self._safely(partial(self._reception.move, moves[:granted], client))
                for _ in range(granted, len(moves)):
                    self._limited(client)
            else:
                self._read(packets[at], client)
                at += 1

    def _limited(self, client: Client) -> None:
        self.counts.limited += 1
        self._hub.error(client, f"more than {client.messages.per_s:.0f} messages a second: some are not read", TOO_MANY)

    def _read(self, packet: bytes, client: Client) -> None:
        if not client.messages.take():
            self._limited(client)
            return
        try:
            groups = read(packet)
        except Malformed as error:
            self._malformed(error, client)
            return
        self._safely(partial(self._reception.take, groups, client))

    def _malformed(self, error: Malformed, client: Client) -> None:
        self.counts.malformed += 1
        self._hub.error(client, f"not OSC: {error}", MALFORMED)

    def _drop_refused(self) -> None:
        """Forget subscribers at addresses where nobody listens."""
        for address in refusals(self._doors.udp):
            dropped = self._subscribers.refused(address)
            if dropped is not None:
                self._surface.notify(f"OSC: nobody listens at {address[0]} port {address[1]} any more; it is told no more")

    def _accept(self) -> None:
        try:
            connection, address = self._doors.tcp.accept()
        except OSError as error:
            if error.errno in NO_SUCH_FILES:
                time.sleep(RETRY_S)  # the connection stays in line, and select would return at once for ever
            return
        if address[0] not in self._allowed or len(self._streams) >= MAX_STREAMS:
            self.counts.refused += 1
            connection.close()
            return
        stream = Stream(connection, (address[0], address[1]))
        self._streams[stream] = Client(self._clients.next_number(), stream.address, stream)
        self._selector.register(connection, selectors.EVENT_READ, partial(self._serve, stream))

    def _serve(self, stream: Stream) -> None:
        """Read from a stream, and write to it what waits. A client that sends too fast is not read until it may go on."""
        client = self._streams.get(stream)
        if client is None:
            return
        try:
            if stream.waiting:
                stream.flush()
            if not stream.packets:
                stream.receive()
        except Gone as error:
            self._drop(stream, str(error))
            return
        except Malformed as error:
            self.counts.packets += 1
            self._malformed(error, client)
            self._drop(stream, "")
            return
        while stream.malformed:
            self.counts.packets += 1
            self._malformed(stream.malformed.popleft(), client)
        for _ in range(min(STREAM_PACKETS, len(stream.packets))):
            if stream not in self._streams or not client.messages.available:
                break
            self._take((stream.packets.popleft(),), client)
        self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        """Ask for what a stream waits for; while packets are in hand nothing more is read."""
        if stream in self._streams:
            events = selectors.EVENT_WRITE if stream.waiting else 0
            events |= 0 if stream.packets else selectors.EVENT_READ
            key = self._selector.get_map().get(stream.connection)
            if events and key is None:
                self._selector.register(stream.connection, events, partial(self._serve, stream))
            elif key is not None and not events:
                self._selector.unregister(stream.connection)
            elif key is not None and key.events != events:
                self._selector.modify(stream.connection, events, key.data)

    def _drop(self, stream: Stream, why: str) -> None:
        client = self._streams.pop(stream, None)
        if client is None:
            return
        if why:
            self._surface.notify(f"OSC: {why}; the connection is closed")
        subscriber = self._subscribers.of(stream)
        if subscriber is not None:
            self._subscribers.remove(subscriber)
        with suppress(KeyError, ValueError):
            self._selector.unregister(stream.connection)
        stream.close()

    def _tick(self) -> None:
        """Go on with what the streams have in hand, and tell subscribers what moved."""
        self._storm = self.counts.packets >= self._packets_at_tick + STORM
        self._packets_at_tick = self.counts.packets
        for stream in [s for s in self._streams if s.waiting]:
            self._serve(stream)
        self._reception.look()
        moves = self._echo.moves()
        self.counts.applied = self._echo.applied
        if len(self._subscribers):
            self._tell(moves)

    def _tell(self, moves: Sequence[Move]) -> None:
        """Tell each subscriber what others moved, what plays now, and the meters when they are due."""
        now = time.monotonic()
        now_playing = playing(self._surface.board.data)
        news = [message for address, message in now_playing.items() if self._playing.get(address) != message]
        self._playing = now_playing
        meters: list[bytes] = []
        told: dict[str, list[list[bytes]]] = {}  # by form, the messages of each move
        for subscriber in self._subscribers:
            form = subscriber.form
            if form not in told:
                told[form] = [value_messages(move.row, move.value, form) for move in moves]
            messages = list(news)
            for move, said in zip(moves, told[form], strict=True):
                if move.origin not in subscriber.selves:
                    messages += said
            if subscriber.due(now):
                meters = meters or meter_messages(self._surface.telemetry)
                messages += meters
            if messages:
                self._hub.tell(subscriber, messages)
                if subscriber.stream is not None:
                    self._watch(subscriber.stream)

    def _report(self) -> None:
        """Once a second: a heartbeat to subscribers, the counts to the Conductor."""
        self._priority.review()
        counts = self.counts
        counts.lost = lost_packets(self._doors.udp)
        counts.clients, counts.subscribers, counts.streams = len(self._clients), len(self._subscribers), len(self._streams)
        said = asdict(counts)
        if said != self._said:
            self._said = said
            self._surface.tell({"counts": said})
        beat = heartbeat(self._surface.board.data)
        for subscriber in self._subscribers:
            self._hub.send(self._hub.place(subscriber), beat)
