"""Verdicts on pairs of runs: better, worse, the same, or not to be told.

For each metric the logarithm of B over A is taken in every pair of runs; its median has a bootstrap interval (percentile
method; B. Efron 1979, "Bootstrap methods: another look at the jackknife") and a p-value from the bootstrap's standard error.
Among all metrics of a comparison the rate of false discoveries is held by the step-up rule of Y. Benjamini and Y. Hochberg
(1995). A change counts when its median is beyond the threshold, its interval leaves out no change at all, and it survives
that rule. Where one side was measured wholly before the other, a machine that grew slower would look the same: there the
interval too has to be beyond the threshold. Counts of rare events are compared as such, by the exact conditional test of two
Poisson rates (J. Przyborowski and H. Wilenski 1940): a ratio of three xruns to two says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from autovoice.tools.lab.results import Array, Role, unit_of

Word = Literal["better", "worse", "same", "cannot tell"]
LEVEL = 0.95  # of an interval
FALSE_DISCOVERIES = 0.05  # of the changes found, the share that may be none
LEAST_RUNS = 6  # the least and the most of n runs hold the median with 1 - 2 ** (1 - n): 97 % for 6, 94 % for 5
MOST_RUNS = 10_000  # asked for: beyond, it is hopeless
RESAMPLES, MOST_DRAWN = 9999, 500_000  # of runs, in all resamples of a metric
SEED = 20  # the same files give the same verdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one metric of one series."""

    scenario: str
    series: str
    metric: str
    role: Role
    word: Word
    runs: int
    a: float  # median over the runs, or the sum of a count
    b: float
    ratio: float  # of B to A, the median over the pairs; NaN where there is none
    low: float  # of the interval of the ratio
    high: float
    p: float  # of no change at all
    why: str
    runs_needed: int | None = None  # to tell, where it cannot be told


@dataclass(frozen=True, slots=True)
class Pair:
    """The runs of one metric on both sides, in their order."""

    scenario: str
    series: str
    metric: str
    role: Role
    a: Array
    b: Array
    exposure: tuple[float, float] = (1.0, 1.0)  # of counts


def judge(pairs: Sequence[Pair], threshold: float, *, in_turns: bool = True, resamples: int = RESAMPLES) -> list[Verdict]:
    """Return a verdict for each pair, all judged together.

    `threshold` is the relative change that matters, such as 0.05; `in_turns` says that A and B were measured in turns.
    """
    found = [_judge_count(pair, threshold) if _counts(pair.metric) else None for pair in pairs]
    ratios = [k for k, one in enumerate(found) if one is None]
    for k, one in zip(ratios, _judge_ratios([pairs[k] for k in ratios], threshold, resamples, in_turns=in_turns), strict=True):
        found[k] = one
    verdicts = [one for one in found if one is not None]
    kept = discoveries(np.array([one.p for one in verdicts]), FALSE_DISCOVERIES)
    return [
        one if kept[k] or one.word not in ("better", "worse") else _not_among_many(one, len(verdicts))
        for k, one in enumerate(verdicts)
    ]


def _counts(metric: str) -> bool:
    return metric.endswith("_count")


def _not_among_many(verdict: Verdict, many: int) -> Verdict:
    why = f"probably changed (p = {verdict.p:.2g}), but among {many} figures some look so by chance"
    return replace(verdict, word="cannot tell", why=why, runs_needed=math.ceil(1.5 * verdict.runs))


def discoveries(p: Array, rate: float) -> Array:
    """Return which of the p-values, shape (n,), count when `rate` of those that count may be false (Benjamini, Hochberg)."""
    if not len(p):
        return np.zeros(0, bool)
    order = np.argsort(p)
    passed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / len(p))
    kept = np.zeros(len(p), bool)
    kept[order[: passed[-1] + 1 if len(passed) else 0]] = True
    return kept


def effects(pair: Pair) -> Array:
    """Return log(B / A) of each pair of runs; decibels are logarithms already; zeros and signs leave relative differences."""
    a, b = pair.a, pair.b
    if pair.metric.endswith("_db"):
        return (b - a) * (math.log(10) / 20)
    if np.all(a > 0) and np.all(b > 0):
        return np.log(b / a)
    scale = float(np.median(np.abs(np.concatenate([a, b])))) or float(np.mean(np.abs(np.concatenate([a, b])))) or 1.0
    return np.asarray((b - a) / scale)


def _judge_ratios(pairs: Sequence[Pair], threshold: float, resamples: int, *, in_turns: bool) -> list[Verdict]:
    changes = [effects(pair) for pair in pairs]
    placed: dict[int, tuple[float, float, float]] = {}
    for same in _by_length(changes):  # all rows of one length at once
        low, high, error = bootstrap([changes[k] for k in same], resamples)
        for row, k in enumerate(same):
            placed[k] = float(low[row]), float(high[row]), float(error[row])
    limit = math.log1p(threshold)
    return [_judge_ratio(pair, changes[k], placed[k], limit, limit * (not in_turns)) for k, pair in enumerate(pairs)]


def _by_length(changes: Sequence[Array]) -> list[list[int]]:
    lengths: dict[int, list[int]] = {}
    for k, change in enumerate(changes):
        lengths.setdefault(len(change), []).append(k)
    return list(lengths.values())


