"""What an option takes, in words, and numbers that are refused in those words wherever they come from."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

import click
from autovoice.tools.options import CommandError, near

UNITS = {"FRAMES": "frames", "HZ": "Hz", "DB": "dB", "S": "s", "MS": "ms", "MB": "MB", "FACTOR": "times the length"}
"""How a unit is written that stands for a value in help."""

KINDS: tuple[tuple[Any, tuple[type, ...], str], ...] = (
    (click.types.BoolParamType, (bool,), "true or false"),
    (click.types.IntParamType, (int,), "a whole number"),
    (click.types.FloatParamType, (int, float), "a number"),
    (click.Path, (str,), "a path"),
    (click.ParamType, (str,), "a text"),
)
"""click's types: what a TOML file holds for one, and how that is called."""


def key_of(option: click.Option) -> str:
    """Return an option's name without the dashes."""
    return next(text for text in option.opts if text.startswith("--"))[2:]


def _kind(option: click.Parameter) -> tuple[tuple[type, ...], str]:
    return next((held, noun) for kind, held, noun in KINDS if isinstance(option.type, kind))


def limits(option: click.Parameter) -> str:
    """Return the range of an option's numbers, `in 1..8192 frames` or `at least 1`; "" where it has none."""
    kind = option.type
    if not isinstance(kind, (click.IntRange, click.FloatRange)):
        return ""
    unit = f" {UNITS.get(option.metavar or '', '')}".rstrip()
    if kind.min is not None and kind.max is not None:
        return f"in {kind.min:.10g}..{kind.max:.10g}{unit}"
    if kind.min is not None:
        return f"{'more than' if kind.min_open else 'at least'} {kind.min:.10g}{unit}"
    return f"{'less than' if kind.max_open else 'at most'} {kind.max:.10g}{unit}"


def takes(option: click.Option) -> str:
    """Say what one value of an option may be: `a whole number in 1..8192 frames`, `one of jack, null`."""
    if isinstance(option.type, click.Choice):
        return f"one of {', '.join(option.type.choices)}"
    noun, within = _kind(option)[1], limits(option)
    return noun + (f"{' ' if within.startswith('in ') else ', '}{within}" if within else "")


def refusal(option: click.Option, value: Any) -> str:
    """Say why an option cannot have a value, and what would do."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    within = limits(option) if number and isinstance(value, _kind(option)[0]) else ""
    hint = near(str(value), option.type.choices) if isinstance(option.type, click.Choice) else ""
    return f"must be {within or takes(option)}, got {f'{value:g}' if isinstance(value, float) else repr(value)}{hint}"


def checked(option: click.Option, value: Any) -> Any:
    """Return what click makes of a value from a TOML file; raises CommandError whose text goes on from the value's name.

    TOML knows types, so a number in quotes is refused; an option that is repeatable takes an array.
    """
    held, _ = _kind(option)
    if option.multiple and not isinstance(value, list):
        raise CommandError(f"must be an array, such as [{value!r}], got {value!r}")
    for one in value if option.multiple else [value]:
        alien = not isinstance(one, held) or (isinstance(one, bool) and bool not in held)
        if alien or (isinstance(one, float) and not math.isfinite(one)):
            raise CommandError(refusal(option, one))
        try:
            option.type.convert(one, option, None)
        except click.ClickException:
            raise CommandError(refusal(option, one)) from None
    if isinstance(option.type, click.Path):  # what a shell does on the command line
        return [os.path.expanduser(one) for one in value] if option.multiple else os.path.expanduser(value)
    return value


class Whole(click.IntRange):
    """A whole number in a range, refused as everything here is: with its name, its range and what came.

    The option's metavar names its unit.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; raises CommandError."""
        return _refusing(super().convert, value, param, ctx)


class Real(click.FloatRange):
    """A finite number in a range, as Whole."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; raises CommandError."""
        return _refusing(super().convert, value, param, ctx)


def _refusing(convert: Callable[..., Any], value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    with contextlib.suppress(click.BadParameter):
        number = convert(value, param, ctx)
        if math.isfinite(number):
            return number
    assert isinstance(param, click.Option)
    raise CommandError(f"--{key_of(param)} {refusal(param, _number(value))}")


def _number(value: Any) -> Any:
    """Return the number that a text says, or the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value
