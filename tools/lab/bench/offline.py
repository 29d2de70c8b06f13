"""A chain driven by compiled code, as fast as it goes: what it costs, with nothing of the interpreter in the figure."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import time
from typing import Any

import numpy as np
from autovoice.dsp.native import as_pointer, call_engine, clock_ns
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import Chain
from autovoice.rt.callback import RUN_FILE
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor

Array = np.ndarray[Any, Any]
RATE, BLOCK = 48_000, 64  # Hz, frames: what everything is measured at unless it says otherwise
POINTERS = 2 * MAX_CHANNELS  # inputs, then outputs


class Offline:
    """One chain driven in a driver's blocks over a recording, mono (frames,) or of shape (channels, frames)."""

    def __init__(
        self,
        chain: Chain | list[Any],
        sound: Array,
        block: int = BLOCK,
        sample_rate: float = RATE,
        out_channels: int | None = None,
    ) -> None:
        """Lay out the chain, or that of the specs; `out_channels` makes stereo of mono."""
        self.sound = np.ascontiguousarray(sound, np.float32)
        inputs = np.atleast_2d(self.sound)
        self.wet = np.zeros_like(self.sound) if out_channels is None else np.zeros((out_channels, inputs.shape[1]), np.float32)
        self._rows = list(inputs), list(np.atleast_2d(self.wet))
        self.block = block
        whole = chain if isinstance(chain, Chain) else Chain(chain)
        ins, outs = (len(rows) for rows in self._rows)
        self.processor = Processor(whole, sample_rate=sample_rate, in_channels=ins, out_channels=outs, block=block)

    @property
    def frames(self) -> int:
        """Frames of the recording."""
        return int(self.sound.shape[-1])

    def _pointers(self) -> Array:
        pointers = np.zeros(POINTERS, np.int64)
        for first, rows in zip((0, MAX_CHANNELS), self._rows, strict=True):
            pointers[first : first + len(rows)] = [address_of(row) for row in rows]
        return pointers

    def run(self) -> float:
        """Process the whole recording; the seconds it took."""
        pointers = self._pointers()
        begin = time.perf_counter()
        RUN_FILE.ctypes(self.processor.run, self.processor.address, address_of(pointers), self.frames, self.block)
        return time.perf_counter() - begin

    def time_blocks(self) -> Array:
        """Process the whole blocks of the recording; nanoseconds of each, taken by compiled code, shape (blocks,)."""
        return time_rounds([self])[:, 0]


def time_rounds(instances: list[Offline], stop_after: int | None = None) -> Array:
    """Process block after block of several chains in turns, as one thread that serves them all.

    Nanoseconds of each block of each, shape (rounds, instances); all must have the same block and length.
    """
    first = instances[0]
    rounds = first.frames // first.block if stop_after is None else stop_after
    tables = np.concatenate([one._pointers() for one in instances])
    engines = np.array([one.processor.address for one in instances], np.int64)
    times = np.zeros((rounds, len(instances)), np.int64)
    _TIME.ctypes(
        first.processor.run, address_of(engines), address_of(tables), len(instances), first.block, address_of(times), rounds
    )
    for one in instances:
        one.processor.telemetry  # noqa: B018  # keeps the processors alive until the compiled loop is over
    return times


def least_of(
    passes: int,
    chain: Chain | list[Any],
    sound: Array,
    block: int = BLOCK,
    sample_rate: float = RATE,
    out_channels: int | None = None,
) -> Array:
    """Return nanoseconds of each block, the least of several passes: what the machine's other work adds is gone.

    A fresh chain for every pass: each does the same work at the same block.
    """
    runs = [Offline(chain, sound, block, sample_rate, out_channels).time_blocks() for _ in range(passes)]
    return np.asarray(np.min(runs, axis=0))


def _time(run, engines, tables, count, block, times, rounds):
    for r in range(rounds):
        for k in range(count):
            engine = numba.carray(as_pointer(engines), (count,), np.int64)[k]
            inputs = tables + 8 * POINTERS * k
            start = clock_ns()
            call_engine(run, engine, inputs, inputs + 8 * MAX_CHANNELS, block, 0)
            spent = clock_ns() - start
            numba.carray(as_pointer(times), (rounds, count), np.int64)[r, k] = spent
            pointers = numba.carray(as_pointer(inputs), (POINTERS,), np.int64)
            for c in range(POINTERS):
                if pointers[c] != 0:
                    pointers[c] += 4 * block


_U, _I = numba.types.uintp, numba.types.int64
_TIME = compile_entry(_time, numba.types.void(_U, _U, _U, _I, _I, _U, _I))
