"""What a page shows of one Result: verdicts, which of its figures are drawn, and its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autovoice.tools.lab.page import bars, drawings, readings
from autovoice.tools.lab.page.bars import Figure, Row
from autovoice.tools.lab.page.drawings import Style
from autovoice.tools.lab.page.readings import MAIN, Part, label, line_name, plain, words
from autovoice.tools.lab.page.svg import number
from autovoice.tools.lab.results import Bar, Result, Series, unit_of

FEW = 6  # series: so many stand in columns, and so many lines in a sweep; more become rows, and a table
CURVES = 8  # in one figure
OPEN = 4  # settings: so many are drawn at once, more one by one
LONG = 40  # rows: a longer table is folded
WORST_LISTED, WORST_BARS = 16, 8
BUDGETS, BESIDE = 4, 48  # rows
MANY_RUNS = 20
REPEATED = ("total_frames", "total_ms")  # drawn over many runs, to show how well they repeat
SWEPT = (("p50", "p999"), ("p50", "p99"), ("p50", "max"))
HEATED = ("own_mean_us", f"{MAIN}_p50_us", f"{MAIN}_p999_us")
HOST = {"cpu": "{}", "cores": "{} cores", "kernel": "Linux {}", "preemption": "{}", "commit": "commit {}"}
WORDS = ("cause", "swap", "role", "how obtained")  # columns of texts
WORST_COLUMNS = {
    "when": "when",
    "spent_us": "spent, µs",
    "late_us": "called late, µs",
    "cycle": "callback",
    "cause": "cause",
    "events": "events",
    "swap": "swap",
    "faults_minor": "page faults",
    "faults_major": "from disk",
    "switches_voluntary": "switches, own",
    "switches_involuntary": "switches, forced",
    "waited_us": "waited, µs",
    "stolen_us": "stolen, µs",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of a table, a smaller one under it, and how dark a heat map makes it, in percent."""

    text: str
    under: str = ""
    heat: int | None = None
    css: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption; the first of each row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]

    @property
    def folded(self) -> bool:
        """Whether it is too long to stand open."""
        return len(self.rows) > LONG


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar in words."""

    css: str
    word: str
    bar: Bar
    measured: str
    limit: str


@dataclass(frozen=True, slots=True)
class Section:
    """All of one Result, ready for the template."""

    key: str
    result: Result
    host: str
    verdicts: list[Verdict]
    summary: str
    figures: list[Figure]
    one_by_one: list[tuple[str, list[Figure]]]
    left_out: str
    tables: list[Table]
    worst: list[Table]
    facts: list[tuple[str, str]]
    machine: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """The result's title as a heading."""
        return self.result.title[:1].upper() + self.result.title[1:]

    @property
    def remarked(self) -> bool:
        """Whether anything is to be said of a bar."""
        return any(bar.remark for bar in self.result.bars)


def section(result: Result, key: str, settings_drawn: int) -> Section:
    """Read everything that a page shows out of one Result; of a sweep, so many settings are drawn one by one."""
    verdicts = [_verdict(bar) for bar in result.bars]
    first, one_by_one, left_out = _distributions(result, key, settings_drawn)
    worst_figures, worst_tables = _worst(result, key)
    return Section(
        key=key,
        result=result,
        host=", ".join(text.format(result.machine[name]) for name, text in HOST.items() if result.machine.get(name)),
        verdicts=verdicts,
        summary=_summary(verdicts),
        figures=[*first, *_overviews(result, key), *worst_figures],
        one_by_one=one_by_one,
        left_out=left_out,
        tables=[*_heat_maps(result), *_metrics(result)],
        worst=worst_tables,
        facts=[(name.replace("_", " "), plain(value)) for name, value in result.settings.items()],
        machine=[(name.replace("_", " "), plain(value)) for name, value in result.machine.items()],
    )


def _verdict(bar: Bar) -> Verdict:
    css, word = ("unheld", "not held") if not bar.held else ("met", "met") if bar.met else ("missed", "missed")
    unit = {"us": "µs"}.get(bar.unit, bar.unit)
    return Verdict(css, word, bar, f"{number(bar.measured, 4)} {unit}", f"{bar.sense} {number(bar.limit, 4)} {unit}")


def _summary(verdicts: Sequence[Verdict]) -> str:
    counts = [(word, sum(one.word == word for one in verdicts)) for word in ("missed", "met", "not held")]
    return ", ".join(f"{count} {word}" for word, count in counts if count) or "no bars"


