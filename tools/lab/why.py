"""Why a block was slow: what the engine wrote down of it, weighed against what is usual, said in a sentence.

    autovoice latency --why

The records come from `autovoice.rt.worst`: what each stage took, what else happened in the block, and what the kernel counted
for the audio thread around it. The explanation names the cause only where the figures carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import click
from autovoice.tools.options import CommandError

if TYPE_CHECKING:
    from autovoice.rt.telemetry import Stats
    from autovoice.rt.worst import Evidence, WorstBlock, WorstPage

MOST = 0.6  # of the excess: what holds this share is its cause
COLD_CYCLES = 8  # in which code and data come into the caches
BAR_WIDTH = 32
Whose = Literal["stage", "engine", "control", "host", "nobody"]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a block took what it took; `whose` says where to look, `what` names the stage where it is one."""

    whose: Whose
    what: str
    text: str


def explain(block: WorstBlock, usual: Mapping[str, float], usual_us: float, quiet: Evidence | None = None) -> Cause:
    """Weigh a block against the usual: medians of each stage and of the callback, in microseconds."""
    if block.late_us > max(block.period_us, block.spent_us):
        return _late(block)
    excess = block.spent_us - usual_us
    if excess <= 0.5 * usual_us:
        return Cause("nobody", "", f"{block.spent_us:.1f} us is not far from the usual {usual_us:.1f} us")
    waited = _above(block, quiet, "waited_us")
    if waited >= MOST * excess:
        return Cause(
            "host",
            "scheduler",
            f"the audio thread was ready but had no processor for {waited:.0f} us around this block"
            f"{_switches(block)}: another thread of at least its priority ran; `autovoice devices` says what the host grants",
        )
    stolen = _above(block, quiet, "stolen_us")
    if MOST * excess <= stolen <= 2 * excess:  # counted in ticks of 10 ms: of shorter blocks it says nothing
        return Cause("host", "hypervisor", f"the hypervisor took {stolen:.0f} us of processor time around this block")
    if _above(block, quiet, "faults_major") >= 1:
        return Cause("host", "memory", "a page had to come from disk; allow memory to be locked, see `autovoice devices`")
    extra = {name: us - usual.get(name, 0.0) for name, us in block.stages_us.items()}
    slowest = max(extra, key=lambda name: extra[name], default="")
    if slowest and extra[slowest] >= MOST * excess:
        return Cause(
            "stage",
            slowest,
            f"stage {slowest!r} took {block.stages_us[slowest]:.1f} us, usually {usual.get(slowest, 0.0):.1f} us: "
            f"{100 * min(extra[slowest] / excess, 1):.0f} % of what was out of the usual{_doubt(block, quiet)}",
        )
    if block.incoming_us >= MOST * excess:
        return Cause(
            "control", "swap", f"a second chain ran beside the one that was heard, for {block.incoming_us:.1f} us: a swap"
        )
    if block.adopted:
        return Cause(
            "control", "swap", f"a new chain was taken up and took over the states of the old one, {block.engine_us:.1f} us"
        )
    if block.events > 16:
        return Cause("control", "events", f"{block.events} parameter changes were applied in this one block")
    if block.cycle < COLD_CYCLES:
        return Cause("engine", "start", "it was one of the first blocks: code and data came into the caches")
    return Cause(
        "host",
        "processor",
        f"all of it was slow at once ({block.spent_us / max(usual_us, 1e-3):.1f} x the usual), no stage more than the others: "
        f"the processor's clock or caches, or time that the hypervisor took{_doubt(block, quiet)}",
    )


def _late(block: WorstBlock) -> Cause:
    waited = block.evidence.waited_us if block.evidence else 0.0
    if waited >= MOST * block.late_us:
        return Cause(
            "host",
            "scheduler",
            f"the driver called {block.late_us:.0f} us late; for {waited:.0f} us of it the audio thread was ready but had no "
            f"processor{_switches(block)}; our own {block.spent_us:.1f} us were in time",
        )
    return Cause(
        "host",
        "driver",
        f"the driver called {block.late_us:.0f} us late: it was itself late, or another client of the server was; "
        f"our own {block.spent_us:.1f} us were in time",
    )


def _above(block: WorstBlock, quiet: Evidence | None, name: str) -> float:
    """Return how much more than usual the kernel counted around the block; 0 without evidence."""
    if block.evidence is None:
        return 0.0
    return float(getattr(block.evidence, name)) - (float(getattr(quiet, name)) if quiet else 0.0)


def _switches(block: WorstBlock) -> str:
    count = block.evidence.switches_involuntary if block.evidence else 0
    return f" ({count:.0f} involuntary context switches)" if count else ""


def _doubt(block: WorstBlock, quiet: Evidence | None) -> str:
    """Say what else the kernel counted that could have a share in it."""
    found = []
    if _above(block, quiet, "stolen_us") > 0 and block.evidence:
        found.append("the hypervisor took processor time")
    if (faults := _above(block, quiet, "faults_minor")) >= 1:
        found.append(f"{faults:.0f} page faults")
    if (switches := _above(block, quiet, "switches_involuntary")) >= 1:
        found.append(f"{switches:.0f} involuntary context switches")
    where = f" within {block.evidence.interval_ms:.0f} ms around it" if block.evidence else ""
    return f"; {' and '.join(found)}{where}" if found else ""


