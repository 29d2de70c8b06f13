"""The ring's own source, model-checked: every interleaving of its atomic steps, and every stale value a processor may serve.

The functions of `rt/ring.py` run as plain Python over an explicit memory. Each load and store is one step; a search goes
through all orders in which producer and consumer can take them. Memory follows the release/acquire model (Lahav, Giannarakis,
Vafeiadis, Taming Release-Acquire Consistency, POPL 2016): a location keeps all values it ever had, a load may return any that
is not older than what its thread has seen of that location, and an acquire load of a value that was stored with release
takes over all that the writer had seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from autovoice.rt import ring as real

ITEM = 8  # bytes
PRIVATE = 1 << 20  # addresses from here on belong to the actor that uses them
SOURCE = "\n\n".join(
    inspect.getsource(f.py_func) for f in (real.ring_space, real.ring_count, real._copy, real.ring_push, real.ring_pop)
)


class Message(NamedTuple):
    """A value a location had, and what its writer had seen when it released it (None: a plain store)."""

    value: int
    seen: tuple[int, ...] | None


class Actor(NamedTuple):
    """A thread between two steps: which operation it is in, what its loads returned so far, what it has seen and got."""

    operation: int
    results: tuple[int, ...]
    view: tuple[int, ...]  # for every location the newest message it knows of
    got: tuple[int, ...]  # by the consumer's running pop


class State(NamedTuple):
    """All that decides what can happen next."""

    memory: tuple[tuple[Message, ...], ...]  # WRITE, READ, slot 0, slot 1, ...
    actors: tuple[Actor, Actor]


class Step(Exception):
    """The next access of an operation to shared memory."""

    def __init__(self, location: int, value: int | None, ordered: bool) -> None:
        self.location, self.value, self.ordered = location, value, ordered


class WrongItem(AssertionError):
    """The consumer got something else than the next item."""


@dataclass
class Model:
    """A ring of `capacity` items, what the producer pushes and the consumer pops, and the code that does it."""

    capacity: int
    pushes: Sequence[int]
    pops: Sequence[int]
    code: str = SOURCE

    def functions(self, results: Sequence[int], got: list[int], first: int) -> dict[str, Callable[..., int]]:
        """Return the ring's functions over a memory that replays `results` and stops at the first access beyond them."""
        replay = iter(results)
        shared = {real.WRITE: 0, real.READ: 1} | {real.DATA + ITEM * k: 2 + k for k in range(self.capacity)}
        constants = {real.CAPACITY: self.capacity, real.ITEM: ITEM}

        def access(address: int, value: int | None, ordered: bool) -> int:
            try:
                return next(replay)
            except StopIteration:
                raise Step(shared[address], value, ordered) from None

        def load(address: int, ordered: bool = False) -> int:
            if address >= PRIVATE:
                return first + (address - PRIVATE) // ITEM
            return constants[address] if address in constants else access(address, None, ordered)

        def copy_bytes(target: int, source: int, size: int) -> None:
            for k in range(0, size, ITEM):
                value = load(source + k)
                if target >= PRIVATE:
                    got.append(value)
                else:
                    access(target + k, value, False)

        scope: dict[str, Any] = {name: getattr(real, name) for name in ("WRITE", "READ", "CAPACITY", "ITEM", "DATA")}
        scope |= {"helper": lambda f: f, "load_i64": load, "load_acquire": lambda a: load(a, True), "copy_bytes": copy_bytes}
        scope |= {"store_release": lambda a, v: access(a, v, True), "store_plain": lambda a, v: access(a, v, False)}
        exec(self.code, scope)
        return scope

    def start(self) -> State:
        """Return the empty ring."""
        nothing = (0,) * (2 + self.capacity)
        actor = Actor(0, (), nothing, ())
        return State(tuple((Message(0, nothing),) for _ in nothing), (actor, actor))

    def successors(self, state: State) -> list[State]:
        """Return every state that one step of one actor can lead to; raises WrongItem."""
        return [s for who, todo in enumerate((self.pushes, self.pops)) for s in self._advance(state, who, todo)]

    def _advance(self, state: State, who: int, todo: Sequence[int]) -> list[State]:
        actor = state.actors[who]
        if actor.operation == len(todo):
            return []
        count, first, got = todo[actor.operation], 1 + sum(todo[: actor.operation]), []
        functions = self.functions(actor.results, got, first)
        try:
            done = functions["ring_pop" if who else "ring_push"](0, PRIVATE, count)
        except Step as step:
            return [self._replace(state, who, *after) for after in self._perform(state.memory, actor, step)]
        if not done:  # no room, or not enough: try again
            return [self._replace(state, who, state.memory, actor._replace(results=()))]
        if who and got != list(range(first, first + count)):
            raise WrongItem(f"expected {list(range(first, first + count))}, got {got}")
        return [self._replace(state, who, state.memory, actor._replace(operation=actor.operation + 1, results=()))]

    @staticmethod
    def _replace(state: State, who: int, memory: Any, actor: Actor) -> State:
        actors = (actor, state.actors[1]) if who == 0 else (state.actors[0], actor)
        return State(memory, actors)

    @staticmethod
    def _perform(memory: Any, actor: Actor, step: Step) -> list[tuple[Any, Actor]]:
        """Do one access in every way the memory model allows."""
        here, at = memory[step.location], step.location
        if step.value is not None:
            view = (*actor.view[:at], len(here), *actor.view[at + 1 :])
            written = (*here, Message(step.value, view if step.ordered else None))
            after = (*memory[:at], written, *memory[at + 1 :])
            return [(after, actor._replace(results=(*actor.results, step.value), view=view))]
        ways = []
        for k in range(actor.view[at], len(here)):
            view = (*actor.view[:at], k, *actor.view[at + 1 :])
            if step.ordered and here[k].seen is not None:
                view = tuple(map(max, view, here[k].seen))
            ways.append((memory, actor._replace(results=(*actor.results, here[k].value), view=view)))
        return ways

    def explore(self) -> tuple[int, bool]:
        """Visit every reachable state; return how many there are and whether all items can arrive. Raises WrongItem."""
        seen = {self.start()}
        waiting, arrived = list(seen), False
        while waiting:
            state = waiting.pop()
            arrived |= all(a.operation == len(t) for a, t in zip(state.actors, (self.pushes, self.pops), strict=True))
            fresh = [s for s in self.successors(state) if s not in seen]
            seen.update(fresh)
            waiting += fresh
        return len(seen), arrived


