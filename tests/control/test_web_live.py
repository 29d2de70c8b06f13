"""The page's WebSocket: what it is told, what it may do, and that a bad or slow client harms nobody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from autovoice.rt.control.web.asking import MAX_WAITING
from autovoice.rt.control.web.live import IN_FLIGHT_S
from autovoice.rt.journal import Journal
from autovoice.rt.layout import MASTER_UID, MUTE, WEB_PRODUCER
from support import PATIENCE_S, wait_until
from web_rig import TONE_DBFS, TONE_HZ, Page, Rig, page, served, talk, tone_engine


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with tone_engine() as engine, served(engine) as rig:
        yield rig


@pytest.fixture(autouse=True)
def settled(rig: Rig) -> None:
    """Begin each test from the defaults."""
    rig.engine.set("gate/threshold", -45.0)
    rig.engine.set("master/mute", 0.0)
    assert wait_until(lambda: rig.value("gate/threshold") == -45.0 and rig.value("master/mute") == 0.0)


def test_a_page_is_told_what_plays_and_every_value(rig: Rig) -> None:
    async def look(one: Page) -> dict[str, Any]:
        return one.hello

    hello = talk(rig, look)
    assert hello["write"] is True
    assert hello["session"] == rig.conductor.session
    assert [stage["key"] for stage in hello["board"]["chain"]] == ["highpass", "gate", "limiter"]
    assert hello["board"]["sample_rate"] == 48_000
    rows = {f"{stage['key']}/{p['name']}" for stage in hello["board"]["chain"] for p in stage["parameters"]}
    rows |= {f"master/{p['name']}" for p in hello["board"]["master"]} | {"gate/bypass", "highpass/bypass", "limiter/bypass"}
    assert set(hello["values"]) == rows
    assert hello["values"]["gate/threshold"] == -45.0


def test_a_move_reaches_the_engine_and_the_others_but_not_its_sender(rig: Rig) -> None:
    async def move(one: Page, other: Page) -> bool:
        await one.say(type="rate", hz=0)
        for value in (-33.5, -34.5, -35.5):  # a board that comes just before (what can be undone) has a move confirmed
            await one.heard(IN_FLIGHT_S)
            await one.say(type="set", values={"gate/threshold": value})
            await other.until("gate/threshold", value)
            assert rig.value("gate/threshold") == value
            heard = await one.heard(0.2)
            if not [m for m in heard if m["type"] == "values" and "gate/threshold" in m["values"]]:
                return True
        return False

    assert talk(rig, move, pages=2)


def test_what_a_page_moves_while_a_board_is_on_its_way_is_confirmed(rig: Rig) -> None:
    async def move(one: Page) -> float:
        await one.say(type="command", id=1, name="chain/add", args=["gain"])
        await one.chain_of(4)
        await one.say(type="set", values={"gate/threshold": -27.0})
        try:
            await one.until("gate/threshold", -27.0)
        finally:
            await one.ask("chain/remove", "gain")
        return rig.value("gate/threshold")

    assert talk(rig, move) == -27.0


def test_a_value_out_of_range_is_clamped_and_its_sender_told(rig: Rig) -> None:
    async def move(one: Page) -> None:
        await one.say(type="set", values={"gate/threshold": 99})
        await one.until("gate/threshold", 0.0)

    talk(rig, move)
    assert wait_until(lambda: rig.value("gate/threshold") == 0.0)


def test_moves_from_elsewhere_reach_the_page(rig: Rig) -> None:
    async def listen(one: Page) -> None:
        rig.engine.set("gate/threshold", -60.0)
        await one.until("gate/threshold", -60.0)

    talk(rig, listen)


def test_the_values_of_one_message_are_applied_at_one_frame(rig: Rig) -> None:
    assert rig.engine.processor.page is not None
    journal = Journal(rig.engine.processor.page)

    async def move(one: Page) -> None:
        await one.say(type="set", values={"gate/threshold": -20.0, "highpass/cutoff": 150.0, "gate/mode": "adaptive"})
        await one.say(type="set", values={"gate/mode": 0})

    talk(rig, move)
    assert wait_until(lambda: rig.value("gate/mode") == 0.0 and rig.value("highpass/cutoff") == 150.0)
    entries = journal.read()
    ours = entries[entries["producer"] == WEB_PRODUCER]
    assert len(ours) == 4
    assert len(set(ours["frame"][:3].tolist())) == 1


def test_a_command_is_answered_and_the_new_board_follows(rig: Rig) -> None:
    async def swap(one: Page, other: Page) -> None:
        assert (await one.ask("chain/add", "gain"))["ok"] is True
        for each in (one, other):
            assert (await each.chain_of(4))[-1] == "gain"
        await one.say(type="set", values={"gain/gain": -6.0})
        await other.until("gain/gain", -6.0)
        assert (await one.ask("chain/remove", "gain"))["ok"] is True
        await one.chain_of(3)

    talk(rig, swap, pages=2)


def test_a_command_that_cannot_be_done_says_why_in_one_line(rig: Rig) -> None:
    async def ask(one: Page) -> list[dict[str, Any]]:
        return [await one.ask("chain/add", "gain_"), await one.ask("nonsense"), await one.ask("undoo"), await one.ask("morph")]

    for reply in talk(rig, ask):
        assert reply["ok"] is False
        assert reply["error"]
        assert "\n" not in reply["error"]
        assert "Traceback" not in reply["error"]


def test_mute_and_panic_do_not_wait_for_the_conductor(rig: Rig) -> None:
    page_of_values = rig.engine.processor.page
    assert page_of_values is not None

    def muted() -> bool:
        return page_of_values.value(MASTER_UID, MUTE) == 1.0

    async def act(one: Page) -> None:
        with rig.conductor.lock:
            assert (await one.ask("mute"))["ok"] is True
            assert await asyncio.to_thread(wait_until, muted)
            await one.until("master/mute", 1.0)
            assert (await one.ask("mute", 0))["ok"] is True
            assert await asyncio.to_thread(wait_until, lambda: not muted())
            await one.say(type="command", id=1, name="panic", args=[])
            assert await asyncio.to_thread(wait_until, muted)

    talk(rig, act)


def test_commands_that_pile_up_are_refused_and_those_before_are_answered(rig: Rig) -> None:
    async def pile(one: Page) -> set[Any]:
        with rig.conductor.lock:
            for number in range(MAX_WAITING + 10):
                await one.say(type="command", id=number, name="undo", args=[])
            refused = [await one.next("reply") for _ in range(10)]
            assert {reply["id"] for reply in refused} == set(range(MAX_WAITING, MAX_WAITING + 10))
            assert all("wait" in reply["error"] for reply in refused)
            await one.say(type="command", id="large", name="chain/swap", args=["x" * 60_000])
            await one.next("reply", lambda m: m["id"] == "large" and not m["ok"])
        return {(await one.next("reply"))["id"] for _ in range(MAX_WAITING)}

    assert talk(rig, pile) == set(range(MAX_WAITING))


def test_meters_and_spectrum_show_the_tone(rig: Rig) -> None:
    async def listen(one: Page) -> list[Any]:
        await one.say(type="rate", hz=30, spectrum=True)
        await one.next("meters")
        found: list[Any] = []
        while sum(isinstance(m, bytes) for m in found) < 8 or sum(not isinstance(m, bytes) for m in found) < 4:
            found += await one.heard(0.1)
        return [*found, await one.next("histogram")]

    heard = talk(rig, listen)
    meters = [m for m in heard if isinstance(m, dict) and m["type"] == "meters"]
    assert meters[-1]["in_dbfs"] == pytest.approx(TONE_DBFS, abs=0.5)
    assert meters[-1]["level_dbfs"] == pytest.approx(TONE_DBFS - 3.01, abs=0.5)
    assert meters[-1]["frames"] > meters[0]["frames"]
    columns = [m for m in heard if isinstance(m, bytes)]
    assert {column[0] for column in columns} == {0, 1}
    level = np.frombuffer(columns[-2], np.uint8)[1:]
    assert len(level) == 192
    loudest_hz = 50.0 * (12_000 / 50) ** (int(level.argmax()) / 191)
    assert loudest_hz == pytest.approx(TONE_HZ, rel=0.03)
    assert level.max() / 255 * 100 - 100 == pytest.approx(TONE_DBFS, abs=1.0)
    histogram = heard[-1]
    assert len(histogram["us"]) == len(histogram["counts"]) + 1
    assert histogram["us"] == sorted(histogram["us"])


def test_a_page_that_asks_for_no_meters_gets_none(rig: Rig) -> None:
    async def listen(one: Page) -> list[Any]:
        await one.say(type="rate", hz=0, spectrum=False)
        await one.ask("nonsense")  # is answered after it was taken
        await one.heard(0.1)
        return await one.heard(0.3)

    assert not [m for m in talk(rig, listen) if isinstance(m, bytes) or m["type"] == "meters"]


BAD = (
    "",
    "{",
    "[]",
    "7",
    "null",
    '{"type": 3}',
    '{"type": "set"}',
    '{"type": "set", "values": {}}',
    '{"type": "set", "values": {"no/such": 1}}',
    '{"type": "set", "values": {"gate/threshold": null}}',
    '{"type": "set", "values": {"gate/threshold": [1]}}',
    '{"type": "set", "values": {"gate/threshold": NaN}}',
    '{"type": "set", "values": {"gate/mode": "loud"}}',
    '{"type": "rate", "hz": "often"}',
    '{"type": "rate", "hz": NaN}',
    json.dumps({"type": "set", "values": {f"x{k}/y": 0 for k in range(300)}}),
    "[" * 60_000,
)


def test_bad_messages_are_answered_in_one_line_and_change_nothing(rig: Rig) -> None:
    async def babble(one: Page) -> list[str]:
        await one.say(type="rate", hz=0)
        complaints = []
        for text in BAD:
            await one.socket.send_str(text)
            complaints.append(await one.complaint())
        await one.socket.send_bytes(b"\0" * 100)
        complaints.append(await one.complaint())
        return complaints

    for complaint in talk(rig, babble):
        assert complaint
        assert len(complaint) < 400
        assert "\n" not in complaint
        assert "Traceback" not in complaint
    assert rig.value("gate/threshold") == -45.0


def test_a_message_too_large_closes_its_own_connection_only(rig: Rig) -> None:
    async def shout(one: Page, other: Page) -> int | None:
        await one.socket.send_str("x" * 70_000)
        while not one.socket.closed:
            await one.socket.receive(timeout=PATIENCE_S)
        await other.next("meters")
        return one.socket.close_code

    assert talk(rig, shout, pages=2) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


def stuffing(kilobytes: int) -> list[str]:
    """Return messages whose answers fill a client's buffers: a refused command comes back with the number it was given."""
    return [json.dumps({"type": "command", "id": "x" * 60_000, "name": "?"})] * (kilobytes // 60)


def test_a_slow_page_skips_meters_gets_the_newest_value_and_delays_nobody(rig: Rig) -> None:
    async def lag(one: Page, other: Page) -> tuple[list[Any], list[Any]]:
        for client in (one, other):
            await client.say(type="rate", hz=30)
        for text in stuffing(1200):
            await one.socket.send_str(text)
        prompt = []
        for threshold in (-10.0, -20.0, -30.0):
            rig.engine.set("gate/threshold", threshold)
            await other.until("gate/threshold", threshold)
            prompt += await other.heard(0.2)
        return prompt, await one.heard(0.5)

    async def run() -> tuple[list[Any], list[Any]]:
        # No reading ahead: aiohttp's client stops at 64 KiB, its socket at what the kernel gives it here.
        connector = aiohttp.TCPConnector(socket_factory=narrow)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            aiohttp.ClientSession() as wide,
            page(rig, session) as one,
            page(rig, wide) as other,
        ):
            return await lag(one, other)

    prompt, late = asyncio.run(run())
    assert sum(m["type"] == "meters" for m in prompt) >= 3  # of 18, on a machine with nothing else to do
    values = [m["values"]["gate/threshold"] for m in late if m["type"] == "values" and "gate/threshold" in m["values"]]
    assert values[-1] == -30.0
    assert len(values) < 3
    last_reply = max(k for k, m in enumerate(late) if m["type"] == "reply")
    assert sum(m["type"] == "meters" for m in late[:last_reply]) < 6


def narrow(address: Any) -> socket.socket:
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    made.setblocking(False)
    return made


def test_a_client_that_lets_megabytes_pile_up_is_cut_off(rig: Rig) -> None:
    async def run() -> bool:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=narrow)) as session,
            session.ws_connect(rig.url + "/live") as one,
        ):
            try:
                for text in [*stuffing(12_000), *["{}"] * 200]:
                    await one.send_str(text)
                    await asyncio.sleep(0 if len(text) > 2 else 0.05)
            except (ConnectionError, aiohttp.ClientError):
                return True
            return False

    assert asyncio.run(run())


def test_a_server_that_dies_comes_back_while_the_sound_goes_on(rig: Rig) -> None:
    (host,) = rig.conductor._hosts
    cycles, pid = rig.engine.stats().cycles, host.pid
    assert pid is not None
    rig.conductor.web = None
    os.kill(pid, 9)
    assert wait_until(lambda: rig.conductor.web is not None)
    assert host.pid not in (None, pid)
    assert rig.engine.stats().cycles > cycles

    async def look(one: Page) -> None:
        await one.next("meters")

    talk(rig, look)
