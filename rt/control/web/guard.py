"""Who may ask, and who may change something.

Three doors: the Host header (a page of another site that rebinds its name to our address still sends that name), the Origin of
a WebSocket (browsers let any page open one), and a token for whoever wants to write once we listen beyond this machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import socket
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

FAILURES, FAILURES_S = 10, 60.0  # wrong tokens that one address may offer, in that time
ADDRESSES = 1024  # whose failures are remembered
RATE, BURST = 300.0, 600.0  # WebSocket messages a second that a client is read at, and how many at once
MAX_MESSAGE = 64 * 1024  # bytes of one WebSocket message
MAX_CLIENTS = 128  # WebSockets open at a time

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "AutoVoice",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer: the page may load from this server alone, and nobody may frame it."""

_LOG = logging.getLogger("autovoice.web")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def error(status: int, text: str) -> web.Response:
    """Return an error as JSON, one line."""
    return web.json_response({"error": text}, status=status, headers={"Cache-Control": "no-store"})


class Guard:
    """Decides on requests. `token` None means that nobody needs one."""

    def __init__(self, host: str, token: str | None, names: Iterable[str] = ()) -> None:
        """Answer for an address to listen at, and to further names that the machine may be called by."""
        self.loopback = is_loopback(host)
        self.token = token or (None if self.loopback else secrets.token_urlsafe(16))
        own = socket.gethostname().lower()
        names = [host, *names] if self.loopback else [host, own, f"{own}.local", *names]
        self._names = {"localhost", *(name.lower() for name in names)}
        self._failures: dict[str, tuple[int, float]] = {}

    def knows_host(self, header: str | None) -> bool:
        """Whether a Host header names this machine. Rebinding needs a name, so beyond loopback any address will do."""
        try:
            name = urlsplit(f"//{header or ''}").hostname or ""
        except ValueError:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback

    def same_origin(self, request: web.Request) -> bool:
        """Whether a request comes from our own page, or from a program that is no browser."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == (request.headers.get("Host") or "").lower()

    def may_write(self, request: web.Request) -> bool:
        """Whether a request may change something: it needs the token, by header, query or cookie, where there is one."""
        if self.token is None:
            return True
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        offered = bearer.strip() if scheme.lower() == "bearer" else request.query.get("token")
        if offered is not None and self._right(offered, request.remote):
            return True
        return _equal(request.cookies.get(self.cookie_name(request), ""), self.cookie())

    def cookie_name(self, request: web.Request) -> str:
        """Return the cookie's name; browsers share cookies between the ports of a machine."""
        sockname = request.transport.get_extra_info("sockname") if request.transport else None
        return f"autovoice-{sockname[1] if sockname else 0}"

    def cookie(self) -> str:
        """Return the cookie's value, from which the token cannot be had."""
        return hmac.new((self.token or "").encode(), b"autovoice cookie", hashlib.sha256).hexdigest()

    def exchange(self, request: web.Request) -> web.StreamResponse | None:
        """Answer a page asked for with `?token=`: a cookie, and the same address without it. None where there is none."""
        offered = request.query.get("token")
        if self.token is None or offered is None:
            return None
        if self.locked_out(request.remote):
            return error(429, "too many wrong tokens; wait a minute")
        if not self._right(offered, request.remote):
            return error(403, "this token is wrong; take the address that AutoVoice printed when it started")
        response = web.Response(status=303, headers={"Location": request.path})
        response.set_cookie(self.cookie_name(request), self.cookie(), httponly=True, samesite="Strict", path="/")
        return response

    def locked_out(self, remote: str | None) -> bool:
        """Whether an address offered too many wrong tokens lately."""
        count, since = self._failures.get(remote or "", (0, 0.0))
        return count >= FAILURES and time.monotonic() - since < FAILURES_S

    def _right(self, offered: str, remote: str | None) -> bool:
        if self.locked_out(remote):
            return False
        if _equal(offered, self.token or ""):
            return True
        now = time.monotonic()
        count, since = self._failures.pop(remote or "", (0, now))
        self._failures[remote or ""] = (count + 1, since) if now - since < FAILURES_S else (1, now)
        while len(self._failures) > ADDRESSES:
            del self._failures[next(iter(self._failures))]
        return False

    def middleware(self) -> Middleware:
        """Return the middleware: hosts, sizes, headers, and errors as one line of JSON."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                response = self._refused(request) or await handler(request)
            except web.HTTPException as refusal:
                response = error(refusal.status, f"{refusal.reason.lower()}: {request.method} {request.path[:100]}")
            except (ConnectionError, TimeoutError):
                raise
            except Exception:
                _LOG.exception("request failed: %s %s", request.method, request.path[:100])
                response = error(500, "AutoVoice could not answer this; its log says why")
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return guarded

    def _refused(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host")
        if not self.knows_host(host):
            return error(
                403, f"this server does not go by the name {(host or '')[:100]!r}; use its address, or name it with --web-name"
            )
        if request.method not in ("GET", "HEAD"):
            return error(405, f"{request.method} is not taken here; use GET, or a WebSocket at /live")
        if request.body_exists:
            return error(413, "this server takes no request bodies")
        if "Upgrade" in request.headers and not self.same_origin(request):
            return error(403, f"a page of {request.headers['Origin'][:100]!r} may not open a WebSocket here")
        return None


class Pace:
    """How fast one client may send: a token bucket. Whoever sends faster is read no faster, and nothing is lost."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        """Allow `burst` messages at once and `rate` a second."""
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    async def rest(self) -> None:
        """Count one message; return when the next may be read."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


def parse(text: str) -> dict[str, object]:
    """Return a client's JSON object; raises ValueError with one line."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"not JSON: {text[:60]!r}") from None
    if not isinstance(message, dict):
        raise ValueError(f"a message is a JSON object, got {text[:60]!r}")
    return message


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass"))
