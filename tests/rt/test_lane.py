"""Lanes with real workers: what comes back is what would have been heard without one, a declared delay later."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine, Event
from autovoice.rt.lane import peers
from autovoice.rt.take.chains import build
from autovoice.rt.take.log import StageLine, TakeError
from support import SAMPLE_RATE, Audio, Crank, program_environment, wait_until

INNER: list[Any] = [
    "highpass",
    "pitch",
    {"stage": "shift", "semitones": 4.0},
    {"stage": "gain", "gain": -9.0, "bypass": True},
    "compressor",
]
MOVES = [
    ("shift", "semitones", -5.0),
    ("compressor", "threshold", -40.0),
    ("highpass", "cutoff", 300.0),
    ("shift", "semitones", 7.0),
]
WORKER = '''
"""A model of a test."""
import os
import numpy as np


class Echo:
    """Gives back what comes in."""

    def prepare(self, sample_rate, hop):
        self.hops = 0
        return {delay}

    def process(self, block):
        self.hops += 1
        {fault}
        return block


class WithBus(Echo):
    """Gives back, in every frame, what the bus says of its segment."""

    def process(self, block, bus):
        return np.repeat(bus["f0_hz"], 64)[: len(block)]
'''


@pytest.fixture
def worker_file(tmp_path: Path) -> Callable[..., str]:
    """Write a worker of one's own and return what a lane calls it."""

    def write(name: str = "Echo", fault: str = "", delay: int = 0) -> str:
        path = tmp_path / "worker.py"
        path.write_text(WORKER.replace("{fault}", fault).replace("{delay}", str(delay)), encoding="utf-8")
        return f"{path}:{name}"

    return write


def test_a_model_is_as_late_as_declared_to_the_frame_at_every_block_size(worker_file: Callable[..., str]) -> None:
    chain = Chain([{"lane": worker_file(), "hop": 10, "reserve": 10}])
    latency = chain.latency(SAMPLE_RATE)
    assert latency == 480 + 480
    sound = np.random.default_rng(1).standard_normal(60_000).astype(np.float32)
    crank = Crank(chain)
    heard = np.concatenate(
        [crank.run(part, cuts) for part, cuts in zip(np.split(sound, 6), (64, 1, 441, 8192, (7, 300), 480), strict=True)]
    )
    assert np.array_equal(heard[latency:], sound[:-latency])
    assert not heard[:latency].any()
    assert int(crank.processor.telemetry["lanes"]["misses"]) == 0
    crank.processor.close()


def test_a_model_that_delays_says_so_and_one_that_delays_less_is_held_back(worker_file: Callable[..., str]) -> None:
    sound = np.random.default_rng(2).standard_normal(4000).astype(np.float32)
    late = Chain([{"lane": worker_file(delay=30), "hop": 2, "delay": 100}])
    heard = late.render(sound, sample_rate=SAMPLE_RATE, compensate=False)
    assert late.latency(SAMPLE_RATE) == 96 + 480 + 100
    assert np.array_equal(heard[96 + 480 + 70 :], sound[: -(96 + 480 + 70)])  # as Echo only says that it delays
    with pytest.raises(StageError, match='delays by 30 frames and the lane declares 0; give the lane "delay": 30'):
        Chain([{"lane": worker_file(delay=30)}]).render(sound, sample_rate=SAMPLE_RATE)


def test_stages_in_a_lane_are_bit_for_bit_those_in_the_chain_with_every_move_however_the_sound_is_cut(speech: Audio) -> None:
    sound = speech[20_000:80_000]
    plain, lane = Chain(["gate", *INNER, "limiter"]), Chain(["gate", {"lane": INNER, "hop": 5}, "limiter"])
    late = lane.latency(SAMPLE_RATE) - plain.latency(SAMPLE_RATE)
    assert late == 256 + 480
    cranks = Crank(plain), Crank(lane)
    for at, (key, name, value) in zip(range(7_000, 47_000, 10_007), MOVES, strict=True):
        cranks[0].processor.send([(f"{key}/{name}", value)], at)
        cranks[1].processor.send([(f"lane/{key}_{name}", value)], at)
    expected, heard = cranks[0].run(sound), cranks[1].run(sound, (64, 441, 1, 100, 4096))
    cranks[1].processor.close()
    # The gate and the limiter's meter hear the same at the same frame, so nothing else differs but the time.
    assert np.array_equal(heard[late:], expected[:-late])


