"""Who talks to us and who is told: clients with their rates, subscribers with their wishes, both bounded in number."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from autovoice.rt.control.osc.streams import Stream

Address: TypeAlias = tuple[str, int]
"""A host's numeric address, and a port."""

MAX_CLIENTS = 1024
MAX_SUBSCRIBERS = 64
MESSAGES_PER_S, MESSAGES_BURST = 20_000.0, 20_000.0  # of one client
COMMANDS_PER_S, COMMANDS_BURST = 50.0, 50.0
PATTERNS_PER_S, PATTERNS_BURST = 10.0, 50.0  # not met before: each is compared with every address
REFRESHES_PER_S, REFRESHES_BURST = 2.0, 4.0  # of all values
ERRORS_PER_S, ERRORS_BURST = 5.0, 20.0  # told to one client
MIN_HZ, MAX_HZ = 0.1, 60.0  # of meters
FORMS = ("real", "norm", "both")
"""How a subscriber wants to be told values: at their real addresses, at those of 0..1, or at both."""
REFUSALS, REFUSED_S, FORGIVEN_S = 20, 5.0, 60.0  # so many packets refused over so long: nobody listens there any more


class Bucket:
    """A rate that lets bursts through (a token bucket)."""

    __slots__ = ("_at", "_level", "burst", "per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        """Begin full."""
        self.per_s, self.burst = per_s, burst
        self._level, self._at = burst, time.monotonic()

    @property
    def available(self) -> bool:
        """Whether one can be taken now."""
        return self._level + (time.monotonic() - self._at) * self.per_s >= 1.0

    def take(self, count: float = 1.0) -> bool:
        """Take so many if there are; say whether there were."""
        self._refill()
        if self._level < count:
            return False
        self._level -= count
        return True

    def take_some(self, count: int) -> int:
        """Take so many, or what there is of them; returns how many."""
        self._refill()
        found = min(count, max(int(self._level), 0))
        self._level -= found
        return found

    def _refill(self) -> None:
        now = time.monotonic()
        self._level = min(self._level + (now - self._at) * self.per_s, self.burst)
        self._at = now

    def owe(self, count: float) -> None:
        """Take so many whether there are or not; what is missing has to be waited for."""
        self._level -= count


@dataclass(slots=True, eq=False)
class Client:
    """One sender of packets. `number` goes through the engine with its moves and comes back in the journal."""

    number: int
    address: Address
    stream: Stream | None = None  # None: it sends datagrams
    messages: Bucket = field(default_factory=lambda: Bucket(MESSAGES_PER_S, MESSAGES_BURST))
    errors: Bucket = field(default_factory=lambda: Bucket(ERRORS_PER_S, ERRORS_BURST))
    commands: Bucket = field(default_factory=lambda: Bucket(COMMANDS_PER_S, COMMANDS_BURST))
    patterns: Bucket = field(default_factory=lambda: Bucket(PATTERNS_PER_S, PATTERNS_BURST))
    refreshes: Bucket = field(default_factory=lambda: Bucket(REFRESHES_PER_S, REFRESHES_BURST))


@dataclass(slots=True, eq=False)
class Subscriber:
    """One that is told what moves."""

    address: Address
    stream: Stream | None
    hz: float  # of the meters, 0 = none
    form: str
    kept: bool  # was named at the start, and stays
    selves: set[int]  # the numbers of the clients that it is, and whose moves it need not be told
    heard_s: float  # when it last subscribed
    meters_at_s: float = 0.0
    refused: int = 0
    refused_since_s: float = 0.0

    def due(self, now_s: float) -> bool:
        """Say whether it wants the meters now, and wait for the next time."""
        if not self.hz or now_s < self.meters_at_s:
            return False
        self.meters_at_s = max(self.meters_at_s, now_s - 1 / self.hz) + 1 / self.hz
        return True


class Clients:
    """The senders, by address: the least recent gives way where there are too many."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: OrderedDict[Address, Client] = OrderedDict()
        self._numbers: dict[Address, int] = {}  # of subscribers, which keep theirs
        self._last = 0

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._known)

    def get(self, address: Address) -> Client:
        """Return the sender of a datagram."""
        client = self._known.get(address)
        if client is None:
            client = self._known[address] = Client(self.number(address), address)
            if len(self._known) > MAX_CLIENTS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(address)
        return client

    def number(self, address: Address) -> int:
        """Return the number of an address, which need not have sent anything yet."""
        client = self._known.get(address)
        return client.number if client else self._numbers.get(address) or self.next_number()

    def next_number(self) -> int:
        """Return a number nobody has."""
        self._last += 1
        return self._last

    def keep_number(self, address: Address) -> int:
        """Return the number of an address, and keep it for good."""
        number = self._numbers[address] = self.number(address)
        return number

    def release_number(self, address: Address) -> None:
        """Forget that an address has a number, once it is silent."""
        self._numbers.pop(address, None)


class Subscribers:
    """Those that are told, by where."""

    def __init__(self, clients: Clients) -> None:
        """Begin with none."""
        self._clients = clients
        self._by_place: dict[Address | Stream, Subscriber] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_place)

    def __iter__(self) -> Iterator[Subscriber]:
        """Iterate over a snapshot."""
        return iter(list(self._by_place.values()))

    def add(
        self, address: Address, client: Client | None, hz: float = 0.0, form: str = FORMS[0], *, kept: bool = False
    ) -> Subscriber:
        """Subscribe an address, or change how it is told; where there are too many, the one that subscribed first leaves.

        A client on the same host is taken to be the subscriber itself: many send from one port and listen on another.
        """
        stream = client.stream if client is not None and client.stream is not None and client.address == address else None
        place = stream or address
        now = time.monotonic()
        found = self._by_place.get(place)
        if found is None:
            found = self._by_place[place] = Subscriber(address, stream, hz, form, kept, set(), now)
            if stream is None:
                found.selves.add(self._clients.keep_number(address))
            if len(self._by_place) > MAX_SUBSCRIBERS:
                passing = [s for s in self._by_place.values() if not s.kept and s is not found]
                if passing:
                    self.remove(min(passing, key=lambda s: s.heard_s))
        found.hz, found.form, found.heard_s, found.refused = hz, form, now, 0
        if client is not None and client.address[0] == address[0]:
            found.selves.add(client.number)
        return found

    def remove(self, subscriber: Subscriber) -> None:
        """Tell this one no more."""
        self._by_place.pop(subscriber.stream or subscriber.address, None)
        if subscriber.stream is None:
            self._clients.release_number(subscriber.address)

    def of(self, place: Address | Stream) -> Subscriber | None:
        """Return the subscriber at an address or on a stream."""
        return self._by_place.get(place)

    def for_client(self, client: Client) -> Subscriber | None:
        """Return where a client wants to be told things, where it said so."""
        direct = self._by_place.get(client.stream or client.address)
        if direct is not None or client.stream is not None:
            return direct
        mine = (s for s in self._by_place.values() if client.number in s.selves and s.address[0] == client.address[0])
        return next(mine, None)

    def refused(self, address: Address) -> Subscriber | None:
        """Note that nobody took a packet there; returns the subscriber that is dropped for it, if one is."""
        subscriber = self._by_place.get(address)
        if subscriber is None or subscriber.kept:
            return None
        now = time.monotonic()
        if subscriber.refused == 0 or now - subscriber.refused_since_s > FORGIVEN_S:
            subscriber.refused, subscriber.refused_since_s = 0, now
        subscriber.refused += 1
        if subscriber.refused < REFUSALS or now - subscriber.refused_since_s < REFUSED_S:
            return None
        self.remove(subscriber)
        return subscriber
