"""What pages and pictures read out of Results: limits, distributions, where the time goes, what a sweep varied.

They go by names. A distribution NAME is a histogram NAME and metrics `NAME_p50_us`, `NAME_p999_us`, `NAME_max_us`; a stage's
cost is `stage_KEY_p50_us`, or `own_mean_us` of a series named after it; parts of a latency are `lookahead_KEY_frames`,
`block_frames`, `lane_frames`, `device_frames` (or `_ms`), with `_declared` or `_measured` before the unit. What limits follow
from are the settings `block`, `sample_rate`, and `budget_us` or `budget_share`; a series' own `at` goes before its result's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from autovoice.tools.lab.page.svg import number
from autovoice.tools.lab.results import Array, Result, Series

MAIN = "callback"  # the distribution that limits are about
PERCENTS = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("p9999", 99.99))
PARTS = ("lookahead", "block", "lane", "device")  # of a latency, in the order in which a sound meets them
MEASURED = ("total_measured_p50", "total_measured", "total_p50", "total", "latency_measured", "latency_p50", "latency")
DECLARED = ("total_declared", "latency_declared")
KNEE = 1.25  # times the least cost of one, from where a thing more costs more
Origin = Literal["measured", "published", "formula"]
Side = Literal["declared", "measured"]
At = tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over the runs of a series."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    name: str
    kind: str  # "stage", "engine", "idle", or one of PARTS
    value: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was varied over numbers: the series of each line in the order of `key`."""

    key: str
    lines: dict[str, list[Series]]


def plain(value: Any) -> str:
    """Write a setting of any kind for people to read."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(one) for one in value) or "-"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return number(value, 6) if isinstance(value, float) else str(value)


def words(metric: str) -> str:
    """Return a metric's name for people to read, without its unit: `callback p99.9`."""
    stem = metric.rpartition("_")[0]
    return re.sub(r"\bp(99)(9+)\b", r"p\1.\2", stem.replace("_", " "))


def origin(series: Series) -> Origin:
    """Say how the figures of a series were obtained, by the first word of its `how`."""
    word = series.how.strip().lower()
    return "measured" if word.startswith("measured") else "formula" if word.startswith("formula") else "published"


def line_name(series: Series) -> str:
    """Name a series with the words it was measured at, not the numbers: the line of a sweep that it belongs to."""
    told = origin(series)  # a setting that only says so is said already
    return ", ".join(
        [series.name, *(f"{key} {value}" for key, value in series.at.items() if isinstance(value, str) and value != told)]
    )


def label(series: Series) -> str:
    """Name a series with all that it was measured at."""
    return ", ".join([series.name, *(f"{key.replace('_', ' ')} {plain(value)}" for key, value in series.at.items())])


def setting(result: Result, series: Series, name: str) -> float | None:
    """Return a number that a series or its result was set to."""
    value = series.at.get(name) or result.settings.get(name)
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def period_us(result: Result, series: Series) -> float | None:
    """Return the time that a callback had, where one block size was set."""
    block, rate = setting(result, series, "block"), setting(result, series, "sample_rate")
    return block / rate * 1e6 if block and rate else setting(result, series, "period_us")


def budget_us(result: Result, series: Series) -> float | None:
    """Return the time that a callback was allowed."""
    share, period = setting(result, series, "budget_share"), period_us(result, series)
    return share * period if share and period else setting(result, series, "budget_us")


def spread(series: Series, metric: str) -> Spread | None:
    """Return a metric over the runs; None where no run has it."""
    values = [run.metrics[metric] for run in series.runs if metric in run.metrics]
    return Spread(float(np.median(values)), min(values), max(values), len(values)) if values else None


def median(series: Series, *metrics: str) -> float | None:
    """Return the median over the runs of the first of these metrics that there is."""
    return next((found.median for metric in metrics if (found := spread(series, metric))), None)


def metric_names(series: Iterable[Series]) -> list[str]:
    """Return the names of all metrics, in the order of their first appearance."""
    return list(dict.fromkeys(name for one in series for run in one.runs for name in run.metrics))


def distribution(series: Series) -> str | None:
    """Return the name of a series' foremost distribution: MAIN, or the first that it has."""
    found = dict.fromkeys(name for run in series.runs for name in run.histograms)
    stated = (name.removesuffix("_p50_us") for name in metric_names([series]) if name.endswith("_p50_us"))
    counted = [name for name in stated if not name.startswith("stage_") and f"{name}_p99_us" in metric_names([series])]
    return MAIN if MAIN in found or MAIN in counted else next(iter([*found, *counted]), None)


def unit(series: Series, name: str) -> str:
    """Return the unit of a distribution, as the end of a metric's name."""
    return next((run.histograms[name].unit for run in series.runs if name in run.histograms), "us")


def pooled(series: Series, name: str) -> tuple[Array, Array, Array]:
    """Return a distribution over all runs: lower edges, upper edges, counts, sorted, each of shape (buckets,)."""
    found = [run.histograms[name] for run in series.runs if name in run.histograms]
    edges = np.array([edge for one in found for edge in zip(one.lower, one.upper, strict=True)], float).reshape(-1, 2)
    counts = np.array([count for one in found for count in one.count], np.int64)
    buckets, place = np.unique(edges, axis=0, return_inverse=True)
    total = np.zeros(len(buckets), np.int64)
    np.add.at(total, place.reshape(-1), counts)
    return buckets[:, 0], buckets[:, 1], total


