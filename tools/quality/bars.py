"""The bars a conversion is held against, as data: name, formula, bound, figure, verdict."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autovoice.tools.quality.report import Report

VALIDATION, REAL, SUNG, ENROLLED = "validation", "real", "sung", "enrolled"
TEACHER = "teacher"
COMPARE = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what is held against a bound, on one set of sources."""

    name: str
    formula: str
    sense: str  # of COMPARE
    bound: float
    material: str
    figure: Callable[[Report, str, str], float | None]  # of the report, the material and the converter


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured; `passed` is None where the report does not hold what is needed."""

    system: str
    name: str
    formula: str
    sense: str
    bound: float
    figure: float | None
    passed: bool | None

    def text(self) -> str:
        """Return the verdict as a line."""
        word = {True: "met", False: "MISSED", None: "not measured"}[self.passed]
        figure = "" if self.figure is None else f" {self.figure:.3g}"
        return f"{self.system}: {self.name}: {word}{figure} ({self.formula} {self.sense} {self.bound:g})"


def mean(name: str) -> Callable[[Report, str, str], float | None]:
    """Return the mean of a measure."""

    def figure(report: Report, material: str, system: str) -> float | None:
        found = report.summary.get(material, {}).get(system, {}).get(name)
        return None if found is None else found.mean

    return figure


def _with_teacher(name: str, combine: Callable[[float, float], float]) -> Callable[[Report, str, str], float | None]:
    def figure(report: Report, material: str, system: str) -> float | None:
        own, ceiling = (mean(name)(report, material, one) for one in (system, TEACHER))
        return None if own is None or ceiling is None else combine(own, ceiling)

    return figure


def nearer(report: Report, material: str, system: str) -> float | None:
    """Return the share of clips that are more like the target than like the source."""
    figures = [row.figures for row in report.of(material, system)]
    pairs = [
        (f["similarity_target"], f["similarity_source"])
        for f in figures
        if {"similarity_target", "similarity_source"} <= set(f)
    ]
    return sum(target > source for target, source in pairs) / len(pairs) if pairs else None


def letters_lost(report: Report, material: str, system: str) -> float | None:
    """Return the character error above the source's own, in points."""
    own, source = (mean(name)(report, material, system) for name in ("character_error", "source_character_error"))
    return None if own is None or source is None else own - source


LIKE = "mean similarity to the target"
NEARER = "share of clips with similarity to the target > to the source"
LOST = "mean character error - the source's own, points"
TUNE = "median over frames of the F0 error, mean over lines, cents"

_of_teacher = _with_teacher("similarity_target", lambda own, ceiling: own / ceiling)
_below_teacher = _with_teacher("dnsmos_ovrl", lambda own, ceiling: ceiling - own)


def longer_delay(report: Report, material: str, system: str) -> float | None:
    """Return the delay in ms, as declared or as measured, whichever is longer; what a driver adds is not in it."""
    known = [one for name in ("delay_ms", "declared_delay_ms") if (one := mean(name)(report, material, system)) is not None]
    return max(known, default=None)


def bars(delay_ms: float) -> list[Bar]:
    """Return the bars of a converter that may take so long."""
    return [
        Bar("similarity, of the teacher's", f"{LIKE} / teacher's", ">=", 0.92, VALIDATION, _of_teacher),
        Bar("nearer to the target", NEARER, ">=", 0.95, VALIDATION, nearer),
        Bar("words kept", LOST, "<=", 3.0, VALIDATION, letters_lost),
        Bar("quality, below the teacher's", "teacher's mean DNSMOS OVRL - mean", "<=", 0.25, VALIDATION, _below_teacher),
        Bar("melody kept", "mean F0 correlation with the source", ">=", 0.9, VALIDATION, mean("f0_correlation")),
        Bar("delay", "mean delay, declared or measured, the longer, ms", "<=", delay_ms, VALIDATION, longer_delay),
        Bar("cost", "mean seconds of computing per second", "<=", 0.25, VALIDATION, mean("rtf")),
        Bar("similarity, real speaker", LIKE, ">=", 0.80, REAL, mean("similarity_target")),
        Bar("nearer to the target, real speaker", NEARER, ">=", 0.95, REAL, nearer),
        Bar("words kept, real speaker", LOST, "<=", 6.0, REAL, letters_lost),
        Bar("in tune", TUNE, "<=", 20.0, SUNG, mean("f0_error_cents")),
        Bar("enrolled voices", "mean similarity to their own reference", ">=", 0.75, ENROLLED, mean("similarity_target")),
    ]


DELAYS_MS = {"low": 40.0, "balanced": 60.0}
"""What a latency mode may add in all; `quality` has no bar."""


def judge(report: Report, systems: Sequence[str]) -> list[Verdict]:
    """Hold converters against the bars; one whose name ends in a mode of DELAYS_MS may take that long."""
    found = []
    for system in systems:
        delay = next((ms for mode, ms in DELAYS_MS.items() if system.endswith(mode)), float("inf"))
        for bar in bars(delay):
            if bar.bound == float("inf"):
                continue
            figure = bar.figure(report, bar.material, system)
            passed = None if figure is None else bool(COMPARE[bar.sense](figure, bar.bound))
            if any(failure.system == system and failure.material == bar.material for failure in report.failures):
                passed = False
            found.append(Verdict(system, bar.name, f"{bar.formula}, {bar.material}", bar.sense, bar.bound, figure, passed))
    return found
