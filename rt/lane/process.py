"""A lane's worker as the engine's process holds it: started as a program of its own, never forked."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from time import monotonic
from typing import Any

MODULE = "autovoice.rt.lane.worker"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What keeps a model's library from taking every core, and so the audio thread's; a user's own setting stands."""


@dataclass(slots=True)
class Worker:
    """One worker process, on a seat."""

    seat: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    began_s: float
    unread: bytes = b""
    ready: bool = False
    playing_s: float | None = None  # since when it is the active one
    error: str = ""


def start_worker(seat: int, order: dict[str, Any]) -> Worker:
    """Start a worker and tell it what to do; raises OSError. It ends with the thread that calls this."""
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what it has to say comes over the channel
            env={**dict.fromkeys(THREADS, "1"), **os.environ},
            start_new_session=True,  # a Ctrl-C at the terminal is for the engine
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    with contextlib.suppress(OSError):
        ours.sendall(json.dumps(order).encode() + b"\n")
    ours.setblocking(False)
    return Worker(seat, process, ours, monotonic())
