"""Pitch marks as stages hand them on: one analysis finds them, every stage behind it reads them.

`block.post.marks` is the address of a MARKS record: the marks of the sound as it stands at this point of the chain. The stage
`marks` writes the first one; a stage that changes the pitch replaces it by that of its own output. Positions are absolute
frames (float64) of the local clock of the writer, which is `upstream` frames late against the chain's input; a reader moves
them to its own. A mark may be read from the frame `due` on: then the result does not depend on how the input was cut.

A reader keeps the marks that it has taken in a VIEW of its own state, which outlives a jump of the writer. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import address_of_record, helper, record_at
from autovoice.dsp.stage import SEGMENT

HISTORY = 32  # marks that a reader remembers: more than a look back of 20 ms at 1100 Hz needs ...
WRITTEN = 64  # ... and that a writer keeps: a writer may be a segment ahead of its reader, up to 10 marks
AHEAD_PERIODS = 2.0  # the drift is trusted so far into the future
NEVER = np.int64(1) << np.int64(62)

MARKS = np.dtype(
    [
        ("run", "i8"),  # absolute frame at which this row of marks began, + 1; it moves at multiples of SEGMENT alone
        ("count", "i8"),  # marks written; mark k (from 0) is at k % WRITTEN
        ("upstream", "i8"),  # frames of delay between the chain's input and the sound that the marks belong to
        ("voiced", "i8"),  # 0 or 1: whether the sound has a pitch now; moves at multiples of SEGMENT alone
        ("position", "f8", (WRITTEN,)),  # absolute frames, of the middle of a glottal pulse
        ("period", "f8", (WRITTEN,)),  # frames, smoothed
        ("drift", "f8", (WRITTEN,)),  # frames by which the period grows each period
        ("due", "i8", (WRITTEN,)),  # absolute frame from which the mark may be known; never falls from mark to mark
        ("correlation", "f4", (WRITTEN,)),  # of the two periods around the mark, 0..1
    ],
    align=True,
)
"""What `block.post.marks` points at."""

VIEW = np.dtype(
    [
        ("run", "i8"),  # of the writer's that is followed
        ("taken", "i8"),  # marks of it, counted as `count`
        ("voiced", "i8"),
        ("mark", "f8"),  # position of the newest, in frames of the reader's own clock
        ("period", "f8"),
        ("drift", "f8"),
        ("marks", "f8", (HISTORY,)),
        ("newest", "i8"),  # index into `marks`
        ("correlation", "f4"),
    ],
    align=True,
)
"""A reader's memory: a field of its STATE, as `("marks", pitch_marks.VIEW)`."""


@helper
def begin(record, frame, position, period):
    """Begin a row of marks at absolute frame `frame` with one at `position`, and regular ones before it."""
    record.run = frame + 1
    for k in range(WRITTEN):
        append(record, position - (WRITTEN - 1 - k) * period, period, 0.0, np.float32(0), frame)


@helper
def append(record, position, period, drift, correlation, due):
    """Write the next mark, which readers may know from absolute frame `due` on."""
    k = record.count % WRITTEN
    record.position[k] = position
    record.period[k] = period
    record.drift[k] = drift
    record.correlation[k] = correlation
    record.due[k] = due
    record.count += 1


@helper
def publish(record, block, latency):
    """Make the record the marks of the sound behind this stage, which delays by `latency` frames. Needed in every call."""
    record.upstream = block.upstream + latency
    block.post.marks = address_of_record(record)


@helper
def marks_of(block):
    """Return the record of the sound that comes in; the stage must REQUIRE "marks"."""
    return record_at(block.post.marks, MARKS)


@helper
def join(view, record, block):
    """Follow the row of marks that is being written, from its newest mark at hand on. At multiples of SEGMENT alone."""
    view.run = record.run
    view.taken = record.count - WRITTEN
    while next_due(view, record) <= block.frame:
        take(view, record, block)


@helper
def next_due(view, record):
    """Return the absolute frame at which the next mark is due, or NEVER while there is none."""
    if view.run != record.run or view.taken >= record.count:
        return NEVER
    return record.due[view.taken % WRITTEN]


@helper
def take(view, record, block):
    """Take the next mark, which is due."""
    k = view.taken % WRITTEN
    view.taken += 1
    view.mark = record.position[k] + np.float64(block.upstream - record.upstream)
    view.period = record.period[k]
    view.drift = record.drift[k]
    view.correlation = record.correlation[k]
    view.newest = (view.newest + 1) % HISTORY
    view.marks[view.newest] = view.mark


@helper
def watch(view, record, block, free):
    """Once a segment: note whether there is a pitch; join another row of marks if `free`, else say that there is one.

    Returns whether the marks can be used.
    """
    view.voiced = record.voiced
    if view.voiced and view.run != record.run and free:
        join(view, record, block)
    return view.voiced != 0 and view.run == record.run


@helper
def mark_near(view, frame):
    """Return the mark nearest to `frame`: a past one, or one predicted from the newest."""
    mark = view.mark
    period = view.period + view.drift
    if frame >= mark:
        while frame - mark > 0.5 * period and frame - mark < 8.0 * view.period:
            mark += period
            period += view.drift
        return mark
    k = view.newest
    for _ in range(HISTORY - 1):
        before = view.marks[(k + HISTORY - 1) % HISTORY]
        if frame >= 0.5 * (mark + before):
            break
        mark = before
        k = (k + HISTORY - 1) % HISTORY
    return mark


@helper
def period_near(view, frame):
    """Return the period at `frame`: between the distances of past marks, each true at its middle, or predicted."""
    if frame >= view.mark:
        return view.period + view.drift * min(np.float64(AHEAD_PERIODS), (frame - view.mark) / view.period)
    after, k = view.mark, view.newest
    next_period = view.period + 0.5 * view.drift
    next_middle = after + 0.5 * next_period
    for _ in range(HISTORY - 1):
        k = (k + HISTORY - 1) % HISTORY
        period = after - view.marks[k]
        middle = after - 0.5 * period
        if frame >= middle:
            return period + (next_period - period) * (frame - middle) / (next_middle - middle)
        after, next_period, next_middle = view.marks[k], period, middle
    return next_period


@helper
def written_period(record, frame):
    """Return the distance of the two marks around `frame`, for the writer itself; the newest period after the last mark."""
    k = record.count - 1
    if frame >= record.position[k % WRITTEN]:
        return record.period[k % WRITTEN]
    for _ in range(WRITTEN - 2):
        if frame >= record.position[(k - 1) % WRITTEN]:
            break
        k -= 1
    return record.position[k % WRITTEN] - record.position[(k - 1) % WRITTEN]


@helper
def voiced_later(history, voiced, delay):
    """Note in a history of 63 segments whether there is a pitch, 0 or 1; return it and whether there was `delay` frames ago."""
    history = (history << 1) | voiced
    return history, (history >> min(delay // SEGMENT, 62)) & 1
