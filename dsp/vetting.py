"""The static real-time gate: no compiled function may reach memory allocation, Python, a lock or the kernel.

Numba compiles, then this module reads the object code's undefined symbols and refuses what the audio thread must never
call. A function is vetted when it is compiled and only then enters the cache, so whatever the cache holds has passed.
"""
# mypy: disable-error-code="no-untyped-call, misc"

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autovoice.dsp.toolchain import ENTRY_OPTIONS, cache_folder, caching_in, compile_lock, numba
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError

FORBIDDEN: dict[str, str] = {
    "NRT_MemInfo_alloc": "allocates memory (a new array, list or string)",
    "NRT_Allocate": "allocates memory",
    "numba_unpickle": "raises an exception or reaches a Python object",
    "numba_runtime_build_excinfo_struct": "raises an exception",
    "PyObject_": "reaches a Python object",
}
"""Beginnings of symbols that break law 1, each with what it means in the source."""

ALLOWED_CALLS = frozenset(
    "memcpy memmove memset clock_gettime NRT_incref NRT_decref NRT_MemInfo_call_dtor numba_gil_ensure numba_gil_release "
    "PyErr_WriteUnraisable PyErr_Clear PyUnicode_FromString Py_DecRef PyErr_Occurred _Py_NoneStruct".split()
    + [
        name + kind
        for name in "sin cos tan asin acos atan atan2 sinh cosh tanh exp exp2 expm1 log log2 log10 log1p pow sqrt cbrt "
        "fmod floor ceil trunc round rint fabs hypot ldexp frexp copysign fma".split()
        for kind in ("", "f")
    ]
)
"""External calls a stage may make: pure functions, reference counts of views that own nothing (their address is null, so
no destructor can run), and Numba's wrapper that would report an exception."""

_ELF_UNDEFINED, _ELF_SYMBOL_TABLE = 0, 2


class RealTimeViolation(ValueError):
    """A compiled function would allocate, raise, lock or enter the kernel on the audio thread."""


def undefined_symbols(obj: bytes) -> list[str] | None:
    """Return the symbols an ELF64 object needs from elsewhere; None where it is not a little-endian ELF64 object."""
    if obj[:6] != b"\x7fELF\x02\x01":
        return None
    offset, size, count = struct.unpack_from("<Q", obj, 40)[0], *struct.unpack_from("<HH", obj, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", obj, offset + i * size) for i in range(count)]
    names = []
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != _ELF_SYMBOL_TABLE:
            continue
        strings = sections[link][4]
        for at in range(start + entry, start + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", obj, at)
            if section == _ELF_UNDEFINED:
                names.append(obj[strings + name : obj.index(b"\0", strings + name)].decode())
    return names


def violations(obj: bytes, *, extra_calls: frozenset[str] = frozenset()) -> list[str]:
    """List what in an object file breaks the first law, as `symbol: meaning`; empty when it is clean."""
    needed = undefined_symbols(obj)
    if needed is None:  # Mach-O or COFF: look for the names themselves
        return [f"{name}: {meaning}" for name, meaning in FORBIDDEN.items() if name.encode() in obj]
    known, unknown = [], []
    for symbol in needed:
        meaning = next((m for name, m in FORBIDDEN.items() if symbol.startswith(name)), None)
        if meaning:
            known.append(f"{symbol}: {meaning}")
        elif symbol and symbol not in ALLOWED_CALLS | extra_calls and symbol != "_GLOBAL_OFFSET_TABLE_":
            unknown.append(f"{symbol}: a call that is not known to be safe on the audio thread")
    return known or unknown  # what a known cause drags in would only hide it


class VettedEntry(CFunc):
    """A C function that is refused, and never cached, when its object code breaks the first law."""

    extra_calls: frozenset[str] = frozenset()
    folder: Path  # of the cache
    _cache: Any
    _sig: Any
    _targetdescr: Any
    _cache_hits: int

    def compile(self) -> None:
        """Take the code from the cache, or compile it under the lock; a warm start never waits for another's compiling."""
        cached = self._cache.load_overload(self._sig, self._targetdescr.target_context)
        if cached is None:
            with compile_lock(self.folder):
                super().compile()  # looks into the cache again: another process may have filled it while we waited
            return
        self._cache_hits += 1
        self._library = cached.library
        self._wrapper_name = cached.fndesc.llvm_cfunc_wrapper_name
        self._wrapper_address = self._library.get_pointer_to_function(self._wrapper_name)

    def _compile_uncached(self) -> Any:
        result = super()._compile_uncached()
        result.library.finalize()
        obj = result.library.serialize_using_object_code()[2][0]
        if found := violations(obj, extra_calls=self.extra_calls):
            raise RealTimeViolation("; ".join(found))
        return result


def compile_entry(function: Callable[..., None], signature: Any, *, extra_calls: frozenset[str] = frozenset()) -> VettedEntry:
    """Compile a function to C, vet it and cache it; a cached one loads in milliseconds.

    Control thread only. `extra_calls` are external functions a backend needs (such as `jack_port_get_buffer`).
    Raises RealTimeViolation with the offending symbols, or ValueError where the code cannot be compiled.
    """
    args, result = numba.core.sigutils.normalize_signature(signature)
    options = {key: value for key, value in ENTRY_OPTIONS.items() if key != "cache"}
    entry = VettedEntry(function, (args, result), locals={}, options=options)
    entry.extra_calls = extra_calls
    entry.folder = cache_folder(Path(function.__code__.co_filename))
    with caching_in(entry.folder):
        entry.enable_caching()
    try:
        entry.compile()
    except KeyError as error:  # Numba's own, for a field that a record does not have
        raise ValueError(f"cannot be compiled: no parameter, state or block field is called {error}") from error
    except NumbaError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"cannot be compiled: {' '.join(lines[:6])}") from error
    return entry
