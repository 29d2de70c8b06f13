"""One look at a running engine from outside: its counters, what it plays, where every parameter stands.

All of it lies in memory that the engine shares with its user's processes: a look costs the voice nothing. Imports no compiler.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from autovoice.rt.control.board import Board, Row
from autovoice.rt.journal import ControlPage
from autovoice.rt.registry import Entry, find, running
from autovoice.rt.telemetry import Percentiles, Stats, Telemetry
from autovoice.tools.options import CommandError

GAINS = ("gate_db", "denoise_db", "deesser_db", "compressor_db", "limiter_db")
STALLED_S = 1.0  # without a callback
A4_HZ, A4_MIDI = 440.0, 69
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
EDGES_US = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000)
"""Of the small histogram: what took longer stands with the last."""


@dataclass(frozen=True, slots=True)
class Place:
    """One stage in the chain."""

    key: str
    stage: str
    latency_frames: int
    bypass: bool
    cost_us: float  # median of a callback, 0 where none was timed yet
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a look found. None stands for what an engine without controls does not say."""

    name: str
    pid: int
    backend: str
    session: str | None
    preset: str | None
    recording: str | None
    osc_port: int  # 0 = none
    web_port: int
    device_latency_frames: int | None
    chain: list[Place]
    master: dict[str, float]
    stats: Stats
    vad: float
    gains_db: dict[str, float]  # that are not 0
    note: str | None  # the nearest note, None = unvoiced
    cents: float
    histogram: list[tuple[float, float, int]]  # callback times: from, to in microseconds, how many
    silent_s: float | None  # since the newest callback began, None before the first

    @property
    def ms_per_frame(self) -> float:
        """Milliseconds of one frame."""
        return 1e3 / self.stats.sample_rate

    @property
    def period_us(self) -> float:
        """The time that a callback may take."""
        return self.stats.block * 1e6 / self.stats.sample_rate

    @property
    def stalled(self) -> bool:
        """Whether the driver stopped calling."""
        return not self.stats.alive or self.silent_s is None or self.silent_s > STALLED_S


class Link:
    """One running engine's shared pages. One thread at a time."""

    def __init__(self, name: str | None = None) -> None:
        """Attach to an engine by name or process, or to the newest; raises RegistryError or CommandError."""
        self.entry: Entry = find(name)
        try:
            self.telemetry = Telemetry.attach(self.entry.telemetry)
            self.page = ControlPage.attach(self.entry.control) if self.entry.control else None
            self.board = Board(self.page) if self.page is not None and self.page.board_version else None
        except (OSError, ValueError, TimeoutError) as error:
            raise CommandError(f"the engine {self.entry.name!r} cannot be read: {error}") from None

    @property
    def rows(self) -> dict[str, Row]:
        """Everything that can be moved, by path; empty for an engine without controls."""
        return self.board.rows if self.board is not None else {}

    def value(self, row: Row) -> float:
        """Return a parameter's value as last applied."""
        return self.page.value(row.uid, row.index) if self.page is not None else math.nan

    def ended(self) -> bool:
        """Say whether the engine is gone, or was stopped."""
        if not os.path.exists(self.entry.telemetry):
            return True
        for entry in running():
            if (entry.name, entry.pid) == (self.entry.name, self.entry.pid):
                self.entry = entry  # its ports may have become known
                return False
        return True

    def read(self) -> Reading:
        """Look once."""
        if self.board is not None:
            self.board.refresh()
        data: dict[str, Any] = self.board.data if self.board is not None else {}
        state = data.get("state") or {}
        keys = [str(stage["key"]) for stage in data["chain"]] if data else list(self.entry.stages)
        stats = self.telemetry.stats(tuple(keys))
        bus = self.telemetry["bus"]
        newest = int(self.telemetry["now_ns"])
        note, cents = note_of(stats.f0_hz)
        entry = self.entry
        return Reading(
            name=entry.name,
            pid=entry.pid,
            backend=entry.backend,
            session=data.get("session"),
            preset=state.get("preset"),
            recording=_recording(state),
            osc_port=entry.osc,
            web_port=entry.web,
            device_latency_frames=data.get("device_latency"),
            chain=[self._place(k, key, data, stats) for k, key in enumerate(keys)],
            master=self._values("master"),
            stats=stats,
            vad=float(bus["vad"]),
            gains_db={name: float(bus[name]) for name in GAINS if float(bus[name]) != 0.0},
            note=note,
            cents=cents,
            histogram=small_histogram(*self.telemetry.histogram()),
            silent_s=(time.monotonic_ns() - newest) / 1e9 if newest else None,
        )

    def _values(self, key: str) -> dict[str, float]:
        return {row.name: self.value(row) for path, row in self.rows.items() if path.partition("/")[0] == key}

    def _place(self, k: int, key: str, data: dict[str, Any], stats: Stats) -> Place:
        stage = data["chain"][k] if data else {}
        values = self._values(key)
        return Place(
            key=key,
            stage=str(stage.get("stage", key)),
            latency_frames=int(stage.get("latency", 0)),
            bypass=values.pop("bypass", 0.0) >= 0.5,
            cost_us=stats.stage_us.get(key, Percentiles(0.0, 0.0, 0.0, 0.0)).p50,
            parameters=values,
        )


