"""Numba, set up for code that runs on the audio thread. Importing this module is what makes compiled bits repeatable.

Numba's own cache looks at the file of the compiled function alone, so an edit in an imported helper goes unseen. Here the
cache folder carries a hash of every source of the compiled floors, Numba's version and the processor: an edit anywhere
starts a fresh folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COMPILED_FLOORS = ("dsp", "rt")  # folders beside this one whose sources are compiled


def _cpu_name() -> str:
    """Name the processor and its vector units, which decide the machine code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def _source_hash() -> str:
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for floor in COMPILED_FLOORS:
        for path in sorted((root / floor).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    for part in (version("numba"), version("llvmlite"), version("numpy"), sys.version, _cpu_name()):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    if chosen := os.environ.get("AUTOVOICE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "autovoice"


CACHE_DIR = _cache_root() / _source_hash()
"""Where compiled code of exactly these sources on exactly this processor lies."""

os.environ["NUMBA_DISABLE_INTEL_SVML"] = "1"  # a vector body and its scalar tail must agree to the last bit
os.environ["NUMBA_CACHE_DIR"] = str(CACHE_DIR)  # both must stand before the first import


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Make modules look absent while the block runs, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# Numba imports both where they are installed, to see whether they are there: 20 MB and 0.15 s that no stage needs. Linear
# algebra in other Numba code of the process still finds SciPy when it is compiled.
with _without("scipy", "coverage"):
    import numba
    import numba.np.arraymath
    from numba.core import config as _config
numba.np.arraymath._HAVE_BLAS = find_spec("scipy") is not None

_config.CACHE_DIR = str(CACHE_DIR)  # for a process that imported numba before us
_config.DISABLE_INTEL_SVML = 1

HELPER_OPTIONS: dict[str, Any] = {"forceinline": True, "error_model": "numpy", "boundscheck": False}
ENTRY_OPTIONS: dict[str, Any] = {**HELPER_OPTIONS, "cache": True}
_process_lock = threading.RLock()
_depth = threading.local()


@contextlib.contextmanager
def compile_lock() -> Iterator[None]:
    """Let one thread of one process compile at a time; a second cold start waits and then finds the cache full.

    Control thread only. Falls back to a lock within the process where the cache folder cannot be written.
    """
    with _process_lock:
        if getattr(_depth, "value", 0):  # flock on a second descriptor of our own would wait for ourselves
            yield
            return
        _depth.value = 1
        try:
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):
                    CACHE_DIR.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context((CACHE_DIR / ".lock").open("w"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        finally:
            _depth.value = 0


def is_cold() -> bool:
    """Say whether this exact code was never compiled on this processor before."""
    return next(CACHE_DIR.rglob("*.nbi"), None) is None if CACHE_DIR.is_dir() else True


__all__ = ["CACHE_DIR", "ENTRY_OPTIONS", "HELPER_OPTIONS", "compile_lock", "is_cold", "numba"]
