"""The bars of a page: where each microsecond of a callback and each millisecond of a latency goes, and figures side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autovoice.tools.lab.page.readings import Part
from autovoice.tools.lab.page.svg import WIDTH, Plot, Scale, drawing, element, number, span, titled
from markupsafe import Markup

PART_COLOURS = 12
SIDE, LABELLED = 8.0, 8.0  # the margin at the left; the width of a letter
NAME = 52  # letters over a row
ROW, BAR, UNDER = 44.0, 22.0, 44.0  # the pitch of rows, a bar's height, the axis below

Legend = list[tuple[str, str]]  # style class, name


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its name, what its colours mean, and what to see in it."""

    title: str
    svg: Markup
    legend: Legend = field(default_factory=list)
    remark: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside others."""

    name: str
    value: float
    kind: str  # the role of what was measured here; "published", "formula" or "declared" for what was not
    how: str


def part_styles(rows: Iterable[Sequence[Part]]) -> dict[str, str]:
    """Return a style for each part of bars; the engine's own and idle time have theirs."""
    names = dict.fromkeys(part.name for row in rows for part in row if part.kind not in ("engine", "idle"))
    return {name: f"p{k % PART_COLOURS}" for k, name in enumerate(names)} | {"engine": "engine", "idle": "idle"}


def stacked(rows: Sequence[tuple[str, Sequence[Part]]], unit: str, title: str, key: str, remark: str = "") -> Figure:
    """Draw rows of stacked parts over one linear axis."""
    height = 26 + ROW * len(rows) + UNDER
    style = part_styles(parts for _, parts in rows)
    draft = _ruled(Scale(0.0, _longest(rows), SIDE, WIDTH - 14, False), height, unit)
    for k, (name, parts) in enumerate(rows):
        top = 26 + ROW * k
        draft.text(SIDE, top - 3, f"{_short(name)}: {number(_sum(parts))} {unit}", css="row")
        _stack(draft, name, parts, unit, style, top + 2)
    return Figure(title, drawing(key, title, _told(rows, unit), draft.parts, height), _legend(rows, style), remark)


def budget(rows: Sequence[tuple[str, Sequence[Part]]], title: str, key: str) -> Figure:
    """Draw periods with what of them is used, and below each, through a lens, which stage uses it."""
    tall = 92.0
    height = 26 + tall * len(rows) + UNDER
    style = part_styles(parts for _, parts in rows)
    busy = [(name, [part for part in parts if part.kind != "idle"]) for name, parts in rows]
    lens = _ruled(Scale(0.0, _longest(busy), SIDE, WIDTH - 14, False), height, "µs, through the lens")
    for k, ((name, parts), (_, used)) in enumerate(zip(rows, busy, strict=True)):
        top = 26 + tall * k
        whole, spent = sum(part.value for part in parts), _sum(parts)
        draft = Plot(Scale(0.0, whole or 1.0, SIDE, WIDTH - 14, False), lens.y, lens.parts, height)
        share = f" of {number(whole)}, {100 * spent / whole:.1f} %" if whole > spent else ""
        draft.text(SIDE, top - 3, f"{_short(name)}: {number(spent)} µs{share}", css="row")
        if whole > spent:
            _stack(
                draft,
                name,
                [Part("used", "engine", spent), Part("idle", "idle", whole - spent)],
                "µs",
                style | {"used": "used"},
                top + 2,
                12.0,
            )
            left, right = draft.x(spent), lens.x(spent)
            draft.parts.append(
                element("path", css="lens", d=f"M{SIDE} {top + 14:.1f}H{left:.1f}L{right:.1f} {top + 40:.1f}H{SIDE}Z")
            )
        _stack(lens, name, used, "µs", style, top + 40)
    legend = [(css, name) for css, name in _legend(rows, style)]
    return Figure(title, drawing(key, title, _told(rows, "µs"), lens.parts, height), legend)


KINDS = {
    "subject": "ours",
    "peer": "others, measured here",
    "control": "control",
    "baseline": "baseline",
    "published": "published",
    "formula": "by formula",
    "declared": "declared",
}
"""What a bar may be, as a style class, and what a legend says of it."""


def beside(rows: Sequence[Row], unit: str, title: str, key: str) -> Figure:
    """Draw figures as bars on a logarithmic axis, the least first, each with how it was obtained."""
    ordered = sorted(rows, key=lambda row: row.value)
    tall = 38.0
    height = 22 + tall * len(ordered) + UNDER
    low, high = span([row.value for row in ordered])
    draft = _ruled(Scale(low / 1.5, high, SIDE, WIDTH - 56), height, unit)
    for k, row in enumerate(ordered):
        top = 22 + tall * k
        draft.text(SIDE, top - 3, _short(row.name), css="row")
        at = draft.x(row.value)
        text = f"{row.name}: {number(row.value)} {unit}, {row.how}"
        css = f"mark bar {row.kind}"
        draft.parts.append(element("rect", *titled(text), x=SIDE, y=top + 2, width=at - SIDE, height=15.0, css=css))
        draft.text(at + 6, top + 14, number(row.value), css="note")
    told = "; ".join(f"{row.name} {number(row.value)} {unit}, {row.how}" for row in ordered)
    legend = [(f"bar {kind}", text) for kind, text in KINDS.items() if any(row.kind == kind for row in rows)]
    return Figure(title, drawing(key, title, told, draft.parts, height), legend)


def _ruled(x: Scale, height: float, unit: str) -> Plot:
    """Return a drawing with a scale below."""
    draft = Plot(x, Scale(0, 1, height - UNDER, 8, False), height=height)
    for value in x.ticks(7):
        at = x(value)
        draft.parts.append(element("path", css="grid", d=f"M{at:.1f} {height - UNDER:.1f}V8"))
        draft.text(at, height - 25, number(value), css="tick middle")
    draft.text(WIDTH / 2, height - 5, unit, css="name middle")
    return draft


def _stack(
    draft: Plot, name: str, parts: Sequence[Part], unit: str, style: dict[str, str], top: float, tall: float = BAR
) -> None:
    at = 0.0
    for part in parts:
        x, wide = draft.x(at), draft.x(at + part.value) - draft.x(at)
        at += part.value
        if wide <= 0:
            continue
        text = f"{name}, {part.name}: {number(part.value)} {unit}"
        css = f"mark part {style[part.name]}"
        draft.parts.append(element("rect", *titled(text), x=x, y=top, width=wide, height=tall, css=css))
        if tall >= BAR and wide > LABELLED * len(part.name) + 6:
            draft.text(x + wide / 2, top + 16, part.name, css=f"inside middle {style[part.name]}")


def _short(name: str) -> str:
    """Return a name without its middle where that has no room; a mark's own text and the table have all of it."""
    return name if len(name) <= NAME else f"{name[: NAME - 21].rstrip()} … {name[-18:].lstrip()}"


def _sum(parts: Sequence[Part]) -> float:
    return sum(part.value for part in parts if part.kind != "idle")


def _longest(rows: Sequence[tuple[str, Sequence[Part]]]) -> float:
    return max(sum(part.value for part in parts) for _, parts in rows) * 1.001 or 1.0


def _told(rows: Sequence[tuple[str, Sequence[Part]]], unit: str) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{part.name} {number(part.value)} {unit}" for part in parts) for name, parts in rows
    )


def _legend(rows: Sequence[tuple[str, Sequence[Part]]], style: dict[str, str]) -> Legend:
    used = dict.fromkeys(part.name for _, parts in rows for part in parts if part.value > 0)
    return [(f"part {style[name]}", name) for name in used]
