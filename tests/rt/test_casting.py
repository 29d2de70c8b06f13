"""Slots of the converter's table: a voice is where it is asked for by name, and stays there while somebody holds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from autovoice.models.voices import Voice, VoiceError
from autovoice.rt.casting import SlotsTaken, VoiceSlots
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SLOTS, FIXED = 4, {"Ada": 0}


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
    with pytest.raises(
        SlotsTaken,
        match=r"^no slot is left for Eve: all 3 are held by other voices; move away from one ",
    ):
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


def test_the_held_voice_is_compared_by_its_numbers() -> None:
    table = Table()
    slots = slots_of(table)
    slot = slots.acquire("Bea")
    table.voices["Bea"] = replace(table.voices["Bea"], timbre=table.voices["Bea"].timbre + 1)
    other = slots.acquire("Bea")
    assert other != slot
    slots.release(slot)
    slots.release(other)
    assert slots.acquire("Bea") == other
