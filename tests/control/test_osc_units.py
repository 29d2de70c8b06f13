"""OSC without a network: packets, streams, patterns, arguments, and the clock behind the time tags."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from autovoice.rt.control.board import Row
from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.osc.arguments import BadArgument, command_arguments, value_of
from autovoice.rt.control.osc.clients import MAX_CLIENTS, MAX_SUBSCRIBERS, REFUSALS, Bucket, Clients, Subscribers
from autovoice.rt.control.osc.clock import FrameClock, monotonic_of_tag, realtime_offset_ns, tag_of_realtime
from autovoice.rt.control.osc.framing import Sized, Slip, framing_of
from autovoice.rt.control.osc.manual import refreshed
from autovoice.rt.control.osc.network import AllowList, NetworkError, open_doors
from autovoice.rt.control.osc.outputs import note_name
from autovoice.rt.control.osc.packet import HEADER, IMMEDIATE, MAX_BYTES, Malformed, bundles, read, write
from autovoice.rt.control.osc.pattern import BadPattern, compile_pattern, expand, matches
from autovoice.rt.control.osc.schedule import Outbox
from osc_rig import NarrowRing
from pythonosc.osc_message import OscMessage
from support import Audio


def bundle(tag: int, *elements: bytes) -> bytes:
    return HEADER + struct.pack(">Q", tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def row(scale: str = "linear", minimum: float = -60.0, maximum: float = 24.0, choices: tuple[str, ...] = ()) -> Row:
    return Row("gain/gain", 1, 0, "gain", "dB", minimum, maximum, 0.0, scale, choices, "")


# Packets


def test_what_is_written_is_what_python_osc_and_we_read() -> None:
    packet = write("/a/b", 1.5, -2, 1 << 40, "grün", True, False)
    message = OscMessage(packet)
    assert message.address == "/a/b"
    assert list(message) == [1.5, -2, 1 << 40, "grün", True, False]
    assert read(packet)[0].messages == [("/a/b", (1.5, -2, 1 << 40, "grün", True, False))]


def test_nested_bundles_fall_into_groups_by_time_and_never_before_what_they_are_in() -> None:
    a, b, c, d = (write(f"/{name}") for name in "abcd")
    packet = bundle(500, a, bundle(900, b), bundle(IMMEDIATE, c, bundle(700, d)))
    groups = {group.tag: [m.address for m in group.messages] for group in read(packet)}
    assert groups == {500: ["/a", "/c"], 700: ["/d"], 900: ["/b"]}
    assert [group.tag for group in read(packet)] == [500, 700, 900]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"mute",
        b"#bundle\0",
        b"#bundle\0" + bytes(7),
        bundle(IMMEDIATE) + struct.pack(">i", -4),  # where python-osc's own walk never ends
        bundle(IMMEDIATE) + struct.pack(">i", 64) + b"/a\0\0",
        bundle(IMMEDIATE) + b"\0\0",
        b"/a\0\0,f\0",
        b"/a",
        b"/a\0\0if\0\0" + bytes(8),
        b"/\xff\xfe\0",
        b"/a\0\0,[f\0" + bytes(4),
        b"/a\0\0,c\0\0" + bytes(4),
        b"/a\0\0," + b"T" * 99 + bytes(4),
        bundle(IMMEDIATE, *[write("/a")] * 600),
    ],
)
def test_what_is_no_osc_is_said_to_be_malformed_and_nothing_else(packet: bytes) -> None:
    with pytest.raises(Malformed):
        read(packet)


def test_bundles_nested_too_deep_are_refused_without_recursion() -> None:
    packet = write("/a")
    for _ in range(2000):
        packet = bundle(IMMEDIATE, packet)
    with pytest.raises(Malformed, match="nested"):
        read(packet[:MAX_BYTES])


def test_messages_to_subscribers_are_packed_into_bundles_that_fit_a_frame() -> None:
    messages = [write(f"/autovoice/stage/parameter_{k}", float(k)) for k in range(100)]
    packets = list(bundles(messages, 1400))
    assert max(map(len, packets)) <= 1400
    assert len(packets) < 6
    found = [m.address for packet in packets for group in read(packet) for m in group.messages]
    assert found == [f"/autovoice/stage/parameter_{k}" for k in range(100)]
    assert list(bundles(messages[:1], 1400)) == messages[:1]


# Streams


@pytest.mark.parametrize("framing", [Slip, Sized])
def test_a_stream_gives_back_its_packets_however_it_is_cut(framing: type[Slip] | type[Sized]) -> None:
    chance = random.Random(1)
    packets = [bytes(chance.choices(b"\xc0\xdb\xdc\xdd/a\0", k=chance.randrange(1, 60))) for _ in range(200)]
    stream = b"".join(framing().encode(packet) for packet in packets)
    reader, found, at = framing(), [], 0
    while at < len(stream):
        size = chance.randrange(1, 90)
        found += reader.decode(stream[at : at + size])
        at += size
    assert found == packets


def test_slip_goes_on_after_a_broken_packet_and_after_one_without_end() -> None:
    reader = Slip()
    broken, whole = reader.decode(b"\xc0/a\xdbx\xc0" + Slip().encode(b"/b"))
    assert isinstance(broken, Malformed)
    assert whole == b"/b"
    (endless,) = (found for _ in range(5) for found in reader.decode(b"x" * MAX_BYTES))
    assert isinstance(endless, Malformed)
    assert reader.decode(b"xx\xc0" + Slip().encode(b"/c")) == [b"/c"]


def test_a_web_page_that_posts_to_the_port_is_no_osc() -> None:
    with pytest.raises(Malformed, match="begins with"):
        framing_of(b"POST / HTTP/1.1"[0])
    assert isinstance(framing_of(0xC0), Slip)
    assert isinstance(framing_of(ord("/")), Slip)
    assert isinstance(framing_of(0), Sized)
    with pytest.raises(Malformed, match="the most"):
        Sized().decode(b"\x7f\xff\xff\xff")


# Patterns


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        ("/autovoice/*/bypass", "/autovoice/gate/bypass", True),
        ("/autovoice/*/bypass", "/autovoice/norm/gate/bypass", False),
        ("/autovoice//bypass", "/autovoice/norm/gate/bypass", True),
        ("//gate//mode", "/autovoice/norm/gate/mode", True),
        ("/autovoice/{gain,gate}/*", "/autovoice/gate/mode", True),
        ("/autovoice/{gain,gate}/*", "/autovoice/limiter/mode", False),
        ("/autovoice/{ga,}te/mode", "/autovoice/te/mode", True),
        ("/autovoice/gat?/mode", "/autovoice/gate/mode", True),
        ("/autovoice/gat?/mode", "/autovoice/gat/mode", False),
        ("/autovoice/g*e/m*o*e", "/autovoice/gate/mode", True),
        ("/autovoice/eq/band[1-3]_gain", "/autovoice/eq/band2_gain", True),
        ("/autovoice/eq/band[!1-3]_gain", "/autovoice/eq/band2_gain", False),
        ("/autovoice/eq/band[!1-3]_gain", "/autovoice/eq/band5_gain", True),
        ("/autovoice/eq/band[13-]_gain", "/autovoice/eq/band-_gain", True),
        ("/a/a/*", "/a/b", False),
        ("/*", "/autovoice/gate", False),
    ],
)
def test_patterns_match_as_osc_says(pattern: str, address: str, expected: bool) -> None:
    assert matches(compile_pattern(pattern), address) is expected


@pytest.mark.parametrize("pattern", ["/a[b", "/a{b", "/a]b", "/{a,b}}", "/" + "a" * 200 + "*"])
def test_a_broken_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


def test_no_pattern_takes_years_as_it_would_with_backtracking() -> None:
    addresses = [f"/autovoice/{'a' * 30}/{'a' * 30}_{k}" for k in range(200)]
    for pattern in ("/autovoice/" + "*a" * 20 + "/" + "*a?" * 20 + "b", "//" * 60 + "b"):
        assert expand(compile_pattern(pattern), addresses) == []


# Arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (-6.0, -6.0),
        (3, 3.0),
        (1 << 40, 24.0),
        (-1e30, -60.0),
        (True, 1.0),
        (False, 0.0),
        ("-7.5", -7.5),
        (" 12 ", 12.0),
        ("inf", 24.0),
    ],
)
def test_any_type_that_can_be_read_as_a_number_is(given: object, expected: float) -> None:
    assert value_of(row(), [given], 0.0) == expected


@pytest.mark.parametrize("given", [float("nan"), "loud", "nan", b"\1", (1.0,), [1.0]])
def test_what_is_no_number_is_refused_with_the_range(given: object) -> None:
    with pytest.raises(BadArgument, match=r"a number in -60\.\.24 dB"):
        value_of(row(), [given], 0.0)


def test_a_choice_goes_by_name_or_number_and_steps_on_without_a_value() -> None:
    choice = row("choice", 0.0, 2.0, ("soft", "hard", "Sine"))
    assert [value_of(choice, [given], 0.0) for given in ("hard", "SINE", 1, "2", 7, 0.6)] == [1, 2, 1, 2, 2, 1]
    assert [value_of(choice, [], now) for now in (0.0, 1.0, 2.0)] == [1, 2, 0]
    with pytest.raises(BadArgument, match=r"soft \| hard \| Sine"):
        value_of(choice, ["harder"], 0.0)


def test_a_switch_takes_words_and_toggles_without_a_value() -> None:
    switch = row("switch", 0.0, 1.0)
    assert [value_of(switch, [given], 0.0) for given in ("on", "OFF", True, 0.4, 5)] == [1, 0, 1, 0, 1]
    assert value_of(switch, [], 1.0) == value_of(switch, [None], 1.0) == 0.0


def test_a_fader_without_a_value_is_asked_for_its_own_and_takes_but_one() -> None:
    assert value_of(row(), [], 3.0) is None
    with pytest.raises(BadArgument, match="one value"):
        value_of(row(), [1.0, 2.0], 0.0)


def test_normal_values_run_along_the_scale() -> None:
    log = row("log", 20.0, 20_000.0)
    assert value_of(log, [0.5], 0.0, normal=True) == pytest.approx(632.456, rel=1e-5)
    assert [value_of(row(), [given], 0.0, normal=True) for given in (0.0, 1, 7.0, -3.0, "0.5")] == [-60, 24, 24, -60, -18]


def test_a_command_gets_the_types_its_table_asks_for() -> None:
    load, record, move = (COMMANDS[name] for name in ("preset/load", "record", "chain/move"))
    assert command_arguments(load.name, load.kinds, ["robot", 2]) == ["robot", 2.0]
    assert command_arguments(load.name, load.kinds, [7]) == ["7"]
    assert command_arguments(record.name, record.kinds, []) == []
    assert command_arguments(record.name, record.kinds, ["off"]) == [False]
    assert command_arguments(move.name, move.kinds, ["gate", 2.0]) == ["gate", 2]
    for wrong in ([], ["gate"], ["gate", "first"], ["gate", 1, 2], ["gate", float("inf")]):
        with pytest.raises(BadArgument):
            command_arguments(move.name, move.kinds, wrong)


def test_a_pitch_is_told_by_its_note() -> None:
    assert [note_name(hz) for hz in (440.0, 220.0, 262.0, 0.0, 452.0)] == ["A4 +0", "A3 +0", "C4 +2", "", "A4 +47"]


# The clock


def follow(clock: FrameClock, *, ppm: float, seed: int, lost: dict[float, int] | None = None, seconds: float = 16.0) -> Audio:
    """Let a clock follow a driver whose callbacks are late, 1 % of them by a block or two; returns (time s, error in frames).

    48 kHz, 64 frames, seen every 10 ms or so. `lost` blocks vanish at times. Frames are foretold 20 ms ahead.
    """
    chance = np.random.default_rng(seed)
    period = 64e9 / 48_000 * (1 + ppm * 1e-6)
    kept = np.ones(int(seconds * 1e9 / period), bool)
    for at_s, count in (lost or {}).items():
        kept[int(at_s * 1e9 / period) :][:count] = False
    due = np.flatnonzero(kept) * period + 7e12
    late = chance.exponential(50e3, len(due)) + (chance.random(len(due)) < 0.01) * chance.uniform(0, 3e6, len(due))
    called = np.maximum.accumulate(due + late)
    now, errors = due[0], []
    while now < due[-1] - 40e6:
        now += chance.uniform(2e6, 18e6)
        newest = int(np.searchsorted(called, now)) - 1
        if newest >= 0:
            clock.see(64 * newest, int(called[newest]))
            ahead = int(np.searchsorted(due, now + 20e6)) - 1
            true = 64 * ahead + 64 * (now + 20e6 - due[ahead]) / period
            errors.append(((now - 7e12) * 1e-9, clock.frame_at(now + 20e6) - true))
    return np.array(errors)


@pytest.mark.parametrize("ppm", [-100.0, 0.0, 60.0])
def test_a_time_tag_is_within_a_frame_whatever_the_driver_does(ppm: float) -> None:
    clock = FrameClock(48_000.0, 64)
    for time_s, error in follow(clock, ppm=ppm, seed=3):
        assert time_s < 4.0 or abs(error) <= 1.0, f"{error:.2f} frames at {time_s:.2f} s"
    assert clock.drift == pytest.approx(ppm * 1e-6, abs=3e-6)


def test_lost_blocks_are_noticed_within_a_quarter_of_a_second() -> None:
    clock = FrameClock(48_000.0, 64)
    for time_s, error in follow(clock, ppm=30.0, seed=4, lost={8.0: 1, 11.0: 40}):
        recovering = any(at - 0.03 < time_s < at + 0.25 for at in (8.0, 11.0))
        assert time_s < 4.0 or recovering or abs(error) <= 2.0, f"{error:.2f} frames at {time_s:.2f} s"


def test_an_engine_that_starts_anew_starts_the_clock_anew() -> None:
    clock = FrameClock(48_000.0, 64)
    clock.see(64_000, 1_000_000_000)
    clock.see(64, 5_000_000_000)
    assert clock.frame_at(5_000_000_000 + 1_000_000) == 64 + 48


def test_a_time_tag_names_a_time_to_the_nanosecond() -> None:
    now = time.time_ns()
    offset = realtime_offset_ns()
    assert abs(monotonic_of_tag(tag_of_realtime(now), offset) - (now - offset)) <= 1
    assert abs(time.time_ns() - time.monotonic_ns() - offset) < 50_000_000


# Who may, and who is told


def test_only_loopback_and_the_allow_list_are_heard() -> None:
    allowed = AllowList(["192.168.1.0/24", "2001:db8::7"])
    heard = ("127.0.0.1", "::1", "192.168.1.77", "::ffff:192.168.1.3", "2001:db8::7")
    assert all(host in allowed for host in heard)
    assert not any(host in allowed for host in ("192.168.2.1", "10.0.0.1", "2001:db8::8", "::ffff:10.0.0.1", "nonsense"))
    with pytest.raises(NetworkError, match=r"192\.168\.1\.0/24"):
        AllowList(["my network"])


def test_beyond_loopback_it_must_be_said_who_may_send() -> None:
    with pytest.raises(NetworkError, match="who may send"):
        open_doors("0.0.0.0", 0)
    open_doors("0.0.0.0", 0, ["10.0.0.0/8"]).close()
    with pytest.raises(NetworkError, match=r"cannot listen on 203\.0\.113\.9"):
        open_doors("203.0.113.9", 0, ["10.0.0.0/8"])
    doors = open_doors("127.0.0.1", 0)
    with pytest.raises(NetworkError, match="taken by another program"):
        open_doors("127.0.0.1", doors.address[1])
    doors.close()


def test_clients_and_subscribers_are_bounded_and_a_subscriber_keeps_its_number() -> None:
    clients = Clients()
    subscribers = Subscribers(clients)
    first = clients.get(("10.0.0.1", 1000))
    subscribers.add(first.address, first)
    for port in range(2 * MAX_CLIENTS):
        clients.get(("10.0.0.2", port))
    assert len(clients) == MAX_CLIENTS
    assert clients.get(first.address).number == first.number
    kept = subscribers.add(("10.0.0.9", 9), None, kept=True)
    for port in range(1, 2 * MAX_SUBSCRIBERS):
        subscribers.add(("10.0.0.3", port), clients.get(("10.0.0.3", port)))
    assert len(subscribers) == MAX_SUBSCRIBERS
    assert kept in list(subscribers)


def test_a_subscriber_that_nobody_hears_any_more_is_dropped_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    subscribers = Subscribers(clients := Clients())
    gone = ("127.0.0.1", 4000)
    subscribers.add(gone, clients.get(gone))
    for _ in range(10 * REFUSALS):  # a burst is no proof
        assert subscribers.refused(gone) is None
    now[0] += 6.0
    assert subscribers.refused(gone) is not None
    assert subscribers.of(gone) is None


def test_a_rate_lets_a_burst_through_and_then_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(10.0, 5.0)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]
    now[0] += 0.25
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] += 0.25
    assert [bucket.take_some(2), bucket.take_some(2), bucket.take_some(2)] == [2, 1, 0]
    bucket.owe(3)
    now[0] += 0.2
    assert bucket.take_some(2) == 0


def test_a_full_ring_keeps_the_order_and_gives_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, ring = [0.0], NarrowRing()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    outbox, client = Outbox(ring), Clients().get(("127.0.0.1", 1))
    ring.room = 2
    outbox.put([(row(), 0.0)], client)
    outbox.put_each([(row(), 1.0), (row(), 2.0), (row(), 3.0)], client)
    outbox.put([(row(), 4.0)], client)
    ring.room = 1
    outbox.put_each([(row(), 5.0)], client)  # there is room, and others wait for it
    assert ring.sent == [0.0, 1.0]
    ring.room = 3
    assert outbox.retry() == []
    assert ring.sent == [0.0, 1.0, 2.0, 3.0, 4.0]
    now[0] += 1.0
    (given_up,) = outbox.retry()
    assert given_up.changes[0][1] == 5.0
    assert not len(outbox)


def test_the_manual_is_that_of_what_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "osc.md").read_text(encoding="utf-8")
    assert page == refreshed(page), "python -m autovoice.rt.control.osc.manual docs/osc.md"
    assert all(f"`/{name}`" in page for name in COMMANDS)
