"""The records that control and the audio thread share: one page that says what lies where.

Everything the audio thread reads was laid out by the control thread before it was published; addresses are plain int64
fields. Lines that two threads write stand on cache lines of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.bus import BLOCK, BUS, SEGMENT

MAX_STAGES = 32
MAX_PRODUCERS = 8
MAX_PENDING = 1024  # events waiting for their frame
MASTER_UID = 0  # the engine's own parameters
BYPASS_INDEX = -1  # the parameter index that means "the stage's wet share"
IMMEDIATELY = -1  # an event frame that means "as soon as you read it"
SUB_BUCKETS = 32  # histogram buckets per octave: 3 % wide
HISTOGRAM = SUB_BUCKETS * 32  # 1 ns up to 2**36 ns


def field_offset(record: np.dtype[Any], name: str) -> int:
    """Return where a field lies in a record, in bytes."""
    assert record.fields is not None
    return int(record.fields[name][1])


CELL = np.dtype(
    [
        ("row", "i8"),  # address of SEGMENT float32: the value at each frame of the segment
        ("value", "f8"),
        ("target", "f8"),
        ("step", "f8"),  # per frame
        ("remaining", "i8"),  # frames until the target is reached
        ("glide", "i8"),  # frames a change takes; 0 = it steps
        ("dirty", "i8"),  # the row does not hold the resting value everywhere yet
    ],
    align=True,
)
"""One gliding value: a straight line to its target, counted in frames, so cuts into blocks do not change its bits."""

SLOT = np.dtype(
    [
        ("function", "i8"),
        ("state", "i8"),
        ("parameters", "i8"),
        ("uid", "i8"),
        ("latency", "i8"),
        ("upstream", "i8"),
        ("delay", "i8"),  # address of the bypass delay line: channels rows of delay_mask + 1 float32
        ("delay_mask", "i8"),
        ("cells", "i8"),  # address of cell_count CELLs in the order of the parameter table
        ("cell_count", "i8"),
        ("moving", "i8"),  # whether any cell, or the wet share, has a row to refresh
        ("wet", CELL),  # 1 = processed, 0 = bypassed
        ("wet_row", "f4", (SEGMENT,)),
    ],
    align=True,
)
"""One stage in a chain."""

COPY = np.dtype(
    [
        ("kind", "i8"),
        ("source", "i8"),
        ("target", "i8"),
        ("size", "i8"),  # bytes; of a ring, values
        ("head", "i8"),  # of a ring: the address of how many values were ever written to it
        ("since", "i8"),  # and how many those were before control copied it
    ],
    align=True,
)
"""What an adopted chain takes over from the one that plays: raw bytes, a cell's present value, what is new in a ring, a cell
with where it is going, or a cell that is there already."""
COPY_BYTES, COPY_CELL, COPY_RING, COPY_FOLLOW, COPY_TARGET = range(5)

CHAIN = np.dtype(
    [
        ("slots", "i8"),
        ("count", "i8"),
        ("channels", "i8"),
        ("audio", "i8"),  # address of channels x SEGMENT float32
        ("pad", "i8"),  # frames that bring the chain up to the engine's latency
        ("pad_line", "i8"),
        ("pad_mask", "i8"),
        ("settle", "i8"),  # frames to run unheard before it is faded in
        ("copies", "i8"),
        ("copy_count", "i8"),
        ("generation", "i8"),
        ("block", BLOCK),  # its `post` becomes its `bus` at multiples of SEGMENT
    ],
    align=True,
)

BUS_BYTES = BUS.itemsize
BLOCK_OFFSET = field_offset(CHAIN, "block")
BUS_OFFSET, POST_OFFSET = (BLOCK_OFFSET + field_offset(BLOCK, name) for name in ("bus", "post"))
"""Where a chain's buses lie in its record."""

EVENT = np.dtype(
    [
        ("frame", "i8"),  # absolute frame, or IMMEDIATELY
        ("uid", "i8"),
        ("index", "i8"),  # row of the parameter table
        ("value", "f8"),
        ("following", "i8"),  # events after this one that belong to the same group
        ("producer", "i8"),
        ("origin", "i8"),  # the producer's own number of who sent it, or 0
    ],
    align=True,
)
"""A parameter change at a frame. A group is pushed and applied as a whole."""

LINE = 8  # int64 words to a cache line

