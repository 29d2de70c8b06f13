"""What the audio thread counts, read from outside: by this process or, through shared memory, by any other of the user."""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autovoice.rt.layout import BLOCK_NOW, LANE_STATES, SHUTDOWN, SUB_BUCKETS, TELEMETRY, XRUNS

MAGIC = 0x4156_5445_4C45_0003  # "AVTELE", layout 3


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Times in microseconds; each is its histogram bucket's middle, within 1.6 %. `max` is exact."""

    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class LaneStats:
    """A lane and its worker."""

    state: str  # of LANE_STATES
    hops: int  # handed over
    misses: int  # hops that were not there at their time
    dry_frames: int  # that were not wholly the worker's
    restarts: int  # workers that ended
    pid: int  # of the worker that is heard, 0 = none
    standby_pid: int  # of the one that stands by, 0 = none
    priority: int  # real-time priority that the host granted the worker, 0 = none
    trouble: str  # why the last worker ended, empty = none has


@dataclass(frozen=True, slots=True)
class Stats:
    """A moment's reading of a running engine."""

    frames: int  # processed since the start
    expected_frames: int  # that the clock asked for between the first callback and the newest
    cycles: int  # callbacks
    xruns: int  # reported by the driver
    misses: int  # callbacks of ours that took longer than the period
    late_wakes: int  # callbacks that began more than a period late: the host's doing
    load: float  # share of the period, smoothed over a second
    callback_us: Percentiles
    latency_frames: int  # declared, from input port to output port
    sample_rate: float  # Hz
    block: int  # frames
    in_peak_dbfs: float
    out_peak_dbfs: float
    f0_hz: float  # 0 = unvoiced
    voicing: float
    level_dbfs: float
    nonfinite: int  # input and output samples that were not numbers, and were replaced by 0
    events_applied: int
    events_late: int
    events_unknown: int  # named a stage that no longer plays
    swaps: int
    record_dropped: int  # frames lost to a full recorder
    alive: bool  # the driver still calls us
    stage_us: dict[str, Percentiles] = field(default_factory=dict)
    lane_hops: int = 0  # handed to workers, of all lanes since the start
    lane_misses: int = 0  # of these, not there at their time: the dry sound was heard
    lanes: dict[str, LaneStats] = field(default_factory=dict)


class Telemetry:
    """A view of the shared counters. Any thread may read; only the audio thread writes."""

    def __init__(self, record: np.ndarray[Any, Any]) -> None:
        """View a TELEMETRY array of shape (1,)."""
        self.array = record
        self._record = record[0]

    @classmethod
    def attach(cls, path: str) -> Telemetry:
        """Map another process's counters by the path its engine gave; raises ValueError where they are not ours."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < TELEMETRY.itemsize:
                raise ValueError(f"{path} is too short to be AutoVoice telemetry")
            memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        record = np.frombuffer(memory, TELEMETRY, count=1)
        if record[0]["magic"] != MAGIC:
            raise ValueError(f"{path} is not AutoVoice telemetry of this version")
        return cls(record)

    def __getitem__(self, name: str) -> Any:
        """Read one counter by its field name."""
        return self._record[name]

    def driver(self, row: int) -> int:
        """Read one of the values that driver threads write."""
        return int(self._record["driver"][row])

    def histogram(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the callback times as (lower edges in microseconds, counts), each of shape (buckets,)."""
        counts = np.array(self._record["callback"])
        return _edges()[:-1] / 1e3, counts

    def stats(self, stage_names: tuple[str, ...] = ()) -> Stats:
        """Read everything at once; values of one callback may straddle two."""
        r = self.array.copy()[0]  # in one stroke: between two reads, Python could be kept waiting for many callbacks
        since = int(r["now_ns"]) - int(r["first_ns"])
        block = int(r["driver"][BLOCK_NOW]) or int(r["block"])  # the driver's own, once it said one
        expected = round(since * 1e-9 * float(r["sample_rate"])) + block if r["cycles"] else 0
        return Stats(
            frames=int(r["frames"]),
            expected_frames=expected,
            cycles=int(r["cycles"]),
            xruns=self.driver(XRUNS),
            misses=int(r["misses"]),
            late_wakes=int(r["late_wakes"]),
            load=float(r["load"]),
            callback_us=percentiles(np.array(r["callback"]), int(r["worst_ns"])),
            latency_frames=int(r["latency"]),
            sample_rate=float(r["sample_rate"]),
            block=block,
            in_peak_dbfs=_dbfs(float(r["in_peak"])),
            out_peak_dbfs=_dbfs(float(r["out_peak"])),
            f0_hz=float(r["bus"]["f0_hz"]),
            voicing=float(r["bus"]["voicing"]),
            level_dbfs=float(r["bus"]["level_dbfs"]),
            nonfinite=int(r["nonfinite_in"]) + int(r["nonfinite_out"]),
            events_applied=int(r["events_applied"]),
            events_late=int(r["events_late"]),
            events_unknown=int(r["events_unknown"]),
            swaps=int(r["swaps"]),
            record_dropped=int(r["record_dropped"]),
            alive=self.driver(SHUTDOWN) == 0,
            stage_us={name: percentiles(np.array(r["stage"][k])) for k, name in enumerate(stage_names)},
            lane_hops=int(r["lanes"]["hops"]),
            lane_misses=int(r["lanes"]["misses"]),
            lanes=lanes_of(r["lane"]),
        )

    def lanes(self) -> dict[str, LaneStats]:
        """Read the lanes that there are, by name."""
        return lanes_of(self._record["lane"])


def lanes_of(rows: np.ndarray[Any, Any]) -> dict[str, LaneStats]:
    """Read telemetry's rows of lanes; during a swap the newer of two that are called the same."""
    found = {}
    for row in rows:
        if key := _text(row["key"]):
            counts = row["counts"]
            found[key] = LaneStats(
                state=LANE_STATES[int(row["state"])],
                trouble=_text(row["trouble"]),
                **{name: int(counts[name]) for name in ("hops", "misses", "dry_frames")},
                **{name: int(row[name]) for name in ("restarts", "pid", "standby_pid", "priority")},
            )
    return found


def _text(data: np.ndarray[Any, Any]) -> str:
    return data.tobytes().rstrip(b"\0").decode(errors="replace")


def _edges() -> np.ndarray[Any, Any]:
    """Return the bucket edges in nanoseconds: linear below SUB_BUCKETS, then SUB_BUCKETS per octave."""
    buckets = np.arange(TELEMETRY["callback"].shape[0] + 1)
    octave = np.maximum(buckets // SUB_BUCKETS - 1, 0)
    return np.asarray((buckets - octave * SUB_BUCKETS) * 2.0**octave)


def percentiles(counts: np.ndarray[Any, Any], worst_ns: int | None = None) -> Percentiles:
    """Return percentiles in microseconds of a histogram of shape (buckets,); zeros where nothing was counted."""
    total = int(counts.sum())
    if total == 0:
        return Percentiles(0.0, 0.0, 0.0, 0.0)
    edges = _edges()
    middle = (edges[:-1] + edges[1:]) / 2e3
    rank = np.cumsum(counts)

    def at(share: float) -> float:
        return float(middle[int(np.searchsorted(rank, share * total))])

    worst = float(middle[int(np.flatnonzero(counts)[-1])]) if worst_ns is None else worst_ns / 1e3
    return Percentiles(at(0.5), at(0.99), at(0.999), worst)


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 1e-6 else -120.0
