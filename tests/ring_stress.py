"""Both ends of a ring, compiled, without the GIL; run as a program it is the reading end in another process."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from autovoice.dsp.toolchain import numba
from autovoice.rt.ring import Ring, ring_count, ring_pop, ring_push

ITEMS = 20_000_000


@numba.njit("void(uintp, int64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def produce(ring: Any, scratch: Any, items: Any) -> None:
    """Push 0, 1, 2, ... in runs of 1..97."""
    sent, run = 0, 1
    while sent < items:
        run = run * 31 % 97 + 1
        count = min(run, items - sent)
        for k in range(count):
            scratch[k] = sent + k
        while ring_push(ring, scratch.ctypes.data, count) == 0:
            pass
        sent += count


@numba.njit("int64(uintp, int64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def consume(ring: Any, scratch: Any, items: Any) -> Any:
    """Pop in runs of 1..89 and return how many items were not the next number."""
    seen, wrong, run = 0, 0, 1
    while seen < items:
        run = run * 17 % 89 + 1
        count = min(run, items - seen)
        while ring_count(ring) < count:
            pass
        ring_pop(ring, scratch.ctypes.data, count)
        for k in range(count):
            wrong += scratch[k] != seen + k
        seen += count
    return wrong


if __name__ == "__main__":
    attached = Ring.attach(sys.argv[1], "i8")
    print(json.dumps({"wrong": int(consume(attached.address, np.zeros(128, np.int64), ITEMS)), "items": ITEMS}))
