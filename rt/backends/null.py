"""A driver without hardware: a thread that keeps time by the clock and runs without the GIL.

For embedding, for servers and for tests. It plays a given recording into the chain, or silence, and discards the output
(record it with `Engine.record`).
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from autovoice.dsp.native import (
    add_relaxed,
    as_pointer,
    call_engine,
    clock_ns,
    helper,
    load_acquire,
    record_at,
    sleep_until,
    touch_stack,
)
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import atomics
from autovoice.rt.backends.base import Backend, Settings
from autovoice.rt.layout import TELEMETRY, XRUNS
from autovoice.rt.memory import Arena, address_of, aligned
from autovoice.rt.processor import Processor
from autovoice.rt.realtime import try_fifo

IO = np.dtype(
    [
        ("stop", "i8"),
        ("unused_line", "i8", (7,)),
        ("run", "i8"),
        ("engine", "i8"),
        ("driver", "i8"),  # address of the telemetry's driver row
        ("block", "i8"),
        ("block_ns", "f8"),
        ("channels", "i8"),
        ("source", "i8"),  # address of channels x source_frames float32, or 0
        ("source_frames", "i8"),
        ("loop", "i8"),
        ("at", "i8"),
        ("sink", "i8"),  # address of sink_rows x sink_frames float32 that take the output, or 0
        ("sink_rows", "i8"),
        ("sink_frames", "i8"),
        ("sink_at", "i8"),
        ("inputs", "i8", (MAX_CHANNELS,)),
        ("outputs", "i8", (MAX_CHANNELS,)),
    ],
    align=True,
)
INPUTS, OUTPUTS = IO.fields["inputs"][1], IO.fields["outputs"][1]
LATEST = 4  # periods behind the clock at which the loop gives the lost ones up and counts them as xruns


@helper
def _fill(io):
    """Copy the next block of the recording to the input buffers."""
    for c in range(io.channels):
        target = numba.carray(as_pointer(io.inputs[c]), (io.block,), np.float32)
        source = numba.carray(as_pointer(io.source + 4 * c * io.source_frames), (io.source_frames,), np.float32)
        for i in range(io.block):
            k = io.at + i
            if io.loop != 0:
                k = k % io.source_frames
            target[i] = source[k] if k < io.source_frames else np.float32(0)
    io.at += io.block


@helper
def _drain(io):
    """Copy the block that was played to the sink, as far as it has room."""
    count = min(io.block, io.sink_frames - io.sink_at)
    for c in range(io.sink_rows):
        source = numba.carray(as_pointer(io.outputs[c]), (io.block,), np.float32)
        target = numba.carray(as_pointer(io.sink + 4 * (c * io.sink_frames + io.sink_at)), (io.block,), np.float32)
        for i in range(count):
            target[i] = source[i]
    io.sink_at += count


def _loop(address):
    """Call the engine once a period until told to stop."""
    io = record_at(address, IO)
    touch_stack()
    began = clock_ns()
    period = np.int64(0)
    while load_acquire(address) == 0:
        period += 1
        due = began + np.int64(period * io.block_ns)
        if clock_ns() < due:
            sleep_until(due)
        late = clock_ns() - due
        if late > LATEST * io.block_ns:
            lost = np.int64(late / io.block_ns)
            add_relaxed(io.driver + 8 * XRUNS, lost)
            period += lost
        if io.source != 0:
            _fill(io)
        call_engine(io.run, io.engine, address + INPUTS, address + OUTPUTS, io.block, max(late, 0))
        if io.sink != 0:
            _drain(io)


class NullBackend(Backend):
    """The clock-paced driver.

    `options["source"]`, float32 (frames,) or (channels, frames), is played in from frame 0, over and over unless
    `options["loop"]` is False; `options["sink"]`, a C-contiguous float32 (out channels, frames), is filled from frame 0.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the settings; 48 kHz and 64 frames where they leave it open."""
        self.sample_rate = float(settings.sample_rate or 48_000)
        self.block = settings.block or 64
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._fifo = False

    @property
    def realtime(self) -> bool:
        """Whether the loop's thread got SCHED_FIFO."""
        return self._fifo

    @property
    def device_latency(self) -> int:
        """No device: nothing is added."""
        return 0

    def open(self) -> None:
        """Nothing to connect to."""

    def start(self, processor: Processor) -> None:
        """Start the loop on a thread of its own."""
        channels = max(processor.in_channels, processor.out_channels)
        buffers = Arena(aligned(IO.itemsize) + 2 * channels * aligned(self.block * 4))
        self._io = buffers.take(IO)
        io = self._io[0]
        for c in range(channels):
            io["inputs"][c] = address_of(buffers.take("f4", self.block))
            io["outputs"][c] = address_of(buffers.take("f4", self.block))
        io["run"], io["engine"] = processor.run, processor.address
        io["driver"] = address_of(processor.telemetry.array) + TELEMETRY.fields["driver"][1]
        io["block"], io["block_ns"], io["channels"] = self.block, self.block * 1e9 / self.sample_rate, processor.in_channels
        source: Any = self._settings.options.get("source")
        if source is not None:
            sound = np.atleast_2d(np.asarray(source, np.float32))
            self._source = np.ascontiguousarray(np.broadcast_to(sound, (processor.in_channels, sound.shape[1])))
            io["source"], io["source_frames"] = address_of(self._source), self._source.shape[1]
            io["loop"] = int(bool(self._settings.options.get("loop", True)))
        sink: Any = self._settings.options.get("sink")
        if sink is not None:
            self._sink = sink
            io["sink"], io["sink_rows"], io["sink_frames"] = address_of(sink), processor.out_channels, sink.shape[1]
        self._buffers = buffers
        ready = threading.Event()

        def work() -> None:
            self._fifo = try_fifo()
            ready.set()
            LOOP.ctypes(address_of(self._io))

        self._thread = threading.Thread(target=work, name="autovoice-null", daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        """Stop the loop and wait for its last block."""
        if self._thread is not None:
            atomics.store(address_of(self._io), 1)
            self._thread.join()
            self._thread = None


LOOP = compile_entry(_loop, numba.types.void(numba.types.uintp), extra_calls=frozenset({"clock_nanosleep"}))
