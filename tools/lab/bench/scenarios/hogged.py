"""Live under load: the chain on a driver while a hog runs, the same without it, a Python callback, and the host's own timer.

The runs with and without the hog take turns, so that what else changes on the machine changes for both. The host's timer runs
beside every one of them: a deadline that we missed while the host let a core stand still is the host's.
"""

from __future__ import annotations

import contextlib

from autovoice.tools.lab.bench import control
from autovoice.tools.lab.bench.hogs import GIL_THREADS, HOGS, WHAT
from autovoice.tools.lab.bench.observe import observe
from autovoice.tools.lab.bench.rig import Rig
from autovoice.tools.lab.bench.scenarios import BUDGET_SHARE, Progress, Settings
from autovoice.tools.lab.bench.timer import HostTimer
from autovoice.tools.lab.percentiles import thin
from autovoice.tools.lab.results import Bar, Result, Run, Series

HEADLINE = ("callback_p50_us", "callback_p999_us", "callback_p9999_us", "callback_max_us", "misses_count", "cycles_share")
CONTROL_S = 20.0


def run(settings: Settings, progress: Progress) -> Result:
    """Measure under the hog that the scenario is named after."""
    hog = settings.scenario
    loaded, idle, host, host_idle, controls = (list[Run]() for _ in range(5))
    realtime = True
    parts = 2 * settings.repeat + 1

    def result() -> Result:
        series = [
            Series(settings.chain_name, "subject", loaded, {"hog": hog}),
            Series(settings.chain_name, "subject", idle, {"hog": "none"}),
            Series("Python callback", "control", controls, {"hog": hog}),
            Series("host timer", "baseline", host, {"hog": hog}),
            Series("host timer", "baseline", host_idle, {"hog": "none"}),
        ]
        series = [one for one in series if one.runs]
        notes = [f"the hog: {WHAT[hog]}", *_remarks(loaded, controls, settings)]
        return Result(
            hog,
            f"{settings.chain_name} live, {settings.block} frames: {WHAT[hog]}",
            settings.described(),
            series,
            bars(settings, loaded, host, realtime=realtime),
            notes,
        )

    with Rig(settings) as rig:
        for k in range(settings.repeat):
            for load, runs, baselines in ((hog, loaded, host), ("none", idle, host_idle)):
                part = 2 * k + (load == "none")
                tick = progress.part(part, parts, f"hog: {load}, run {k + 1} of {settings.repeat}", settings.seconds)
                with contextlib.ExitStack() as stack:
                    engine = stack.enter_context(rig.engine())
                    if load != "none":
                        stack.enter_context(HOGS[hog]())
                    timer = stack.enter_context(HostTimer())
                    runs.append(observe(engine, settings.seconds, tick, timer))
                    baselines.append(timer.run())
                    realtime = realtime and engine.realtime and timer.realtime
            progress.keep(result())
        if rig.server is not None:
            progress.at((parts - 1) / parts, "a Python callback")
            with contextlib.nullcontext() if hog == "gil" else HOGS[hog]():  # the control hogs the GIL of its own process
                seconds = min(settings.seconds, CONTROL_S)
                controls.append(control.measure(rig.server.name, seconds, GIL_THREADS if hog == "gil" else 0))
    return result()


def bars(settings: Settings, runs: list[Run], host: list[Run], *, realtime: bool) -> list[Bar]:
    """Hold the runs against the limits that apply to every one of them; not where the host cannot support them."""
    if not runs:
        return []
    found = []
    limit = BUDGET_SHARE * settings.period_us
    refused = "" if realtime else "the host grants no SCHED_FIFO"
    stated = [one.metrics["callback_p9999_us"] for one in runs if "callback_p9999_us" in one.metrics]
    if len(stated) == len(runs):
        late = max((one.metrics.get("wake_p9999_us", 0.0) for one in host), default=0.0)
        excuse = refused or (f"the host's own timer was {late:.0f} us late at p99.99" if late > limit else "")
        worst = max(stated)
        held = not excuse or (not refused and worst <= limit)
        found.append(
            Bar(
                f"p99.99 of the callback in each of {len(runs)} runs",
                worst,
                limit,
                "us",
                held=held,
                remark="" if held else excuse,
            )
        )
    misses = sum(one.metrics["misses_count"] for one in runs)
    explained = sum(one.metrics.get("misses_explained_number", 0.0) for one in runs)
    remark = refused or (f"{explained:g} of {misses:g} while the host kept the processor from us" if explained else "")
    found.append(Bar("deadline misses of ours", misses - explained, 0.0, "", held=not refused, remark=remark))
    return found


def _remarks(runs: list[Run], controls: list[Run], settings: Settings) -> list[str]:
    remarks = []
    if runs and (few := thin(runs[0].histograms["callback"])):
        remarks.append(few)
    if settings.backend != "jack":
        remarks.append("no JACK server: the clock drives the chain, and there is no Python callback as control")
    elif controls:
        remarks.append("the Python callback multiplies by a gain and does nothing else")
    return remarks
