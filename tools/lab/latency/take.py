"""One take: a probe is played over and over while what comes back is recorded, by compiled code in a driver's callback."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, index"

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.dsp.native import as_pointer, clock_ns, helper, record_at
from autovoice.dsp.toolchain import numba
from autovoice.rt import atomics
from autovoice.rt.memory import Arena, address_of
from autovoice.tools.lab.latency.delay import Array, LabError
from autovoice.tools.lab.latency.signals import Probe

ROWS = 2  # that a take records
STALL_S = 3.0  # without a callback, after which the server counts as gone
POLL_S = 0.02
CYCLE = np.dtype([("at", "i8"), ("frame", "i8"), ("called_ns", "i8"), ("since", "i8"), ("spent_ns", "i8")])
"""One callback: its first frame in the take, the driver's frame time, when we were called, how many frames of time that was
after the driver began the cycle, and how long we took."""

TAKE = np.dtype(
    [
        ("source", "i8"),  # address of float32 values that are played over and over
        ("source_frames", "i8"),
        ("lead", "i8"),  # frames of silence before them
        ("heard", "i8"),  # address of rows for what comes back
        ("stride", "i8"),  # float32 values from one row to the next
        ("frames", "i8"),  # to record
        ("at", "i8"),  # audio -> control: frames recorded so far
        ("go", "i8"),  # control -> audio: 1 = a take is laid out
        ("rows", "i8"),  # address of CYCLE rows, one a callback
        ("room", "i8"),
        ("logged", "i8"),
    ],
    align=True,
)
CYCLE_BYTES = CYCLE.itemsize
AT, GO = TAKE.fields["at"][1], TAKE.fields["go"][1]
SILENCE = np.float32(0)


class ServerTrouble(LabError):
    """A server that is not there, went away, or changed while it was measured."""


@dataclass(frozen=True, slots=True)
class Take:
    """What came back in one take."""

    silence: Array  # before anything was sent, shape (rows, frames)
    heard: Array  # shape (rows, repetitions, frames of one period)
    answer_us: Array  # how long after its cycle began we were called, one a callback, in whole frames of time
    jitter_us: Array  # how far the time between two callbacks was from the sound's own
    spent_us: Array  # how long each of our own callbacks took
    xruns: int  # that the server reported meanwhile
    whole: Array  # bool, shape (repetitions,): no cycle was lost in this one


def make_take(heard: Array, cycles: Array, lead: int, period: int, sample_rate: float, xruns: int) -> Take:
    """Cut what was heard, shape (rows, frames), into repetitions, and tell the times of the callbacks."""
    repeats = (heard.shape[1] - lead) // period
    jitter_us = np.abs(np.diff(cycles["called_ns"]) / 1e3 - np.diff(cycles["at"]) / sample_rate * 1e6)
    return Take(
        silence=heard[:, :lead],
        heard=heard[:, lead:].reshape(len(heard), repeats, period),
        answer_us=cycles["since"] / sample_rate * 1e6,
        jitter_us=jitter_us,
        spent_us=cycles["spent_ns"] / 1e3,
        xruns=xruns,
        whole=unbroken(cycles, lead, period, repeats),
    )


@helper
def exchange(take, row, target, source, frames):
    """Play and record one row of a take for one callback; `target` and `source` are addresses of the driver's buffers."""
    out = numba.carray(as_pointer(target), (frames,), np.float32)
    heard = numba.carray(as_pointer(source), (frames,), np.float32)
    probe = numba.carray(as_pointer(take.source), (take.source_frames,), np.float32)
    count = min(frames, take.frames - take.at)
    kept = numba.carray(as_pointer(take.heard + 4 * (row * take.stride + take.at)), (count,), np.float32)
    place = take.at - take.lead
    for i in range(count):
        kept[i] = heard[i]
        out[i] = probe[place % take.source_frames] if place >= 0 else SILENCE
        place += 1
    for i in range(count, frames):
        out[i] = SILENCE


@helper
def log_cycle(take, frame, called_ns, since):
    """Keep one callback's times, as its last act."""
    if take.logged < take.room:
        row = record_at(take.rows + CYCLE_BYTES * take.logged, CYCLE)
        row.at, row.frame, row.called_ns, row.since = take.at, frame, called_ns, since
        row.spent_ns = clock_ns() - called_ns
        take.logged += 1


@helper
def be_silent(target, frames):
    """Fill one of the driver's buffers with zeros."""
    out = numba.carray(as_pointer(target), (frames,), np.float32)
    for i in range(frames):
        out[i] = SILENCE


def run_take(
    io: Array, probe: Probe, period: int, repeats: int, lead: int, progress: Callable[[int], None]
) -> tuple[Array, Array]:
    """Let the callback that reads `io` (a TAKE first, `gone` behind) play and record; returns rows heard and CYCLE rows.

    Every page of the memory is touched before, and stays until the next take. Raises ServerTrouble where nobody calls back.
    """
    record, address, frames = io[0], address_of(io), lead + period * repeats
    atomics.store(address + GO, 0)
    room = frames // 16 + 64
    arena = Arena(4 * (period + 64) + ROWS * 4 * (frames + 64) + room * CYCLE.itemsize)
    source, heard, rows = arena.take("f4", period), arena.take("f4", ROWS * frames), arena.take(CYCLE, room)
    source[: len(probe.sound)] = probe.sound
    for field, value in (
        ("source", address_of(source)),
        ("source_frames", period),
        ("lead", lead),
        ("heard", address_of(heard)),
        ("stride", frames),
        ("frames", frames),
        ("at", 0),
        ("rows", address_of(rows)),
        ("room", room),
        ("logged", 0),
    ):
        record["take"][field] = value
    _keep[address] = arena
    atomics.store(address + GO, 1)
    try:
        _await(record, address, frames, progress)
    finally:
        atomics.store(address + GO, 0)
    return heard.reshape(ROWS, frames), rows[: int(record["take"]["logged"])].copy()


_keep: dict[int, Arena] = {}  # the memory of the newest take of each callback: a late one may still read it


def _await(record: Any, address: int, frames: int, progress: Callable[[int], None]) -> None:
    """Wait until a take is over, telling `progress` the frames; raises ServerTrouble where nobody calls back."""
    last, since = -1, time.monotonic()
    while (at := atomics.load(address + AT)) < frames:
        if at != last:
            last, since = at, time.monotonic()
        if record["gone"] or time.monotonic() - since > STALL_S:
            raise ServerTrouble("the audio server went away while it was measured; start it and measure again")
        progress(at)
        time.sleep(POLL_S)
    progress(frames)


def unbroken(cycles: Array, lead: int, period: int, repeats: int) -> Array:
    """Say for each repetition whether the driver's frame time ran on as the take did: bool of shape (repeats,)."""
    gaps = np.flatnonzero(np.diff(cycles["frame"]) % (1 << 32) != np.diff(cycles["at"]))
    whole = np.ones(repeats, bool)
    for at in cycles["at"][gaps + 1]:
        whole[max((int(at) - lead) // period, 0) : (int(at) - lead) // period + 1] = False
    return whole