def _style(result: Result, drawn: Sequence[Series]) -> Style:
    """Return one style for a whole Result, so that a line keeps its colour; for these alone where there are too many."""
    whole = drawings.styles(result.series)
    return whole if len(whole) <= FEW + CURVES else drawings.styles(drawn)


def _distributions(result: Result, key: str, most: int) -> tuple[list[Figure], list[tuple[str, list[Figure]]], str]:
    """Draw the distributions: where they were measured at a few settings all at once, else setting by setting."""
    portions = _portions([series for series in result.series if readings.distribution(series)])
    wanted = [one for one in portions if len(portions) == 1 or any(run.histograms for series in one[1] for run in series.runs)]
    tightest = sorted(wanted, key=lambda one: max(_tightness(result, series) for series in one[1]), reverse=True)[:most]
    found = []
    for k, (at, few) in enumerate(one for one in wanted if one in tightest):
        name = ", ".join(f"{word.replace('_', ' ')} {plain(value)}" for word, value in at)
        drawn = [(series, readings.distribution(series) or MAIN) for series in few]
        style, told = _style(result, few), name if len(wanted) > 1 else ""
        curves = drawings.percentiles(result, drawn, style, f"{key}-p{k}", told)
        counts = drawings.histogram(result, drawn, style, f"{key}-h{k}", told)
        found.append((name, [figure for figure in (curves, counts) if figure]))
    if len(wanted) <= min(OPEN, most):
        return [figure for _, figures in found for figure in figures], [], ""
    rest = len(wanted) - len(found)
    return [], found, f"{rest} more stand in the tables; drawn are those that come nearest to their period." if rest else ""


def _portions(series: Sequence[Series]) -> list[tuple[readings.At, list[Series]]]:
    """Return what is drawn together: series at the same numbers; where these are many, those at the same first word."""
    found: list[tuple[readings.At, list[Series]]] = []
    groups = readings.groups(series)
    groups = {at: group for at, group in groups.items() if any(run.histograms for one in group for run in one.runs)} or groups
    if len(groups) == 2 and () in groups:  # what has no setting, such as the host's own, belongs to the only one there is
        groups = {max(groups, key=len): [one for group in groups.values() for one in group]}
    for at, group in groups.items():
        if len(group) <= CURVES:
            found.append((at, group))
            continue
        parts: dict[readings.At, list[Series]] = {}
        for one in group:
            word = next(((name, value) for name, value in one.at.items() if isinstance(value, str)), None)
            parts.setdefault((*at, word) if word else at, []).append(one)
        found += [(name, _slowest(part)) for name, part in parts.items()]
    return found


def _slowest(series: Sequence[Series]) -> list[Series]:
    """Return as many as one figure holds, those with the highest p99.9, in their order."""
    chosen = sorted(series, key=lambda one: -(readings.percentile(one, readings.distribution(one) or MAIN, 99.9) or 0))[:CURVES]
    return [one for one in series if any(one is other for other in chosen)]


def _tightness(result: Result, series: Series) -> float:
    """Return the share of the period that the p99.9 of a callback takes."""
    return (readings.percentile(series, MAIN, 99.9) or 0.0) / (readings.period_us(result, series) or 1e9)


def _overviews(result: Result, key: str) -> list[Figure]:
    """Draw what speaks of a whole Result: sweeps, peers, where time goes."""
    figures: list[Figure | None] = []
    for k, found in enumerate(readings.sweeps(result)):
        lines = _foremost(result, found)
        style = _style(result, [line[0] for line in lines.lines.values()])
        for m, metrics in enumerate(_swept_metrics(lines) if lines.lines else ()):
            figures.append(drawings.sweep(result, lines, metrics, style, f"{key}-w{k}-{m}"))
    many = [series for series in result.series if len(series.runs) >= MANY_RUNS]
    for k, metric in enumerate(name for name in readings.metric_names(many) if name in REPEATED):
        figures.append(drawings.repetitions(many, metric, f"{key}-n{k}"))
    return [figure for figure in (*figures, *_beside(result, key), *_budgets(result, key)) if figure]


def _foremost(result: Result, found: readings.Sweep) -> readings.Sweep:
    """Return a sweep with as many lines as a figure holds: of more, the chain that was asked for and what is not ours."""
    if len(found.lines) <= FEW:
        return found
    chain = result.settings.get("chain")
    chosen = {name: line for name, line in found.lines.items() if line[0].role != "subject" or line[0].name == chain}
    return readings.Sweep(found.key, chosen if len(chosen) <= FEW else {})


