"""Lanes that cannot be in time: told once, when it is known, with what would do."""

from __future__ import annotations

from typing import Any

from autovoice.rt.control.family import Family
from autovoice.rt.lane.reserve import lacking, work_ms

LOOK_S = 1.0


class LaneFamily(Family):
    """Holds each lane's reserve beside the driver's block, and beside what its worker is found to take."""

    def __init__(self, conductor: Any) -> None:
        """Nothing was told yet."""
        super().__init__(conductor)
        self._told: set[tuple[str, int, int]] = set()  # lane, its delay and the block
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
