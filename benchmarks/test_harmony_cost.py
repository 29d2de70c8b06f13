"""Four voices of harmony beside one shifter, on the same analysis and the same voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.tools.lab.bench.offline import RATE, Offline

PASSES = 7
FOUR = {f"level_{k}": -6.0 for k in range(1, 5)} | {"degree_2": 4, "degree_3": -3, "degree_4": 7}


@pytest.mark.benchmark(group="harmony, mono, 64-frame blocks at 48 kHz")
def test_harmony_cost(benchmark: Any, voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """Take each block's least cost over passes in turns; the stages' own costs stand apart from their analysis."""
    sound = voice[: 10 * RATE]
    chains: dict[str, list[Any]] = {
        "marks": ["marks"],
        "shift": [{"stage": "shift", "semitones": 4.0}],
        "four": [{"stage": "harmony", **FOUR}],
    }
    times: dict[str, list[np.ndarray]] = {name: [] for name in chains}
    for _ in range(PASSES):
        for name, specs in chains.items():
            times[name].append(Offline(specs, sound).time_blocks())
    us = {name: np.min(passes, axis=0) / 1e3 for name, passes in times.items()}
    means = {name: float(each.mean()) for name, each in us.items()}
    alone = (means["four"] - means["marks"]) / (means["shift"] - means["marks"])
    p50, p999 = np.percentile(us["four"], [50, 99.9])
    report(
        {
            "analysis_us": means["marks"],
            "one_shift_us": means["shift"] - means["marks"],
            "four_voices_us": means["four"] - means["marks"],
            "ratio": alone,
            "ratio_with_analysis": means["four"] / means["shift"],
            "bar": 2.5,
            "p999_over_p50": p999 / p50,
        }
    )
    benchmark.extra_info["ratio"] = alone
    benchmark.pedantic(Offline(chains["four"], sound).run, rounds=3)
