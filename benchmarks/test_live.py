"""Live bars on the JACK dummy driver: the GIL hog beside a Python callback, and the soak with swaps and moving parameters."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Engine

from benchmarks.conftest import BLOCK, DEMO_CHAIN, RATE, gil_hogs

HOG_SECONDS = float(os.environ.get("AUTOVOICE_HOG_SECONDS", "60"))
SOAK_SECONDS = float(os.environ.get("AUTOVOICE_SOAK_SECONDS", "600"))


def _python_control(server: str, seconds: float) -> dict[str, float]:
    """Count the cycles of a Python process callback, as every JACK-Client example writes it."""
    import jack

    client = jack.Client("control", servername=server, no_start_server=True)
    source, sink = client.inports.register("in"), client.outports.register("out")
    counts = {"cycles": 0, "xruns": 0}

    def process(frames: int) -> None:
        sink.get_array()[:] = source.get_array() * 0.5
        counts["cycles"] += 1

    def xrun(delay: float) -> None:
        counts["xruns"] += 1

    client.set_process_callback(process)
    client.set_xrun_callback(xrun)
    with client:
        with gil_hogs():  # over before the client leaves: JACK would wait for its Python thread, which waits for the GIL
            time.sleep(0.5)
            before, start = dict(counts), time.monotonic()
            time.sleep(seconds)
            expected = (time.monotonic() - start) * RATE / BLOCK
            after = dict(counts)
        return {"cycles": (after["cycles"] - before["cycles"]) / expected, "xruns": after["xruns"] - before["xruns"]}


def _timer_baseline(seconds: float) -> dict[str, float]:
    """Measure how late this host wakes a SCHED_FIFO thread that keeps the same period with an empty chain."""
    with Engine(Chain([]), backend="null", block=BLOCK) as engine:
        time.sleep(seconds)
        stats = engine.stats()
        worst = stats.callback_us.max
        return {"misses": stats.misses, "late_wakes": stats.late_wakes, "worst_us": worst, "realtime": engine.realtime}


@pytest.mark.long
def test_gil_hog(server: str, report: Callable[[dict[str, Any]], None]) -> None:
    """The demo chain under two GIL hogs, three times; the host's own jitter and the Python control in the same run."""
    runs = []
    for _ in range(3):
        with gil_hogs(), Engine(Chain(DEMO_CHAIN), backend="jack", server=server) as engine:
            time.sleep(0.5)
            before = engine.stats()
            time.sleep(HOG_SECONDS)
            after = engine.stats()
            runs.append(
                {
                    "cycles": (after.frames - before.frames) / (after.expected_frames - before.expected_frames),
                    "misses": after.misses - before.misses,
                    "late_wakes": after.late_wakes - before.late_wakes,
                    "xruns": after.xruns - before.xruns,
                    "p50_us": after.callback_us.p50,
                    "p999_us": after.callback_us.p999,
                    "max_us": after.callback_us.max,
                }
            )
    control = _python_control(server, min(HOG_SECONDS, 20))
    with gil_hogs():
        baseline = _timer_baseline(min(HOG_SECONDS, 20))
    report({"seconds": HOG_SECONDS, "runs": runs, "python_control": control, "host_baseline": baseline})


def _anonymous_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


@pytest.mark.long
def test_soak(tmp_path: Path, report: Callable[[dict[str, Any]], None]) -> None:
    """Ten minutes of a steady tone at 64 frames, a swap every second, parameters at 1 kHz: misses, memory, clicks.

    The tone makes a click measurable: no step between two samples may exceed that of the loudest sine it can be. Gains move
    within 6 dB and the pitch within an octave, so the limit is the step of a sine at full scale an octave up.
    """
    import soundfile

    tone = 0.2 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)  # a whole number of periods: the loop has no seam
    rng = np.random.default_rng(0)
    chains = [
        Chain(["highpass", "gate", "pitch", "shift", "compressor", "limiter"]),
        Chain(["highpass", "gate", "pitch", {"stage": "gain", "gain": -3.0}, "shift", "limiter"]),
    ]
    stop = threading.Event()
    wet = tmp_path / "wet.wav"
    reserve = max(c.latency(RATE) for c in chains)
    with Engine(chains[0], backend="null", block=BLOCK, latency=reserve, options={"source": tone.astype(np.float32)}) as engine:

        def storm() -> None:
            begin, sent = time.monotonic(), 0
            while not stop.wait(0.001):
                while sent < (time.monotonic() - begin) * 1000:
                    engine.set_many({"shift/semitones": float(rng.uniform(-3, 3)), "master/output": float(rng.uniform(-6, 0))})
                    sent += 1

        thread = threading.Thread(target=storm)
        engine.record(wet)
        time.sleep(2.0)
        thread.start()
        for k in range(10):
            engine.swap(chains[(k + 1) % 2])
            time.sleep(0.5)
        before, memory, start = engine.stats(), _anonymous_kib(), time.monotonic()
        k = 0
        while time.monotonic() - start < SOAK_SECONDS:
            k += 1
            engine.swap(chains[k % 2])
            time.sleep(max(0.0, start + k - time.monotonic()))
        after, grown = engine.stats(), _anonymous_kib() - memory
        stop.set()
        thread.join()
        realtime = engine.realtime
    sound, _ = soundfile.read(wet, dtype="float32")
    body = sound[RATE:]
    step = float(np.abs(np.diff(body)).max())
    loudest = float(np.abs(body).max())
    highest = 200 * 2 ** (3 / 12)
    report(
        {
            "seconds": SOAK_SECONDS,
            "realtime": realtime,
            "cycles": after.cycles - before.cycles,
            "misses": after.misses - before.misses,
            "late_wakes": after.late_wakes - before.late_wakes,
            "xruns": after.xruns - before.xruns,
            "swaps": after.swaps - before.swaps,
            "events": after.events_applied - before.events_applied,
            "memory_growth_kib": grown,
            "largest_step": step,
            "sine_step": loudest * 2 * np.pi * highest / RATE,
            "callback_us": {"p50": after.callback_us.p50, "p999": after.callback_us.p999, "max": after.callback_us.max},
        }
    )
