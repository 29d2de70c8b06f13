"""The command line, run as a person runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from autovoice.tools import cli as command_line

TIMEOUT_S = 300.0  # a cold cache compiles everything first


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self) -> str:
        """Return the one line of a refusal, after making sure that it was one."""
        lines = [line for line in self.err.splitlines() if not line.startswith("autovoice: compil")]
        assert self.code == 2, self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("autovoice: ")
        assert "Traceback" not in self.err
        return lines[0]


Cli = Callable[..., Ran]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run a command line to its end."""

    def run(*arguments: object, **options: Any) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "autovoice.tools.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            **options,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, which has imported and compiled everything before."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = command_line.run([str(argument) for argument in arguments])
        return Ran(code, *capfd.readouterr())

    return run


class Started:
    """A command that runs on: wait for it to sound, send it signals, collect what it left."""

    def __init__(self, arguments: tuple[object, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autovoice.tools.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.err = ""

    def await_line(self, part: str) -> str:
        """Read stderr up to the line that holds `part`."""
        assert self.process.stderr
        while line := self.process.stderr.readline():
            self.err += line
            if part in line:
                return line
        raise AssertionError(f"{part!r} never came; stderr was {self.err!r}")

    def sounds(self) -> None:
        """Wait for the first status line."""
        self.await_line("latency")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ran:
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return Ran(self.process.returncode, out, self.err + err)


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Start a command and go on; what still runs at the end is killed."""
    yield from _starting()


@pytest.fixture(scope="module")
def start_once() -> Iterator[Callable[..., Started]]:
    """Start a command that runs on for a whole module of tests."""
    yield from _starting()


def _starting() -> Iterator[Callable[..., Started]]:
    running: list[Started] = []

    def begin(*arguments: object) -> Started:
        running.append(Started(arguments))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """One second of two-channel sound at 44.1 kHz: a gliding tone in noise, float32."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(7)
    time_s = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * (150 + 60 * time_s) * time_s)
    sound = 0.3 * np.stack([tone, -tone], 1) + 0.02 * rng.standard_normal((len(time_s), 2))
    path = tmp_path / "voice.wav"
    soundfile.write(path, sound.astype(np.float32), 44_100, subtype="FLOAT")
    return path
