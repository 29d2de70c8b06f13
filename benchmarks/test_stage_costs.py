"""What each stage costs for 64 frames of a voice, apart from the engine and from the analysis that it builds on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain

from benchmarks.conftest import BLOCK, RATE, Offline

PASSES = 5
SETTINGS: dict[str, dict[str, object]] = {  # what makes a stage work that rests at its defaults
    "shift": {"semitones": 4.0},
    "gain": {"gain": -6.0},
    "eq": {f"band{k}_gain": gain for k, gain in enumerate((3.0, -3.0, 2.0, -2.0, 1.0), 2)} | {"band1_type": "low_cut"},
    "harmony": {f"level_{k}": -6.0 for k in range(1, 5)} | {"degree_2": 4, "degree_3": -3, "degree_4": 7},
    "stretch": {"speed": 0.8},
}


def block_times(specs: list[Any], voice: np.ndarray) -> np.ndarray:
    """Return nanoseconds of each block, the least of several passes: what the machine's other work adds is gone."""
    passes = [Offline(specs, voice).time_blocks() for _ in range(PASSES)]
    return np.min(passes, axis=0)


def test_stage_costs(voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """Every stage stays far below the period, and none of its blocks above 100 us."""
    sound = voice[: 8 * RATE]
    empty = float(block_times([], sound).mean())
    rows: dict[str, dict[str, float]] = {}
    for name in stage_names():
        needed = [p.stage.name for p in Chain([name]).placed[:-1]]
        spec = {"stage": name, **SETTINGS.get(name, {})}
        times = block_times([*needed, spec], sound)
        below = float(block_times(list(needed), sound).mean()) if needed else empty
        p50, p999 = np.percentile(times, [50, 99.9])
        rows[name] = {
            "mean_us": round((times.mean() - below) * 1e-3, 3),
            "chain_p50_us": round(p50 * 1e-3, 3),
            "chain_p99_9_us": round(p999 * 1e-3, 3),
            "chain_worst_us": round(times.max() * 1e-3, 3),
            "delay_ms": round(Chain([name]).latency(RATE) / RATE * 1e3, 3),
        }
    report({"block": BLOCK, "sample_rate": RATE, "engine_us": round(empty * 1e-3, 3), "stages": rows})
    assert max(row["chain_p99_9_us"] for row in rows.values()) < 100
