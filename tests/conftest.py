"""Fixtures: real speech, a private JACK server, stage files."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import wave
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import voices
from autovoice.dsp.stage import stage_file as file_of
from autovoice.dsp.stage import stage_names
from autovoice.dsp.toolchain import is_cold
from scipy.signal import resample_poly
from support import SAMPLE_RATE, Audio, JackServer, need_jack

SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0930.wav")


def pytest_sessionstart(session: pytest.Session) -> None:
    """On a cold cache, compile in processes of their own, which coverage does not slow down by two thirds.

    Where tests run side by side, everything is compiled first, from both ends of the list. One run of some tests does not wait:
    it begins with the first stage, and meets what is compiled beside it from the last one on.
    """
    names = stage_names()
    if "PYTEST_XDIST_WORKER" in os.environ or not is_cold(file_of(name) for name in names):
        return
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_PROCESS")}
    drivers = {"jack" if shutil.which("jackd") else "null": names[::-1]}
    side_by_side = bool(getattr(session.config.option, "numprocesses", None))
    if side_by_side:
        drivers["null"] = names
    quiet: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    warming = [
        subprocess.Popen([sys.executable, "-m", "autovoice.tools.warm", driver, *order], **quiet)
        for driver, order in drivers.items()
    ]
    for process in warming if side_by_side else ():
        process.wait()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Before coverage combines what each process wrote: leave out what one wrote that was killed in the middle of it."""
    result = yield
    if "PYTEST_XDIST_WORKER" not in os.environ:
        own = Path(os.environ.get("COVERAGE_FILE", session.config.rootpath / ".coverage"))
        for file in own.parent.glob(f"{own.name}.*"):
            if not is_coverage(file):
                file.unlink(missing_ok=True)
    return result


def is_coverage(file: Path) -> bool:
    """Say whether a file of coverage's was written to the end."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as data:
            return data.execute("select version from coverage_schema").fetchone() is not None
    except sqlite3.Error:
        return False


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings, presets and takes of whoever runs the tests out of them, and the tests' out of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AUTOVOICE_") and name != "AUTOVOICE_CACHE_DIR"]:
            patch.delenv(name)
        for kind in ("CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(tmp_path_factory.mktemp(kind.lower())))
        yield


@pytest.fixture(scope="session")
def speech() -> Audio:
    """Three seconds of a woman reading Jane Austen (LibriVox, public domain), 48 kHz mono float32, peak 0.5."""
    if not SPEECH.is_file():
        pytest.skip(f"{SPEECH} not installed (Debian: pocketsphinx-testdata)")
    with wave.open(str(SPEECH)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float64)
        wide = resample_poly(sound, SAMPLE_RATE, file.getframerate())
    return (0.5 * wide / np.abs(wide).max()).astype(np.float32)


@pytest.fixture
def voice_table() -> Iterator[None]:
    """The converter's table of voices, of which a process has one: who was in a slot is in it again afterwards."""
    before = [voices.held(slot) for slot in range(voices.SLOTS)]
    yield
    for slot, one in enumerate(before):
        if one.name and voices.held(slot) is not one:
            voices.put_voice(slot, one.timbre, one.median_hz, one.name)


@pytest.fixture(scope="module")
def jack_server() -> Iterator[JackServer]:
    """A running server for a module's tests: 48 kHz, 64 frames."""
    need_jack()
    server = JackServer().start()
    yield server
    server.close()


@pytest.fixture
def own_server() -> Iterator[JackServer]:
    """A running server that a test may kill."""
    need_jack()
    server = JackServer().start()
    yield server
    server.close()


@pytest.fixture
def stage_file(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a stage of one's own and return its path."""

    def write(name: str, source: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return write
