"""The worst blocks: which callbacks took longest or came late, and what the engine did in them, in shared memory.

The audio thread writes a record when a block is among the TOP slowest since the start, and one when it is over its budget or
woke late; a watcher thread (`autovoice.rt.watch`) adds what the kernel knows of the thread at that time. Any process of the
same user may read. A record's number is written last and read first and last, so a reader never takes half of one.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autovoice.dsp.native import copy_bytes, helper, record_at, store_release
from autovoice.rt.layout import MAX_STAGES, field_offset

MAGIC = 0x4156_574F_5253_0001  # "AVWORS", layout 1
TOP, RECENT = 16, 112  # the slowest blocks of all; the newest that were over budget or late
SLOTS = TOP + RECENT
GENERATIONS = 8  # chains whose stage names are kept
NAME_BYTES = 48
BUDGET_SHARE = 0.25  # of the period

RECORD = np.dtype(
    [
        ("number", "i8"),  # 1, 2, ... in the order written; 0 = never, -1 = being written
        ("cycle", "i8"),
        ("frame", "i8"),
        ("frames", "i8"),
        ("start_ns", "i8"),  # CLOCK_MONOTONIC
        ("spent_ns", "i8"),
        ("late_ns", "i8"),  # how long after its time the driver called
        ("events", "i8"),  # applied in this block
        ("adopted", "i8"),  # whether a chain was taken up in it, with the states of the old one
        ("incoming_ns", "i8"),  # time in a second chain, during a swap
        ("generation", "i8"),  # of the chain that was heard
        ("count", "i8"),  # its stages
        ("stage_ns", "i8", (MAX_STAGES,)),
    ],
    align=True,
)
"""One block."""

EVIDENCE = np.dtype(
    [
        ("number", "i8"),  # of the record it belongs to
        ("interval_ns", "i8"),  # between the two looks around the block
        ("faults_minor", "i8"),
        ("faults_major", "i8"),
        ("switches_voluntary", "i8"),
        ("switches_involuntary", "i8"),
        ("ran_ns", "i8"),
        ("waited_ns", "i8"),  # runnable, but without a processor
        ("stolen_ns", "i8"),  # by the hypervisor, over all processors
    ],
    align=True,
)
"""What the kernel counted for the audio thread around a block."""

PAGE = np.dtype(
    [
        ("magic", "i8"),
        ("pid", "i8"),
        ("sample_rate", "f8"),
        ("budget_share", "f8"),  # of the period: blocks that take more are kept
        ("thread", "i8"),  # the audio thread's pthread handle
        ("written", "i8"),  # records so far
        ("least_ns", "i8"),  # of the TOP: what is slower enters
        ("weakest", "i8"),  # ... in place of this one
        ("recent", "i8"),  # records among the RECENT so far
        ("now", RECORD),  # the block that is being played
        ("record", RECORD, (SLOTS,)),
        ("evidence", EVIDENCE, (SLOTS,)),
        ("quiet", EVIDENCE),  # sums over the intervals in which nothing was kept
        ("quiet_count", "i8"),
        ("generation", "i8", (GENERATIONS,)),
        ("names", "u1", (GENERATIONS, MAX_STAGES, NAME_BYTES)),  # UTF-8, padded with zeros
    ],
    align=True,
)
"""The whole page."""

RECORD_BYTES = RECORD.itemsize
NOW, RECORDS = (field_offset(PAGE, name) for name in ("now", "record"))


@helper
def begin_block(page_address, cycle, frame, frames, start_ns, late_ns, generation, count):
    """Open the record of the block that begins."""
    now = record_at(page_address + NOW, RECORD)
    now.cycle, now.frame, now.frames = cycle, frame, frames
    now.start_ns, now.late_ns = start_ns, late_ns
    now.generation, now.count = generation, count
    now.events = now.adopted = now.incoming_ns = 0
    for k in range(count):
        now.stage_ns[k] = 0


@helper
def _keep(page, page_address, slot):
    """Copy the block's record to a slot; its number is invalid meanwhile."""
    at = page_address + RECORDS + slot * RECORD_BYTES
    store_release(at, -1)
    copy_bytes(at + 8, page_address + NOW + 8, RECORD_BYTES - 8)
    page.written += 1
    store_release(at, page.written)


