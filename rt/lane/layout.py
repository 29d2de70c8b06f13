"""What a lane's two processes share: one stretch of memory, laid out here. Nothing is compiled, so any process may read it.

The memory holds the LANE record, its seats, the line of frames that came in, a page for each segment of them with the bus and
the parameters' rows, and for each seat the line of frames that go out, with what was posted. Frames are absolute and lie at
their number modulo the lines' length, so a worker that joins needs nothing but a frame to begin with. Addresses differ
between the processes: the record holds offsets from its own beginning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from autovoice.dsp.bus import BUS, SEGMENT
from autovoice.rt.layout import HISTOGRAM, LINE, field_offset
from autovoice.rt.memory import aligned

MAGIC = 0x4156_4C41_4E45_0001  # "AVLANE", layout 1
SEATS = 2  # the worker that is heard, and the one that stands by
SEMAPHORE_BYTES = 32  # of a sem_t, on every platform of glibc and musl
FADE_MS = 2.5  # between the worker's sound and the dry one; so much sooner than it is heard must a frame be there
HOLD_MS = 50.0  # that a worker's sound must be whole again before it is faded back in
HISTORY_S = 0.5  # of frames that a late worker can still find
MIN_CAPACITY = 1 << 15  # frames of a line: more than the longest driver block, four times
NEVER = -(1 << 62)  # as a frame
ROW_BYTES = SEGMENT * 4
PAGE_BUS = aligned(BUS.itemsize)  # bytes of a segment's page before its rows
WORDS = BUS.itemsize // 4
NOT_POSTED = sum(3 << (field_offset(BUS, name) // 4) for name in ("marks",)) | 1 << (field_offset(BUS, "level_dbfs") // 4)
"""Words of the bus that a worker never posts back: an address of its own, and the level that the engine measures."""

IDLE, STARTING, READY, ENDED = range(4)
"""What a seat's worker is: none; loading; ready to play or playing; dead, or asked to end."""

SEAT = np.dtype(
    [
        ("wake", "u1", (SEMAPHORE_BYTES,)),  # posted by the audio thread at each hop
        ("unused_0", "u1", (SEMAPHORE_BYTES,)),
        ("answer", "u1", (SEMAPHORE_BYTES,)),  # posted by the worker where a renderer waits
        ("unused_1", "u1", (SEMAPHORE_BYTES,)),
        ("output", "i8"),  # offset of the line of frames that go out
        ("posts", "i8"),  # offset of the POSTs
        ("pid", "i8"),
        ("priority", "i8"),  # real-time priority that the host granted the worker, 0 = none
        ("join", "i8"),  # control -> worker: the frame to begin with, -2 = at the first that comes in, -1 = not yet
        ("leave", "i8"),  # control -> worker: 1 = leave the seat
        ("unused_line_0", "i8", (LINE,)),
        ("done", "i8"),  # worker -> audio: the frames below this one are there
        ("start", "i8"),  # ... and sound as they should from this one on; NEVER = from the very first
        ("heartbeat_ns", "i8"),  # CLOCK_MONOTONIC
        ("hops", "i8"),
        ("busy_ns", "i8"),
        ("nonfinite", "i8"),  # samples of the worker's that were not numbers, and were replaced by 0
        ("unused_line_1", "i8", (LINE,)),
        ("wake_ns", "i8", (HISTOGRAM,)),  # from the post to the worker's first instruction
        ("work_ns", "i8", (HISTOGRAM,)),  # for all that had come in by then
    ],
    align=True,
)
"""What one worker and the audio thread share."""

