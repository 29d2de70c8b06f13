"""The scenarios of `autovoice bench`: a table of what can be measured, and what a scenario is given."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from autovoice.tools.options import CommandError

if TYPE_CHECKING:
    from autovoice.rt import Chain
    from autovoice.tools.lab.results import Result


BUDGET_SHARE = 0.25  # of the period: what p99.99 of a callback may take


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table: a module with `run(settings, progress) -> Result` and HEADLINE, its foremost metrics."""

    name: str
    module: str
    help: str
    seconds: float  # that one run watches, or the length of the voice that is processed
    quick: float  # the same with --quick
    repeat: int  # runs in each series
    minutes: float  # that the whole takes by default, on two cores


TABLE = (
    Scenario("cost", "cost", "what a callback costs, for every stage and chain, at blocks of 16 to 1024 frames", 24, 2, 3, 6),
    Scenario("gil", "hogged", "the chain live while Python threads of its own process hog the GIL", 60, 4, 3, 7),
    Scenario("cpu", "hogged", "the chain live while every core is kept busy", 134, 4, 3, 14),
    Scenario("memory", "hogged", "the chain live while memory is swept and reallocated", 60, 4, 3, 7),
    Scenario("disk", "hogged", "the chain live while a process writes and fsyncs", 60, 4, 3, 7),
    Scenario("swaps", "storms", "the chain swapped as often as the engine takes it: misses, clicks, memory", 60, 3, 2, 3),
    Scenario("moves", "storms", "parameters moved 10 000 times a second: misses, clicks, memory", 60, 3, 2, 3),
    Scenario("soak", "soak", "the chain live for minutes or hours: misses, memory; --hog adds a load", 600, 5, 1, 11),
    Scenario(
        "scaling", "scaling", "1 to 64 chains on one thread and on all cores, 1 to 32 stages: where it bends", 4, 0.5, 3, 4
    ),
    Scenario("host", "host", "how late this machine wakes a real-time thread, at rest and under load", 30, 2, 3, 8),
    Scenario("peers", "peers", "other libraries and models on the same voice in the same blocks", 8, 1, 3, 3),
)
"""Every scenario, in the order in which `autovoice bench` runs them."""


def find(name: str) -> Scenario:
    """Return a scenario by its name; raises CommandError that offers the nearest."""
    names = [one.name for one in TABLE]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
        raise CommandError(f"no scenario is called {name!r}; {hint}")
    return TABLE[names.index(name)]


def load(scenario: Scenario) -> Any:
    """Import the module of a scenario."""
    return importlib.import_module(f"{__name__}.{scenario.module}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one scenario is to measure."""

    scenario: str
    chain: Chain
    chain_name: str
    seconds: float
    repeat: int = 1
    block: int = 64
    sample_rate: int = 48_000
    backend: str = "null"  # or "jack": a private server on the dummy driver
    out_channels: int | None = None  # of a chain that makes stereo of mono; None = 1
    hogs: tuple[str, ...] = ()  # for scenarios that take them
    chosen: frozenset[str] = frozenset()  # names of settings that were asked for, not left to the scenario
    master: dict[str, float] = field(default_factory=dict)  # `master/...` of a preset

    @property
    def period_us(self) -> float:
        """The time between two callbacks."""
        return self.block / self.sample_rate * 1e6

    def described(self) -> dict[str, Any]:
        """Return what a result says of its settings; what is compared must have the same."""
        return {
            "chain": self.chain_name,
            "stages": [placed.key for placed in self.chain.placed],
            "seconds": self.seconds,
            "repeat": self.repeat,
            "block": self.block,
            "sample_rate": self.sample_rate,
            "backend": self.backend,
            "hogs": list(self.hogs),
            "budget_share": BUDGET_SHARE,
        }


class Progress:
    """How far a scenario is; `keep` puts what it has found so far where a break cannot lose it."""

    def __init__(self, show: Callable[[float, str], None] | None = None, keep: Callable[[Result], None] | None = None) -> None:
        """Report to these; to nobody without them."""
        self._show, self._keep = show, keep

    def at(self, share: float, what: str = "") -> None:
        """Say that a share, 0..1, is done, and what is being done."""
        if self._show is not None:
            self._show(min(max(share, 0.0), 1.0), what)

    def part(self, index: int, count: int, what: str, seconds: float) -> Callable[[float], None]:
        """Return what is told the elapsed seconds of the part `index` of `count` equal ones."""
        self.at(index / count, what)
        return lambda elapsed: self.at((index + min(elapsed / max(seconds, 1e-9), 1.0)) / count, what)

    def keep(self, result: Result) -> None:
        """Write what was found so far."""
        if self._keep is not None:
            self._keep(replace(result, notes=[*result.notes, "broken off: this is what had been measured by then"]))


def names(scenarios: Sequence[Scenario] = TABLE) -> list[str]:
    """Return the names of scenarios in order."""
    return [one.name for one in scenarios]
