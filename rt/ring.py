"""A lock-free single-producer single-consumer ring, usable from Python, from compiled code and from another process.

One writer, one reader, each on its own thread or in its own process. Indices count items for ever and are masked on use
(Lamport, 1983); each has a cache line of its own, is stored with release and loaded with acquire order, so what the reader
sees behind the index is complete.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from autovoice.dsp.native import copy_bytes, helper, load_acquire, load_i64, store_release
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.memory import Arena, address_of

WRITE, READ, CAPACITY, ITEM, DATA = 0, 64, 128, 136, 192  # byte offsets; CAPACITY in items, ITEM in bytes


@helper
def ring_space(ring):
    """Return how many items the producer may push now."""
    return load_i64(ring + CAPACITY) - (load_i64(ring + WRITE) - load_acquire(ring + READ))


@helper
def ring_count(ring):
    """Return how many items the consumer may pop now."""
    return load_acquire(ring + WRITE) - load_i64(ring + READ)


@helper
def _copy(ring, index, memory, count, inwards):
    """Copy items between memory and the ring in at most two pieces."""
    capacity, item = load_i64(ring + CAPACITY), load_i64(ring + ITEM)
    at = index & (capacity - 1)
    first = min(count, capacity - at)
    if inwards:
        copy_bytes(ring + DATA + at * item, memory, first * item)
        copy_bytes(ring + DATA, memory + first * item, (count - first) * item)
    else:
        copy_bytes(memory, ring + DATA + at * item, first * item)
        copy_bytes(memory + first * item, ring + DATA, (count - first) * item)


@helper
def ring_push(ring, source, count):
    """Push `count` items from an address, all or none; return how many. Producer's thread only."""
    if ring_space(ring) < count:
        return 0
    write = load_i64(ring + WRITE)
    _copy(ring, write, source, count, True)
    store_release(ring + WRITE, write + count)
    return count


@helper
def ring_peek(ring, target):
    """Copy the oldest item out without taking it; the ring must not be empty. Consumer's thread only."""
    _copy(ring, load_i64(ring + READ), target, 1, False)


@helper
def ring_pop(ring, target, count):
    """Pop `count` items to an address, all or none; return how many. Consumer's thread only."""
    if ring_count(ring) < count:
        return 0
    read = load_i64(ring + READ)
    _copy(ring, read, target, count, False)
    store_release(ring + READ, read + count)
    return count


def _push_entry(ring, source, count):
    return ring_push(ring, source, count)


def _pop_entry(ring, target, count):
    return ring_pop(ring, target, count)


class Ring:
    """The Python face of a ring; `push` and `pop` may be called while compiled code works the other end.

    `capacity` is rounded up to a power of two. With `shared` the ring lives in a memfd that another process attaches by
    `path`. Exactly one thread may push and one may pop.
    """

    def __init__(self, dtype: Any, capacity: int, *, shared: str | None = None) -> None:
        """Lay out an empty ring of at least `capacity` items."""
        self.dtype = np.dtype(dtype)
        self.capacity = 1 << max(capacity - 1, 1).bit_length()
        self._arena = Arena(DATA + self.capacity * self.dtype.itemsize, shared=shared)
        self.address = self._arena.address
        header = self._arena.take(np.int64, DATA // 8)
        header[CAPACITY // 8], header[ITEM // 8] = self.capacity, self.dtype.itemsize
        self._header = header

    @classmethod
    def attach(cls, path: str, dtype: Any) -> Ring:
        """Map a shared ring of another process by its `path`; raises ValueError where the items differ."""
        ring = cls.__new__(cls)
        ring.dtype = np.dtype(dtype)
        with open(path, "r+b") as file:
            memory = np.frombuffer(mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size), np.int64)
        ring._header, ring.address = memory, address_of(memory)
        ring.capacity = int(memory[CAPACITY // 8])
        if memory[ITEM // 8] != ring.dtype.itemsize:
            raise ValueError(f"{path} holds items of {memory[ITEM // 8]} bytes, {ring.dtype} has {ring.dtype.itemsize}")
        return ring

    @property
    def path(self) -> str:
        """Where another process can attach."""
        return self._arena.path

    @property
    def written(self) -> int:
        """How many items were ever pushed."""
        return int(self._header[WRITE // 8])

    @property
    def taken(self) -> int:
        """How many items were ever popped."""
        return int(self._header[READ // 8])

    def __len__(self) -> int:
        """Return how many items wait."""
        return self.written - self.taken

    def push(self, items: np.ndarray[Any, Any]) -> bool:
        """Push all items, shape (n,), or none where there is no room; say whether it was done."""
        items = np.ascontiguousarray(items, self.dtype)
        return items.size == 0 or bool(PUSH.ctypes(self.address, address_of(items), items.size))

    def pop(self, limit: int) -> np.ndarray[Any, Any]:
        """Pop up to `limit` items, oldest first; shape (n,), n may be 0."""
        items = np.empty(min(limit, len(self)), self.dtype)
        if items.size and not POP.ctypes(self.address, address_of(items), items.size):
            return items[:0]
        return items


_SIGNATURE = numba.types.int64(numba.types.uintp, numba.types.uintp, numba.types.int64)
PUSH = compile_entry(_push_entry, _SIGNATURE)
POP = compile_entry(_pop_entry, _SIGNATURE)
