"""Which models are resident: workers of lanes that keep what they have loaded while no chain has them.

A lane leases a worker and gives it back when its chain plays no more (`autovoice.rt.lane.process.Workers`). Given back, the
worker rests with its model loaded, for `ttl_s` or until its place is needed, the longest unused first; a lane that runs the
same takes it up again in the time that beginning afresh takes. What is in use is never ended here. How much memory a worker
takes is what the kernel says of it (PSS: pages that several share are counted in parts), and is only known once it is loaded:
where a new one does not fit beside those in use, it is refused, and what plays goes on.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autovoice.rt.chain import Chain
from autovoice.rt.lane.host import HUNG_S, LOADING_S
from autovoice.rt.lane.naming import PREFIX, foreign
from autovoice.rt.lane.process import Order, Worker, start_worker
from autovoice.rt.lane.stage import LaneStage

MEGABYTE = 1e6
TTL_S = 600.0
LOOK_S = 1.0  # between two looks for what has rested for long enough

Key = tuple[str, ...]
"""What tells models apart: what hosts it, its text, and when its files were written."""


@dataclass(slots=True)
class Resident:
    """One model in memory."""

    name: str
    workers: int
    users: int  # of these, how many a lane has
    bytes: int


@dataclass(slots=True)
class _Rest:
    worker: Worker
    key: Key
    since_s: float


class ModelManager:
    """Keeps workers; see the module. Any thread but the audio's; one manager serves one engine."""

    def __init__(
        self,
        budget_bytes: float | None = None,
        *,
        ttl_s: float = TTL_S,
        clock: Callable[[], float] = time.monotonic,
        size_of: Callable[[int], int] | None = None,
    ) -> None:
        """Keep nothing yet. Without a budget, half of the machine's memory; `size_of` says a process's bytes."""
        self.budget_bytes = machine_bytes() / 2 if budget_bytes is None else budget_bytes
        self.ttl_s, self._clock, self._size_of = ttl_s, clock, size_of or memory_of
        self._lock = threading.RLock()
        self._resting: OrderedDict[int, _Rest] = OrderedDict()  # by process, the longest unused first
        self._leased: dict[int, tuple[Worker, Key]] = {}
        self._loading: set[Worker] = set()
        self._rests = 0  # how often `rest` was called: what was to be loaded ahead before it is not wanted any more
        self._wanted: set[Key] = set()  # preloaded: they rest without end
        self._sizes: dict[Key, int] = {}  # of one worker, as last measured
        self._jobs: queue.SimpleQueue[tuple[Future[Worker], Order] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def lease(self, order: Order) -> Worker:
        """Return a worker that was told what to do: one that rests with the model, else a new one. Raises OSError."""
        key = key_of(order["plan"])
        with self._lock:
            for rest in [one for one in self._resting.values() if one.key == key]:
                del self._resting[rest.worker.process.pid]
                if rest.worker.tell(order):
                    self._leased[rest.worker.process.pid] = rest.worker, key
                    return rest.worker
                rest.worker.end()
            self._make_room(self._sizes.get(key, 0))
        worker = self._start(order)
        with self._lock:
            self._leased[worker.process.pid] = worker, key
        return worker

    def refuse(self, worker: Worker) -> str | None:
        """Say in one line that a worker which is loaded now does not fit; None where it does."""
        with self._lock:
            key = self._key(worker)
            size = self._sizes[key] = self._size_of(worker.process.pid)
            held = self._held() - size
            if held + size > self.budget_bytes:
                return self._too_small(worker.plan, size, held)
            self._make_room()
            return None

    def has_room(self, plan: dict[str, str]) -> bool:
        """Say whether another worker for a plan would fit beside those in use, as far as its size is known."""
        with self._lock:
            return self._held() + self._sizes.get(key_of(plan), 0) <= self.budget_bytes

    def give_back(self, worker: Worker) -> None:
        """Let a worker rest that was asked to leave its seat; it ends where it does not, or may not."""
        rests = self.ttl_s > 0 and worker.await_rest(HUNG_S)
        with self._lock:
            key = self._key(worker)
            self._leased.pop(worker.process.pid, None)
            if rests:
                self._lay_to_rest(worker, key)
                self._make_room()
            else:
                worker.end()

    def preload(self, chains: Iterable[Chain], sample_rate: float) -> list[str]:
        """Load the models of chains before they are needed; returns a line on each that cannot be.

        They rest until `rest`, or until their place is needed.
        """
        troubles, began = [], self._rests
        for plan, hop in _plans(chains, sample_rate):
            key = key_of(plan)
            with self._lock:
                if self._rests != began:
                    break
                self._wanted.add(key)
                there = any(key == one.key for one in self._resting.values()) or any(key == k for _, k in self._leased.values())
            if not there and (trouble := self._preload_one(plan, {"sample_rate": sample_rate, "hop": hop}, began)):
                troubles.append(trouble)
        return troubles

    def _preload_one(self, plan: dict[str, str], settings: dict[str, Any], began: int) -> str:
        """Load one, and return why it cannot be."""
        worker = self._start({"plan": plan, "path": sys.path, **settings})
        with self._lock:
            self._loading.add(worker)
        rests = worker.await_rest(LOADING_S)
        with self._lock:
            self._loading.discard(worker)
            if self._rests != began:
                worker.end()
                return ""
            size, key = self._size_of(worker.process.pid), key_of(plan)
            others = self._held() + sum(self._size_of(pid) for pid in self._resting)
            if rests and others + size <= self.budget_bytes:
                self._lay_to_rest(worker, key)
                return ""
            worker.end()
            self._wanted.discard(key)
            if rests:
                self._sizes[key] = size
                return f"not preloaded: {self._too_small(plan, size, others)}"
            return f"not preloaded: {name_of(plan)}: {worker.error or f'not ready after {LOADING_S:g} s'}"

    def sweep(self) -> None:
        """End what has rested for long enough, and what no longer fits since others have grown."""
        with self._lock:
            now_s = self._clock()
            for rest in list(self._resting.values()):
                over = now_s - rest.since_s >= self.ttl_s and rest.key not in self._wanted
                if over or rest.worker.process.poll() is not None:
                    self._end(rest)
            self._make_room()

    def resident(self) -> list[Resident]:
        """Return what is in memory."""
        with self._lock:
            found: dict[Key, Resident] = {}
            workers = [(worker, key, 1) for worker, key in self._in_use()]
            for worker, key, users in [*workers, *((one.worker, one.key, 0) for one in self._resting.values())]:
                one = found.setdefault(key, Resident(name_of(worker.plan), 0, 0, 0))
                one.workers += 1
                one.users += users
                one.bytes += self._size_of(worker.process.pid)
            return list(found.values())

    def rest(self) -> None:
        """End all that nobody has: the engine stops. It may start again."""
        with self._lock:
            for rest in list(self._resting.values()):
                self._end(rest)
            for worker in self._loading:
                worker.process.kill()
            self._wanted.clear()
            self._rests += 1
            if self._thread is not None and not self._in_use() and not self._loading:
                self._jobs.put(None)
                self._thread, self._jobs = None, queue.SimpleQueue()

    def _start(self, order: Order) -> Worker:
        """Start a worker on the manager's own thread, since the kernel ends it with the thread that starts it."""
        future: Future[Worker] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, args=(self._jobs,), name="autovoice-models", daemon=True)
                self._thread.start()
            self._jobs.put((future, order))
        return future.result()

    def _work(self, jobs: queue.SimpleQueue[tuple[Future[Worker], Order] | None]) -> None:
        while True:
            try:
                job = jobs.get(timeout=LOOK_S)
            except queue.Empty:
                self.sweep()
                continue
            if job is None:
                return
            future, order = job
            try:
                future.set_result(start_worker(order))
            except Exception as error:
                future.set_exception(error)

    def _lay_to_rest(self, worker: Worker, key: Key) -> None:
        self._sizes[key] = self._size_of(worker.process.pid)
        self._resting[worker.process.pid] = _Rest(worker, key, self._clock())

    def _end(self, rest: _Rest) -> None:
        del self._resting[rest.worker.process.pid]
        rest.worker.end()

    def _make_room(self, size: float = 0.0) -> None:
        """End what rests, the longest unused first, until so many bytes are free or nothing rests any more."""
        sizes = {pid: self._size_of(pid) for pid in self._resting}
        held = self._held() if sizes else 0
        for pid, rest in list(self._resting.items()):
            if held + sum(sizes.values()) + size <= self.budget_bytes:
                return
            self._end(rest)
            del sizes[pid]

    def _in_use(self) -> list[tuple[Worker, Key]]:
        """Return the workers that lanes have; those that have ended since are forgotten."""
        self._leased = {pid: one for pid, one in self._leased.items() if one[0].process.poll() is None}
        return list(self._leased.values())

    def _key(self, worker: Worker) -> Key:
        return self._leased[worker.process.pid][1] if worker.process.pid in self._leased else key_of(worker.plan)

    def _held(self) -> int:
        return sum(self._size_of(worker.process.pid) for worker, _ in self._in_use())

    def _too_small(self, plan: dict[str, str], size: float, held: float) -> str:
        beside = f" beside the {held / MEGABYTE:.0f} MB in use" if held else ""
        return (
            f"{name_of(plan)} takes {size / MEGABYTE:.0f} MB of memory, which do not fit{beside} into the "
            f"{self.budget_bytes / MEGABYTE:.0f} MB that models may take; give --model-memory "
            f"{math.ceil((held + size) / MEGABYTE)}..{machine_bytes() / MEGABYTE:.0f}, or play with fewer models in lanes"
        )


