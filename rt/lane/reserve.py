"""Whether a lane's reserve is enough: a driver block, the fade, and what its worker takes for a hop have to fit into it.

A hop is handed over within the callback that completes it, and looked for a fade before it is to be heard, by the callback that
plays that frame (see `autovoice.rt.lane.audio`). The blocks between the two are the worker's time; how many they are depends on
how hops lie in blocks, so the least of all counts.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from autovoice.rt.lane.host import Lane
from autovoice.rt.lane.layout import FADE_MS
from autovoice.rt.telemetry import percentiles

SURE = 100  # answers of a worker, from which on its 99th percentile says something


def work_ms(lane: Lane) -> float | None:
    """Return what the workers of a lane that plays take for a hop, the 99th percentile; None as long as too little is known."""
    counts = np.sum(lane.record["seat"]["work_ns"], axis=0)
    return percentiles(counts).p99 / 1e3 if counts.sum() >= SURE else None


def mean_work_ms(lane: Lane) -> float | None:
    """Return what a hop took where a renderer waited for it, on average: several may have been handed over at once."""
    hops = (int(lane.record["written"]) - max(int(lane.record["first"]), 0)) // int(lane.record["hop"])
    return float(lane.record["seat"]["busy_ns"].sum()) / hops / 1e6 if hops > 0 else None


def time_left(hop: int, reserve: int, fade: int, block: int) -> int:
    """Return the frames between the callbacks that hand a hop over and that look for it, the fewest that come up."""
    ends = hop * np.arange(1, math.lcm(hop, block) // hop + 1)
    blocks = (ends + reserve - fade) // block - ((ends - 1) // block)
    return max(int(blocks.min()), 0) * block


def lacking(lane: Lane, block: int, work: float | None) -> str | None:
    """Return a line on a reserve that is too short for blocks of so many frames and `work` ms; None where it is enough."""
    rate, hop, fade = float(lane.record["sample_rate"]), int(lane.record["hop"]), int(lane.record["fade"])

    def is_enough(reserve_ms: float) -> bool:
        left = time_left(hop, round(reserve_ms * 1e-3 * rate), fade, block)
        return left > 0 and left * 1e3 / rate >= (work or 0.0)

    reserve = float(lane.options["reserve"])
    if is_enough(reserve):
        return None
    enough = next(ms for ms in itertools.count(math.ceil(reserve)) if is_enough(ms))
    parts = [f"a block of {block} frames ({1e3 * block / rate:.1f} ms)", f"the fade ({FADE_MS:g} ms)"]
    if work is not None:
        parts.append(f"its worker ({work:.1f} ms a hop)")
    return (
        f"{lane.key}: a reserve of {reserve:g} ms is too short for {', '.join(parts[:-1])} and {parts[-1]}; where a hop is "
        f"late, the dry sound is heard: give the lane reserve = {enough} or more, or the driver shorter blocks"
    )
