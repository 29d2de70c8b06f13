"""A lane on the audio thread: frames go out to the worker and come back a fixed delay later, or the dry sound does.

Nothing here waits, but for the function that a renderer calls by its address. What a worker's sound is read from was written
before its index was (release and acquire), so whatever the worker does, or does not, the audio thread finds either the right
frames or that they are not there; and it looks one fade ahead, so that a fade to the dry sound ends before the frames do.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import (
    as_pointer,
    clock_ns,
    copy_bytes,
    helper,
    load_acquire,
    load_i64,
    record_at,
    store_release,
)
from autovoice.dsp.stage import BLOCK, ENTRY_SIGNATURE, SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.lane.layout import (
    ACTIVE,
    ANSWER,
    DONE,
    LANE,
    NEVER,
    PAGE_BUS,
    POST,
    POST_BYTES,
    SEAT,
    SEAT_0,
    SEAT_BYTES,
    WAKE,
    WORDS,
    WRITTEN,
)
from autovoice.rt.lane.native import call_wait, semaphore_post, semaphore_wait
from autovoice.rt.layout import BLOCK_OFFSET, BUS_BYTES, CHAIN, LANE_COUNTS, field_offset
from autovoice.rt.rows import ROW_BYTES, line_read, line_write, rows_at

carray = numba.carray
LANE_STATE = np.dtype([("lane", "i8")], align=True)
"""A lane's state in a chain, of which there may be two during a swap: where the lane is."""
BUS_AT, POST_AT = (field_offset(BLOCK, name) for name in ("bus", "post"))
POST_BUS = field_offset(POST, "bus")
SEGMENT_MASK = SEGMENT - 1
PATIENCE_NS = 50_000_000  # between a renderer's looks at a worker that does not answer
ZERO, ONE = np.float32(0), np.float32(1)


@helper
def seat_address(address, index):
    """Return where a seat of the lane at an address lies."""
    return address + SEAT_0 + index * SEAT_BYTES


@helper
def count_lane(lane, hops, misses, dry_frames):
    """Count for this lane and for all of them."""
    for address in (lane.counts, lane.totals):
        counts = record_at(address, LANE_COUNTS)
        counts.hops += hops
        counts.misses += misses
        counts.dry_frames += dry_frames


