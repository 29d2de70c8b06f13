"""The prober's twin for PortAudio: one duplex stream plays the probe and records what the device's loop brings back.

What comes back runs through the chain in the same callback, so one take shows the device alone and the device with the chain.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, index"

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from autovoice.dsp.native import add_relaxed, call_engine, clock_ns, load_acquire, record_at, store_release
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import atomics
from autovoice.rt.backends.base import Settings
from autovoice.rt.backends.portaudio import DROPPED, PRIMING, PortAudioBackend
from autovoice.rt.chain import Chain
from autovoice.rt.memory import Arena, address_of
from autovoice.rt.processor import Processor
from autovoice.tools.lab.latency.signals import Probe
from autovoice.tools.lab.latency.take import AT, GO, ROWS, TAKE, Take, be_silent, exchange, log_cycle, make_take, run_take

LONGEST_BLOCK = 8192  # frames
IO = np.dtype(
    [
        ("take", TAKE),
        ("run", "i8"),
        ("engine", "i8"),
        ("input", "i8"),  # the engine takes addresses of addresses
        ("output", "i8"),
        ("wet", "f4", (LONGEST_BLOCK,)),
        ("nowhere", "f4", (LONGEST_BLOCK,)),
        ("seen", "i8"),
        ("xruns", "i8"),
        ("gone", "i8"),
    ],
    align=True,
)
INPUT, OUTPUT, WET, NOWHERE, XRUNS, GONE = (
    IO.fields[name][1] for name in ("input", "output", "wet", "nowhere", "xruns", "gone")
)
DEVICE_ROW, CHAIN_ROW = range(ROWS)


def _callback(inputs, outputs, frames, time_info, flags, address):
    io = record_at(address, IO)
    take = io.take
    if flags & DROPPED and io.seen >= PRIMING:
        add_relaxed(address + XRUNS, 1)
    io.seen += 1
    called_ns = clock_ns()
    playing = load_acquire(address + GO) != 0 and take.at < take.frames
    io.input, io.output = inputs, address + WET
    call_engine(io.run, io.engine, address + INPUT, address + OUTPUT, frames, 0)
    if playing:
        exchange(take, CHAIN_ROW, address + NOWHERE, address + WET, frames)
        exchange(take, DEVICE_ROW, outputs, inputs, frames)
        log_cycle(take, take.at, called_ns, 0)
        store_release(address + AT, min(take.at + frames, take.frames))
    else:
        be_silent(outputs, frames)
    return np.int32(0)


def _finished(address):
    store_release(address + GONE, 1)


_T = numba.types
CALLBACK = compile_entry(_callback, _T.int32(_T.uintp, _T.uintp, _T.int64, _T.uintp, _T.int64, _T.uintp))
FINISHED = compile_entry(_finished, _T.void(_T.uintp))


class DuplexProber:
    """A duplex stream with a chain behind its input; a context manager. Control thread only."""

    def __init__(self, chain: Chain, *, device: str | None, block: int | None, sample_rate: float | None) -> None:
        """Find the device and check what is asked for; raises BackendError that lists what there is."""
        self._backend = PortAudioBackend(Settings(device=device, block=block, sample_rate=sample_rate))
        self._backend.open()
        self.sample_rate, self.block = self._backend.sample_rate, self._backend.block
        self._chain = chain
        self._stream: Any = None
        self.name = self._backend.device_name
        self.declared = 0  # frames, of input and output together, as PortAudio says

    def __enter__(self) -> Self:
        """Open the stream; raises BackendError."""
        processor = Processor(self._chain, sample_rate=self.sample_rate, in_channels=1, out_channels=1, block=self.block)
        self._arena = Arena(IO.itemsize)
        self._io = self._arena.take(IO)
        self._io[0]["run"], self._io[0]["engine"] = processor.run, processor.address
        self._processor = processor
        self._stream = self._backend.open_stream(CALLBACK.address, FINISHED.address, self._address, (1, 1))
        self.declared = round(sum(self._stream.latency) * self.sample_rate)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it; no callback runs any more when this returns."""
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.close(ignore_errors=True)
            self._stream = None
            self._processor.close()

    @property
    def _address(self) -> int:
        return address_of(self._io)

    @property
    def xruns(self) -> int:
        """The drop-outs that PortAudio flagged, after the first callbacks."""
        return atomics.load(self._address + XRUNS)

    def take(
        self, probe: Probe, *, period: int, repeats: int, lead: int, progress: Callable[[int], None] = lambda frames: None
    ) -> Take:
        """Send a probe as JackProber.take does; the rows are the device's loop, and the chain behind it."""
        xruns = self.xruns
        heard, cycles = run_take(self._io, probe, period, repeats, lead, progress)
        return make_take(heard, cycles, lead, period, self.sample_rate, self.xruns - xruns)
