"""The OSC server beside a live engine, spoken to by real clients: liblo's programs, python-osc, raw streams."""

from __future__ import annotations

import re
import select
import shutil
import socket
import subprocess
import time
from typing import Any

import pytest
from autovoice.rt import Engine
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.control.osc.clock import tag_of_realtime
from autovoice.rt.control.osc.packet import HEADER, write
from osc_rig import INVALID, LATE, MALFORMED, REFUSED, UNKNOWN, Client, moves_after, value
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient
from support import PATIENCE_S, wait_until


def need_liblo() -> None:
    missing = [program for program in ("oscsend", "oscdump") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: liblo-tools)")


def oscsend(conductor: Conductor, *arguments: str, transport: str = "udp") -> None:
    assert conductor.osc is not None
    to = f"osc.{transport}://127.0.0.1:{conductor.osc['port']}/"
    subprocess.run(["oscsend", to, *arguments], check=True, timeout=PATIENCE_S)


def test_liblo_moves_a_parameter_and_liblo_is_told_the_value_that_was_taken(engine: Engine, conductor: Conductor) -> None:
    need_liblo()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(["stdbuf", "-oL", "oscdump", str(port)], stdout=subprocess.PIPE, text=True) as dump:
        assert dump.stdout is not None
        try:
            for _ in range(100):  # until it listens
                oscsend(conductor, "/subscribe", "si", "127.0.0.1", str(port))
                if wait_until(lambda: bool(_ready(dump)), 0.1):
                    break
            lines: list[str] = []
            for transport, *message, told in (
                ("udp", "/autovoice/gain/gain", "d", "1000", "/autovoice/gain/gain f 24.000000"),
                ("udp", "/autovoice/gate/mode", "s", "adaptive", "/autovoice/gate/mode i 1"),
                ("tcp", "/autovoice/gain/gain", "i", "-7", "/autovoice/gain/gain f -7.000000"),  # behind its size
            ):
                oscsend(conductor, *message, transport=transport)
                while not lines or told not in lines[-1]:
                    lines.append(dump.stdout.readline())
        finally:
            dump.terminate()
            oscsend(conductor, "/unsubscribe", "si", "127.0.0.1", str(port))
    assert value(engine, "gain/gain") == -7.0


def _ready(dump: subprocess.Popen[str]) -> list[Any]:
    return select.select([dump.stdout], [], [], 0)[0]


def test_everybody_is_told_but_who_moved_it(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor, subscribed=True) as a, Client(conductor, subscribed=True) as b, Client(conductor) as stranger:
        a.send("/autovoice/gain/gain", -3.0)
        assert b.hears("/autovoice/gain/gain", -3.0)
        b.send("/autovoice/norm/gain/gain", 2.0)
        assert a.hears("/autovoice/gain/gain", 24.0)
        engine.set("gain/gain", 1.0)  # whoever else moves it
        assert a.hears("/autovoice/gain/gain", 1.0)
        assert b.hears("/autovoice/gain/gain", 1.0)
        stranger.listen()
        assert a.said("/autovoice/gain/gain") == [(24.0,), (1.0,)]
        assert b.said("/autovoice/gain/gain") == [(-3.0,), (1.0,)]
        assert stranger.heard == []


def test_a_program_that_sends_from_another_port_than_it_listens_at_hears_no_echo(conductor: Conductor) -> None:
    with Client(conductor) as sender, Client(conductor) as listener, Client(conductor, subscribed=True) as other:
        sender.send("/subscribe", "127.0.0.1", listener.port, "norm")
        assert listener.hears("/subscribed")
        sender.send("/autovoice/gain/gain", 6.0)
        assert other.hears("/autovoice/gain/gain", 6.0)
        other.send("/autovoice/gain/gain", -18.0)
        assert listener.hears("/autovoice/norm/gain/gain", 0.5)
        assert listener.said("/autovoice/norm/gain/gain") == [(0.5,)]
        assert listener.said("/autovoice/gain/gain") == []
        sender.send("/nonsense")
        assert listener.hears("/error")
        sender.send("/unsubscribe")


