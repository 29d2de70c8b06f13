"""The laboratory's one JSON family: what was measured, on which machine, in how many runs, against which bars.

A file holds one Result. Its series are what stands side by side in one run: the subject, its peers, a control that is known
to fail, the host's own baseline. A series has one run for each repetition, so that a comparison can know the noise.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

SCHEMA = "autovoice.lab/1"
_NUMBERS = re.compile(r"\[\n\s+([-+\d.,eE\s]+?)\n\s*\]")  # a list of numbers, which goes on one line of a file
Role = Literal["subject", "peer", "control", "baseline"]
Array = np.ndarray[Any, Any]


class ResultError(ValueError):
    """A file that is not a result of this family; the message names it and says what would be."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a metric counts, and which way is better; None where neither is."""

    text: str
    better: Literal["lower", "higher"] | None


UNITS: dict[str, Unit] = {
    "ns": Unit("ns", "lower"),
    "us": Unit("µs", "lower"),
    "ms": Unit("ms", "lower"),
    "s": Unit("s", "lower"),
    "frames": Unit("frames", "lower"),
    "kib": Unit("KiB", "lower"),
    "db": Unit("dB", "higher"),
    "count": Unit("", "lower"),
    "share": Unit("", "higher"),
    "load": Unit("of the period", "lower"),
    "realtimes": Unit("x real time", "higher"),
    "number": Unit("", None),
}
"""Every metric's name ends in one of these, after an underscore: `callback_p99_us`, `misses_count`, `cycles_share`."""


def unit_of(metric: str) -> Unit:
    """Return the unit of a metric by the end of its name; raises ResultError for a name without one."""
    suffix = metric.rpartition("_")[2]
    if suffix not in UNITS:
        raise ResultError(f"metric {metric!r} must end in one of {', '.join('_' + name for name in UNITS)}")
    return UNITS[suffix]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges, empty buckets left out: `lower`, `upper` and `count` have one entry for each."""

    unit: str  # of the edges: "us", "frames"
    lower: list[float]
    upper: list[float]
    count: list[int]

    @classmethod
    def of(cls, edges: Array, counts: Array, unit: str = "us") -> Self:
        """Keep the buckets that hold anything; edges of shape (buckets + 1,), counts of shape (buckets,)."""
        used = np.flatnonzero(counts)
        return cls(unit, [float(v) for v in edges[used]], [float(v) for v in edges[used + 1]], [int(v) for v in counts[used]])

    def percentile(self, percent: float) -> float:
        """Return the middle of the bucket in which a percentile, 0..100, lies; raises ResultError when nothing was counted."""
        if not self.count:
            raise ResultError("an empty histogram has no percentiles; measure for longer")
        rank = np.cumsum(self.count)
        k = min(int(np.searchsorted(rank, percent / 100 * rank[-1])), len(rank) - 1)
        return (self.lower[k] + self.upper[k]) / 2


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition: its figures by name, its distributions by name, and the worst blocks that it met."""

    metrics: dict[str, float]
    histograms: dict[str, Histogram] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)  # as autovoice.rt.worst describes a block
    timeline: dict[str, list[float]] = field(default_factory=dict)  # columns of equal length; "time_s" is the first


@dataclass(frozen=True, slots=True)
class Series:
    """One thing that was measured, in one or more runs, at one setting of what a sweep varies."""

    name: str
    role: Role
    runs: list[Run]
    at: dict[str, float | str] = field(default_factory=dict)  # {"block": 64}, {"stage": "shift", "block": 64}
    how: str = "measured"  # or where a figure that was not measured here comes from


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit that a figure was held against."""

    name: str
    measured: float
    limit: float
    unit: str
    sense: Literal["at most", "at least"] = "at most"
    held: bool = True  # False: the bar does not apply here, and `remark` says why
    remark: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its limit."""
        return self.measured <= self.limit if self.sense == "at most" else self.measured >= self.limit


@dataclass(frozen=True, slots=True)
class Result:
    """All of one measurement."""

    scenario: str
    title: str
    settings: dict[str, Any]
    series: list[Series]
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0  # that the measurement took
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        """Refuse metrics whose unit nobody could tell."""
        for series in self.series:
            for run in series.runs:
                for name in run.metrics:
                    unit_of(name)

    def write(self, path: Path) -> Path:
        """Write the result, whole or not at all; returns the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        text = json.dumps(asdict(self), indent=1, default=_plain)
        text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a result back; raises ResultError for a file that is none."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultError(f"{path} cannot be read as a result: {error}; make one with `autovoice bench`") from error
        found = data.get("schema") if isinstance(data, dict) else None
        if found != SCHEMA:
            raise ResultError(f"{path} is of schema {found!r}, not {SCHEMA!r}; make it anew with `autovoice bench`")
        try:
            series = [Series(**{**one, "runs": [_run(run) for run in one["runs"]]}) for one in data["series"]]
            return cls(**{**data, "series": series, "bars": [Bar(**bar) for bar in data["bars"]]})
        except (KeyError, TypeError) as error:
            raise ResultError(f"{path} is no whole result ({error}); make it anew with `autovoice bench`") from error


def _run(data: dict[str, Any]) -> Run:
    return Run(**{**data, "histograms": {name: Histogram(**one) for name, one in data["histograms"].items()}})


def _plain(value: Any) -> Any:
    """Turn what JSON does not know, NumPy's scalars and arrays and paths, into what it does."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def machine() -> dict[str, Any]:
    """Name the processor, kernel and commit that a figure belongs to, and how the host was set up."""
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "preemption": next((word for word in platform.version().split() if "PREEMPT" in word), "none"),
        "clocksource": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not adjustable here",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _line(path: str, key: str) -> str:
    lines = (line.partition(":") for line in _text(path).splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def _commit() -> str:
    """Return the commit of the sources, with a + where they were changed since; empty outside a checkout."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        head, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")
