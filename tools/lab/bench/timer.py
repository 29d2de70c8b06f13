"""The host's own jitter: how late it wakes a real-time thread that does nothing, as cyclictest measures it.

A compiled loop on each core sleeps to an absolute time with clock_nanosleep, reads the clock and counts the difference (T.
Gleixner, cyclictest, rt-tests). It runs above the audio threads' priority, so that nothing of ours can hold it up, and takes
a few microseconds of theirs: what it suffers, the host did. A core that stands still for longer than the loop's period is
always seen.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from autovoice.dsp.native import clock_ns, load_acquire, record_at, sleep_until, store_release, touch_stack
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import atomics
from autovoice.rt.layout import HISTOGRAM
from autovoice.rt.memory import Arena, address_of
from autovoice.rt.realtime import try_fifo
from autovoice.rt.rows import count_ns
from autovoice.tools.lab.percentiles import figures, histogram_ns
from autovoice.tools.lab.results import Run

PERIOD_US = 250.0
PRIORITY = 95  # of SCHED_FIFO: above JACK's threads and ours, below the kernel's own
LOG = 4096  # late wake-ups whose time is kept
LOG_FROM_NS = 100_000
STANDSTILL_SHARE = 0.5  # of a block's time beyond its usual one: so much of it explains the block

TIMER = np.dtype(
    [
        ("stop", "i8"),
        ("unused_line", "i8", (7,)),
        ("period_ns", "i8"),
        ("cycles", "i8"),
        ("worst_ns", "i8"),
        ("logged", "i8"),
        ("due_ns", "i8", (LOG,)),
        ("late_ns", "i8", (LOG,)),
        ("histogram", "i8", (HISTOGRAM,)),
    ],
    align=True,
)
_HISTOGRAM, _LOGGED = TIMER.fields["histogram"][1], TIMER.fields["logged"][1]  # type: ignore[index]


def _loop(address):
    timer = record_at(address, TIMER)
    touch_stack()
    due = clock_ns() + timer.period_ns
    while load_acquire(address) == 0:
        sleep_until(due)
        late = max(clock_ns() - due, 0)
        count_ns(address + _HISTOGRAM, late)
        timer.cycles += 1
        timer.worst_ns = max(timer.worst_ns, late)
        if late >= LOG_FROM_NS:
            at = timer.logged % LOG
            timer.due_ns[at], timer.late_ns[at] = due, late
            store_release(address + _LOGGED, timer.logged + 1)
        due += timer.period_ns * (1 + late // timer.period_ns)


@dataclass(frozen=True, slots=True)
class Lateness:
    """One late wake-up of a core: it was due at a CLOCK_MONOTONIC time."""

    core: int
    due_ns: int
    late_us: float


class HostTimer:
    """The loop on every core of this process, for as long as a block of code runs; a context manager. Control thread only."""

    def __init__(self, *, period_us: float = PERIOD_US, priority: int = PRIORITY) -> None:
        """Choose how often to wake up, and at which priority of SCHED_FIFO."""
        self.period_us, self._priority = period_us, priority
        self.cores = sorted(os.sched_getaffinity(0))
        self.realtime = False
        self._arena = Arena(len(self.cores) * (TIMER.itemsize + 64))
        self._timers = [self._arena.take(TIMER) for _ in self.cores]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the loops."""
        ready = threading.Barrier(len(self.cores) + 1)
        granted: list[bool] = []

        def work(core: int, address: int) -> None:
            os.sched_setaffinity(0, {core})  # of this thread
            granted.append(try_fifo(self._priority))
            ready.wait()
            LOOP.ctypes(address)

        for core, timer in zip(self.cores, self._timers, strict=True):
            timer[0]["period_ns"] = round(self.period_us * 1e3)
            thread = threading.Thread(target=work, args=(core, address_of(timer)), name=f"host-timer-{core}", daemon=True)
            thread.start()
            self._threads.append(thread)
        ready.wait()
        self.realtime = all(granted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop them."""
        for timer in self._timers:
            atomics.store(address_of(timer), 1)
        for thread in self._threads:
            thread.join()

    def counts(self) -> dict[int, np.ndarray[Any, Any]]:
        """Return each core's histogram so far, shape (buckets,)."""
        return {core: timer[0]["histogram"].copy() for core, timer in zip(self.cores, self._timers, strict=True)}

    def run(self, core: int | None = None) -> Run:
        """Return the figures of one core, or of all together: how late the wake-ups were."""
        chosen = [(c, t[0]) for c, t in zip(self.cores, self._timers, strict=True) if core in (None, c)]
        counts = np.sum([timer["histogram"] for _, timer in chosen], axis=0)
        worst_ns = max(int(timer["worst_ns"]) for _, timer in chosen)
        wake = histogram_ns(counts)
        return Run({**figures("wake", wake, worst_ns / 1e3), "wakes_number": float(counts.sum())}, {"wake": wake})

    def late(self) -> list[Lateness]:
        """Return the newest LOG wake-ups of each core that were later than LOG_FROM_NS, in no order."""
        found = []
        for core, timer in zip(self.cores, self._timers, strict=True):
            count = min(atomics.load(address_of(timer) + _LOGGED), LOG)
            due, late = timer[0]["due_ns"][:count], timer[0]["late_ns"][:count]
            found += [Lateness(core, int(d), int(n) / 1e3) for d, n in zip(due, late, strict=True)]
        return found

    def explains(self, start_ns: int, spent_us: float, usual_us: float) -> bool:
        """Say whether some core stood still for half of the time that a block took beyond its usual one, or longer.

        A standstill of D is seen by the first wake-up due in it, at most a period after it began: that one is late by D less
        a period at least. Nothing that a block does can make this loop late, which runs at a higher priority.
        """
        end_ns = start_ns + spent_us * 1e3
        stood_ns = dict.fromkeys(self.cores, 0.0)
        for late in self.late():
            overlap = min(late.due_ns + late.late_us * 1e3, end_ns) - max(late.due_ns, start_ns)
            stood_ns[late.core] += max(overlap, 0.0)
        return max(stood_ns.values()) >= STANDSTILL_SHARE * 1e3 * max(spent_us - usual_us, 2 * self.period_us)


LOOP = compile_entry(_loop, numba.types.void(numba.types.uintp), extra_calls=frozenset({"clock_nanosleep"}))
