"""Figures by name, as a benchmark finds them, into the laboratory's one JSON family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from autovoice.tools.lab.results import UNITS, Result, Run, Series


def metric(name: str, group: str = "") -> str:
    """Return a figure's name with a unit that the family knows at its end: its own, that of its group's name, or `number`."""
    plain, above = (re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") for text in (name, group))
    if plain.rpartition("_")[2] in UNITS and "_" in plain:
        return plain
    unit = next((part for part in (above.rpartition("_")[2], above.partition("_")[0]) if part in UNITS), "number")
    return f"{plain}_{unit}"


def as_result(name: str, title: str, data: Mapping[str, Any]) -> Result:
    """Turn what a benchmark found into a result: each group of figures is a series, named by the way to it.

    Texts, lists and what begins with `bar` are settings; a list of groups is one series with a run for each.
    """
    settings: dict[str, Any] = {}
    series: dict[str, list[Run]] = {}

    def collect(path: tuple[str, ...], groups: list[Mapping[str, Any]]) -> None:
        runs = []
        for group in groups:
            figures = {}
            for key, value in group.items():
                below = (*path, str(key))
                if isinstance(value, Mapping):
                    collect(below, [value])
                elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
                    collect(below, value)
                elif isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or str(key).startswith("bar"):
                    settings[" / ".join(below)] = value
                else:
                    figures[metric(str(key), path[-1] if path else "")] = float(value)
            if figures:
                runs.append(Run(figures))
        if runs:
            series.setdefault(" / ".join(path) or name, []).extend(runs)

    collect((), [data])
    return Result(name, title, settings, [Series(key, "subject", runs) for key, runs in series.items()])
