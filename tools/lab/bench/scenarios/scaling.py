"""How far it goes: 1 to 64 chains on one thread and on all cores, 1 to 32 stages in a chain, and where it bends.

Each instance has a voice of its own, so that neither sound nor state is shared. The knee is where one instance costs half as
much again as at its cheapest (its memory no longer fits the caches, or the cores share what they have), or where the round of
all instances no longer fits the period.
"""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.rt import Chain
from autovoice.rt.layout import MAX_STAGES
from autovoice.tools.lab.bench.offline import Offline, time_rounds
from autovoice.tools.lab.bench.rig import voice
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.percentiles import figures_of
from autovoice.tools.lab.results import Result, Run, Series

HEADLINE = ("each_p50_us", "callback_p50_us", "callback_p999_us", "p50_load")
COUNTS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
STAGES = (1, 2, 4, 8, 12, 16, 24, MAX_STAGES)
STAGE = {"stage": "eq", "band2_gain": 3.0, "band4_gain": -3.0}
KNEE = 1.5  # times the least cost of one
PASSES = 3  # of which each round counts with its least time

Array = np.ndarray[Any, Any]


def run(settings: Settings, progress: Progress) -> Result:
    """Measure all three sweeps, over and over."""
    cores = len(os.sched_getaffinity(0))
    # On one core, the second sweep would be the first.
    jobs = [("one thread", n) for n in COUNTS] + [("all cores", n) for n in COUNTS if n >= cores > 1]
    jobs += [("stages", n) for n in STAGES]
    found: dict[tuple[str, int], list[Run]] = {job: [] for job in jobs}
    sound = voice(settings.sample_rate, settings.seconds)
    work = {("stages", n): n for n in STAGES} | {job: job[1] for job in jobs}
    total, done = settings.repeat * sum(work.values()), 0
    for _ in range(settings.repeat):
        for sweep, n in jobs:
            progress.at(done / total, f"{sweep}: {n}")
            found[sweep, n].append(_measure(settings, sound, sweep, n, cores))
            done += n
        progress.keep(_result(settings, found))
    return _result(settings, found)


def _measure(settings: Settings, sound: Array, sweep: str, n: int, cores: int) -> Run:
    if sweep == "stages":
        rounds = _least(settings, sound, Chain([STAGE] * n), [1])
    else:
        shares = [n] if sweep == "one thread" else [len(range(k, n, cores)) for k in range(cores)]
        rounds = _least(settings, sound, settings.chain, shares)
    times = rounds / 1e3
    each = float(np.median(times)) / n
    return Run(
        {
            "each_p50_us": each * (cores if sweep == "all cores" else 1),
            **figures_of("callback", times),
            "p50_load": float(np.median(times)) / settings.period_us,
        }
    )


def _least(settings: Settings, sound: Array, chain: Chain, shares: list[int]) -> Array:
    """Return nanoseconds of each round, the least of several passes; of the slowest thread where there is more than one."""
    return np.asarray(np.min([_round(settings, sound, chain, shares) for _ in range(PASSES)], axis=0))


def _round(settings: Settings, sound: Array, chain: Chain, shares: list[int]) -> Array:
    """Serve `shares` instances from a thread each, all at once; nanoseconds of each round of the slowest."""
    shift = len(sound) // max(sum(shares), 1)
    instances = [
        Offline(chain, np.roll(sound, -k * shift), settings.block, settings.sample_rate, settings.out_channels)
        for k in range(sum(shares))
    ]
    starts = np.cumsum([0, *shares])
    groups = [instances[a:b] for a, b in itertools.pairwise(starts) if b > a]
    if len(groups) == 1:
        return np.asarray(time_rounds(groups[0]).sum(axis=1))
    results: list[Array | None] = [None] * len(groups)
    gate = threading.Barrier(len(groups))

    def work(k: int, core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        gate.wait()
        results[k] = time_rounds(groups[k]).sum(axis=1)

    threads = [
        threading.Thread(target=work, args=(k, core))
        for k, core in zip(range(len(groups)), sorted(os.sched_getaffinity(0)), strict=False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.asarray(np.max([one for one in results if one is not None], axis=0))


@dataclass(frozen=True, slots=True)
class Knee:
    """Where a sweep bends, and why; `at` is None where it does not within what was measured."""

    at: int | None
    why: str


def knee(counts: list[int], each_us: list[float], whole_us: list[float], period_us: float) -> Knee:
    """Find the first count at which one costs KNEE times the least, or at which all together fill the period."""
    least = min(each_us)
    for n, each, whole in zip(counts, each_us, whole_us, strict=True):
        if n > 1 and each > KNEE * least:
            return Knee(n, f"one costs {each:.3g} us there, {each / least:.2f} times the least")
        if whole > period_us:
            return Knee(n, f"together they take {whole:.4g} of {period_us:.4g} us there: the period is full")
    return Knee(None, f"up to {counts[-1]} one costs at most {max(each_us) / least:.2f} times the least")


def _median(runs: list[Run], metric: str) -> float:
    """Return the median over the runs that state it; 0 where none does."""
    return float(np.median([one.metrics[metric] for one in runs if metric in one.metrics] or [0.0]))


def _result(settings: Settings, found: dict[tuple[str, int], list[Run]]) -> Result:
    unit = {"one thread": "instances", "all cores": "instances", "stages": "stages"}
    series = [Series(sweep, "subject", runs, {unit[sweep]: float(n)}) for (sweep, n), runs in found.items() if runs]
    notes = []
    for sweep in unit:
        rows = [(n, runs) for (name, n), runs in found.items() if name == sweep and runs]
        if not rows:
            continue
        counts = [n for n, _ in rows]
        each = [_median(runs, "each_p50_us") for _, runs in rows]
        whole = [_median(runs, "callback_p999_us") or _median(runs, "callback_max_us") for _, runs in rows]
        bend = knee(counts, each, whole, settings.period_us)
        notes.append(f"{sweep}: {'no knee' if bend.at is None else f'the knee is at {bend.at}'}; {bend.why}")
        if bend.at is not None:
            series.append(Series("knee", "subject", [Run({"knee_number": float(bend.at)})], {"sweep": sweep}))
    stage = ", ".join(f"{key} {value}" for key, value in STAGE.items())
    notes.append(f"instances are of the {settings.chain_name}; a chain of stages is one stage over and over: {stage}")
    return Result("scaling", f"instances of the {settings.chain_name}, and stages", settings.described(), series, [], notes)
