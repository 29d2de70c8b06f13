"""Models in lanes stay resident while there is room and time, with real workers: what is in use is never ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.models.manager import MEGABYTE, ModelManager, machine_bytes, memory_of
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.lane.host import Lane
from support import SAMPLE_RATE, Audio, Crank, wait_until

HOP_MS = 2  # 96 frames
MODEL = '''
"""Says how many hops it has heard since it began."""
import numpy as np


class Counts:
    def prepare(self, sample_rate, hop):
        self.hops = 0
        return 0

    def process(self, block):
        self.hops += 1
        return np.full_like(block, self.hops)


class Echo(Counts):
    def process(self, block):
        return block
'''


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Chain]:
    """Write a model of a name and return a chain that has nothing but it."""

    def write(name: str, kind: str = "Counts", **options: Any) -> Chain:
        path = tmp_path / f"{name}.py"
        if not path.exists():
            path.write_text(MODEL, encoding="utf-8")
        return Chain([{"lane": f"{path}:{kind}", "hop": HOP_MS, **options}])

    return write


class Stage:
    """An engine turned by hand, and a manager whose clock is, too, and which is told how many bytes a worker takes."""

    def __init__(self, chain: Chain, budget: float = 1_000, ttl_s: float = 10.0) -> None:
        self.now_s, self.size, self.sizes = 0.0, 100, dict[int, int]()
        self.manager = ModelManager(budget, ttl_s=ttl_s, clock=lambda: self.now_s, size_of=self.size_of)
        self.crank = Crank(chain, workers=self.manager, latency=4_000)

    def size_of(self, pid: int) -> int:
        return self.sizes.setdefault(pid, self.size) * alive(pid)

    @property
    def pid(self) -> int:
        lane = self.crank.processor.telemetry.lanes().get("lane")
        return int(lane.pid) if lane is not None else 0

    def swap(self, chain: Chain) -> int:
        """Swap, run until the old chain is gone, and return the new one's worker."""
        thread = self.crank.begin_swap(chain)
        while thread.is_alive() or not self.crank.processor._settled():
            self.crank.run(np.zeros(64, np.float32))
        return self.pid

    def names(self) -> list[str]:
        return sorted(one.name.partition(".")[0] for one in self.manager.resident())

    def close(self) -> None:
        self.crank.processor.close()
        self.manager.rest()


@pytest.fixture
def play() -> Iterator[Callable[..., Stage]]:
    """Open stages, and close them."""
    opened: list[Stage] = []

    def begin(*arguments: Any, **settings: Any) -> Stage:
        opened.append(Stage(*arguments, **settings))
        return opened[-1]

    yield begin
    for stage in opened:
        stage.close()


def test_going_back_takes_up_the_process_that_has_the_model_and_it_begins_afresh(
    model: Callable[..., Chain], play: Callable[..., Stage]
) -> None:
    first, second = model("first"), model("second")
    stage = play(first)
    began = stage.pid
    sound = np.zeros(9_600, np.float32)
    fresh = stage.crank.run(sound)
    assert fresh.max() > 50
    other = stage.swap(second)
    assert other != began and alive(began) and stage.names() == ["first", "second"]
    assert [(one.workers, one.users, one.bytes) for one in stage.manager.resident()] == [(1, 1, 100), (1, 0, 100)]
    lane = stage.crank.processor.image.lanes["lane"]
    assert stage.swap(first) == began
    again: Lane = stage.crank.processor.image.lanes["lane"]
    assert again is not lane
    assert stage.crank.run(sound).max() <= (int(again.record["written"]) - int(again.record["first"])) / 96 + 1, "afresh"
    assert int(stage.crank.processor.telemetry["lanes"]["misses"]) == 0
    assert stage.swap(model("first", reserve=20)) != began, "in use; a chain beside it needs one of its own"
    assert stage.swap(model("second", hop=5)) == other, "whatever the hop"
    stage.close()
    assert not any(alive(pid) for pid in (began, other)) and stage.names() == []


def test_stages_in_a_lane_are_taken_up_again_bit_for_bit(speech: Audio, play: Callable[..., Stage]) -> None:
    sound = speech[20_000:40_000]
    chain = Chain([{"lane": ["gain"], "hop": 2, "gain_gain": -6.0}])
    stage = play(chain)
    pid = stage.pid
    expected = stage.crank.run(sound)
    stage.swap(Chain(["gain"]))
    assert stage.swap(chain) == pid
    stage.crank.run(np.zeros(9_600, np.float32))
    assert np.array_equal(stage.crank.run(sound)[4_000:], expected[4_000:])


def test_what_rested_for_its_time_ends_and_what_is_in_use_does_not(
    model: Callable[..., Chain], play: Callable[..., Stage]
) -> None:
    stage = play(model("first"))
    first, second = stage.pid, stage.swap(model("second"))
    stage.now_s = 9.9
    stage.manager.sweep()
    assert alive(first)
    stage.now_s = 1_000.0
    stage.manager.sweep()
    assert not alive(first) and alive(second) and stage.names() == ["second"]
    os.kill(stage.swap(model("third")), 0)
    os.kill(second, 9)
    assert wait_until(lambda: not alive(second))
    assert alive(stage.swap(model("second"))), "one that was killed while it rested is not taken up"


