"""Lanes that cannot be in time, or have nobody to stand by: told once, when it is known, with what would do."""

from __future__ import annotations

from typing import Any

from autovoice.rt.control.family import Family
from autovoice.rt.lane.reserve import lacking, work_ms

LOOK_S = 1.0
LOOKS = 2  # in a row that find no room, before it is told: a chain that is faded out gives its workers back


class LaneFamily(Family):
    """Holds each lane's reserve beside the driver's block and what its worker is found to take; sees who is alone."""

    def __init__(self, conductor: Any) -> None:
        """Nothing was told yet."""
        super().__init__(conductor)
        self._told: set[tuple[str, int, int]] = set()  # lane, its delay and the block
        self._alone: dict[str, int] = {}  # for how many looks a lane has had no room for a second worker
        self._next_s = 0.0

    def tick(self, now_s: float) -> None:
        """Look at each lane now and then."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_S
        block = self.conductor.engine.block
        for lane in self.conductor.engine.processor.image.lanes.values():
            which = lane.key, int(lane.record["delay"]), block
            if which not in self._told and (line := lacking(lane, block, work_ms(lane))) is not None:
                self._told.add(which)
                self.conductor.notice(line, "error")
            self._alone[lane.key] = self._alone.get(lane.key, 0) + 1 if lane.alone else 0
            if self._alone[lane.key] == LOOKS:
                self.conductor.notice(
                    f"{lane.key}: the memory for models has no room for a second worker that stands by; where the first ends, "
                    "the dry sound is heard until another is loaded: give more --model-memory, or the lane standby = off",
                    "error",
                )
