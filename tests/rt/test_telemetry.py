"""What the engine says of itself is true, and any process of the user can read it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.callback import count_ns
from autovoice.rt.layout import HISTOGRAM, RATE_NOW, SHUTDOWN
from autovoice.rt.memory import address_of
from autovoice.rt.telemetry import Telemetry, _edges, percentiles
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Audio, Crank, run_program, until_valid, wait_until

READER = """
import json, sys
from autovoice.rt.telemetry import Telemetry
stats = Telemetry.attach(sys.argv[1]).stats()
print(json.dumps({"frames": stats.frames, "cycles": stats.cycles, "latency": stats.latency_frames, "block": stats.block,
                  "rate": stats.sample_rate, "p50": stats.callback_us.p50, "alive": stats.alive}))
"""


def test_another_process_reads_the_counters_of_a_running_engine() -> None:
    with Engine(Chain(["limiter"]), backend="null", block=128, sample_rate=96_000) as engine:
        assert wait_until(lambda: engine.stats().cycles > 50)
        before = engine.stats()
        seen = run_program(READER, engine.processor.telemetry_path)
        after = engine.stats()
    assert before.frames <= seen["frames"] <= after.frames
    assert before.cycles <= seen["cycles"] <= after.cycles
    assert seen["frames"] / seen["cycles"] == pytest.approx(128, rel=0.02)
    assert (seen["latency"], seen["block"], seen["rate"], seen["alive"]) == (150, 128, 96_000, True)
    assert seen["p50"] > 0


def test_what_is_not_telemetry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too short"):
        Telemetry.attach(__file__)
    zeros = tmp_path / "zeros"
    with open(zeros, "wb") as file:
        file.truncate(1 << 20)
    with pytest.raises(ValueError, match="not AutoVoice telemetry"):
        Telemetry.attach(zeros)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 200), st.integers(1, 10**9)), min_size=1, max_size=300))
def test_percentiles_of_the_histogram_are_numpys_within_a_bucket(times_ns: list[int]) -> None:
    counts = np.zeros(HISTOGRAM, np.int64)
    for ns in times_ns:
        count_ns(address_of(counts), ns)
    assert counts.sum() == len(times_ns)
    found = percentiles(counts, max(times_ns))
    for share, value in ((50, found.p50), (99, found.p99), (99.9, found.p999)):
        exact = np.percentile(times_ns, share, method="inverted_cdf") / 1e3
        assert value == pytest.approx(exact, rel=0.016, abs=0.0006)
    assert found.max == max(times_ns) / 1e3


def test_buckets_are_no_wider_than_one_part_in_32_and_leave_no_gap() -> None:
    edges = _edges()
    assert len(edges) == HISTOGRAM + 1
    assert np.all(np.diff(edges) > 0)
    assert np.all(np.diff(edges)[32:] / edges[32:-1] <= 1 / 32)


def test_cycles_frames_and_peaks_are_counted_exactly() -> None:
    crank = Crank(Chain([{"stage": "gain", "gain": -20.0}]))
    crank.run(np.full(6400, 0.5, np.float32), 100)
    stats = crank.processor.telemetry.stats(("gain",))
    assert (stats.cycles, stats.frames) == (64, 6400)
    assert stats.in_peak_dbfs == pytest.approx(-6.02, abs=0.1)
    assert stats.out_peak_dbfs == pytest.approx(-26.02, abs=0.1)
    assert stats.level_dbfs == pytest.approx(-6.02, abs=0.01)
    assert stats.stage_us["gain"].max > 0
    assert 0 < stats.load < 1
    assert crank.processor.telemetry.histogram()[1].sum() == 64


def test_numbers_that_are_none_are_counted_and_silenced() -> None:
    crank = Crank(Chain(["gain"]))
    sound = np.ones(640, np.float32)
    sound[[3, 70, 500]] = np.nan, np.inf, -np.inf
    heard = crank.run(sound)
    assert crank.processor.telemetry.stats().nonfinite == 3
    assert np.all(heard[[3, 70, 500]] == 0)
    assert heard.sum() == 637


def test_a_stage_that_makes_nan_is_counted_and_never_heard(stage_file: Callable[[str, str], str]) -> None:
    path = stage_file("divides", "def process(s, p, x, block):\n    x[0, 0] = x[0, 0] / (x[0, 1] - x[0, 1])\n")
    crank = Crank(Chain([path]))
    heard = crank.run(np.ones(640, np.float32))
    assert np.isfinite(heard).all()
    assert crank.counter("nonfinite_out") == 10


def test_the_null_driver_keeps_time_and_counts_its_cycles() -> None:
    with Engine(Chain(["gain"]), backend="null", block=64) as engine:
        assert wait_until(lambda: engine.stats().cycles > 500)
        stats = engine.stats()
        assert stats.frames == 64 * stats.cycles
        lost = 64 * stats.xruns
        assert abs(stats.expected_frames - stats.frames - lost) <= 64 * 8
        assert stats.misses <= stats.cycles * 0.01
        assert engine.device_latency == 0


def test_time_stopped_for_the_whole_process_is_counted_as_xruns_of_the_null_driver() -> None:
    program = """
