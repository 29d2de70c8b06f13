"""The curves of a page: how long callbacks took, how often they took longer, the worst of them, and what a sweep varied."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from autovoice.tools.lab.page import readings
from autovoice.tools.lab.page.bars import Figure, Legend
from autovoice.tools.lab.page.readings import MAIN, label, line_name, words
from autovoice.tools.lab.page.svg import Plot, element, number, plot, span, titled
from autovoice.tools.lab.results import Result, Series, unit_of

ROLE_COLOURS = {"subject": (0, 1, 2), "peer": (3, 4, 5, 6, 7, 8), "control": (9, 10), "baseline": (11, 12)}
SPARE = (3, 5, 4, 7, 6, 8, 1, 2, 0, 12)  # for more of a role than it has colours
PER_OCTAVE = 8  # bars of a histogram
MOST_POINTS = 240  # of a curve
MOST_TIMES = 600  # of a timeline
CAUSES, ALONG = 8, 4  # colours
REPEATED_LINES = 6
UNTOLD = "cause not told"
UNITS = {"block": "block, frames", "sample_rate": "sample rate, Hz"}

Style = dict[str, str]
Drawn = Sequence[tuple[Series, str]]  # what stands in one figure: series and the distribution of each


def styles(series: Iterable[Series]) -> Style:
    """Return the style classes of each line: a colour of its own, and its role, which sets how it is dashed."""
    roles = {line_name(one): one.role for one in series}
    wanted = {role: [name for name in roles if roles[name] == role] for role in ROLE_COLOURS}
    first = {name: colour for role, names in wanted.items() for name, colour in zip(names, ROLE_COLOURS[role], strict=False)}
    spare = itertools.cycle([colour for colour in SPARE if colour not in first.values()] or SPARE)
    return {name: f"k{first[name] if name in first else next(spare)} {role}" for name, role in roles.items()}


def _legend(series: Iterable[Series], style: Style) -> Legend:
    return list(dict.fromkeys((style[line_name(one)], f"{line_name(one)} ({one.role})") for one in series))


def _limits(result: Result, drawn: Drawn) -> list[tuple[str, float]]:
    """Return the limits of callback times, where all of what is drawn has the same."""
    limited = [series for series, name in drawn if name == MAIN]
    found = []
    for word, limit in (("period", readings.period_us), ("budget", readings.budget_us)):
        values = {limit(result, series) for series in limited}
        found += [(word, value) for value in values if value and len(values) == 1]
    return found


def _what(drawn: Drawn) -> str:
    return " and ".join(name.replace("_", " ") for name in dict.fromkeys(name for _, name in drawn))


def _titled(title: str, at: str) -> str:
    return f"{title}, {at}" if at else title


def histogram(result: Result, drawn: Drawn, style: Style, key: str, at: str = "") -> Figure | None:
    """Draw how many callbacks took how long, both logarithmic, with the period and the budget."""
    bars = [(series, name, found) for series, name in drawn if (found := _octaves(series, name))]
    if not bars:
        return None
    limits = _limits(result, drawn)
    places = [x for _, _, found in bars for low, high, _ in found for x in (low, high)]
    most = max(count for _, _, found in bars for _, _, count in found)
    draft = plot(span([*places, *(limit for _, limit in limits)], room=0.02), (0.6, most * 2.5))
    unit = _unit(drawn)
    draft.axes(f"{_what(drawn)}, {unit}", "how many")
    for series, _, found in bars:
        css = style[line_name(series)]
        draft.area(_steps(found), css)
        draft.line(_steps(found), css)
    for series, _, found in bars:
        for low, high, count in found:
            title = f"{line_name(series)}: {count:,} between {number(low)} and {number(high)} {unit}"
            x, y = draft.x(low), draft.y(count)
            size = {"width": draft.x(high) - x, "height": draft.y.start - y}
            draft.parts.append(element("rect", *titled(title), x=x, y=y, css="mark hit", **size))
    for row, (word, limit) in enumerate(limits):
        draft.upright(limit, f"{word} {number(limit)} µs", word, row=row)
    description = "; ".join(f"{line_name(one)}: {sum(row[2] for row in found):,} counted" for one, _, found in bars)
    title = _titled(f"How long: {_what(drawn)} times", at)
    return Figure(title, draft.draw(key, title, description), _legend((one for one, _, _ in bars), style))


def _octaves(series: Series, name: str) -> list[tuple[float, float, int]]:
    """Return a distribution in bars of equal width on a logarithmic axis, without empty ones; wider buckets stay."""
    lower, upper, count = readings.pooled(series, name)
    lower = np.where(lower > 0, lower, upper / 2)  # a bucket from 0 on has no place on a logarithmic axis
    wide = 2 ** (1 / PER_OCTAVE)
    place = np.floor(np.log2(np.sqrt(lower * upper)) * PER_OCTAVE)
    apart = upper / lower > wide * 1.01
    lows, highs = np.where(apart, lower, wide**place), np.where(apart, upper, wide ** (place + 1))
    found: list[tuple[float, float, int]] = []
    for low, high, total in zip(lows.tolist(), highs.tolist(), count.tolist(), strict=True):
        if found and low < found[-1][1] * 0.999 and high <= found[-1][1] * 1.001:
            found[-1] = (*found[-1][:2], found[-1][2] + total)
        else:
            found.append((max(low, found[-1][1]) if found else low, high, total))
    return found


def _steps(bars: list[tuple[float, float, int]]) -> list[tuple[float, float]]:
    """Return the outline of bars, down to nothing where there is none."""
    points: list[tuple[float, float]] = [(bars[0][0], 0.0)]
    for low, high, count in bars:
        if low > points[-1][0] * 1.001:
            points += [(points[-1][0], 0.0), (low, 0.0)]
        points += [(low, count), (high, count)]
    return [*points, (bars[-1][1], 0.0)]


def percentiles(result: Result, drawn: Drawn, style: Style, key: str, at: str = "") -> Figure | None:
    """Draw the value that all but one in ten, hundred, thousand, ... stay below (HdrHistogram's axis)."""
    lines = [(series, points) for series, name in drawn if len(points := readings.curve(series, name)) > 1]
    if not lines:
        return None
    limits = _limits(result, drawn)
    values = [y for _, points in lines for _, y in points]
    furthest = max(points[-1][0] for _, points in lines)
    draft = plot((2.0, furthest * 1.15), span([*values, *(limit for _, limit in limits)]))
    ticks = [(2.0, "50 %"), (10.0, "90 %"), *((10.0**k, f"{100 - 10.0 ** (2 - k):.{k - 2}f} %") for k in range(2, 10))]
    ticks = [(x, mark) for x, mark in ticks if x <= furthest]
    unit = _unit(drawn)
    draft.axes("percentile", f"{unit} at most", ticks[:: 2 if len(ticks) > 6 else 1])
    for word, limit in limits:
        draft.level(limit, f"{word} {number(limit)} µs", word)
    for series, points in lines:
        draft.line(_stepped(_thinned(points)), style[line_name(series)])
    for series, points in lines:
        css = style[line_name(series)]
        for x, mark in ticks:
            reached = [y for place, y in points if place <= x]
            if reached and x <= points[-1][0]:
                draft.dot(x, reached[-1], css, f"{line_name(series)}: {mark} within {number(reached[-1])} {unit}")
        x, y = points[-1]
        draft.dot(x, y, css, f"{line_name(series)}: the longest of {x:,.0f}, {number(y)} {unit}")
    title = _titled(f"How often longer: percentiles of {_what(drawn)} times", at)
    description = "; ".join(
        f"{line_name(series)}: median {number(points[0][1])}, longest {number(points[-1][1])} {unit}"
        for series, points in lines
    )
    return Figure(title, draft.draw(key, title, description), _legend((one for one, _ in lines), style))


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return few enough points of a rising curve, evenly spread over its logarithmic axis, both ends kept."""
    if len(points) <= MOST_POINTS:
        return points
    wanted = np.geomspace(points[0][0], points[-1][0], MOST_POINTS)
    kept = np.searchsorted([x for x, _ in points], wanted).clip(0, len(points) - 1)
    return [points[k] for k in sorted({0, len(points) - 1, *kept.tolist()})]


def _stepped(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a curve that keeps each value up to the place of the next."""
    corners = [(x, y) for (_, y), (x, _) in itertools.pairwise(points)]
    return [point for pair in zip(points, corners, strict=False) for point in pair] + points[-1:]


def _unit(drawn: Drawn) -> str:
    return unit_of(f"x_{readings.unit(*drawn[0])}").text


def block_of(record: dict[str, Any], run: int | None = None) -> dict[str, Any]:
    """Return a record of a block with all that is asked of it: its run, time and length, and who caused it."""
    block = {**(record.get("evidence") or {}), **record, "run": run}
    by_count = float(record.get("cycle", 0)) * float(record.get("period_us", 0)) / 1e6
    block["time_s"] = float(record.get("time_s", by_count))
    block["spent_us"], block["late_us"] = float(record.get("spent_us", 0.0)), float(record.get("late_us", 0.0))
    told = " ".join(str(record[key]) for key in ("whose", "what") if record.get(key))
    block["kind"] = told or str(record.get("cause") or UNTOLD)
    return block


def moment(block: dict[str, Any]) -> str:
    """Say when a block was: in which run, where there were several, and how many seconds into it."""
    run = "" if block["run"] is None else f"run {block['run']}, "
    return f"{run}{number(block['time_s'], 4)} s"


def worst_blocks(result: Result, series: Series, blocks: Sequence[dict[str, Any]], key: str) -> Figure | None:
    """Draw when the worst blocks were, and how long they took, over what the run recorded all along."""
    limits = _limits(result, [(series, MAIN)])
    taken = [max(block["spent_us"], block["late_us"]) for block in blocks]
    times = [block["time_s"] for block in blocks]
    along = [(name, points) for run in series.runs for name, points in timeline(run.timeline) if name.endswith("_us")]
    whole = [x for _, points in along for x, _ in points] + times
    if not whole:
        return None
    values = taken + [y for _, points in along for _, y in points] + [limit for _, limit in limits]
    draft = plot((min(0.0, *whole), max(*whole, 0.1) * 1.02), span(values, room=0.1), x_log=False)
    draft.axes("s since the start", "µs")
    along_css = {name: f"a{k % ALONG} along" for k, name in enumerate(dict.fromkeys(name for name, _ in along))}
    for name, points in along:
        draft.line([point for point in points if point[1] > 0], along_css[name])
    for word, limit in limits:
        draft.level(limit, f"{word} {number(limit)} µs", word)
    kinds = [block["kind"] for block in blocks]
    names = sorted(dict.fromkeys(kinds), key=kinds.count, reverse=True)
    style = {name: f"c{k % CAUSES}" for k, name in enumerate(names)}
    for block in blocks:
        x, y, css = block["time_s"], max(block["spent_us"], block["late_us"]), style[block["kind"]]
        ring = " ring" if late(block) else ""
        draft.parts.append(element("path", css=f"stem {css}", d=f"M{draft.x(x):.1f} {draft.y.start:.1f}V{draft.y(y):.1f}"))
        after = f", called {number(block['late_us'])} µs late" if ring else ""
        draft.dot(x, y, css + ring, f"{moment(block)}: {number(block['spent_us'])} µs{after}, {block['kind']}{_during(block)}")
    legend: Legend = [(css, name) for name, css in style.items()]
    legend += [(css, words(name)) for name, css in along_css.items()]
    remark = "A ring: the driver called late, by more than the block then took." if any(late(block) for block in blocks) else ""
    title = f"When: {f'the {len(blocks)} worst blocks' if blocks else 'from second to second'}, {line_name(series)}"
    description = (
        f"The longest took {number(max(taken))} µs; causes: {', '.join(style)}"
        if blocks
        else "; ".join(words(name) for name in along_css)
    )
    return Figure(title, draft.draw(key, title, description), legend, remark)


def late(block: dict[str, Any]) -> bool:
    """Say whether the driver called by more late than the block then took."""
    return float(block["late_us"]) > float(block["spent_us"])


def _during(block: dict[str, Any]) -> str:
    """Say what ran in a block: its dearest stages."""
    stages = sorted((block.get("stages_us") or {}).items(), key=lambda item: -float(item[1]))[:3]
    return "".join(f"; {name} {number(float(value))} µs" for name, value in stages)


def timeline(columns: dict[str, list[float]]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return each column over time, thinned to the highest of neighbouring values, so that no peak is lost."""
    times = columns.get("time_s", [])
    step = max(math.ceil(len(times) / MOST_TIMES), 1)
    found = []
    for name, values in columns.items():
        if name != "time_s" and len(values) == len(times) > 0:
            parts = [range(k, min(k + step, len(times))) for k in range(0, len(times), step)]
            peaks = [max(part, key=lambda k: values[k]) for part in parts]
            found.append((name, [(times[k], values[k]) for k in peaks]))
    return found


def repetitions(series: Sequence[Series], metric: str, key: str) -> Figure | None:
    """Draw how far each of many runs is from the median of its series: how well a measurement repeats."""
    lines: dict[str, Any] = {}
    for one in series:
        values = np.array([run.metrics[metric] for run in one.runs if metric in run.metrics])
        if len(values) and len(lines) < REPEATED_LINES:
            lines[label(one)] = values - np.median(values)
    if not lines:
        return None
    widest = max(float(np.abs(values).max()) for values in lines.values()) or 1e-3
    longest = max(len(values) for values in lines.values())
    unit = unit_of(metric).text
    draft = plot((1, longest), (-1.1 * widest, 1.1 * widest), x_log=False, y_log=False)
    draft.axes("repetition", f"{unit} from the median")
    colours = [*ROLE_COLOURS["subject"], *ROLE_COLOURS["peer"]]
    for colour, values in zip(colours, lines.values(), strict=False):
        step = math.ceil(len(values) / MOST_TIMES)
        draft.line([(k + 1, float(values[k])) for k in range(0, len(values), step)], f"k{colour} peer")
    told = [f"{name}: within {number(float(np.abs(values).max()))} {unit}" for name, values in lines.items()]
    title = f"How well it repeats: {words(metric)} of each run"
    legend = [(f"k{colour} peer", text) for colour, text in zip(colours, told, strict=False)]
    return Figure(title, draft.draw(key, title, "; ".join(told)), legend)


def sweep(result: Result, found: readings.Sweep, metrics: Sequence[str], style: Style, key: str) -> Figure | None:
    """Draw metrics over what was varied, with the knee where one thing more begins to cost more."""
    lines = {}
    for name, line in found.lines.items():
        for metric in metrics:
            points = [(float(one.at[found.key]), value) for one in line if (value := readings.median(one, metric))]
            if len(points) > 2:
                lines[name, metric] = points
    if not lines:
        return None
    places = sorted({x for points in lines.values() for x, _ in points})
    log = places[0] > 0 and places[-1] / places[0] >= 8
    unit = unit_of(metrics[0]).text
    periods = _periods(result, found) if unit == "µs" and metrics[0].startswith(MAIN) else []
    values = [y for points in (*lines.values(), periods) for _, y in points]
    draft = plot(span(places, room=0.03) if log else (places[0], places[-1]), span(values), x_log=log)
    draft.axes(UNITS.get(found.key, found.key), unit, _apart(draft, places))
    if periods:
        draft.line(periods, "limit period")
        (x, y) = periods[-1]
        draft.text(
            draft.x(x) - 6, draft.y(y) + (18 if len(periods) > 1 and y > periods[0][1] else -6), "period", css="note period end"
        )
    remarks: list[str] = []
    for (name, metric), points in lines.items():
        css = style[name]
        draft.line(points, f"{css} m{metrics.index(metric)}")
        for x, y in points:
            draft.dot(x, y, css, f"{name}, {found.key} {number(x)}: {words(metric)} {number(y)} {unit}")
        bend = _knee(result, found, name, metric, points) if metric == metrics[0] else None
        if bend is not None:
            draft.upright(bend, f"knee {number(bend)}", "knee", row=len(remarks) + bool(periods))
            remarks.append(f"{name}: the knee is at {number(bend)} {found.key}.")
    what = ", ".join(words(metric) for metric in metrics)
    legend = _legend((line[0] for line in found.lines.values()), style)
    legend += [(f"plain m{k}", words(metric)) for k, metric in enumerate(metrics) if len(metrics) > 1]
    description = "; ".join(
        f"{who}, {words(m)}: {number(p[0][1])} to {number(p[-1][1])} {unit}" for (who, m), p in lines.items()
    )
    title = f"Over {found.key.replace('_', ' ')}: {what}"
    return Figure(title, draft.draw(key, title, description), legend, " ".join(remarks))


def _apart(draft: Plot, places: Sequence[float]) -> list[tuple[float, str]]:
    """Return those places as ticks that have room for their texts."""
    kept: list[tuple[float, str]] = []
    for place in places:
        if not kept or draft.x(place) - draft.x(kept[-1][0]) >= 46:
            kept.append((place, number(place, 6)))
    return kept


def _knee(result: Result, found: readings.Sweep, name: str, metric: str, points: Sequence[tuple[float, float]]) -> float | None:
    """Return where a line bends: as the scenario tells it, or by the cost of one."""
    for series in result.series:
        if name in (series.name, *series.at.values()) and (
            told := readings.median(series, f"{found.key}_number", "knee_number")
        ):
            return told
    if metric.startswith("each_"):
        return readings.knee(*zip(*points, strict=True))
    return None


def _periods(result: Result, found: readings.Sweep) -> list[tuple[float, float]]:
    """Return the period over what was varied: rising with the block, level over all else."""
    line = max(found.lines.values(), key=len)
    known = [(float(one.at[found.key]), readings.period_us(result, one)) for one in line]
    return [(x, period) for x, period in known if period]
