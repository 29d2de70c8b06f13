"""What `autovoice bench` is made of: percentiles, hogs, the host's timer, knees, clicks, queues, the compiled driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine
from autovoice.tools.lab.bench import hogs, peers, timer
from autovoice.tools.lab.bench.collect import as_result
from autovoice.tools.lab.bench.observe import Watch
from autovoice.tools.lab.bench.offline import Offline, time_rounds
from autovoice.tools.lab.bench.rig import Rig, synthetic_voice
from autovoice.tools.lab.bench.scenarios import Settings
from autovoice.tools.lab.bench.scenarios.hogged import bars
from autovoice.tools.lab.bench.scenarios.host import parse_cyclictest
from autovoice.tools.lab.bench.scenarios.peers import _drive
from autovoice.tools.lab.bench.scenarios.scaling import knee
from autovoice.tools.lab.bench.scenarios.storms import TONE_HZ, clicks, movable
from autovoice.tools.lab.percentiles import FEWEST, figures, figures_of, histogram_ns, histogram_us, thin
from autovoice.tools.lab.results import Run
from support import SAMPLE_RATE, JackServer, need_jack, played, wait_until

RNG = np.random.default_rng(1)


def settings(chain: Chain, **others: Any) -> Settings:
    return Settings("soak", chain, "some chain", 1.0, **others)


def test_p9999_is_refused_below_ten_thousand_counts() -> None:
    values = RNG.uniform(5, 10, 9_999)
    assert "cost_p9999_us" not in figures_of("cost", values)
    assert "cost_p9999_us" not in figures("cost", histogram_us(values))
    assert "cost_p9999_us" in figures_of("cost", np.append(values, 7.0))
    assert FEWEST == {"p50": 2, "p99": 100, "p999": 1000, "p9999": 10_000}
    assert figures_of("cost", np.zeros(0)) == {} == figures("cost", histogram_us(np.zeros(0)))


def test_percentiles_stand_where_the_counts_put_them() -> None:
    values = np.concatenate([np.full(99_980, 10.0), np.full(19, 50.0), [400.0]])  # 20 of 100 000 are slow
    for found in (figures_of("x", values), figures("x", histogram_us(values), 400.0)):
        assert found["x_p50_us"] == pytest.approx(10, rel=0.03)
        assert found["x_p999_us"] == pytest.approx(10, rel=0.03)
        assert found["x_p9999_us"] == pytest.approx(50, rel=0.03)
        assert found["x_max_us"] == 400


def test_few_counts_are_told() -> None:
    assert "p99.99 rests on 10000 counts; 100000 make it firm" in thin(histogram_us(np.full(10_000, 3.0)))
    assert thin(histogram_us(np.full(100_000, 3.0))) == ""


def test_the_engines_buckets_become_microseconds() -> None:
    from autovoice.rt.layout import HISTOGRAM

    counts = np.zeros(HISTOGRAM, np.int64)
    counts[32 * 5] = 7  # the first bucket of 512 ns
    histogram = histogram_ns(counts)
    assert (histogram.lower, histogram.count, histogram.unit) == ([0.512], [7], "us")


def test_figures_by_name_become_series_with_units() -> None:
    found = as_result(
        "gate", "a gate", {"split": "train", "bar_us": 3, "ratio": 0.5, "fixed": {"p99.9_us": 4}, "us": {"a": 1.0},
                           "runs": [{"misses": 0}, {"misses": 2}]}
    )  # fmt: skip
    assert found.settings == {"split": "train", "bar_us": 3}
    assert {one.name: [run.metrics for run in one.runs] for one in found.series} == {
        "gate": [{"ratio_number": 0.5}],
        "fixed": [{"p99_9_us": 4.0}],
        "us": [{"a_us": 1.0}],
        "runs": [{"misses_number": 0.0}, {"misses_number": 2.0}],
    }


HOG_PARENT = """
import sys, time
from autovoice.tools.lab.bench.hogs import cpu, disk
with cpu(), disk():
    print("ready", flush=True)
    time.sleep(60)
