"""How fast and how faithfully OSC reaches the audio thread: functions that measure, each returning its numbers.

    python -m benchmarks.control_osc [--backend jack] [--json] [NAME...]

The engine, its Conductor and the OSC server run as they do live, in processes of their own; the sender is this process, and
what became of each packet is read from the journal that the audio thread writes. With `hogs` two Python threads of the engine's
process never let go of the GIL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.rt.control.osc.clock import tag_of_realtime
from autovoice.rt.control.osc.packet import HEADER, IMMEDIATE, write
from autovoice.rt.journal import ControlPage, Journal
from autovoice.rt.layout import ENGINE_PRODUCER, MOVE, OSC_PRODUCER
from autovoice.rt.telemetry import Telemetry
from autovoice.rt.worst import WorstPage

if TYPE_CHECKING:
    from autovoice.tools.lab.bench.timer import HostTimer

CHAIN = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]
HOST = """
import contextlib, json, sys, time
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, OscSettings
from autovoice.tools.lab.bench.hogs import gil
given = json.loads(sys.argv[1])
settings = {name: given[name] for name in ("backend", "server", "block")}
with Engine(Chain(given["chain"]), name="osc_bench", **settings) as engine:
    with Conductor(engine, osc=OscSettings(port=0)) as conductor:
        while not conductor.osc:
            time.sleep(0.01)
        p = engine.processor
        pages = {"page": p.control_path, "telemetry": p.telemetry_path, "worst": p.worst_path}
        print(json.dumps(conductor.osc | pages), flush=True)
        with gil(given["hogs"]) if given["hogs"] else contextlib.nullcontext():
            sys.stdin.read()
"""
INSIDE = """
import contextlib, json, os, sys, threading
from autovoice.rt import Chain, Engine
from autovoice.tools.lab.bench.hogs import gil
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
given = json.loads(sys.argv[1])
settings = {name: given[name] for name in ("backend", "server", "block")}
with Engine(Chain(given["chain"]), name="osc_bench", **settings) as engine:
    dispatcher = Dispatcher()
    dispatcher.map("/autovoice/*", lambda address, value: engine.set(address.removeprefix("/autovoice/"), value))
    server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    p = engine.processor
    pages = {"page": p.control_path, "telemetry": p.telemetry_path, "worst": p.worst_path}
    print(json.dumps({"port": server.server_address[1], "pid": os.getpid()} | pages), flush=True)
    with gil(given["hogs"]) if given["hogs"] else contextlib.nullcontext():
        sys.stdin.read()
"""
"""The control: the same with a server of python-osc on a thread of the engine's process."""

ADDRESS = "/autovoice/gate/threshold"  # -90..0 dB, no click whatever is sent
FLOOD_S = 60.0
DRAIN_S = 1.0  # after the last packet, until everything must have arrived


@dataclass(frozen=True, slots=True)
class Running:
    """An engine with its OSC server, seen from here."""

    port: int
    page: ControlPage
    telemetry: Telemetry
    socket: socket.socket
    osc_pid: int
    producer: int = OSC_PRODUCER
    worst: WorstPage | None = None

    def send(self, packet: bytes) -> None:
        """Send one datagram."""
        self.socket.sendto(packet, ("127.0.0.1", self.port))

    def journal(self) -> Journal:
        """Follow the journal from now on."""
        return Journal(self.page)


@contextlib.contextmanager
def running(
    backend: str = "null", *, hogs: int = 0, block: int = 64, chain: Any = CHAIN, inside: bool = False
) -> Iterator[Running]:
    """Run an engine with its Conductor and OSC server in a process of its own; `jack` brings a server of its own along.

    With `inside` it is the control: python-osc's own server on a thread of the engine's process.
    """
    with contextlib.ExitStack() as stack:
        server = None
        if backend == "jack":
            from autovoice.tools.private_jack import PrivateJack

            server = stack.enter_context(PrivateJack("osc_bench", block=block)).name
        given = json.dumps({"backend": backend, "server": server, "hogs": hogs, "block": block, "chain": chain})
        command = [sys.executable, "-c", INSIDE if inside else HOST, given]
        own = stack.enter_context(tempfile.TemporaryDirectory())  # not the user's presets and takes
        environment = {**os.environ, **dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), own)}
        pipe = subprocess.PIPE
        host = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
        assert host.stdin is not None and host.stdout is not None
        stack.callback(host.stdin.close)
        where = json.loads(host.stdout.readline())
        page, telemetry = ControlPage.attach(where["page"]), Telemetry.attach(where["telemetry"])
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.bind(("127.0.0.1", 0))
        time.sleep(0.5)
        producer, worst = ENGINE_PRODUCER if inside else OSC_PRODUCER, WorstPage.attach(where["worst"])
        yield Running(where["port"], page, telemetry, client, where["pid"], producer, worst)


def ours(entries: np.ndarray[Any, Any], producer: int = OSC_PRODUCER) -> np.ndarray[Any, Any]:
    """Return the moves that came by OSC."""
    return entries[(entries["kind"] == MOVE) & (entries["producer"] == producer)]


