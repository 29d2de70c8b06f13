"""JACK's own latency meter, jack_iodelay, for the tests that hold ours against it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from types import TracebackType

from autovoice.rt import Engine
from support import JackServer, wait_until

FRESH = 8_000  # frames from one reading to the next: it prints every half second, whether it has measured since or not


class Meter:
    """jack_iodelay, wired through an engine: it sends tones and measures their phases when they come back."""

    def __init__(self, server: JackServer, client: str, engine: Engine) -> None:
        self._engine = engine
        self._readings: list[tuple[float, int]] = []  # frames of delay, frames that the engine had played
        environment = {**os.environ, **server.environment}
        command = ["stdbuf", "-oL", "jack_iodelay"]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert wait_until(lambda: "jack_delay:in" in server.tool("jack_lsp"))
        server.tool("jack_connect", "jack_delay:out", f"{client}:in_1")
        server.tool("jack_connect", f"{client}:out_1", "jack_delay:in")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if found := re.match(r"\s*([\d.]+) frames", line):
                self._readings.append((float(found[1]), self._engine.stats().frames))

    def frames(self) -> float:
        """Return the round trip in frames, once two readings in a row agree, each of sound played since the one before."""
        begun = self._engine.stats().frames

        def agreed() -> bool:
            if len(self._readings) < 2:
                return False
            (one, first), (other, second) = self._readings[-2:]
            return first - begun > FRESH < second - first and abs(one - other) < 0.01

        assert wait_until(agreed), self._readings[-5:]
        return self._readings[-1][0]

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._reader.join()
        self._process.wait()
