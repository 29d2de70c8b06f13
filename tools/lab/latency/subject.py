"""What is measured: our own engine in a process of its own, wired into the probe's path."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from autovoice.tools.lab.latency.delay import LabError
from autovoice.tools.lab.latency.prober import JackProber

START_S, STOP_S = 120.0, 15.0  # a cold cache compiles first
POLL_S = 0.05


class SubjectTrouble(LabError):
    """An engine that does not start, or did not live to the end; the message is its own."""


class LiveSubject:
    """`autovoice live` as a process; a context manager. `figures` is what its --json said, once it has ended."""

    def __init__(self, server: str | None, request: Mapping[str, Any], *, target: str) -> None:
        """Name the JACK port it plays to, and what `live` is asked for: chain, preset, stages and settings."""
        self.name = f"autovoice-subject-{os.getpid()}"
        arguments = ["--connect", f"out_1={target}", "--name", self.name, "--json"]
        if server is not None:
            arguments += ["--server", server]
        for option in ("chain", "preset"):
            if request.get(option) is not None:
                arguments += [f"--{option}", str(request[option])]
        for option, values in (("stage", request.get("stages", ())), ("set", request.get("settings", ()))):
            for value in values:
                arguments += [f"--{option}", value]
        self._command = [sys.executable, "-m", "autovoice.tools.cli", "live", *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.figures: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Start it."""
        self._said = tempfile.TemporaryFile("w+")  # not a pipe: nobody reads along, and a full one would stop it
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we end it when its figures can be had
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it as Ctrl-C would, and keep its figures."""
        if self._process is None:
            return
        died = self._process.poll() is not None
        if not died:
            self._process.send_signal(signal.SIGINT)
        try:
            out, _ = self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
        trouble = self._process.returncode != 0
        self._process = None
        if out.strip():
            self.figures = json.loads(out)
        said = self._last_line()
        self._said.close()
        if trouble and (error is None or (died and not isinstance(error, SubjectTrouble))):
            raise SubjectTrouble(said) from error  # a loop that it left open is no finding of its own

    def await_sound(self, prober: JackProber) -> None:
        """Wait until it plays to the prober; raises SubjectTrouble with its own message where it ends before."""
        until = time.monotonic() + START_S
        while f"{self.name}:out_1" not in prober.connections(prober.back):
            assert self._process is not None
            if self._process.poll() is not None:
                raise SubjectTrouble(self._last_line())
            if time.monotonic() > until:
                raise SubjectTrouble(f"autovoice live has not started within {START_S:g} s; try it by itself")
            time.sleep(POLL_S)

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = [line for line in self._said.read().replace("\r", "\n").splitlines() if line.strip()]
        return (lines[-1] if lines else "autovoice live ended without a word").removeprefix("autovoice: ")
