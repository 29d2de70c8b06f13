"""What each stage costs for 64 frames of a voice, apart from the engine and from the analysis that it builds on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autovoice.rt import Chain
from autovoice.tools.lab.bench.rig import DEMO_CHAIN
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.bench.scenarios.cost import run

SECONDS = 8.0


def test_stage_costs(report: Callable[[Any], None]) -> None:
    """Every stage and chain stays far below the period: p99.9 of its blocks takes less than 100 us."""
    settings = Settings("cost", Chain(DEMO_CHAIN), "demo chain", SECONDS, chosen=frozenset({"block"}))
    result = run(settings, Progress())
    report(result)
    assert max(one.metrics["callback_p999_us"] for series in result.series for one in series.runs) < 100