def test_the_longest_unused_gives_way_and_what_is_in_use_is_refused_nothing(
    model: Callable[..., Chain], play: Callable[..., Stage]
) -> None:
    stage = play(model("first"), budget=300)
    first = stage.pid
    second, third = stage.swap(model("second")), stage.swap(model("third"))
    assert stage.swap(model("first")) == first
    assert stage.names() == ["first", "second", "third"]
    fourth = stage.swap(model("fourth"))
    assert stage.names() == ["first", "fourth", "third"] and not alive(second)
    stage.size = 250
    with pytest.raises(
        StageError, match=r"^lane: fifth.py:Counts takes 0 MB of memory, which do not fit beside the 0 MB in use"
    ):
        stage.crank.processor.swap(model("fifth"))
    assert stage.pid == fourth and alive(fourth) and stage.names() == ["first", "fourth", "third"], (
        "a refusal costs nobody anything"
    )
    stage.manager.budget_bytes = 150
    stage.manager.sweep()
    assert stage.names() == ["fourth"] and not alive(third)
    assert stage.crank.run(np.zeros(9_600, np.float32)).max() > 50, "the show goes on"


def test_a_budget_too_small_is_one_line_with_the_way_out_and_memory_is_what_the_kernel_says(
    model: Callable[..., Chain],
) -> None:
    manager = ModelManager(1 * MEGABYTE)
    with pytest.raises(StageError) as refused, Engine(model("big"), backend="null", workers=manager):
        pass
    line = str(refused.value)
    assert line.startswith("lane: big.py:Counts takes ") and "\n" not in line
    least, most = line.partition("give --model-memory ")[2].partition(",")[0].split("..")
    assert 5 < int(least) < 500 and int(most) == round(machine_bytes() / MEGABYTE)
    assert manager.resident() == []
    assert memory_of(os.getpid()) > 10 * MEGABYTE
    assert memory_of(1 << 30) == 0


def test_models_are_loaded_ahead_and_stay_until_the_engine_stops(
    model: Callable[..., Chain], play: Callable[..., Stage], tmp_path: Path
) -> None:
    stage = play(model("first"), budget=200)
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0", encoding="utf-8")
    ahead = [model("first"), Chain([{"lane": f"{broken}:A"}]), model("second"), model("third")]
    troubles = stage.manager.preload(ahead, SAMPLE_RATE)
    assert len(troubles) == 2 and "broken.py:A: " in troubles[0] and "ZeroDivisionError" in troubles[0]
    assert troubles[1].startswith("not preloaded: third.py:Counts takes 0 MB")
    stage.now_s = 1e6
    stage.manager.sweep()
    pids = list(stage.manager._resting)
    assert stage.names() == ["first", "second"] and stage.swap(model("second")) == pids[0]
    stage.close()
    assert not alive(pids[0])


def test_an_engine_that_stops_while_models_are_loaded_ahead_leaves_none(model: Callable[..., Chain]) -> None:
    manager = ModelManager()
    thread = threading.Thread(target=manager.preload, args=([model("first"), model("second")], SAMPLE_RATE))
    thread.start()
    assert wait_until(lambda: len(manager._loading) == 1)
    (worker,) = manager._loading
    manager.rest()
    thread.join(60)
    assert not thread.is_alive() and not alive(worker.process.pid) and manager.resident() == []


def test_live_a_swap_there_and_back_leaves_no_gap_and_no_process(
    model: Callable[..., Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autovoice.rt.control.lanes.LOOK_S", 0.1)
    monkeypatch.setattr("autovoice.rt.lane.host.ROOM_S", 0.1)
    sound = (0.3 * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(SAMPLE_RATE))).astype(np.float32)  # 220 whole periods
    sink = np.zeros((1, 60 * SAMPLE_RATE), np.float32)
    one, other = (model(name, "Echo", reserve=400) for name in ("one", "other"))
    manager, notices = ModelManager(150, size_of=lambda pid: 100 * alive(pid)), []
    engine = Engine(one, backend="null", workers=manager, latency=40_000, options={"source": sound, "sink": sink})
    with engine, Conductor(engine, told=lambda notice: notices.append(notice.text)) as conductor:
        lanes = engine.processor.telemetry.lanes
        assert wait_until(lambda: any("no room for a second worker" in text for text in notices))
        assert lanes()["lane"].standby_pid == 0
        manager.budget_bytes = 1_000
        assert wait_until(lambda: not engine.processor.rack.standby_missing())
        first = {lanes()["lane"].pid, lanes()["lane"].standby_pid}
        conductor.swap(other)
        assert wait_until(lambda: sum(r.workers - r.users for r in manager.resident()) == 2)
        second = lanes()["lane"].pid
        conductor.swap(one)
        assert int(engine.processor.image.lanes["lane"].view["pid"]) in first
        after = engine.stats().frames
        assert wait_until(lambda: engine.stats().frames > after + SAMPLE_RATE)
        stats = engine.stats()
    assert stats.lane_misses == 0
    heard = sink[0, 40_000 + 4_800 : stats.frames]
    assert np.abs(np.diff(heard)).max() < 0.012, "no click"
    assert min(np.abs(part).max() for part in np.split(heard[: len(heard) // 480 * 480], len(heard) // 480)) > 0.25, "no gap"
    assert manager.resident() == [] and not any(alive(pid) for pid in (*first, second))
