"""What the web server costs, and whom: functions that measure, each returning its numbers.

    python -m benchmarks.control_web [--backend jack] [--json] [NAME...]

The engine, its Conductor and the web server run as they do live, in processes of their own; the clients are this process. All
share the machine, so with few cores the clients' own work is among what the audio thread has to bear.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from autovoice.rt.journal import ControlPage, Journal
from autovoice.rt.layout import MOVE, WEB_PRODUCER, XRUNS
from autovoice.rt.telemetry import Telemetry

CHAIN = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]
HOST = """
import contextlib, json, sys, time
import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, WebSettings
from autovoice.tools.lab.bench.hogs import gil
given = json.loads(sys.argv[1])
settings = {name: given[name] for name in ("backend", "server", "block")}
if given["backend"] == "null":
    t = np.arange(48000) / 48000
    settings["options"] = {"source": sum(0.2 * np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20)).astype(np.float32)}
with Engine(Chain(given["chain"]), name="web_bench", **settings) as engine:
    with Conductor(engine, web=WebSettings(port=0)) as conductor:
        while not conductor.web:
            time.sleep(0.01)
        pages = {"page": engine.processor.control_path, "telemetry": engine.processor.telemetry_path}
        print(json.dumps(conductor.web | pages | {"pid": conductor._hosts[0].pid}), flush=True)
        with gil(given["hogs"]) if given["hogs"] else contextlib.nullcontext():
            sys.stdin.read()
"""
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """An engine with its web server, seen from here."""

    port: int
    pid: int  # of the web server
    page: ControlPage
    telemetry: Telemetry

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """Return the processor time that the web server has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Return its resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def counters(self) -> dict[str, int]:
        """Return what went wrong so far on the audio thread."""
        t = self.telemetry
        return {
            "misses": int(t["misses"]),
            "xruns": t.driver(XRUNS),
            "late_wakes": int(t["late_wakes"]),
            "cycles": int(t["cycles"]),
        }


@contextlib.contextmanager
def running(backend: str = "null", *, hogs: int = 0, block: int = 64, chain: Any = CHAIN) -> Iterator[Running]:
    """Run an engine with its Conductor and web server in a process of its own; `jack` brings a server of its own along."""
    with contextlib.ExitStack() as stack:
        server = None
        if backend == "jack":
            from autovoice.tools.private_jack import PrivateJack

            server = stack.enter_context(PrivateJack("web_bench", block=block)).name
        given = json.dumps({"backend": backend, "server": server, "hogs": hogs, "block": block, "chain": chain})
        own = stack.enter_context(tempfile.TemporaryDirectory())  # not the user's presets and takes
        environment = {**os.environ, **dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), own)}
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", HOST, given]
        host = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
        assert host.stdin is not None
        assert host.stdout is not None
        stack.callback(host.stdin.close)
        where = json.loads(host.stdout.readline())
        page, telemetry = ControlPage.attach(where["page"]), Telemetry.attach(where["telemetry"])
        time.sleep(SETTLE_S)
        yield Running(where["port"], where["pid"], page, telemetry)


def pages(run: Running, *, count: int = 50, seconds: float = 30.0, hz: float = 30.0, spectrum: bool = True) -> dict[str, float]:
    """Many pages at once, each with meters and both spectra: what each gets, what the audio thread notices, what it costs."""
    return asyncio.run(_pages(run, count, seconds, hz, spectrum))


