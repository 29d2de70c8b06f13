"""What an argument means to a parameter: any OSC type that can be read as its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row

ON = frozenset({"on", "true", "yes", "1"})
OFF = frozenset({"off", "false", "no", "0"})
FADED_SWITCHES = ("mute", "bypass")
"""Switches that may rest between on and off."""


class BadArgument(ValueError):
    """An argument that a parameter cannot take; the message names it and the way out."""


def steps_of(row: Row) -> int:
    """Return how many values a parameter steps through: 2 for a switch, 0 for one that moves continuously."""
    if row.scale == "choice":
        return len(row.choices)
    return 2 if row.scale == "switch" or row.name in FADED_SWITCHES else 0


def value_of(row: Row, arguments: Sequence[Any], now: float, *, normal: bool = False) -> float | None:
    """Return the value, in range, that a message asks for; None where it asks for what the value is.

    Without an argument (or with N or I) a switch toggles, a choice goes on to its next, and anything else is asked for. With
    `normal` numbers are 0..1 along the parameter's scale. Raises BadArgument.
    """
    if len(arguments) > 1:
        raise BadArgument(f"{row.path} takes one value, got {len(arguments)}")
    given = arguments[0] if arguments else None
    if given is None:
        steps = steps_of(row)
        return (round(now) + 1) % steps if steps else None
    if isinstance(given, str):
        chosen = _named(row, given)
        if chosen is not None:
            return row.clamp(chosen)
    return taken(row, _number(row, given), normal=normal)


def taken(row: Row, number: float, *, normal: bool) -> float:
    """Return the value that a parameter takes for a number, which is not NaN."""
    return row.clamp(row.from_norm(min(max(number, 0.0), 1.0)) if normal else number)


def _named(row: Row, text: str) -> float | None:
    """Return the value that a word stands for, None where it is none of this parameter's words."""
    word = text.strip().casefold()
    if row.scale == "choice":
        names = [choice.casefold() for choice in row.choices]
        return float(names.index(word)) if word in names else None
    if steps_of(row) == 2 and row.scale != "choice" and word in ON | OFF:
        return float(word in ON)
    return None


def _number(row: Row, given: Any) -> float:
    try:
        number = float(given) if isinstance(given, (bool, int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        wanted = " | ".join(row.choices) or ("0 or 1" if row.scale == "switch" else f"a number in {range_text(row)}")
        raise BadArgument(f"{row.path} takes {wanted}, got {str(given)[:40]!r}")
    return number


def range_text(row: Row) -> str:
    """Say a range with its unit, `-90..0 dB`."""
    return f"{row.minimum:g}..{row.maximum:g} {row.unit}".rstrip()


def command_arguments(name: str, kinds: str, arguments: Sequence[Any]) -> list[Any]:
    """Return a command's arguments as its table's type tags (s i f T, in brackets where they may be left out) ask for.

    Raises BadArgument.
    """
    required, _, optional = kinds.partition("[")
    tags = required + optional.rstrip("]")
    given = [argument for argument in arguments if argument is not None]
    if not len(required) <= len(given) <= len(tags):
        raise BadArgument(f"/{name} takes the arguments ,{kinds}, got {len(given)}")
    return [_converted(name, tag, argument) for tag, argument in zip(tags, given, strict=False)]


def _converted(name: str, tag: str, given: Any) -> Any:
    try:
        if isinstance(given, (bool, int, float, str)):
            if tag == "s":
                return f"{given:g}" if isinstance(given, float) else str(given)
            if tag == "T" and isinstance(given, str):
                return {**dict.fromkeys(ON, True), **dict.fromkeys(OFF, False)}[given.strip().casefold()]
            number = float(given)
            if math.isfinite(number):
                return {"T": number >= 0.5, "i": round(number), "f": number}[tag]
    except (ValueError, OverflowError, KeyError):
        pass
    wanted = {"i": "a whole number", "f": "a number", "s": "a text", "T": "on or off"}[tag]
    raise BadArgument(f"/{name} takes {wanted}, got {str(given)[:40]!r}")
