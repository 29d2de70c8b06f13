"""A JACK server of our own, without hardware, for as long as a block of code runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from types import TracebackType
from typing import Self

START_S, STOP_S = 5.0, 5.0


class PrivateJack:
    """`jackd` with the dummy driver under a name of its own, real-time where the host allows it; a context manager.

    `available` says whether one can be had at all. Control thread only.
    """

    def __init__(self, name: str, *, sample_rate: int = 48_000, block: int = 64) -> None:
        """Choose the server's name, rate in Hz and block in frames."""
        self.name, self.sample_rate, self.block = name, sample_rate, block
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def available() -> bool:
        """Say whether `jackd` and JACK's library are installed."""
        if shutil.which("jackd") is None:
            return False
        try:
            import jack  # noqa: F401
        except (ImportError, OSError):
            return False
        return True

    def __enter__(self) -> Self:
        """Start it and wait until it takes clients; raises OSError where it does not."""
        if not self.available():
            raise OSError("jackd or JACK's library is not installed; install jackd2")
        for realtime in ("-R", "-r"):  # real time is the default of jackd 2: -r declines it
            arguments = [realtime, "-d", "dummy", "-r", str(self.sample_rate), "-p", str(self.block)]
            self._process = subprocess.Popen(
                ["jackd", "-n", self.name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "JACK_NO_AUDIO_RESERVATION": "1"},
                start_new_session=True,  # a Ctrl-C at the terminal is for us; we end the server when the sound has faded
            )
            if self._answers():
                return self
            self._end()
        raise OSError("jackd does not start; run `jackd -d dummy` to see why")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self._end()

    def _answers(self) -> bool:
        import jack

        jack.set_error_function(lambda message: None)
        jack.set_info_function(lambda message: None)
        deadline = time.monotonic() + START_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            try:
                jack.Client("autovoice-probe", servername=self.name, no_start_server=True).close()
            except jack.JackOpenError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
