"""Plain moves: known by their bytes, and the same in all they do as what python-osc reads."""

from __future__ import annotations

import math
import struct
import time

import pytest
from autovoice.rt import Engine
from autovoice.rt.control.board import Row
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.control.osc.arguments import taken, value_of
from autovoice.rt.control.osc.packet import Malformed, read, write
from autovoice.rt.control.osc.plain import NUMBER_BYTES, plain_moves
from autovoice.rt.control.osc.server import DRAIN
from autovoice.rt.control.osc.table import Table
from osc_rig import Client, moves_after, value
from support import wait_until

ROWS = {
    row.path: row
    for row in (
        Row("a/gain", 1, 0, "gain", "dB", -60.0, 24.0, 0.0, "linear", (), ""),
        Row("a/frequency", 1, 1, "frequency", "Hz", 20.0, 20_000.0, 440.0, "log", (), ""),
        Row("a/mode", 1, 2, "mode", "", 0.0, 2.0, 0.0, "choice", ("x", "y", "z"), ""),
        Row("a/bypass", 1, -1, "bypass", "", 0.0, 1.0, 0.0, "switch", (), ""),
    )
}
NUMBERS = [0.0, -0.0, 0.25, 0.5, 1.0, 1.5, -3.0, 1e30, math.inf, -math.inf]


def test_a_plain_move_means_what_python_osc_and_the_table_make_of_it() -> None:
    table = Table(ROWS, ())
    known = plain_moves(table.targets)
    for address in table.targets:
        for number in (*NUMBERS, 0, 1, -7, 1 << 30):
            packet = write(address, number)
            row, normal, unpack = known[packet[:-NUMBER_BYTES]]
            (message,) = read(packet)[0].messages
            (target,) = table.find(message.address)
            assert (row, normal) == target
            (found,) = unpack(packet[-NUMBER_BYTES:])
            expected = value_of(row, message.arguments, 0.0, normal=normal)
            assert struct.pack("d", taken(row, found, normal=normal)) == struct.pack("d", expected)


def test_nothing_but_such_a_message_is_taken_for_one() -> None:
    known = plain_moves(Table(ROWS, ()).targets)
    moves = write("/autovoice/a/gain", 1.0)
    others = (
        write("/autovoice/a/gain", 1 << 40),
        write("/autovoice/a/gain", True),
        write("/autovoice/a/gain", "-1.5"),
        write("/autovoice/a/gain", 1.0, 2.0),
        write("/autovoice/a/gain"),
        write("/autovoice/a/gai?", 1.0),
        write("/autovoice/b/gain", 1.0),
        moves[:-1],
        moves + bytes(4),
        b"",
        b"/",
    )
    assert moves[:-NUMBER_BYTES] in known
    assert not any(packet[:-NUMBER_BYTES] in known for packet in others)
    for at in range(len(moves) - NUMBER_BYTES):  # and a byte that differs is python-osc's to judge
        packet = moves[:at] + bytes([moves[at] ^ 1]) + moves[at + 1 :]
        if packet[:-NUMBER_BYTES] in known:
            with pytest.raises(Malformed):
                read(packet)


def test_moves_of_every_shape_are_applied_in_the_order_they_were_sent(engine: Engine, conductor: Conductor) -> None:
    shapes = (
        lambda number: write("/autovoice/gain/gain", number),
        lambda number: write("/autovoice/gain/gain", str(number)),
        lambda number: write("/autovoice/{gain,nothing}/gain", number),
        lambda number: write("/autovoice/gain/gain", round(number)),
    )
    numbers = [-float(k % 60) for k in range(3 * DRAIN)]
    with Client(conductor) as client:

        def send() -> None:
            for k, number in enumerate(numbers):
                client.socket.sendto(shapes[k // 5 % 4](number), client.server)

        entries = moves_after(engine, len(numbers), send)
    assert entries["value"].tolist() == numbers


def test_several_clients_are_told_apart_packet_by_packet(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor, subscribed=True) as a, Client(conductor, subscribed=True) as b:
        for number in range(20):
            a.send("/autovoice/gain/gain", -float(number))
            b.send("/autovoice/gate/threshold", -float(number))
        assert b.hears("/autovoice/gain/gain", -19.0)
        assert a.hears("/autovoice/gate/threshold", -19.0)
        assert a.said("/autovoice/gain/gain") == b.said("/autovoice/gate/threshold") == []


def test_a_number_that_is_none_is_answered_and_the_next_is_taken(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as client:
        moves_after(
            engine, 1, lambda: (client.send("/autovoice/gain/gain", math.nan), client.send("/autovoice/gain/gain", -4.5))
        )
        assert client.hears("/error")
        assert value(engine, "gain/gain") == -4.5


def test_a_toggle_sees_the_plain_move_just_before_it(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as client:
        for on in (1.0, 0.0):
            moves_after(
                engine, 2, lambda on=on: (client.send("/autovoice/gate/bypass", on), client.send("/autovoice/gate/bypass"))
            )
            assert value(engine, "gate/bypass") == 1.0 - on
        moves_after(engine, 1, lambda: client.send("/autovoice/gate/bypass", 0))


def test_what_was_swapped_in_is_moved_and_what_was_swapped_out_is_unknown(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as client:
        moves_after(engine, 1, lambda: client.send("/autovoice/gate/threshold", -33.0))
        client.send("/chain/swap", "gain,compressor")
        assert client.hears("/done")
        moves_after(engine, 1, lambda: client.send("/autovoice/compressor/threshold", -11.0))
        assert value(engine, "compressor/threshold") == -11.0
        client.send("/autovoice/gate/threshold", -33.0)
        assert client.hears("/error")
        client.heard.clear()
        client.send("/chain/swap", "gain,gate,limiter")
        assert client.hears("/done")


def test_a_client_that_sends_more_than_its_share_is_told_and_the_others_are_served(
    engine: Engine, conductor: Conductor
) -> None:
    packet = write("/autovoice/gate/threshold", -12.0)
    with Client(conductor) as greedy, Client(conductor) as other:
        end = time.monotonic() + 1.0
        while time.monotonic() < end and not greedy.said("/error"):
            for _ in range(4000):
                greedy.socket.sendto(packet, greedy.server)
            greedy.listen()
        assert greedy.hears("/error")
        assert "messages a second" in str(greedy.said("/error")[0][0])
        moves_after(engine, 1, lambda: other.send("/autovoice/gain/gain", -2.5))
        assert wait_until(lambda: value(engine, "gain/gain") == -2.5)
