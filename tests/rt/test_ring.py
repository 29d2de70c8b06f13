"""The ring under stress: order, wrap-around, all or nothing; between threads and between processes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from autovoice.rt.ring import Ring
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_stress import ITEMS, consume, produce
from support import run_program

PROGRAM = Path(__file__).parent.parent / "ring_stress.py"


def test_a_ring_holds_its_capacity_and_not_one_item_more() -> None:
    ring = Ring("i8", 5)
    assert ring.capacity == 8
    assert ring.push(np.arange(8))
    assert not ring.push(np.array([8]))
    assert ring.pop(3).tolist() == [0, 1, 2]
    assert not ring.push(np.arange(4))
    assert ring.push(np.array([8, 9, 10]))
    assert ring.pop(100).tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert ring.pop(100).size == 0


def test_a_push_that_does_not_fit_leaves_nothing_behind() -> None:
    ring = Ring("i8", 4)
    ring.push(np.array([1, 2]))
    assert not ring.push(np.array([7, 7, 7]))
    assert len(ring) == 2
    ring.push(np.array([3, 4]))
    assert ring.pop(9).tolist() == [1, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80), st.integers(1, 9))
def test_a_ring_is_a_bounded_queue(moves: list[tuple[bool, int]], capacity: int) -> None:
    ring, queue, sent = Ring("i8", capacity), [], 0
    for push, count in moves:
        if push:
            fits = len(queue) + count <= ring.capacity
            assert ring.push(np.arange(sent, sent + count)) == fits
            if fits:
                queue += range(sent, sent + count)
                sent += count
        else:
            assert ring.pop(count).tolist() == queue[:count]
            del queue[:count]
        assert len(ring) == len(queue)


def test_indices_past_two_to_the_31_still_wrap_right() -> None:
    ring = Ring("i8", 4)
    ring._header[0] = ring._header[8] = (1 << 31) - 2
    for k in range(8):
        assert ring.push(np.array([k, k + 100, k + 200]))
        assert ring.pop(9).tolist() == [k, k + 100, k + 200]


def test_two_threads_without_the_gil_lose_and_swap_nothing() -> None:
    ring = Ring("i8", 1024)
    wrong = np.full(1, -1, np.int64)

    def read() -> None:
        wrong[0] = consume(ring.address, np.zeros(128, np.int64), ITEMS)

    reader = threading.Thread(target=read)
    reader.start()
    produce(ring.address, np.zeros(128, np.int64), ITEMS)
    reader.join(60)
    assert wrong[0] == 0
    assert len(ring) == 0


def test_two_processes_lose_and_swap_nothing() -> None:
    ring = Ring("i8", 1024, shared="autovoice-test")
    reader: dict[str, object] = {}
    thread = threading.Thread(target=lambda: reader.update(run_program(PROGRAM, ring.path)))
    thread.start()
    produce(ring.address, np.zeros(128, np.int64), ITEMS)
    thread.join(60)
    assert reader == {"wrong": 0, "items": ITEMS}


def test_attaching_a_ring_of_other_items_is_refused() -> None:
    ring = Ring("i8", 16, shared="autovoice-test")
    with pytest.raises(ValueError, match="items of 8 bytes"):
        Ring.attach(ring.path, "f4")


def test_a_private_ring_has_no_path() -> None:
    ring = Ring("i8", 16)
    with pytest.raises(ValueError, match="private"):
        _ = ring.path
