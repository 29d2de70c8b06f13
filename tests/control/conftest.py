"""An engine with an OSC server, for the modules that ask for it; others bring engines of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, OscSettings
from support import wait_until


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Chain(["gain", "gate", "limiter"]), backend="null", name="osc_test", latency=2000) as running:
        yield running


@pytest.fixture(scope="module")
def conductor(engine: Engine) -> Iterator[Conductor]:
    with Conductor(engine, osc=OscSettings(port=0)) as running:
        assert wait_until(lambda: running.osc is not None)
        yield running
