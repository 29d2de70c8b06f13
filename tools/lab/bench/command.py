"""`autovoice bench`: what a chain does under load, and what it costs, measured and kept as one JSON file a scenario."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import click
from autovoice.tools.compiling import Compiling, compile_apart
from autovoice.tools.lab.bench.hogs import HOGS
from autovoice.tools.lab.bench.scenarios import TABLE, Progress, Scenario, Settings, find, load
from autovoice.tools.lazy import LazyGroup
from autovoice.tools.options import CommandError, build_chain, chain_options, chain_specs, note, print_json, spec_names

if TYPE_CHECKING:
    from autovoice.tools.lab.results import Result, Series

SUBCOMMANDS = {
    "run": "autovoice.tools.lab.bench.command:run_command",
    "list": "autovoice.tools.lab.bench.command:list_command",
    "compare": "autovoice.tools.lab.compare",
    "page": "autovoice.tools.lab.page.command",
}
"""Subcommands by module; `run` is meant where none is named."""
STEPS = 1000  # of the progress bar
INTERRUPTED = 130


class BenchGroup(LazyGroup):
    """`run` by default."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take everything that does not begin with a subcommand for the arguments of `run`."""
        return super().parse_args(ctx, args if args and args[0] in SUBCOMMANDS else ["run", *args])


class RunCommand(click.Command):
    """The default subcommand: its help is that of `autovoice bench` itself."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave its own name away, which nobody types."""
        formatter.write_usage("autovoice bench", "[OPTIONS] [SCENARIO]...")
        formatter.write_usage("autovoice bench", "list | compare A B | page DIR", prefix="       ")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the scenarios."""
        with formatter.section("Scenarios"):
            formatter.write_dl([(one.name, one.help) for one in TABLE])


@click.group("bench", cls=BenchGroup, table=SUBCOMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Measure cost and behaviour under load; compare runs; make a page of them."""


@click.command("list", help="List the scenarios.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_command(*, as_json: bool) -> None:
    """Print the table of scenarios."""
    if as_json:
        print_json({one.name: {"help": one.help, "seconds": one.seconds, "repeat": one.repeat} for one in TABLE})
        return
    for one in TABLE:
        click.echo(f"{one.name:<9}{one.help} (about {one.minutes:g} min)")


@click.command("run", cls=RunCommand)
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: bench/<date-time>]")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: to see that it works, not to quote.")
@click.option("--seconds", type=click.FloatRange(min=0.1), metavar="S", help="Length of one run.  [default: the scenario's]")
@click.option("--blocks", type=click.IntRange(min=1), metavar="N", help="... or its length in blocks; 1000000 for a soak.")
@click.option("--repeat", type=click.IntRange(1, 1000), metavar="N", help="Runs in each series.  [default: the scenario's]")
@chain_options
@click.option("--block", type=click.IntRange(16, 8192), metavar="FRAMES", help="Frames in a block.  [default: 64]")
@click.option(
    "--rate", type=click.IntRange(8000, 192_000), metavar="HZ", default=48_000, show_default=True, help="Sample rate."
)
@click.option(
    "--backend", type=click.Choice(["auto", "jack", "null"]), default="auto", show_default=True, help="auto: JACK if installed."
)
@click.option("--hog", "hogs", multiple=True, type=click.Choice(list(HOGS)), help="A load for the soak. Repeatable.")
@click.option("--no-page", is_flag=True, help="Write no index.html.")
@click.option("--json", "as_json", is_flag=True, help="Print paths and headline figures on stdout.")
def run_command(**request: Any) -> int:
    """Measure what a chain costs and how it holds out under load; writes one JSON file a scenario, and a page.

    Without SCENARIO all are run, which takes about an hour, or half a minute each with --quick.
    """
    scenarios = [find(name) for name in dict.fromkeys(request["names"])] or list(TABLE)
    if request["seconds"] is not None and request["blocks"] is not None:
        raise CommandError("--seconds and --blocks both set the length of a run; leave one away")
    if not request["quick"]:
        minutes = sum(one.minutes for one in scenarios)
        note(f"{', '.join(one.name for one in scenarios)}: about {minutes:g} minutes at their own lengths")
    out = request["out"] or Path("bench") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    with _alone():
        with Compiling():
            settings = _settings(request)
        out.mkdir(parents=True, exist_ok=True)
        done, broken = _measure(scenarios, settings, request, out)
    page = None if request["no_page"] or not done else _page(out)
    _report(done, page, out, as_json=request["as_json"])
    if broken:
        note(f"interrupted; what was measured is in {out}")
        return INTERRUPTED
    return 0


