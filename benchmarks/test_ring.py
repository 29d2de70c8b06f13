"""The ring: what a push and a pop of 64 frames cost, and whether anything is ever lost between threads or processes."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.toolchain import numba
from autovoice.rt.memory import address_of
from autovoice.rt.ring import Ring, ring_pop, ring_push

SAMPLES = 1_000_000_000
FRAMES = 64
_PRODUCER = """
import sys
import numpy as np
from autovoice.rt.ring import Ring
from benchmarks.test_ring import produce
ring = Ring.attach(sys.argv[1], np.int32)
produce(ring.address, int(sys.argv[2]))
"""


@numba.njit(error_model="numpy", nogil=True)
def cycle(ring, block, count):
    """Push and pop a block over and over on one thread."""
    for _ in range(count):
        ring_push(ring, block, FRAMES)
        ring_pop(ring, block, FRAMES)


@numba.njit(error_model="numpy", nogil=True)
def produce(ring, blocks):
    """Push the numbers 0, 1, 2 ... (wrapping at 2**31) in blocks."""
    block = np.empty(FRAMES, np.int32)
    for b in range(blocks):
        for i in range(FRAMES):
            block[i] = (b * FRAMES + i) & 0x7FFFFFFF
        while ring_push(ring, block.ctypes.data, FRAMES) == 0:
            pass


@numba.njit(error_model="numpy", nogil=True)
def consume(ring, blocks):
    """Pop them and count what is not the number it should be."""
    block = np.empty(FRAMES, np.int32)
    wrong = 0
    for b in range(blocks):
        while ring_pop(ring, block.ctypes.data, FRAMES) == 0:
            pass
        for i in range(FRAMES):
            wrong += block[i] != (b * FRAMES + i) & 0x7FFFFFFF
    return wrong


def test_ring_cost(benchmark: Any, report: Callable[[dict[str, Any]], None]) -> None:
    """One thread, 64 float32 frames in and out."""
    ring, block, count = Ring(np.float32, 4096), np.zeros(FRAMES, np.float32), 200_000
    cycle(ring.address, address_of(block), 10)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        cycle(ring.address, address_of(block), count)
        times.append((time.perf_counter() - start) / count * 1e9)
    report({"push_pop_ns_median": float(np.median(times)), "push_pop_ns_min": min(times), "bar": 100})
    benchmark.pedantic(cycle, (ring.address, address_of(block), count), rounds=5)


@pytest.mark.long
@pytest.mark.parametrize("between", ["threads", "processes"])
def test_ring_integrity(report: Callable[[dict[str, Any]], None], between: str) -> None:
    """A billion numbers through one ring; every one is checked."""
    ring, blocks = Ring(np.int32, 1 << 14, shared="autovoice-ring"), SAMPLES // FRAMES
    produce(ring.address, 0), consume(ring.address, 0)
    start = time.perf_counter()
    if between == "threads":
        producer = threading.Thread(target=produce, args=(ring.address, blocks))
        producer.start()
        wrong = consume(ring.address, blocks)
        producer.join()
    else:
        child = subprocess.Popen([sys.executable, "-c", _PRODUCER, ring.path, str(blocks)])
        wrong = consume(ring.address, blocks)
        assert child.wait() == 0
    ns = (time.perf_counter() - start) / blocks * 1e9
    report({"samples": blocks * FRAMES, "wrong": int(wrong), "left": len(ring), "ns_per_block": ns})
    assert wrong == 0 and len(ring) == 0