def _spread(values_ms: Any) -> dict[str, float]:
    shares = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9, "max_ms": 100}
    return {name: float(np.percentile(values_ms, share)) for name, share in shares.items()}


def sent_to_applied(run: Running, *, count: int = 3000, per_s: float = 250.0, seed: int = 1) -> dict[str, float]:
    """From just before a packet is sent to the start of the callback that applied it; packets at random times."""
    chance = random.Random(seed)
    journal = run.journal()
    sent_ns: dict[int, int] = {}
    for k in range(count):
        time.sleep(chance.expovariate(per_s))
        packet = write(ADDRESS, -1.0 - k / 64)  # exact in float32, so that each is told from the others
        sent_ns[k] = time.monotonic_ns()
        run.send(packet)
    time.sleep(DRAIN_S)
    entries = ours(journal.read(), run.producer)
    applied_ns = {round(-(float(e["value"]) + 1.0) * 64): int(e["time_ns"]) for e in entries}
    took_ms = [(applied_ns[k] - sent_ns[k]) * 1e-6 for k in sent_ns if k in applied_ns]
    return {"sent": count, "lost": count - len(took_ms), **_spread(took_ms)}


@contextlib.contextmanager
def stolen() -> Iterator[dict[str, float]]:
    """While the block runs, watch what share of all cores' time the hypervisor takes; the mapping holds it afterwards."""

    def look() -> tuple[int, int]:
        counts = [int(n) for n in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
        return counts[7], sum(counts)  # user, nice, system, idle, iowait, irq, softirq, steal: proc(5)

    found: dict[str, float] = {}
    before = look()
    yield found
    steal, every = (now - then for now, then in zip(look(), before, strict=True))
    found["stolen_share"] = steal / max(every, 1)


@contextlib.contextmanager
def _suffered(run: Running) -> Iterator[dict[str, float]]:
    """Count what befalls the audio thread while the block runs; the mapping holds it afterwards."""
    before = {name: int(run.telemetry[name]) for name in ("misses", "events_unknown", "late_wakes")}
    xruns = run.telemetry.driver(0)
    found: dict[str, float] = {}
    yield found
    found["xruns"] = run.telemetry.driver(0) - xruns
    found |= {name: int(run.telemetry[name]) - count for name, count in before.items()}


@contextlib.contextmanager
def judged(run: Running, timer: HostTimer) -> Iterator[dict[int, bool]]:
    """While the block runs, ask of each missed deadline, by its cycle, whether a core stood still at the time."""
    began_ns, done, verdicts = time.monotonic_ns(), threading.Event(), {}
    assert run.worst is not None
    page = run.worst

    def look() -> None:
        usual_us = run.telemetry.stats().callback_us.p50
        for block in page.blocks():
            new = block.start_ns >= began_ns and block.cycle not in verdicts  # the timer's own record goes round
            if new and block.spent_us > block.period_us:
                verdicts[block.cycle] = timer.explains(block.start_ns, block.spent_us, usual_us)

    def follow() -> None:
        seen = int(run.telemetry["misses"])
        while not done.wait(0.1):  # the page keeps the newest hundred that were slow or late
            misses = int(run.telemetry["misses"])
            if misses != seen:
                seen = misses
                look()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield verdicts
    finally:
        done.set()
        follower.join()
        look()


def idle(run: Running, *, seconds: float = FLOOD_S) -> dict[str, float]:
    """Count for as long as a flood takes what the audio thread suffers when nobody sends: the host's own doing."""
    with stolen() as host, _suffered(run) as suffered:
        time.sleep(seconds + DRAIN_S)
    return {**suffered, **host}


def flood(run: Running, *, per_s: int = 10_000, seconds: float = FLOOD_S, burst: int = 10) -> dict[str, float]:
    """Send steadily, and count what the audio thread applied, from when to when it did, and what it suffered."""
    with stolen() as host, _suffered(run) as suffered:
        before, began_s = _cpu_s(run.osc_pid), time.monotonic()
        found = _send_steadily(run, per_s, seconds, burst)
        found["server_core_share"] = (_cpu_s(run.osc_pid) - before) / (time.monotonic() - began_s)
    return {**found, **suffered, **host}


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has had."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)


def _send_steadily(run: Running, per_s: int, seconds: float, burst: int) -> dict[str, float]:
    journal, taken, done = run.journal(), [], threading.Event()

    def follow() -> None:
        while not done.wait(0.05):
            taken.append(ours(journal.read(), run.producer))

    reader = threading.Thread(target=follow)
    reader.start()
    total = int(per_s * seconds)
    packets = [write(ADDRESS, -(k % 5760) / 64) for k in range(5760)]
    sent_ns = np.zeros(total, np.int64)
    begin = time.monotonic()
    for k in range(0, total, burst):
        wait = begin + k / per_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        for n in range(k, min(k + burst, total)):
            sent_ns[n] = time.monotonic_ns()
            run.send(packets[n % 5760])
    took_s = time.monotonic() - begin
    time.sleep(DRAIN_S)
    done.set()
    reader.join()
    taken.append(ours(journal.read(), run.producer))
    entries = np.concatenate(taken)
    result: dict[str, float] = {
        "sent": total,
        "applied": len(entries),
        "lost": total - len(entries),
        "journal_lapped": float(journal.lapped),
        "per_s": total / took_s,
    }
    if len(entries) == total:
        values = np.round(-entries["value"] * 64).astype(int)
        result["out_of_order"] = int(np.sum(values != np.arange(total) % 5760))
        result |= _spread((entries["time_ns"] - sent_ns) * 1e-6)
    return result


def bundle(tag: int, *messages: bytes) -> bytes:
    """Return a bundle."""
    return HEADER + tag.to_bytes(8, "big") + b"".join(len(m).to_bytes(4, "big") + m for m in messages)


def bundle_spread(run: Running, *, count: int = 200, size: int = 20) -> dict[str, float]:
    """The most frames between the first and the last move of a bundle, half of it in a bundle within."""
    journal, spread = run.journal(), []
    for k in range(count):
        moves = [write(ADDRESS, -float(k % 90)) for _ in range(size // 2)]
        run.send(bundle(IMMEDIATE, *moves, bundle(IMMEDIATE, *moves)))
        time.sleep(0.003)
        if k % 20 == 19:
            time.sleep(0.05)
    time.sleep(DRAIN_S)
    frames = ours(journal.read())["frame"]
    spread = [int(np.ptp(group)) for group in np.split(frames, np.arange(size, len(frames), size))]
    return {"bundles": count, "moves_lost": count * size - len(frames), "spread_frames": max(spread)}


def timetag_error(run: Running, *, count: int = 200, ahead_s: float = 0.1, settle_s: float = 5.0) -> dict[str, float]:
    """What lies between the time a bundle names and the time of the frame at which it was applied.

    The frame's time is that of its callback, as the driver timed it: the server can only foretell it from those before.
    """
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            frame, now_ns = int(run.telemetry["now_frame"]), int(run.telemetry["now_ns"])
            if int(run.telemetry["now_frame"]) == frame:
                seen.append((frame, now_ns))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(settle_s)
    journal, due_ns = run.journal(), []
    chance = random.Random(2)
    for k in range(count):
        real, mono = time.time_ns(), time.monotonic_ns()
        tag_ns = real + round(ahead_s * 1e9)
        due_ns.append(mono + round(ahead_s * 1e9))
        run.send(bundle(tag_of_realtime(tag_ns), write(ADDRESS, -1.0 - k / 64)))
        time.sleep(chance.uniform(0.005, 0.02))
    time.sleep(DRAIN_S + ahead_s)
    done.set()
    watcher.join()
    entries = ours(journal.read())
    frames, times_ns = np.array(seen).T
    per_frame_ns = 1e9 / float(run.telemetry["sample_rate"])
    errors_ms = []
    for entry in entries:
        frame, due = int(entry["frame"]), due_ns[round(-(float(entry["value"]) + 1.0) * 64)]
        near = int(np.argmin(np.abs(frames - frame)))
        errors_ms.append((times_ns[near] + (frame - frames[near]) * per_frame_ns - due) * 1e-6)
    return {"sent": count, "lost": count - len(errors_ms), "mean_ms": float(np.mean(errors_ms)), **_spread(np.abs(errors_ms))}


def switches(run: Running, *, count: int = 200) -> dict[str, dict[str, float]]:
    """From a packet with mute, bypass or panic to the callback that applied it."""
    return {name: _switch(run, f"/{name}", count) for name in ("mute", "bypass", "panic")}


def _switch(run: Running, address: str, count: int) -> dict[str, float]:
    chance = random.Random(3)
    took_ms = []
    for k in range(count):
        time.sleep(chance.uniform(0.01, 0.03))
        journal = run.journal()
        sent_ns = time.monotonic_ns()
        run.send(write(address) if address == "/panic" else write(address, k % 2 == 0))
        end = time.monotonic() + 1.0
        while not len(entries := ours(journal.read())) and time.monotonic() < end:
            time.sleep(0.001)
        took_ms.append((int(entries[0]["time_ns"]) - sent_ns) * 1e-6 if len(entries) else math.inf)
    run.send(write("/mute", False))
    return _spread(took_ms)


MEASURES: dict[str, tuple[Callable[[Running], Any], int]] = {
    "idle": (sent_to_applied, 0),
    "hogs": (sent_to_applied, 2),
    "silence": (idle, 0),
    "flood": (flood, 0),
    "bundles": (bundle_spread, 0),
    "timetags": (timetag_error, 0),
    "switches": (switches, 2),
}
"""By name: what to measure, and the hogs in the engine's process."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--backend", default="null", choices=("null", "jack"))
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = {}
    for name in given.names or MEASURES:
        measure, hogs = MEASURES[name]
        with running(given.backend, hogs=hogs, block=given.block) as run:
            results[name] = measure(run)
        if not given.json:
            print(name, json.dumps(results[name]), flush=True)
    if given.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
