"""A POSIX semaphore in memory that processes share: what wakes a worker. The face for Python, without a compiler."""

from __future__ import annotations

import ctypes
import time

CLOCK_MONOTONIC = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_libc.sem_init.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]
_libc.sem_post.argtypes = [ctypes.c_void_p]
_libc.sem_clockwait.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Timespec)]


def lay(address: int) -> None:
    """Make a semaphore of zeroed memory, at 0, for all processes that map it."""
    if _libc.sem_init(address, 1, 0) != 0:
        raise OSError(ctypes.get_errno(), "sem_init")


def post(address: int) -> None:
    """Count one more; any thread, never blocks."""
    _libc.sem_post(address)


def wait(address: int, seconds: float) -> bool:
    """Wait until it counts more than 0, take one, and say whether that came in time; other Python threads run meanwhile."""
    end = time.monotonic_ns() + round(seconds * 1e9)
    return bool(_libc.sem_clockwait(address, CLOCK_MONOTONIC, ctypes.byref(_Timespec(*divmod(end, 1_000_000_000)))) == 0)
