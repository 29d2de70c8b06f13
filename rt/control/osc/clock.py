"""From a time tag to a frame: a clock that follows the driver's callbacks.

It is fed from outside the audio thread by whatever pairs (frame, time) were seen. A callback can begin late, but never before
its time, so the line sought runs below all pairs, and as close to them as it can: S. Moon, P. Skelly, D. Towsley, "Estimation
and removal of clock skew from network delay measurements" (INFOCOM 1999), whose linear programme is solved by the edge of the
lower convex hull that spans the mean time. A delay-locked loop (F. Adriaensen, "Using a DLL to filter time", LAC 2005) takes
the mean lateness for the truth and needs ten times as long to settle here, since it sees only one callback in many.

Where every pair of a run lies a block or more behind, frames were lost: the line is set anew, and keeps its slope.

Times are nanoseconds of CLOCK_MONOTONIC; time tags are those of NTP, and are brought there by comparing the two clocks.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from typing import Protocol

NTP_EPOCH_S = 2_208_988_800  # 1 January 1970 in seconds of NTP, which begin in 1900
WINDOW_NS = 250_000_000  # of each, the most punctual pair is kept
WINDOWS = 40  # remembered
SLOPE_WINDOWS = 4  # before the slope is trusted
LOST_AFTER = 8  # pairs in a row that are a block late, before frames count as lost
MAX_DRIFT = 1e-3  # of the nominal rate
TRIES = 4  # at reading two clocks without being interrupted
GAP_NS = 20_000  # between the two readings, at most


class Callbacks(Protocol):
    """What the audio thread says of its newest callback."""

    def __getitem__(self, name: str) -> int:
        """Return `now_ns` or `now_frame`."""


class FrameClock:
    """Tells at which frame a time falls. One thread."""

    def __init__(self, sample_rate: float, block: int) -> None:
        """Begin with the nominal rate in Hz; `block` frames to a callback."""
        self._nominal = self._ns_per_frame = 1e9 / sample_rate
        self._late_ns = 0.9 * block * self._nominal
        self._last_frame = -1
        self._frame, self._ns = 0, 0.0  # a point of the line
        self._kept: deque[tuple[int, int]] = deque(maxlen=WINDOWS)
        self._opened_ns = 0  # when the window began
        self._best: tuple[float, int, int] | None = None  # its most punctual pair: error, frame, time
        self._late: list[tuple[float, int, int]] = []  # the run of pairs that are a block late

    @property
    def ready(self) -> bool:
        """Whether a callback was seen yet."""
        return self._last_frame >= 0

    @property
    def drift(self) -> float:
        """Return by which share the device's clock is slower than its nominal rate."""
        return self._ns_per_frame / self._nominal - 1

    def look(self, callbacks: Callbacks) -> None:
        """Take in what the audio thread says now; cheap, and to be called often.

        It writes the time first and the frame second, so a frame that stands before and after is never newer than the time.
        """
        frame = int(callbacks["now_frame"])
        now_ns = int(callbacks["now_ns"])
        if now_ns and int(callbacks["now_frame"]) == frame:
            self.see(frame, now_ns)

    def see(self, frame: int, time_ns: int) -> None:
        """Take in one pair: a callback that began with this frame was called at this time."""
        if frame == self._last_frame:
            return
        began_anew = frame < self._last_frame or self._last_frame < 0
        self._last_frame = frame
        if began_anew:
            self._restart(frame, time_ns)
            return
        error = time_ns - self.time_of(frame)
        if error > self._late_ns:
            self._late.append((error, frame, time_ns))
            if len(self._late) >= LOST_AFTER:
                self._restart(*min(self._late)[1:])
            return
        self._late.clear()
        if self._best is None or error < self._best[0]:
            self._best = error, frame, time_ns
        if error < 0:
            self._frame, self._ns = frame, float(time_ns)
        if time_ns - self._opened_ns >= WINDOW_NS:
            self._kept.append(self._best[1:])
            self._best, self._opened_ns = None, time_ns
            self._fit()

    def _restart(self, frame: int, time_ns: int) -> None:
        self._frame, self._ns, self._opened_ns = frame, float(time_ns), time_ns
        self._best = None
        self._late.clear()
        self._kept.clear()

    def _fit(self) -> None:
        """Lay the line below all that is kept, by the hull's edge that spans the middle; with few pairs, keep the slope."""
        middle = sum(frame for frame, _ in self._kept) / len(self._kept)
        left, right = self._edge(middle)
        if len(self._kept) >= SLOPE_WINDOWS and right[0] > left[0]:
            slope = (right[1] - left[1]) / (right[0] - left[0])
            self._ns_per_frame = min(max(slope, self._nominal * (1 - MAX_DRIFT)), self._nominal * (1 + MAX_DRIFT))
        origin_frame, origin_ns = self._kept[0]

        def height(pair: tuple[int, int]) -> float:
            return (pair[1] - origin_ns) - (pair[0] - origin_frame) * self._ns_per_frame

        self._frame, lowest_ns = min(self._kept, key=height)  # an end of that edge, unless the slope was limited or kept
        self._ns = float(lowest_ns)

    def _edge(self, middle: float) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the edge of the lower convex hull (A. Andrew, 1979) that spans a frame."""
        hull: list[tuple[int, int]] = []
        for point in self._kept:
            while len(hull) >= 2 and _above(hull[-1], hull[-2], point):
                hull.pop()
            hull.append(point)
        for left, right in pairwise(hull):
            if right[0] >= middle:
                return left, right
        return hull[0], hull[-1]

    def time_of(self, frame: int) -> float:
        """Return when a frame is due."""
        return self._ns + (frame - self._frame) * self._ns_per_frame

    def frame_at(self, time_ns: float) -> int:
        """Return the frame that is due at a time."""
        return self._frame + round((time_ns - self._ns) / self._ns_per_frame)


def _above(point: tuple[int, int], left: tuple[int, int], right: tuple[int, int]) -> bool:
    """Say whether a point lies on or above the line between two others. In whole numbers: exact."""
    rise = (right[1] - left[1]) * (point[0] - left[0])
    return (point[1] - left[1]) * (right[0] - left[0]) >= rise


def monotonic_of_tag(tag: int, realtime_offset_ns: int) -> int:
    """Return the time that an NTP time tag (32.32 bits) names, given what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC."""
    seconds, fraction = (tag >> 32) - NTP_EPOCH_S, tag & 0xFFFF_FFFF
    return seconds * 1_000_000_000 + (fraction * 1_000_000_000 >> 32) - realtime_offset_ns


def tag_of_realtime(time_ns: int) -> int:
    """Return the NTP time tag of a CLOCK_REALTIME time."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return (seconds + NTP_EPOCH_S << 32) + (rest << 32) // 1_000_000_000


def realtime_offset_ns() -> int:
    """Return what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC now; it moves when somebody sets the clock."""
    best_gap, best = 1 << 62, 0
    for _ in range(TRIES):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if after - before < best_gap:
            best_gap, best = after - before, real - (before + after) // 2
        if best_gap < GAP_NS:
            break
    return best
