"""Why a block was slow: each cause from figures that carry it, and a stall planted in a stage, found from another process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.registry import Entry, publish, withdraw
from autovoice.rt.worst import Evidence, WorstBlock
from autovoice.tools.lab.why import describe, explain, report, tell_why
from autovoice.tools.options import CommandError
from support import STALL, Crank, at_priority, until_valid, wait_until

USUAL = {"pitch": 4.0, "shift": 1.0}
QUIET = Evidence(20.0, 0, 0, 15, 0, 500, 5, 0)
BLOCK = WorstBlock(
    number=9,
    cycle=900,
    frame=57_600,
    frames=64,
    start_ns=10_000_000_000,
    spent_us=10.0,
    late_us=20.0,
    period_us=1333.3,
    events=0,
    adopted=False,
    incoming_us=0.0,
    stages_us={"pitch": 4.0, "shift": 1.0},
    evidence=QUIET,
)
CASES = {
    "a stage": (replace(BLOCK, spent_us=210.0, stages_us={"pitch": 204.0, "shift": 1.0}), "stage", "pitch"),
    "all of it": (replace(BLOCK, spent_us=100.0, stages_us={"pitch": 40.0, "shift": 11.0}), "host", "processor"),
    "a swap": (replace(BLOCK, spent_us=100.0, adopted=True), "control", "swap"),
    "a second chain": (replace(BLOCK, spent_us=40.0, incoming_us=30.0), "control", "swap"),
    "many events": (replace(BLOCK, spent_us=60.0, events=200), "control", "events"),
    "the first blocks": (replace(BLOCK, spent_us=60.0, cycle=0), "engine", "start"),
    "put off": (
        replace(
            BLOCK,
            spent_us=900.0,
            stages_us={"pitch": 890.0, "shift": 1.0},
            evidence=replace(QUIET, waited_us=880, switches_involuntary=2),
        ),
        "host",
        "scheduler",
    ),
    "a stolen processor": (
        replace(BLOCK, spent_us=8500.0, stages_us={"pitch": 4.0, "shift": 8480.0}, evidence=replace(QUIET, stolen_us=10_000)),
        "host",
        "hypervisor",
    ),
    "a stall beside a tick of stolen time": (
        replace(BLOCK, spent_us=210.0, stages_us={"pitch": 204.0, "shift": 1.0}, evidence=replace(QUIET, stolen_us=10_000)),
        "stage",
        "pitch",
    ),
    "a page from disk": (replace(BLOCK, spent_us=900.0, evidence=replace(QUIET, faults_major=1)), "host", "memory"),
    "a late driver": (replace(BLOCK, late_us=3000.0), "host", "driver"),
    "a late wake": (replace(BLOCK, late_us=3000.0, evidence=replace(QUIET, waited_us=2900)), "host", "scheduler"),
    "nothing": (replace(BLOCK, spent_us=12.0), "nobody", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is_named_from_the_figures(case: str) -> None:
    block, whose, what = CASES[case]
    cause = explain(block, USUAL, 9.0, QUIET)
    assert (cause.whose, cause.what) == (whose, what)
    assert cause.text


def test_what_strikes_several_stages_alike_is_doubted_to_be_theirs() -> None:
    slow = [
        replace(BLOCK, spent_us=210.0, stages_us={"pitch": 204.0, "shift": 1.0}),
        replace(BLOCK, cycle=901, spent_us=160.0, stages_us={"pitch": 4.0, "shift": 150.0}),
    ]
    page = SimpleNamespace(blocks=lambda: slow, quiet=lambda: QUIET)
    times = {name: SimpleNamespace(p50=us) for name, us in USUAL.items()}
    stats = SimpleNamespace(stage_us=times, callback_us=SimpleNamespace(p50=9.0))
    first = describe(page, stats, 0)[0]  # type: ignore[arg-type]
    assert first["what"] == "pitch"
    assert "shift stalled as well" in first["cause"]
    slow[1] = replace(slow[1], spent_us=20.0, stages_us={"pitch": 4.0, "shift": 12.0})
    assert "as well" not in describe(page, stats, 0)[0]["cause"]  # type: ignore[arg-type]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """A chain with a stage that stalls for 200 us at one frame in a second."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "stall.py"
    path.write_text(STALL)
    return Chain(["highpass", "gate", {"stage": str(path), "turns": 1e5}, "compressor", "limiter"])  # some 2 ns each


def test_a_stall_of_200_us_planted_in_a_stage_is_found_and_named(planted: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """Turned by hand, no block is late; a host that stood still in the middle of one has spoilt the measurement."""
    frames = [48_000 * k + 24_000 for k in range(4)]

    def measure() -> dict[str, Any]:
        crank = Crank(planted)
        processor = crank.processor
        processor.keep_worst()
        processor.open_control()
        crank.run(np.zeros(48_000 * 4, np.float32))
        pages = processor.telemetry_path, processor.worst_path, processor.control_path
        entry = publish(Entry("planted", os.getpid(), "by hand", [p.key for p in planted.placed], *pages))
        try:
            return report("planted")
        finally:
            withdraw(entry)

    def is_calm(found: dict[str, Any]) -> bool:
        return all(block["spent_us"] < (1000 if block["frame"] in frames else 150) for block in found["worst"])

    found = until_valid(lambda: at_priority(measure), is_calm)
    stalls = found["worst"][:4]
    assert sorted(block["frame"] for block in stalls) == frames
    assert {block["what"] for block in stalls} == {"stall"}
    assert np.median([block["stages_us"]["stall"] for block in stalls]) == pytest.approx(200, rel=0.5)
    tell_why(found)
    told = capsys.readouterr().out
    assert "planted:" in told
    assert "stage 'stall' took" in told


def test_a_stall_is_found_while_the_engine_plays(planted: Chain) -> None:
    """Whatever else happens to blocks on a busy machine."""

    def named() -> bool:
        return any("stage 'stall' took" in block["cause"] for block in report("planted")["worst"])

    with Engine(planted, backend="null", block=64, name="planted"):
        assert wait_until(named)


def test_an_engine_that_does_not_run_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(CommandError, match="start one with `autovoice live`"):
        report(None)
