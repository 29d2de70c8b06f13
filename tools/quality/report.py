"""What was found: figures by clip, means with bootstrap intervals by converter, as JSON and as text.

The JSON: `schema` is SCHEMA; `made` when; `judges` their versions, or what installs them; `tracker`, `whisper`; `left_out` the
measures whose judge is missing, with what installs it; `rows`, one a clip: `name`, `system` (the converter), `material` (the
set of sources), `said` (the source), `target`, `figures` by measure, `transcript`; `failures`, clips that could not be judged;
`summary`, by material, system and measure: `mean`, `low` and `high` of the 95 % interval (null where there are fewer than two
sources), `clips`; `bars` where some were held against it (see `autovoice.tools.quality.bars`). What `summary` and `bars` say
follows from the rest, so they are not read back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.tools.quality.clips import QualityError
from autovoice.tools.quality.measures import MEASURES
from scipy.stats import bootstrap

if TYPE_CHECKING:
    from autovoice.tools.quality.bars import Verdict

SCHEMA = "autovoice-quality-1"
MOST_FAILURES = 3  # told one by one
RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 1
SHORT = {  # what one screen has room for
    "similarity_target": "to target",
    "similarity_source": "to source",
    "character_error": "CER %",
    "word_error": "WER %",
    "dnsmos_ovrl": "OVRL",
    "f0_correlation": "F0 corr",
    "voicing_f1": "V/UV F1",
    "mcd_db": "MCD dB",
    "stoi": "STOI",
    "pesq": "PESQ",
    "delay_ms": "delay ms",
    "rtf": "RTF",
}


@dataclass(frozen=True)
class Row:
    """One clip's figures."""

    name: str
    system: str
    material: str
    said: str
    target: str
    figures: dict[str, float]
    transcript: str = ""


@dataclass(frozen=True)
class Failure:
    """A clip that could not be judged, which is a fault of its converter."""

    name: str
    system: str
    material: str
    reason: str


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over clips with its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    clips: int

    def text(self, digits: int = 3) -> str:
        """Return mean and interval as text."""
        if self.low is None or self.high is None:
            return f"{self.mean:.{digits}g}"
        return f"{self.mean:.{digits}g} [{self.low:.{digits}g}, {self.high:.{digits}g}]"


def spread(values: Sequence[float], sources: Sequence[str]) -> Spread:
    """Return the mean and its 95 % interval by the percentile bootstrap (B. Efron, 1979), drawing sources, not clips.

    Clips of one source (a sentence that ten voices say) are not independent: an interval drawn from clips would be too narrow.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(sources))}
    place = np.array([names[name] for name in sources])
    sums = np.bincount(place, values)
    counts = np.bincount(place)
    mean = float(np.mean(values))
    if len(names) < 2 or np.ptp(values) == 0:
        known = len(names) >= 2
        return Spread(mean, mean if known else None, mean if known else None, len(values))

    def statistic(drawn: Any, axis: int = -1) -> Any:
        drawn = drawn.astype(int)
        return sums[drawn].sum(axis) / counts[drawn].sum(axis)

    found = bootstrap(
        (np.arange(len(sums)),),
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Spread(mean, float(found.low), float(found.high), len(values))


Summary = dict[str, dict[str, dict[str, Spread]]]  # by material, system, measure


@dataclass(frozen=True)
class Report:
    """All figures, and how they were obtained."""

    rows: list[Row]
    judges: dict[str, str]
    tracker: str
    whisper: str
    left_out: dict[str, str] = field(default_factory=dict)
    made: str = ""
    failures: list[Failure] = field(default_factory=list)

    @cached_property
    def summary(self) -> Summary:
        """Return means and intervals, in the order of the rows and of MEASURES."""
        found: Summary = {}
        for material in dict.fromkeys(row.material for row in self.rows):
            for system in dict.fromkeys(row.system for row in self.rows if row.material == material):
                rows = self.of(material, system)
                found.setdefault(material, {})[system] = {
                    name: spread([row.figures[name] for row in having], [row.said for row in having])
                    for name in MEASURES
                    if (having := [row for row in rows if name in row.figures])
                }
        return found

    def of(self, material: str, system: str) -> list[Row]:
        """Return the rows of one converter on one set of sources."""
        return [row for row in self.rows if row.material == material and row.system == system]

    def json(self, verdicts: Sequence[Verdict] = ()) -> str:
        """Return the report as JSON."""
        whole: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        whole["summary"] = {
            material: {system: {name: asdict(one) for name, one in figures.items()} for system, figures in systems.items()}
            for material, systems in self.summary.items()
        }
        whole["bars"] = [asdict(verdict) for verdict in verdicts]
        return json.dumps(whole, indent=1, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return a report from its JSON file; raises QualityError for anything else."""
        try:
            whole = json.loads(path.read_text("utf-8"))
            if whole["schema"] != SCHEMA:
                raise QualityError(f"{path} is of schema {whole['schema']!r}, {SCHEMA!r} is read")
            rows = [Row(**row) for row in whole["rows"]]
            failures = [Failure(**failure) for failure in whole["failures"]]
            left_out, made = whole["left_out"], whole["made"]
            return cls(rows, whole["judges"], whole["tracker"], whole["whisper"], left_out, made, failures)
        except (OSError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise QualityError(f"{path} is no quality report: {error}") from error

    def joined(self, other: Report) -> Report:
        """Return both reports as one; rows of the other stand in for rows of the same clip, converter and material."""

        def key(row: Row) -> tuple[str, str, str]:
            return row.name, row.system, row.material

        newer = {key(row) for row in other.rows}
        rows = [row for row in self.rows if key(row) not in newer] + other.rows
        left_out = {**self.left_out, **other.left_out}
        failures = [*self.failures, *(failure for failure in other.failures if failure not in self.failures)]
        return Report(rows, other.judges, other.tracker, other.whisper, left_out, other.made, failures)

    def text(self, verdicts: Sequence[Verdict] = ()) -> str:
        """Return means by converter on one screen, what was left out, and the bars."""
        lines = []
        for material, systems in self.summary.items():
            shown = [name for name in SHORT if any(name in figures for figures in systems.values())]
            wide = max(12, len(material), *(len(system) for system in systems))
            lines.append(f"{material:<{wide}} clips " + " ".join(f"{SHORT[name]:>9}" for name in shown))
            for system, figures in systems.items():
                cells = (f"{figures[name].mean:>9.3g}" if name in figures else f"{'':>9}" for name in shown)
                lines.append(f"{system:<{wide}} {len(self.of(material, system)):>5} " + " ".join(cells))
            lines.append("")
        lines += [f"could not be judged: {one.material}, {one.system}: {one.reason}" for one in self.failures[:MOST_FAILURES]]
        if len(self.failures) > MOST_FAILURES:
            lines.append(f"... and {len(self.failures) - MOST_FAILURES} more")
        for line in dict.fromkeys(self.left_out.values()):
            names = ", ".join(name for name, other in self.left_out.items() if other == line)
            lines.append(f"left out: {names}: {line}")
        lines += [verdict.text() for verdict in verdicts if verdict.passed is not None]
        if unknown := dict.fromkeys(verdict.name for verdict in verdicts if verdict.passed is None):
            lines.append(f"not measured: {', '.join(unknown)}")
        return "\n".join(lines).rstrip()
