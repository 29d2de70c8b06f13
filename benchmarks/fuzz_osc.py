"""Throw broken packets at a live OSC server, and see whether it minds.

    python -m benchmarks.fuzz_osc [--packets N] [--seed S] [--json]

Half of the packets are valid ones with a few bytes changed, cut, doubled or spliced together, the rest is garbage; seven
of eight go by UDP from several senders, the others by TCP behind SLIP, behind a size, or behind neither. The server must be the
process that it was, still answer, have caught no error of its own, and hold as much memory as it did half-way, when its caches
were full.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from autovoice.rt.control.osc.clock import tag_of_realtime
from autovoice.rt.control.osc.framing import Sized, Slip
from autovoice.rt.control.osc.packet import IMMEDIATE, write

from benchmarks.control_osc import Running, bundle, running

SENDERS = 8  # UDP sockets
PER_S = 8_000.0  # packets in all: about what one sender with a broken program makes, and less than the server's rate limit
TCP_SHARE = 8  # one packet of so many goes by TCP
GROWTH_KIB = 1024  # that the process may gain in the second half: the allocator's slack
SETTLED_KIB = 4096  # ... and after the first tenth
ANSWER_S = 10.0
COUNTED_S = 10.0  # until the counts are told, which is once a second
CHAIN = ["gain", "gate", "limiter"]


def seeds(chance: random.Random) -> list[bytes]:
    """Return valid packets of every kind."""
    soon = tag_of_realtime(time.time_ns() + 20_000_000)
    singles = [
        write("/autovoice/gate/threshold", -40.0),
        write("/autovoice/norm/gate/threshold", 0.5),
        write("/autovoice/gain/gain", "-6"),
        write("/autovoice/gate/mode", 1),
        write("/autovoice/*/bypass"),
        write("/autovoice/{gain,gate}/[a-z]*", 1 << 40),
        write("//bypass", True),
        write("/mute"),
        write("/subscribe", "", 0, 25.0),
        write("/subscribe", "127.0.0.1", chance.randrange(1024, 65536), 1.0, "norm"),
        write("/unsubscribe"),
        write("/query", "gate"),
        write("/query", "/autovoice/pitch"),
        write("/refresh"),
        write("/heartbeat"),
        write("/tap"),
        write("/chain/move", "gate", 0),
        write("/chain/option", "gate", "lookahead", "1"),
    ]
    few = chance.sample(singles, 3)
    return [*singles, bundle(IMMEDIATE, *few), bundle(soon, few[0], bundle(soon + (1 << 20), *few)), bundle(1 << 63, few[0])]


def mutated(packet: bytes, chance: random.Random) -> bytes:
    """Change a packet a little."""
    data = bytearray(packet)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] = chance.randrange(256)
            case 1 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.randrange(1, 9)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                data[at:at] = data[at : at + chance.randrange(1, 65)]
            case _:
                data[at : at + 4] = chance.choice((-4, -1, 0, 1, 1 << 30)).to_bytes(4, "big", signed=True)
    return bytes(data)


def hostile(chance: random.Random) -> bytes:
    """Return a packet that is wrong on purpose."""
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.randrange(0, 200))
        case 1:
            return b"/" + chance.randbytes(chance.randrange(0, 60))
        case 2:
            return b"#bundle\0" + chance.randbytes(chance.randrange(0, 100))
        case 3:  # bundles in bundles
            packet = write("/mute")
            for _ in range(chance.randrange(1, 200)):
                packet = bundle(IMMEDIATE, packet)
            return packet[:60_000]
        case 4:  # more type tags than anyone needs
            return write("/a") + b"," + bytes(chance.choices(b"ifshdTFNI[]bmrtcSx", k=chance.randrange(1, 2000)))
        case 5:
            return write("/autovoice/" + "*?{a,b}[!x]"[: chance.randrange(12)] * chance.randrange(1, 40), 1.0)
        case 6:
            return bundle(chance.getrandbits(64), *[write(f"/{chance.randrange(99)}", 1)] * chance.randrange(1, 100))
        case _:
            return write("/autovoice/gate/threshold", float("nan"), "x" * chance.randrange(100))


class TcpSenders:
    """Streams that come and go, since the server ends those that make no sense."""

    def __init__(self, port: int, chance: random.Random) -> None:
        """Send to a port."""
        self._port, self._chance = port, chance
        self._open: list[tuple[socket.socket, Any]] = []
        self.connections = 0

    def send(self, packet: bytes) -> None:
        """Send a packet on some stream."""
        if len(self._open) < 4:
            self._connect()
        at = self._chance.randrange(len(self._open))
        stream, framing = self._open[at]
        data = framing.encode(packet) if framing is not None else packet
        if self._chance.random() < 0.02:
            data = mutated(data, self._chance) if data else b""
        try:
            stream.sendall(data)
            if select.select([stream], [], [], 0)[0] and not stream.recv(1 << 16):
                raise ConnectionError
            if self._chance.random() < 0.01:
                raise ConnectionError
        except OSError:
            stream.close()
            del self._open[at]

    def _connect(self) -> None:
        stream = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S)
        self._open.append((stream, self._chance.choice((Slip(), Slip(), Sized(), None))))
        self.connections += 1

    def close(self) -> None:
        """Leave."""
        for stream, _ in self._open:
            stream.close()


def memory_kib(pid: int) -> int:
    """Return the memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise LookupError(pid)


