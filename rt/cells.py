"""Gliding values and the events that move them; compiled code for the audio thread."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, helper, load_i64, record_at, store_release
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.rt.layout import (
    BYPASS_INDEX,
    CELL,
    CHAIN,
    CONTROL,
    ENTRIES,
    ENTRY,
    EVENT,
    IMMEDIATELY,
    MASTER_CELLS,
    MASTER_UID,
    MAX_PENDING,
    MOVE,
    SLOT,
    UNKNOWN,
    VALUE_STRIDE,
    VALUE_UIDS,
    field_offset,
)
from autovoice.rt.ring import ring_count, ring_peek, ring_pop

carray = numba.carray
DRAIN_LIMIT = 256  # events taken from one ring in one callback, so that a flood costs the same as a crowd
FAR = 1 << 62
EVENT_BYTES = EVENT.itemsize
VALUES, WRITTEN, JOURNAL = (field_offset(CONTROL, name) for name in ("values", "written", "entries"))
ENTRY_BYTES = ENTRY.itemsize


@helper
def retarget(cell, target):
    """Send a cell to a new value, in a straight line over its glide."""
    cell.target = target
    if cell.glide == 0:
        cell.value = target
        cell.remaining = 0
    else:
        cell.step = (target - cell.value) / cell.glide
        cell.remaining = cell.glide
    cell.dirty = 1


@helper
def advance(cell, frames):
    """Fill the cell's row for the next frames; return 1 while there is more to do."""
    if cell.dirty == 0:
        return 0
    row = carray(as_pointer(cell.row), (SEGMENT,), np.float32)
    if cell.remaining == 0:  # at rest: the whole row, so that nothing needs doing again
        for i in range(SEGMENT):
            row[i] = np.float32(cell.value)
        cell.dirty = 0
        return 0
    for i in range(frames):
        if cell.remaining > 0:
            cell.remaining -= 1
            cell.value = cell.target if cell.remaining == 0 else cell.value + cell.step
        row[i] = np.float32(cell.value)
    return 1


@helper
def slots_of(chain):
    """View a chain's slots, shape (count,)."""
    return carray(as_pointer(chain.slots), (chain.count,), SLOT)


@helper
def _apply_to_chain(address, event):
    """Apply an event to the slot it names; return how many took it."""
    if address == 0:
        return 0
    slots = slots_of(record_at(address, CHAIN))
    for k in range(len(slots)):
        if slots[k].uid == event.uid:
            slots[k].moving = 1
            if event.index == BYPASS_INDEX:
                retarget(slots[k].wet, 1.0 - event.value)
                return 1
            if 0 <= event.index < slots[k].cell_count:
                cells = carray(as_pointer(slots[k].cells), (slots[k].cell_count,), CELL)
                retarget(cells[event.index], event.value)
                return 1
    return 0


@helper
def enter(engine, kind, frame, uid, index, value, producer, origin):
    """Enter a line in the journal, for all who follow it."""
    if engine.control == 0:
        return
    number = load_i64(engine.control + WRITTEN)
    entry = record_at(engine.control + JOURNAL + (number & (ENTRIES - 1)) * ENTRY_BYTES, ENTRY)
    entry.number = number
    entry.frame = frame
    entry.time_ns = engine.began_ns
    entry.uid = uid
    entry.index = index
    entry.value = value
    entry.producer = producer
    entry.origin = origin
    entry.kind = kind
    store_release(engine.control + WRITTEN, number + 1)


@helper
def show_value(engine, uid, index, value):
    """Let everybody see a parameter's value."""
    if 0 <= uid < VALUE_UIDS and index + 1 < VALUE_STRIDE:
        row = carray(as_pointer(engine.control + VALUES), (VALUE_UIDS, VALUE_STRIDE), np.float64)
        row[uid, index + 1] = value


