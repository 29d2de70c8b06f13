"""What the audio thread does while it plays: nothing but arithmetic. Watched from outside, on JACK's own thread."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import JackServer, run_program

SOURCE = Path(__file__).parent.parent / "native" / "malloc_guard.c"

# A fault that no look at the object code can see: a call by an address that is only known at run time.
FAULT = '''
"""A stage that calls {function} on the audio thread."""
import ctypes

from autovoice.dsp.native import call_five

STATE = [("function", "i8"), ("memory", "i8"), ("bytes", "u1", (256,))]
LIBRARY = ctypes.CDLL(None)


def prepare(state, sample_rate):
    state["function"] = ctypes.cast(LIBRARY.{function}, ctypes.c_void_p).value
    state["memory"] = state.ctypes.data + state.dtype.fields["bytes"][1]
    state["bytes"][:, 16] = 1  # as a mutex: a recursive one, which its thread may lock again; as a path or a time: nothing


def process(s, p, x, block):
    call_five(s[0].function, {arguments})
'''
FAULTS = {
    "malloc": "64, 0, 0, 0, 0",
    "free": "0, 0, 0, 0, 0",
    "munmap": "0, 0, 0, 0, 0",  # refused by the kernel, but a visit to it
    "pthread_mutex_lock": "s[0].memory, 0, 0, 0, 0",
    "pthread_mutex_trylock": "s[0].memory, 0, 0, 0, 0",
    "usleep": "1, 0, 0, 0, 0",
    "nanosleep": "s[0].memory, 0, 0, 0, 0",  # for no time at all
    "poll": "0, 0, 0, 0, 0",
    "open": "s[0].memory, 0, 0, 0, 0",  # a file of no name
    "read": "-1, 0, 0, 0, 0",
    "syscall": "39, 0, 0, 0, 0",  # getpid
}


@pytest.fixture(scope="module")
def watched(jack_server: JackServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the watcher counted over the demo chain, and over every planted fault."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc not installed")
    folder = tmp_path_factory.mktemp("guard")
    library = folder / "malloc_guard.so"
    subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"], check=True)
    for function, arguments in FAULTS.items():
        (folder / f"calls_{function}.py").write_text(FAULT.format(function=function, arguments=arguments), encoding="utf-8")
    program = Path(__file__).parent.parent / "guarded.py"
    return run_program(program, jack_server.name, folder, environment={"LD_PRELOAD": str(library)})


def test_demo_chain_allocates_locks_reads_and_sleeps_nowhere_with_events_swaps_midi_and_a_recording(
    watched: dict[str, Any],
) -> None:
    assert watched["live"] == {}


def test_a_lane_allocates_locks_reads_and_sleeps_nowhere_on_the_audio_thread_even_when_its_worker_is_killed(
    watched: dict[str, Any],
) -> None:
    assert watched["lane"] == {}


def test_watcher_saw_every_callback_and_the_moves_and_swaps_did_arrive(watched: dict[str, Any]) -> None:
    assert watched["entries"] >= 2 * watched["cycles"] > 2000  # for the MIDI of a block, and for its sound
    assert watched["events"] > 2000
    assert watched["swaps"] >= 10
    assert watched["midi"] > 200


@pytest.mark.parametrize("function", FAULTS)
def test_watcher_names_a_planted_call(watched: dict[str, Any], function: str) -> None:
    assert watched["planted"][f"calls_{function}"].get(function, 0) > 10