import json, os, signal, subprocess, sys, time
from autovoice.rt import Chain, Engine
with Engine(Chain(["gain"]), backend="null") as engine:
    time.sleep(0.2)
    before = engine.stats()
    subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.3); os.kill({os.getpid()}, 18)"])
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)
    after = engine.stats()
    print(json.dumps({"xruns": after.xruns - before.xruns, "late": after.late_wakes - before.late_wakes,
                      "misses": after.misses - before.misses}))
"""
    counted = until_valid(lambda: run_program(program), lambda counted: counted["misses"] <= 1)  # a stall of the host's own
    assert counted["xruns"] >= 150  # 0.3 s hold 225 periods
    assert counted["late"] >= 1
    assert counted["misses"] <= 1  # a callback may have been stopped half-way; the rest was not our doing


def test_frame_at_maps_the_clock_to_frames() -> None:
    with Engine(Chain(["gain"]), backend="null") as engine:
        assert wait_until(lambda: engine.stats().cycles > 100)

        def second() -> tuple[int, int]:
            xruns, now = engine.stats().xruns, time.monotonic_ns()
            frames = engine.frame_at(now + 1_000_000_000) - engine.frame_at(now)
            return frames, engine.stats().xruns - xruns

        frames, _ = until_valid(second, lambda found: found[1] == 0)  # frames that are lost are not counted
        assert frames == pytest.approx(48_000, abs=64 * 30)
        frame = engine.frame_at(time.monotonic_ns() + 200_000_000)
        engine.set("gain/gain", -6.0, frame=frame)
        assert wait_until(lambda: engine.stats().events_applied >= 2)
        assert engine.stats().frames >= frame
        assert engine.stats().events_late == 0


def test_the_bus_of_speech_is_seen_live(speech: Audio) -> None:
    with Engine(Chain(["pitch"]), backend="null", options={"source": speech, "loop": True}) as engine:
        assert wait_until(lambda: 100 < engine.stats().f0_hz < 350)  # a woman's voice
        assert engine.stats().voicing > 0.3


def test_a_change_of_rate_by_the_driver_ends_the_engine_with_a_reason() -> None:
    engine = Engine(Chain(["gain"]), backend="null").start()
    engine.processor.telemetry.array[0]["driver"][RATE_NOW] = 44_100
    assert wait_until(lambda: engine.trouble is not None)
    assert "44100 Hz" in str(engine.trouble)
    engine.stop()


def test_a_driver_that_ends_is_noticed() -> None:
    engine = Engine(Chain(["gain"]), backend="null").start()
    engine.processor.telemetry.array[0]["driver"][SHUTDOWN] = 1
    assert wait_until(lambda: engine.trouble is not None)
    assert not engine.alive
    assert os.path.exists(engine.processor.telemetry_path)
    engine.stop()
