"""A lane's worker: the process in which stages or a model do their work, hop by hop, for the audio thread of another.

    python -m autovoice.rt.lane.worker CHANNEL

The channel is a socket to the engine: one JSON line comes in, saying where the memory lies and what to run; `{"ready": true}`
goes out, or `{"error": ...}`. When the engine ends, however it does, the channel closes and the worker ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any

import numpy as np
from autovoice.rt.lane.layout import LANE, MAGIC

PRIORITY = 2  # real time: before all ordinary programs and the surfaces of control, after every audio thread
RUNAWAY_S = 2  # of processor time without a pause, after which the kernel ends a real-time worker: it would stop the machine
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load, say so, and work until the engine ends."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    order = _read_line(channel)
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
    sys.path += [path for path in order["path"] if path not in sys.path]
    try:
        memory = _map(order["memory"])
        serve = _build(memory, order["seat"], order["plan"])
        lane = np.frombuffer(memory, LANE, 1)[0]
        lane["seat"][order["seat"]]["priority"] = _ask_for_priority()
        channel.sendall(b'{"ready": true}\n')
        serve()
        trouble = f"the worker fell more than {int(lane['mask'] + 1) / 2 / float(lane['sample_rate']):.2g} s behind: " + (
            "what it runs is slower than the sound, or the machine has too much to do"
        )
    except Exception as error:
        trouble = str(error) if type(error).__name__ in ("StageError", "PeerError") else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps({"error": " ".join(trouble.split())}).encode() + b"\n")
    os._exit(1)


def _read_line(channel: socket.socket) -> dict[str, Any]:
    unread = b""
    while not unread.endswith(b"\n"):
        piece = channel.recv(1 << 16)
        if not piece:
            os._exit(0)
        unread += piece
    order: dict[str, Any] = json.loads(unread)
    return order


def _end_with(channel: socket.socket) -> None:
    """End at once when the engine's end of the channel closes."""
    with contextlib.suppress(OSError):
        while channel.recv(1 << 10):
            pass
    os._exit(0)


def _map(path: str) -> mmap.mmap:
    """Map the lane's memory, and touch every page of it."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size)
    if np.frombuffer(memory, LANE, 1)[0]["magic"] != MAGIC:
        raise ValueError("the lane's memory is not of this version")
    np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE].sum()
    return memory


def _build(memory: mmap.mmap, seat: int, plan: dict[str, str]) -> Any:
    """Load what runs, and return what to call for it to work; only what it needs is imported."""
    if plan["kind"] == "chain":
        from autovoice.rt.chain import Chain
        from autovoice.rt.lane.chain_worker import SERVE, lay_chain
        from autovoice.rt.lane.naming import PREFIX
        from autovoice.rt.lane.stage import load_lane

        lane = np.frombuffer(memory, LANE, 1)
        image = lay_chain(Chain.of(load_lane(PREFIX + plan["text"]).plan.inner), lane[0])
        return lambda: (SERVE.ctypes(lane.ctypes.data, seat, image.address), image)
    from autovoice.rt.lane.peer_worker import PeerWorker
    from autovoice.rt.lane.peers import open_peer

    worker = PeerWorker(memory, seat, open_peer(plan["kind"], plan["text"]))
    worker.prepare()
    return worker.serve


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