def test_analysis_crosses_to_the_worker_and_back_on_the_bus(speech: Audio, worker_file: Callable[..., str]) -> None:
    sound = speech[20_000:60_000]
    outside = Chain(["pitch", {"lane": [{"stage": "shift", "semitones": 4.0}]}])
    assert [p.stage.name for p in outside.all_placed()] == ["pitch", "marks", "shift"]  # marks are addresses: they stay within
    expected = Chain(["pitch", {"stage": "shift", "semitones": 4.0}]).render(sound, sample_rate=SAMPLE_RATE)
    assert np.array_equal(outside.render(sound, sample_rate=SAMPLE_RATE), expected)
    inside, plain = Chain(["limiter", {"lane": ["pitch"]}]), Chain(["limiter", "pitch"])  # the limiter delays
    found, true = (chain.analyse(sound, sample_rate=SAMPLE_RATE) for chain in (inside, plain))
    assert len(true.f0_hz) > 100
    assert true.f0_hz.max() > 100
    assert np.array_equal(found.time_s[: len(true.time_s)], true.time_s)
    assert np.array_equal(found.f0_hz[: len(true.f0_hz)], true.f0_hz)
    told = Chain(["limiter", "pitch", {"lane": worker_file("WithBus"), "hop": 4}]).render(sound, sample_rate=SAMPLE_RATE)
    assert set(np.unique(told)) <= set(true.f0_hz.astype(np.float32)) | {np.float32(0)} and told.max() > 100


def test_what_is_heard_live_through_a_lane_is_what_is_rendered(speech: Audio) -> None:
    sound = speech[:60_000]
    sink = np.zeros((1, len(sound)), np.float32)
    chain = Chain(["gate", {"lane": ["compressor"], "reserve": 500, "standby": "off"}, "limiter"])
    options = {"source": sound, "sink": sink, "loop": False}
    with Engine(chain, backend="null", options=options) as engine:
        engine.set("lane/compressor_threshold", -40.0, frame=30_000)
        assert wait_until(lambda: engine.stats().frames > len(sound))
        stats = engine.stats()
    assert (stats.events_late, stats.lanes["lane"].state, stats.lane_hops > 100) == (0, "playing", True)
    offline = chain.render(
        sound, sample_rate=SAMPLE_RATE, events=[Event(30_000, "lane/compressor_threshold", -40.0)], compensate=False
    )
    wrong = np.flatnonzero(sink[0] != offline[: len(sound)])
    assert stats.lane_misses == 0 and not len(wrong[wrong > 2000])  # before, the engine fades in
    assert engine.processor.telemetry.lanes()["lane"].pid == 0


