"""A lane's worker: the process in which stages or a model do their work, hop by hop, for the audio thread of another.

    python -m autovoice.rt.lane.worker CHANNEL

The channel is a socket to the engine: a JSON line comes in, saying what to run and where the memory lies; `{"ready": true}`
goes out, or `{"error": ...}`. Asked to leave its seat, the worker says `{"resting": true}`, keeps what it has loaded, and waits
for the next line, which names the memory of another lane that runs the same. When the engine ends, however it does, the channel
closes and the worker ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from autovoice.rt.lane.layout import LANE, MAGIC

PRIORITY = 2  # real time: before all ordinary programs and the surfaces of control, after every audio thread
RUNAWAY_S = 2  # of processor time without a pause, after which the kernel ends a real-time worker: it would stop the machine
_PR_SET_PDEATHSIG = 1


class Loaded(Protocol):
    """What runs, loaded, for one lane after the other."""

    def warm(self, sample_rate: float, hop: int) -> None:
        """Load what is only loaded when it is to play."""

    def lay(self, memory: mmap.mmap, seat: int) -> Callable[[], bool]:
        """Begin afresh on a seat of a lane; returns what works there, and says whether it was asked to leave or fell behind."""


class Stages:
    """Stages of AutoVoice."""

    def __init__(self, text: str) -> None:
        """Compile them, or find them compiled."""
        from autovoice.rt.chain import Chain
        from autovoice.rt.lane import chain_worker
        from autovoice.rt.lane.naming import PREFIX
        from autovoice.rt.lane.stage import load_lane

        self._code, self._chain = chain_worker, Chain.of(load_lane(PREFIX + text).plan.inner)

    def warm(self, sample_rate: float, hop: int) -> None:
        """Do nothing: all is loaded."""

    def lay(self, memory: mmap.mmap, seat: int) -> Callable[[], bool]:
        """Lay the chain out; it is served without the interpreter."""
        lane, code = np.frombuffer(memory, LANE, 1), self._code
        image = code.lay_chain(self._chain, lane[0])
        return lambda: bool(code.SERVE.ctypes(lane.ctypes.data, seat, image.address) == code.LEFT)


class Model:
    """A model of somebody else's."""

    def __init__(self, kind: str, text: str) -> None:
        """Load it; raises PeerError."""
        from autovoice.rt.lane.peers import open_peer

        self._peer = open_peer(kind, text)

    def warm(self, sample_rate: float, hop: int) -> None:
        """Have it load what it loads when it is prepared."""
        self._peer.prepare(sample_rate, hop)

    def lay(self, memory: mmap.mmap, seat: int) -> Callable[[], bool]:
        """Have it forget what it heard, and try it."""
        from autovoice.rt.lane.peer_worker import PeerWorker

        worker = PeerWorker(memory, seat, self._peer)
        worker.prepare()
        return worker.serve


def main() -> None:
    """Load, and work for one lane after the other until the engine ends."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, orders), daemon=True).start()
    try:
        order = orders.get()
        sys.path += [path for path in order["path"] if path not in sys.path]
        loaded = load(order["plan"])
        while True:
            if "memory" in order:
                trouble = _work(channel, order, loaded)
                if trouble:
                    break
            else:
                loaded.warm(order["sample_rate"], order["hop"])
            channel.sendall(b'{"resting": true}\n')
            order = orders.get()
    except Exception as error:
        trouble = str(error) if type(error).__name__ in ("StageError", "PeerError") else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps({"error": " ".join(trouble.split())}).encode() + b"\n")
    os._exit(1)


def _listen(channel: socket.socket, orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass on what comes in, a line at a time, and end at once when the engine's end of the channel closes."""
    unread = b""
    with contextlib.suppress(OSError):
        while piece := channel.recv(1 << 16):
            *lines, unread = (unread + piece).split(b"\n")
            for line in lines:
                orders.put(json.loads(line))
    os._exit(0)


def load(plan: dict[str, str]) -> Loaded:
    """Load what runs; only what it needs is imported."""
    return Stages(plan["text"]) if plan["kind"] == "chain" else Model(plan["kind"], plan["text"])


def _work(channel: socket.socket, order: dict[str, Any], loaded: Loaded) -> str:
    """Work on a seat of a lane until it is asked to leave; returns why it had to end, where it was not."""
    memory, seat = _map(order["memory"]), order["seat"]
    serve = loaded.lay(memory, seat)
    lane = np.frombuffer(memory, LANE, 1)[0]
    lane["seat"][seat]["priority"] = _ask_for_priority()
    channel.sendall(b'{"ready": true}\n')
    if serve():
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return ""
    return f"the worker fell more than {int(lane['mask'] + 1) / 2 / float(lane['sample_rate']):.2g} s behind: " + (
        "what it runs is slower than the sound, or the machine has too much to do"
    )


def _map(path: str) -> mmap.mmap:
    """Map the lane's memory, and touch every page of it."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
    if np.frombuffer(memory, LANE, 1)[0]["magic"] != MAGIC:
        raise ValueError("the lane's memory is not of this version")
    np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE].sum()
    return memory


def _ask_for_priority() -> int:
    """Ask for a real-time policy; returns the priority that was granted, 0 = none."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_RTTIME, (RUNAWAY_S * 1_000_000,) * 2)
    except (OSError, AttributeError):
        return 0
    return PRIORITY


if __name__ == "__main__":
    main()