def _settings(request: dict[str, Any]) -> Settings:
    """Build the chain and settle what all scenarios have in common."""
    from autovoice.tools.lab.bench.rig import DEMO_CHAIN, pick_backend

    plain = request["chain"] is None and request["preset"] is None
    specs, changes, out_channels = chain_specs(request)
    name = request["preset"] or request["chain"]
    if plain:
        specs, name = [*DEMO_CHAIN, *request["stages"]], "demo chain"
    if request["settings"] or request["stages"]:
        name = ", ".join([name, *request["stages"], *request["settings"]])
    backend = pick_backend(request["backend"])
    compile_apart(backend, spec_names(specs))
    chain, master = build_chain(specs, request["settings"])
    return Settings(
        scenario="",
        chain=chain,
        chain_name=name,
        seconds=0.0,
        block=request["block"] or 64,
        sample_rate=request["rate"],
        backend=backend,
        out_channels=out_channels,
        hogs=tuple(dict.fromkeys(request["hogs"])),
        chosen=frozenset(key for key in ("chain", "preset", "stages", "settings", "block") if request[key]),
        master={**changes, **master},
    )


def _for(scenario: Scenario, settings: Settings, request: dict[str, Any]) -> Settings:
    """Return the settings of one scenario: its own defaults where nothing was asked for."""
    seconds = scenario.quick if request["quick"] else scenario.seconds
    if request["seconds"] is not None:
        seconds = request["seconds"]
    elif request["blocks"] is not None:
        seconds = request["blocks"] * settings.block / settings.sample_rate
    repeat = request["repeat"] or (1 if request["quick"] else scenario.repeat)
    return replace(settings, scenario=scenario.name, seconds=seconds, repeat=repeat)


def _measure(
    scenarios: list[Scenario], settings: Settings, request: dict[str, Any], out: Path
) -> tuple[dict[str, Result], bool]:
    """Run scenario after scenario; the results by name, and whether somebody broke it off."""
    from autovoice.tools.lab.results import Result

    for scenario in scenarios:
        if request["out"] is not None:
            (out / f"{scenario.name}.json").unlink(missing_ok=True)  # else a break would leave an older result for ours
    with Break() as broken:
        try:
            for scenario in scenarios:
                keep = partial(_write, path=out / f"{scenario.name}.json", begin=time.monotonic())
                with _bar(scenario.name, broken) as show:
                    keep(load(scenario).run(_for(scenario, settings, request), Progress(show, keep)))
        except KeyboardInterrupt:
            broken.asked = True
        return _results(scenarios, out, Result), broken.asked


def _write(result: Result, *, path: Path, begin: float) -> None:
    replace(result, seconds=round(time.monotonic() - begin, 1)).write(path)


def _results(scenarios: list[Scenario], out: Path, kind: type[Result]) -> dict[str, Result]:
    paths = {scenario.name: out / f"{scenario.name}.json" for scenario in scenarios}
    return {name: kind.read(path) for name, path in paths.items() if path.exists()}


