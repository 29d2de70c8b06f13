"""Voices in takes: told to the log before their slot is named there, and lent to a replay, whoever has their names by then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.rt import casting
from autovoice.rt.casting import PARAMETERS, STAGE, slot_at
from autovoice.rt.chain import Chain
from autovoice.rt.take.log import StageLine, TakeError, Voice, timbre_text

if TYPE_CHECKING:
    from autovoice.dsp.converter.voices import Held


def slots_of(chain: Chain) -> set[int]:
    """Return the slots that a chain's settings name."""
    return {slot_at(p.values[name]) for p in chain.placed if p.stage.name == STAGE for name in PARAMETERS}


def _held(slot: int) -> Held:
    from autovoice.dsp.converter.voices import held  # with the converter's weights, which most takes do without

    return held(slot)


class Told:
    """Which voices a log has spoken of."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers: dict[int, int] = {}  # of the voice that the log has in a slot, by slot

    def news(self, slots: Iterable[int], frame: int) -> Iterator[Voice]:
        """Return who is in these slots, as far as the log has not said so."""
        for slot in sorted(slot for slot in slots if slot >= 0):
            one = _held(slot)
            if self._numbers.get(slot) != one.number:
                self._numbers[slot] = one.number
                yield Voice(frame, slot, one.name, timbre_text(one.timbre), one.median_hz)

    def outdated(self) -> set[int]:
        """Return the slots into which another voice was put after the log spoke of them."""
        return {slot for slot, number in self._numbers.items() if number != _held(slot).number}


@dataclass(frozen=True, slots=True)
class _Person:
    timbre: np.ndarray[Any, Any]
    median_hz: float


class Lent:
    """The voices of a take in slots of this process, which may be others than they were in; `close` gives them back."""

    def __init__(self) -> None:
        """None yet."""
        self._here: dict[int, int] = {}  # the slot of this process, by that of the take
        self._all: dict[Voice, int] = {}

    def learn(self, voice: Voice) -> None:
        """Have a voice where a slot is named from here on; raises TakeError where there is no room."""
        known = replace(voice, frame=0)
        if known not in self._all:
            self._all[known] = self._lend(voice)
        self._here[voice.slot] = self._all[known]

    def _lend(self, voice: Voice) -> int:
        here = _held(voice.slot)
        slots = casting.slots()
        if slots.is_fixed(voice.slot) and here.median_hz == voice.median_hz and np.array_equal(here.timbre, voice.values):
            return voice.slot
        try:
            return slots.lend(voice.name, _Person(voice.values, voice.median_hz), voice.slot)
        except casting.SlotsTaken as error:
            raise TakeError(f"the take's voices need more slots than there are: {error}") from error

    def close(self) -> None:
        """Give all slots back."""
        for slot in self._all.values():
            casting.slots().release(slot)
        self._all, self._here = {}, {}

    def stages(self, stages: tuple[StageLine, ...]) -> tuple[StageLine, ...]:
        """Return a chain of the log with slots of this process."""
        return tuple(replace(one, values=self._values(one.values)) if one.stage == STAGE else one for one in stages)

    def value(self, stage: str, name: str, value: float) -> float:
        """Return what a parameter of a stage is set to here, where the log sets it to `value`."""
        return float(self._here.get(slot_at(value), value)) if stage == STAGE and name in PARAMETERS else value

    def _values(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: self.value(STAGE, name, value) for name, value in values.items()}
