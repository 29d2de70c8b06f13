"""The OSC server at its doors: streams, strangers, a port that is taken, broken packets."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
from autovoice.rt import Engine
from autovoice.rt.control.conductor import Conductor, Notice, OscSettings
from autovoice.rt.control.osc.framing import Sized, Slip
from autovoice.rt.control.osc.packet import read, write
from osc_rig import UNKNOWN, Client, moves_after, value
from support import PATIENCE_S, run_program, wait_until

from benchmarks.control_osc import Running
from benchmarks.fuzz_osc import fuzz


@pytest.mark.parametrize("framing", [Slip, Sized])
def test_a_stream_is_a_client_like_any_other(engine: Engine, conductor: Conductor, framing: type[Slip] | type[Sized]) -> None:
    assert conductor.osc is not None
    code, heard = framing(), []
    with (
        socket.create_connection(("127.0.0.1", conductor.osc["port"]), timeout=PATIENCE_S) as stream,
        Client(conductor) as other,
    ):

        def send(*messages: bytes) -> None:
            for byte in b"".join(code.encode(message) for message in messages):
                stream.sendall(bytes([byte]))

        def hears(address: str) -> Any:
            while not (found := [m for m in heard if m.address == address]):
                packets = code.decode(stream.recv(1 << 16))
                heard.extend(m for packet in packets for group in read(packet) for m in group.messages)
            return found[0].arguments

        moves_after(engine, 2, lambda: send(write("/autovoice/gain/gain", -9.0), write("/autovoice/gate/threshold", -33.0)))
        assert (value(engine, "gain/gain"), value(engine, "gate/threshold")) == (-9.0, -33.0)
        send(write("/subscribe"))
        hears("/subscribed")
        other.send("/autovoice/gain/gain", -12.0)
        assert hears("/autovoice/gain/gain") == (-12.0,)
        send(write("/nonsense"))
        assert hears("/error")[1] == UNKNOWN


def test_a_web_page_cannot_reach_it(engine: Engine, conductor: Conductor) -> None:
    assert conductor.osc is not None
    body = Slip().encode(write("/mute", 1))
    with socket.create_connection(("127.0.0.1", conductor.osc["port"]), timeout=PATIENCE_S) as stream:
        stream.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with contextlib.suppress(ConnectionResetError):
            assert stream.recv(1) == b""
    assert value(engine, "master/mute") == 0.0


def test_who_is_not_on_the_allow_list_is_not_heard(engine: Engine) -> None:
    own = next((a for a in _own_addresses() if not a.startswith("127.")), None)
    if own is None:
        pytest.skip("this machine has no address beside loopback")
    with Conductor(engine, osc=OscSettings(port=0, host="0.0.0.0", allow=("203.0.113.0/24",))) as conductor:
        assert wait_until(lambda: conductor.osc is not None)
        assert conductor.osc is not None
        port = conductor.osc["port"]
        before = value(engine, "gain/gain")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, Client(conductor) as friend:
            stranger.bind((own, 0))
            stranger.sendto(write("/autovoice/gain/gain", 13.0), (own, port))
            with socket.create_connection((own, port), timeout=PATIENCE_S, source_address=(own, 0)) as stream:
                assert stream.recv(1) == b""
            friend.server = ("127.0.0.1", port)
            friend.send("/heartbeat")
            assert friend.hears("/heartbeat")
            assert wait_until(lambda: conductor.counts.get("osc", {}).get("refused") == 2)
        assert value(engine, "gain/gain") == before


def _own_addresses() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing: asks for the way there
        except OSError:
            return []
        return [probe.getsockname()[0]]


def test_without_its_port_one_line_says_so_and_the_show_goes_on(engine: Engine, conductor: Conductor) -> None:
    notices: list[Notice] = []
    assert conductor.osc is not None
    port = conductor.osc["port"]
    with Conductor(engine, osc=OscSettings(port=port), told=notices.append) as second:
        assert wait_until(lambda: bool(notices))
        assert second.osc is None
    assert [n.text for n in notices] == [f"OSC port {port} is taken by another program; choose another, or 0 for any"]
    frames = engine.stats().frames
    assert wait_until(lambda: engine.stats().frames > frames)


def test_the_server_needs_no_compiler() -> None:
    program = """
import json, sys
import autovoice.rt.control.osc.server
print(json.dumps({"compilers": [name for name in ("numba", "llvmlite") if name in sys.modules]}))
"""
    assert run_program(program) == {"compilers": []}


def test_broken_packets_by_the_thousand_leave_it_as_it_was(engine: Engine, conductor: Conductor) -> None:
    assert conductor.osc is not None
    page, telemetry = engine.processor.page, engine.processor.telemetry
    assert page is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        result = fuzz(Running(conductor.osc["port"], page, telemetry, client, conductor.osc["pid"]), 3000, seed=7, per_s=4000.0)
    assert result["answers"]
    assert result["counts"]["faults"] == 0
    assert result["counts"]["malformed"] > 500
    assert result["passed"]
