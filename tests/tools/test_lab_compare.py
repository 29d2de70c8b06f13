"""Comparisons: how often noise is taken for a change, how often a change for noise, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.tools.lab.compare import CompareError, compare, gather, in_turns, pair_up, regressions
from autovoice.tools.lab.page.command import read_folder
from autovoice.tools.lab.results import Result, Run, Series
from autovoice.tools.lab.verdicts import LEAST_RUNS, Pair, Verdict, discoveries, judge
from lab_results import MACHINE, SETTINGS

Array = np.ndarray[Any, Any]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]

THRESHOLD, TRIALS, RESAMPLES = 0.05, 200, 999
METRICS = 8


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.03 * rng.standard_normal(shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with two degrees of freedom: now and then a run is far out."""
    return 0.03 * rng.standard_t(2, shape)


def spiky(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A run in twelve is up to several times as slow, as when the host does something else."""
    return normal(rng, shape) + (rng.random(shape) < 1 / 12) * rng.exponential(0.8, shape)


def drifting(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Each run is much like the one before it: the machine warms up, or a neighbour comes and goes."""
    noise = normal(rng, shape)
    for k in range(1, shape[-1]):
        noise[..., k] += 0.6 * noise[..., k - 1]
    return noise


def pairs(noise: Noise, rng: np.random.Generator, runs: int, metrics: int = METRICS, slower: float = 1.0) -> list[Pair]:
    """Return pairs of which the first is `slower`; the metrics of a run share most of its noise."""
    sides = [100 * np.exp(0.8 * noise(rng, (1, runs)) + 0.6 * noise(rng, (metrics, runs))) for _ in range(2)]
    sides[1][0] *= slower
    return [Pair("cost", "chain", f"m{k}_us", "subject", sides[0][k], sides[1][k]) for k in range(metrics)]


def share(found: Callable[[np.random.Generator], Sequence[Verdict]], word: str = "worse", trials: int = TRIALS) -> float:
    """Return the share of trials in which any of the verdicts is `word`."""
    return float(np.mean([any(one.word == word for one in found(np.random.default_rng(seed))) for seed in range(trials)]))


def judged(noise: Noise, runs: int, *, in_turns: bool = True, **more: Any) -> Callable[[np.random.Generator], list[Verdict]]:
    return lambda rng: judge(pairs(noise, rng, runs, **more), THRESHOLD, in_turns=in_turns, resamples=RESAMPLES)


@pytest.mark.parametrize("runs", [6, 10])
@pytest.mark.parametrize("noise", [normal, heavy, spiky])
def test_the_same_program_twice_is_called_slower_in_fewer_than_one_trial_in_twenty(noise: Noise, runs: int) -> None:
    assert share(judged(noise, runs)) < 0.05


def test_a_drifting_machine_is_not_called_a_regression_where_one_side_ran_wholly_first() -> None:
    assert share(judged(drifting, 10, in_turns=False)) < 0.05 < share(judged(drifting, 10))


def test_ten_percent_in_ten_runs_of_three_percent_noise_is_found() -> None:
    def found(rng: np.random.Generator) -> list[Verdict]:
        noisy = [100 * (1 + normal(rng, (10,))) for _ in range(2)]
        return judge([Pair("s", "x", "m_us", "subject", noisy[0], 1.1 * noisy[1])], THRESHOLD, resamples=RESAMPLES)

    assert share(found) > 0.95


def test_ten_percent_faster_is_called_better() -> None:
    assert share(judged(normal, 10, metrics=1, slower=1 / 1.1), "better") > 0.95


def test_one_slower_figure_among_many_and_wild_ones_is_found_with_more_runs() -> None:
    assert share(judged(normal, 20, slower=1.1), trials=60) > 0.95
    assert share(judged(spiky, 30, slower=1.1), trials=60) > 0.95


def test_a_change_within_the_threshold_is_the_same() -> None:
    verdicts = judge(
        pairs(lambda rng, shape: 0.003 * rng.standard_normal(shape), np.random.default_rng(1), 12, 1, 1.02), THRESHOLD
    )
    assert verdicts[0].word == "same" and verdicts[0].low > 1


def test_where_it_cannot_be_told_the_runs_that_would_do_are_named_and_do() -> None:
    few = judge(pairs(heavy, np.random.default_rng(4), 8, 1), THRESHOLD)[0]
    assert few.word == "cannot tell" and few.runs_needed is not None and few.runs_needed > 8
    enough = [judge(pairs(heavy, np.random.default_rng(seed), few.runs_needed, 1), THRESHOLD)[0] for seed in range(20)]
    assert sum(one.word == "same" for one in enough) > 15


def test_too_few_runs_cannot_tell_even_a_doubling() -> None:
    verdict = judge(pairs(normal, np.random.default_rng(0), LEAST_RUNS - 1, 1, 2.0), THRESHOLD)[0]
    assert (verdict.word, verdict.runs_needed) == ("cannot tell", LEAST_RUNS)


def test_figures_that_are_the_same_in_every_run_are_the_same_even_in_one() -> None:
    one = Pair("s", "x", "latency_frames", "subject", np.array([64.0]), np.array([64.0]))
    assert judge([one], THRESHOLD)[0].word == "same"


@pytest.mark.parametrize(
    ("metric", "a", "b", "word"),
    [
        ("m_us", 10.0, 12.0, "worse"),
        ("x_realtimes", 10.0, 12.0, "better"),
        ("snr_db", 40.0, 37.0, "worse"),
        ("snr_db", -3.0, 3.0, "better"),
        ("snr_db", 1.0, 0.7, "same"),  # 0.3 dB are 3.4 %, not 30
        ("offset_frames", 0.0, 1.0, "worse"),
        ("cycles_share", 1.0, 0.8, "worse"),
    ],
)
def test_each_unit_knows_which_way_is_better(metric: str, a: float, b: float, word: str) -> None:
    noise = 1e-4 * np.random.default_rng(0).standard_normal((2, 8))
    assert judge([Pair("s", "x", metric, "subject", a + noise[0], b + noise[1])], THRESHOLD)[0].word == word


def test_false_discoveries_are_held_by_the_step_up_rule() -> None:
    p = np.array([0.01, 0.5, 0.02, 0.03, 0.9])  # 0.03 <= 3/5 of 0.05, so all three below it count
    assert discoveries(p, 0.05).tolist() == [True, False, True, True, False]
    assert not discoveries(np.array([0.02, 0.5, 0.6, 0.7]), 0.05).any()


def counts(a: Sequence[float], b: Sequence[float], exposure: tuple[float, float] = (1.0, 1.0)) -> Verdict:
    return judge([Pair("s", "x", "misses_count", "subject", np.array(a), np.array(b), exposure)], THRESHOLD)[0]


def test_counts_are_judged_as_rare_events() -> None:
    assert counts([0] * 6, [0] * 6).word == "same"
    assert counts([0, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 1]).word == "cannot tell"  # 2 and 3: a ratio of 1.5 says nothing
    assert counts([0, 1, 0, 0, 1, 0], [4, 6, 5, 7, 3, 5]).word == "worse"
    assert counts([4, 6, 5, 7, 3, 5], [0] * 6).word == "better"
    assert counts([0], [600]).word == "cannot tell"  # it may be one burst
    assert counts([0, 0, 0, 0, 0, 0], [0, 0, 40, 0, 0, 0]).word == "cannot tell"  # and this is one


def test_counts_are_compared_by_how_long_was_counted() -> None:
    twice = counts([10] * 6, [20] * 6, (1e5, 2e5))
    assert twice.word != "worse" and twice.ratio == pytest.approx(1.0) and twice.p > 0.5
    assert counts([10] * 6, [20] * 6, (1e5, 1e5)).word == "worse"


@pytest.mark.parametrize("burst", [None, 0.5])
def test_counts_of_the_same_rate_are_called_worse_in_fewer_than_one_trial_in_twenty(burst: float | None) -> None:
    def drawn(rng: np.random.Generator) -> Array:
        return rng.poisson(3, 8) if burst is None else rng.negative_binomial(burst, burst / (burst + 3), 8)

    assert share(lambda rng: [counts(drawn(rng), drawn(rng))]) < 0.05


def result(p50: Sequence[float], started: str, *, scenario: str = "cost", block: int = 64, **changes: Any) -> Result:
    """Return a result of one subject and one baseline with these medians."""
    runs = [Run({"callback_p50_us": value, "cycles_number": 1000.0, "misses_count": 0.0}) for value in p50]
    series = [
        Series("chain", "subject", runs, {"block": block}),
        Series("host timer", "baseline", [Run({"wake_p50_us": 2 * value}) for value in p50]),
        Series("others", "peer", [Run({"latency_ms": value}) for value in p50], how="published: their site"),
    ]
    settings = {**SETTINGS, "repeat": len(p50)}
    return dataclasses.replace(Result(scenario, "a title", settings, series, machine=MACHINE, started=started), **changes)


def noisy(seed: int, middle: float = 10.0, count: int = 10) -> list[float]:
    return list(middle * np.exp(0.01 * np.random.default_rng(seed).standard_normal(count)))


def test_runs_of_several_files_are_paired_in_the_order_in_which_they_were_measured() -> None:
    a = [result([3.0, 4.0], "2026-01-01T12:00:00+00:00"), result([1.0, 2.0], "2026-01-01T10:00:00+00:00")]
    b = [result([10.0], "2026-01-01T11:00:00+00:00"), result([20.0, 30.0], "2026-01-01T13:00:00+00:00")]
    pair = next(one for one in pair_up(a, b) if one.metric == "callback_p50_us")
    assert pair.a.tolist() == [1.0, 2.0, 3.0] and pair.b.tolist() == [10.0, 20.0, 30.0]
    assert in_turns(a, b) and not in_turns(a[1:], b)


def test_series_are_paired_by_scenario_name_and_setting_and_published_figures_are_not() -> None:
    a = [result(noisy(1), "2026-01-01T10"), result(noisy(2), "2026-01-01T10", block=128)]
    b = [result(noisy(3, 20), "2026-01-01T10", block=128), result(noisy(4), "2026-01-01T10", scenario="soak")]
    metrics = {(one.series, one.metric) for one in pair_up(a, b)}
    assert metrics == {
        ("chain, block 128", "callback_p50_us"),
        ("chain, block 128", "misses_count"),
        ("host timer", "wake_p50_us"),
    }


def test_that_only_the_host_got_slower_is_no_regression_of_ours() -> None:
    a, b = result(noisy(1), "2026-01-01T10"), result(noisy(2), "2026-01-01T10")
    host = Series("host timer", "baseline", [Run({"wake_p50_us": 50.0 + k}) for k in range(10)])
    b = dataclasses.replace(b, series=[b.series[0], host])
    verdicts = compare([a], [b], THRESHOLD)
    assert [one.series for one in verdicts if one.word == "worse"] == ["host timer"]
    assert regressions(verdicts) == []


def test_other_machines_and_settings_are_refused_unless_asked_for() -> None:
    a, b = result(noisy(1), "2026-01-01T10"), result(noisy(2), "2026-01-01T10")
    other = dataclasses.replace(b, machine={**MACHINE, "kernel": "5.10"})
    longer = dataclasses.replace(b, settings={**SETTINGS, "block": 128})
    for changed, part in ((other, "kernel 6.1.0 and 5.10"), (longer, "cost: block 64 and 128")):
        with pytest.raises(CompareError, match=part):
            compare([a], [changed], THRESHOLD)
        assert compare([a], [changed], THRESHOLD, across=True)
    assert compare([a], [dataclasses.replace(b, settings={**b.settings, "repeat": 99})], THRESHOLD)
    assert compare([a], [dataclasses.replace(b, machine={**MACHINE, "commit": "other", "load_average": 9.0})], THRESHOLD)


@pytest.fixture
def sides(tmp_path: Path) -> Callable[[float], tuple[Path, Path]]:
    """Write two folders of results measured in turns, B being so many times as slow."""

    def write(slower: float) -> tuple[Path, Path]:
        for k in range(2):
            result(noisy(k), f"2026-01-01T1{2 * k}:00:00+00:00").write(tmp_path / "a" / f"{k}.json")
            result(noisy(k + 5, 10 * slower), f"2026-01-01T1{2 * k + 1}:00:00+00:00").write(tmp_path / "b" / f"{k}.json")
        return tmp_path / "a", tmp_path / "b"

    return write


def test_the_command_exits_with_one_on_a_regression_and_names_it(cli: Any, sides: Callable[[float], tuple[Path, Path]]) -> None:
    done = cli("bench", "compare", *sides(1.2))
    assert done.code == 1
    assert "worse: 2" in done.out and "cost  chain, block 64  callback p50: 10 -> 12.1 µs, +20.3 %" in done.out
    assert "wholly before" not in done.err


def test_the_command_exits_with_zero_where_nothing_got_worse_and_speaks_json(
    cli: Any, sides: Callable[[float], tuple[Path, Path]]
) -> None:
    done = cli("bench", "compare", *sides(1.0), "--json")
    assert done.code == 0
    found = done.json
    assert found["summary"]["same"] == len(found["verdicts"]) == 3 and found["regressions"] == 0
    assert found["threshold"] == 0.05


def test_the_threshold_decides_what_matters(cli: Any, sides: Callable[[float], tuple[Path, Path]]) -> None:
    assert cli("bench", "compare", *sides(1.2), "--threshold", "50").code == 0


def test_what_cannot_be_compared_is_refused_in_one_line(cli: Any, tmp_path: Path) -> None:
    ours = result(noisy(1), "2026-01-01T10").write(tmp_path / "a.json")
    soak = result(noisy(1), "2026-01-01T10", scenario="soak").write(tmp_path / "b.json")
    other = result(noisy(1), "2026-01-01T10", machine={**MACHINE, "cpu": "another"}).write(tmp_path / "c.json")
    assert "no series and metric in common" in cli("bench", "compare", ours, soak).refused()
    assert "--across-machines" in cli("bench", "compare", ours, other).refused()
    assert "does not exist" in cli("bench", "compare", ours, tmp_path / "none").refused()
    assert "DIFFERENT MACHINE" in cli("bench", "compare", ours, other, "--across-machines").err


def test_results_in_folders_below_are_taken_together(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        Result("cost", "", {}, [Series("one", "subject", [Run({"callback_p50_us": 10.0 + k})])]).write(
            tmp_path / str(k) / "cost.json"
        )
    (series,) = gather(read_folder(tmp_path)).values()
    assert sorted(run.metrics["callback_p50_us"] for run in series.runs) == [10.0, 11.0, 12.0]