def _recording(state: dict[str, Any]) -> str | None:
    """Return what is recorded to, however the state puts it."""
    found = state.get("recording")
    return str(found.get("path", found)) if isinstance(found, dict) else str(found) if found else None


def note_of(f0_hz: float) -> tuple[str | None, float]:
    """Return the nearest note of equal temperament, A4 = 440 Hz, and the deviation in cents; None for an unvoiced sound."""
    if not f0_hz > 0:
        return None, 0.0
    pitch = A4_MIDI + 12 * math.log2(f0_hz / A4_HZ)
    nearest = round(pitch)
    return f"{NOTES[nearest % 12]}{nearest // 12 - 1}", 100 * (pitch - nearest)


def small_histogram(edges_us: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> list[tuple[float, float, int]]:
    """Sum the fine buckets of callback times up between EDGES_US, from the first to the last that holds anything."""
    at = np.clip(np.searchsorted(EDGES_US, edges_us, side="right") - 1, 0, len(EDGES_US) - 2)
    sums = np.bincount(at, weights=counts, minlength=len(EDGES_US) - 1)
    held = np.flatnonzero(sums)
    if not len(held):
        return []
    return [(float(EDGES_US[k]), float(EDGES_US[k + 1]), int(sums[k])) for k in range(held[0], held[-1] + 1)]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong while we watched."""

    clock: str  # time of day
    text: str


class Incidents:
    """What the counters of trouble counted from one reading to the next."""

    KINDS: ClassVar = {
        "xruns": "xruns of the driver",
        "misses": "callbacks over the period",
        "late_wakes": "late wakes by the host",
        "record_dropped": "frames lost to the recording",
    }

    def __init__(self) -> None:
        """Count from the first reading on."""
        self._seen: dict[str, int] | None = None

    def news(self, stats: Stats) -> list[Incident]:
        """Return what is new."""
        now = {name: int(getattr(stats, name)) for name in self.KINDS}
        before, self._seen = self._seen or now, now
        clock = datetime.now().strftime("%H:%M:%S")
        return [
            Incident(clock, f"+{now[name] - before[name]} {what}, {now[name]} in all")
            for name, what in self.KINDS.items()
            if now[name] > before[name]
        ]


def stopped(reading: Reading) -> str | None:
    """Say why nothing sounds; None where all is well."""
    if not reading.stats.alive:
        return "the audio driver has shut down"
    if reading.silent_s is None:
        return "the audio driver has not called yet"
    return f"no callback for {reading.silent_s:.1f} s" if reading.stalled else None
