"""Who is let in: hosts, origins, tokens, sizes; and what a refusal looks like."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from autovoice.rt import Engine
from autovoice.rt.control.web import guard
from autovoice.rt.control.web.guard import FAILURES, Guard, Pace
from support import PATIENCE_S, wait_until
from web_rig import Rig, get, page, served, tone_engine
from yarl import URL

TOKEN = "open sesame & <more>"
SECURE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tone_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def rig(engine: Engine) -> Iterator[Rig]:
    with served(engine) as rig:
        yield rig


def connects(rig: Rig, path: str = "/live", **headers: str) -> int:
    """Return the status of an attempt to open a WebSocket."""

    async def run() -> int:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(rig.url + path, headers=headers):
                    return 101
            except aiohttp.WSServerHandshakeError as refusal:
                return refusal.status

    return asyncio.run(run())


@pytest.mark.parametrize("target", ["/", "/live", "/metrics", "/healthz", "/autovoice/gate"])
def test_a_name_that_is_not_ours_is_refused(rig: Rig, target: str) -> None:
    for host in ("evil.example", f"evil.example:{rig.port}", "127.0.0.1.evil.example", "", "[::1", "192.168.1.7"):
        status, _, body = get(rig, target, headers={"Host": host})
        assert status == 403, host
        assert list(json.loads(body)) == ["error"]


def test_names_of_this_machine_are_taken(rig: Rig) -> None:
    for host in ("localhost", f"localhost:{rig.port}", "127.0.0.1:9999", "[::1]:80", "voice.localhost"):
        assert get(rig, "/healthz", headers={"Host": host})[0] == 200, host


def test_beyond_loopback_addresses_are_taken_and_names_only_if_they_are_given() -> None:
    door = Guard("0.0.0.0", None, ["voice.lan"])
    assert door.token  # made, since none was given
    assert door.knows_host("192.168.1.7:8080")
    assert door.knows_host("[fe80::1]:8080")
    assert door.knows_host("VOICE.lan")
    assert door.knows_host(f"{socket.gethostname()}:8080")
    assert not door.knows_host("evil.example")
    assert not door.knows_host(None)


@pytest.mark.parametrize("path", ["/live", "/"])
def test_a_page_of_another_origin_may_not_open_a_websocket(rig: Rig, path: str) -> None:
    assert connects(rig, path) == 101
    assert connects(rig, path, Origin=rig.url) == 101
    for origin in (
        "https://evil.example",
        f"http://127.0.0.1:{rig.port + 1}",
        "null",
        "http://[",
        f"file://127.0.0.1:{rig.port}",
    ):
        assert connects(rig, path, Origin=origin) == 403, origin


@pytest.mark.parametrize("target", ["/", "/no/such", "/healthz", "/static/no.js", "/metrics", "/?HOST_INFO"])
def test_every_answer_carries_the_headers_that_keep_other_pages_out(rig: Rig, target: str) -> None:
    headers = get(rig, target)[1]
    assert SECURE.items() <= headers.items()
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "Access-Control-Allow-Origin" not in headers
    assert "aiohttp" not in headers["Server"]


def test_only_get_is_taken(rig: Rig) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert get(rig, "/autovoice/gate/threshold", method=method)[0] == 405
    status, _, body = get(rig, "/", data=b"x" * 100)
    assert (status, list(json.loads(body))) == (413, ["error"])


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2fguard.py", "/static/%00", "/static/"],
)
def test_nothing_beside_the_page_is_served(rig: Rig, path: str) -> None:
    async def run() -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(URL(rig.url + path, encoded=True), allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text()

    status, body = asyncio.run(run())
    assert status == 404
    assert len(body) < 200


def raw(rig: Rig, request: bytes) -> bytes:
    """Return what comes back for bytes that may be no request at all."""
    with socket.create_connection(("127.0.0.1", rig.port), timeout=PATIENCE_S) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        found = b""
        while piece := line.recv(4096):
            found += piece
    return found


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_broken_and_oversized_requests_get_no_traceback_and_the_server_lives(rig: Rig, request_: bytes) -> None:
    answer = raw(rig, request_)
    assert re.match(rb"HTTP/1\.[01] 4", answer) or answer == b""
    assert b"Traceback" not in answer
    assert b".py" not in answer
    assert get(rig, "/healthz")[0] == 200


def test_a_port_in_use_is_told_in_one_line_and_the_sound_goes_on(engine: Engine, rig: Rig) -> None:
    from autovoice.rt.control.conductor import Conductor, Notice, WebSettings

    notices: list[Notice] = []
    with Conductor(engine, web=WebSettings(port=rig.port), told=notices.append):
        assert wait_until(lambda: any(n.kind == "error" for n in notices))
    (told,) = [n for n in notices if n.kind == "error"]
    assert f"port {rig.port} at 127.0.0.1 is in use" in told.text
    assert "\n" not in told.text
    assert engine.alive


@pytest.fixture(scope="module")
def locked(engine: Engine) -> Iterator[Rig]:
    """A server that listens beyond this machine."""
    with served(engine, host="0.0.0.0", token=TOKEN) as rig:
        yield rig


def writes(rig: Rig, query: str = "", **headers: str) -> tuple[bool, str]:
    """Say whether a page may write, by its hello, and what happens when it tries."""

    async def run() -> tuple[bool, str]:
        async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(rig.url + "/live" + query) as one:
            hello = json.loads((await one.receive()).data)
            await one.send_json({"type": "rate", "hz": 0})
            await one.send_json({"type": "command", "id": 1, "name": "mute", "args": [0]})
            while True:
                message = json.loads((await one.receive(timeout=PATIENCE_S)).data)
                if message["type"] == "reply":
                    return hello["write"], message.get("error", "")

    return asyncio.run(run())


def test_beyond_loopback_everybody_may_look_and_only_the_token_may_write(locked: Rig) -> None:
    assert get(locked, "/autovoice/gate/threshold?VALUE")[0] == 200
    may, refusal = writes(locked)
    assert not may
    assert "token" in refusal
    assert TOKEN not in refusal
    assert writes(locked, Authorization=f"Bearer {TOKEN}") == (True, "")
    assert writes(locked, Authorization="Bearer wrong")[0] is False
    assert writes(locked, f"?token={quote(TOKEN)}") == (True, "")


def test_a_page_without_the_token_moves_nothing(locked: Rig) -> None:
    async def run() -> str:
        async with aiohttp.ClientSession() as session, page(locked, session) as one:
            await one.say(type="set", values={"gate/threshold": -12.0})
            return str(await one.complaint())

    assert "token" in asyncio.run(run())
    assert locked.value("gate/threshold") == -45.0


def test_the_token_is_exchanged_for_a_cookie_that_does_not_hold_it(locked: Rig) -> None:
    async def run() -> tuple[int, dict[str, str], Any, bool]:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of addresses, as browsers take them
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(locked.url + "/", params={"token": TOKEN}, allow_redirects=False) as answer:
                status, headers = answer.status, dict(answer.headers)
            async with page(locked, session) as one:
                return status, headers, list(jar), one.hello["write"]

    status, headers, (cookie,), may = asyncio.run(run())
    assert (status, headers["Location"], may) == (303, "/", True)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["Set-Cookie"].split("; "))
    assert TOKEN not in cookie.value
    assert writes(locked, Cookie=f"{cookie.key}={cookie.value[::-1]}")[0] is False


def test_a_cookie_is_good_for_its_own_token_alone() -> None:
    cookies = {Guard("0.0.0.0", token).cookie() for token in ("one", "another", None)}
    assert len(cookies) == 3
    assert Guard("0.0.0.0", "one").cookie() in cookies  # it outlives a restart


def test_the_terminal_is_told_the_token_and_pages_are_not(locked: Rig) -> None:
    assert locked.told(f"?token={quote(TOKEN)}")

    async def run() -> list[Any]:
        async with aiohttp.ClientSession() as session, page(locked, session) as one:
            return [one.hello, *await one.heard(0.2)]

    seen = json.dumps(asyncio.run(run())) + get(locked, "/metrics")[2] + get(locked, "/")[2]
    assert TOKEN not in seen
    assert quote(TOKEN) not in seen


def test_an_address_that_guesses_is_made_to_wait(locked: Rig) -> None:
    statuses = [get(locked, "/?token=guess")[0] for _ in range(FAILURES + 2)]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    assert get(locked, "/", params={"token": TOKEN})[0] == 429  # the right one, too: it might be a guess


def test_a_client_that_sends_too_fast_is_read_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]  # s: a clock that only sleep moves

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(guard, "asyncio", SimpleNamespace(sleep=sleep))

    async def run(count: int) -> float:
        pace, began = Pace(rate=100.0, burst=10.0), now[0]
        for _ in range(count):
            await pace.rest()
        return now[0] - began

    assert asyncio.run(run(10)) == 0
    assert asyncio.run(run(30)) == pytest.approx(0.2)  # 20 messages more than at once