"""


def children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def test_hogs_die_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", HOG_PARENT], stdout=subprocess.PIPE)
    assert parent.stdout and parent.stdout.readline() == b"ready\n"
    running = children(parent.pid)
    assert len(running) == len(os.sched_getaffinity(0)) + 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def test_hogs_end_with_their_block() -> None:
    before = set(children(os.getpid()))
    with hogs.cpu():
        assert set(children(os.getpid())) - before
    assert set(children(os.getpid())) == before


def test_the_disk_hog_leaves_nothing_and_keeps_below_its_cap(tmp_path: Path) -> None:
    with hogs.disk(tmp_path):
        (pid,) = [pid for pid in children(os.getpid()) if b"disk" in Path(f"/proc/{pid}/cmdline").read_bytes()]

        def size() -> int:
            files = [f for f in Path(f"/proc/{pid}/fd").iterdir() if str(tmp_path) in os.readlink(f)]
            return files[0].stat().st_size if files else 0

        assert wait_until(lambda: size() > 0)
        time.sleep(0.3)
        assert list(tmp_path.iterdir()) == []  # its file has no name
        assert 0 < size() <= hogs.DISK_BYTES
    assert list(tmp_path.iterdir()) == []


def test_the_memory_hog_keeps_to_its_share() -> None:
    share = 0.02
    available, _ = hogs.available_bytes()
    with hogs.memory(share):
        (pid,) = [pid for pid in children(os.getpid()) if b"memory" in Path(f"/proc/{pid}/cmdline").read_bytes()]

        def resident() -> int:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            return max(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

        assert wait_until(lambda: resident() >= hogs.MEMORY_CHUNK)
        largest = 0
        for _ in range(20):
            time.sleep(0.05)
            largest = max(largest, resident())
    assert hogs.MEMORY_CHUNK <= largest < 1.2 * share * available + 3 * hogs.MEMORY_CHUNK


def test_the_hosts_timer_wakes_at_its_period() -> None:
    begin = time.monotonic()
    with timer.HostTimer(period_us=1000) as host:
        time.sleep(0.5)
    elapsed_ms = 1000 * (time.monotonic() - begin)
    for core in host.cores:
        run = host.run(core)
        assert 100 < run.metrics["wakes_number"] <= elapsed_ms + 5
        assert 0 < run.metrics["wake_p50_us"] <= run.metrics["wake_max_us"]
        assert sum(run.histograms["wake"].count) == run.metrics["wakes_number"]
    assert host.run().metrics["wakes_number"] == sum(host.run(core).metrics["wakes_number"] for core in host.cores)


@pytest.mark.parametrize(
    ("late_us", "due_us", "explained"),
    [
        (1500, 100, True),  # the core stood still from 100 to 1600 us, within our block
        (1500, 5000, False),  # ... but after our block was over
        (1500, -3000, False),  # ... or before it began
        (300, 100, False),  # ... or for too short a time
        (1500, -1000, False),  # ... most of it before the block
    ],
)
def test_a_miss_is_the_hosts_where_a_core_stood_still_meanwhile(late_us: float, due_us: float, explained: bool) -> None:
    host = timer.HostTimer(period_us=250)
    start_ns = 10_000_000_000
    record = host._timers[0][0]
    record["due_ns"][0], record["late_ns"][0] = start_ns + int(due_us * 1e3), int(late_us * 1e3)
    record["logged"] = 1
    assert host.explains(start_ns, spent_us=1900, usual_us=20) is explained


STALLING = """
    '''Stands still for some milliseconds once a second.'''
    import numpy as np
    from typing import Any
    PARAMETERS = OPTIONS = ()
    STATE = [("sum", "f8")]

    def process(s: Any, p: Any, x: Any, block: Any) -> None:
        if block.frame % 48000 == 0:
            for _ in range(3_000_000):
                s[0].sum = s[0].sum * 0.999 + 1.0