class Break:
    """Remembers a Ctrl-C: Python raises it wherever it is, and code that is called back by a library cannot pass it on."""

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.asked = False

    def __enter__(self) -> Self:
        """Take the signal over."""
        self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give it back."""
        signal.signal(signal.SIGINT, self._former)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def _bar(name: str, broken: Break) -> Iterator[Any]:
    """Show a progress bar on stderr; yields what moves it to a share and says what is being done."""
    from autovoice.tools.options import on_terminal

    bar: Any = click.progressbar(
        length=STEPS, label=name, file=sys.stderr, item_show_func=lambda what: str(what or ""), width=24
    )
    with bar:
        if not on_terminal():
            note(f"{name}: measuring")

        def show(share: float, what: str) -> None:
            if broken.asked:  # and it was lost on the way
                raise KeyboardInterrupt
            bar.update(max(round(share * STEPS) - bar.pos, 0), what)

        yield show
        show(1.0, "")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no second bench of this user run at the same time: each would measure the other."""
    import fcntl

    from autovoice.rt.registry import folder

    with (folder() / "bench.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(
                "another `autovoice bench` is measuring, and each would spoil the other's figures; wait for it"
            ) from None
        yield


def _page(out: Path) -> Path | None:
    """Write the page of a run; None, with a line, where what it needs is not installed."""
    try:
        page = importlib.import_module("autovoice.tools.lab.page.command")
    except ImportError as error:
        note(f"no page: {error}; pip install 'autovoice[demo]'")
        return None
    from autovoice.tools.lab.results import Result, ResultError

    try:
        written: Path = page.write_page([Result.read(path) for path in sorted(out.glob("*.json"))], out / "index.html")
    except ResultError as error:
        note(f"no page: {error}")
        return None
    return written


def headlines(name: str, result: Result, *, usual_block: bool = False) -> list[dict[str, Any]]:
    """Return the foremost figures of every series, or of those at the usual block: the median over its runs."""
    import numpy as np

    wanted = load(find(name)).HEADLINE
    rows: list[dict[str, Any]] = []
    for series in result.series:
        if usual_block and series.at.get("block", result.settings["block"]) != result.settings["block"]:
            continue
        known = [m for m in wanted if any(m in run.metrics for run in series.runs)]
        figures = {m: float(np.median([run.metrics[m] for run in series.runs if m in run.metrics])) for m in known}
        if figures:
            rows.append({"series": _label(series), "role": series.role, "how": series.how, **figures})
    return rows


def _label(series: Series) -> str:
    return ", ".join(
        [
            series.name,
            *(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in series.at.items()),
        ]
    )


def _report(done: dict[str, Result], page: Path | None, out: Path, *, as_json: bool) -> None:
    if as_json:
        rows = {
            name: {
                "path": str(out / f"{name}.json"),
                "headlines": headlines(name, result),
                "bars": [{"name": b.name, "measured": b.measured, "limit": b.limit, "unit": b.unit, "met": b.met,
                          "held": b.held, "remark": b.remark} for b in result.bars],
                "notes": result.notes,
            }
            for name, result in done.items()
        }  # fmt: skip
        print_json({"out": str(out), "page": str(page) if page else None, "results": rows})
        return
    for name, result in done.items():
        click.echo(f"\n{result.title}")
        for row in headlines(name, result, usual_block=True):
            click.echo(f"  {row['series']:<44}{_figures(row)}")
        for bar in result.bars:
            verdict = ("met" if bar.met else "NOT MET") if bar.held else "not held"
            remark = f" ({bar.remark})" if bar.remark else ""
            click.echo(f"  bar: {bar.name}: {bar.measured:.4g} {bar.unit}, {bar.sense} {bar.limit:.4g}: {verdict}{remark}")
        for line in result.notes:
            click.echo(f"  {line}")
    click.echo(f"\nsee {page or out}")


def _figures(row: dict[str, Any]) -> str:
    """Write figures in a line: `p50 6.1, p99.9 20 us; misses 0`."""
    from autovoice.tools.lab.results import unit_of

    parts = []
    for metric, value in row.items():
        if isinstance(value, float):
            name = metric.rpartition("_")[0].replace("callback_", "").replace("_", " ")
            name = {"p999": "p99.9", "p9999": "p99.99"}.get(name, name)
            parts.append(f"{name} {value:.4g} {unit_of(metric).text}".strip())
    return ", ".join(parts)
