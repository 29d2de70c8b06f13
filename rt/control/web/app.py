"""The server: its routes, its ticks, and its life between the Conductor's first word and its last."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from autovoice.rt.control.osc.echo import Echo
from autovoice.rt.control.surface import Surface
from autovoice.rt.control.web.announce import OSC, OSCQUERY, Announcer
from autovoice.rt.control.web.asking import Inbox
from autovoice.rt.control.web.assets import Assets
from autovoice.rt.control.web.guard import MAX_CLIENTS, Guard, error, is_loopback
from autovoice.rt.control.web.live import MAX_HZ, Live
from autovoice.rt.control.web.metrics import CONTENT_TYPE, Metrics
from autovoice.rt.control.web.oscquery import OscQuery, is_query
from autovoice.rt.control.web.readings import Readings
from autovoice.rt.control.web.sockets import accept
from autovoice.rt.layout import WEB_PRODUCER

PAGE = Path(__file__).parent / "page"
ANYWHERE = ("", "0.0.0.0", "::")
IDLE_S = 1.0  # between two looks at the counters while nobody listens
CLOSING_S = 1.0  # that clients get to say goodbye

_LOG = logging.getLogger("autovoice.web")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, and to whom."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    token: str | None = None
    names: tuple[str, ...] = ()  # further names that the machine goes by
    announce: bool = False


class Server:
    """One engine's web server."""

    def __init__(self, surface: Surface, settings: Settings) -> None:
        """Prepare for an attached surface."""
        self._surface = surface
        self._settings = settings
        self.guard = Guard(settings.host, settings.token, settings.names)
        self._readings = Readings(surface)
        self._echo = Echo(surface, WEB_PRODUCER)
        self._inbox = Inbox(surface)
        self._live = Live(surface, self._readings, self._inbox)
        self._query = OscQuery(surface, self._inbox)
        self._metrics = Metrics(surface, self._readings, self._clients)
        self._assets = Assets(PAGE)
        self._numbers = itertools.count(1)
        self._stop = asyncio.Event()
        self._wanted = asyncio.Event()  # somebody listens, so the clock ticks
        self._announcer = Announcer(self._notice)
        self.port = 0

    def _clients(self) -> dict[str, int]:
        return {"live": len(self._live.listeners), "oscquery": len(self._query.listeners)}

    def application(self) -> web.Application:
        """Return the routes behind the guard."""
        app = web.Application(middlewares=[self.guard.middleware()], client_max_size=1024)
        app.router.add_get("/", self._root)
        app.router.add_get("/live", self._open_live)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/static/{name:.+}", self._static)
        app.router.add_get("/{path:.+}", self._node)
        return app

    async def run(self) -> bool:
        """Serve until the Conductor says stop, or is gone; raises OSError where the port cannot be had.

        Returns False where the line to the Conductor broke, and only another process could mend it.
        """
        loop = asyncio.get_running_loop()
        runner = web.AppRunner(self.application(), access_log=None, keepalive_timeout=60.0, shutdown_timeout=CLOSING_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._settings.host, self._settings.port)
            await site.start()
            self.port = int(runner.addresses[0][1])
            loop.add_reader(self._surface.fileno(), self._receive)
            self._receive()
            self._surface.notify(f"the page is at {self.url()}", kind="listening", host=self._settings.host, port=self.port)
            working = [asyncio.create_task(self._tick())]
            if self._settings.announce or not self.guard.loopback:
                working.append(asyncio.create_task(self._announce()))
            await self._stop.wait()
            for task in working:
                task.cancel()
        finally:
            loop.remove_reader(self._surface.fileno())
            await self._announcer.close()
            await self._close_clients()
            await runner.cleanup()
        return not self._inbox.stuck

    def url(self) -> str:
        """Return where a browser finds the page, with the token that it needs to write."""
        host = self._settings.host
        host = socket.gethostname() if host in ANYWHERE else f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={quote(self.guard.token)}" if self.guard.token else "")

    def _notice(self, text: str) -> None:
        self._surface.notify(text)

    async def _announce(self) -> None:
        """Announce this server, and the OSC server once the board says where it listens."""
        name = f"AutoVoice {self._surface.board.data.get('name', '')}".strip()
        await self._announcer.announce(name, OSCQUERY, self.port)
        while True:
            self._surface.board.refresh()
            osc = self._surface.board.data.get("state", {}).get("osc")
            if osc:
                if self.guard.loopback or not is_loopback(osc["host"]):  # whoever finds us must be able to reach it
                    await self._announcer.announce(name, OSC, int(osc["port"]))
                return
            await asyncio.sleep(IDLE_S)

    async def _close_clients(self) -> None:
        clients = [x.client for x in self._live.listeners.values()] + [x.client for x in self._query.listeners.values()]
        closing = [c.socket.close(code=1001, message=b"AutoVoice has stopped") for c in clients]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), CLOSING_S)

    def _receive(self) -> None:
        """Act on what the Conductor says."""
        for message in self._surface.receive():
            if message.get("stop"):
                self._stop.set()
            elif "reply" in message:
                if (asked := self._inbox.answered(message)) is not None:
                    self._live.reply(asked, message)
                    self._query.reply(asked, message)
            elif "notice" in message:
                self._pass_on(str(message["notice"]), message.get("kind"))

    def _pass_on(self, text: str, kind: object) -> None:
        """Log a notice for the pages; the one with the token in it is for the terminal alone."""
        if self.guard.token is None or quote(self.guard.token) not in text:
            self._live.log("error" if kind == "error" else "notice", text)

    async def _tick(self) -> None:
        """Read what is new and spread it, while somebody listens."""
        due = time.monotonic()
        while True:
            if not any(self._clients().values()):
                await self._idle()
                due = time.monotonic()
            try:
                self._spread()
            except Exception:  # costs one tick, not the show
                _LOG.exception("a tick failed")
            due = max(due + 1 / MAX_HZ, time.monotonic() - 1 / MAX_HZ)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _spread(self) -> None:
        self._surface.board.refresh()
        moves = self._echo.moves()
        now = time.monotonic()
        self._live.tick(now, moves)
        self._query.tick(now, moves)

    async def _idle(self) -> None:
        """Wait for somebody to listen; what happens meanwhile is logged for them."""
        self._wanted.clear()
        while not self._wanted.is_set():
            self._live.watch()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), IDLE_S)

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if _is_websocket(request):
            return await self._open_query(request)
        if (exchanged := self.guard.exchange(request)) is not None:
            return exchanged
        if "text/html" in request.headers.get("Accept", "") and not is_query(request):
            return self._assets.answer(request, "index.html")
        return self._query.answer(request)

    async def _node(self, request: web.Request) -> web.StreamResponse:
        return self._query.answer(request)

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return self._assets.answer(request, request.match_info["name"])

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        self._surface.board.refresh()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return _health(200, {"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        trouble = self._readings.trouble()
        return _health(503 if trouble else 200, {"status": trouble or "ok", "cycles": int(self._surface.telemetry["cycles"])})

    async def _open_live(self, request: web.Request) -> web.StreamResponse:
        if not _is_websocket(request):
            return error(426, "/live speaks WebSocket; the page is at /")
        return await self._open(request, self._live)

    async def _open_query(self, request: web.Request) -> web.StreamResponse:
        return await self._open(request, self._query)

    async def _open(self, request: web.Request, speaker: Live | OscQuery) -> web.StreamResponse:
        if sum(self._clients().values()) >= MAX_CLIENTS:
            return error(503, f"{MAX_CLIENTS} clients are connected, and more are not taken")
        client = await accept(request, next(self._numbers), self.guard.may_write(request))
        self._surface.board.refresh()
        if not any(self._clients().values()):
            self._echo.moves()  # of before: the first client is told all values, and from here on what moves
        self._wanted.set()
        await speaker.serve(client)
        return client.socket


def _is_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _health(status: int, data: dict[str, Any]) -> web.Response:
    return web.json_response(data, status=status, headers={"Cache-Control": "no-store"})
