"""`autovoice bench` as a person runs it: what it writes, what it refuses, and what is left when it is broken off."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from autovoice.tools.lab.bench.scenarios import TABLE, load, names
from autovoice.tools.lab.results import Result
from support import need_jack


@pytest.fixture(autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in nobody's way: a measurement that is going on elsewhere refuses a second one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


BROKEN_OFF = (130, -signal.SIGINT)  # a shell says 130 to both; Python chooses the second where the signal met it in `exec`
SHORT = ("--backend", "null", "--quick", "--no-page")


def test_every_scenario_can_be_run_and_has_headlines() -> None:
    for scenario in TABLE:
        module = load(scenario)
        assert callable(module.run)
        assert module.HEADLINE
        assert scenario.quick < scenario.seconds
    assert len(set(names())) == len(TABLE)


def test_the_list_names_every_scenario(cli: Any) -> None:
    assert list(cli("bench", "list", "--json").json) == names()


def test_help_comes_with_and_without_a_subcommand(cli: Any) -> None:
    whole = cli("bench", "--help")
    assert whole.code == 0 and "compare A B" in whole.out
    for name in names():
        assert f"\n  {name} " in whole.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("sokk",), "did you mean 'soak'?"),
        (("soak", "--seconds", "1", "--blocks", "9"), "--seconds and --blocks both set the length"),
        (("soak", "--chain", "gate", "--preset", "robot"), "leave --chain away"),
        (("soak", "--chain", "gaet"), "gaet"),
        (("soak", "--hog", "printer"), "printer"),
        (("soak", "--block", "8"), "16<=x<=8192"),
    ],
)
def test_bad_requests_are_refused_in_one_line(cli: Any, tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    ran = cli("bench", *arguments, *SHORT, "--out", tmp_path / "out")
    assert part in ran.refused()
    assert not (tmp_path / "out").exists()


def test_a_soak_writes_what_it_counted(cli: Any, tmp_path: Path) -> None:
    ran = cli("bench", "soak", *SHORT, "--seconds", 1.5, "--hog", "disk", "--json", "--out", tmp_path)
    assert ran.code == 0, ran
    told = ran.json["results"]["soak"]
    assert ran.json["page"] is None
    result = Result.read(Path(told["path"]))
    subject, host = result.series
    (run,) = subject.runs
    assert (subject.role, subject.at, host.role) == ("subject", {"hog": "disk"}, "baseline")
    assert sum(run.histograms["callback"].count) == run.metrics["cycles_number"]
    asked = run.metrics["cycles_number"] + run.metrics["xruns_count"]  # a host that stands still loses periods
    assert asked == pytest.approx(1.5 * 750, rel=0.2)
    assert sum(run.timeline["misses"]) == run.metrics["misses_count"]
    assert len({len(column) for column in run.timeline.values()}) == 1
    assert "callback_p999_us" in run.metrics and "callback_p9999_us" not in run.metrics
    assert {bar.name for bar in result.bars} == {"deadline misses of ours"}
    assert any("p99.9 rests on" in note for note in result.notes)
    assert told["headlines"][0]["callback_p50_us"] == pytest.approx(run.metrics["callback_p50_us"])
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*"))


def test_a_page_is_written_beside_the_results(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    ran = cli("bench", "cost", "--quick", "--seconds", 0.2, "--chain", "gain,limiter", "--block", 64, "--out", tmp_path)
    assert ran.code == 0, ran
    assert "gain,limiter" in (tmp_path / "index.html").read_text(encoding="utf-8")
    result = Result.read(tmp_path / "cost.json")
    assert [(one.name, one.at) for one in result.series] == [("engine alone", {"block": 64}), ("gain,limiter", {"block": 64})]
    engine, chain = (one.runs[0].metrics for one in result.series)
    assert chain["own_mean_us"] == pytest.approx(chain["callback_mean_us"] - engine["callback_mean_us"], abs=0.01)
    assert chain["mean_load"] == pytest.approx(chain["callback_mean_us"] / (64 / 48_000 * 1e6), rel=0.01)


def test_a_break_keeps_what_was_measured(start: Callable[..., Any], tmp_path: Path) -> None:
    stale = tmp_path / "swaps.json"
    stale.write_text("{}", encoding="utf-8")
    run = start("bench", "soak", "swaps", "--backend", "null", "--no-page", "--seconds", 1, "--repeat", 99, "--out", tmp_path,
                "--chain", "gain")  # fmt: skip
    run.await_line("soak: measuring")
    run.signal(signal.SIGINT)
    ended = run.end()
    assert ended.code in BROKEN_OFF
    assert "interrupted; what was measured is in" in ended.err
    assert not stale.exists()


def test_a_broken_scenario_keeps_its_finished_rounds(start: Callable[..., Any], tmp_path: Path) -> None:
    run = start("bench", "moves", "soak", "--backend", "null", "--no-page", "--seconds", 0.3, "--repeat", 1,
                "--chain", "gain", "--out", tmp_path)  # fmt: skip
    run.await_line("soak: measuring")
    run.signal(signal.SIGINT)
    assert run.end().code in BROKEN_OFF
    assert Result.read(tmp_path / "moves.json").scenario == "moves"


def test_two_at_once_are_refused(start: Callable[..., Any], cli: Any, tmp_path: Path) -> None:
    first = start("bench", "soak", "--backend", "null", "--no-page", "--chain", "gain", "--out", tmp_path / "a")
    first.await_line("soak: measuring")
    ran = cli("bench", "soak", "--quick", "--backend", "null", "--chain", "gain", "--out", tmp_path / "b")
    assert "another `autovoice bench` is measuring" in ran.refused()
    first.signal(signal.SIGINT)
    assert first.end().code in BROKEN_OFF


def test_a_storm_of_swaps_plays_through(cli: Any, tmp_path: Path) -> None:
    ran = cli("bench", "swaps", *SHORT, "--seconds", 1, "--chain", "gain,limiter", "--out", tmp_path)
    assert ran.code == 0, ran
    calm, storm = Result.read(tmp_path / "swaps.json").series[:2]
    assert calm.runs[0].metrics["swaps_number"] == 0
    assert storm.runs[0].metrics["swaps_number"] >= 2
    assert storm.runs[0].metrics["clicks_count"] == 0


def test_a_storm_of_moves_reaches_ten_thousand_a_second(cli: Any, tmp_path: Path) -> None:
    ran = cli("bench", "moves", *SHORT, "--seconds", 1, "--chain", "highpass,gain", "--out", tmp_path)
    assert ran.code == 0, ran
    storm = Result.read(tmp_path / "moves.json").series[1]
    assert storm.runs[0].metrics["events_number"] > 2000  # on a busy machine; 10 000 on an idle one
    assert storm.runs[0].metrics["clicks_count"] == 0


def test_the_python_callback_is_the_control_on_jack(cli: Any, tmp_path: Path) -> None:
    need_jack()
    ran = cli("bench", "gil", "--backend", "jack", "--quick", "--no-page", "--seconds", 1, "--chain", "gain", "--out", tmp_path)
    assert ran.code == 0, ran
    series = Result.read(tmp_path / "gil.json").series
    assert [(one.name, one.at["hog"]) for one in series] == [
        ("gain", "gil"), ("gain", "none"), ("Python callback", "gil"), ("host timer", "gil"), ("host timer", "none"),
    ]  # fmt: skip
    control = series[2].runs[0]
    assert sum(control.histograms["callback"].count) == control.metrics["cycles_number"] > 0