def _swept_metrics(found: readings.Sweep) -> list[tuple[str, ...]]:
    """Return which metrics to draw over a sweep: the ends of a distribution together, the cost of one by itself."""
    names = readings.metric_names(series for line in found.lines.values() for series in line)
    pairs: list[tuple[str, ...]] = [tuple(f"{MAIN}_{end}_us" for end in ends) for ends in SWEPT]
    chosen: list[tuple[str, ...]] = [pair for pair in pairs if set(pair) <= set(names)][:1]
    chosen += [(name,) for name in names if name.startswith("each_") and name.endswith("_us")][:1]
    rest: list[tuple[str, ...]] = [(name,) for name in names if unit_of(name).better]
    return chosen or rest[:2]


def _beside(result: Result, key: str) -> list[Figure]:
    """Draw whole latencies, and costs of a callback, beside those of others."""
    latencies, costs = [], []
    kind, metric = (
        ("Mean", f"{MAIN}_mean_us")
        if any(readings.median(one, f"{MAIN}_mean_us") for one in result.series)
        else ("Median", f"{MAIN}_p50_us")
    )
    for series in result.series:
        measured = readings.origin(series) == "measured"
        if (total := readings.total_ms(result, series)) is not None:
            latencies.append(_row(series, total[0], series.role if measured and total[1] != "declared" else total[1]))
        if cost := readings.median(series, metric):
            costs.append(_row(series, cost, series.role if measured else readings.origin(series)))
    return [
        bars.beside(rows, unit, f"{name}, beside the others", f"{key}-{name.split()[0].lower()}")
        for rows, unit, name in ((latencies, "ms", "Latency"), (costs, "µs", f"{kind} cost of a callback"))
        if len(rows) <= BESIDE and {"peer", "published", "formula"} & {row.kind for row in rows}
    ]


def _row(series: Series, value: float, kind: str) -> Row:
    told = f" ({kind})" if kind in ("published", "formula", "declared") else ""
    return Row(line_name(series) + told, value, kind, "declared" if kind == "declared" else series.how)


def _budgets(result: Result, key: str) -> list[Figure]:
    """Draw where each microsecond of a callback and each millisecond of a latency goes."""
    figures = []
    usual = _usual_settings(result)
    costs = [(series, parts) for series in usual if (parts := readings.callback_parts(result, series))]
    if costs:
        figures.append(bars.budget(_named(costs[:BUDGETS]), "Where each microsecond goes", f"{key}-budget"))
    told = [
        (series, parts, side)
        for series in usual
        for side in ("declared", "measured")
        if len(parts := readings.latency_parts(result, series, side)) > 1
    ]
    if told:
        names = _named([(series, parts) for series, parts, _ in told[:BESIDE]])
        rows = [(f"{name}, {side}", parts) for (name, parts), (_, _, side) in zip(names, told, strict=False)]
        figures.append(bars.stacked(rows, "ms", "Where each millisecond of the latency goes", f"{key}-latency"))
    return figures


def _named(rows: Sequence[tuple[Series, list[Part]]]) -> list[tuple[str, list[Part]]]:
    """Return rows by name, with the numbers they were measured at only where these differ."""
    name_of = label if len(readings.groups(series for series, _ in rows)) > 1 else line_name
    return [(name_of(series), parts) for series, parts in rows]


def _usual_settings(result: Result) -> list[Series]:
    """Return one series of each line: where block sizes were varied, that at 64 frames."""
    found: dict[str, Series] = {}
    for series in result.series:
        if line_name(series) not in found or series.at.get("block") == 64:
            found[line_name(series)] = series
    return list(found.values())


def _worst(result: Result, key: str) -> tuple[list[Figure], list[Table]]:
    figures, tables = [], []
    for k, series in enumerate(series for series in result.series if any(run.worst or run.timeline for run in series.runs)):
        several = len(series.runs) > 1
        blocks = [drawings.block_of(one, n + 1 if several else None) for n, run in enumerate(series.runs) for one in run.worst]
        blocks = sorted(blocks, key=lambda one: -max(one["spent_us"], one["late_us"]))[:WORST_LISTED]
        figures.append(drawings.worst_blocks(result, series, blocks, f"{key}-t{k}"))
        rows = [
            (", ".join([drawings.moment(block), *{block["kind"]} - {drawings.UNTOLD}]), parts)
            for block in blocks
            if (parts := _ran(block))
        ]
        if rows:
            title = f"What ran in the worst blocks of {line_name(series)}"
            figures.append(bars.stacked(rows[:WORST_BARS], "µs", title, f"{key}-b{k}"))
        if blocks:
            tables.append(_worst_table(f"The worst blocks of {label(series)}", blocks))
    return [figure for figure in figures if figure], tables