PRODUCERS = ENGINE_PRODUCER, OSC_PRODUCER, WEB_PRODUCER, MIDI_PRODUCER = range(4)
"""Who sends events: control in the engine's own process, the OSC server, the web server, the driver's MIDI port."""

ENTRIES = 1 << 15  # of the journal
VALUE_UIDS, VALUE_STRIDE = 256, 64  # stages whose values are shown; parameters of each, the bypass before them
BOARD_BYTES = 1 << 18
MOVE, ADOPTED, HEARD, UNKNOWN = range(4)
"""Kinds of journal entries: a value taken; a chain taken up, unheard; the same faded in wholly; an event for nobody here."""

ENTRY = np.dtype(
    [
        ("number", "i8"),  # 0, 1, 2, ...
        ("frame", "i8"),  # at which it took effect
        ("time_ns", "i8"),  # CLOCK_MONOTONIC at the start of that callback
        ("uid", "i8"),  # of ADOPTED and HEARD: the chain's generation
        ("index", "i8"),  # of ADOPTED: the frames it settles unheard
        ("value", "f8"),
        ("producer", "i4"),
        ("origin", "i4"),
        ("kind", "i4"),
        ("unused", "i4"),
    ],
    align=True,
)
"""One line of the journal that the audio thread keeps of what it did."""

CONTROL = np.dtype(
    [
        ("magic", "i8"),
        ("pid", "i8"),
        ("board_version", "i8"),  # odd while it is written
        ("board_length", "i8"),
        ("board", "u1", (BOARD_BYTES,)),
        ("values", "f8", (VALUE_UIDS, VALUE_STRIDE)),  # as last applied, by uid, then parameter index + 1
        ("unused_line_0", "i8", (LINE,)),
        ("written", "i8"),  # entries of the journal ever
        ("unused_line_1", "i8", (LINE,)),
        ("entries", ENTRY, (ENTRIES,)),
    ],
    align=True,
)
"""The page that surfaces of control share: what plays, its values, and the journal."""

SCOPE_FRAMES = 1 << 15
SCOPE = np.dtype(
    [
        ("written", "i8"),  # absolute frames
        ("unused_line", "i8", (LINE,)),
        ("input", "f4", (SCOPE_FRAMES,)),  # frame n lies at n modulo the length
        ("output", "f4", (SCOPE_FRAMES,)),
    ],
    align=True,
)
"""The newest frames of the first input and the first output channel, for those who look on."""

MAX_LANES = 8  # that play at once
LANE_KEY_BYTES, LANE_TROUBLE_BYTES = 48, 208

LANE_COUNTS = np.dtype([("hops", "i8"), ("misses", "i8"), ("dry_frames", "i8")], align=True)
"""What the audio thread counts of lanes: hops handed over, hops that were not there at their time, frames not wholly wet."""

LANE_VIEW = np.dtype(
    [
        ("counts", LANE_COUNTS),
        ("state", "i8"),  # of LANE_STATES; the rest is written by control
        ("pid", "i8"),  # of the worker that is heard, 0 = none
        ("standby_pid", "i8"),
        ("priority", "i8"),  # real-time priority that the host granted it, 0 = none
        ("restarts", "i8"),
        ("key", "u1", (LANE_KEY_BYTES,)),  # UTF-8, padded with zeros; empty = no lane
        ("trouble", "u1", (LANE_TROUBLE_BYTES,)),  # why the last worker ended
    ],
    align=True,
)
"""What everybody may know of a lane."""
LANE_STATES = "closed", "starting", "playing", "restarting", "waiting", "failed"
LANE_CLOSED, LANE_STARTING, LANE_PLAYING, LANE_RESTARTING, LANE_WAITING, LANE_FAILED = range(6)
"""No worker wanted; the first one loads; one answers; the next one loads; one is started after a while; none will come."""

