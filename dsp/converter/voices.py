"""The table of voices that the converter can become, in resident memory; a voice may be put in while it is in use.

A slot is the address of a record that is never written again while it is in the table: a new voice is written to a record of
its own and then published by one ordered store, so the audio thread reads the old voice or the new one, never a mixture. It
glides over GLIDE hops. A record is used again only when no slot shows it and all others have had their turn.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.converter import features, weights
from autovoice.dsp.native import helper, load_acquire, record_at, store_release
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from safetensors import safe_open

SLOTS = 64
VALUES = 128  # of a voice
RECORDS = 1024
GLIDE = 5  # hops: 50 ms from one voice to another
LONGEST = 0.4  # octaves that the resonances of a voice lie from the mean voice's, at most
VOICES_FILE = Path(__file__).parents[1] / "weights" / "voices.safetensors"

RECORD = np.dtype([("values", "f4", (VALUES,)), ("median", "f4"), ("tract", "f4"), ("unused", "f4", (14,))], align=True)
"""A voice as the network takes it; log2 of its median pitch in Hz, and of the ratio of its resonances to the mean voice's."""
MEDIAN, TRACT, TOLD = VALUES, VALUES + 1, VALUES + 2  # places among what is told of a voice, and how much that is
STATE = np.dtype(
    [
        ("table", "i8"),  # address of SLOTS addresses
        ("started", "i8"),
        ("record", "i8", (2,)),  # addresses of the two voices that are mixed
        ("left", "i8", (2,)),  # hops of the glide
        ("source", "f4", (2, TOLD)),  # where it began
        ("goal", "f4", (2, TOLD)),
        ("now", "f4", (2, TOLD)),
    ],
    align=True,
)
ONE = np.float32(1)
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Held:
    """What was put into a slot."""

    name: str
    timbre: np.ndarray[Any, Any]  # float32 (VALUES,), as it was given
    median_hz: float
    number: int  # of the voices that were ever put into the table, this one