"""


def test_a_stage_that_stands_still_is_not_blamed_on_the_host(stage_file: Callable[[str, str], str]) -> None:
    chain = Chain([stage_file("stalling", STALLING)])
    with Rig(settings(chain)) as rig, rig.engine() as engine, timer.HostTimer() as host:
        watch = Watch(engine, host)
        for _ in range(3):
            assert played(engine, SAMPLE_RATE)
            watch.look()
        run = watch.run()
    assert run.metrics["misses_count"] >= 2
    assert run.metrics["misses_explained_number"] < run.metrics["misses_count"]
    assert run.worst[0]["stages_us"]["stalling"] > 0.9 * run.worst[0]["spent_us"]


def run_of(misses: float, explained: float, p9999: float) -> Run:
    return Run({"misses_count": misses, "misses_explained_number": explained, "callback_p9999_us": p9999})


def test_bars_take_what_the_host_did_out_and_say_so() -> None:
    some, calm = settings(Chain([])), Run({"wake_p9999_us": 80.0})
    jittery = Run({"wake_p9999_us": 4000.0})
    cost, misses = bars(some, [run_of(0, 0, 100)], [calm], realtime=True)
    assert cost.limit == pytest.approx(1e6 / 750 / 4) and cost.met and misses.met and cost.held and misses.held
    cost, misses = bars(some, [run_of(0, 0, 100), run_of(3, 2, 500)], [calm], realtime=True)
    assert (cost.met, cost.held, misses.measured, misses.met, misses.held) == (False, True, 1, False, True)
    assert "2 of 3" in misses.remark
    cost, _ = bars(some, [run_of(0, 0, 500)], [jittery], realtime=True)
    assert not cost.held and "4000 us late" in cost.remark
    assert not any(bar.held for bar in bars(some, [run_of(9, 0, 500)], [calm], realtime=False))


def test_a_knee_is_named_by_what_bends() -> None:
    assert knee([1, 2, 4], [10, 9, 10], [10, 18, 40], 1000).at is None
    bent = knee([1, 2, 4, 8], [10, 9, 10, 14], [10, 18, 40, 112], 1000)
    assert bent.at == 8 and "1.56 times the least" in bent.why
    full = knee([1, 2, 4, 8], [10, 9, 10, 10], [10, 18, 40, 80], 30)
    assert full.at == 4 and "the period is full" in full.why


CYCLICTEST = """# /dev/cpu_dma_latency set to 0us
# Histogram
000000 000000\t000000
000001 000900\t000000
000002 000100\t000998
# Total: 000001000 000000998
# Min Latencies: 00001 00002
# Avg Latencies: 00001 00002
# Max Latencies: 00002 00361
# Histogram Overflows: 00000 00002
"""


def test_cyclictests_histogram_is_read_by_core() -> None:
    found = parse_cyclictest(CYCLICTEST)
    assert list(found) == ["0", "1"]
    assert found["0"].metrics["wake_p50_us"] == pytest.approx(1.5)
    assert found["0"].metrics["wakes_number"] == 1000
    assert found["1"].metrics["wake_max_us"] == 361
    assert found["1"].metrics["wakes_number"] == 1000  # with the two beyond the histogram
    assert parse_cyclictest("cannot set the policy") == {}


def tone(seconds: float = 1.0, hz: float = TONE_HZ) -> np.ndarray[Any, Any]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def test_a_click_in_a_tone_is_counted() -> None:
    plain = settings(Chain(["gain"]))
    clean, steepest = clicks(tone(), plain, 0.0, moved=False)
    assert clean["clicks_count"] == 0
    cut = tone()
    cut[10_060:] *= 0.5  # near a crest: a step of a quarter of full scale
    assert clicks(cut, plain, steepest, moved=False)[0]["clicks_count"] == 1
    shifted = settings(Chain([{"stage": "shift", "semitones": 12.0}]))
    assert clicks(tone(hz=2 * TONE_HZ), shifted, 0.0, moved=False)[0]["clicks_count"] == 0


@pytest.mark.parametrize("name", stage_names())
def test_moves_stay_within_every_parameters_range(name: str) -> None:
    chain = Chain([name])
    for path, low, high in movable(chain)[:-1]:
        key, _, parameter = path.partition("/")
        placed = chain[key]
        row = placed.stage.parameters[placed.stage.parameter(parameter)]
        assert row.minimum <= low <= placed.values[parameter] <= high <= row.maximum
        assert low < high and not row.steps


def test_hops_come_out_as_they_went_in_and_what_lacks_is_counted() -> None:
    sound = RNG.standard_normal(6400).astype(np.float32)
    heard, times, lacking = _drive(peers.in_hops(480, lambda hop: hop), sound, 64)
    np.testing.assert_array_equal(heard, sound[: len(heard)])
    assert len(times) == 100
    assert lacking == 480 - 32  # 64 and 480 have a common divisor of 32: the fullest queue before a hop


def test_the_way_to_16_khz_and_back_is_a_delay_of_two_milliseconds() -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sound = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    heard, _, _ = _drive(peers.at_low_rate(128, lambda hop: hop), sound, 64)
    late = peers.TAPS - 1
    np.testing.assert_allclose(heard[1000:-1000], sound[1000 - late : len(heard) - 1000 - late], atol=2e-3)


def test_a_peer_that_is_not_installed_says_so() -> None:
    with pytest.raises(ImportError, match="no_such_peer"):
        peers.package_folder("no_such_peer")


@pytest.mark.parametrize("channels", [1, 2])
def test_the_compiled_driver_gives_the_chains_own_sound(channels: int) -> None:
    sound = synthetic_voice(SAMPLE_RATE)[: 64 * 500]
    sound = np.stack([sound, -0.5 * sound]) if channels == 2 else sound
    chain = Chain(["highpass", "compressor"])
    driven = Offline(chain, sound)
    assert driven.run() > 0
    np.testing.assert_array_equal(driven.wet, chain.render(sound, sample_rate=SAMPLE_RATE))


def test_the_compiled_driver_makes_stereo_of_mono() -> None:
    sound = synthetic_voice(SAMPLE_RATE)[: 64 * 500]
    driven = Offline(["reverb"], sound, out_channels=2)
    driven.run()
    np.testing.assert_array_equal(driven.wet, Chain(["reverb"]).render(sound, sample_rate=SAMPLE_RATE, channels=2))


def test_instances_in_turns_do_not_disturb_each_other() -> None:
    voice = synthetic_voice(SAMPLE_RATE)[: 64 * 500]
    sounds = [voice, np.roll(voice, 3000)]
    chain = Chain(["gate", "limiter"])
    instances = [Offline(chain, sound) for sound in sounds]
    times = time_rounds(instances)
    assert times.shape == (500, 2) and (times > 0).all()
    for sound, one in zip(sounds, instances, strict=True):
        np.testing.assert_array_equal(one.wet, chain.render(sound, sample_rate=SAMPLE_RATE, compensate=False))


def test_a_looped_recording_has_no_seam_on_jack(tmp_path: Path) -> None:
    need_jack()
    import soundfile

    length = 1003  # neither a multiple nor a divisor of the block
    source = np.linspace(0.1, 0.9, length, dtype=np.float32)
    server = JackServer().start()
    try:
        with Engine(
            Chain([]), backend="jack", server=server.name, name="looped", options={"source": source, "loop": True}
        ) as engine:
            assert played(engine, 5 * length)
            engine.record(tmp_path / "wet.wav")
            assert played(engine, 20 * length)
            engine.stop_recording()
    finally:
        server.close()
    sound, _ = soundfile.read(tmp_path / "wet.wav", dtype="float32")
    first = int(np.argmin(np.abs(sound[:length] - source[0])))
    rounds = sound[first : first + (len(sound) - first) // length * length].reshape(-1, length)
    assert len(rounds) > 3
    np.testing.assert_array_equal(rounds, np.broadcast_to(source, rounds.shape))


def test_a_rig_plays_the_voice_over_and_over() -> None:
    with Rig(settings(Chain([]))) as rig, rig.engine(source=np.full(100, 0.5, np.float32)) as engine:
        assert wait_until(lambda: engine.stats().in_peak_dbfs == pytest.approx(-6.02, abs=0.1))
        assert played(engine, 4_800)
        assert engine.stats().in_peak_dbfs == pytest.approx(-6.02, abs=0.1)
