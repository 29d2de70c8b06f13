"""The chain live for minutes or hours, with loads on request; what was found is written every minute."""

from __future__ import annotations

import contextlib

from autovoice.tools.lab.bench.hogs import HOGS, WHAT
from autovoice.tools.lab.bench.observe import SETTLE_S, Watch, slices
from autovoice.tools.lab.bench.rig import Rig
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.bench.scenarios.hogged import bars
from autovoice.tools.lab.bench.timer import HostTimer
from autovoice.tools.lab.percentiles import thin
from autovoice.tools.lab.results import Result, Run, Series

HEADLINE = (
    "cycles_number", "callback_p50_us", "callback_p999_us", "callback_p9999_us", "callback_max_us", "misses_count",
    "memory_growth_kib",
)  # fmt: skip
KEEP_S = 60.0
MOST_ROWS = 1000  # of the timeline


def run(settings: Settings, progress: Progress) -> Result:
    """Play until the time is up."""
    done: list[Run] = []
    host: list[Run] = []
    for k in range(settings.repeat):
        with contextlib.ExitStack() as stack:
            rig = stack.enter_context(Rig(settings))
            engine = stack.enter_context(rig.engine())
            for hog in settings.hogs:
                stack.enter_context(HOGS[hog]())
            timer = stack.enter_context(HostTimer())
            tick = progress.part(k, settings.repeat, f"run {k + 1} of {settings.repeat}", settings.seconds)
            for _ in slices(SETTLE_S):
                pass
            watch, kept = Watch(engine, timer), 0.0
            for elapsed in slices(settings.seconds, max(1.0, settings.seconds / MOST_ROWS)):
                watch.look()
                tick(elapsed)
                if elapsed - kept >= KEEP_S:
                    kept = elapsed
                    progress.keep(_result(settings, [*done, watch.run()], [*host, timer.run()], realtime=engine.realtime))
            done.append(watch.run())
            host.append(timer.run())
            realtime = engine.realtime and timer.realtime
    return _result(settings, done, host, realtime=realtime)


def _result(settings: Settings, runs: list[Run], host: list[Run], *, realtime: bool) -> Result:
    load = "+".join(settings.hogs) or "none"
    length = f"{settings.seconds / 60:.3g} minutes" if settings.seconds >= 60 else f"{settings.seconds:.3g} seconds"
    title = f"{settings.chain_name} live, {settings.block} frames, for {length}"
    notes = [f"a load: {WHAT[hog]}" for hog in settings.hogs]
    few = thin(runs[0].histograms["callback"])
    return Result(
        "soak",
        title,
        settings.described(),
        [
            Series(settings.chain_name, "subject", runs, {"hog": load}),
            Series("host timer", "baseline", host, {"hog": load}),
        ],
        bars(settings, runs, host, realtime=realtime),
        [*notes, few] if few else notes,
    )
