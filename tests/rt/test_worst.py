"""The worst blocks: what is kept, that a reader in another process sees whole records, and that a stall is found and named."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from autovoice.rt import Chain, Engine, watch
from autovoice.rt.registry import RegistryError, find, folder, running
from autovoice.rt.watch import look, thread_id
from autovoice.rt.worst import PAGE, RECENT, TOP, WorstBlock, WorstPage
from support import DEMO, STALL, Crank, at_priority, run_program, until_valid, wait_until


@pytest.fixture
def stall(tmp_path: Path) -> str:
    path = tmp_path / "stall.py"
    path.write_text(STALL)
    return str(path)


def turned(specs: list[object], seconds: float = 2.0, budget: float = 0.25) -> Crank:
    crank = Crank(Chain(specs))  # type: ignore[arg-type]
    crank.processor.keep_worst(budget)
    crank.run(np.zeros(round(48_000 * seconds), np.float32))
    return crank


def test_a_stall_in_a_stage_is_the_worst_block_at_its_frame_and_its_time_stands_at_that_stage(stall: str) -> None:
    frames = (24_000, 72_000)

    def measure() -> list[WorstBlock]:
        return turned(["gain", {"stage": stall, "turns": 2e5}, "limiter"]).processor.worst.blocks()

    def is_calm(blocks: list[WorstBlock]) -> bool:
        """Say whether the host stood still in the middle of no block."""
        return all(block.spent_us < (2000 if block.frame in frames else 300) for block in blocks)

    worst = until_valid(lambda: at_priority(measure), is_calm)[0]
    assert worst.frame in frames
    assert max(worst.stages_us, key=lambda name: worst.stages_us[name]) == "stall"
    assert worst.stages_us["stall"] > 0.6 * worst.spent_us
    assert list(worst.stages_us) == ["gain", "stall", "limiter"]


def test_stages_and_engine_make_up_the_whole_block() -> None:
    blocks = turned(DEMO, 1.0).processor.worst.blocks()
    assert len(blocks) >= TOP
    for block in blocks:
        assert 0 <= sum(block.stages_us.values()) <= block.spent_us
        assert block.engine_us == pytest.approx(block.spent_us - sum(block.stages_us.values()))


def test_the_slowest_stay_and_of_those_over_budget_the_newest() -> None:
    crank = turned(["gain"], 1.0, budget=0.0)  # every block is over a budget of nothing
    page = crank.processor.worst
    cycles = [int(r["cycle"]) for r in page.page["record"]]
    assert sorted(cycles[TOP:]) == list(range(750 - RECENT, 750))
    top = sorted(int(r["spent_ns"]) for r in page.page["record"][:TOP])
    everything = crank.processor.telemetry["worst_ns"]
    assert top[-1] == everything
    assert int(page.page["least_ns"]) == top[0]
    assert len({block.cycle for block in page.blocks()}) == len(page.blocks())


def test_nothing_is_kept_where_nobody_asked() -> None:
    crank = Crank(Chain(["gain"]))
    crank.run(np.zeros(6400, np.float32))
    assert crank.processor.worst.blocks() == []


def test_events_and_a_swap_stand_in_the_record_of_their_block() -> None:
    crank = turned(["gain"], 0.5, budget=0.0)
    processor = crank.processor
    processor.send([("gain/gain", -3.0), ("master/output", -1.0)], frame=24_064)
    thread = threading.Thread(target=processor.swap, args=(Chain(["gain", "limiter"]),), kwargs={"running": True})
    if Chain(["gain", "limiter"]).latency(48_000) > processor.latency:
        thread = threading.Thread(target=processor.swap, args=(Chain(["gain", "highpass"]),))
    thread.start()
    while thread.is_alive():
        crank.run(np.zeros(64, np.float32))
    crank.run(np.zeros(640, np.float32))
    blocks = processor.worst.blocks()
    assert sum(block.events for block in blocks) == 2
    assert sum(block.adopted for block in blocks) == 1
    assert any(block.incoming_us > 0 for block in blocks)
    last = max(blocks, key=lambda block: block.cycle)
    assert list(last.stages_us) in (["gain"], ["gain", "highpass"])


def test_a_thread_that_is_gone_is_asked_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handle points to freed memory: it is looked up once when it appears, and not at all in a run that comes after."""
    asked: list[int] = []
    monkeypatch.setattr(watch, "thread_id", lambda handle: asked.append(handle) or 2**22 + 1)  # an id above the kernel's limit
    page = turned(["gain"], 0.1).processor.worst
    page.page["thread"] = 77
    watcher = watch.Watcher(page)
    watcher.start()
    assert wait_until(lambda: bool(asked))
    time.sleep(0.1)
    watcher.stop()
    assert asked == [77]
    page.prepare(48_000)
    assert int(page.page["thread"]) == 0


