"""Fixtures: real speech, a private JACK server, stage files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from autovoice.dsp.stage import stage_file as file_of
from autovoice.dsp.stage import stage_names
from autovoice.dsp.toolchain import is_cold
from scipy.signal import resample_poly
from support import SAMPLE_RATE, Audio, JackServer, need_jack

SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0930.wav")


def pytest_sessionstart(session: pytest.Session) -> None:
    """On a cold cache, compile in a second process, from the last stage to the first: the tests begin with the first."""
    if "PYTEST_XDIST_WORKER" not in os.environ and is_cold(file_of(name) for name in stage_names()):
        command = [sys.executable, "-m", "autovoice.tools.warm", "null", *reversed(stage_names())]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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