@helper
def _feed(lane, address, block, block_address, audio, parameters):
    """Hand frames, bus and parameters to the worker, and wake it where a hop is complete."""
    frame, frames = block.frame, block.frames
    for c in range(lane.channels):
        line_write(address + lane.input, lane.mask, c, frame, audio + c * ROW_BYTES, frames)
    at = frame & SEGMENT_MASK
    page = address + lane.pages + ((frame // SEGMENT) & lane.page_mask) * lane.page_bytes
    if at == 0 or lane.first < 0:
        copy_bytes(page, block_address + BUS_AT, BUS_BYTES)
    if lane.first < 0:
        lane.first = frame
        rows, first = rows_at(page + PAGE_BUS, lane.parameters, SEGMENT), rows_at(parameters, lane.parameters, SEGMENT)
        for k in range(lane.parameters):
            for i in range(at):  # a worker takes whole segments: before the first frame it hears silence, with these settings
                rows[k, i] = first[k, 0]
    for k in range(lane.parameters):
        copy_bytes(page + PAGE_BUS + k * ROW_BYTES + 4 * at, parameters + k * ROW_BYTES, 4 * frames)
    written = frame + frames
    store_release(address + WRITTEN, written)
    if written // lane.hop != frame // lane.hop:
        count_lane(lane, 1, 0, 0)
        lane.posted_ns = clock_ns()
        semaphore_post(seat_address(address, load_acquire(address + ACTIVE)) + WAKE)


@helper
def _is_whole(lane, address, frame, frames):
    """Say whether the heard worker's frames are there, and those that a fade would need after them."""
    needed = frame + frames + lane.fade - lane.delay
    if lane.waits != 0 or load_i64(lane.freewheel) != 0:
        call_wait(lane.wait, address, needed)
    active = load_acquire(address + ACTIVE)
    if lane.level == 0 and lane.heard != active:
        lane.heard = active
    heard = seat_address(address, lane.heard)
    seat = record_at(heard, SEAT)
    fresh = seat.start == NEVER and needed <= lane.first  # nothing has come in yet that could be there
    whole = (load_acquire(heard + DONE) >= needed or fresh) and frame - lane.delay >= seat.start
    if not whole:
        hop = (needed - 1) // lane.hop
        if hop != lane.missed:
            lane.missed = hop
            count_lane(lane, 0, 1, 0)
    return whole and lane.heard == active


@helper
def _follow(lane, address, frame, frames):
    """Fill the row with the worker's share at each frame: towards 1 while its sound is whole, towards 0 while it is not."""
    whole = _is_whole(lane, address, frame, frames)
    if not whole:
        lane.quiet = lane.hold
    elif lane.level < lane.fade:
        lane.quiet -= frames
    rising = whole and (lane.quiet <= 0 or lane.level == lane.fade)
    if rising and lane.level == lane.fade:
        lane.plain = 1
        return
    if not rising and lane.level == 0:
        lane.plain = 0
        count_lane(lane, 0, 0, frames)
        return
    lane.plain = -1
    scale = ONE / np.float32(lane.fade)
    for i in range(frames):
        lane.level = min(lane.level + 1, lane.fade) if rising else max(lane.level - 1, 0)
        lane.row[i] = ONE if lane.level == lane.fade else np.float32(lane.level) * scale
    count_lane(lane, 0, 0, frames)


@helper
def _play(lane, address, frame, frames, audio):
    """Read the worker's frames of a delay ago, the dry ones, or both."""
    seat = record_at(seat_address(address, lane.heard), SEAT)
    x = rows_at(audio, lane.channels, SEGMENT)
    wet = rows_at(address + seat.output, lane.channels, lane.mask + 1)
    dry = rows_at(address + lane.input, lane.channels, lane.mask + 1)
    for c in range(lane.channels):
        if lane.plain == 1:
            line_read(address + seat.output, lane.mask, c, frame - lane.delay, audio + c * ROW_BYTES, frames)
        elif lane.plain == 0:
            line_read(address + lane.input, lane.mask, c, frame - lane.delay - lane.inner, audio + c * ROW_BYTES, frames)
        else:
            for i in range(frames):
                still = dry[c, (frame + i - lane.delay - lane.inner) & lane.mask]
                share = lane.row[i]
                voice = wet[c, (frame + i - lane.delay) & lane.mask]
                if ZERO < share < ONE:
                    x[c, i] = still + share * (voice - still)
                else:
                    x[c, i] = still if share == ZERO else voice


@helper
def _post(lane, address, frame, block_address):
    """Post what the worker's stages found in the segment whose sound begins to be heard."""
    seat = record_at(seat_address(address, lane.heard), SEAT)
    page = (frame - lane.delay) // SEGMENT
    if page * SEGMENT < lane.first:
        return
    found = address + seat.posts + (page & lane.page_mask) * POST_BYTES
    words = record_at(found, POST).words
    source = carray(as_pointer(found + POST_BUS), (WORDS,), np.int32)
    target = carray(as_pointer(block_address + POST_AT), (WORDS,), np.int32)
    for k in range(WORDS):
        if (words >> k) & 1 != 0:
            target[k] = source[k]


def _lane(state, parameters, audio, block_address):
    """Play a lane's frames: the entry that stands in the chain."""
    address = record_at(state, LANE_STATE).lane
    lane = record_at(address, LANE)
    block = record_at(block_address, BLOCK)
    frame, frames = block.frame, block.frames
    generation = record_at(block_address - BLOCK_OFFSET, CHAIN).generation
    if generation >= lane.feeder:  # during a swap the incoming chain runs first, and feeds; the old one listens
        lane.feeder = generation
        _feed(lane, address, block, block_address, audio, parameters)
        _follow(lane, address, frame, frames)
    _play(lane, address, frame, frames, audio)
    if frame & SEGMENT_MASK == 0 and lane.plain == 1:
        _post(lane, address, frame, block_address)
    block.post.marks = 0  # those of the sound that went in


def _wait_for(address, needed):
    """Wait, as a renderer does, until the worker has given the frames below one, or none will ever come."""
    lane = record_at(address, LANE)
    while lane.failed == 0:
        seat = seat_address(address, load_acquire(address + ACTIVE))
        if load_acquire(seat + DONE) >= needed or needed <= lane.first:
            return
        lane.asks = 1
        semaphore_wait(seat + ANSWER, clock_ns() + PATIENCE_NS)


_U, _I = numba.types.uintp, numba.types.int64
PLAY = compile_entry(_lane, ENTRY_SIGNATURE, extra_calls=frozenset({"sem_post"}))
WAIT_FOR = compile_entry(_wait_for, numba.types.void(_U, _I), extra_calls=frozenset({"sem_clockwait"}))
