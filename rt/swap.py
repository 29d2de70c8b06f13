"""A chain swap on the audio thread: the incoming chain takes the old one's state over, runs unheard, and is faded in."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, copy_bytes, exchange, helper, load_acquire, load_i64, record_at
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.rt.cells import enter, retarget, show_chain
from autovoice.rt.layout import (
    ADOPTED,
    CELL,
    CHAIN,
    COPY,
    COPY_BYTES,
    COPY_CELL,
    COPY_RING,
    COPY_TARGET,
    ENGINE,
    HEARD,
    field_offset,
)
from autovoice.rt.rows import rows_at
from autovoice.rt.worst import NOW, RECORD

carray = numba.carray
NEXT = field_offset(ENGINE, "next")
RING_MARGIN = 2 * SEGMENT  # the segment that is being written, and the last one, which a stage may still fade
ONE = np.float32(1)


@helper
def copy_newest(copy):
    """Copy what was written to a ring of float32 since control copied all of it, and a margin on either side."""
    first = max(copy.since - RING_MARGIN, 0)
    count = min(load_i64(copy.head) + RING_MARGIN - first, copy.size)
    at = first % copy.size
    straight = min(count, copy.size - at)
    copy_bytes(copy.target + 4 * at, copy.source + 4 * at, 4 * straight)
    copy_bytes(copy.target, copy.source, 4 * (count - straight))


@helper
def adopt(engine):
    """At a multiple of SEGMENT, take a chain that control has published: it starts unheard, with the old one's state."""
    if engine.incoming != 0 or load_acquire(engine.self_address + NEXT) == 0:
        return
    address = exchange(engine.self_address + NEXT, 0)
    chain = record_at(address, CHAIN)
    copies = carray(as_pointer(chain.copies), (chain.copy_count,), COPY)
    for k in range(chain.copy_count):
        if copies[k].kind == COPY_BYTES:
            copy_bytes(copies[k].target, copies[k].source, copies[k].size)
        elif copies[k].kind == COPY_RING:
            copy_newest(copies[k])
        else:
            cell, old = record_at(copies[k].target, CELL), record_at(copies[k].source, CELL)
            cell.value = old.target if copies[k].kind == COPY_TARGET else old.value
            if copies[k].kind != COPY_CELL:
                cell.target = old.target
            if copies[k].kind == COPY_TARGET:
                cell.remaining = 0
                cell.dirty = 1
            elif old.target == cell.target:  # a glide under way goes on as it was
                cell.step = old.step
                cell.remaining = old.remaining
                cell.dirty = 1
            else:
                retarget(cell, cell.target)
    if engine.worst != 0:
        record_at(engine.worst + NOW, RECORD).adopted = 1
    engine.incoming = address
    engine.settling = chain.settle
    engine.fade_at = 0
    show_chain(engine, address)
    enter(engine, ADOPTED, engine.frame, chain.generation, chain.settle, 0.0, 0, 0)


@helper
def fade_incoming(engine, telemetry, audio, frames):
    """Mix the incoming chain in; return the old one's address when it was heard for the last time, else 0."""
    new = record_at(engine.incoming, CHAIN)
    if engine.settling > 0:
        engine.settling -= frames
        return 0
    heard = rows_at(new.audio, new.channels, SEGMENT)
    scale = ONE / np.float32(engine.fade_frames)
    for c in range(engine.channels):
        for i in range(frames):
            share = np.float32(engine.fade_at + i + 1) * scale
            if share < ONE:
                audio[c, i] += share * (heard[c, i] - audio[c, i])
            else:
                audio[c, i] = heard[c, i]
    engine.fade_at += frames
    if engine.fade_at < engine.fade_frames:
        return 0
    old = engine.current
    engine.current = engine.incoming
    engine.incoming = 0
    telemetry.swaps += 1
    enter(engine, HEARD, engine.frame + frames, new.generation, 0, 0.0, 0, 0)
    return old
