"""What is resident stays while it is used, and never takes more than its budget."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from autovoice.models.manager import BudgetTooSmall, ModelManager, SlotsTaken, VoiceSlots, bytes_of
from autovoice.models.voices import Voice, VoiceError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

NAMES = "abcdef"
SIZES = {name: 100 * (k + 1) for k, name in enumerate(NAMES)}  # bytes
BUDGET = 700
TTL_S = 10.0
SLOTS, FIXED = 4, {"Ada": 0}


def thing(size: int) -> dict[str, Any]:
    return {"weights": np.zeros(size, np.uint8), "name": "something that takes no memory to speak of"}


class Managed(RuleBasedStateMachine):
    """A manager beside a plain account of who uses what."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.manager = ModelManager(BUDGET, ttl_s=TTL_S, clock=lambda: self.now)
        self.held: list[tuple[str, Any]] = []
        self.idle_since: dict[str, float] = {}
        self.touched: list[str] = []  # in this order, by who came or went

    def users(self, name: str) -> int:
        return sum(held == name for held, _ in self.held)

    def touch(self, name: str) -> None:
        self.touched = [other for other in self.touched if other != name] + [name]

    @rule(name=st.sampled_from(NAMES))
    def acquire(self, name: str) -> None:
        before = self.manager.resident()
        in_use = sum(SIZES[other] for other in NAMES if self.users(other))
        try:
            value = self.manager.acquire(name, lambda: thing(SIZES[name]))
        except BudgetTooSmall:
            assert name not in before
            assert in_use + SIZES[name] > BUDGET
            assert self.manager.resident() == before  # a refusal costs nobody anything
            return
        assert all(value is other for held, other in self.held if held == name)  # one and the same for all
        assert self.users(name) or in_use + SIZES[name] <= BUDGET
        evicted = [other for other in before if other not in self.manager.resident()]
        idle = [other for other in self.touched if other in before and other != name and not self.users(other)]
        assert evicted == idle[: len(evicted)]  # the longest unused first
        self.touch(name)
        self.held.append((name, value))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.manager.release(name)
        self.idle_since[name] = self.now
        self.touch(name)

    @rule(seconds=st.floats(0, 2 * TTL_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        before = self.manager.resident()
        over = {name for name, one in before.items() if not one["users"] and self.now - self.idle_since[name] >= TTL_S}
        assert set(self.manager.sweep()) == over
        assert set(self.manager.resident()) == set(before) - over

    @invariant()
    def within_the_budget(self) -> None:
        assert self.manager.bytes <= BUDGET

    @invariant()
    def what_is_in_use_is_there(self) -> None:
        resident = self.manager.resident()
        for name, _ in self.held:
            assert resident[name]["users"] == self.users(name)


TestManaged = Managed.TestCase
TestManaged.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_what_nobody_uses_is_unloaded_after_its_time_and_not_before() -> None:
    now = 0.0
    manager = ModelManager(BUDGET, ttl_s=TTL_S, clock=lambda: now)
    with manager.use("a", lambda: thing(10)):
        now = 100.0
        assert manager.sweep() == []
    now = 100.0 + TTL_S - 0.1
    assert manager.sweep() == []
    now = 100.0 + TTL_S
    assert manager.sweep() == ["a"]
    assert manager.bytes == 0


def test_who_was_let_go_first_is_unloaded_first_whoever_came_first() -> None:
    manager = ModelManager(300)
    for name in "abc":
        manager.acquire(name, lambda: thing(100))
    for name in "bca":
        manager.release(name)
    with manager.use("d", lambda: thing(150)):
        assert set(manager.resident()) == {"a", "d"}


def test_a_budget_too_small_is_refused_in_one_line() -> None:
    manager = ModelManager(4_000_000)
    with (
        manager.use("converter", lambda: thing(3_000_000)),
        pytest.raises(BudgetTooSmall, match=r"^Ada needs 2 MB, and 1 MB of the budget of 4 MB are not in use; raise"),
    ):
        manager.acquire("Ada", lambda: thing(2_000_000))
    manager.preload({"Ada": lambda: thing(2_000_000)})
    assert set(manager.resident()) == {"Ada"}
    with pytest.raises(BudgetTooSmall, match="above 0 bytes, got 0"):
        ModelManager(0)


def test_a_load_that_fails_leaves_nothing_and_may_be_tried_again() -> None:
    manager = ModelManager(BUDGET)

    def fail() -> Any:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        manager.acquire("a", fail)
    assert manager.resident() == {}
    with manager.use("a", lambda: thing(1)) as value:
        assert value["weights"].nbytes == 1
    with pytest.raises(KeyError, match="a is not in use"):
        manager.release("a")


def test_threads_that_ask_for_the_same_thing_wait_for_one_load() -> None:
    manager = ModelManager(BUDGET)
    begun, go, loads, found = threading.Event(), threading.Event(), [], []

    def load() -> Any:
        loads.append(1)
        begun.set()
        assert go.wait(10)
        return thing(5)

    threads = [threading.Thread(target=lambda: found.append(manager.acquire("a", load))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    with manager.use("b", lambda: thing(5)):  # who asks for something else does not wait
        go.set()
    for thread in threads:
        thread.join(10)
    assert len(loads) == 1
    assert [value is found[0] for value in found] == [True] * 4
    assert manager.resident()["a"]["users"] == 4


def test_bytes_are_those_of_the_arrays_each_once() -> None:
    @dataclass
    class Holder:
        weights: Any
        more: Any = None

    shared = np.zeros(1000, np.float32)
    assert bytes_of(shared) == 4000
    assert bytes_of([shared, shared[:10], {"a": shared}]) == 4000
    assert bytes_of(Holder(shared, (np.zeros(3), b"12"))) == 4000 + 24 + 2
    assert bytes_of({"name": "text", "count": 3}) == 0
    assert bytes_of(ModelManager(5)) == 0


class Table:
    """The converter's table of voices, as far as the slots see it."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[str, float]] = {}
        self.voices = {name: voice(name, 100.0 + k) for k, name in enumerate("Bea Cid Dan Eve Flo".split())}

    def put(self, slot: int, timbre: Any, median_hz: float, name: str) -> None:
        assert timbre.shape == (128,)
        self.slots[slot] = (name, median_hz)

    def find(self, name: str) -> Voice:
        if name not in self.voices:
            raise VoiceError(f"no voice is called {name!r}")
        return self.voices[name]


def voice(name: str, median_hz: float) -> Voice:
    return Voice(name, np.full(128, median_hz, np.float32) / 1000, median_hz, median_hz - 10, median_hz + 10)


class Slotted(RuleBasedStateMachine):
    """Slots beside a plain account of who holds which voice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.slots = VoiceSlots(self.table.put, slots=SLOTS, fixed=FIXED, find=self.table.find)
        self.held: list[tuple[int, str, float]] = []  # slot, name and pitch

    @rule(name=st.sampled_from("Ada Bea Cid Dan Eve Flo".split()))
    def acquire(self, name: str) -> None:
        try:
            slot = self.slots.acquire(name)
        except SlotsTaken:
            assert len({slot for slot, *_ in self.held if slot not in FIXED.values()}) == SLOTS - len(FIXED)
            return
        if name in FIXED:
            assert slot == FIXED[name]
            self.slots.release(slot)
            return
        assert slot not in FIXED.values()
        self.held.append((slot, name, self.table.voices[name].median_hz))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot, *_ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.slots.release(slot)

    @rule(name=st.sampled_from("Bea Cid Dan Eve Flo".split()))
    def enrol_anew(self, name: str) -> None:
        old = self.table.voices[name]
        self.table.voices[name] = voice(name, old.median_hz + 20.0)

    @invariant()
    def whoever_holds_a_slot_keeps_the_voice_in_it(self) -> None:
        for slot, name, median_hz in self.held:
            assert self.table.slots[slot] == (name, median_hz)
            assert self.slots.users(slot) == sum(held == slot for held, *_ in self.held)
        assert {name: slot for slot, name in self.slots.names().items() if slot == 0} == FIXED


TestSlotted = Slotted.TestCase
TestSlotted.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


def slots_of(table: Table) -> VoiceSlots:
    return VoiceSlots(table.put, slots=SLOTS, fixed=FIXED, find=table.find)


def test_a_voice_goes_into_a_free_slot_while_another_plays_and_is_found_there_again() -> None:
    table = Table()
    slots = slots_of(table)
    bea = slots.acquire("Bea")
    with slots.use("Cid") as cid:
        assert cid != bea
    with slots.use("Cid") as again:
        assert again == cid
    assert slots.names() == {0: "Ada", bea: "Bea", cid: "Cid"}


def test_a_full_table_gives_up_the_voice_that_was_unused_for_the_longest_time() -> None:
    table = Table()
    slots = slots_of(table)
    held = {name: slots.acquire(name) for name in ("Bea", "Cid", "Dan")}
    with pytest.raises(SlotsTaken, match=r"^no slot is left for Eve: all 3 are in use; let another voice go first$"):
        slots.acquire("Eve")
    slots.release(held["Cid"])
    slots.release(held["Bea"])
    assert slots.acquire("Eve") == held["Cid"]
    assert "Cid" not in slots.names().values()


def test_a_name_that_no_voice_has_takes_no_slot() -> None:
    slots = slots_of(Table())
    with pytest.raises(VoiceError, match="no voice is called 'Zoe'"):
        slots.acquire("Zoe")
    with pytest.raises(KeyError, match="slot 3 is not in use"):
        slots.release(3)
    assert slots.names() == {0: "Ada"}


def test_the_held_voice_is_compared_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    slots = slots_of(table)
    slot = slots.acquire("Bea")
    table.voices["Bea"] = replace(table.voices["Bea"], timbre=table.voices["Bea"].timbre + 1)
    other = slots.acquire("Bea")
    assert other != slot
    slots.release(slot)
    slots.release(other)
    assert slots.acquire("Bea") == other