@helper
def end_block(page_address, spent_ns, period_ns):
    """Keep the block's record where it is slow, over budget or late."""
    page = record_at(page_address, PAGE)
    page.now.spent_ns = spent_ns
    if spent_ns > page.least_ns:
        _keep(page, page_address, page.weakest)
        least = spent_ns
        for k in range(TOP):
            spent = page.record[k].spent_ns
            if spent <= least:
                least = spent
                page.weakest = k
        page.least_ns = least
    if spent_ns > page.budget_share * period_ns or page.now.late_ns > period_ns:
        _keep(page, page_address, TOP + page.recent % RECENT)
        page.recent += 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the kernel counted for the audio thread between two looks around a block, or on average where nothing happened."""

    interval_ms: float
    faults_minor: float
    faults_major: float
    switches_voluntary: float
    switches_involuntary: float
    ran_us: float
    waited_us: float  # runnable, but without a processor
    stolen_us: float  # by the hypervisor, over all processors


@dataclass(frozen=True, slots=True)
class WorstBlock:
    """One block that was slow, over its budget, or late."""

    number: int  # in the order written
    cycle: int
    frame: int
    frames: int
    start_ns: int  # CLOCK_MONOTONIC
    spent_us: float
    late_us: float
    period_us: float
    events: int
    adopted: bool
    incoming_us: float
    stages_us: dict[str, float]
    evidence: Evidence | None = field(default=None)  # None: the watcher has not looked yet, or there is none

    @property
    def severity_us(self) -> float:
        """What the block is judged by: its time, or its lateness where that is more than a period."""
        return max(self.spent_us, self.late_us if self.late_us > self.period_us else 0.0)

    @property
    def engine_us(self) -> float:
        """What was spent outside the stages."""
        return max(self.spent_us - sum(self.stages_us.values()) - self.incoming_us, 0.0)


class WorstPage:
    """A view of the records. Any thread may read; `blocks` takes whole ones only."""

    def __init__(self, page: np.ndarray[Any, Any]) -> None:
        """View a PAGE array of shape (1,)."""
        self.array = page
        self.page = page[0]

    @classmethod
    def attach(cls, path: str) -> WorstPage:
        """Map another process's records by the path its engine gave; raises ValueError where they are not ours."""
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < PAGE.itemsize:
                raise ValueError(f"{path} is too short to hold AutoVoice's worst blocks")
            memory = mmap.mmap(file.fileno(), PAGE.itemsize, prot=mmap.PROT_READ)
        page = np.frombuffer(memory, PAGE, count=1)
        if page[0]["magic"] != MAGIC:
            raise ValueError(f"{path} does not hold AutoVoice's worst blocks of this version")
        return cls(page)

    def prepare(self, sample_rate: float, budget_share: float = BUDGET_SHARE) -> None:
        """Begin an empty page. Before the audio thread knows of it."""
        self.page["magic"], self.page["pid"] = MAGIC, os.getpid()
        self.page["sample_rate"], self.page["budget_share"] = sample_rate, budget_share
        self.page["thread"] = 0  # that of an earlier run is gone, and its handle may not be used any more

    def name_stages(self, generation: int, names: Sequence[str]) -> None:
        """Say what the stages of a chain are called, before that chain is published. Control thread only."""
        row = generation % GENERATIONS
        self.page["names"][row] = 0
        for k, name in enumerate(names):
            text = name.encode()[:NAME_BYTES]
            self.page["names"][row][k][: len(text)] = list(text)
        self.page["generation"][row] = generation

    def _names(self, generation: int, count: int) -> list[str]:
        row = generation % GENERATIONS
        if self.page["generation"][row] != generation:
            return [f"stage {k + 1}" for k in range(count)]
        return [_text(name) for name in self.page["names"][row][:count]]

    def stage_names(self) -> tuple[str, ...]:
        """Return the stages of the newest chain, as the engine numbers them."""
        newest = int(self.page["generation"].max())
        return tuple(_text(name) for name in self.page["names"][newest % GENERATIONS] if name[0])

    def blocks(self) -> list[WorstBlock]:
        """Return the blocks that are kept, each once, the worst first."""
        found: dict[int, WorstBlock] = {}
        for slot in range(SLOTS):
            record, evidence = self.page["record"][slot].copy(), self.page["evidence"][slot].copy()
            number = int(record["number"])
            if number <= 0 or int(self.page["record"][slot]["number"]) != number:
                continue
            block = self._block(record, _evidence(evidence) if evidence["number"] == number else None)
            before = found.get(block.cycle)
            if before is None or before.evidence is None:
                found[block.cycle] = block
        return sorted(found.values(), key=lambda b: b.severity_us, reverse=True)

    def _block(self, r: Any, evidence: Evidence | None) -> WorstBlock:
        count = int(r["count"])
        names = self._names(int(r["generation"]), count)
        return WorstBlock(
            number=int(r["number"]),
            cycle=int(r["cycle"]),
            frame=int(r["frame"]),
            frames=int(r["frames"]),
            start_ns=int(r["start_ns"]),
            spent_us=int(r["spent_ns"]) / 1e3,
            late_us=int(r["late_ns"]) / 1e3,
            period_us=int(r["frames"]) * 1e6 / float(self.page["sample_rate"]),
            events=int(r["events"]),
            adopted=bool(r["adopted"]),
            incoming_us=int(r["incoming_ns"]) / 1e3,
            stages_us={name: int(ns) / 1e3 for name, ns in zip(names, r["stage_ns"][:count], strict=True)},
            evidence=evidence,
        )

    def quiet(self) -> Evidence | None:
        """Return what the kernel counted on average between two looks in which no block was kept; None before any."""
        count = int(self.page["quiet_count"])
        return _evidence(self.page["quiet"], count) if count else None


def _text(name: np.ndarray[Any, Any]) -> str:
    return bytes(name).rstrip(b"\0").decode(errors="replace")


def _evidence(record: Any, count: int = 1) -> Evidence:
    e = {name: int(record[name]) / count for name in EVIDENCE.names or ()}
    return Evidence(
        interval_ms=e["interval_ns"] / 1e6,
        faults_minor=e["faults_minor"],
        faults_major=e["faults_major"],
        switches_voluntary=e["switches_voluntary"],
        switches_involuntary=e["switches_involuntary"],
        ran_us=e["ran_ns"] / 1e3,
        waited_us=e["waited_ns"] / 1e3,
        stolen_us=e["stolen_ns"] / 1e3,
    )
