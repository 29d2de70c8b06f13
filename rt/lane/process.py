"""A lane's worker as the engine's process holds it: started as a program of its own, never forked."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

MODULE = "autovoice.rt.lane.worker"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What keeps a model's library from taking every core, and so the audio thread's; a user's own setting stands."""

Order = dict[str, Any]
"""What a worker is told to do: `plan` (kind and text), `path` (where Python looks for modules), and with `memory` the lane's
and `seat` to work there; without, to load the plan only, for `sample_rate` and `hop`."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process, on a seat."""

    seat: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    plan: dict[str, str]
    began_s: float
    unread: bytes = b""
    ready: bool = False
    playing_s: float | None = None  # since when it is the active one
    error: str = ""

    def tell(self, order: Order) -> bool:
        """Give it work, as if it had just been started; says whether it is there to hear that."""
        self.seat, self.began_s = order.get("seat", 0), monotonic()
        self.ready, self.playing_s, self.error = False, None, ""
        self.channel.setblocking(True)
        try:
            self.channel.sendall(json.dumps(order).encode() + b"\n")
        except OSError:
            return False
        finally:
            self.channel.setblocking(False)
        return True

    def hear(self) -> tuple[list[dict[str, Any]], bool]:
        """Return what it has said since, without waiting, and whether it may say more; keeps its last error."""
        try:
            piece = self.channel.recv(1 << 16)
        except BlockingIOError:
            return [], True
        except OSError:
            piece = b""
        *lines, self.unread = (self.unread + piece).split(b"\n")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            self.error = message.get("error", self.error)
        return messages, bool(piece)

    def await_rest(self, seconds: float) -> bool:
        """Wait until it has nothing to do, its model still loaded; says whether that came in time."""
        end = monotonic() + seconds
        there = True
        while there and (left := end - monotonic()) > 0:
            select.select([self.channel], [], [], left)
            messages, there = self.hear()
            if any("resting" in message for message in messages):
                return True
        return False

    def end(self) -> None:
        """Make sure that it is gone."""
        self.process.kill()
        self.process.wait()
        self.channel.close()


def start_worker(order: Order) -> Worker:
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
    worker = Worker(0, process, ours, order["plan"], monotonic())
    worker.tell(order)
    return worker


class Workers(Protocol):
    """Where lanes have their workers from; methods are called by the lanes' keepers, each on a thread of its own."""

    def lease(self, order: Order) -> Worker:
        """Return a worker that was told what to do; whoever has it ends it, or gives it back. Raises OSError."""

    def refuse(self, worker: Worker) -> str | None:
        """Say in one line why a lane must not begin with a worker that is ready now; None: it may."""

    def has_room(self, plan: dict[str, str]) -> bool:
        """Say whether one more worker for a plan can be had, as far as that is known."""

    def give_back(self, worker: Worker) -> None:
        """Take a worker that was asked to leave its seat."""

    def rest(self) -> None:
        """End all that no lane has: the engine stops."""


class Fresh:
    """Workers that are started when they are asked for, and end when they are given back."""

    def lease(self, order: Order) -> Worker:
        """Start one; it ends with the thread that calls this."""
        return start_worker(order)

    def refuse(self, worker: Worker) -> str | None:
        """Refuse none."""
        return None

    def has_room(self, plan: dict[str, str]) -> bool:
        """Have room for any."""
        return True

    def give_back(self, worker: Worker) -> None:
        """End it."""
        worker.end()

    def rest(self) -> None:
        """Do nothing: a lane has each."""
