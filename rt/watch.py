"""The watcher: a thread of control that asks the kernel, fifty times a second, what became of the audio thread.

Page faults and context switches cannot be counted on the audio thread itself, since asking is a system call. So the counts
around a block that was kept (see `autovoice.rt.worst`) are those between two looks, 20 ms apart while nobody holds the GIL.
Linux only; elsewhere nothing is watched and the records stand without this evidence.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autovoice.rt.worst import EVIDENCE, SLOTS, WorstPage

LOOK_S = 0.02
COUNTS = tuple(name for name in EVIDENCE.names or () if name not in ("number", "interval_ns"))


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel had counted for a thread by one time; nanoseconds and events."""

    time_ns: int  # CLOCK_MONOTONIC
    counts: tuple[int, ...]  # in the order of COUNTS


def thread_id(handle: int) -> int | None:
    """Return the kernel's id of a thread by its pthread handle; None where that cannot be told or the thread is gone.

    Linux writes the id into the clock that counts a thread's processor time (clock_getres(2): the upper bits, inverted).
    """
    if not handle:
        return None
    try:
        ask = ctypes.CDLL(None).pthread_getcpuclockid
    except AttributeError:
        return None
    clock = ctypes.c_int()
    if ask(ctypes.c_ulong(handle), ctypes.byref(clock)) != 0:
        return None
    found = ~(clock.value >> 3)
    return found if Path(f"/proc/self/task/{found}").exists() else None


def look(thread: int) -> Look:
    """Read the counts of one of this process's threads (proc(5): stat, status, schedstat); raises OSError when it is gone."""
    folder = Path(f"/proc/self/task/{thread}")
    stat = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    status = dict(
        line.split(":\t", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines() if ":\t" in line
    )
    try:
        ran, waited = (int(n) for n in (folder / "schedstat").read_text(encoding="utf-8").split()[:2])
    except OSError:  # a kernel without CONFIG_SCHED_INFO
        ran = waited = 0
    stolen = Path("/proc/stat").read_text(encoding="utf-8").split(None, 9)[8]  # the line `cpu`, its eighth count
    return Look(
        time.monotonic_ns(),
        (
            int(stat[7]),
            int(stat[9]),
            int(status["voluntary_ctxt_switches"]),
            int(status["nonvoluntary_ctxt_switches"]),
            ran,
            waited,
            int(stolen) * (1_000_000_000 // os.sysconf("SC_CLK_TCK")),
        ),
    )


class Watcher:
    """Watches the thread that a page names, from `start` to `stop`."""

    def __init__(self, page: WorstPage) -> None:
        """Take the page; nothing is watched yet."""
        self._page = page
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="autovoice-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; may be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        page, seen = self._page.page, int(self._page.page["written"])
        handle, thread, before = 0, None, None
        while not self._stop.wait(LOOK_S):
            if int(page["thread"]) != handle:
                handle, before = int(page["thread"]), None
                thread = thread_id(handle)
            written = int(page["written"])  # before the look: what is written after it belongs to the next interval
            try:
                now = look(thread) if thread is not None else None
            except (OSError, KeyError, IndexError, ValueError):  # the thread ended between two looks
                now = thread = None  # and its handle may not be asked for again: it points to nothing now
            if before is not None and now is not None:
                self._attach(before, now, seen, written)
            seen, before = written, now

    def _attach(self, before: Look, now: Look, seen: int, written: int) -> None:
        """Give the records numbered above `seen` the counts of this interval, or add them to the quiet ones."""
        page: Any = self._page.page
        delta = [b - a for a, b in zip(before.counts, now.counts, strict=True)]
        if written == seen:
            quiet = page["quiet"]
            quiet["interval_ns"] += now.time_ns - before.time_ns
            for name, count in zip(COUNTS, delta, strict=True):
                quiet[name] += count
            page["quiet_count"] += 1
            return
        for slot in range(SLOTS):
            number = int(page["record"][slot]["number"])
            if seen < number <= written:
                evidence = page["evidence"][slot]
                evidence["number"] = 0
                evidence["interval_ns"] = now.time_ns - before.time_ns
                for name, count in zip(COUNTS, delta, strict=True):
                    evidence[name] = count
                evidence["number"] = number
