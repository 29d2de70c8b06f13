"""A surface's process as the Conductor sees it: started, listened to, started again when it died, told to stop."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)
RETRY_S = (0.2, 1.0, 5.0)  # between attempts to start it again; the last repeats
STOP_S = 2.0  # it gets to end by itself
WRITE_S = 1.0  # it may leave its end of the socket unread
LONGEST_LINE = 1 << 20  # bytes
FINAL = (0, 2, 3, 4)  # exit codes after which another start would not help: told to stop, misused, port taken, not our address


@dataclass(frozen=True, slots=True)
class Program:
    """What to start."""

    name: str  # `osc`, `web`
    module: str
    arguments: tuple[str, ...]
    producer: int
    environment: dict[str, str] = field(default_factory=dict)


class SurfaceHost:
    """One surface. `where` says what it attaches to, `heard` gets each of its messages on a thread of the host's."""

    def __init__(
        self, program: Program, where: Callable[[], dict[str, Any]], heard: Callable[[SurfaceHost, dict[str, Any]], None]
    ) -> None:
        """Take the plan; nothing runs yet."""
        self.program = program
        self._where, self._heard = where, heard
        self._closing = threading.Event()
        self._sending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._thread = threading.Thread(target=self._keep, name=f"autovoice-{program.name}", daemon=True)

    def start(self) -> None:
        """Start it and keep it running."""
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def tell(self, message: dict[str, Any]) -> bool:
        """Send a message; says whether it was taken. A surface that does not read is ended, and so started anew."""
        with self._sending:
            if self._channel is None:
                return False
            try:
                self._channel.sendall(json.dumps(message).encode() + b"\n")
            except TimeoutError:  # a part may have gone out: nothing that follows would be understood
                if self._process is not None:
                    self._process.kill()
                return False
            except OSError:  # it has ended, or is about to
                return False
            return True

    def attach(self) -> None:
        """Say (again) where the engine's pages lie."""
        self.tell({"attach": self._where()})

    def close(self) -> None:
        """End it; returns when it is gone."""
        self._closing.set()
        if not self.tell({"stop": True}) and self._process is not None:
            self._process.terminate()
        if self._thread.is_alive():
            self._thread.join(2 * STOP_S)

    def _keep(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            code, heard = self._run()
            if self._closing.is_set():
                return
            attempt = 0 if heard else attempt + 1
            if code in FINAL:
                self._heard(self, {"ended": code})
                return
            wait = RETRY_S[min(attempt, len(RETRY_S) - 1)]
            log.warning("surface ended", extra={"surface": self.program.name, "code": code, "retry_s": wait})
            self._heard(self, {"notice": f"the {self.program.name} server ended (exit {code}); it starts again in {wait:g} s"})
            self._closing.wait(wait)

    def _run(self) -> tuple[int, bool]:
        """Run it once; returns its exit code, and whether it said anything."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", self.program.module, "--channel", str(theirs.fileno()), *self.program.arguments]
        try:
            process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.program.environment},
                start_new_session=True,  # a Ctrl-C at the terminal is for the engine alone, which then says stop
            )
        except OSError as error:
            ours.close()
            self._heard(self, {"notice": f"the {self.program.name} server cannot be started: {error}"})
            return 2, False
        finally:
            theirs.close()
        ours.settimeout(WRITE_S)
        with self._sending:
            self._process, self._channel = process, ours
        self.attach()
        heard = self._listen(ours)
        with self._sending:
            self._channel = None
            ours.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(STOP_S), heard
        process.kill()
        return process.wait(), heard

    def _listen(self, channel: socket.socket) -> bool:
        """Hand its messages on until it closes its end; says whether there were any."""
        unread, heard = b"", False
        while True:
            try:
                piece = channel.recv(1 << 16)
            except (TimeoutError, ConnectionResetError):  # reset: it ended with something unread; its last words come after
                continue
            except OSError:
                return heard
            if not piece or len(unread) > LONGEST_LINE:
                return heard
            *lines, unread = (unread + piece).split(b"\n")
            for line in lines:
                heard = True
                self._heard(self, json.loads(line))