def name_of(plan: dict[str, str]) -> str:
    """Return what a model is called: its file without its folder, or the text as it is."""
    return plan["text"] if plan["kind"] == "chain" else Path(plan["text"]).name


def key_of(plan: dict[str, str]) -> Key:
    """Return what tells a plan's model from others: a file that was written anew is another model."""
    stamps = []
    for file in foreign(PREFIX + plan["text"]):
        with contextlib.suppress(OSError):
            about = os.stat(Path(file).expanduser())
            stamps.append(f"{about.st_mtime_ns} {about.st_size}")
    return plan["kind"], plan["text"], *stamps


def memory_of(pid: int) -> int:
    """Return the bytes that a process takes, its share of what it shares; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def machine_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _plans(chains: Iterable[Chain], sample_rate: float) -> list[tuple[dict[str, str], int]]:
    """Return what the lanes of chains run, each once, with the hop of the first."""
    found: dict[Key, tuple[dict[str, str], int]] = {}
    for placed in (one for chain in chains for one in chain.placed):
        if isinstance(placed.stage, LaneStage):
            plan = {"kind": placed.stage.plan.kind, "text": placed.stage.plan.text}
            found.setdefault(key_of(plan), (plan, placed.stage.hop(sample_rate, placed.options)))
    return list(found.values())