class _Table:
    """The resident records, and what only control knows of them."""

    def __init__(self) -> None:
        """Lay the shipped voices out."""
        records = np.zeros(RECORDS, RECORD)
        records["median"] = np.log2(features.REFERENCE_HZ)
        self.records_at = resident.keep(records)
        kind = ctypes.c_char * records.nbytes
        self.records = np.frombuffer(memoryview(kind.from_address(self.records_at)), RECORD)
        self.address = resident.keep(np.full(SLOTS, self.records_at, np.int64))
        self.held: dict[int, Held] = {}
        self.used = self.count = 0
        tensors = weights.tensors()
        self.mean, self.std = tensors["normal.mean"], tensors["normal.std"]
        self.tract = tensors.get("tract.weight", np.zeros(VALUES, np.float32))

    def of(self, slot: int) -> Any:
        """Return the record that a slot holds."""
        return self.records[(self._address(slot) - self.records_at) // RECORD.itemsize]

    def _address(self, slot: int) -> int:
        return ctypes.c_int64.from_address(self.address + 8 * slot).value

    def _following(self) -> Iterator[int]:
        """Yield the numbers of records in turns, from the one behind the last that was written; 0 is nobody's."""
        for k in range(self.used, self.used + RECORDS - 1):
            yield k % (RECORDS - 1) + 1

    def put(self, slot: int, timbre: np.ndarray[Any, Any], median_hz: float, name: str) -> None:
        """Write a voice to a fresh record and publish it."""
        shown = {self._address(one) for one in range(SLOTS)}
        self.used = next(k for k in self._following() if self.records_at + RECORD.itemsize * k not in shown)
        record = self.records[self.used]
        record["values"] = (timbre - self.mean) / self.std
        record["median"] = np.log2(median_hz)
        record["tract"] = np.clip(self.tract @ record["values"], -LONGEST, LONGEST)
        _publisher().ctypes(self.address + 8 * slot, self.records_at + RECORD.itemsize * self.used)
        self.count += 1
        self.held[slot] = Held(name, timbre.copy(), float(median_hz), self.count)


def _publish(address: Any, value: Any) -> None:
    store_release(address, value)


@cache
def _publisher() -> Any:
    return compile_entry(_publish, numba.types.void(numba.types.uintp, numba.types.int64))


@cache
def _table() -> _Table:
    table = _Table()
    if VOICES_FILE.exists():
        with safe_open(VOICES_FILE, "numpy") as file:
            names = (file.metadata() or {})["names"].split(",")
            timbres, medians = file.get_tensor("timbre"), file.get_tensor("median_hz")
        for slot, name in enumerate(names):
            table.put(slot, timbres[slot], float(medians[slot]), name)
    return table


def voices() -> dict[str, int]:
    """Return the names of the voices in the table and their slots, the shipped ones first. Control thread only."""
    with _lock:
        return {held.name: slot for slot, held in sorted(_table().held.items())}


def put_voice(slot: int, timbre: Any, median_hz: float, name: str) -> None:
    """Put a voice of 128 timbre values and a median pitch into a slot; what plays it glides there. Control thread only.

    Raises ValueError that names the value and the range.
    """
    values = np.asarray(timbre, np.float32).ravel()
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot must be in 0..{SLOTS - 1}, got {slot}")
    if values.size != VALUES or not np.isfinite(values).all():
        raise ValueError(f"timbre must be {VALUES} finite numbers, got {values.size}")
    if not 30.0 <= median_hz <= 1000.0:
        raise ValueError(f"median_hz must be in 30..1000 Hz, got {median_hz:g}")
    with _lock:
        _table().put(slot, values, median_hz, name)


def held(slot: int) -> Held:
    """Return what a slot holds; one that nobody was put into holds the mean of all voices. Control thread only."""
    with _lock:
        table = _table()
        return table.held.get(slot) or Held("", table.mean.copy(), features.REFERENCE_HZ, 0)


def vector(slot: int) -> np.ndarray[Any, Any]:
    """Return the voice in a slot as the network takes it, float32 (VALUES,). Control thread only."""
    with _lock:
        return np.array(_table().of(slot)["values"])


def tract_octaves(slot: int) -> float:
    """Return by how many octaves the resonances of the voice in a slot lie above the mean voice's. Control thread only."""
    with _lock:
        return float(_table().of(slot)["tract"])


def median_hz(slot: int) -> float:
    """Return the median pitch of the voice in a slot. Control thread only."""
    with _lock:
        return float(2.0 ** np.float64(_table().of(slot)["median"]))


def plan(state: Any) -> None:
    """Fill the zeroed `state` of any shape. Control thread only."""
    with _lock:
        state["table"] = _table().address


@helper
def _look(s: Any, side: Any, slot: Any) -> None:
    """Turn to the voice in a slot if it is another than before."""
    address = load_acquire(s.table + 8 * slot)
    if address != s.record[side]:
        record = record_at(address, RECORD)
        s.record[side] = address
        s.left[side] = GLIDE if s.started else 0
        for k in range(VALUES):
            s.source[side, k] = s.now[side, k]
            s.now[side, k] = s.goal[side, k] = record.values[k]
        for k in range(VALUES, TOLD):
            s.source[side, k] = s.now[side, k]
        s.now[side, MEDIAN] = s.goal[side, MEDIAN] = record.median
        s.now[side, TRACT] = s.goal[side, TRACT] = record.tract


@helper
def advance(s: Any, first: Any, second: Any) -> None:
    """Let a hop pass with the voices of two slots: glide to where they are not yet."""
    _look(s, 0, first)
    _look(s, 1, second)
    s.started = 1
    for side in range(2):
        if s.left[side] > 0:
            s.left[side] -= 1
            share = np.float32(s.left[side]) * np.float32(1 / GLIDE)
            for k in range(TOLD):
                s.now[side, k] = s.goal[side, k] + share * (s.source[side, k] - s.goal[side, k])


@helper
def mix(s: Any, morph: Any, target: Any) -> Any:
    """Write the weighted mean of the two voices; returns whether it is another than before."""
    changed = False
    rest = ONE - morph
    for k in range(VALUES):
        value = rest * s.now[0, k] + morph * s.now[1, k]
        changed = changed or value != target[k]
        target[k] = value
    return changed


@helper
def median(s: Any, morph: Any) -> Any:
    """Return log2 of the mixed voice's median pitch."""
    return (ONE - morph) * s.now[0, MEDIAN] + morph * s.now[1, MEDIAN]


@helper
def tract(s: Any, morph: Any) -> Any:
    """Return log2 of how much higher than the mean voice's the mixed voice's resonances lie."""
    return (ONE - morph) * s.now[0, TRACT] + morph * s.now[1, TRACT]