async def _pages(run: Running, count: int, seconds: float, hz: float, spectrum: bool) -> dict[str, float]:
    meters, bytes_ = np.zeros(count, np.int64), np.zeros(count, np.int64)

    async def look(session: aiohttp.ClientSession, k: int) -> None:
        async with session.ws_connect(run.url + "/live", compress=0) as one:
            await one.send_json({"type": "rate", "hz": hz, "spectrum": spectrum})
            async for message in one:
                bytes_[k] += len(message.data)
                meters[k] += message.type == aiohttp.WSMsgType.TEXT and message.data.startswith('{"type":"meters"')

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        looking = [asyncio.create_task(look(session, k)) for k in range(count)]
        await asyncio.sleep(SETTLE_S)
        meters[:], bytes_[:] = 0, 0
        before, cpu_s, own_s, began = run.counters(), run.cpu_s(), time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        after, took_s = run.counters(), time.monotonic() - began
        for task in looking:
            task.cancel()
        found = {
            "meters_hz_least": float(meters.min() / took_s) if count else 0.0,
            "meters_hz_mean": float(meters.mean() / took_s) if count else 0.0,
            "kilobytes_s_each": float(bytes_.mean() / took_s / 1e3) if count else 0.0,
            "web_cpu_percent": 100 * (run.cpu_s() - cpu_s) / took_s,
            "clients_cpu_percent": 100 * (time.process_time() - own_s) / took_s,
            "web_rss_mb": run.rss_mb(),
        }
    return found | {name: float(after[name] - before[name]) for name in after}


def first_byte(run: Running, *, count: int = 300) -> dict[str, float]:
    """From opening a connection to the page's first byte and to its last."""
    first_ms, whole_ms = [], []
    for _ in range(count):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", run.port)) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
            line.recv(1)
            first_ms.append(1e3 * (time.perf_counter() - began))
            while line.recv(1 << 16):
                pass
            whole_ms.append(1e3 * (time.perf_counter() - began))
    return {
        "first_byte_p50_ms": float(np.median(first_ms)),
        "first_byte_p99_ms": float(np.percentile(first_ms, 99)),
        "page_p50_ms": float(np.median(whole_ms)),
        "page_p99_ms": float(np.percentile(whole_ms, 99)),
    }


def moved_to_applied(run: Running, *, count: int = 1000, per_s: float = 100.0) -> dict[str, float]:
    """From just before a page sends a move to the start of the callback that applied it."""
    return asyncio.run(_moved_to_applied(run, count, per_s))


async def _moved_to_applied(run: Running, count: int, per_s: float) -> dict[str, float]:
    journal, sent_ns = Journal(run.page), {}
    random = np.random.default_rng(1)
    async with aiohttp.ClientSession() as session, session.ws_connect(run.url + "/live") as one:
        await one.send_json({"type": "rate", "hz": 0})
        for k in range(count):
            await asyncio.sleep(float(random.exponential(1 / per_s)))
            value = -1.0 - k / 64
            sent_ns[value] = time.monotonic_ns()
            await one.send_json({"type": "set", "values": {"gate/threshold": value}})
        await asyncio.sleep(0.5)
    entries = journal.read()
    ours = entries[(entries["kind"] == MOVE) & (entries["producer"] == WEB_PRODUCER)]
    late_ms = [(int(e["time_ns"]) - sent_ns[float(e["value"])]) / 1e6 for e in ours]
    found = {f"p{share:g}_ms": float(np.percentile(late_ms, share)) for share in (50, 95, 99)}
    return found | {"lost": float(count - len(ours))}


def from_start(run: Running, *, count: int = 5) -> dict[str, float]:
    """How long the server's process takes to import everything, alone."""
    took_s = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import autovoice.rt.control.web.__main__"], check=True)
        took_s.append(time.perf_counter() - began)
    return {"import_s": min(took_s)}


MEASUREMENTS: dict[str, Callable[[Running], dict[str, float]]] = {
    "idle": lambda run: pages(run, count=0, seconds=10.0),
    "one_page": lambda run: pages(run, count=1),
    "fifty_pages": pages,
    "fifty_pages_meters_alone": lambda run: pages(run, spectrum=False),
    "first_byte": first_byte,
    "moved_to_applied": moved_to_applied,
    "from_start": from_start,
}


def main() -> int:
    """Measure what is named, or everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="null", choices=("null", "jack"))
    parser.add_argument("--hogs", type=int, default=0, help="Python threads of the engine's process that hold the GIL")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("name", nargs="*", help=", ".join(MEASUREMENTS))
    given = parser.parse_args()
    with running(given.backend, hogs=given.hogs) as run:
        found = {name: MEASUREMENTS[name](run) for name in given.name or MEASUREMENTS}
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, numbers in found.items():
            print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in numbers.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
