"""`autovoice bench compare A B`: whether B is slower than A, or whether that is only the noise of the machine.

Series are paired by scenario, name and setting, metrics by name, runs by their order; `autovoice.tools.lab.verdicts` judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.tools.lab.page.readings import At, label, origin, plain, words
from autovoice.tools.lab.page.svg import number
from autovoice.tools.lab.results import Result, Series, unit_of
from autovoice.tools.lab.verdicts import Pair, Verdict, judge
from autovoice.tools.options import CommandError, note, print_json

EXPOSURES = ("cycles_number", "blocks_number", "seconds_s")  # what events are counted in, the first that there is
HOST = ("cpu", "cores", "kernel", "preemption", "clocksource", "governor")
IRRELEVANT = ("repeat", "runs", "out", "seed")  # settings that change how sure a figure is, not what it is
OF_THE_HOST = ("late_wakes_count",)  # counted of ours, but the host's doing
REGRESSION = 1  # the exit code


class CompareError(CommandError):
    """Two sets of results that cannot be compared; the message says why and what would be."""


Key = tuple[str, str, At]


def gather(results: Sequence[Result]) -> dict[Key, Series]:
    """Return the measured series by scenario, name and setting; runs of several results follow each other in time."""
    found: dict[Key, Series] = {}
    for result in sorted(results, key=lambda one: one.started):
        for series in result.series:
            if origin(series) != "measured":
                continue
            key = (result.scenario, series.name, tuple(sorted(series.at.items())))
            before = found[key].runs if key in found else []
            found[key] = replace(series, runs=[*before, *series.runs])
    return found


def pair_up(a: Sequence[Result], b: Sequence[Result]) -> list[Pair]:
    """Return what both sides have measured; raises CompareError where that is nothing."""
    ours, theirs = gather(a), gather(b)
    pairs = []
    for key, first in ours.items():
        if key not in theirs:
            continue
        second = theirs[key]
        runs = list(zip(first.runs, second.runs, strict=False))
        names = dict.fromkeys(name for one, _ in runs for name in one.metrics)
        for name in names:
            both = [(x.metrics[name], y.metrics[name]) for x, y in runs if name in x.metrics and name in y.metrics]
            if both and unit_of(name).better and np.isfinite(both).all():
                table = np.array(both, float)
                role = "baseline" if name in OF_THE_HOST else first.role
                pairs.append(Pair(key[0], label(first), name, role, table[:, 0], table[:, 1], _exposure(runs)))
    if not pairs:
        raise CompareError(
            "A and B have no series and metric in common; give results of the same scenarios of `autovoice bench`"
        )
    return pairs


def _exposure(runs: Sequence[tuple[Any, Any]]) -> tuple[float, float]:
    for name in EXPOSURES:
        sums = [sum(run.metrics.get(name, 0.0) for run in side) for side in zip(*runs, strict=True)]
        if all(sums):
            return sums[0], sums[1]
    return 1.0, 1.0


def differences(a: Sequence[Result], b: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Return what differs between the machines, and between the settings of each scenario."""
    machines = _unlike([one.machine for one in a], [one.machine for one in b], HOST)
    settings = []
    for scenario in dict.fromkeys(one.scenario for one in a):
        ours, theirs = ([one.settings for one in side if one.scenario == scenario] for side in (a, b))
        if theirs:
            settings += [f"{scenario}: {text}" for text in _unlike(ours, theirs)]
    return machines, settings


def _unlike(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], keys: Iterable[str] | None = None
) -> list[str]:
    """Say which of these keys have other values on the other side; without any, all but the irrelevant."""
    if keys is None:
        keys = dict.fromkeys(key for one in (*ours, *theirs) for key in one if key not in IRRELEVANT)
    sides = {key: tuple(sorted({plain(one.get(key)) for one in side}) for side in (ours, theirs)) for key in keys}
    return [f"{key} {' / '.join(x)} and {' / '.join(y)}" for key, (x, y) in sides.items() if x != y]


def in_turns(a: Sequence[Result], b: Sequence[Result]) -> bool:
    """Say whether neither side was measured wholly before the other."""
    starts = [[one.started for one in side] for side in (a, b)]
    return max(starts[0]) >= min(starts[1]) and max(starts[1]) >= min(starts[0])


