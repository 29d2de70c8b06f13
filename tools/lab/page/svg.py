"""Figures as inline SVG: scales, axes and marks, each with a text to hover or to step to, coloured by the page's style sheet.

Every element goes through `element`, which escapes what it is given: names come from other people's files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup, escape

Point = tuple[float, float]
WIDTH, HEIGHT = 520.0, 320.0  # of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 26.0, 50.0  # margins for the axes' texts, in a large type too


def element(name: str, *content: str, **attributes: object) -> Markup:
    """Return one element; an attribute's underscores are hyphens, `css` is its class, None leaves it away."""
    written = "".join(
        f' {"class" if key == "css" else key.replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(escape(part) for part in content)}</{name}>")


def _short(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class Scale:
    """Places values between two ends of the drawing, logarithmically or linearly; what lies outside stays at the end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        """Return where a value lies."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 7) -> list[float]:
        """Return round values between the ends: powers of ten, or 1, 2 and 5 of them where there is room."""
        if not self.log:
            step = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
            step = next(step * k for k in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * k) <= most)
            return [k * step for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in (range(1, 10), (1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**decade for decade in decades for digit in digits]
            found = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(found) <= most:
                break
        if len(found) < 2:  # within one digit: there the axis is all but linear
            return replace(self, log=False).ticks(most)
        return found[:: math.ceil(len(found) / most)]


def span(values: Iterable[float], *, log: bool = True, room: float = 0.06) -> tuple[float, float]:
    """Return ends for a scale that holds all of the values, with some room; from 0 where it is linear."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        wide = max((high / low) ** room, 1.15)
        return low / wide, high * wide
    low = min(low, 0.0)
    high = high if high > low else low + 1.0
    return low, high + room * (high - low)


def number(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, without a needless fraction."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if text not in ("0", "-0") else f"{value:.{digits}g}"


@dataclass(slots=True)
class Plot:
    """A drawing with two axes, filled from back to front."""

    x: Scale
    y: Scale
    parts: list[Markup] = field(default_factory=list)
    height: float = HEIGHT

    def axes(self, x_name: str, y_name: str, x_ticks: Sequence[tuple[float, str]] | None = None) -> None:
        """Draw grid, ticks and names; first, since all else lies over them."""
        bottom, left = self.y.start, self.x.start
        for value in self.y.ticks():
            at = self.y(value)
            self.parts.append(element("path", css="grid", d=f"M{left:.1f} {at:.1f}H{self.x.end:.1f}"))
            self.text(left - 7, at + 4, number(value), css="tick end")
        for value, text in x_ticks if x_ticks is not None else [(value, number(value)) for value in self.x.ticks(6)]:
            at = self.x(value)
            self.parts.append(element("path", css="grid", d=f"M{at:.1f} {bottom:.1f}V{self.y.end:.1f}"))
            self.text(at, bottom + 19, text, css="tick middle")
        self.parts.append(element("path", css="axis", d=f"M{left:.1f} {bottom:.1f}H{self.x.end:.1f}"))
        self.text((left + self.x.end) / 2, bottom + 41, x_name, css="name middle")
        self.text(4, self.y.end - 12, y_name, css="name")

    def text(self, x: float, y: float, text: str, css: str = "") -> None:
        """Write a text that starts, centres or ends at a place, as its class says."""
        self.parts.append(element("text", text, x=float(x), y=float(y), css=css))

    def line(self, points: Sequence[Point], css: str, title: str = "") -> None:
        """Draw a line through points in the units of the axes."""
        if len(points) > 1:
            path = "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
            self.parts.append(element("path", *titled(title), d=path, css=f"line {css}"))

    def area(self, points: Sequence[Point], css: str) -> None:
        """Fill between a line and the bottom."""
        if points:
            path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
            first, last = self.x(points[0][0]), self.x(points[-1][0])
            d = f"M{first:.1f} {self.y.start:.1f}L{path}L{last:.1f} {self.y.start:.1f}Z"
            self.parts.append(element("path", d=d, css=f"area {css}"))

    def dot(self, x: float, y: float, css: str, title: str) -> None:
        """Draw a point with a text of its own."""
        self.parts.append(element("circle", *titled(title), cx=self.x(x), cy=self.y(y), r=4.0, css=f"mark dot {css}"))

    def upright(self, value: float, text: str, css: str, *, row: int = 0) -> None:
        """Draw a vertical limit with its name at the top, on the side where there is room."""
        if not self.x.low <= value <= self.x.high:
            return
        at = self.x(value)
        self.parts.append(element("path", d=f"M{at:.1f} {self.y.start:.1f}V{self.y.end:.1f}", css=f"limit {css}"))
        left = at > (self.x.start + self.x.end) / 2
        self.text(at + (-5 if left else 5), self.y.end + 13 + 17 * row, text, css=f"note {css} {'end' if left else ''}")

    def level(self, value: float, text: str, css: str) -> None:
        """Draw a horizontal limit with its name at the left, over the line."""
        if not self.y.low <= value <= self.y.high:
            return
        at = self.y(value)
        self.parts.append(element("path", d=f"M{self.x.start:.1f} {at:.1f}H{self.x.end:.1f}", css=f"limit {css}"))
        self.text(self.x.start + 5, at - 5, text, css=f"note {css}")

    def draw(self, key: str, title: str, description: str) -> Markup:
        """Return the whole drawing; `key` is unique on the page."""
        return drawing(key, title, description, self.parts, self.height)


def plot(x: tuple[float, float], y: tuple[float, float], *, x_log: bool = True, y_log: bool = True) -> Plot:
    """Return an empty plot over two ranges."""
    return Plot(Scale(*x, LEFT, WIDTH - RIGHT, x_log), Scale(*y, HEIGHT - BOTTOM, TOP, y_log))


def titled(title: str) -> tuple[Markup, ...]:
    """Return a title element; nothing for an empty text."""
    return (element("title", title),) if title else ()


def drawing(key: str, title: str, description: str, parts: Iterable[Markup], height: float = HEIGHT) -> Markup:
    """Return an SVG with its name and a description for those who do not see it; one stop of the keyboard."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *parts,
        id=key,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        tabindex="0",
        aria_labelledby=f"{key}-title {key}-desc",
    )
