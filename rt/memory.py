"""Memory for the audio thread: laid out before the start, every page touched, locked where the host allows it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Arena:
    """One stretch of zeroed memory that is handed out in 64-byte-aligned pieces and freed as a whole.

    Every page is touched when it is made, since a first touch on the audio thread would fault. With `shared` it is a
    memfd, so other processes can map it through `path`. Control thread only.
    """

    def __init__(self, size: int, *, shared: str | None = None) -> None:
        """Map `size` bytes; `shared` names the memfd."""
        self._fd = -1
        self.size = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        if shared is not None:
            self._fd = os.memfd_create(shared, os.MFD_CLOEXEC)
            os.ftruncate(self._fd, self.size)
        self._map = mmap.mmap(self._fd, self.size)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._bytes[:: mmap.PAGESIZE] = 0
        self.address = int(self._bytes.ctypes.data)
        self.locked: bool = _libc.mlock(self.address, self.size) == 0
        self._used = 0

    @property
    def path(self) -> str:
        """Where another process of this user can map a shared arena."""
        if self._fd < 0:
            raise ValueError("this arena is private to its process")
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def take(self, dtype: Any, count: int = 1) -> np.ndarray[Any, Any]:
        """Return `count` zeroed items of `dtype`, aligned to 64 bytes; shape (count,)."""
        size = np.dtype(dtype).itemsize * count
        start = self._used
        if start + size > self.size:
            raise MemoryError(f"the arena holds {self.size} bytes, {start + size} were asked for")
        self._used = aligned(start + size)
        return self._bytes[start : start + size].view(dtype)

    def close(self) -> None:
        """Release the descriptor; the pages go when the last view of them does."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """Release the descriptor of an arena that nobody holds any more."""
        self.close()


def aligned(size: int) -> int:
    """Round a size in bytes up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def address_of(array: np.ndarray[Any, Any]) -> int:
    """Return the address of an array's first byte."""
    return int(array.ctypes.data)


def release_compiler() -> None:
    """Give the pages of the compiler's code back once everything is compiled; a later compile reads them in again.

    They are clean pages of a file, so nothing is lost: about 50 MB less stays resident while a voice plays.
    Control thread only; does nothing where /proc is not at hand.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            if "libllvmlite" in line and line.split()[1] == "r-xp":
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                _libc.madvise(start, end - start, mmap.MADV_DONTNEED)