TELEMETRY = np.dtype(
    [
        ("magic", "i8"),
        ("pid", "i8"),
        ("sample_rate", "f8"),
        ("block", "i8"),
        ("latency", "i8"),  # frames, declared
        ("in_channels", "i8"),
        ("out_channels", "i8"),
        ("stages", "i8"),
        ("first_ns", "i8"),  # CLOCK_MONOTONIC of the first callback
        ("now_ns", "i8"),  # ... and of the newest, which began at
        ("now_frame", "i8"),  # ... this absolute frame
        ("cycles", "i8"),
        ("frames", "i8"),
        ("misses", "i8"),  # our own start-to-end time exceeded the period
        ("late_wakes", "i8"),  # the driver woke us more than a period late
        ("busy_ns", "i8"),
        ("worst_ns", "i8"),
        ("worst_frame", "i8"),
        ("nonfinite_in", "i8"),
        ("nonfinite_out", "i8"),
        ("events_applied", "i8"),
        ("events_late", "i8"),
        ("events_unknown", "i8"),
        ("swaps", "i8"),
        ("record_dropped", "i8"),  # frames the recorder had no room for
        ("load", "f8"),  # share of the period, smoothed over about a second
        ("in_peak", "f4"),  # decaying peak meters, amplitude
        ("out_peak", "f4"),
        ("bus", BUS),
        ("lanes", LANE_COUNTS),  # of all lanes that ever played
        ("lane", LANE_VIEW, (MAX_LANES,)),
        ("driver", "i8", (LINE,)),  # written by other driver threads: xruns, shutdown, buffer size, freewheel, ...
        ("callback", "i8", (HISTOGRAM,)),
        ("stage", "i8", (MAX_STAGES, HISTOGRAM)),
    ],
    align=True,
)
XRUNS, SHUTDOWN, BLOCK_NOW, FREEWHEEL, RATE_NOW = range(5)
"""Rows of TELEMETRY's `driver`."""

MASTER_CELLS = 6
INPUT, OUTPUT, MIX, BYPASS, MUTE, PRESENCE = range(MASTER_CELLS)
"""Rows of the engine's own parameter table; PRESENCE is the fade of start and stop."""

ENGINE = np.dtype(
    [
        ("self_address", "i8"),
        ("sample_rate", "f8"),
        ("period_ns_per_frame", "f8"),
        ("in_channels", "i8"),
        ("out_channels", "i8"),
        ("channels", "i8"),
        ("frame", "i8"),  # absolute: frames processed since the start
        ("ended_ns", "i8"),  # CLOCK_MONOTONIC at the end of the last callback
        ("latency", "i8"),
        ("telemetry", "i8"),
        ("current", "i8"),
        ("incoming", "i8"),
        ("settling", "i8"),  # frames the incoming chain still runs unheard
        ("fade_at", "i8"),
        ("fade_frames", "i8"),
        ("dry_line", "i8"),  # delay line for the dry share: channels rows
        ("dry_mask", "i8"),
        ("dry", "i8"),  # channels x SEGMENT: the delayed dry frames of this segment
        ("record_scratch", "i8"),
        ("producers", "i8"),
        ("rings", "i8", (MAX_PRODUCERS,)),
        ("pending", "i8"),  # address of MAX_PENDING EVENTs, sorted
        ("pending_head", "i8"),
        ("pending_tail", "i8"),
        ("trace", "i8"),  # address of one BUS for each segment of a render, or 0
        ("worst", "i8"),  # address of the page of worst blocks (rt/worst.py), or 0
        ("control", "i8"),  # address of the CONTROL page, or 0
        ("began_ns", "i8"),  # CLOCK_MONOTONIC at the start of this callback
        ("profile", "i8"),  # 1 = time every stage of every segment, 0 = of each 16th cycle
        ("enter_hook", "i8"),  # called around the callback by the malloc watcher, or 0
        ("exit_hook", "i8"),
        ("moving", "i8"),
        ("master", CELL, (MASTER_CELLS,)),
        ("rows", "f4", (MASTER_CELLS, SEGMENT)),
        ("gain_in", "f4", (SEGMENT,)),
        ("gain_out", "f4", (SEGMENT,)),
        ("unity", "i8"),  # the output gain and the mix rest at exactly 1
        ("square", "f4", (SEGMENT,)),  # the segment's squared input, for the level
        ("per_square", "f4"),  # what makes their sum a mean
        ("unused_line_0", "i8", (LINE,)),
        ("next", "i8"),  # control -> audio: a chain to adopt, or 0
        ("unused_line_1", "i8", (LINE,)),
        ("retired", "i8"),  # audio -> control: a chain that plays no more, or 0
        ("unused_line_2", "i8", (LINE,)),
        ("recorder", "i8"),  # control -> audio: the ring that takes what is played, or 0
        ("unused_line_3", "i8", (LINE,)),
        ("scope", "i8"),  # control -> audio: the SCOPE page, or 0
        ("unused_line_4", "i8", (LINE,)),
    ],
    align=True,
)

BACK_TO_BACK = -1
"""A `late_ns` that says: this call began as the last one ended, as when a file is rendered; the clock need not be read."""
