"""The machine alone: how late each core wakes a real-time thread, at rest and under load, beside Debian's cyclictest."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess

import numpy as np
from autovoice.tools.lab.bench.hogs import HOGS, WHAT
from autovoice.tools.lab.bench.observe import slices
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.bench.timer import HostTimer
from autovoice.tools.lab.percentiles import figures
from autovoice.tools.lab.results import Histogram, Result, Run, Series

HEADLINE = ("wake_p50_us", "wake_p99_us", "wake_p999_us", "wake_p9999_us", "wake_max_us")
PERIOD_US, PRIORITY = 1000.0, 80  # cyclictest's usual ones
LOADS = ("none", "cpu", "memory", "disk")
BUCKETS = 20_000  # of cyclictest's histogram, a microsecond wide


def run(settings: Settings, progress: Progress) -> Result:
    """Measure under every load in turns."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    beside = shutil.which("cyclictest") is not None
    realtime, parts = True, settings.repeat * len(LOADS)
    notes = [f"{name}: {WHAT[name]}" for name in LOADS if name in WHAT]
    if beside:
        notes.append("cyclictest forbids the cores to sleep deeply while it runs; the timer leaves that as it is")
    else:
        notes.append("cyclictest is not installed; apt-get install rt-tests puts it beside ours")

    def result() -> Result:
        series = [
            Series(name, "peer" if name.startswith("cyclictest") else "baseline", runs, {"hog": load, "core": core})
            for (name, load, core), runs in found.items()
        ]
        return Result("host", "wake-ups of an idle real-time thread", settings.described(), series, [], notes)

    for k in range(settings.repeat):
        for n, load in enumerate(LOADS):
            tick = progress.part(k * len(LOADS) + n, parts, f"load: {load}", settings.seconds * (1 + beside))
            with HOGS[load]() if load in HOGS else contextlib.nullcontext():
                with HostTimer(period_us=PERIOD_US, priority=PRIORITY) as timer:
                    for elapsed in slices(settings.seconds):
                        tick(elapsed)
                    realtime = realtime and timer.realtime
                    for core in timer.cores:
                        found.setdefault(("timer", load, str(core)), []).append(timer.run(core))
                if beside:
                    for core_of, one in cyclictest(settings.seconds).items():
                        found.setdefault(("cyclictest", load, core_of), []).append(one)
        if not realtime and "refused" not in notes[-1]:
            notes.append("SCHED_FIFO is refused: these are an ordinary thread's wake-ups")
        progress.keep(result())
    return result()


def cyclictest(seconds: float) -> dict[str, Run]:
    """Run Debian's cyclictest on every core and return its figures by core; empty where it cannot run here."""
    done = subprocess.run(
        ["cyclictest", "--mlockall", "--quiet", "--affinity", "--threads", f"--priority={PRIORITY}",
         f"--interval={PERIOD_US:.0f}", "--distance=0", f"--duration={max(round(seconds), 1)}", f"--histogram={BUCKETS}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return parse_cyclictest(done.stdout) if done.returncode == 0 else {}


def parse_cyclictest(text: str) -> dict[str, Run]:
    """Read cyclictest's histogram: rows of a latency in whole microseconds and a count for each thread, then summaries."""
    rows = [[int(word) for word in line.split()] for line in text.splitlines() if re.fullmatch(r"\s*\d+(\s+\d+)+\s*", line)]
    worst = re.search(r"# Max Latencies:\s*([\d ]+)", text)
    if not rows or worst is None:
        return {}
    table, longest = np.array(rows), [int(word) for word in worst[1].split()]
    found = {}
    for core, worst_us in enumerate(longest):
        counts = table[:, 1 + core]
        edges = np.append(table[:, 0], table[-1, 0] + 1).astype(float)
        over = max(worst_us - edges[-1], 0.0) + 1.0  # what lay beyond the histogram is in its last bucket
        lost = re.search(r"# Histogram Overflows:\s*([\d ]+)", text)
        beyond = int(lost[1].split()[core]) if lost else 0
        histogram = Histogram.of(np.append(edges, edges[-1] + over), np.append(counts, beyond))
        if histogram.count:
            total = float(sum(histogram.count))
            found[str(core)] = Run({**figures("wake", histogram, float(worst_us)), "wakes_number": total}, {"wake": histogram})
    return found
