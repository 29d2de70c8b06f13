"""The lanes of one processor: laid out with the chain that needs them, kept while it plays, closed when it plays no more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from autovoice.dsp.stage import StageError
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.image import ChainImage
from autovoice.rt.lane.host import Lane
from autovoice.rt.lane.process import Fresh, Workers
from autovoice.rt.lane.stage import LaneStage
from autovoice.rt.layout import FREEWHEEL, LANE_VIEW, MAX_LANES, TELEMETRY, field_offset
from autovoice.rt.memory import address_of

ROWS, TOTALS, DRIVER = (field_offset(TELEMETRY, name) for name in ("lane", "lanes", "driver"))

Lanes = Mapping[str, Lane]
"""A chain's lanes, by the stages' names in it."""
NO_LANES: Lanes = {}


class Rack:
    """Methods are for control threads."""

    def __init__(self, telemetry: Any, sample_rate: float, channels: int, workers: Workers | None = None) -> None:
        """Hold no lane yet; `telemetry` is the array of the counters, shape (1,); None: each lane starts its own workers."""
        self._workers = workers or Fresh()
        self._telemetry, self._sample_rate, self._channels = telemetry, sample_rate, channels
        self._lock = threading.RLock()
        self._rows: list[Lane | None] = [None] * MAX_LANES
        self._pending: list[Lane] = []  # that no chain has taken up yet
        self._live: bool | None = False  # None: no workers are wanted now

    def lay(self, chain: Chain, old: ChainImage | None = None) -> dict[str, Lane]:
        """Return a chain's lanes, by key, with workers that are ready; raises StageError where one cannot work.

        A lane of the `old` chain goes on where it is the same and hears the same: then no stage in front of it has changed.
        """
        before = old.chain.placed if old is not None else ()
        lanes: dict[str, Lane] = {}
        new: list[Lane] = []
        upstream = 0
        same = True
        try:
            for k, p in enumerate(chain.placed):
                same = same and k < len(before) and _is_same(p, before[k])
                if isinstance(p.stage, LaneStage):
                    if same and old is not None and p.key in old.lanes:
                        lanes[p.key] = old.lanes[p.key]
                    else:
                        lanes[p.key] = self._lay_one(p, p.stage, upstream)
                        new.append(lanes[p.key])
                upstream += p.stage.latency(self._sample_rate, p.options)
            if self._live is not None:
                for lane in new:
                    lane.start(live=self._live)
                for lane in new:
                    lane.await_ready()
        except BaseException:
            for lane in new:
                self._close(lane)
            raise
        return lanes

    def _lay_one(self, placed: Placed, stage: LaneStage, upstream: int) -> Lane:
        with self._lock:
            row = next((k for k, lane in enumerate(self._rows) if lane is None), None)
            if row is None:
                raise StageError(f"at most {MAX_LANES} lanes play at once, during a swap those of both chains")
            return self._lay_at(row, placed, stage, upstream)

    def _lay_at(self, row: int, placed: Placed, stage: LaneStage, upstream: int) -> Lane:
        counters = address_of(self._telemetry)
        at = counters + ROWS + row * LANE_VIEW.itemsize
        view = self._telemetry[0]["lane"][row]
        view["counts"], view["restarts"], view["trouble"] = 0, 0, 0
        lane = Lane(
            placed.key,
            stage,
            placed.options,
            sample_rate=self._sample_rate,
            channels=self._channels,
            upstream=upstream,
            view=view,
            counts=at + field_offset(LANE_VIEW, "counts"),
            totals=counters + TOTALS,
            freewheel=counters + DRIVER + 8 * FREEWHEEL,
            workers=self._workers,
        )
        self._rows[row] = lane
        self._pending.append(lane)
        return lane

    def _close(self, lane: Lane) -> None:
        lane.close()
        lane.view["key"] = 0
        with self._lock:
            self._rows = [None if one is lane else one for one in self._rows]
            self._pending = [one for one in self._pending if one is not lane]

    def keep(self, *images: ChainImage | None) -> None:
        """Close the lanes of chains that play no more: all but those of these, and those that no chain has taken up yet."""
        kept = {id(lane) for image in images if image is not None for lane in image.lanes.values()}
        with self._lock:
            self._pending = [lane for lane in self._pending if id(lane) not in kept]
            kept |= {id(lane) for lane in self._pending}
        for lane in self._lanes():
            if id(lane) not in kept:
                self._close(lane)

    @contextlib.contextmanager
    def tried(self, lanes: Lanes) -> Iterator[None]:
        """Close those of these lanes again that no chain has taken up, where the block fails."""
        try:
            yield
        except BaseException:
            for lane in [lane for lane in self._pending if lane in lanes.values()]:
                self._close(lane)
            raise

    def rest(self) -> None:
        """End all workers, as the driver stops."""
        self._live = None
        for lane in self._lanes():
            lane.stop(wait=False)
        for lane in self._lanes():
            lane.stop()

    def close(self) -> None:
        """Close all lanes: the processor is done with."""
        self.rest()
        for lane in self._lanes():
            self._close(lane)

    def wake(self, *, live: bool) -> None:
        """Have workers, before the driver starts; `live`: never waited for, and replaced. Raises StageError."""
        rested, self._live = self._live is None, live
        for lane in self._lanes():
            lane.record["waits"] = int(not live)
        if rested:
            try:
                for lane in self._lanes():
                    lane.start(live=live)
                for lane in self._lanes():
                    lane.await_ready()
            except StageError:
                self.rest()
                raise

    def standby_missing(self) -> bool:
        """Whether a lane that wants a second worker has none yet that could take over."""
        return any(lane.standby_missing for lane in self._lanes())

    def check(self) -> None:
        """Raise LaneError where a renderer was left without a worker."""
        for lane in self._lanes():
            lane.check()

    def _lanes(self) -> list[Lane]:
        return [lane for lane in self._rows if lane is not None]


def _is_same(a: Placed, b: Placed) -> bool:
    return a.key == b.key and a.stage is b.stage and a.options == b.options