LANE = np.dtype(
    [
        ("magic", "i8"),
        ("pid", "i8"),  # of the engine
        ("sample_rate", "f8"),
        ("channels", "i8"),
        ("hop", "i8"),  # frames that are handed over at once
        ("delay", "i8"),  # frames: a hop and the reserve
        ("inner", "i8"),  # frames by which the worker itself delays
        ("upstream", "i8"),  # frames of delay in front of the lane
        ("settle", "i8"),  # frames that a worker needs unheard when it joins
        ("parameters", "i8"),  # rows
        ("mask", "i8"),  # of the lines: a power of two less 1
        ("page_mask", "i8"),
        ("page_bytes", "i8"),
        ("input", "i8"),  # offsets
        ("pages", "i8"),
        ("fade", "i8"),  # frames
        ("hold", "i8"),  # frames
        ("waits", "i8"),  # 1 = whoever renders waits for the worker
        ("wait", "i8"),  # address of the function that does, in the engine
        ("freewheel", "i8"),  # address of the driver's word that says the same, in the engine
        ("counts", "i8"),  # address of what telemetry counts of the lane, in the engine
        ("totals", "i8"),  # ... and of all lanes
        ("failed", "i8"),  # 1 = no worker will answer any more: a renderer need not wait
        ("unused_line_0", "i8", (LINE,)),
        ("active", "i8"),  # control -> audio: the seat to listen to
        ("unused_line_1", "i8", (LINE,)),
        ("written", "i8"),  # audio -> worker: the frames below this one have come in
        ("first", "i8"),  # the first that ever came, or -1
        ("asks", "i8"),  # 1 = somebody waits, or has waited, for answers
        ("posted_ns", "i8"),  # CLOCK_MONOTONIC of the newest post
        ("unused_line_2", "i8", (LINE,)),
        ("heard", "i8"),  # the audio thread's own: the seat it listens to
        ("feeder", "i8"),  # the generation of the newest chain that plays through the lane
        ("level", "i8"),  # share of the worker's sound in what is heard, 0..fade
        ("quiet", "i8"),  # frames the dry sound still stays
        ("missed", "i8"),  # the newest hop that was not there
        ("plain", "i8"),  # the whole row is 1, or the whole row is 0, or it is neither: 1, 0, -1
        ("row", "f4", (SEGMENT,)),  # the share at each frame, 0..1
        ("seat", SEAT, (SEATS,)),
    ],
    align=True,
)
"""The lane."""

POST = np.dtype([("words", "i8"), ("bus", BUS)], align=True)
"""What a worker's stages posted in a segment: the words of the bus that are theirs, as bits, and their values."""

POST_BYTES = aligned(POST.itemsize)
ACTIVE, WRITTEN, SEAT_0 = (field_offset(LANE, name) for name in ("active", "written", "seat"))
SEAT_BYTES = SEAT.itemsize
JOIN, LEAVE, DONE, START, HEARTBEAT, WAKE, ANSWER, WAKE_NS, WORK_NS = (
    field_offset(SEAT, name)
    for name in ("join", "leave", "done", "start", "heartbeat_ns", "wake", "answer", "wake_ns", "work_ns")
)
JOIN_NOT_YET, JOIN_FIRST = -1, -2


class Sizes(NamedTuple):
    """What a lane's memory is laid out for."""

    channels: int
    parameters: int
    capacity: int  # frames of a line

    @property
    def page_bytes(self) -> int:
        """Bytes of a segment's page."""
        return PAGE_BUS + self.parameters * ROW_BYTES

    @property
    def total(self) -> int:
        """Bytes of all."""
        pages = self.capacity // SEGMENT
        lines = (1 + SEATS) * aligned(self.channels * self.capacity * 4)
        return aligned(LANE.itemsize) + lines + aligned(pages * self.page_bytes) + SEATS * aligned(pages * POST_BYTES)


def capacity_for(frames: int, sample_rate: float) -> int:
    """Return the length of a line that holds twice a delay in frames and the history, a power of two."""
    wanted = max(2 * frames + 4 * SEGMENT, round(HISTORY_S * sample_rate), MIN_CAPACITY)
    return 1 << (wanted - 1).bit_length()


def lay_offsets(lane: Any, sizes: Sizes) -> None:
    """Write the sizes and offsets into a zeroed LANE record."""
    pages = sizes.capacity // SEGMENT
    lane["magic"], lane["channels"], lane["parameters"] = MAGIC, sizes.channels, sizes.parameters
    lane["mask"], lane["page_mask"], lane["page_bytes"] = sizes.capacity - 1, pages - 1, sizes.page_bytes
    at = aligned(LANE.itemsize)
    lane["input"], at = at, at + aligned(sizes.channels * sizes.capacity * 4)
    lane["pages"], at = at, at + aligned(pages * sizes.page_bytes)
    for seat in lane["seat"]:
        seat["output"], at = at, at + aligned(sizes.channels * sizes.capacity * 4)
        seat["posts"], at = at, at + aligned(pages * POST_BYTES)
    assert at == sizes.total