def bootstrap(changes: Sequence[Array], resamples: int) -> tuple[Array, Array, Array]:
    """Return (low, high, standard error) of the median of each row, all rows of one length."""
    rows = np.array(changes)
    if rows.shape[1] < 2:
        return rows[:, 0] - np.inf, rows[:, 0] + np.inf, np.full(len(rows), np.inf)
    from scipy import stats

    found = stats.bootstrap(
        (rows,),
        np.median,
        axis=-1,
        n_resamples=max(min(resamples, MOST_DRAWN // rows.shape[1]), 999),
        batch=250,
        confidence_level=LEVEL,
        method="percentile",
        rng=SEED,
    )
    interval = found.confidence_interval
    return np.atleast_1d(interval.low), np.atleast_1d(interval.high), np.atleast_1d(found.standard_error)


def _judge_ratio(pair: Pair, change: Array, interval: tuple[float, float, float], limit: float, beyond: float) -> Verdict:
    """Judge one metric; for a change to count its interval has to lie beyond `beyond`."""
    from scipy import stats

    low, high, error = interval
    n, middle = len(change), float(np.median(change))
    if np.all(change == 0):
        return _verdict(pair, "same", 0.0, (0.0, 0.0), 1.0, "the same in every run")
    if n < LEAST_RUNS:
        why = f"{n} run{'s' if n != 1 else ''} of each cannot tell a change from noise"
        return _verdict(pair, "cannot tell", middle, (low, high), 1.0, why, LEAST_RUNS)
    p = float(2 * stats.t.sf(abs(middle) / error, n - 1)) if error > 0 else 0.0
    if abs(middle) > limit and (low > beyond or high < -beyond):
        word: Word = "worse" if (middle > 0) == (unit_of(pair.metric).better == "lower") else "better"
        return _verdict(pair, word, middle, (low, high), p, "beyond the threshold, and beyond the noise")
    if -limit <= low and high <= limit:
        return _verdict(pair, "same", middle, (low, high), p, "within the threshold")
    if abs(middle) <= limit and low * high > 0:
        return _verdict(pair, "same", middle, (low, high), p, "a change, but a smaller one than the threshold")
    if abs(middle) > limit and low * high > 0:
        why = "it could be the machine that changed between A and B; measure them in turns"
        return _verdict(pair, "cannot tell", middle, (low, high), p, why, n)
    # It narrows with the root of the runs; half as wide as the threshold, it fits in wherever its middle is likely to be.
    needed = min(math.ceil(n * ((high - low) / limit) ** 2), MOST_RUNS) if limit else MOST_RUNS
    return _verdict(pair, "cannot tell", middle, (low, high), p, "the interval is wider than the threshold", max(needed, n + 1))


def _verdict(
    pair: Pair, word: Word, middle: float, interval: tuple[float, float], p: float, why: str, needed: int | None = None
) -> Verdict:
    ratio, low, high = (math.exp(min(value, 700.0)) for value in (middle, *interval))
    a, b = float(np.median(pair.a)), float(np.median(pair.b))
    return Verdict(
        pair.scenario, pair.series, pair.metric, pair.role, word, len(pair.a), a, b, ratio, low, high, p, why, needed
    )


def _judge_count(pair: Pair, threshold: float) -> Verdict:
    """Compare two rates of rare events, bursts of which count for less than as many single ones."""
    from scipy import stats

    runs, a, b = len(pair.a), float(pair.a.sum()), float(pair.b.sum())
    odds = pair.exposure[0] / pair.exposure[1]
    ratio = b / a * odds if a else math.inf if b else math.nan

    def made(word: Word, why: str, interval: tuple[float, float], p: float, needed: int | None = None) -> Verdict:
        sums = pair.scenario, pair.series, pair.metric, pair.role, word, runs, a, b
        return Verdict(*sums, ratio, *interval, p, why, needed)

    if not a and not b:
        return made("same", "none on either side", (0.0, math.inf), 1.0)
    if runs < 2:
        return made("cannot tell", f"{a:g} events and {b:g} in one run each may be one burst", (0.0, math.inf), 1.0, LEAST_RUNS)
    burst = _burstiness(pair)
    few_a, few_b = round(a / burst), round(b / burst)
    p, low, high = 1.0, 0.0, math.inf
    if few_a + few_b:
        test = stats.binomtest(few_b, few_a + few_b, pair.exposure[1] / sum(pair.exposure))
        exact = test.proportion_ci(LEVEL, method="exact")
        low, high = (value / (1 - value) * odds if value < 1 else math.inf for value in (exact.low, exact.high))
        # How bursty they are is itself an estimate, from few runs: Student's distribution instead of the normal.
        p = float(2 * stats.t.sf(stats.norm.isf(test.pvalue / 2), 2 * (runs - 1)))
    events = f"{a:g} events and {b:g}{f', in bursts of about {burst:.0f}' if burst >= 1.5 else ''}"
    if p <= 1 - LEVEL and ((low > 1 and ratio > 1 + threshold) or (high < 1 and ratio < 1 / (1 + threshold))):
        return made("worse" if low > 1 else "better", f"{events}: chance does not do that", (low, high), p)
    if 1 / (1 + threshold) <= low and high <= 1 + threshold:
        return made("same", "within the threshold", (low, high), p)
    needed = min(math.ceil(runs * max(2.0, 8 / (few_a + few_b + 1))), MOST_RUNS)
    return made("cannot tell", f"{events}: chance does as much", (low, high), p, needed)


def _burstiness(pair: Pair) -> float:
    """Return the variance of the events in a run over their mean, by Pearson's chi-square; 1 is Poisson's, and the least."""
    sides = [runs for runs in (pair.a, pair.b) if runs.sum()]
    total = sum(float(((runs - runs.mean()) ** 2).sum() / runs.mean()) for runs in sides)
    return max(total / sum(len(runs) - 1 for runs in sides), 1.0)
