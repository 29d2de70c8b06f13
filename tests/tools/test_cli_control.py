"""A live voice controlled from outside: its surfaces, its log, and `autovoice set`, `get` and `do`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.registry import find
from autovoice.tools import control
from autovoice.tools.options import CommandError
from support import wait_until

NAME = f"control-{os.getpid()}"
LIVE = ("live", "--backend", "null", "--chain", "highpass,gate,limiter")


@pytest.fixture(scope="module")
def live(start_once: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One engine for all tests of this module: it listens to OSC, its page's port is taken, its log is JSON."""
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = start_once(
            *LIVE, "--name", NAME, "--osc-port", 0, "--web-port", port, "--log-file", log, "--log-format", "json", "--json"
        )
        for part in ("--latency-reserve 78 keeps this chain's own 1.6 ms", f"port {port} "):  # it is in use, and all goes on
            started.await_line(part)
    assert wait_until(lambda: find(NAME).osc > 0)
    yield
    started.process.terminate()
    ran = started.end()
    assert ran.code == 0, ran.err
    assert ran.json["web"] is None and ran.json["osc"]["port"] > 0
    assert ran.json["latency_frames"] > 500  # of the longest preset
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {event["engine"] for event in events} == {NAME}
    said = [event["event"] for event in events]
    assert len({event["session"] for event in events[said.index("engine started") :]}) == 1
    assert said[-1] == "engine stopped"
    assert next(event for event in events if event["event"] == "reading")["callback_us"]["p99"] > 0
    (begun,) = [event for event in events if event["event"] == "engine started"]
    assert begun["chain"] == ["highpass", "gate", "limiter"] and begun["backend"] == "null"
    assert {"command": "chain/move", "arguments": ["gate", 0]}.items() <= next(e for e in events if "command" in e).items()


def values(here: Any, *paths: str) -> dict[str, float]:
    return {path: row["value"] for path, row in here("get", "--engine", NAME, "--json", *paths).json["values"].items()}


def test_set_moves_parameters_and_returns_when_they_are_applied(here: Any, live: None) -> None:
    moved = here("set", "--engine", NAME, "gate/threshold=-50", "highpass/bypass=on", "master/output=-3", "gate/mode=adaptive")
    assert (moved.code, moved.out, moved.err) == (0, "", "")
    now = values(here)
    assert now["gate/threshold"] == -50 and now["highpass/bypass"] == 1 and now["master/output"] == -3
    told = dict(line.split(maxsplit=1) for line in here("get", "--engine", NAME, "gate", "highpass/bypass").out.splitlines())
    assert (told["gate/threshold"], told["gate/mode"], told["highpass/bypass"]) == ("-50 dBFS", "adaptive", "on")
    back = here("set", "--engine", NAME, "--json", "highpass/bypass=off", "gate/mode=fixed")
    assert back.json == {"engine": NAME, "values": {"highpass/bypass": 0.0, "gate/mode": 0.0}}


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("gate/threshold=12", ("gate/threshold must be in -90..0 dBFS, got 12",)),
        ("gate/threshold=nan", ("gate/threshold must be in -90..0 dBFS, got nan",)),
        ("gate/threshold=loud", ("gate/threshold must be a number in -90..0 dBFS, got 'loud'",)),
        ("gate/treshold=-40", ("plays nothing called 'gate/treshold'", "did you mean 'gate/threshold'?")),
        ("gate/mode=adaptiv", ("gate/mode must be one of fixed, adaptive", "did you mean 'adaptive'?")),
        ("gate/bypass=perhaps", ("gate/bypass must be on or off, got 'perhaps'",)),
        ("gate/lookahead=3", ("gate/lookahead is fixed while it sounds; autovoice do chain/option gate lookahead VALUE",)),
        ("gate/threshold", ("write PATH=VALUE", "got 'gate/threshold'")),
    ],
)
def test_set_refuses_what_is_not_there_or_out_of_range(here: Any, live: None, setting: str, parts: tuple[str, ...]) -> None:
    before = values(here)
    line = here("set", "--engine", NAME, "highpass/cutoff=200", setting).refused()
    for part in parts:
        assert part in line
    assert values(here) == before  # all or nothing


def test_do_has_the_engine_carry_out_a_command(here: Any, live: None) -> None:
    def chain() -> list[str]:
        return here("get", "--engine", NAME, "--json").json["chain"]  # type: ignore[no-any-return]

    assert here("do", "--engine", NAME, "chain/move", "gate", 0).code == 0
    assert chain() == ["gate", "highpass", "limiter"]
    done = here("do", "--engine", NAME, "--json", "chain/move", "gate", 1)
    assert done.json["command"] == "chain/move" and done.json["arguments"] == ["gate", 1]
    assert chain() == ["highpass", "gate", "limiter"]


def test_do_moves_a_switch_and_says_where_it_stands(here: Any, live: None) -> None:
    assert here("do", "--engine", NAME, "mute").out == "on\n"
    assert values(here, "master")["master/mute"] == 1
    assert here("do", "--engine", NAME, "mute", "off").out == "off\n"
    assert here("do", "--engine", NAME, "mute", 0).out == "off\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("chain/remove", "shift"), "/chain/remove: no stage in the chain is called 'shift'"),
        (("chain/remve", "gate"), "no command is called 'chain/remve'; did you mean 'chain/remove'?"),
        (("chain/move", "gate"), "write autovoice do chain/move KEY INDEX; got 1 argument"),
        (("chain/move", "gate", "first"), "chain/move: INDEX must be a whole number, got 'first'"),
        (("mute", "perhaps"), "mute: ON must be on or off, got 'perhaps'"),
    ],
)
def test_do_refuses_in_one_line(here: Any, live: None, arguments: tuple[str, ...], part: str) -> None:
    assert part in here("do", "--engine", NAME, *arguments).refused()


