"""What the benchmarks share: a real voice, a private JACK server, hogs for the GIL, and results that name their machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.dsp.native import call_engine, clock_ns
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.dsp.toolchain import numba
from autovoice.rt import Chain
from autovoice.rt.callback import RUN_FILE
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor

RATE, BLOCK = 48_000, 64  # Hz, frames
SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")
RESULTS = Path(__file__).parent / "results"
DEMO_CHAIN = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    """Return a man reading, 48 kHz, peak 0.5, shape (frames,), about 25 s (Debian's pocketsphinx-testdata)."""
    signal = pytest.importorskip("scipy.signal")
    clips = [soundfile.read(path, dtype="float32") for path in sorted(SPEECH.glob("*.wav"))]
    if not clips:
        pytest.skip("the voice is Debian's package pocketsphinx-testdata")
    sound = np.concatenate([signal.resample_poly(clip, RATE // rate, 1) for clip, rate in clips])
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture
def server() -> Iterator[str]:
    """Start a private JACK server on the dummy driver, real-time where the host allows; its name."""
    if shutil.which("jackd") is None:
        pytest.skip("jackd is Debian's package jackd2")
    name = f"autovoice-bench-{os.getpid()}"
    for realtime in (["-R"], ["-r"]):
        command = ["jackd", "-n", name, *realtime, "-d", "dummy", "-r", str(RATE), "-p", str(BLOCK)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waited = subprocess.run(["jack_wait", "-s", name, "-w", "-t", "5"], capture_output=True, check=False)
        if waited.returncode == 0 and process.poll() is None:
            break
        process.kill()
        process.wait()
    else:
        pytest.skip("no JACK server can be started here")
    yield name
    process.terminate()
    process.wait()


@contextlib.contextmanager
def gil_hogs(count: int = 2) -> Iterator[None]:
    """Keep the GIL busy from `count` Python threads."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(2000))

    threads = [threading.Thread(target=spin, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Offline:
    """One chain driven by compiled code in driver-sized blocks, with nothing of the interpreter in between."""

    def __init__(self, specs: list[Any], sound: np.ndarray, block: int = BLOCK) -> None:
        """Lay out the chain for a mono recording of shape (frames,)."""
        self.sound = np.ascontiguousarray(sound, np.float32)
        self.wet = np.zeros_like(self.sound)
        self.block = block
        self.processor = Processor(Chain(specs), sample_rate=RATE, in_channels=1, out_channels=1, block=block)

    def run(self) -> float:
        """Process the whole recording; the seconds it took."""
        pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        pointers[0], pointers[MAX_CHANNELS] = address_of(self.sound), address_of(self.wet)
        begin = time.perf_counter()
        RUN_FILE.ctypes(self.processor.run, self.processor.address, address_of(pointers), len(self.sound), self.block)
        return time.perf_counter() - begin

    def time_blocks(self) -> np.ndarray:
        """Process the whole recording; nanoseconds of each block, taken by compiled code, shape (blocks,)."""
        times = np.zeros(len(self.sound) // self.block, np.int64)
        pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        pointers[0], pointers[MAX_CHANNELS] = address_of(self.sound), address_of(self.wet)
        _time_blocks(self.processor.run, self.processor.address, pointers, self.block, times)
        return times


@numba.njit(error_model="numpy", nogil=True)
def _time_blocks(run, engine, pointers, block, times):  # type: ignore[no-untyped-def]
    inputs = pointers.ctypes.data
    for k in range(len(times)):
        start = clock_ns()
        call_engine(run, engine, inputs, inputs + 8 * MAX_CHANNELS, block, 0)
        times[k] = clock_ns() - start
        pointers[0] += 4 * block
        pointers[MAX_CHANNELS] += 4 * block


def machine() -> dict[str, str]:
    """Name the processor, kernel and commit that a figure belongs to."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": f"{cpu} x {os.cpu_count()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit,
    }


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], None]:
    """Return a function that keeps a result under benchmarks/results/, with its machine, and prints it."""

    def keep(result: dict[str, Any]) -> None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / (re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_") + ".json")
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps({**result, "machine": machine()}, indent=2) + "\n")
        partial.replace(path)
        print(json.dumps(result))

    return keep
