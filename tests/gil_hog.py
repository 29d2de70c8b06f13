"""A program: the demo chain, or a Python callback, live on JACK while two Python threads never let go of the GIL.

Arguments: JACK server, then `engine`, `idle` (the engine, without hogs) or `python`. Prints the cycles that ran, those that
the clock asked for, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import time

import jack
from autovoice.rt import Chain, Engine
from autovoice.tools.lab.bench.hogs import gil
from support import DEMO

SECONDS = 3.0


def under_load(count: int = 2) -> None:
    """Let the hogs loose for a while."""
    with gil(count):
        time.sleep(SECONDS)


def engine(server: str, hogs: int = 2) -> dict[str, int]:
    with Engine(Chain(DEMO), backend="jack", server=server, name=f"with_{hogs}_hogs") as running:
        time.sleep(0.2)
        before = running.stats()
        under_load(hogs)
        after = running.stats()
        return {
            "cycles": after.cycles - before.cycles,
            "expected": (after.expected_frames - before.expected_frames) // after.block,  # by the audio thread's clock
            "misses": after.misses - before.misses,
            "late_wakes": after.late_wakes - before.late_wakes,
        }


def idle(server: str) -> dict[str, int]:
    return engine(server, hogs=0)


def python(server: str) -> dict[str, int]:
    client = jack.Client("control", servername=server, no_start_server=True)
    source, sink = client.inports.register("in"), client.outports.register("out")
    calls = [0]

    @client.set_process_callback
    def process(frames: int) -> None:
        calls[0] += 1
        sink.get_buffer()[:] = source.get_buffer()

    with client:
        begin = time.monotonic()
        under_load()
        return {"cycles": calls[0], "expected": round((time.monotonic() - begin) * client.samplerate / client.blocksize)}


if __name__ == "__main__":
    print(json.dumps({"engine": engine, "idle": idle, "python": python}[sys.argv[2]](sys.argv[1])))
