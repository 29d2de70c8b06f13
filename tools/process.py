"""What the kernel knows about a process: when it began and how much memory it holds."""

from __future__ import annotations

import os
import time
from pathlib import Path


def started_monotonic_s(pid: int | None = None) -> float:
    """Return when a process began, on the clock of `time.monotonic`, to a hundredth of a second; Linux.

    The kernel gives it in ticks since boot (proc(5), field 22 of stat), which count time in suspend that the monotonic
    clock does not.
    """
    fields = Path(f"/proc/{pid or os.getpid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def resident_mb() -> dict[str, float]:
    """Return resident memory in MB: `anon` (the process's own), `file` (code and mapped files), `shared` (memfds, JACK's)."""
    names = {"RssAnon:": "anon", "RssFile:": "file", "RssShmem:": "shared"}
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, *rest = line.split()
        if name in names:
            found[names[name]] = round(int(rest[0]) * 1024 / 1e6, 1)
    return found
