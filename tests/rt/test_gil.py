"""Python may be as busy as it likes: the voice goes on. The same program with a Python callback shows what else would be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import JackServer, run_program

PROGRAM = Path(__file__).parent.parent / "gil_hog.py"
ATTEMPTS = 10  # a shared host may take the processor away from JACK itself


def test_two_python_threads_that_hog_the_gil_cost_the_voice_no_cycle(jack_server: JackServer) -> None:
    runs = []
    for _ in range(ATTEMPTS):
        with ThreadPoolExecutor() as pool:  # at the same time the same without hogs: what the host itself takes away
            hogged, idle = (pool.submit(run_program, PROGRAM, jack_server.name, mode) for mode in ("engine", "idle"))
        run, baseline = hogged.result(), idle.result()
        runs.append((run, baseline))
        share = baseline["cycles"] / baseline["expected"]
        if run["cycles"] >= 0.999 * min(share, 1.0) * run["expected"] and run["misses"] <= baseline["misses"]:
            return
    raise AssertionError(f"the hogs cost cycles in every run (with, without): {runs}")


def test_the_same_hogs_take_a_python_callback_more_than_30_percent_of_its_cycles(jack_server: JackServer) -> None:
    control = run_program(PROGRAM, jack_server.name, "python")
    assert control["cycles"] < 0.7 * control["expected"]
