"""Offline: the live engine's own callback over a recording in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from autovoice.dsp.stage import BUS, MAX_CHANNELS, SEGMENT, StageError
from autovoice.rt.callback import RUN_FILE
from autovoice.rt.chain import Chain, Event, check_channels
from autovoice.rt.layout import MAX_PENDING
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor


def render(
    chain: Chain,
    dry: np.ndarray[Any, Any],
    *,
    sample_rate: float,
    block: int,
    events: Sequence[Event] = (),
    compensate: bool = True,
    channels: int | None = None,
    trace: bool = False,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Process a whole recording; returns (wet, bus at every SEGMENT). See Chain.render for the arguments."""
    sound = np.asarray(dry)
    if sound.ndim not in (1, 2) or sound.size == 0:
        raise StageError(f"audio must have the shape (frames,) or (channels, frames) with frames > 0, got {sound.shape}")
    if not 1 <= block <= 8192:
        raise StageError(f"block must be in 1..8192 frames, got {block}")
    given = check_channels(1 if sound.ndim == 1 else sound.shape[0])
    wanted = given if channels is None else check_channels(channels)
    processor = Processor(chain, sample_rate=sample_rate, in_channels=given, out_channels=wanted, block=block)
    with contextlib.closing(processor):
        skip = processor.latency if compensate else 0
        frames = sound.shape[-1] + skip
        inputs = np.zeros((given, frames), np.float32)
        inputs[:, : sound.shape[-1]] = sound
        outputs = np.zeros((wanted, frames), np.float32)
        bus = np.zeros(frames // SEGMENT + 2, BUS)
        if trace:
            processor.engine["trace"] = address_of(bus)
        _run(processor, inputs, outputs, sorted(events, key=lambda e: e.frame), block)
        processor.rack.check()
    wet = outputs[:, skip:]
    return (wet[0] if sound.ndim == 1 and wanted == 1 else wet), bus[: -(-frames // SEGMENT)]


def _run(
    processor: Processor, inputs: np.ndarray[Any, Any], outputs: np.ndarray[Any, Any], waiting: Sequence[Event], block: int
) -> None:
    """Process all frames of `inputs`, shape (channels, frames), with events sorted by frame."""
    frames = inputs.shape[1]
    pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
    at = 0
    while at < frames:
        # Groups go in as they come up, a bounded number at a time: a log may be longer than the ring.
        ahead = waiting[: MAX_PENDING // 4]
        until = frames if len(ahead) == len(waiting) else max(at + 1, ahead[-1].frame)
        for group_frame in sorted({e.frame for e in ahead if e.frame < until}):
            processor.send([(e.path, e.value) for e in ahead if e.frame == group_frame], group_frame)
        waiting = [e for e in waiting if e.frame >= until]
        count = min(frames, until) - at
        for k, row in enumerate(inputs):
            pointers[k] = address_of(row) + 4 * at
        for k, row in enumerate(outputs):
            pointers[MAX_CHANNELS + k] = address_of(row) + 4 * at
        RUN_FILE.ctypes(processor.run, processor.address, address_of(pointers), count, block)
        at += count
