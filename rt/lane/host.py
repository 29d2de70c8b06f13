"""A lane as the engine's process keeps it: the memory it shares, its workers, and the thread that replaces them.

The keeper of a lane starts a worker and, where one is wanted, a second that is loaded and stands by. When the first ends, or
gives no sign of life, the second takes over at a hop to come and another is started, after a pause that grows where they keep
ending. All of it happens beside the audio thread, which only ever looks at who is active and what is there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from autovoice.dsp.stage import StageError
from autovoice.rt import atomics
from autovoice.rt.lane import semaphore
from autovoice.rt.lane.audio import WAIT_FOR
from autovoice.rt.lane.layout import (
    ACTIVE,
    ANSWER,
    DONE,
    FADE_MS,
    HOLD_MS,
    JOIN,
    JOIN_FIRST,
    JOIN_NOT_YET,
    LANE,
    NEVER,
    SEAT_0,
    SEAT_BYTES,
    SEATS,
    WAKE,
    Sizes,
    capacity_for,
    lay_offsets,
)
from autovoice.rt.lane.process import Worker, Workers
from autovoice.rt.lane.stage import LaneStage
from autovoice.rt.layout import (
    LANE_CLOSED,
    LANE_FAILED,
    LANE_KEY_BYTES,
    LANE_PLAYING,
    LANE_RESTARTING,
    LANE_STARTING,
    LANE_TROUBLE_BYTES,
    LANE_WAITING,
)
from autovoice.rt.memory import Arena, address_of

log = logging.getLogger(__name__)
HUNG_S = 0.6  # without a sign of life, after which a worker is killed
KEEP_S = 0.1  # between two looks at the workers
ROOM_S = 1.0  # between two looks for room for a second worker
LOADING_S = 60.0  # that a worker may take until it is ready
SOUND_S = 10.0  # that a worker must have played for its end to count as the first again
RETRY_S = (0.0, 0.25, 1.0, 5.0, 15.0)  # before another is started, by how many ended early in a row; the last repeats


class LaneError(StageError):
    """A worker that cannot do its work; the message is one line that says why."""


class Lane:
    """One lane of one engine. Methods are for control threads; `address` is what the audio thread is given."""

    def __init__(
        self,
        key: str,
        stage: LaneStage,
        options: Mapping[str, Any],
        *,
        sample_rate: float,
        channels: int,
        upstream: int,
        view: np.ndarray[Any, Any],
        counts: int,
        totals: int,
        freewheel: int,
        workers: Workers,
    ) -> None:
        """Lay the memory out; nothing runs before `start`.

        `view` is telemetry's row for it, the numbers after it are addresses there; `workers` says where workers come from.
        """
        self.key, self.stage, self.options = key, stage, dict(options)
        inner = stage.inner(sample_rate, options)
        latency = stage.latency(sample_rate, options)
        sizes = Sizes(channels, len(stage.parameters), capacity_for(latency, sample_rate))
        self._arena = Arena(sizes.total, shared="autovoice-lane")
        self._record = self._arena.take(LANE)
        self.record = lane = self._record[0]
        lay_offsets(lane, sizes)
        lane["pid"], lane["sample_rate"], lane["upstream"] = os.getpid(), sample_rate, upstream
        lane["hop"], lane["delay"], lane["inner"] = stage.hop(sample_rate, options), latency - inner, inner
        lane["settle"] = stage.settling(sample_rate)
        lane["fade"], lane["hold"] = round(FADE_MS * 1e-3 * sample_rate), round(HOLD_MS * 1e-3 * sample_rate)
        lane["waits"], lane["wait"], lane["freewheel"] = 1, WAIT_FOR.address, freewheel
        lane["counts"], lane["totals"] = counts, totals
        lane["first"], lane["level"], lane["missed"] = -1, lane["fade"], -1
        for index in range(SEATS):
            semaphore.lay(self._seat(index) + WAKE)
            semaphore.lay(self._seat(index) + ANSWER)
        self.view = view
        self._show(state=LANE_CLOSED, key=key)
        self.workers: dict[int, Worker] = {}  # by seat
        self.trouble = ""
        self.alone = False  # a second worker is wanted, and there is no room for it
        self._source = workers
        self._failures = 0
        self._launch_at_s = 0.0
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()  # the first worker is ready, or never will be
        self._closing = False
        self._bell = socket.socketpair()
        for end in self._bell:
            end.setblocking(False)

    @property
    def address(self) -> int:
        """Where the LANE record lies."""
        return address_of(self._record)

    @property
    def waits(self) -> bool:
        """Whether whoever renders waits for the worker."""
        return bool(self.record["waits"])

    @property
    def failed(self) -> bool:
        """Whether no worker will ever answer a renderer that waits."""
        return bool(self.record["failed"])

    @property
    def standby_missing(self) -> bool:
        """Whether a second worker is wanted and none is ready."""
        wanted = self.options["standby"] == "on" and not self.waits
        return wanted and sum(w.ready for w in list(self.workers.values())) < SEATS

    @property
    def _plan(self) -> dict[str, str]:
        return {"kind": self.stage.plan.kind, "text": self.stage.plan.text}

    def _seat(self, index: int) -> int:
        return self.address + SEAT_0 + index * SEAT_BYTES

    def start(self, *, live: bool) -> None:
        """Begin to start workers; `live`: the audio thread must never wait for them, and they are replaced."""
        if self._thread is not None:
            return
        self.record["waits"], self.record["failed"] = int(not live), 0
        self._closing, self._failures, self._launch_at_s = False, 0, 0.0
        atomics.store(self.address + ACTIVE, int(self.record["heard"]))  # so that the other seat is free
        self._ready.clear()
        self._show(state=LANE_STARTING)
        self._thread = threading.Thread(target=self._keep, name=f"autovoice-{self.key}", daemon=True)
        self._thread.start()

    def await_ready(self) -> None:
        """Return when the first worker is ready; raises LaneError where it will never be."""
        self._ready.wait(LOADING_S + 1.0)
        if self.failed or not any(w.ready for w in self.workers.values()):
            raise LaneError(f"{self.key}: {self.trouble or 'the worker does not answer'}")

    def check(self) -> None:
        """Raise LaneError where a renderer was left without its worker."""
        if self.failed:
            raise LaneError(f"{self.key}: {self.trouble}")

    def stop(self, *, wait: bool = True) -> None:
        """End the workers; may be called twice, and `start` again after it."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._bell[1].send(b"\0")
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def close(self) -> None:
        """End the workers and give the descriptors back; the memory goes with the last chain that has it."""
        self.stop()
        self._arena.close()
        for end in self._bell:
            end.close()

    def _show(self, **fields: Any) -> None:
        """Write what everybody may know."""
        for name, value in fields.items():
            if isinstance(value, str):
                size = LANE_KEY_BYTES if name == "key" else LANE_TROUBLE_BYTES
                text = np.zeros(size, np.uint8)
                data = value.encode()[:size]
                text[: len(data)] = np.frombuffer(data, np.uint8)
                self.view[name] = text
            else:
                self.view[name] = value

    # All below runs on the keeper's thread: a worker is told by the kernel when the thread that started it is gone.

    def _keep(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell[0], selectors.EVENT_READ)
            looked_s = time.monotonic()
            while not self._closing:
                self._refill(selector)
                for ready, _ in selector.select(self._pause_s()):
                    if ready.data is None:
                        with contextlib.suppress(BlockingIOError):
                            self._bell[0].recv(64)
                    else:
                        self._listen(ready.data, selector)
                now_s = time.monotonic()
                if now_s - looked_s < HUNG_S / 2:  # else it is this thread that was kept waiting
                    self._feel_pulse(now_s)
                looked_s = now_s
            for worker in list(self.workers.values()):
                self._part(worker, selector)
        self._show(state=LANE_CLOSED, pid=0, standby_pid=0)

    def _pause_s(self) -> float:
        wait_s = self._launch_at_s - time.monotonic()
        return min(KEEP_S, max(wait_s, 0.001)) if wait_s > 0 else KEEP_S

    def _refill(self, selector: selectors.BaseSelector) -> None:
        """Start a worker where one is missing and its time has come: first the one to be heard, then the one to stand by."""
        if time.monotonic() < self._launch_at_s or self.failed:
            return
        active = self._active()
        wanted = 2 if self.options["standby"] == "on" and not self.waits and active is not None else 1
        if len(self.workers) >= wanted:
            return
        self.alone = active is not None and not self._source.has_room(self._plan)
        if self.alone:
            self._launch_at_s = time.monotonic() + ROOM_S
            return
        for index in range(SEATS):
            if index not in self.workers and self._is_free(index):
                self._launch(index, selector)
                return

    def _active(self) -> Worker | None:
        """Return the worker that is heard, or will be next."""
        return next((w for w in self.workers.values() if w.playing_s is not None), None)

    def _is_free(self, index: int) -> bool:
        """Whether the audio thread reads nothing from a seat any more, nor will before it is made active."""
        if int(self.record["first"]) < 0:
            return True
        return int(self.record["heard"]) != index and atomics.load(self.address + ACTIVE) != index

    def _launch(self, index: int, selector: selectors.BaseSelector) -> None:
        seat = self.record["seat"][index]
        atomics.store(self._seat(index) + JOIN, JOIN_NOT_YET)
        atomics.store(self._seat(index) + DONE, NEVER)
        seat["start"], seat["heartbeat_ns"], seat["priority"], seat["leave"] = 0, 0, 0, 0
        try:
            worker = self._source.lease({"memory": self._arena.path, "seat": index, "plan": self._plan, "path": sys.path})
        except OSError as error:
            self._failed_to_start(f"no worker can be started: {error}")
            return
        self.workers[index] = worker
        seat["pid"] = worker.process.pid
        selector.register(worker.channel, selectors.EVENT_READ, worker)
        self._show_pids()

    def _listen(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        messages, there = worker.hear()
        if any("ready" in message for message in messages):
            self._on_ready(worker, selector)
        if not there and worker.seat in self.workers:
            self._on_end(worker, selector)

    def _on_ready(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        if not self._ready.is_set() and (line := self._source.refuse(worker)) is not None:
            self._end(worker, selector)
            self._failed_to_start(line)
            return
        worker.ready = True
        if self._active() is None:
            self._activate(worker)
        self._ready.set()
        self._show_pids()

    def _activate(self, worker: Worker) -> None:
        """Let a worker that is ready begin: at the very first frame, or at a hop to come."""
        lane, seat, place = self.record, self.record["seat"][worker.seat], self._seat(worker.seat)
        worker.playing_s = time.monotonic()
        if int(lane["first"]) < 0:
            lane["heard"], seat["start"] = worker.seat, NEVER
            join = JOIN_FIRST
        else:
            hop = int(lane["hop"])
            join = -(-(int(lane["written"]) + 1) // hop) * hop
            seat["start"] = join + int(lane["settle"]) + int(lane["inner"])
            atomics.store(place + DONE, join)
        atomics.store(place + JOIN, join)
        atomics.store(self.address + ACTIVE, worker.seat)
        semaphore.post(place + WAKE)
        self._show(state=LANE_PLAYING)

    def _on_end(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        """Take note of a worker that ended: another takes its place, at once or after a pause."""
        self._end(worker, selector)
        code = worker.process.returncode
        ended = signal.Signals(-code).name if code < 0 else f"exit {code}"
        trouble = worker.error or f"the worker ended ({ended})"
        played = worker.playing_s is not None and time.monotonic() - worker.playing_s > SOUND_S
        self._failures = 0 if played else self._failures + 1
        pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)] if not played else 0.0
        self._launch_at_s = time.monotonic() + pause_s
        log.warning("lane worker ended", extra={"lane": self.key, "trouble": trouble, "retry_s": pause_s})
        self._show(restarts=int(self.view["restarts"]) + 1)
        if not self._ready.is_set() or self.waits:  # the very first one, or somebody waits for it: another would do no better
            self._failed_to_start(trouble)
            return
        self._tell(trouble)
        if worker.playing_s is not None:
            heir = next((w for w in self.workers.values() if w.ready), None)
            if heir is not None:
                self._activate(heir)
            else:
                self._show(state=LANE_WAITING if pause_s else LANE_RESTARTING)
        elif self._active() is None:
            self._show(state=LANE_WAITING if pause_s else LANE_RESTARTING)
        self._show_pids()

    def _failed_to_start(self, trouble: str) -> None:
        self._tell(trouble)
        self.record["failed"] = 1
        self._show(state=LANE_FAILED)
        for index in range(SEATS):
            semaphore.post(self._seat(index) + ANSWER)
        self._ready.set()

    def _tell(self, trouble: str) -> None:
        self.trouble = " ".join(trouble.split())
        self._show(trouble=self.trouble)

    def _feel_pulse(self, now_s: float) -> None:
        """Kill a worker that hangs, in loading or in playing; its channel then says that it ended."""
        for worker in self.workers.values():
            beat_ns = int(self.record["seat"][worker.seat]["heartbeat_ns"])
            if not worker.ready and now_s - worker.began_s > LOADING_S:
                worker.error = f"the worker was not ready after {LOADING_S:g} s"
            elif worker.ready and beat_ns and time.monotonic_ns() - beat_ns > HUNG_S * 1e9:
                worker.error = f"the worker gave no sign of life for {HUNG_S:g} s"
            else:
                continue
            worker.process.kill()

    def _end(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        """Make sure that a worker is gone."""
        self.workers.pop(worker.seat, None)
        with contextlib.suppress(KeyError):
            selector.unregister(worker.channel)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not self._closing:
                worker.process.wait(0.2)  # it may be on its way out with a code of its own
        worker.end()

    def _part(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        """Let a worker go, as the lane closes: one that has its model is asked to leave, and may serve another lane."""
        if not worker.ready:
            self._end(worker, selector)
            return
        del self.workers[worker.seat]
        selector.unregister(worker.channel)
        self.record["seat"][worker.seat]["leave"] = 1
        semaphore.post(self._seat(worker.seat) + WAKE)
        self._source.give_back(worker)

    def _show_pids(self) -> None:
        active = self._active()
        others = [w.process.pid for w in self.workers.values() if w is not active]
        pid, priority = (active.process.pid, int(self.record["seat"][active.seat]["priority"])) if active else (0, 0)
        self._show(pid=pid, priority=priority, standby_pid=others[0] if others else 0)
