"""What the benchmarks share: a real voice, results in the laboratory's one JSON family, and a progress bar."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from autovoice.tools.lab.bench.collect import as_result, metric
from autovoice.tools.lab.bench.rig import recorded_voice
from autovoice.tools.lab.percentiles import figures_of, histogram_us
from autovoice.tools.lab.results import Result, Run, Series
from autovoice.tools.private_jack import PrivateJack

RESULTS = Path(os.environ.get("AUTOVOICE_RESULTS", Path(__file__).parent / "results"))
Report = Callable[[Any], None]


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    """Return a man reading, 48 kHz, peak 0.5, shape (frames,), about 25 s (Debian's pocketsphinx-testdata)."""
    pytest.importorskip("scipy.signal")
    sound = recorded_voice(48_000)
    if sound is None:
        pytest.skip("the voice is Debian's package pocketsphinx-testdata")
    return sound


@pytest.fixture
def server() -> Iterator[str]:
    """Start a private JACK server on the dummy driver, real-time where the host allows; its name."""
    if not PrivateJack.available():
        pytest.skip("jackd is Debian's package jackd2")
    with PrivateJack(f"autovoice-bench-{os.getpid()}") as one:
        yield one.name


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Return a function that keeps a result, or figures by name, under benchmarks/results/ and prints the figures."""

    def keep(found: Result | Mapping[str, Any]) -> None:
        name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_")
        title = (request.node.obj.__doc__ or name).strip().splitlines()[0]
        result = found if isinstance(found, Result) else as_result(name, title, found)
        result.write(RESULTS / f"{name}.json")
        for series in result.series:
            for run in series.runs:
                print(series.name, *(f"{key}={value:.6g}" for key, value in run.metrics.items()))

    return keep


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what pytest-benchmark timed in the same family: one series a benchmark, seconds of a round as microseconds."""
    timed = getattr(getattr(session.config, "_benchmarksession", None), "benchmarks", [])
    series = []
    for one in timed:
        us = np.array(one.stats.data, float) * 1e6
        if len(us):
            extra = {metric(key): float(value) for key, value in one.extra_info.items() if isinstance(value, (int, float))}
            figures = {"round_mean_us": float(us.mean()), **figures_of("round", us), **extra, "rounds_number": float(len(us))}
            series.append(Series(one.name, "subject", [Run(figures, {"round": histogram_us(us)})], {"group": str(one.group)}))
    if series:
        Result("micro", "what pytest-benchmark timed", {}, series).write(RESULTS / "micro.json")


class Bar:
    """Shows on a terminal which benchmark runs, and how long the rest will take."""

    def __init__(self, count: int) -> None:
        """Show nothing done of `count` benchmarks."""
        self._running = ""
        self._bar: Any = click.progressbar(
            length=count, label="benchmarks", file=sys.stderr, width=24, show_pos=True, item_show_func=lambda _: self._running
        )
        self._bar.render_progress()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Name the one that begins."""
        self._running = nodeid.partition("::")[2]
        self._bar.render_progress()

    def pytest_runtest_logfinish(self) -> None:
        """Count the one that ended."""
        self._bar.update(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Print no dots between."""
        return (report.outcome, "", "") if report.outcome != "failed" and report.when == "call" else None

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self) -> Iterator[None]:
        """End the bar's line before pytest sums up."""
        self._bar.render_finish()
        click.echo(err=True)
        yield


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put the bar up where somebody watches."""
    if session.items and sys.stderr.isatty() and session.config.option.verbose < 0:
        session.config.pluginmanager.register(Bar(len(session.items)), "autovoice-progress")
