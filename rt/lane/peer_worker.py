"""A worker that runs a model: hop by hop in Python, without the compiler, so that it is up as fast as the model loads.

What it reads was written before the semaphore that woke it was posted; what it writes is complete before `done` says so, since
the interpreter's own lock, given up and taken between the two, orders them on every processor.
"""

from __future__ import annotations

import inspect
import mmap
import time
from typing import Any

import numpy as np
from autovoice.dsp.bus import BUS, SEGMENT
from autovoice.rt.lane import semaphore
from autovoice.rt.lane.layout import (
    ANSWER,
    JOIN_FIRST,
    LANE,
    POST,
    POST_BYTES,
    SEAT_0,
    SEAT_BYTES,
    WAKE,
)
from autovoice.rt.lane.peers import Peer, PeerError
from autovoice.rt.layout import HISTOGRAM, SUB_BUCKETS

BEAT_S = 0.05  # between signs of life while nothing comes in
WARM_UP = 3  # hops of silence before it says that it is ready: first calls are slow
LOUDEST = np.float32(1024)  # what the engine lets through
SMALLEST = np.finfo(np.float32).tiny  # below it are denormals


class PeerWorker:
    """Serves one seat of a lane with one model. It hears the mean of the channels, and all channels hear it."""

    def __init__(self, memory: mmap.mmap, seat: int, peer: Peer) -> None:
        """View the shared memory."""
        self._memory, self._peer = memory, peer
        self._lane = np.frombuffer(memory, LANE, 1)[0]
        self._seat = self._lane["seat"][seat]
        self._place = np.frombuffer(memory, np.uint8).ctypes.data + SEAT_0 + seat * SEAT_BYTES
        self._hop, self._rate = int(self._lane["hop"]), float(self._lane["sample_rate"])
        channels, frames = int(self._lane["channels"]), int(self._lane["mask"]) + 1
        self._input = self._line(int(self._lane["input"]), channels, frames)
        self._output = self._line(int(self._seat["output"]), channels, frames)
        size = (int(self._lane["page_mask"]) + 1) * int(self._lane["page_bytes"])
        pages = np.frombuffer(memory, np.uint8, size, int(self._lane["pages"])).reshape(-1, int(self._lane["page_bytes"]))
        self._bus = pages[:, : BUS.itemsize]
        self._takes_bus = len(inspect.signature(peer.process).parameters) > 1
        posts = np.frombuffer(memory, np.uint8, POST_BYTES * (int(self._lane["page_mask"]) + 1), int(self._seat["posts"]))
        posts.reshape(-1, POST_BYTES)[:, : POST.itemsize] = 0
        self._shift = 0  # frames by which less than what the lane declares is delayed

    def _line(self, offset: int, channels: int, frames: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(self._memory, np.float32, channels * frames, offset).reshape(channels, frames)

    def prepare(self) -> None:
        """Check the model with a few hops of silence, and leave it as new; raises PeerError."""
        own = self._afresh()
        declared = int(self._lane["inner"])
        if own > declared:
            raise PeerError(f'the model delays by {own} frames and the lane declares {declared}; give the lane "delay": {own}')
        self._shift = declared - own
        silence = np.zeros(self._hop, np.float32)
        for _ in range(WARM_UP):
            out = self._ask(silence, 0)
            if out.shape != (self._hop,):
                raise PeerError(f"the model was given {self._hop} frames and gave back an array of shape {out.shape}")
        self._afresh()

    def _afresh(self) -> int:
        return int(self._peer.prepare(self._rate, self._hop) or 0)

    def _ask(self, block: np.ndarray[Any, Any], frame: int) -> np.ndarray[Any, Any]:
        if not self._takes_bus:
            return np.asarray(self._peer.process(block), np.float32)
        numbers = np.arange(frame // SEGMENT, (frame + self._hop - 1) // SEGMENT + 1) & int(self._lane["page_mask"])
        bus = np.ascontiguousarray(self._bus[numbers]).view(BUS)[:, 0]
        process: Any = self._peer.process
        return np.asarray(process(block, bus), np.float32)

    def serve(self) -> bool:
        """Work until it is asked to leave, or more has come in than the lines hold; says whether it was asked."""
        lane, seat, hop = self._lane, self._seat, self._hop
        at, taken = -1, False
        while not seat["leave"]:
            now = time.monotonic_ns()
            seat["heartbeat_ns"] = now
            written = int(lane["written"])
            if at < 0 and written > 0:
                at = self._first_frame()
            if at >= 0 and at + hop <= written:
                if taken:
                    _count_ns(seat["wake_ns"], now - int(lane["posted_ns"]))
                if written - at > self._input.shape[1] // 2:
                    return False
                while at + hop <= int(lane["written"]):
                    self._work(at)
                    at += hop
                    time.sleep(0)  # gives the interpreter's lock up once: see above
                    seat["done"] = at + self._shift
                    seat["heartbeat_ns"] = time.monotonic_ns()
                    if lane["asks"]:
                        semaphore.post(self._place + ANSWER)
                spent = time.monotonic_ns() - now
                _count_ns(seat["work_ns"], spent)
                seat["busy_ns"] += spent
                seat["hops"] += 1
            taken = semaphore.wait(self._place + WAKE, BEAT_S)
        return True

    def _first_frame(self) -> int:
        join, first = int(self._seat["join"]), int(self._lane["first"])
        if join == JOIN_FIRST:
            return first // self._hop * self._hop if first >= 0 else -1
        return max(join, -1)

    def _work(self, at: int) -> None:
        """Give the model one hop, and put what it says where it belongs; what is no number becomes silence."""
        places = np.arange(at, at + self._hop) & (self._input.shape[1] - 1)
        heard = self._input[:, places]
        block = np.ascontiguousarray(heard[0] if len(heard) == 1 else heard.mean(axis=0, dtype=np.float32))
        first = int(self._lane["first"])
        if at < first:
            block[: first - at] = 0
        said = self._ask(block, at)
        if not np.isfinite(said).all():
            self._seat["nonfinite"] += int(np.count_nonzero(~np.isfinite(said)))
            said = np.nan_to_num(said, nan=0.0, posinf=0.0, neginf=0.0)
        said = np.where(np.abs(said) < SMALLEST, np.float32(0), np.clip(said, -LOUDEST, LOUDEST))
        self._output[:, (places + self._shift) & (self._input.shape[1] - 1)] = said


def _count_ns(histogram: np.ndarray[Any, Any], ns: int) -> None:
    """Count a time as `autovoice.rt.rows.count_ns` does."""
    octave = max(max(ns, SUB_BUCKETS).bit_length() - 6, 0)
    histogram[min(octave * SUB_BUCKETS + (max(ns, 0) >> octave), HISTOGRAM - 1)] += 1
