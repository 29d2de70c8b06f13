"""What a packet costs the OSC server, from socket to ring: a move that is known by its bytes, and one that is parsed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.control.osc.network import open_doors
from autovoice.rt.control.osc.packet import write
from autovoice.rt.control.osc.server import Server, Settings
from autovoice.rt.control.surface import Surface
from autovoice.rt.layout import OSC_PRODUCER

BURST, ROUNDS = 200, 60
ADDRESS = "/autovoice/gate/threshold"


def costs(kinds: dict[str, list[bytes]]) -> dict[str, dict[str, float]]:
    """Return for each kind the processor time of this thread that a packet took, in turns of one burst each."""
    engine = Engine(Chain(["highpass", "gate", "limiter"]), backend="null", latency=4800)
    with engine, Conductor(engine), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        ours, theirs = socket.socketpair()
        on = engine.processor
        pages = {"telemetry": on.telemetry_path, "control": on.control_path, "ring": on.rings[1].path, "scope": on.scope_path}
        ours.sendall(json.dumps({"attach": pages}).encode() + b"\n")
        doors = open_doors("127.0.0.1", 0)
        server = Server(Surface(theirs, OSC_PRODUCER), doors, Settings(), OSC_PRODUCER)
        client.bind(("127.0.0.1", 0))
        took_us: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, packets in kinds.items():
                for packet in packets:
                    client.sendto(packet, doors.address)
                before, began = server.counts.packets, time.thread_time()
                while server.counts.packets - before < len(packets):
                    server._read_datagrams()
                took_us[name].append((time.thread_time() - began) / len(packets) * 1e6)
                time.sleep(0.05)  # the engine empties its ring, and the rate stays within what one client may send
        moved = server.counts.moves
        doors.close()
        ours.close()
        theirs.close()
    assert moved == ROUNDS * sum(map(len, kinds.values()))  # none was refused
    return {
        name: {"median_us": float(np.median(one)), "least_us": min(one), "per_s": 1e6 / float(np.median(one))}
        for name, one in took_us.items()
    }


def test_osc_packet_cost(report: Callable[[Any], None]) -> None:
    """The same moves as float32, which are known by their bytes, and as float64, which python-osc parses."""
    values = [-float(k % 90) for k in range(BURST)]
    found = costs(
        {
            "known by its bytes": [write(ADDRESS, value) for value in values],
            "parsed by python-osc": [_double(value) for value in values],
        }
    )
    report(found)
    assert found["known by its bytes"]["median_us"] < 0.5 * found["parsed by python-osc"]["median_us"]


def _double(value: float) -> bytes:
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(ADDRESS)
    builder.add_arg(value, OscMessageBuilder.ARG_TYPE_DOUBLE)
    return bytes(builder.build().dgram)
