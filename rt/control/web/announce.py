"""Announcing the server by zeroconf, through the host's own responder: `avahi-publish` on Linux, `dns-sd` on macOS.

See docs/decisions/0030. The tool ends with this process, whatever that dies of: a shell between them waits for a pipe to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable

OSCQUERY, OSC = "_oscjson._tcp", "_osc._udp"
_WATCH = '"$@" & child=$!; read -r _; kill "$child" 2>/dev/null'  # `read` ends when our end of the pipe does


def publisher(name: str, kind: str, port: int) -> list[str] | None:
    """Return the command that announces a service as long as it runs, None where the host has no such tool."""
    if path := shutil.which("avahi-publish"):
        return [path, "-s", name, kind, str(port)]
    if path := shutil.which("dns-sd"):
        return [path, "-R", name, kind, ".", str(port)]
    return None


class Announcer:
    """The announcements of one server."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Report by `tell`, one line each."""
        self._tell = tell
        self._processes: list[asyncio.subprocess.Process] = []
        self._watching: set[asyncio.Task[None]] = set()

    async def announce(self, name: str, kind: str, port: int) -> None:
        """Announce a service until `close`."""
        command = publisher(name, kind, port)
        if command is None:
            self._tell("not announced by zeroconf: this host has no avahi-publish (Debian: avahi-utils) and no dns-sd")
            return
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _WATCH,
            "sh",
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._processes.append(process)
        task = asyncio.create_task(self._watch(process, kind, port))
        self._watching.add(task)

    async def _watch(self, process: asyncio.subprocess.Process, kind: str, port: int) -> None:
        """Report the first thing that the tool says that matters."""
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode(errors="replace").strip()
            if "stablished" in line or "registered and active" in line:
                self._tell(f"announced {kind} at port {port} by zeroconf")
            elif "ailed" in line or "rror" in line:
                self._tell(f"not announced by zeroconf: {line[:200]}")

    async def close(self) -> None:
        """End the announcements."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 2.0)
        for task in self._watching:
            task.cancel()
