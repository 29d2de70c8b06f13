"""Numba, set up for code that runs on the audio thread. Importing this module is what makes compiled bits repeatable.

Numba's own cache looks at the file of the compiled function alone, so an edit in an imported helper goes unseen. Here each
file has a cache folder of its own, named by a hash of its source and of all that it imports from this project, under a folder
named by Numba's version and the processor: an edit recompiles what it can reach, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent  # of the floors
_IMPORT = re.compile(r"^\s*(?:from\s+autovoice\.([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+autovoice\.([\w.]+))", re.MULTILINE)


def _cpu_name() -> str:
    """Name the processor and its vector units, which decide the machine code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def _toolchain_hash() -> str:
    parts = (version("numba"), version("llvmlite"), version("numpy"), sys.version, _cpu_name())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Return the files of this project that a file imports by name."""
    found = []
    for package, names, module in _IMPORT.findall(path.read_text(encoding="utf-8")):
        base = ROOT.joinpath(*(package or module).split("."))
        candidates = [base.with_suffix(".py")]
        candidates += [base / f"{name}.py" for name in re.findall(r"\w+", names)] if base.is_dir() else []
        found += [one for one in candidates if one.is_file()]
    return tuple(found)


def cache_folder(path: Path) -> Path:
    """Return where the compiled code of a file lies: the name holds a hash of the file and of all that it imports.

    Control thread only; reads each source once for a process.
    """
    return _cache_folder(path.resolve())


@cache
def _cache_folder(path: Path) -> Path:
    reached = {path, ROOT / "dsp" / "stage.py"}  # whose layouts every stage is compiled with
    waiting = [*reached]
    while waiting:
        new = [one for one in _imports(waiting.pop()) if one not in reached]
        reached.update(new)
        waiting += new
    digest = hashlib.sha256()
    for one in sorted(reached):
        digest.update(one.name.encode())
        digest.update(one.read_bytes())
    return CACHE_DIR / f"{path.stem}-{digest.hexdigest()[:16]}"


def _cache_root() -> Path:
    if chosen := os.environ.get("AUTOVOICE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "autovoice"


CACHE_DIR = _cache_root() / _toolchain_hash()
"""Where code compiled by exactly these tools for exactly this processor lies."""

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


@contextlib.contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Let Numba keep in a folder what it sets up for caching while the block runs."""
    with _process_lock:
        before, _config.CACHE_DIR = _config.CACHE_DIR, str(folder)
        try:
            yield
        finally:
            _config.CACHE_DIR = before


@contextlib.contextmanager
def compile_lock(folder: Path) -> Iterator[None]:
    """Let one thread of one process compile into a folder at a time; a second cold start waits and then finds it full.

    Control thread only. Falls back to a lock within the process where the cache folder cannot be written.
    """
    with _process_lock, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / ".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_cold(files: Iterable[Path]) -> bool:
    """Say whether any of these files was never compiled, as it is, on this processor before."""
    return any(next(cache_folder(path).rglob("*.nbi"), None) is None for path in files)


__all__ = ["CACHE_DIR", "ENTRY_OPTIONS", "HELPER_OPTIONS", "cache_folder", "caching_in", "compile_lock", "is_cold", "numba"]
