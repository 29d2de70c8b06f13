"""OSCQuery, as a client sees it that knows only the proposal."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from control.oscquery_walk import Listening, Walk
from pythonosc.osc_message_builder import OscMessageBuilder
from support import wait_until
from web_rig import Rig, get, served, tone_engine


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with tone_engine() as engine, served(engine, osc=True) as rig:
        yield rig


def listening(rig: Rig, conversation: Callable[..., Any], clients: int = 1) -> Any:
    """Run a coroutine with WebSockets at /."""

    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(rig.url + "/") for _ in range(clients)]
            return await conversation(*(Listening(each) for each in sockets))

    return asyncio.run(run())


@pytest.fixture(scope="module")
def walk(rig: Rig) -> Walk:
    async def run() -> Walk:
        async with aiohttp.ClientSession() as session:
            return await Walk(rig.url).run(session)

    return asyncio.run(run())


def test_a_walk_by_the_proposal_finds_no_breach_of_it(walk: Walk) -> None:
    assert walk.problems == []
    assert len(walk.methods) > 60


def test_the_host_says_where_osc_is_and_what_it_can_do(rig: Rig, walk: Walk) -> None:
    assert rig.conductor.osc is not None
    assert (walk.host["OSC_IP"], walk.host["OSC_PORT"]) == ("127.0.0.1", rig.conductor.osc["port"])
    assert (walk.host["WS_IP"], walk.host["WS_PORT"]) == ("127.0.0.1", rig.port)
    assert walk.host["OSC_TRANSPORT"] == "UDP"
    assert {"LISTEN", "PATH_CHANGED", "VALUE", "RANGE"} <= {name for name, held in walk.host["EXTENSIONS"].items() if held}


def test_numbers_switches_and_choices_are_described_by_the_tables(walk: Walk) -> None:
    assert walk.nodes["/autovoice/gate/threshold"] == {
        "FULL_PATH": "/autovoice/gate/threshold",
        "TYPE": "f",
        "ACCESS": 3,
        "VALUE": [-45.0],
        "RANGE": [{"MIN": -90.0, "MAX": 0.0}],
        "UNIT": ["gain.db"],
        "CLIPMODE": ["both"],
        "DESCRIPTION": walk.nodes["/autovoice/gate/threshold"]["DESCRIPTION"],
    }
    assert walk.nodes["/autovoice/norm/gate/threshold"]["VALUE"] == [0.5]
    assert walk.nodes["/autovoice/gate/assist"]["TYPE"] == "T"
    mode = walk.nodes["/autovoice/gate/mode"]
    assert (mode["TYPE"], mode["VALUE"], mode["RANGE"]) == ("s", ["fixed"], [{"VALS": ["fixed", "adaptive"]}])
    assert mode["OVERLOADS"][0]["TYPE"] == "i"


def test_commands_can_be_written_only(rig: Rig, walk: Walk) -> None:
    assert (walk.nodes["/undo"]["TYPE"], walk.nodes["/undo"]["ACCESS"]) == ("N", 2)
    assert walk.nodes["/preset/load"]["TYPE"] == "sf"
    assert {"TYPE": "s"} in walk.nodes["/preset/load"]["OVERLOADS"]
    assert get(rig, "/preset/load?VALUE")[0] == 204


def test_attributes_are_had_one_by_one_or_together(rig: Rig) -> None:
    node = "/autovoice/limiter/ceiling"
    assert json.loads(get(rig, f"{node}?VALUE")[2]) == {"VALUE": [-1.0]}
    assert json.loads(get(rig, f"{node}?RANGE&TYPE")[2]) == {"RANGE": [{"MIN": -20.0, "MAX": 0.0}], "TYPE": "f"}
    assert json.loads(get(rig, "/autovoice?TYPE")[2]) == {}
    assert json.loads(get(rig, "/anything/at/all?HOST_INFO")[2])["NAME"].startswith("AutoVoice")
    assert get(rig, f"{node}?TAGS")[0] == 204
    assert get(rig, f"{node}?LOUDNESS")[0] == 400
    assert get(rig, "/autovoice/limiter/floor")[0] == 404


def test_a_browser_gets_the_page_and_everybody_else_the_tree(rig: Rig) -> None:
    assert get(rig, "/", headers={"Accept": "text/html"})[1]["Content-Type"].startswith("text/html")
    assert get(rig, "/", headers={"Accept": "*/*"})[1]["Content-Type"].startswith("application/json")
    assert get(rig, "/?HOST_INFO", headers={"Accept": "text/html"})[1]["Content-Type"].startswith("application/json")


def test_an_osc_move_by_udp_is_heard_by_who_listens_and_by_nobody_else(rig: Rig, walk: Walk) -> None:
    async def listen(one: Listening, other: Listening) -> tuple[Any, Any]:
        for address in ("/autovoice/gate/threshold", "/autovoice/norm/gate/threshold", "/autovoice/limiter/release"):
            await one.say("LISTEN", address)
        await other.say("LISTEN", "/autovoice/limiter/ceiling")
        await one.say("LISTEN", "/no/such")
        assert (await one.next())[0] == "ERROR"  # so all before it was heard
        message = OscMessageBuilder("/autovoice/gate/threshold")
        message.add_arg(-36.0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(message.build().dgram, (walk.host["OSC_IP"], walk.host["OSC_PORT"]))
        heard = dict([await one.next(), await one.next()])
        await one.say("IGNORE", "/autovoice/gate/threshold")
        await one.say("IGNORE", "/autovoice/norm/gate/threshold")
        rig.engine.set("gate/threshold", -45.0)
        rig.engine.set("limiter/release", 200.0)  # told after the threshold, if that were told
        rig.engine.set("limiter/ceiling", -3.0)
        return heard, [await one.next(), await other.next()]

    heard, after = listening(rig, listen, clients=2)
    assert heard == {"/autovoice/gate/threshold": [-36.0], "/autovoice/norm/gate/threshold": [pytest.approx(0.6)]}
    assert after == [("/autovoice/limiter/release", [200.0]), ("/autovoice/limiter/ceiling", [-3.0])]


def test_meters_are_streamed_to_who_listens(rig: Rig) -> None:
    async def listen(one: Listening) -> Any:
        await one.say("LISTEN", "/autovoice/meter/in")
        return await one.next()

    address, (level,) = listening(rig, listen)
    assert address == "/autovoice/meter/in"
    assert level == pytest.approx(-12.0, abs=0.5)


def test_osc_over_the_websocket_moves_parameters_and_is_not_echoed_to_its_sender(rig: Rig) -> None:
    async def move(one: Listening, other: Listening) -> Any:
        for client in (one, other):
            await client.say("LISTEN", "/autovoice/gate/hold")
            await client.say("LISTEN", "/autovoice/gate/release")
        await one.send("/autovoice/gate/hold", 99_999.0)
        heard = await other.next()
        await other.say("LISTEN", "/autovoice/gate/mode")
        await one.send("/autovoice/gate/mode", "adaptive")
        assert await other.next() == ("/autovoice/gate/mode", ["adaptive"])
        await one.send("/no/such/address", 1.0)
        assert (await one.next())[0] == "ERROR"
        await other.send("/autovoice/norm/gate/release", 1.0)
        return heard, await one.next()

    assert listening(rig, move, clients=2) == (("/autovoice/gate/hold", [1000.0]), ("/autovoice/gate/release", [2000.0]))
    assert rig.value("gate/hold") == 1000.0


def test_a_swap_tells_what_came_and_went_and_the_tree_follows(rig: Rig) -> None:
    async def swap(one: Listening) -> list[tuple[str, Any]]:
        await one.say("LISTEN", "/autovoice/gate/threshold")
        await one.say("LISTEN", "/no/such")
        await one.next()
        await one.send("/chain/swap", "gate,gain")
        found = []
        while not found or found[-1][0] != "PATH_CHANGED":
            found.append(await one.next())
        rig.engine.set("gate/threshold", -50.0)
        while True:  # the gate stayed, and so does the listening
            address, data = await one.next()
            if (address, data) == ("/autovoice/gate/threshold", [-50.0]):
                return found

    try:
        found = listening(rig, swap)
        assert ("PATH_REMOVED", "/autovoice/limiter/ceiling") in found
        assert ("PATH_REMOVED", "/autovoice/norm/highpass/cutoff") in found
        assert ("PATH_ADDED", "/autovoice/gain/gain") in found
        assert not [path for _, path in found if "/gate/" in path]
        assert found[-1] == ("PATH_CHANGED", "/autovoice")
        assert get(rig, "/autovoice/limiter/ceiling")[0] == 404
        assert get(rig, "/autovoice/gain/gain")[0] == 200
    finally:
        rig.conductor.do("chain/swap", "highpass,gate,limiter")


def test_bad_messages_are_answered_in_one_line_and_the_line_stays_open(rig: Rig) -> None:
    async def babble(one: Listening) -> list[Any]:
        errors: list[str] = []

        async def complaint() -> str:
            while (said := await one.next())[0] != "ERROR":
                pass
            return str(said[1])

        for command, data in (("LISTEN", 7), ("SHOUT", "/"), ("LISTEN", "/autovoice"), ("LISTEN", "/undo"), ("LISTEN", None)):
            await one.say(command, data)  # type: ignore[arg-type]
            errors.append(await complaint())
        for packet in (
            b"",
            b"\0" * 16,
            b"#bundle\0",
            b"/autovoice/gate/hold\0\0\0\0,s\0\0loud\0\0\0\0",
            b"/x\0\0,s\0\0" + b"y" * 30_000,
        ):
            await one._socket.send_bytes(packet)
            errors.append(await complaint())
        await one._socket.send_str("{" * 1000)
        errors.append(await complaint())
        return errors

    for text in listening(rig, babble):
        assert text
        assert "\n" not in text
    assert wait_until(lambda: rig.engine.alive)
