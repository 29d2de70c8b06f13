"""Read-only numbers that stages share: filter banks and weights, kept in memory at an address that goes into their state.

State is copied when a chain is swapped, so what is large and never changes lies here instead, once for all chains and
channels. It is laid out before the start, touched, locked against paging where the host allows it, and never freed.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_kept: list[mmap.mmap] = []  # a stage that runs may hold an address in any of them
_libc = ctypes.CDLL(None)


def keep(values: np.ndarray[Any, Any]) -> int:
    """Copy an array, in C order, to memory that stays; returns its address, the start of a page. Control thread only."""
    contents = np.ascontiguousarray(values).tobytes()
    memory = mmap.mmap(-1, max(len(contents), 1))
    memory[: len(contents)] = contents
    _kept.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(contents)))  # refused without the right to: then it may page
    return address