def usual_times(stats: Stats) -> dict[str, float]:
    """Return the stages' medians in microseconds."""
    return {name: times.p50 for name, times in stats.stage_us.items()}


def describe(page: WorstPage, stats: Stats, first_ns: int, most: int = 64) -> list[dict[str, Any]]:
    """Return the worst blocks as plain data for results and pages, the worst first; times from the first callback on."""
    usual, quiet = usual_times(stats), page.quiet()
    blocks = page.blocks()[:most]
    causes = [explain(block, usual, stats.callback_us.p50, quiet) for block in blocks]
    return [_plain(b, c, _elsewhere(b, c, blocks, causes), first_ns) for b, c in zip(blocks, causes, strict=True)]


def _elsewhere(block: WorstBlock, cause: Cause, blocks: list[WorstBlock], causes: list[Cause]) -> str:
    """Say where other stages stalled too, by a third as much or more: what strikes at random is the host's."""
    if cause.whose != "stage":
        return ""
    others = {c.what for b, c in zip(blocks, causes, strict=True) if c.whose == "stage" and 3 * b.spent_us >= block.spent_us}
    others -= {cause.what}
    return f"; {', '.join(sorted(others))} stalled as well at other times, so it may be the host" if others else ""


def _plain(block: WorstBlock, cause: Cause, doubt: str, first_ns: int) -> dict[str, Any]:
    return {
        "time_s": (block.start_ns - first_ns) / 1e9,
        "cycle": block.cycle,
        "frame": block.frame,
        "frames": block.frames,
        "spent_us": block.spent_us,
        "late_us": block.late_us,
        "period_us": block.period_us,
        "stages_us": block.stages_us,
        "engine_us": block.engine_us,
        "incoming_us": block.incoming_us,
        "events": block.events,
        "swap": "adopted" if block.adopted else "running" if block.incoming_us else "",
        **(asdict(block.evidence) if block.evidence else {}),
        "cause": cause.text + doubt,
        "whose": cause.whose,
        "what": cause.what,
    }


def report(name: str | None) -> dict[str, Any]:
    """Read a running engine's worst blocks; raises CommandError where there is none of that name."""
    from autovoice.rt.registry import RegistryError, find
    from autovoice.rt.telemetry import Telemetry
    from autovoice.rt.worst import WorstPage

    try:
        entry = find(name)
        telemetry, page = Telemetry.attach(entry.telemetry), WorstPage.attach(entry.worst)
    except (RegistryError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    stats = telemetry.stats(page.stage_names())
    return {
        "engine": entry.name,
        "pid": entry.pid,
        "cycles": stats.cycles,
        "misses": stats.misses,
        "late_wakes": stats.late_wakes,
        "xruns": stats.xruns,
        "period_us": stats.block / stats.sample_rate * 1e6,
        "callback_us": asdict(stats.callback_us),
        "stages_us": {stage: asdict(times) for stage, times in stats.stage_us.items()},
        "worst": describe(page, stats, int(telemetry["first_ns"])),
    }


def tell_why(found: Mapping[str, Any]) -> None:
    """Print what `report` found for people."""
    us, worst = found["callback_us"], found["worst"]
    click.echo(
        f"{found['engine']}: {found['cycles']} callbacks, usually {us['p50']:.1f} us of {found['period_us']:.0f} us, p99.9 "
        f"{us['p999']:.1f} us, longest {us['max']:.1f} us; {found['misses']} misses, {found['late_wakes']} late wakes, "
        f"{found['xruns']} xruns"
    )
    if not worst:
        click.echo("no block was kept yet; ask again when it has played for a while")
        return
    first = worst[0]
    click.echo(f"\nThe worst block, {first['time_s']:.3f} s after the start, at frame {first['frame']}: {first['cause']}\n")
    _tell_stages(first, found["stages_us"])
    click.echo(f"\n{'s':>10} {'us':>9} {'late us':>9}  why")
    for block in worst[:10]:
        click.echo(f"{block['time_s']:>10.3f} {block['spent_us']:>9.1f} {block['late_us']:>9.1f}  {block['cause']}")


def _tell_stages(block: Mapping[str, Any], usual: Mapping[str, Mapping[str, float]]) -> None:
    parts = {**block["stages_us"], "engine": block["engine_us"]}
    if block["incoming_us"]:
        parts["second chain"] = block["incoming_us"]
    longest, width = max(parts.values()), max(len(name) for name in parts)
    for name, us in parts.items():
        bar = "#" * round(BAR_WIDTH * us / longest) if longest else ""
        before = f"usually {usual[name]['p50']:.1f}" if name in usual else ""
        click.echo(f"  {name:<{width}} {us:>8.1f} us  {bar:<{BAR_WIDTH}}  {before}")
    if "switches_involuntary" in block:
        faults = f"{block['faults_minor']:.0f} + {block['faults_major']:.0f} page faults"
        switches = f"{block['switches_involuntary']:.0f} involuntary context switches"
        waited = f"{block['waited_us']:.0f} us ready without a processor"
        click.echo(f"  the kernel, within {block['interval_ms']:.0f} ms around it: {faults}, {switches}, {waited}")
