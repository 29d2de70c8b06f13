"""The declared latency is the truth, to the frame: measured from outside by JACK's own jack_iodelay, and told to JACK."""

from __future__ import annotations

import re

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine
from iodelay import Meter
from support import IDENTITY, Audio, JackServer, found_at, wait_until

LIMITER = [{"stage": "limiter", "lookahead": 5.0, "ceiling": 0.0}]
CHAINS = {
    "gain": (["gain"], (64, 480)),
    "limiter": (LIMITER, (32, 64, 128, 256, 480, 1024)),
    "demo": (IDENTITY, (64, 32, 1024)),
}


def port_latencies(server: JackServer) -> dict[str, dict[str, tuple[int, int]]]:
    """Return what every port says: {port: {"capture" | "playback": (least, most)}} in frames."""
    ports: dict[str, dict[str, tuple[int, int]]] = {}
    port = ""
    for line in server.tool("jack_lsp", "-l").splitlines():
        if found := re.match(r"\s+port (\w+) latency = \[ (\d+) (\d+) \]", line):
            ports[port][found[1]] = int(found[2]), int(found[3])
        else:
            port = line.strip()
            ports[port] = {}
    return ports


@pytest.mark.parametrize("name", CHAINS)
def test_the_measured_latency_less_one_period_is_the_declared_one_at_every_block_size(
    name: str, jack_server: JackServer
) -> None:
    specs, blocks = CHAINS[name]
    chain = Chain(specs)
    client = f"delay_{name}"
    with Engine(chain, backend="jack", server=jack_server.name, name=client, auto_connect=False) as engine:
        declared = engine.stats().latency_frames
        assert declared == chain.latency(48_000)
        assert (declared > 0) == (name != "gain")
        with Meter(jack_server, client, engine) as meter:
            for block in blocks:
                jack_server.tool("jack_bufsize", str(block))
                assert wait_until(lambda: engine.block == block)  # noqa: B023
                assert meter.frames() - block == pytest.approx(declared, abs=0.05), block
    jack_server.tool("jack_bufsize", "64")


def test_jack_is_told_the_declared_latency_in_both_directions(jack_server: JackServer) -> None:
    chain = Chain(IDENTITY)
    declared = chain.latency(48_000)
    with Engine(chain, backend="jack", server=jack_server.name, name="told", out_channels=2):
        ports = port_latencies(jack_server)
        heard_at, plays_at = ports["system:capture_1"]["capture"], ports["system:playback_1"]["playback"]
        assert plays_at[0] > 0
        assert ports["told:out_1"]["capture"] == tuple(frames + declared for frames in heard_at)
        assert ports["told:in_1"]["playback"] == tuple(frames + declared for frames in plays_at)
        assert ports["system:playback_1"]["capture"] == ports["told:out_1"]["capture"]


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000, 192_000])
def test_a_chain_at_identity_is_a_delay_of_exactly_its_declared_latency(rate: int, speech: Audio) -> None:
    """`highpass` moves phases, so it is bypassed; everything else passes the voice bit for bit."""
    chain = Chain([{**IDENTITY[0], "bypass": True}, *IDENTITY[1:]])  # type: ignore[dict-item]
    heard = chain.render(speech, sample_rate=rate, compensate=False)
    assert found_at(speech[20_000:30_000], heard) == 20_000 + chain.latency(rate)


IDENTITIES: dict[str, dict[str, float]] = {
    "convert": {"mix": 0.0},  # it answers as soon as it knows, which its look-ahead allows
    "denoise": {"strength": 0.0},  # gains that move smear a sound over their window
}


@pytest.mark.parametrize("stage", stage_names())
def test_no_stage_answers_earlier_than_it_declares(stage: str) -> None:
    """An impulse after silence: not one sample of it, nor of what it does, may come out before the latency has passed."""
    sound = np.zeros(9600, np.float32)
    sound[4800:] = np.sin(np.arange(4800) * 0.3) * 0.7
    chain = Chain([{"stage": stage, **IDENTITIES.get(stage, {})}])
    heard = chain.render(sound, sample_rate=48_000, compensate=False)
    assert not np.any(heard[: 4800 + chain.latency(48_000)])


def test_the_demo_chain_declares_no_more_than_15_ms() -> None:
    assert 0 < Chain(IDENTITY).latency(48_000) <= 0.015 * 48_000
