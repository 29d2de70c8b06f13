"""Why a block was slow: each cause from figures that carry it, and a stall planted in a stage, found from another process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.worst import Evidence, WorstBlock
from autovoice.tools.lab.why import describe, explain, report, tell_why
from autovoice.tools.options import CommandError
from support import STALL, wait_until

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


def test_a_stall_of_200_us_planted_in_a_stage_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "stall.py"
    path.write_text(STALL)
    chain = Chain(["highpass", "gate", {"stage": str(path), "turns": 1e5}, "compressor", "limiter"])  # some 2 ns each
    with Engine(chain, backend="null", block=64, name="planted") as engine:
        assert wait_until(lambda: engine.stats().frames > 48_000 * 4, 20.0)
        found = report("planted")
    stalls = [block for block in found["worst"] if block["what"] == "stall"]
    assert {block["frame"] // 64 for block in stalls} >= {48_000 * k // 64 + 375 for k in range(3)}
    # Of what happened in a stage it is the worst; what the host did to us, if it did, is told apart or doubted.
    in_stages = [block for block in found["worst"] if block["whose"] == "stage"]
    assert in_stages[0]["what"] == "stall" or "may be the host" in in_stages[0]["cause"]
    assert all(100 < block["stages_us"]["stall"] < 1000 for block in stalls[:1])
    tell_why(found)
    told = capsys.readouterr().out
    assert "planted:" in told
    assert "stage 'stall' took" in told


def test_an_engine_that_does_not_run_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(CommandError, match="start one with `autovoice live`"):
        report(None)
