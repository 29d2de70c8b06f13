"""Ordered loads and stores for control threads, where NumPy's own would not be ordered on every processor."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from autovoice.dsp.native import load_acquire, store_release
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry


def _load(address):
    return load_acquire(address)


def _store(address, value):
    store_release(address, value)


_LOAD = compile_entry(_load, numba.types.int64(numba.types.uintp))
_STORE = compile_entry(_store, numba.types.void(numba.types.uintp, numba.types.int64))


def load(address: int) -> int:
    """Read a 64-bit value; what its writer wrote before it is visible after."""
    return int(_LOAD.ctypes(address))


def store(address: int, value: int) -> None:
    """Write a 64-bit value after everything written before it."""
    _STORE.ctypes(address, value)
