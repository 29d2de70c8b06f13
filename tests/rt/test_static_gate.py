"""The static gate: nothing that allocates, raises, locks or visits the kernel is ever handed to the audio thread."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import autovoice.rt
import pytest
from autovoice.dsp.stage import StageError, load, stage_names
from autovoice.dsp.toolchain import CACHE_DIR
from autovoice.dsp.vetting import VettedEntry
from autovoice.rt import Chain

FORBIDDEN = ("NRT_MemInfo_alloc", "NRT_Allocate", "numba_unpickle", "numba_runtime_build_excinfo_struct")
PURE = {"memcpy", "memmove", "memset", "clock_gettime", "_GLOBAL_OFFSET_TABLE_"}
# Numba's wrapper around a C function reports an exception that got out; no exception path leads there.
LIBM = set("exp expm1 log sin cos tan pow".split())  # of numbers alone: a filter that is designed anew while it runs
WRAPPER = {"numba_gil_ensure", "numba_gil_release", "PyErr_WriteUnraisable", "PyErr_Clear", "PyErr_Occurred"}
WRAPPER |= {"PyUnicode_FromString", "Py_DecRef", "_Py_NoneStruct"}
OWNED_BY_NOTHING = {"NRT_incref", "NRT_decref", "NRT_MemInfo_call_dtor"}  # of views whose owner is null
OUTSIDE_STAGES = {
    "_loop": {"clock_nanosleep"},  # sleeps between callbacks, which is its purpose
    "_run": {"pthread_self"},  # reads the thread's own register
    "_lane": {"sem_post"},  # wakes the worker: the one visit to the kernel that the audio thread makes, once a hop
    "_wait_for": {"sem_clockwait"},  # of a renderer, by an address that a live engine never calls
    "_serve": {"sem_post", "sem_clockwait"},  # the worker's own loop, in its own process
}


def compiled_entries() -> dict[str, VettedEntry]:
    """Return every compiled function of the engine, its backends and the shipped stages, by file and name."""
    for found in pkgutil.walk_packages(autovoice.rt.__path__, "autovoice.rt."):
        importlib.import_module(found.name)
    for name in stage_names():
        load(name)
    entries = [o for o in gc.get_objects() if issubclass(type(o), VettedEntry)]  # isinstance would ask dead proxies
    names = {f"{Path(e._pyfunc.__code__.co_filename).stem}:{e.__name__}": e for e in entries}
    return {name: entry for name, entry in names.items() if "user_stage" not in entry._pyfunc.__module__}


def object_code(entry: VettedEntry) -> bytes:
    """Return the object code of an entry as the cache holds it: what this process, and every later one, runs."""
    cache = entry._cache
    key = cache._index_key(entry._sig, entry._targetdescr.target_context.codegen())
    code: bytes = cache._cache_file.load(key)[0][2][0]
    return code


def needed_symbols(code: bytes, folder: Path) -> set[str]:
    """Return what an object file needs from elsewhere, as binutils see it: not our own reading of ELF."""
    (folder / "entry.o").write_bytes(code)
    listed = subprocess.run(["nm", "-u", folder / "entry.o"], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listed.splitlines() if line.strip()}


def test_every_stage_and_callback_that_runs_needs_only_pure_functions(tmp_path: Path) -> None:
    entries = compiled_entries()
    assert {f"{name}:{name}" for name in stage_names()} <= set(entries)
    assert {"callback:_run", "midi:_hear_block", "jack:_process", "jack:_latency"} <= set(entries)
    assert {"null:_loop", "portaudio:_callback", "audio:_lane", "audio:_wait_for", "chain_worker:_serve"} <= set(entries)
    for name, entry in entries.items():
        needs = needed_symbols(object_code(entry), tmp_path)
        assert not [s for s in needs if s.startswith(FORBIDDEN)], name
        assert needs <= PURE | LIBM | WRAPPER | OWNED_BY_NOTHING | OUTSIDE_STAGES.get(entry.__name__, set()), name


VIOLATIONS = {
    "allocates": ("        row = np.zeros(block.frames, np.float32)\n        x[c, 0] += row[block.frames - 1]", "NRT_"),
    "grows_a_list": ("        row = [x[c, 0]]\n        row.append(x[c, 1])\n        x[c, 0] = row[block.frames & 1]", "numba_"),
    "adds_arrays": ("        row = x[c] + x[c]\n        x[c, 0] = row[block.frames - 1]", "NRT_"),
    "raises": ("        if x[c, 0] > 2:\n            raise ValueError('too loud')", "exception"),
    "asserts": ("        assert x[c, 0] < 2", "exception"),
    "prints": ("        print(x[c, 0])", "Py"),
    "mallocs": ("        free(malloc(64))", "malloc"),
    "locks": ("        pthread_mutex_lock(block.frame)", "pthread_mutex_lock"),
    "sleeps": ("        usleep(100)", "usleep"),
    "helper_allocates": ("        x[c, 0] = total(x[c, 0])", "NRT_"),
}
STAGE = '''
"""A stage that breaks the first law."""
import numpy as np
from autovoice.dsp.native import helper
from numba import types

malloc = types.ExternalFunction("malloc", types.uintp(types.uintp))
free = types.ExternalFunction("free", types.void(types.uintp))
usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
pthread_mutex_lock = types.ExternalFunction("pthread_mutex_lock", types.int32(types.uintp))


@helper
def total(value):
    row = np.full(8, value)
    return row.sum()


def process(s, p, x, block):
    for c in range(block.channels):
{fault}
'''


@pytest.mark.parametrize("name", VIOLATIONS)
def test_chain_refuses_a_stage_file_that_breaks_the_first_law_and_names_file_and_symbol(
    name: str, stage_file: Callable[[str, str], str]
) -> None:
    fault, symbol = VIOLATIONS[name]
    path = stage_file(name, STAGE.replace("{fault}", fault))
    for _ in range(2):  # the second time it could have come from the cache
        with pytest.raises(StageError) as refused:
            Chain([path])
        assert path in str(refused.value)
        assert symbol in str(refused.value)
        assert "\n" not in str(refused.value)
        load.cache_clear()
    assert not list(CACHE_DIR.rglob(f"{name}.{name}-*.nbc"))


def test_chain_takes_the_same_stage_without_the_fault(stage_file: Callable[[str, str], str]) -> None:
    path = stage_file("lawful", STAGE.replace("{fault}", "        x[c, 0] *= np.float32(0.5)"))
    assert Chain([path]).placed[0].stage.name == "lawful"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("PARAMETERS = ()", "process"),
        ("def process(s, p, x):\n    pass", "process"),
        ("def process(s, p, x, block):\n    x.nothing()", "cannot be compiled"),
        ("import missing_module_of_no_name\ndef process(s, p, x, block):\n    pass", "missing_module_of_no_name"),
        ("def process(s, p, x, block)\n    pass", "SyntaxError"),
    ],
)
def test_a_broken_stage_file_is_refused_in_one_line_that_names_it(
    source: str, word: str, stage_file: Callable[[str, str], str]
) -> None:
    path = stage_file("broken", source)
    with pytest.raises(StageError) as refused:
        Chain([path])
    assert path in str(refused.value)
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)
