"""A worker that runs stages: compiled like the audio thread's own code, so neither the interpreter nor its lock is in its way.

Its chain lies in its own memory, as an engine's would; the bus and the rows of parameters come with each segment, so what the
stages do is bit for bit what they would have done in the engine at that frame.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import (
    as_pointer,
    clock_ns,
    copy_bytes,
    flush_denormals,
    helper,
    load_acquire,
    record_at,
    restore_denormals,
    store_release,
)
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.callback import run_slot
from autovoice.rt.cells import slots_of
from autovoice.rt.image import ChainImage
from autovoice.rt.lane.audio import POST_BUS, seat_address
from autovoice.rt.lane.layout import (
    ANSWER,
    DONE,
    HEARTBEAT,
    JOIN,
    JOIN_FIRST,
    LANE,
    LEAVE,
    NOT_POSTED,
    PAGE_BUS,
    POST,
    POST_BYTES,
    SEAT,
    WAKE,
    WAKE_NS,
    WORDS,
    WORK_NS,
    WRITTEN,
)
from autovoice.rt.lane.native import semaphore_post, semaphore_wait
from autovoice.rt.layout import BUS_BYTES, BUS_OFFSET, CHAIN, POST_OFFSET
from autovoice.rt.rows import ROW_BYTES, count_ns, line_read, line_write, rows_at

carray = numba.carray
BEAT_NS = 50_000_000  # between signs of life while nothing comes in
BEHIND, LEFT = 1, 2  # what `_serve` returns: more came in than it could ever catch up with; it was asked to leave
ONE = np.float32(1)


@helper
def _take_rows(page, slots):
    """Put a segment's parameters where the stages read them: of each stage its own, then its bypass."""
    at = page + PAGE_BUS
    for k in range(len(slots)):
        size = slots[k].cell_count * ROW_BYTES
        copy_bytes(slots[k].parameters, at, size)
        bypass = carray(as_pointer(at + size), (SEGMENT,), np.float32)
        whole = 1
        for i in range(SEGMENT):
            slots[k].wet_row[i] = ONE - bypass[i]
            if bypass[i] != 0:
                whole = 0
        slots[k].wet.value = np.float64(slots[k].wet_row[SEGMENT - 1])
        slots[k].wet.dirty = 1 - whole
        at += size + ROW_BYTES


@helper
def _take_bus(page, posts, chain_address):
    """Read the engine's bus, with what these stages themselves posted in the segment before in place of its late copy."""
    copy_bytes(chain_address + BUS_OFFSET, page, BUS_BYTES)
    own = record_at(posts, POST).words
    source = carray(as_pointer(posts + POST_BUS), (WORDS,), np.int32)
    target = carray(as_pointer(chain_address + BUS_OFFSET), (WORDS,), np.int32)
    for k in range(WORDS):
        if (own >> k) & 1 != 0:
            target[k] = source[k]
    chain = record_at(chain_address, CHAIN)
    chain.block.bus.marks = 0
    copy_bytes(chain_address + POST_OFFSET, chain_address + BUS_OFFSET, BUS_BYTES)


@helper
def _give_posts(own, target, chain_address):
    """Note what the stages posted, and return which words of the bus are theirs: those they ever changed."""
    before = carray(as_pointer(chain_address + BUS_OFFSET), (WORDS,), np.int32)
    after = carray(as_pointer(chain_address + POST_OFFSET), (WORDS,), np.int32)
    for k in range(WORDS):
        if after[k] != before[k]:
            own |= np.int64(1) << k
    own &= ~np.int64(NOT_POSTED)
    record_at(target, POST).words = own
    copy_bytes(target + POST_BUS, chain_address + POST_OFFSET, BUS_BYTES)
    return own


@helper
def _work_segment(lane, address, seat, chain_address, frame, own):
    """Run the stages over one segment; returns the words of the bus that are theirs."""
    chain = record_at(chain_address, CHAIN)
    slots = slots_of(chain)
    audio = rows_at(chain.audio, chain.channels, SEGMENT)
    number = frame // SEGMENT
    page = address + lane.pages + (number & lane.page_mask) * lane.page_bytes
    posts = address + seat.posts
    previous = posts + ((number - 1) & lane.page_mask) * POST_BYTES
    record_at(previous, POST).words = own  # none, where it is not this worker's
    _take_bus(page, previous, chain_address)
    _take_rows(page, slots)
    chain.block.frames = SEGMENT
    chain.block.frame = frame
    for c in range(chain.channels):
        line_read(address + lane.input, lane.mask, c, frame, chain.audio + c * ROW_BYTES, SEGMENT)
    for k in range(chain.count):
        run_slot(slots[k], chain_address, chain, audio, frame, SEGMENT)
    for c in range(chain.channels):
        line_write(address + seat.output, lane.mask, c, frame, chain.audio + c * ROW_BYTES, SEGMENT)
    return _give_posts(own, posts + (number & lane.page_mask) * POST_BYTES, chain_address)


@helper
def _first_frame(lane, heard):
    """Return the frame to begin with, or -1 while there is none."""
    join = load_acquire(heard + JOIN)
    if join == JOIN_FIRST:
        return lane.first // SEGMENT * SEGMENT if lane.first >= 0 else np.int64(-1)
    return max(join, -1)


def _serve(address, index, chain_address):
    """Work for a lane until it is asked to leave, or more has come in than its lines hold."""
    lane = record_at(address, LANE)
    place = seat_address(address, index)
    seat = record_at(place, SEAT)
    at, own, taken = np.int64(-1), np.int64(0), np.int64(0)
    word = flush_denormals()
    ended = LEFT
    while load_acquire(place + LEAVE) == 0:
        now = clock_ns()
        store_release(place + HEARTBEAT, now)
        written = load_acquire(address + WRITTEN)
        if at < 0 and written > 0:
            at = _first_frame(lane, place)
        if at >= 0 and at + SEGMENT <= written:
            if taken != 0:
                count_ns(place + WAKE_NS, now - lane.posted_ns)
            if written - at > (lane.mask + 1) // 2:
                ended = BEHIND
                break
            while at + SEGMENT <= written:
                own = _work_segment(lane, address, seat, chain_address, at, own)
                at += SEGMENT
                store_release(place + DONE, at)
                written = load_acquire(address + WRITTEN)
            spent = clock_ns() - now
            count_ns(place + WORK_NS, spent)
            seat.busy_ns += spent
            seat.hops += 1
            if lane.asks != 0:
                semaphore_post(place + ANSWER)
        taken = np.int64(semaphore_wait(place + WAKE, clock_ns() + BEAT_NS) == 0)
    restore_denormals(word)
    return ended


_U, _I = numba.types.uintp, numba.types.int64
SERVE = compile_entry(_serve, _I(_U, _I, _U), extra_calls=frozenset({"sem_post", "sem_clockwait"}))


def lay_chain(inner: Any, lane: Any) -> ChainImage:
    """Lay the stages of a lane out in this process, as late as the lane stands in its chain."""
    channels, rate = int(lane["channels"]), float(lane["sample_rate"])
    uids = {p.key: k for k, p in enumerate(inner.placed)}
    image = ChainImage(inner, uids, rate, channels, inner.latency(rate))
    image.slots["upstream"][: len(inner.placed)] += int(lane["upstream"])
    image.slots["moving"] = 0
    return image
