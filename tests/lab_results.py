"""Results for tests of the laboratory's pages and comparisons: a live run with everything a page can show, and sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.tools.lab.results import Bar, Histogram, Result, Run, Series

MACHINE = {"cpu": "a processor", "cores": 2, "kernel": "6.1.0", "preemption": "PREEMPT_RT", "commit": "abc1234"}
SETTINGS = {"chain": "demo chain", "stages": ["gate", "shift"], "block": 64, "sample_rate": 48_000, "budget_share": 0.25}
EDGES = np.concatenate(([0.0], 2.0 ** np.arange(-2, 14, 1 / 16)))


def counted(values: Any) -> Histogram:
    """Count values in microseconds."""
    return Histogram.of(EDGES, np.histogram(values, EDGES)[0])


def times(seed: int, middle_us: float = 12.0, count: int = 20_000) -> Any:
    """Return callback times with a heavy tail, shape (count,)."""
    rng = np.random.default_rng(seed)
    return middle_us * np.exp(0.1 * rng.standard_normal(count) + rng.exponential(0.08, count))


def run_of(values: Any, name: str = "callback", **more: Any) -> Run:
    """Return a run with the figures of its times."""
    percents = {"p50": 50, "p99": 99, "p999": 99.9, "max": 100}
    metrics = {f"{name}_{key}_us": float(np.percentile(values, percent)) for key, percent in percents.items()}
    return Run({**metrics, **more.pop("metrics", {})}, {name: counted(values)}, **more)


BLOCK = {
    "time_s": 1.25,
    "cycle": 937,
    "spent_us": 260.0,
    "late_us": 3.0,
    "engine_us": 18.5,
    "stages_us": {"gate": 1.5, "shift": 240.0},
    "events": 2,
    "swap": "running",
    "faults_minor": 1,
    "switches_involuntary": 4,
    "waited_us": 12.0,
    "cause": "stage 'shift' took 240.0 us, usually 3.0 us",
    "whose": "stage",
    "what": "shift",
}


def live(subject: str = "demo chain", started: str = "2026-01-01T10:00:00+00:00") -> Result:
    """Return a live run under load: two runs of ours, a peer, a control that fails, the host, and a published figure."""
    costs = {"stage_gate_p50_us": 2.0, "stage_shift_p50_us": 6.0}
    ours = [
        run_of(
            times(seed),
            metrics={**costs, "misses_count": seed, "cycles_share": 1.0, "total_p50_ms": 11.6},
            worst=[BLOCK, {"time_s": 2.0, "spent_us": 120.0}],
            timeline={"time_s": [1.0, 2.0, 3.0], "max_us": [40.0, 260.0, 90.0], "misses": [0.0, 0.0, 1.0]},
        )
        for seed in (1, 2)
    ]
    series = [
        Series(subject, "subject", ours, {"hog": "gil"}),
        Series("pedalboard", "peer", [run_of(times(3, 90.0), metrics={"latency_ms": 56.0})], {"hog": "gil"}),
        Series("Python callback", "control", [run_of(times(4, 900.0))], {"hog": "gil"}),
        Series("host timer", "baseline", [run_of(times(5, 30.0), "wake")], {"hog": "gil"}),
        Series("w-okada", "peer", [Run({"latency_ms": 500.0})], how="published: its issue 848"),
        Series("Seed-VC", "peer", [Run({"latency_ms": 430.0})], how="formula: two blocks and the model"),
    ]
    bars = [
        Bar("p99.99 of the callback", 120.0, 333.0, "us"),
        Bar("deadline misses", 3.0, 0.0, ""),
        Bar("under SCHED_FIFO", 9.0, 1.0, "us", held=False, remark="the host grants none"),
    ]
    return Result("gil", f"{subject} live", SETTINGS, series, bars, ["two threads hog the GIL"], MACHINE, started, 12.0)


def cost() -> Result:
    """Return a sweep of many stages over blocks, which only a table can show."""

    def runs(k: int, block: float) -> list[Run]:
        own = block / 16 * (k + 1)
        return [run_of(times(k, own, 2000), metrics={"own_mean_us": own})]

    names = ["gate", "shift", *(f"stage {k}" for k in range(8)), "demo chain"]
    blocks = (16.0, 64.0, 256.0, 1024.0)
    series = [Series(name, "subject", runs(k, block), {"block": block}) for k, name in enumerate(names) for block in blocks]
    return Result("cost", "what one callback costs", SETTINGS, series, [], [], MACHINE)


def scaling(knee: bool = True) -> Result:
    """Return a sweep over instances that bends at 32."""
    each = {1: 3.0, 2: 3.0, 4: 3.1, 8: 3.2, 16: 3.3, 32: 5.0, 64: 6.0}
    runs = {n: Run({"each_p50_us": us, "callback_p50_us": n * us, "callback_p999_us": 2 * n * us}) for n, us in each.items()}
    series = [Series("one thread", "subject", [run], {"instances": float(n)}) for n, run in runs.items()]
    if knee:
        series.append(Series("knee", "subject", [Run({"instances_number": 16.0})], {"sweep": "one thread"}))
    return Result("scaling", "instances of the demo chain", SETTINGS, series, [], [], MACHINE)


def latency() -> Result:
    """Return a round trip told apart, as declared and as measured, at 48 kHz."""
    metrics = {
        "lookahead_declared_frames": 480.0,
        "lookahead_shift_declared_frames": 432.0,
        "lookahead_limiter_declared_frames": 48.0,
        "lookahead_measured_p50_frames": 480.02,
        "lookahead_measured_p99_frames": 480.1,
        "block_declared_frames": 64.0,
        "block_measured_p50_frames": 64.0,
        "total_declared_frames": 544.0,
        "total_measured_p50_frames": 544.02,
        "lookahead_measured_spread_frames": 0.2,
    }
    return Result(
        "latency",
        "round trip",
        {},
        [Series("demo", "subject", [Run(metrics)], {"block": 64, "sample_rate": 48_000.0})],
        machine=MACHINE,
    )
