"""Declared is measured, to the frame, live through JACK: every stage at one block, three chains at every block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine
from autovoice.rt.presets import load_preset
from autovoice.tools.lab.latency.methods import BLOCKS, IDENTITY, at_identity, way_for
from autovoice.tools.lab.latency.prober import JackProber
from autovoice.tools.lab.latency.roundtrip import look
from autovoice.tools.lab.latency.signals import Probe, mls
from autovoice.tools.lab.latency.take import ServerTrouble
from support import DEMO, JackServer, until_valid, wait_until

REACH = 2_400  # frames: more than any chain declares
PROBE = Probe("mls", (0.1 * mls(12)).astype(np.float32), (1_000.0, 18_000.0), 48_000.0)
CHAINS = {
    "demo": DEMO,
    "podcast": at_identity(load_preset("podcast").stages),
    "choir": at_identity(load_preset("choir").stages),
}


@pytest.fixture(scope="module")
def prober(jack_server: JackServer) -> Iterator[JackProber]:
    """One prober for all: it joins once and stays."""
    with JackProber(jack_server.name) as one:
        yield one


def look_ahead(prober: JackProber, engine: Engine, name: str) -> float:
    """Return the frames that a client adds to the block, as the prober hears it twice alike in one take.

    A server that loses cycles has broken the take, not the delay: then it is taken again.
    """
    prober.wire(f"{name}:in_1", f"{name}:out_1")

    def delays() -> list[float]:
        try:
            return [delay.frames for delay in look(prober, PROBE, "phase", REACH + prober.block, 2)]
        except ServerTrouble:
            return []

    found = until_valid(delays, lambda delays: len(delays) >= 2 and np.ptp(delays) < 0.05)
    assert found, "the server lost cycles in every take"
    return float(np.median(found)) - prober.block


@pytest.mark.parametrize("stage", stage_names())
def test_a_stage_delays_by_what_it_declares(stage: str, prober: JackProber, jack_server: JackServer) -> None:
    chain = Chain(at_identity([stage]))
    name = f"truth_{stage}"
    with Engine(chain, backend="jack", server=jack_server.name, name=name, auto_connect=False) as engine:
        assert look_ahead(prober, engine, name) == pytest.approx(chain.latency(48_000), abs=0.05)


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_delays_by_what_it_declares_at_every_block(name: str, prober: JackProber, jack_server: JackServer) -> None:
    chain = Chain(CHAINS[name])
    declared = chain.latency(48_000)
    assert declared > 0
    with Engine(chain, backend="jack", server=jack_server.name, name=f"truth_{name}", auto_connect=False) as engine:
        for block in BLOCKS:
            prober.set_block(block)
            assert wait_until(lambda: engine.block == block)  # noqa: B023
            assert look_ahead(prober, engine, f"truth_{name}") == pytest.approx(declared, abs=0.05), block
    prober.set_block(64)


def test_every_setting_of_the_table_is_one_that_a_stage_knows() -> None:
    for stage, settings in IDENTITY.items():
        assert Chain([{"stage": stage, **settings}]).placed[-1].stage.name == stage


def test_the_way_to_measure_follows_the_settings() -> None:
    def way(*specs: Any) -> str:
        return way_for(Chain(specs)).probe

    assert way("highpass", "limiter", "shift") == "chirp"
    assert way("highpass", {"stage": "shift", "semitones": 3.0}) == "mls"
    assert way({"stage": "shift", "semitones": 3.0, "bypass": True}) == "chirp"
    assert way("vocoder") == "bursts"
    assert way({"stage": "reverb", "mix": 0.2}) == "chirp"
    assert way({"stage": "reverb", "mix": 0.9}) == "bursts"
