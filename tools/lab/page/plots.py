"""Pictures for a README, drawn from Results: latency beside others, callback times under load, where each microsecond goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from autovoice.tools.lab.page import readings
from autovoice.tools.lab.page.readings import MAIN, Part, line_name
from autovoice.tools.lab.page.svg import number
from autovoice.tools.lab.results import Result, Series
from autovoice.tools.report import DRY, WANTED, WET
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

WIDTH, DPI = 8.0, 130  # inches, dots per inch
COLOURS = {"subject": DRY, "peer": WANTED, "control": WET, "baseline": "#9aa3ad"}
DASHES = {"subject": "-", "peer": "-", "control": "--", "baseline": ":"}
LIMIT, ALLOWED = "#b3261e", "#d9780f"
REDS = (WET, "#8c1d18", "#e8927c", "#b0307a")  # of several controls
SHADES = (DRY, "#7a4fa3", "#2e8b57", "#0e7c86", "#5b6fc9")  # of several subjects
PARTS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
HOW = {"measured": "measured here", "published": "published", "formula": "by formula", "declared": "declared"}
TITLE, TEXT = 10, 8


def beside(results: Iterable[Result], path: Path) -> Path | None:
    """Draw whole latencies in ms, each with how it was obtained; None where there are none to compare."""
    rows: dict[str, tuple[float, str, Series]] = {}
    for result in results:
        for series in result.series:
            found = readings.total_ms(result, series)
            if found and found[0] > 0:
                rows.setdefault(_who(series), (*found, series))
    if len({series.name for _, _, series in rows.values()}) < 2:
        return None
    ordered = sorted(rows.items(), key=lambda row: -row[1][0])
    figure, axes = _figure(0.9 + 0.27 * len(ordered))
    for place, (_, (value, how, series)) in enumerate(ordered):
        colour = COLOURS[series.role]
        here = how == "measured"
        axes.barh(place, value, color=colour if here else "none", edgecolor=colour, hatch="" if here else "////", linewidth=0.8)
        axes.text(value * 1.06, place, f"{number(value)} ms, {HOW[how]}", va="center", fontsize=TEXT)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=TEXT)
    most, least = ordered[0][1][0], ordered[-1][1][0]
    axes.set(xscale="log", xlim=(min(least / 1.6, 1.0), most * 7), xlabel="ms")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title("Latency: blue is ours, hatched is not measured here", loc="left", fontsize=TITLE)
    return _save(figure, path)


def _who(series: Series) -> str:
    """Name a program, and what it did where that was noted."""
    task = series.at.get("task")
    return f"{series.name} ({task})" if task and task != readings.origin(series) else line_name(series)


def percentiles(results: Sequence[Result], path: Path) -> Path | None:
    """Draw percentile curves of callback times under each load, with the period and the budget; None where there are none."""
    lines = _loads(results)
    if not lines:
        return None
    figure, axes = _figure(4.2)
    limited = next((result, series) for result in results for series in result.series if series is lines[0])
    shades, most = {"subject": itertools.cycle(SHADES), "control": itertools.cycle(REDS)}, 2.0
    for series in lines:
        points = readings.curve(series, readings.distribution(series) or MAIN)
        if len(points) < 2:
            continue
        colour = next(shades[series.role]) if series.role in shades else COLOURS[series.role]
        x, y = zip(*points, strict=True)
        most = max(most, x[-1])
        axes.step(x, y, where="post", color=colour, linestyle=DASHES[series.role], linewidth=1.4, label=line_name(series))
        axes.plot(x[-1], y[-1], "o", color=colour, markersize=3)
    for word, limit, colour in (("period", readings.period_us, LIMIT), ("budget", readings.budget_us, ALLOWED)):
        if value := limit(*limited):
            axes.axhline(value, color=colour, linewidth=1)
            axes.text(2.1, value * 1.06, f"{word}, {number(value)} µs", color=colour, fontsize=TEXT, va="bottom")
    ticks = [(2, "50 %"), (10, "90 %"), *((10**k, f"{100 - 10.0 ** (2 - k):.{k - 2}f} %") for k in range(2, 9))]
    axes.set(xscale="log", yscale="log", xlim=(2, most * 1.2), ylabel="µs at most", xlabel="percentile; a dot is the longest")
    axes.set_xticks([x for x, _ in ticks if x <= most], [text for x, text in ticks if x <= most])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=TEXT, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
    axes.set_title("Callback times under load", loc="left", fontsize=TITLE)
    return _save(figure, path)


def _loads(results: Iterable[Result]) -> list[Series]:
    """Return the series of the hogs: ours under each and once at rest, the controls, and the host's own, once."""
    known = (series for result in results for series in result.series if "hog" in series.at and "core" not in series.at)
    found: dict[tuple[str, object], Series] = {}
    for series in known:
        if any(run.histograms for run in series.runs):
            found.setdefault((series.name, "" if series.role == "baseline" else series.at["hog"]), series)
    return sorted(found.values(), key=lambda series: list(COLOURS).index(series.role))


def budget(results: Iterable[Result], path: Path) -> Path | None:
    """Draw a period with what is used of it, and below it what uses that; None where stages were not told apart."""
    found = ((series, readings.callback_parts(result, series)) for result in results for series in result.series)
    told = [(series, parts) for series, parts in found if parts and series.role == "subject"]
    if not told:
        return None
    usual = [row for row in told if row[0].at.get("block", 64) == 64] or told
    series, parts = next((row for row in usual if "none" in row[0].at.values()), usual[0])
    busy = [part for part in parts if part.kind != "idle"]
    used, whole = sum(part.value for part in busy), sum(part.value for part in parts)
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 2.6), dpi=DPI, layout="constrained")
    _strip(above, [Part("used", "stage", used), Part("idle", "idle", max(whole - used, 0.0))])
    above.set_title(
        f"{line_name(series)}: {number(used)} of {number(whole)} µs, {100 * used / whole:.1f} %", loc="left", fontsize=TITLE
    )
    _strip(below, busy)
    below.set_xlabel("µs")
    below.legend(
        fontsize=TEXT, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.6), ncols=5, handlelength=1, columnspacing=1
    )
    return _save(figure, path)


def _strip(axes: Axes, parts: Sequence[Part]) -> None:
    at = 0.0
    for k, part in enumerate(parts):
        colour = {"engine": "#8b95a1", "idle": "#e6eaee"}.get(part.kind, PARTS[k % len(PARTS)])
        axes.barh(
            0, part.value, left=at, color=colour, edgecolor="white", linewidth=0.6, label=f"{part.name} {number(part.value)}"
        )
        at += part.value
    axes.set(xlim=(0, at), yticks=[])
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def _figure(height: float) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    figure.savefig(partial, format="png")
    plt.close(figure)
    return partial.replace(path)


DRAWN = {"latency.png": beside, "callbacks.png": percentiles, "budget.png": budget}
"""Every picture by the name of its file."""


def draw_all(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw every picture that these results hold the figures for; returns their paths."""
    return [path for name, draw in DRAWN.items() if (path := draw(results, folder / name))]