def test_a_swap_keeps_the_worker_of_a_lane_that_hears_the_same_and_starts_another_for_one_that_does_not() -> None:
    sound = np.random.default_rng(3).standard_normal(32_000).astype(np.float32) * 0.1
    lane = {"lane": ["gain"], "hop": 2, "gain_gain": -6.0}
    chains = [Chain(one) for one in (["highpass", lane], ["highpass", lane, "limiter"], [lane, "limiter"])]
    crank = Crank(chains[0], latency=4_000)
    workers, heard = [], []
    for chain, part in itertools.zip_longest(chains[1:], np.split(sound, 4)[:3]):
        workers.append(crank.processor.image.lanes["lane"])
        heard.append(crank.run(part))
        if chain is not None:
            swap = crank.begin_swap(chain)
            while crank.processor.image.chain is not chain or swap.is_alive():
                heard.append(crank.run(np.zeros(64, np.float32)))
    assert workers[0] is workers[1] is not workers[2]
    taken = [lane.record["written"] // 128 - lane.record["first"] // 128 for lane in (workers[0], workers[2])]
    assert int(crank.processor.telemetry["lanes"]["hops"]) == sum(taken), "of two chains one feeds the lane"
    assert np.abs(np.diff(np.concatenate(heard))).max() < 1.5 * np.abs(np.diff(sound)).max()
    crank.processor.close()


def dead(pid: int) -> bool:
    """Whether a process is no more; a zombie that nobody waits for is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_hangs_in_mid_song_leaves_the_dry_sound_and_another_takes_over(
    how: signal.Signals, worker_file: Callable[..., str]
) -> None:
    sound = (0.3 * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(SAMPLE_RATE))).astype(np.float32)  # 220 whole periods
    sink = np.zeros((1, 60 * SAMPLE_RATE), np.float32)
    chain = Chain([{"lane": worker_file(fault="block = -0.5 * block"), "reserve": 40}])
    with Engine(chain, backend="null", options={"source": sound, "sink": sink}) as engine:
        before = engine.processor.telemetry.lanes
        assert wait_until(lambda: before()["lane"].standby_pid > 0 and engine.stats().frames > 30_000)
        assert wait_until(lambda: not engine.processor.rack.standby_missing())
        first, standby = before()["lane"].pid, before()["lane"].standby_pid
        os.kill(first, how)
        killed_at = engine.stats().frames
        assert wait_until(lambda: before()["lane"].pid == standby)
        came = engine.stats().frames
        assert wait_until(lambda: np.abs(sink[0, came:]).max() > 0.2 and engine.stats().frames > came + SAMPLE_RATE)
        stats = engine.stats()
    latency, end = chain.latency(SAMPLE_RATE), stats.frames
    dry = np.concatenate([np.zeros(latency), np.tile(sound, 61)])[:end]
    heard, at = sink[0, :end], np.arange(end)
    is_dry, is_wet = np.abs(heard - dry) < 1e-4, np.abs(heard + 0.5 * dry) < 1e-4
    loud = np.abs(dry) > 0.05
    gone = at[(at > killed_at) & loud & ~is_wet]
    assert len(gone) and len(at[(at > gone[0]) & loud & is_wet]), "it never went, or never came back"
    fade = at[(at > gone[0]) & loud & is_dry & ~is_wet][0] - gone[0]
    assert fade <= 0.005 * SAMPLE_RATE
    assert (is_dry | is_wet)[(at > gone[0] + fade + 10) & (at < gone[0] + 2000)].all(), "between the two there is nothing else"
    assert np.abs(np.diff(heard[24_000:])).max() < 0.02, "no click"
    assert stats.lanes["lane"].restarts >= 1 and stats.lane_misses > 0
    assert dead(first)
    assert how.name in stats.lanes["lane"].trouble or "no sign of life" in stats.lanes["lane"].trouble


def test_a_worker_that_crashes_again_and_again_is_given_longer_and_longer_pauses(worker_file: Callable[..., str]) -> None:
    chain = Chain([{"lane": worker_file(fault='assert self.hops < 8, "the model is broken"'), "reserve": 40}])
    with pytest.raises(StageError, match="lane: AssertionError: the model is broken"):
        chain.render(np.zeros(9_600, np.float32), sample_rate=SAMPLE_RATE)
    sound = (0.3 * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(SAMPLE_RATE))).astype(np.float32)
    sink = np.zeros((1, 60 * SAMPLE_RATE), np.float32)
    with Engine(chain, backend="null", options={"source": sound, "sink": sink}) as engine:
        assert wait_until(lambda: engine.stats().lanes["lane"].restarts >= 3)
        assert wait_until(lambda: engine.stats().lanes["lane"].state == "waiting")
        lane, now = engine.stats().lanes["lane"], engine.stats().frames
        assert wait_until(lambda: engine.stats().frames > now + 9_600)
        assert engine.alive
    assert lane.trouble == "AssertionError: the model is broken"
    dry = np.roll(np.tile(sound, 3), chain.latency(SAMPLE_RATE))
    there = (now + 4_800) % SAMPLE_RATE
    assert np.allclose(sink[0, now + 4_800 : now + 7_000], dry[there : there + 2_200], atol=1e-4)


def test_workers_end_with_the_engine_even_where_it_is_killed(worker_file: Callable[..., str]) -> None:
    program = (
        "import sys, time\nfrom autovoice.rt import Chain, Engine\nfrom support import wait_until\n"
        "with Engine(Chain([{'lane': sys.argv[1]}]), backend='null') as engine:\n"
        "    lanes = engine.processor.telemetry.lanes\n"
        "    wait_until(lambda: lanes()['lane'].standby_pid > 0)\n"
        "    print(lanes()['lane'].pid, lanes()['lane'].standby_pid, flush=True)\n    time.sleep(600)"
    )
    command = [sys.executable, "-c", program, worker_file()]
    with subprocess.Popen(command, env=program_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2 and not any(dead(pid) for pid in pids)
        process.kill()
        assert wait_until(lambda: all(dead(pid) for pid in pids))


def test_what_cannot_be_run_is_refused_in_one_line(
    worker_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    for run, word in (
        ("voice.onnx", "no model file at voice.onnx"),
        ("nowhere.py:Class", "no Python file at nowhere.py"),
        ("9:Class", "names no class"),
        (["lane:gain"], "cannot hold another lane"),
        (["no_stage"], "no stage is called 'no_stage'"),
        ([], "a lane runs a list of stages"),
        (["harmony", "vocoder", "denoise", "compressor", "deesser", "eq"], "at most 62 parameters"),
    ):
        with pytest.raises(StageError, match=word) as refused:
            Chain([{"lane": run}])
        assert "\n" not in str(refused.value)
    with pytest.raises(StageError, match="has nothing called Missing"):
        Chain([{"lane": worker_file().replace("Echo", "Missing")}]).render(np.zeros(64), sample_rate=SAMPLE_RATE)
    for module, kind, name in (("onnxruntime", "onnx", str(broken)), ("torch", "torchscript", str(broken))):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(peers.PeerError, match=f"{module}, which is not installed: pip install {module}"):
            peers.open_peer(kind, name)


def test_a_lane_survives_being_described_and_made_again_and_a_take_runs_nobodys_code_unasked(
    worker_file: Callable[..., str],
) -> None:
    from autovoice.rt.presets import describe

    chain = Chain(["pitch", {"lane": [{"stage": "shift", "semitones": 4.0, "bypass": True}], "hop": 3}])
    again = Chain([describe(p) for p in chain.placed])
    assert again.placed[1].stage is chain.placed[1].stage
    assert again.placed[1].values == chain.placed[1].values
    assert chain.placed[1].values["shift_semitones"] == 4.0 and chain.placed[1].values["shift_bypass"] == 1.0
    line = StageLine(key="lane", stage=f"lane:{worker_file()}", uid=1, values={}, options={}, bypass=False, code="")
    with pytest.raises(TakeError, match="the take runs somebody's own code"):
        build((line,))