def counts(run: Running) -> dict[str, int]:
    """Return what the server counts, as of the last second."""
    found = run.page.read_board()
    return dict(found[1]["state"]["counts"].get("osc", {})) if found else {}


def answers(run: Running) -> bool:
    """Say whether the server answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_S)
        client.sendto(write("/heartbeat"), ("127.0.0.1", run.port))
        with contextlib.suppress(TimeoutError):
            return client.recv(1 << 16).startswith(b"/heartbeat")
    return False


def fuzz(run: Running, packets: int, seed: int, per_s: float = PER_S) -> dict[str, Any]:
    """Send so many packets; returns what became of the server."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        tcp = TcpSenders(run.port, chance)
        stack.callback(tcp.close)
        senders = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SENDERS)]
        valid = seeds(chance)
        before = counts(run)
        begin, held_kib = time.monotonic(), [memory_kib(run.osc_pid)]
        for k in range(packets):
            if k % 512 == 0:
                valid = seeds(chance)
            if k % -(-packets // 10) == 0 and k:
                held_kib.append(memory_kib(run.osc_pid))
            packet = mutated(chance.choice(valid), chance) if chance.random() < 0.5 else hostile(chance)
            if chance.randrange(TCP_SHARE) == 0:
                tcp.send(packet)
            else:
                senders[k % SENDERS].sendto(packet[:65_000], ("127.0.0.1", run.port))
            wait = begin + k / per_s - time.monotonic()
            if wait > 0.002:
                time.sleep(wait)
        took_s = time.monotonic() - begin
        alive = answers(run)
        end = time.monotonic() + COUNTED_S
        while (counted := counts(run)) == before or sum(counted.get(n, 0) for n in ("packets", "lost")) < 0.8 * packets:
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        held_kib.append(memory_kib(run.osc_pid))
        growth, settled = held_kib[-1] - held_kib[5], held_kib[-1] - held_kib[1]
        return {
            "packets": packets,
            "seed": seed,
            "tcp_connections": tcp.connections,
            "per_s": packets / took_s,
            "same_process": Path(f"/proc/{run.osc_pid}").exists(),
            "answers": alive,
            "growth_kib": growth,
            "growth_after_a_tenth_kib": settled,
            "held_kib": held_kib,
            "counts": counted,
            "misses": int(run.telemetry["misses"]),
            "passed": alive and counted.get("faults") == 0 and growth < GROWTH_KIB and settled < SETTLED_KIB,
        }


def main() -> int:
    """Fuzz and tell; returns 1 where the server minded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with running("null", chain=CHAIN) as run:
        result = fuzz(run, given.packets, given.seed)
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16} {value}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
