"""From counts to figures: percentiles that are stated only where enough was counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt.layout import TELEMETRY
from autovoice.rt.telemetry import Telemetry
from autovoice.tools.lab.results import Histogram

Array = np.ndarray[Any, Any]

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "p9999": 99.99}
FEWEST = {name: round(100 / (100 - percent)) for name, percent in PERCENTILES.items()}
"""How many counts a percentile needs at least, so that one of them lies beyond it: 10 000 for p99.99."""
FIRM = 10  # times as many, and it is no longer the chance of one block


def histogram_ns(counts: Array) -> Histogram:
    """Return the engine's logarithmic histogram of nanoseconds, shape (buckets,), as one of microseconds."""
    lower, _ = Telemetry(np.zeros(1, TELEMETRY)).histogram()
    return Histogram.of(np.append(lower, 2 * lower[-1] - lower[-2]), counts)


def histogram_us(values: Array, per_octave: int = 32) -> Histogram:
    """Count values in microseconds, in logarithmic buckets from 1 ns on."""
    top = np.log2(max(float(np.max(values, initial=1.0)), 1.0)) + 1
    edges = np.concatenate(([0.0], 2 ** np.arange(-10, top + 1 / per_octave, 1 / per_octave)))
    return Histogram.of(edges, np.histogram(values, edges)[0])


def mean_us(histogram: Histogram) -> float:
    """Return the mean of what was counted; 0 where nothing was."""
    total = sum(histogram.count)
    middles = ((a + b) / 2 for a, b in zip(histogram.lower, histogram.upper, strict=True))
    return sum(m * n for m, n in zip(middles, histogram.count, strict=True)) / total if total else 0.0


def figures(name: str, histogram: Histogram, worst_us: float | None = None) -> dict[str, float]:
    """Return `NAME_p50_us` ... `NAME_p9999_us`, as far as there are counts for them, and `NAME_max_us`.

    The maximum is exact where it is given, or the middle of the last bucket.
    """
    total = sum(histogram.count)
    if total == 0:
        return {}
    rows = {f"{name}_{p}_us": histogram.percentile(percent) for p, percent in PERCENTILES.items() if total >= FEWEST[p]}
    rows[f"{name}_max_us"] = histogram.percentile(100.0) if worst_us is None else worst_us
    return {key: min(value, rows[f"{name}_max_us"]) for key, value in rows.items()}


def figures_of(name: str, values: Array) -> dict[str, float]:
    """Return the same of the values themselves, in microseconds, shape (blocks,): without the width of any bucket."""
    if not len(values):
        return {}
    stated = {p: percent for p, percent in PERCENTILES.items() if len(values) >= FEWEST[p]}
    rows = {f"{name}_{p}_us": float(np.percentile(values, percent, method="higher")) for p, percent in stated.items()}
    return {**rows, f"{name}_max_us": float(np.max(values))}


def thin(histogram: Histogram) -> str:
    """Return a remark where the highest percentile that is stated rests on few counts; empty where it does not."""
    total = sum(histogram.count)
    stated = [p for p in PERCENTILES if total >= FEWEST[p]]
    if len(stated) < 2 or total >= FIRM * FEWEST[stated[-1]]:
        return ""
    return f"p{PERCENTILES[stated[-1]]:g} rests on {total} counts; {FIRM * FEWEST[stated[-1]]} make it firm"