def remarks(a: Sequence[Result], b: Sequence[Result]) -> list[str]:
    """Return what weakens a comparison: runs not interleaved, and series that only one side has."""
    found: list[str] = []
    if not in_turns(a, b):
        found.append("one side was measured wholly before the other, so only clear changes count; measure A, B, A, B, ...")
    ours, theirs = gather(a), gather(b)
    if alone := len(ours.keys() ^ theirs.keys()):
        found.append(f"{alone} series stand on one side only, and are not compared")
    uneven = [key for key in ours.keys() & theirs.keys() if len(ours[key].runs) != len(theirs[key].runs)]
    if uneven:
        found.append(f"{len(uneven)} series have more runs on one side; the surplus is left out")
    return found


def compare(a: Sequence[Result], b: Sequence[Result], threshold: float, *, across: bool = False) -> list[Verdict]:
    """Return all verdicts; raises CompareError where machines or settings differ and `across` does not allow it."""
    machines, settings = differences(a, b)
    if (machines or settings) and not across:
        raise CompareError(
            f"A and B are not alike: {'; '.join([*machines, *settings])}; --across-machines compares them all the same"
        )
    return judge(pair_up(a, b), threshold, in_turns=in_turns(a, b))


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1000),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="Smaller changes do not matter.",
)
@click.option("--across-machines", is_flag=True, help="Compare although machines or settings differ.")
@click.option("--all", "whole", is_flag=True, help="Also list what is the same.")
@click.option("--json", "as_json", is_flag=True, help="Print all verdicts as JSON.")
def command(a: Path, b: Path, threshold: float, across_machines: bool, whole: bool, as_json: bool) -> int:
    """Say whether B is better or worse than A, beyond the noise.

    A and B are folders of results or single files. Runs are paired in the order in which they were measured: measure A and B
    in turns (A, B, A, B, ...), six runs of each or more, so that a machine that slows down slows both. Files of the same
    scenario in one folder, or below it, are taken together.

    Exits with 1 where anything of ours got worse (not peers, not the host), with 0 where nothing did, with 2 where the two
    cannot be compared.
    """
    from autovoice.tools.lab.page.command import read_folder

    sides = read_folder(a), read_folder(b)
    verdicts = compare(*sides, threshold / 100, across=across_machines)
    machines, settings = differences(*sides)
    notes = [f"DIFFERENT MACHINE OR SETTINGS: {text}" for text in (*machines, *settings)] + remarks(*sides)
    if changed := sum(one.role == "baseline" and one.word in ("better", "worse") for one in verdicts):
        notes.append(
            f"the machine itself changed between A and B (figures of the host's own: {changed}); measure again, in turns"
        )
    if as_json:
        rows = [{key: _finite(value) for key, value in asdict(one).items()} for one in verdicts]
        print_json(
            {
                "threshold": threshold / 100,
                "notes": notes,
                "summary": tally(verdicts),
                "regressions": len(regressions(verdicts)),
                "verdicts": rows,
            }
        )
    else:
        for text in notes:
            note(text)
        show(verdicts, whole=whole)
    return REGRESSION if regressions(verdicts) else 0


def regressions(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return what got worse of what is ours; that peers or the host did is not our regression."""
    return [one for one in verdicts if one.word == "worse" and one.role == "subject"]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Count the verdicts by word."""
    return {word: sum(one.word == word for one in verdicts) for word in ("worse", "better", "cannot tell", "same")}


def show(verdicts: Sequence[Verdict], *, whole: bool) -> None:
    """Print the verdicts, the bad ones first; what is the same only where it is asked for."""
    for word, many in tally(verdicts).items():
        chosen = [one for one in verdicts if one.word == word]
        click.echo(f"{word}: {many}")
        if word == "same" and not whole:
            continue
        for one in sorted(chosen, key=lambda one: (one.scenario, one.series)):
            whose = "" if one.role == "subject" else f" ({one.role})"
            click.echo(f"  {one.scenario}  {one.series}{whose}  {words(one.metric)}: {describe(one)}")


def describe(one: Verdict) -> str:
    """Say in one line what is known of a metric."""
    unit = unit_of(one.metric).text
    change = f"{number(one.a)} -> {number(one.b)}{f' {unit}' if unit else ''}"
    if math.isfinite(one.ratio):
        change += f", {100 * (one.ratio - 1):+.1f} %"
    if math.isfinite(one.low) and math.isfinite(one.high):
        change += f" ({100 * (one.low - 1):+.1f} to {100 * (one.high - 1):+.1f})"
    needed = f"; about {one.runs_needed} runs of each would do" if one.runs_needed else ""
    return f"{change}, {one.runs} runs: {one.why}{needed}"
