"""What the tests of the engine share: a JACK server of their own, a driver turned by hand, programs run apart."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.rt import Chain, atomics
from autovoice.rt.callback import RUN
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor
from autovoice.rt.realtime import may_fifo, try_fifo
from autovoice.rt.swap import NEXT

SAMPLE_RATE = 48_000  # Hz
PATIENCE_S = 60.0  # with a machine whose host takes a third of its time, and stands still now and then
DEMO = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]
"""The chain of `make demo`."""

IDENTITY = [
    {"stage": "highpass", "cutoff": 20.0},
    {"stage": "gate", "range": 0.0},
    "pitch",
    {"stage": "shift", "semitones": 0.0},
    {"stage": "compressor", "ratio": 1.0},
    {"stage": "limiter", "ceiling": 0.0},
]
"""The same stages, set to change nothing but the time."""

STALL = '''
"""A stage that burns time at one frame in a second."""

import numpy as np
from autovoice.dsp.stage import Param

PARAMETERS = (Param("turns", "", 0.0, 1e6, 0.0, smooth_ms=0, help="additions at each whole second"),)
STATE = [("sum", "f8")]


def process(s, p, x, block):
    """Add up numbers, one after the other."""
    for i in range(block.frames):
        if (block.frame + i) % 48000 == 24000:
            for k in range(np.int64(p.turns[i])):
                s[0].sum = s[0].sum * 0.999 + 1.0
'''
"""A user's stage that stalls."""

Audio = np.ndarray[Any, Any]
_numbers = itertools.count()


class JackServer:
    """A private `jackd` on the dummy driver; its name is in no one else's way."""

    def __init__(self, block: int = 64, sample_rate: int = SAMPLE_RATE) -> None:
        self.name = f"avtest_{os.getpid()}_{next(_numbers)}"
        self.block, self.sample_rate = block, sample_rate
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def start(self) -> JackServer:
        policy = "-R" if may_fifo() else "-r"
        command = ["jackd", "-n", self.name, policy, "-d", "dummy", "-r", str(self.sample_rate), "-p", str(self.block)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        environment = {**os.environ, "JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1"}
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            found = subprocess.run(["jack_lsp"], env=environment, capture_output=True, text=True)
            if "system:playback_1" in found.stdout:
                return self
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"jackd -n {self.name} does not answer; are eight servers registered in /dev/shm/jack-shm-registry?")

    @property
    def environment(self) -> dict[str, str]:
        """What makes JACK's own tools, and PortAudio, find this server."""
        return {"JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1"}

    def tool(self, *command: str, timeout: float = PATIENCE_S) -> str:
        """Run one of JACK's own programs against this server and return what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        return done.stdout

    def send(self, what: signal.Signals) -> None:
        """Send the server a signal."""
        assert self._process is not None
        self._process.send_signal(what)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self.send(how)
            self._process.wait(PATIENCE_S)
            self._process = None
            self._killed = how == signal.SIGKILL

    def close(self) -> None:
        """Stop for good. JACK has places for eight servers, and a killed one's is freed only when its name starts again."""
        self.stop()
        if self._killed:
            self.start().stop()


def need_jack() -> None:
    """Skip where JACK is not installed: it is a program of the system, no Python package could bring it."""
    missing = [program for program in ("jackd", "jack_lsp", "jack_iodelay") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: jackd2)")


