"""PyAudio (an extra): a blocking stream around the engine, on a Python thread.

Python's own thread waits for the GIL here, so this backend makes no real-time promise: use it where only PyAudio is at hand.
PortAudio 19.6 has corrupted its own heap on JACK with blocking streams longer than the server's period, with plain PyAudio
too: on JACK give the server's block, or use the jack or portaudio backend.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.rt.backends.base import Backend, BackendError, Settings
from autovoice.rt.callback import RUN
from autovoice.rt.layout import SHUTDOWN, XRUNS
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor
from autovoice.rt.realtime import try_fifo


class PyAudioBackend(Backend):
    """A blocking duplex PyAudio stream; `device` is an index or a part of a name."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; raises BackendError without PyAudio."""
        try:
            import pyaudio
        except ImportError as error:
            raise BackendError(
                "PyAudio is not installed; pip install 'autovoice[pyaudio]', or use --backend portaudio"
            ) from error
        self._pyaudio = pyaudio
        self._settings = settings
        self._host: Any = None
        self._streams: list[Any] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.block = settings.block or 256

    def open(self) -> None:
        """Find the devices; raises BackendError that lists what there is."""
        self._host = self._pyaudio.PyAudio()
        found = [self._host.get_device_info_by_index(i) for i in range(self._host.get_device_count())]
        wanted = self._settings.device
        self._indices = []
        for side in ("maxInputChannels", "maxOutputChannels"):
            fit = [
                d
                for d in found
                if d[side] > 0 and (wanted is None or wanted in (str(d["index"]), d["name"]) or wanted in d["name"])
            ]
            if not fit:
                names = ", ".join(f"{d['index']}: {d['name']}" for d in found) or "none"
                self.close()
                raise BackendError(f"no PyAudio device {wanted or 'by default'}; devices are: {names}")
            self._indices.append(int(fit[0]["index"]))
            self.sample_rate = float(self._settings.sample_rate or fit[0]["defaultSampleRate"])

    def start(self, processor: Processor) -> None:
        """Open the stream and start the thread that reads, processes and writes."""
        # One duplex stream: PortAudio 19.6 crashes on JACK with a blocking stream for each way.
        self._channels = max(processor.in_channels, processor.out_channels)
        try:
            self._streams.append(
                self._host.open(
                    int(self.sample_rate),
                    self._channels,
                    self._pyaudio.paFloat32,
                    input=True,
                    output=True,
                    input_device_index=self._indices[0],
                    output_device_index=self._indices[1],
                    frames_per_buffer=self.block,
                )
            )
        except OSError as error:
            self.close()
            raise BackendError(f"PyAudio cannot open its streams: {error}; see `autovoice devices`") from error
        processor.telemetry.array[0]["driver"][SHUTDOWN] = 0
        self._thread = threading.Thread(target=self._work, args=(processor,), name="autovoice-pyaudio", daemon=True)
        self._thread.start()

    def _work(self, processor: Processor) -> None:
        try_fifo()
        stream = self._streams[0]
        frame = np.zeros((self.block, self._channels), np.float32)
        inputs = np.zeros((processor.in_channels, self.block), np.float32)
        outputs = np.zeros((processor.out_channels, self.block), np.float32)
        pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        for k, row in enumerate(inputs):
            pointers[k] = address_of(row)
        for k, row in enumerate(outputs):
            pointers[MAX_CHANNELS + k] = address_of(row)
        driver = processor.telemetry.array[0]["driver"]
        try:
            while not self._stop.is_set():
                if stream.get_read_available() > 2 * self.block:  # we were kept from reading in time
                    driver[XRUNS] += 1
                block = stream.read(self.block, exception_on_overflow=False)
                inputs[:] = np.frombuffer(block, np.float32).reshape(self.block, -1).T[: len(inputs)]
                RUN.ctypes(processor.address, address_of(pointers), address_of(pointers) + 8 * MAX_CHANNELS, self.block, 0)
                frame[:, : len(outputs)] = outputs.T
                stream.write(frame.tobytes(), exception_on_underflow=False)
        except OSError:  # the device went away; the engine's keeper sees it
            driver[SHUTDOWN] = 1

    def close(self) -> None:
        """Stop the thread and close the streams."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()
        self._streams = []
        if self._host is not None:
            self._host.terminate()
            self._host = None
