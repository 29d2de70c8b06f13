"""An engine that plays a tone, its Conductor and the real web server's process, with clients to talk to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, Notice, OscSettings, WebSettings
from support import PATIENCE_S, SAMPLE_RATE, wait_until

STAGES = ["highpass", "gate", "limiter"]
TONE_HZ, TONE_DBFS = 1000.0, -12.0


@dataclass
class Rig:
    """What runs."""

    engine: Engine
    conductor: Conductor
    notices: list[Notice] = field(default_factory=list)

    @property
    def port(self) -> int:
        assert self.conductor.web is not None
        return int(self.conductor.web["port"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def value(self, path: str) -> float:
        """Return a value as the audio thread last applied it."""
        processor = self.engine.processor
        uid, index, _ = processor.resolve(path)
        assert processor.page is not None
        return processor.page.value(uid, index)

    def told(self, part: str) -> bool:
        return any(part in notice.text for notice in self.notices)


@contextmanager
def tone_engine() -> Iterator[Engine]:
    """Play a sine through a short chain without a device."""
    tone = 10 ** (TONE_DBFS / 20) * np.sin(2 * np.pi * TONE_HZ * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    with Engine(Chain(STAGES), backend="null", options={"source": tone.astype(np.float32)}) as engine:
        yield engine


@contextmanager
def served(engine: Engine, *, osc: bool = False, **web: Any) -> Iterator[Rig]:
    """Serve an engine; `web` is of WebSettings."""
    notices: list[Notice] = []
    settings = WebSettings(**{"port": 0, **web})
    with Conductor(engine, web=settings, osc=OscSettings(port=0) if osc else None, told=notices.append) as conductor:
        rig = Rig(engine, conductor, notices)
        assert wait_until(lambda: conductor.web is not None and (conductor.osc is not None or not osc))
        yield rig


class Page:
    """A client of /live."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self.chain: list[str] = []  # of the newest board

    async def say(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def next(self, kind: str, held: Callable[[dict[str, Any]], bool] = lambda message: True) -> dict[str, Any]:
        """Return the next message of a type of which something holds; skips others."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            message = await self.socket.receive(timeout=PATIENCE_S)
            if message.type == aiohttp.WSMsgType.TEXT:
                found = json.loads(message.data)
                if "board" in found:
                    self.chain = [stage["key"] for stage in found["board"]["chain"]]
                if found["type"] == kind and held(found):
                    return dict(found)
            elif message.type != aiohttp.WSMsgType.BINARY:
                raise ConnectionError(f"closed with {message.data}")
        raise TimeoutError(kind)

    async def chain_of(self, length: int) -> list[str]:
        """Return the keys of the chain once it has this many stages."""
        while len(self.chain) != length:
            await self.next("board")
        return self.chain

    async def until(self, path: str, value: float) -> None:
        """Return when the page is told that a parameter has a value; what was under way before is passed over."""
        await self.next("values", lambda m: m["values"].get(path) == value)

    async def complaint(self) -> str:
        """Return the next error line."""
        return str((await self.next("log", lambda m: m["kind"] == "error"))["text"])

    async def ask(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Give a command; return the reply."""
        await self.say(type="command", id=name, name=name, args=list(arguments))
        return await self.next("reply", lambda m: m["id"] == name)

    async def heard(self, seconds: float) -> list[Any]:
        """Return all that comes in a while: messages as objects, columns as bytes."""
        found: list[Any] = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                message = await self.socket.receive(timeout=left)
            except TimeoutError:
                break
            found.append(json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else message.data)
        return found


@asynccontextmanager
async def page(rig: Rig, session: aiohttp.ClientSession, **options: Any) -> Any:
    """Open a page; it has heard hello."""
    async with session.ws_connect(rig.url + "/live", max_msg_size=0, **options) as socket:
        client = Page(socket)
        client.hello = await client.next("hello")
        yield client


def talk(rig: Rig, conversation: Callable[..., Any], *, pages: int = 1, **options: Any) -> Any:
    """Run a coroutine with one or more open pages; returns what it returns."""

    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            return await with_pages(session, [])

    async def with_pages(session: aiohttp.ClientSession, opened: list[Page]) -> Any:
        if len(opened) == pages:
            return await conversation(*opened)
        async with page(rig, session, **options) as client:
            return await with_pages(session, [*opened, client])

    return asyncio.run(run())


def get(rig: Rig, target: str, **options: Any) -> tuple[int, dict[str, str], str]:
    """Return (status, headers, body) of a GET; `method` and `headers` are as for aiohttp."""

    async def run() -> tuple[int, dict[str, str], str]:
        method = options.pop("method", "GET")
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, rig.url + target, allow_redirects=False, **options) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.text()

    return asyncio.run(run())