READER = """
import json
import sys
from autovoice.rt.worst import WorstPage
page = WorstPage.attach(sys.argv[1])
print(json.dumps({"spent_us": [block.spent_us for block in page.blocks()], "stages": page.stage_names()}))
"""


def test_another_process_reads_the_same_and_refuses_what_is_not_a_page(tmp_path: Path) -> None:
    crank = turned(["gain", "limiter"])
    seen = run_program(READER, crank.processor.worst_path)
    assert seen == {"spent_us": [b.spent_us for b in crank.processor.worst.blocks()], "stages": ["gain", "limiter"]}
    wrong = tmp_path / "page"
    wrong.write_bytes(bytes(PAGE.itemsize))
    with pytest.raises(ValueError, match="does not hold"):
        WorstPage.attach(str(wrong))
    wrong.write_bytes(b"short")
    with pytest.raises(ValueError, match="too short"):
        WorstPage.attach(str(wrong))


def test_a_record_under_way_is_not_read() -> None:
    crank = turned(["gain"])
    before = len(crank.processor.worst.blocks())
    crank.processor.worst.page["record"][0]["number"] = -1
    assert len(crank.processor.worst.blocks()) == before - 1


def test_the_kernel_s_counts_are_those_of_the_thread_that_is_watched() -> None:
    """A thread that sleeps gives its processor up of its own will, one that spins does not."""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("only Linux tells")
    done, ids = threading.Event(), []

    def sleeper() -> None:
        ids.append((threading.get_ident(), threading.get_native_id()))
        while not done.wait(0.001):
            pass

    thread = threading.Thread(target=sleeper)
    thread.start()
    assert wait_until(lambda: bool(ids))
    handle, native = ids[0]
    assert thread_id(handle) == native
    first = look(native)
    time.sleep(0.2)
    then = look(native)
    done.set()
    thread.join()
    assert then.counts[2] - first.counts[2] > 20  # voluntary switches
    assert then.counts[4] > first.counts[4]  # nanoseconds on a processor
    assert thread_id(0) is None


def test_the_watcher_adds_evidence_to_a_live_engine_s_blocks(stall: str) -> None:
    if not os.path.exists("/proc/self/task"):
        pytest.skip("only Linux tells")
    with Engine(Chain([{"stage": stall, "turns": 2e5}]), backend="null", name="watched") as engine:
        assert wait_until(lambda: any(block.evidence for block in engine.processor.worst.blocks()))
        assert wait_until(lambda: engine.processor.worst.quiet() is not None)
        quiet = engine.processor.worst.quiet()
        assert quiet is not None
        assert quiet.interval_ms >= 20
        assert quiet.switches_voluntary > 1  # it sleeps once a period


def test_a_running_engine_is_found_by_name_and_a_stopped_one_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(RegistryError, match="no AutoVoice engine is running"):
        find()
    with Engine(Chain(["gain"]), backend="null", name="first one"):
        assert find().name == "first one"
        assert find("first one").stages == ["gain"]
        assert WorstPage.attach(find().worst).stage_names() == ("gain",)
        with pytest.raises(RegistryError, match="did you mean 'first one'"):
            find("first on")
    assert running() == []
    assert list(folder().iterdir()) == []


def test_a_folder_that_others_may_write_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder().chmod(0o777)
    with pytest.raises(PermissionError, match="only you may write"):
        folder()
    with Engine(Chain(["gain"]), backend="null") as engine:  # it plays all the same
        assert engine.alive