def test_a_flood_of_moves_is_told_as_the_newest_values(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as a, Client(conductor, subscribed=True) as b:
        for k in range(2000):
            a.send("/autovoice/gain/gain", -k / 100)
        assert b.hears("/autovoice/gain/gain", pytest.approx(-19.99))
        assert len(b.said("/autovoice/gain/gain")) < 1000
        assert value(engine, "gain/gain") == pytest.approx(-19.99)


def test_switches_toggle_at_the_root_and_by_pattern(engine: Engine, conductor: Conductor) -> None:
    paths = ("gain/bypass", "gate/bypass")
    with Client(conductor) as client:
        entries = moves_after(engine, 2, lambda: client.send("/autovoice/{gain,gate}/bypass"))
        assert [value(engine, path) for path in paths] == [1.0, 1.0]
        assert entries[0]["frame"] == entries[1]["frame"]
        moves_after(
            engine, 2, lambda: (client.send("/autovoice/ga??/byp*", False), client.send("/autovoice/gate/bypass", False))
        )
        assert [value(engine, path) for path in paths] == [0.0, 0.0]
        for expected in (1.0, 0.0):
            moves_after(engine, 1, lambda: client.send("/mute"))
            assert value(engine, "master/mute") == expected
        moves_after(engine, 3, lambda: [client.send("/bypass") for _ in range(3)])  # each sees what the one before did
        assert value(engine, "master/bypass") == 1.0
        moves_after(engine, 1, lambda: client.send("/bypass", "off"))
        assert value(engine, "master/bypass") == 0.0


def test_panic_mutes_at_once_and_the_conductor_sees_to_the_rest(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as client:
        moves_after(engine, 1, lambda: client.send("/panic"))
        assert value(engine, "master/mute") == 1.0
        assert client.hears("/done", "panic")
        moves_after(engine, 1, lambda: client.send("/mute", 0))


def test_a_bundle_is_one_frame_however_deep_and_its_last_word_counts(engine: Engine, conductor: Conductor) -> None:
    def message(address: str, number: float) -> Any:
        builder = OscMessageBuilder(address)
        builder.add_arg(number)
        return builder.build()

    inner = OscBundleBuilder(IMMEDIATELY)
    outer = OscBundleBuilder(IMMEDIATELY)
    for k in range(20):
        (inner if k % 2 else outer).add_content(message("/autovoice/gate/threshold", -float(k)))
    outer.add_content(inner.build())
    outer.add_content(message("/autovoice/gain/gain", -2.0))
    assert conductor.osc is not None
    client = SimpleUDPClient("127.0.0.1", conductor.osc["port"])
    for _ in range(5):
        entries = moves_after(engine, 21, lambda: client.send(outer.build()))
        assert len(set(entries["frame"])) == 1
        assert list(entries["value"]) == [-float(k) for k in (*range(0, 20, 2), *range(1, 20, 2))] + [-2.0]


def tagged(at_ns: int, address: str, number: float) -> bytes:
    packet = write(address, number)
    return HEADER + tag_of_realtime(at_ns).to_bytes(8, "big") + len(packet).to_bytes(4, "big") + packet


def test_time_tags_are_kept_to_the_frame_and_late_ones_are_told(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor) as client:
        apart_ns = 20_000_000  # 960 frames

        def send() -> None:
            now = time.time_ns() + 150_000_000
            for k in (1, 0):  # the later one first
                client.socket.sendto(tagged(now + k * apart_ns, "/autovoice/gain/gain", -float(k)), client.server)

        for _ in range(20):  # a host that loses whole blocks, loses time
            entries = moves_after(engine, 2, send)
            if abs(int(entries[1]["frame"]) - int(entries[0]["frame"]) - 960) <= 1:
                break
        assert [float(v) for v in entries["value"]] == [0.0, -1.0]
        assert abs(int(entries[1]["frame"]) - int(entries[0]["frame"]) - 960) <= 1
        client.heard.clear()
        due = time.time_ns() - 10**9
        moves_after(engine, 1, lambda: client.socket.sendto(tagged(due, "/autovoice/gain/gain", -5.0), client.server))
        assert value(engine, "gain/gain") == -5.0
        assert client.hears("/error")
        text, code = client.said("/error")[0]
        late_ms = re.match(r"late by (\d+\.\d\d) ms: applied at once", text)
        assert code == LATE
        assert late_ms is not None, text
        assert 1000 <= float(late_ms[1]) <= (time.time_ns() - due) / 1e6 + 5
        client.socket.sendto(tagged(time.time_ns() + 3600 * 10**9, "/mute", 1.0), client.server)
        assert wait_until(lambda: (client.listen() or len(client.said("/error"))) == 2)  # type: ignore[func-returns-value]
        assert "ahead" in client.said("/error")[1][0]


@pytest.mark.parametrize(
    ("packet", "says", "code"),
    [
        (write("/autovoice/gan/gain", 1.0), "did you mean /autovoice/gain/gain?", UNKNOWN),
        (write("/chain/swp", "gain"), "did you mean /chain/swap?", UNKNOWN),
        (write("/autovoice/*/nothing", 1.0), "no parameter matches", UNKNOWN),
        (write("/autovoice/[/gain", 1.0), "without its ]", UNKNOWN),
        (write("/autovoice/gain/gain", "loud"), "gain/gain takes a number in -60..24 dB, got 'loud'", INVALID),
        (write("/autovoice/gain/gain", float("nan")), "gain/gain takes a number", INVALID),
        (write("/preset/load"), "takes the arguments ,s[f], got 0", INVALID),
        (write("/subscribe", "example.com", 9000), "names are not looked up", INVALID),
        (write("/subscribe", "10.1.2.3", 9000), "not on the allow-list", INVALID),
        (write("/chain/remove", "nothing"), "nothing", REFUSED),
        (b"mute\0\0\0\0", "not OSC: neither a message", MALFORMED),
        (b"/mute\0\0\0,i\0\0", "not OSC", MALFORMED),
    ],
)
def test_what_cannot_be_done_is_answered_in_one_line(conductor: Conductor, packet: bytes, says: str, code: int) -> None:
    with Client(conductor) as client:
        client.socket.sendto(packet, client.server)
        assert client.hears("/error")
        text, number = client.said("/error")[0]
        assert says in text
        assert "\n" not in text
        assert number == code


def test_a_sender_of_nonsense_is_not_answered_every_time(conductor: Conductor) -> None:
    with Client(conductor) as client:
        for _ in range(200):
            client.send("/nonsense")
        client.send("/heartbeat")
        assert client.hears("/heartbeat")
        assert 20 <= len(client.said("/error")) <= 30


def test_two_servers_that_tell_each_other_find_an_end(conductor: Conductor) -> None:
    with Client(conductor) as client:
        for said in (("/heartbeat", "another", 1), ("/error", "no", 2), ("/done", "tap"), ("/subscribed", "", 0, 0.0, "real")):
            client.send(*said)
        client.send("/heartbeat")
        assert client.hears("/heartbeat", conductor.session, conductor.engine.processor.generation)
        assert len(client.heard) == 1


def test_values_can_be_asked_for(engine: Engine, conductor: Conductor) -> None:
    engine.set("gain/gain", 3.0)
    assert wait_until(lambda: value(engine, "gain/gain") == 3.0)
    with Client(conductor) as client:
        client.send("/autovoice/gain/gain")
        assert client.hears("/autovoice/gain/gain", 3.0)
        client.send("/query", "/autovoice/norm/gain/gain")
        assert client.hears("/autovoice/norm/gain/gain")
        client.send("/query", "gate")
        assert client.hears("/autovoice/gate/threshold")
        client.send("/query", "latency")
        assert client.hears("/autovoice/latency", engine.processor.latency)
        client.send("/query", "pitch")
        assert client.hears("/autovoice/pitch", 0.0, 0.0, "")
        client.heard.clear()
        client.send("/refresh")
        assert client.hears("/autovoice/master/mute")
        wanted = {f"/autovoice/{path}" for path in engine.processor.values}
        assert wanted <= {address for address, _ in client.heard}


def test_meters_come_at_the_rate_that_was_asked_for_and_heartbeats_to_all(conductor: Conductor) -> None:
    with Client(conductor, subscribed=True, hz=50.0) as fast, Client(conductor, subscribed=True) as quiet:
        assert quiet.hears("/heartbeat", conductor.session, conductor.engine.processor.generation)
        for address in ("meter/in", "meter/out", "meter/level", "pitch", "vad", "load", "xruns", "misses"):
            assert fast.hears(f"/autovoice/{address}")
        assert quiet.said("/autovoice/load") == []


def test_a_swap_tells_subscribers_what_plays_now(engine: Engine, conductor: Conductor) -> None:
    with Client(conductor, subscribed=True) as subscriber, Client(conductor) as client:
        client.send("/chain/swap", "gain,gate,highpass,limiter")
        assert client.hears("/done", "chain/swap", "gain,gate,highpass,limiter")
        assert subscriber.hears("/autovoice/chain", "gain,gate,highpass,limiter")
        assert subscriber.hears("/autovoice/highpass/cutoff")
        moves_after(engine, 1, lambda: client.send("/autovoice/highpass/cutoff", 120))
        assert subscriber.hears("/autovoice/highpass/cutoff", 120.0)
        subscriber.heard.clear()
        client.send("/chain/remove", "highpass")
        assert subscriber.hears("/autovoice/chain", "gain,gate,limiter")
        client.send("/autovoice/highpass/cutoff", 120)
        assert client.hears("/error")