def test_do_lists_every_command(here: Any) -> None:
    told = here("do", "--help").out
    assert all(command.usage in told for command in COMMANDS.values())


def test_an_engine_that_is_not_there_is_refused(here: Any, live: None) -> None:
    assert f"did you mean '{NAME}'?" in here("get", "--engine", f"{NAME}x").refused()


def test_without_surfaces_nothing_is_reserved_and_set_says_what_is_missing(here: Any, start: Any) -> None:
    quiet = start(*LIVE, "--name", f"{NAME}-3", "--log-format", "json", "--json")
    begun = json.loads(quiet.await_line("engine started"))
    assert begun["latency_frames"] == 78
    assert wait_until(lambda: here("get", "--engine", f"{NAME}-3").code == 0)
    assert "listens to no OSC; start it with --osc-port 0" in here("set", "--engine", f"{NAME}-3", "gate/range=20").refused()
    quiet.process.terminate()
    ran = quiet.end()
    assert ran.code == 0 and ran.json["osc"] is None
    assert ran.json["session"] == begun["session"]
    assert all(json.loads(line)["engine"] == f"{NAME}-3" for line in ran.err.splitlines())  # no status line, no other


def test_a_take_begins_with_the_first_frame(cli: Any, here: Any, tmp_path: Path) -> None:
    ran = cli(*LIVE, "--name", f"{NAME}-4", "--take", "one", "--takes", tmp_path, "--duration", 0.5)
    assert ran.code == 0, ran.err
    assert f"the take goes to {tmp_path / 'one'}" in ran.err
    replayed = here("replay", tmp_path / "one", "--check", "--json")
    assert replayed.code == 0, replayed
    assert (
        "there is a take called 'one' already" in here(*LIVE, "--take", "one", "--takes", tmp_path, "--duration", 0.1).refused()
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--osc-port", 0, "--osc-bind", "0.0.0.0"), ("--osc-bind 0.0.0.0 lets others send", "--osc-allow")),
        (("--osc-port", 0, "--osc-allow", "home"), ("--osc-allow takes a network such as 192.168.1.0/24", "got 'home'")),
        (("--osc-allow", "10.0.0.0/8"), ("--osc-bind, --osc-allow and --osc-subscribe say more of --osc-port N",)),
        (("--osc-port", 0, "--osc-subscribe", "desk"), ("--osc-subscribe takes HOST:PORT or HOST:PORT@HZ", "got 'desk'")),
        (("--osc-port", 70000), ("--osc-port must be in 0..65535, got 70000",)),
        (("--web", "--web-bind", "stage"), ("--web-bind takes an address of this machine", "got 'stage'")),
        (("--take", "one", "--record", "wet.wav"), ("leave --record away, or --take",)),
        (("--take", "../one"), ("a take's name has 1 to 64 letters", "got '../one'")),
        (("--log-file", "/nowhere/log"), ("the log /nowhere/log cannot be written", "No such file")),
    ],
)
def test_a_wrong_request_is_refused_before_the_sound(here: Any, arguments: tuple[object, ...], parts: tuple[str, ...]) -> None:
    line = here(*LIVE, "--duration", 0.1, *arguments).refused()
    for part in parts:
        assert part in line


def request(**given: Any) -> dict[str, Any]:
    """Return what click makes of an empty command line, and these values."""
    made = click.Command("x", params=[])
    for option in reversed(control.OPTIONS):
        option(made)
    ctx = made.make_context("x", [])
    return {**ctx.params, **given}


def test_a_page_beyond_loopback_gets_a_token_of_its_own() -> None:
    inside, outside, chosen = (
        control.web_settings(request(**given))
        for given in ({"web": True}, {"web": True, "web_bind": "0.0.0.0"}, {"web_port": 0, "web_bind": "::", "token": "t"})
    )
    assert inside is not None and (inside.port, inside.host, inside.token) == (8080, "127.0.0.1", None)
    assert outside is not None and outside.token is not None and len(outside.token) >= 20
    assert chosen is not None and (chosen.port, chosen.token) == (0, "t")
    for given in ({}, {"web": False, "web_port": 80}, {"token": "t"}):
        assert control.web_settings(request(**given)) is None
    assert all(control.web_settings(request(**given)) for given in ({"web_port": 0}, {"announce": True}, {"web_bind": "::"}))


def test_a_page_without_its_packages_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r"pip install 'autovoice\[web\]'"):
        control.web_settings(request(web=True))


def test_a_token_stays_out_of_the_log_file(tmp_path: Path) -> None:
    from autovoice.tools import logs

    path = tmp_path / "log"
    logs.configure("json", path)
    logs.hide("s3cret")
    logs.event("the page is at http://host:8080/?token=s3cret")
    logs.end()
    assert json.loads(path.read_text())["event"] == "the page is at http://host:8080/?token=***"
