"""Live bars, scenario by scenario as `autovoice bench` runs them: hogs, storms of changes, the soak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from autovoice.rt import Chain
from autovoice.tools.lab.bench.rig import DEMO_CHAIN, pick_backend
from autovoice.tools.lab.bench.scenarios import Progress, Settings, find, load


@pytest.mark.long
@pytest.mark.parametrize("name", ["gil", "cpu", "memory", "disk", "swaps", "moves", "soak"])
def test_live(name: str, report: Callable[[Any], None]) -> None:
    """Play the demo chain at 64 frames through the scenario at its full length; every bar that the host can support holds."""
    scenario = find(name)
    backend = pick_backend("auto")
    settings = Settings(name, Chain(DEMO_CHAIN), "demo chain", scenario.seconds, scenario.repeat, backend=backend)
    result = load(scenario).run(settings, Progress())
    report(result)
    assert not [bar for bar in result.bars if bar.held and not bar.met]