@pytest.mark.parametrize(
    ("capacity", "pushes", "pops"),
    [
        (2, (1, 1, 1, 1), (1, 1, 1, 1)),
        (2, (2, 1, 2, 1, 2), (1, 2, 2, 1, 2)),
        (4, (3, 2, 3, 1), (1, 4, 2, 2)),
        (4, (1, 3, 2, 1), (2, 2, 2, 1)),
    ],
)
def test_no_interleaving_and_no_stale_value_gives_the_consumer_a_wrong_item(
    capacity: int, pushes: tuple[int, ...], pops: tuple[int, ...]
) -> None:
    states, arrived = Model(capacity, pushes, pops).explore()
    assert arrived
    assert states > 250


MUTANTS = {
    "the index is published without release": ("store_release(ring + WRITE", "store_plain(ring + WRITE"),
    "the index is read without acquire": ("return load_acquire(ring + WRITE)", "return load_i64(ring + WRITE)"),
    "the producer takes room for one item more than there is": (
        "if ring_space(ring) < count:",
        "if ring_space(ring) + 1 < count:",
    ),
    "the index is published before the items are there": (
        "    _copy(ring, write, source, count, True)\n    store_release(ring + WRITE, write + count)",
        "    store_release(ring + WRITE, write + count)\n    _copy(ring, write, source, count, True)",
    ),
    "room is given back before the items are out": (
        "    _copy(ring, read, target, count, False)\n    store_release(ring + READ, read + count)",
        "    store_release(ring + READ, read + count)\n    _copy(ring, read, target, count, False)",
    ),
    "the second piece starts at the wrong place": (
        "copy_bytes(ring + DATA, memory + first * item",
        "copy_bytes(ring + DATA, memory + 0 * item",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_checker_rejects_a_broken_ring(mutant: str) -> None:
    right, wrong = MUTANTS[mutant]
    assert SOURCE.count(right) == 1
    with pytest.raises(WrongItem):
        Model(2, (2, 1, 2), (1, 2, 2), SOURCE.replace(right, wrong)).explore()
