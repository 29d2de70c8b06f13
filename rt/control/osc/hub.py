"""The way out: packets to clients and subscribers, over datagrams and streams."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from autovoice.rt.control.osc.clients import Address, Client, Subscriber, Subscribers
from autovoice.rt.control.osc.counts import Counts
from autovoice.rt.control.osc.packet import bundles, write
from autovoice.rt.control.osc.streams import Gone, Stream

BUNDLE_BYTES = 1400  # what goes into one frame of Ethernet


class Hub:
    """Sends. `drop` is called with a stream that has to go."""

    def __init__(
        self, udp: socket.socket, subscribers: Subscribers, counts: Counts, drop: Callable[[Stream, str], None]
    ) -> None:
        """Send datagrams from the socket that receives them, so that they pass where the client's own did."""
        self._udp, self._subscribers, self._counts, self._drop = udp, subscribers, counts, drop

    def send(self, to: Address | Stream, packet: bytes) -> None:
        """Send one packet; what the network does not take is counted and gone."""
        self._counts.sent += 1
        if isinstance(to, Stream):
            try:
                to.send(packet)
            except Gone as error:
                self._counts.unsent += 1
                self._drop(to, str(error))
            return
        for _ in range(2):  # the first error may be that of a packet before
            try:
                self._udp.sendto(packet, to)
                return
            except OSError:
                continue
        self._counts.unsent += 1

    def reply(self, client: Client, packets: Iterable[bytes]) -> None:
        """Send to where a client listens: where it subscribed, or where it sends from."""
        subscriber = self._subscribers.for_client(client)
        place = self.place(subscriber) if subscriber else client.stream or client.address
        for packet in packets:
            self.send(place, packet)

    def reply_all(self, client: Client, messages: Iterable[bytes]) -> None:
        """Send many messages, in bundles."""
        self.reply(client, bundles(messages, BUNDLE_BYTES))

    def tell(self, subscriber: Subscriber, messages: Iterable[bytes]) -> None:
        """Send many messages to a subscriber, in bundles."""
        place = self.place(subscriber)
        for packet in bundles(messages, BUNDLE_BYTES):
            self.send(place, packet)

    @staticmethod
    def place(subscriber: Subscriber) -> Address | Stream:
        """Return where a subscriber listens."""
        return subscriber.stream or subscriber.address

    def error(self, client: Client, text: str | Callable[[], str], code: int) -> None:
        """Say what went wrong, unless this client was told a lot already; a text that takes time is then not made."""
        if client.errors.take():
            self.reply(client, [write("/error", text if isinstance(text, str) else text(), code)])