def _ran(block: dict[str, Any]) -> list[Part]:
    """Return what ran in a block, the rest of it as the engine's; empty where that was not written down."""
    parts = [Part(name, "stage", float(us)) for name, us in (block.get("stages_us") or {}).items()]
    if not parts:
        return []
    parts.append(Part("incoming chain", "stage", float(block.get("incoming_us") or 0.0)))
    return [*parts, Part("engine", "engine", max(float(block["spent_us"]) - sum(part.value for part in parts), 0.0))]


def _worst_table(caption: str, blocks: Sequence[dict[str, Any]]) -> Table:
    blocks = [{**block, "when": drawings.moment(block)} for block in blocks]
    known = [name for name in WORST_COLUMNS if any(block.get(name) not in (None, "") for block in blocks)]
    return Table(
        caption, [WORST_COLUMNS[name] for name in known], [[_cell(block.get(name)) for name in known] for block in blocks]
    )


def _cell(value: object) -> Cell:
    if value is None or value == "":
        return Cell("-")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(str(value), css="words")
    return Cell(f"{value:,}" if isinstance(value, int) else number(value, 4))


def _heat_maps(result: Result) -> list[Table]:
    """Return tables, shaded by cost, of sweeps with too many lines for a figure: stages over block sizes."""
    tables = []
    for found in readings.sweeps(result):
        columns = sorted({float(one.at[found.key]) for line in found.lines.values() for one in line})
        for metric in HEATED:
            known = {
                name: {float(one.at[found.key]): value for one in line if (value := readings.median(one, metric)) is not None}
                for name, line in found.lines.items()
            }
            known = {name: row for name, row in known.items() if row}
            if len(known) <= FEW:
                continue
            values = [value for row in known.values() for value in row.values() if value > 0]
            rows = [[Cell(name), *(_heat(row.get(column), values) for column in columns)] for name, row in known.items()]
            caption = f"{words(metric)}, {unit_of(metric).text}, over {found.key}: the darker, the dearer"
            tables.append(Table(caption, ["", *(number(column, 6) for column in columns)], rows))
    return tables


def _heat(value: float | None, values: Sequence[float]) -> Cell:
    if value is None:
        return Cell("-")
    low, high = min(values, default=1.0), max(values, default=1.0)
    share = math.log(max(value, low) / low) / math.log(high / low) if high > low else 0.0
    return Cell(number(value), heat=round(60 * share))


def _metrics(result: Result) -> list[Table]:
    """Return the table of every series and metric: medians over the runs, with the least and the most."""
    names = readings.metric_names(result.series)
    if not names:
        return []
    caption = "Every figure: the median over the runs, with the least and the most"
    if len(result.series) <= FEW:
        head = ["", *(f"{label(series)} ({series.role}, {_runs(series)})" for series in result.series)]
        how = [Cell("how obtained"), *(Cell(series.how, css=readings.origin(series)) for series in result.series)]
        rows = [[Cell(_heading(name)), *(_figure(series, name) for series in result.series)] for name in names]
        return [Table(caption, head, [how, *rows])]
    rows = [
        [
            Cell(label(series), _runs(series)),
            Cell(series.role, css="words"),
            Cell(series.how, css=f"words {readings.origin(series)}"),
            *(_figure(series, name) for name in names),
        ]
        for series in result.series
    ]
    return [Table(caption, ["", "role", "how obtained", *(_heading(name) for name in names)], rows)]


def _runs(series: Series) -> str:
    return f"{len(series.runs)} run{'s' if len(series.runs) != 1 else ''}"


def _heading(metric: str) -> str:
    unit = "share" if metric.endswith("_share") else unit_of(metric).text
    return f"{words(metric)}, {unit}" if unit else words(metric)


def _figure(series: Series, name: str) -> Cell:
    found = readings.spread(series, name)
    if found is None:
        return Cell("-")
    under = f"{number(found.low)} to {number(found.high)}" if found.high > found.low else ""
    return Cell(number(found.median), under, css=readings.origin(series))