@helper
def show_chain(engine, address):
    """Let everybody see what a chain that was just taken up is set to."""
    if engine.control == 0:
        return
    slots = slots_of(record_at(address, CHAIN))
    for k in range(len(slots)):
        show_value(engine, slots[k].uid, BYPASS_INDEX, 1.0 - slots[k].wet.target)
        cells = carray(as_pointer(slots[k].cells), (slots[k].cell_count,), CELL)
        for j in range(slots[k].cell_count):
            show_value(engine, slots[k].uid, j, cells[j].target)


@helper
def _apply(engine, telemetry, event):
    if event.uid == MASTER_UID:
        taken = 1 if 0 <= event.index < MASTER_CELLS else 0
        if taken:
            retarget(engine.master[event.index], event.value)
            engine.moving = 1
    else:
        taken = _apply_to_chain(engine.current, event) + _apply_to_chain(engine.incoming, event)
    if taken:
        telemetry.events_applied += 1
        if engine.control != 0:
            show_value(engine, event.uid, event.index, event.value)
    else:
        telemetry.events_unknown += 1
    kind = MOVE if taken else UNKNOWN
    enter(engine, kind, engine.frame, event.uid, event.index, event.value, event.producer, event.origin)


@helper
def apply_due(engine, telemetry):
    """Apply every event whose frame has come; return the frame of the next one."""
    events = carray(as_pointer(engine.pending), (MAX_PENDING,), EVENT)
    while engine.pending_head < engine.pending_tail:
        event = events[engine.pending_head]
        if event.frame > engine.frame:
            return event.frame
        _apply(engine, telemetry, event)
        engine.pending_head += 1
    return FAR


@helper
def _insert(engine, telemetry, events, slot):
    """Sift the event at index `slot` down to its place: by frame, then producer, then arrival."""
    if events[slot].frame < engine.frame:
        if events[slot].frame != IMMEDIATELY:
            telemetry.events_late += 1
        events[slot].frame = engine.frame
    k = slot
    while k > engine.pending_head:
        before, here = events[k - 1], events[k]
        if before.frame < here.frame or (before.frame == here.frame and before.producer <= here.producer):
            break
        _swap(before, here)
        k -= 1


@helper
def _swap(a, b):
    a.frame, b.frame = b.frame, a.frame
    a.uid, b.uid = b.uid, a.uid
    a.index, b.index = b.index, a.index
    a.value, b.value = b.value, a.value
    a.following, b.following = b.following, a.following
    a.producer, b.producer = b.producer, a.producer
    a.origin, b.origin = b.origin, a.origin


@helper
def _make_room(engine, events):
    """Move the waiting events to the front of their array when its end comes near."""
    if engine.pending_head == engine.pending_tail:
        engine.pending_head = 0
        engine.pending_tail = 0
    elif engine.pending_tail > MAX_PENDING - DRAIN_LIMIT and engine.pending_head > 0:
        count = engine.pending_tail - engine.pending_head
        for k in range(count):
            source = events[engine.pending_head + k]
            target = events[k]
            _swap(target, source)
        engine.pending_head = 0
        engine.pending_tail = count


@helper
def drain(engine, telemetry):
    """Take what the producers sent into the sorted list of waiting events. A group is taken whole or left in its ring."""
    events = carray(as_pointer(engine.pending), (MAX_PENDING,), EVENT)
    for r in range(engine.producers):
        ring = engine.rings[r]
        taken = 0
        while taken < DRAIN_LIMIT and ring_count(ring) > 0:
            _make_room(engine, events)
            if engine.pending_tail >= MAX_PENDING:
                return
            head = engine.pending + engine.pending_tail * EVENT_BYTES
            ring_peek(ring, head)
            group = events[engine.pending_tail].following + 1
            if engine.pending_tail + group > MAX_PENDING:
                return
            for _ in range(group):
                slot = engine.pending_tail
                ring_pop(ring, engine.pending + slot * EVENT_BYTES, 1)
                events[slot].producer = r
                engine.pending_tail += 1
                _insert(engine, telemetry, events, slot)
            taken += group
