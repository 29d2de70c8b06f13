"""The control that is known to fail: a JACK client whose process callback is Python, as every JACK-Client example writes it.

    python -m autovoice.tools.lab.bench.control SERVER SECONDS THREADS

A process of its own, with THREADS Python threads that hog its GIL. Prints a Run as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from autovoice.tools.lab.results import Histogram, Run

SETTLE_S = 0.5
GAIN = 0.5


def measure(server: str, seconds: float, threads: int = 0) -> Run:
    """Run the control in a process of its own and return what it counted; raises OSError where it does not start."""
    command = [sys.executable, "-m", "autovoice.tools.lab.bench.control", server, str(seconds), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"the Python callback did not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    data = json.loads(done.stdout)
    return Run(data["metrics"], {name: Histogram(**one) for name, one in data["histograms"].items()})


def _play(server: str, seconds: float, threads: int) -> Run:
    import contextlib

    import jack
    from autovoice.tools.lab.bench.hogs import gil
    from autovoice.tools.lab.percentiles import figures, histogram_us

    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    client = jack.Client("control", servername=server, no_start_server=True)
    source, sink = client.inports.register("in"), client.outports.register("out")
    spent: list[int] = []
    counts = {"xruns": 0}

    def process(frames: int) -> None:
        begin = time.perf_counter_ns()
        sink.get_array()[:] = source.get_array() * GAIN
        spent.append(time.perf_counter_ns() - begin)

    def xrun(delay: float) -> None:
        counts["xruns"] += 1

    client.set_process_callback(process)
    client.set_xrun_callback(xrun)
    with client:
        period_us = client.blocksize / client.samplerate * 1e6
        # The hogs end before the client leaves: JACK would wait for its Python thread, which waits for the GIL.
        with gil(threads) if threads else contextlib.nullcontext():
            time.sleep(SETTLE_S)
            first, xruns, begin = len(spent), counts["xruns"], time.monotonic()
            time.sleep(seconds)
            last, elapsed, xruns = len(spent), time.monotonic() - begin, counts["xruns"] - xruns
    times: Any = np.array(spent[first:last], float) / 1e3
    histogram = histogram_us(times)
    return Run(
        {
            **figures("callback", histogram, float(times.max()) if len(times) else None),
            "cycles_number": float(len(times)),
            "cycles_share": min(len(times) / (elapsed * 1e6 / period_us), 1.0),
            "misses_count": float(np.sum(times > period_us)),
            "xruns_count": float(xruns),
        },
        {"callback": histogram},
    )


def main() -> None:
    """Measure, and print what was found."""
    server, seconds, threads = sys.argv[1:]
    print(json.dumps(asdict(_play(server, float(seconds), int(threads)))))


if __name__ == "__main__":
    main()