def curve(series: Series, name: str) -> list[tuple[float, float]]:
    """Return a distribution as (1 / (1 - p), value) with p the percentile as a share, from the median to the maximum.

    The axis of HdrHistogram (Gil Tene): one in ten, one in a hundred, ... are equally far apart. Without a histogram, the
    percentiles among the metrics are the points.
    """
    lower, upper, count = pooled(series, name)
    suffix = unit(series, name)
    if not len(count):
        known = ((percent, median(series, f"{name}_{key}_{suffix}")) for key, percent in PERCENTS)
        return [(1 / (1 - percent / 100), value) for percent, value in known if value is not None]
    top = spread(series, f"{name}_max_{suffix}")
    longest = top.high if top else float(upper[-1])
    middle = np.minimum((lower + upper) / 2, longest)
    rank = np.cumsum(count)
    total = int(rank[-1])
    beyond = total / (total - np.concatenate([[0], rank[:-1]]))
    start = (2.0, float(middle[int(np.searchsorted(rank, total / 2))]))
    points = [(float(x), float(y)) for x, y in zip(beyond, middle, strict=True) if x >= 2 and y > start[1]]
    return [start, *points, (float(total), longest)]


def percentile(series: Series, name: str, percent: float) -> float | None:
    """Return a percentile, 0..100, of a distribution over all runs; None where nothing was counted."""
    lower, upper, count = pooled(series, name)
    if not len(count):
        return None
    k = int(np.searchsorted(np.cumsum(count), percent / 100 * count.sum()))
    return float((lower[k] + upper[k]) / 2)


def groups(series: Iterable[Series]) -> dict[At, list[Series]]:
    """Return series by the numbers they were measured at, such as a block of 64: what can stand in one figure."""
    found: dict[At, list[Series]] = {}
    for one in series:
        found.setdefault(tuple((key, value) for key, value in one.at.items() if not isinstance(value, str)), []).append(one)
    return found


def sweeps(result: Result) -> list[Sweep]:
    """Return what was varied over three numbers or more, each with its lines."""
    found: dict[str, dict[str, list[Series]]] = {}
    for series in result.series:
        for key, value in series.at.items():
            if not isinstance(value, str):
                found.setdefault(key, {}).setdefault(line_name(series), []).append(series)
    made = []
    for key, lines in found.items():
        long = {name: sorted(line, key=lambda one: float(one.at[key])) for name, line in lines.items()}
        long = {name: line for name, line in long.items() if len({one.at[key] for one in line}) > 2}
        if long:
            made.append(Sweep(key, long))
    return made


def knee(places: Sequence[float], costs_each: Sequence[float]) -> float | None:
    """Return the first place where one costs more than KNEE times the least so far, None where that never happens."""
    least = float("inf")
    for place, cost in zip(places, costs_each, strict=True):
        least = min(least, cost)
        if cost > KNEE * least:
            return place
    return None


def callback_parts(result: Result, series: Series) -> list[Part]:
    """Return where the time of one callback goes: stages, the engine around them, idle; empty where it was not measured."""
    whole, period = median(series, f"{MAIN}_mean_us", f"{MAIN}_p50_us"), period_us(result, series)
    found = _stage_metrics(series) or _own_costs(result, series)
    if not found or whole is None:
        return []
    parts = [Part(name, "stage", max(value, 0.0)) for name, value in found.items()]
    stages = sum(part.value for part in parts)
    parts.append(Part("engine", "engine", max(whole - stages, 0.0)))
    return [*parts, Part("idle", "idle", max(period - max(whole, stages), 0.0))] if period else parts


def _stage_metrics(series: Series) -> dict[str, float]:
    for kind in ("mean", "p50"):
        matches = ((re.fullmatch(rf"stage_(.+)_{kind}_us", name), name) for name in metric_names([series]))
        found = {match[1]: median(series, name) or 0.0 for match, name in matches if match}
        if found:
            return found
    return {}


def _own_costs(result: Result, series: Series) -> dict[str, float]:
    """Return the costs of a chain's stages from the series that measured each by itself, at the same setting."""
    stages = result.settings.get("stages")
    if series.name != result.settings.get("chain") or not isinstance(stages, list):
        return {}
    alone = {one.name: value for one in result.series if one.at == series.at and (value := median(one, "own_mean_us"))}
    return {stage: alone[stage] for stage in stages if stage in alone} if set(stages) <= set(alone) else {}


def latency_parts(result: Result, series: Series, side: Side) -> list[Part]:
    """Return the parts of a latency in ms, as declared or as measured; a figure that does not say which was measured."""
    rate = setting(result, series, "sample_rate")
    found: dict[str, Part] = {}
    for kind in PARTS:
        for name in metric_names([series]):
            match = re.fullmatch(
                rf"{kind}(?:_(?!declared|measured|p\d|max|mean|std|spread)(\w+?))??(?:_(declared|measured))?(?:_p50)?_(frames|ms)",
                name,
            )
            if not match or (match[2] or "measured") != side or (match[3] == "frames" and not rate):
                continue
            title = f"look-ahead{f' of {match[1]}' if match[1] else ''}" if kind == "lookahead" else kind
            value = (median(series, name) or 0.0) * (1e3 / rate if match[3] == "frames" and rate else 1.0)
            if value > 0:
                found.setdefault(title, Part(title, kind, value))
    told_apart = any(title.startswith("look-ahead of") for title in found)
    return [part for title, part in found.items() if title != "look-ahead" or not told_apart]


def total_ms(result: Result, series: Series) -> tuple[float, str] | None:
    """Return the whole latency of a series and how it was obtained; what is only declared goes by its formula."""
    rate = setting(result, series, "sample_rate")
    for names, how in ((MEASURED, origin(series)), (DECLARED, "declared")):
        for name in names:
            value, frames = median(series, f"{name}_ms"), median(series, f"{name}_frames")
            if value is None and frames is not None and rate:
                value = frames / rate * 1e3
            if value is not None:
                return value, how
    return None