class Crank:
    """A driver turned by hand: it hands a processor blocks of any size, and time stands still in between."""

    def __init__(
        self, chain: Chain, *, sample_rate: float = SAMPLE_RATE, ins: int = 1, outs: int | None = None, **settings: Any
    ):
        self.ins, self.outs = ins, ins if outs is None else outs
        self.processor = Processor(
            chain, sample_rate=sample_rate, in_channels=self.ins, out_channels=self.outs, block=64, **settings
        )

    def run(self, sound: Audio, cuts: int | Iterable[int] = 64) -> Audio:
        """Process (frames,) or (channels, frames) in blocks of `cuts`, repeated; returns (frames,) or (outs, frames)."""
        x = np.ascontiguousarray(np.broadcast_to(np.atleast_2d(np.asarray(sound, np.float32)), (self.ins, np.shape(sound)[-1])))
        y = np.full((self.outs, x.shape[1]), np.nan, np.float32)
        pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        at, sizes = 0, itertools.cycle([cuts] if isinstance(cuts, int) else cuts)
        while at < x.shape[1]:
            count = min(next(sizes), x.shape[1] - at)
            pointers[: self.ins] = [address_of(row[at:]) for row in x]
            pointers[MAX_CHANNELS : MAX_CHANNELS + self.outs] = [address_of(row[at:]) for row in y]
            RUN.ctypes(self.processor.address, address_of(pointers), address_of(pointers) + 8 * MAX_CHANNELS, count, 0)
            at += count
        return y[0] if self.outs == 1 and np.ndim(sound) == 1 else y

    def begin_swap(self, chain: Chain, **settings: Any) -> threading.Thread:
        """Publish a chain from another thread, as control does; the next frames that are a multiple of 64 adopt it."""
        thread = threading.Thread(target=self.processor.swap, args=(chain,), kwargs=settings)
        thread.start()
        while atomics.load(self.processor.address + NEXT) == 0:
            assert thread.is_alive(), "the swap was refused"
            time.sleep(0.0002)
        return thread

    def counter(self, name: str) -> int:
        return int(self.processor.telemetry[name])


def run_program(
    program: Path | str, *arguments: object, environment: dict[str, str] | None = None, timeout: float = 120.0
) -> dict[str, Any]:
    """Run a Python file, or source text, in a process of its own; return the JSON object of its last line."""
    code = [str(program)] if isinstance(program, Path) else ["-c", program]
    done = subprocess.run(
        [sys.executable, *code, *map(str, arguments)],
        env=program_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def program_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which a program finds this module and the same autovoice."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(extra or {})}


def found_at(part: Audio, whole: Audio, probe: int = 512) -> int | None:
    """Return the frame of `whole` at which `part` begins bit for bit, judged by its first `probe` frames of sound.

    Negative where `part` has more silence in front of it; None where it is nowhere.
    """
    start = int(np.flatnonzero(part)[0])  # silence would be found anywhere
    needle = np.ascontiguousarray(part[start : start + probe]).tobytes()
    haystack, at = np.ascontiguousarray(whole).tobytes(), -1
    while (at := haystack.find(needle, at + 1)) >= 0 and at % 4:
        pass
    return at // 4 - start if at >= 0 else None


def wait_until(condition: Any, seconds: float = PATIENCE_S) -> bool:
    """Wait for something to become true; say whether it did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def played(engine: Any, frames: int) -> bool:
    """Wait until that many frames more were played."""
    end = engine.stats().frames + frames
    return wait_until(lambda: engine.stats().frames >= end)


def until_valid(measure: Callable[[], Any], is_valid: Callable[[Any], bool], seconds: float = PATIENCE_S) -> Any:
    """Measure until a measurement is valid by its own account, which says nothing of its result; returns the last."""
    end = time.monotonic() + seconds
    while not is_valid(found := measure()) and time.monotonic() < end:
        pass
    return found


def at_priority(measure: Callable[[], Any]) -> Any:
    """Measure in a thread of real-time priority, as the audio thread is, where that is granted: before all other programs."""

    def work() -> Any:
        try_fifo()
        return measure()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def events_for(chain: Chain, frames: Sequence[int], random: np.random.Generator) -> list[Any]:
    """Return one random parameter move, a bypass now and then, for each frame: anything the tables allow."""
    from autovoice.rt import Event

    moves = []
    for frame in frames:
        placed = chain.placed[int(random.integers(len(chain.placed)))]
        if not placed.stage.parameters or random.random() < 0.1:
            moves.append(Event(int(frame), f"{placed.key}/bypass", float(random.integers(2))))
            continue
        p = placed.stage.parameters[int(random.integers(len(placed.stage.parameters)))]
        value = float(random.uniform(p.minimum, p.maximum))
        moves.append(Event(int(frame), f"{placed.key}/{p.name}", round(value) if p.scale in ("switch", "choice") else value))
    return moves
