"""Watching a live engine for a while: what it did in that time, second by second, and which of its misses the host explains."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.dsp.stage import SEGMENT
from autovoice.rt.layout import XRUNS
from autovoice.rt.telemetry import Telemetry
from autovoice.rt.worst import SLOTS
from autovoice.tools.lab.bench.timer import STANDSTILL_SHARE
from autovoice.tools.lab.percentiles import figures, histogram_ns, mean_us
from autovoice.tools.lab.results import Run
from autovoice.tools.lab.why import describe

if TYPE_CHECKING:
    from autovoice.rt import Engine
    from autovoice.tools.lab.bench.timer import HostTimer

Array = np.ndarray[Any, Any]
Tick = Callable[[float], None]  # is told the seconds that have passed

SETTLE_S = 0.5  # until states, caches and the fade-in are what they will be
SLICE_S = 1.0  # of the timeline
COUNTERS = ("cycles", "frames", "misses", "late_wakes", "busy_ns", "now_ns", "events_applied", "swaps")
SLOWEST_KEPT, LATEST_KEPT = 12, 4  # blocks in a run's list
EVIDENCE_S = 0.1  # until the kernel's counts stand beside a block that was just kept


class _Moment:
    """All counters at one time."""

    def __init__(self, telemetry: Telemetry) -> None:
        record = telemetry.array.copy()[0]
        self.values = {name: int(record[name]) for name in COUNTERS}
        self.values["xruns"] = int(record["driver"][XRUNS])
        self.callback: Array = np.array(record["callback"])
        self.stages: Array = np.array(record["stage"])
        self.worst_ns = int(record["worst_ns"])
        self.host: Array | None = None

    def since(self, before: _Moment) -> dict[str, int]:
        return {name: value - before.values[name] for name, value in self.values.items()}


class Watch:
    """What an engine does from now on; `look` once a second, `run` at the end."""

    def __init__(self, engine: Engine, host: HostTimer | None = None) -> None:
        """Begin, at the engine's counters as they are now."""
        self._engine, self._host = engine, host
        self._began = time.monotonic()
        self._memory_kib = anonymous_kib()
        self._moments = [self._moment()]
        self._missed: dict[int, dict[str, Any]] = {}  # by cycle; those that the next look is to judge
        self._judged: dict[int, bool] = {}  # by cycle: whether the host explains it
        self._rows: dict[str, list[float]] = {
            name: [] for name in ("time_s", "p50_us", "max_us", "misses", "late_wakes", "xruns", "host_max_us", "memory_kib")
        }

    def _moment(self) -> _Moment:
        moment = _Moment(self._engine.processor.telemetry)
        if self._host is not None:
            moment.host = np.sum(list(self._host.counts().values()), axis=0)
        return moment

    @property
    def cycles(self) -> int:
        """Callbacks watched so far."""
        return self._moments[-1].since(self._moments[0])["cycles"]

    def look(self) -> None:
        """Add a row to the timeline: what happened since the last one."""
        before, now = self._moments[-1], self._moment()
        delta, times = now.since(before), now.callback - before.callback
        slice_ = histogram_ns(times) if times.any() else None
        host = histogram_ns(now.host - before.host) if now.host is not None and before.host is not None else None
        row = {
            "time_s": time.monotonic() - self._began,
            "p50_us": slice_.percentile(50) if slice_ else 0.0,
            "max_us": slice_.percentile(100) if slice_ else 0.0,
            "host_max_us": host.percentile(100) if host and host.count else 0.0,
            "memory_kib": anonymous_kib() - self._memory_kib,
            **{name: delta[name] for name in ("misses", "late_wakes", "xruns")},
        }
        for name, value in row.items():
            self._rows[name].append(round(float(value), 3))
        self._judge()
        if delta["misses"]:  # now, before newer blocks push these out of the engine's record
            found = self.worst_blocks(before.values["now_ns"])
            self._missed = {block["cycle"]: block for block in found if block["spent_us"] > block["period_us"]}
        self._moments = [self._moments[0], now]

    def run(self) -> Run:
        """Return the figures of all that was watched so far."""
        first, last = self._moments[0], self._moments[-1]
        delta, callback = last.since(first), histogram_ns(last.callback - first.callback)
        rate = self._engine.sample_rate
        elapsed_s = max(delta["now_ns"], 1) * 1e-9
        worst_us = last.worst_ns / 1e3 if last.worst_ns > first.worst_ns else None
        metrics = {
            **figures("callback", callback, worst_us),
            "callback_mean_us": delta["busy_ns"] / 1e3 / max(delta["cycles"], 1),
            "cycles_number": delta["cycles"],
            "cycles_share": delta["frames"] / (elapsed_s * rate),
            "misses_count": delta["misses"],
            "late_wakes_count": delta["late_wakes"],
            "xruns_count": delta["xruns"],
            "mean_load": delta["busy_ns"] * 1e-9 / elapsed_s,
            "memory_growth_kib": self._rows["memory_kib"][-1] if self._rows["memory_kib"] else 0.0,
            "swaps_number": delta["swaps"],
            "events_number": delta["events_applied"],
            **self._stage_means(),
        }
        worst = self.worst_blocks(first.values["now_ns"])
        if self._host is not None:
            if self._missed:
                time.sleep(EVIDENCE_S)
            self._judge()
            metrics["misses_explained_number"] = sum(self._judged.values())
        metrics = {name: round(float(value), 5) for name, value in metrics.items()}
        worst.sort(key=lambda block: block["spent_us"], reverse=True)
        latest = sorted(worst[SLOWEST_KEPT:], key=lambda block: block["late_us"], reverse=True)
        kept = [block["cycle"] for block in worst[:SLOWEST_KEPT] + latest[:LATEST_KEPT]]
        told = {block["cycle"]: block for block in self._explained(first.values["now_ns"])}
        return Run(metrics, {"callback": callback}, [told[cycle] for cycle in kept if cycle in told], self._rows)

    def _explained(self, since_ns: int) -> list[dict[str, Any]]:
        """Return the kept blocks with what made them slow, at times from `since_ns` on."""
        return describe(self._engine.processor.worst, self._engine.stats(), since_ns, most=SLOTS)

    def _judge(self) -> None:
        """Ask the host's timer about the missed deadlines; before its own record of late wake-ups goes round."""
        if self._host is not None and self._missed:
            callback = histogram_ns(self._moments[-1].callback - self._moments[0].callback)
            usual = callback.percentile(50) if callback.count else 0.0
            self._missed |= {b["cycle"]: b for b in self.worst_blocks(0) if b["cycle"] in self._missed}  # with new evidence
            for cycle, block in self._missed.items():
                waited_us = (block["evidence"] or {}).get("waited_us", 0.0)  # for a processor that a more urgent program had
                kept_waiting = waited_us >= STANDSTILL_SHARE * (block["spent_us"] - usual)
                self._judged[cycle] = kept_waiting or self._host.explains(block["start_ns"], block["spent_us"], usual)
        self._missed = {}

    def _stage_means(self) -> dict[str, float]:
        """Return what each stage takes of a callback on average; stages are timed segment by segment."""
        counts = self._moments[-1].stages - self._moments[0].stages
        segments = max(self._engine.block / SEGMENT, 1.0)
        keys = [placed.key for placed in self._engine.chain.placed]
        return {f"stage_{key}_mean_us": segments * mean_us(histogram_ns(counts[k])) for k, key in enumerate(keys)}

    def worst_blocks(self, since_ns: int) -> list[dict[str, Any]]:
        """Return the engine's own record of its slowest blocks since a CLOCK_MONOTONIC time, slowest first."""
        return [asdict(block) for block in self._engine.processor.worst.blocks() if block.start_ns >= since_ns]


def observe(engine: Engine, seconds: float, tick: Tick | None = None, host: HostTimer | None = None) -> Run:
    """Let an engine settle, watch it for some seconds and return what it did."""
    time.sleep(SETTLE_S)
    watch = Watch(engine, host)
    for elapsed in slices(seconds):
        watch.look()
        if tick is not None:
            tick(elapsed)
    return watch.run()


def slices(seconds: float, every: float = SLICE_S) -> Iterator[float]:
    """Wait from slice to slice; yields the seconds that have passed, the last time all of them."""
    begin = time.monotonic()
    while True:
        left = begin + seconds - time.monotonic()
        time.sleep(max(0.0, min(every, left)))
        elapsed = time.monotonic() - begin
        yield min(elapsed, seconds)
        if elapsed >= seconds:
            return


def anonymous_kib() -> int:
    """Return this process's own memory, in KiB."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))
    return 0
