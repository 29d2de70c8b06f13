"""The declared latency of every stage and preset beside the measured one, live through JACK; and how far the meter is true."""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine
from autovoice.rt.presets import load_preset, preset_names
from autovoice.tools.lab.latency.methods import BLOCKS, PITCH_MOVES, SINGLE_DELAY, at_identity
from autovoice.tools.lab.latency.prober import JackProber
from autovoice.tools.lab.latency.roundtrip import look
from autovoice.tools.lab.latency.signals import Probe, mls, probe
from autovoice.tools.lab.results import Bar, Result, Run, Series
from autovoice.tools.private_jack import PrivateJack

RATE, BLOCK = 48_000, 64  # Hz, frames
DEMO = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]
pytestmark = pytest.mark.long
REACH = 2_400  # frames: more than any chain declares
REPEATS = 2
RUNS = 100  # of the repeatability bar
SLOTS, SLOT_S, SETTLE_S = 12, 1.5, 0.3  # of the harness, alone and beside its peer
ROLES: dict[str, Any] = {"alone": "baseline", "probed": "subject", "jack_iodelay": "peer"}
WHITE = Probe("mls", (0.1 * mls(12)).astype(np.float32), (1_000.0, 18_000.0), float(RATE))
ENVELOPE_MS = 1.0
ENVELOPE_REMARKS = {
    "robot": "a vocoder's bands ring and its followers hold: its envelope is late by design, its dry path is not",
    "choir": "the other singers come in up to 14 ms late, by design",
}


@pytest.fixture
def server() -> Iterator[str]:
    if not PrivateJack.available():
        pytest.skip("jackd is Debian's package jackd2")
    with PrivateJack(f"autovoice-truth-{os.getpid()}", sample_rate=RATE, block=BLOCK) as private:
        yield private.name


@pytest.fixture
def prober(server: str) -> Iterator[JackProber]:
    with JackProber(server) as one:
        yield one


@contextlib.contextmanager
def playing(prober: JackProber, specs: list[Any], name: str) -> Iterator[Engine]:
    """A chain live, with the prober in its loop."""
    with Engine(Chain(specs), backend="jack", server=prober.server, name=name, auto_connect=False) as engine:
        prober.wire(f"{name}:in_1", f"{name}:out_1")
        yield engine


def patient(measure: Callable[[], Any]) -> Any:
    """Measure until the machine lets a whole repetition through."""
    for _ in range(20):
        with contextlib.suppress(Exception):
            return measure()
        time.sleep(1.0)
    return measure()


def coloured(stages: Any) -> list[Any]:
    """A preset as shipped in what moves pitch or spreads time, and at identity in what only moves the level."""
    many = {*SINGLE_DELAY, *PITCH_MOVES}
    return [dict(one) if one["stage"] in many else at_identity([one])[0] for one in stages]


SUBJECTS = {
    "stages": lambda: {name: at_identity([name]) for name in stage_names()},
    "presets": lambda: {name: at_identity(load_preset(name).stages) for name in preset_names()},
}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_latency_truth(kind: str, prober: JackProber, report: Any) -> None:
    """Declared and measured look-ahead at six blocks, everything set to change nothing but the time."""
    series: list[Series] = []
    bars: list[Bar] = []
    for name, specs in SUBJECTS[kind]().items():
        declared = Chain(specs).latency(RATE)
        with playing(prober, specs, f"truth_{name}") as engine:
            for block in BLOCKS:
                prober.set_block(block)
                while engine.block != block:
                    time.sleep(0.01)
                found = patient(lambda: look(prober, WHITE, "phase", REACH + prober.block, REPEATS))
                ahead = [delay.frames - block for delay in found]
                told = {"lookahead_declared_frames": float(declared)}
                runs = [Run({**told, "lookahead_measured_frames": frames}) for frames in ahead]
                series.append(Series(name, "subject", runs, {"block": block}))
                bars.append(Bar(f"{name}, {block} frames", max(abs(a - declared) for a in ahead), 0.5, "frames"))
        prober.set_block(BLOCK)
    settings = {"sample_rate": RATE, "probe": "MLS of order 12, by phase"}
    title = f"Declared and measured look-ahead of the {kind}, live through JACK"
    report(Result("latency_truth", title, settings, series, bars))
    assert all(bar.met for bar in bars)


def test_latency_truth_of_envelopes(prober: JackProber, report: Any) -> None:
    """Presets with what moves pitch or spreads time as shipped, and with the level left alone: the delay of their envelope."""
    sound = probe("bursts", RATE)
    series: list[Series] = []
    bars: list[Bar] = []
    for name in preset_names():
        specs = coloured(load_preset(name).stages)
        declared = Chain(specs).latency(RATE)
        with playing(prober, specs, f"coloured_{name}"):
            found = patient(lambda: look(prober, sound, "envelope", REACH, 2))
        off_ms = [(delay.frames - BLOCK - declared) / RATE * 1e3 for delay in found]
        runs = [Run({"envelope_off_ms": ms, "likeness_share": d.likeness}) for ms, d in zip(off_ms, found, strict=True)]
        series.append(Series(name, "subject", runs, {"block": BLOCK}))
        remark = ENVELOPE_REMARKS.get(name, "")
        bars.append(Bar(name, abs(off_ms[-1]), ENVELOPE_MS, "ms", held=not remark, remark=remark))
    report(Result("latency_envelopes", "Envelope delay of the presets, live through JACK", {"sample_rate": RATE}, series, bars))
    assert not [bar for bar in bars if bar.held and not bar.met]


def test_latency_repeatability(prober: JackProber, report: Any) -> None:
    """How far one hundred separate runs lie apart."""
    with playing(prober, DEMO, "again"):
        frames = np.array([patient(lambda: look(prober, WHITE, "phase", REACH, 1))[0].frames for _ in range(RUNS)])
    series = [Series("demo chain", "subject", [Run({"total_frames": float(value)}) for value in frames], {"block": BLOCK})]
    bars = [Bar("furthest from the median", float(np.abs(frames - np.median(frames)).max()), 0.1, "frames")]
    report(Result("latency_repeatability", f"{RUNS} separate runs", {"sample_rate": RATE}, series, bars))
    assert all(bar.met for bar in bars)


def test_latency_harness_adds_no_xruns(server: str, report: Any) -> None:
    """The client alone, with the prober in its loop, and with jack_iodelay there, in turns: a busy host drops out in each."""
    sound = probe("chirp", RATE)
    period = len(sound.sound) + REACH
    spent_us: list[np.ndarray] = []
    runs: dict[str, list[Run]] = {"alone": [], "probed": [], "jack_iodelay": []}

    def probed(prober: JackProber) -> None:
        take = prober.take(sound, period=period, repeats=round(SLOT_S * RATE / period), lead=REACH)
        spent_us.append(take.spent_us)

    with Engine(Chain(DEMO), backend="jack", server=server, name="watched", auto_connect=False) as engine:

        def count(name: str, during: Callable[[], Any]) -> None:
            before = engine.stats()
            during()
            after = engine.stats()
            counted = {"xruns_count": float(after.xruns - before.xruns), "misses_count": float(after.misses - before.misses)}
            runs[name].append(Run({**counted, "cycles_number": float(after.cycles - before.cycles)}))

        for k in range(SLOTS):
            for name in sorted(runs, reverse=k % 2 == 1):  # there and back: a host that grows busier weighs on all
                with contextlib.ExitStack() as stack:
                    if name == "probed":
                        prober = stack.enter_context(JackProber(server))
                        prober.wire("watched:in_1", "watched:out_1")
                    elif name == "jack_iodelay":
                        stack.enter_context(metered(server, "watched"))
                    time.sleep(SETTLE_S)
                    count(name, (lambda: probed(prober)) if name == "probed" else (lambda: time.sleep(SLOT_S)))  # noqa: B023
    with_it, without = ([run.metrics["xruns_count"] > 0 for run in runs[name]] for name in ("probed", "alone"))
    missed = sum(run.metrics["misses_count"] for run in runs["probed"])
    bars = [
        Bar("chance that drop-outs are no likelier with the prober", innocence(with_it, without), 0.01, "", "at least"),
        Bar("deadline misses of the client with the prober", missed, 0, ""),
    ]
    own = np.percentile(np.concatenate(spent_us), (50, 99, 99.9, 100))
    figures = {f"spent_{name}_us": float(us) for name, us in zip(("p50", "p99", "p999", "max"), own, strict=True)}
    bars.append(Bar("what the prober takes of a period of 1333 us, p99.9", figures["spent_p999_us"], 66.7, "us"))
    series = [Series(name, ROLES[name], found) for name, found in runs.items()]
    series.append(Series("the prober's callback", "baseline", [Run(figures)]))
    report(Result("latency_harness", "What the prober does to the client", {"block": BLOCK}, series, bars))
    assert all(bar.met for bar in bars)


def innocence(with_it: list[bool], without: list[bool]) -> float:
    """Fisher's exact test, one-sided (1922): how often chance alone spreads the bad slots at least as unevenly."""
    bad, count, whole = sum(with_it) + sum(without), len(with_it), len(with_it) + len(without)
    ways = [math.comb(bad, k) * math.comb(whole - bad, count - k) for k in range(sum(with_it), min(bad, count) + 1)]
    return sum(ways) / math.comb(whole, count)


def test_latency_vs_jack_iodelay(prober: JackProber, report: Any) -> None:
    """The same client, measured by autovoice latency and by JACK's own meter."""
    series, bars = [], []
    with playing(prober, ["limiter"], "judged") as engine:
        for block in BLOCKS:
            prober.set_block(block)
            while engine.block != block:
                time.sleep(0.01)
            ours = patient(lambda: look(prober, probe("chirp", RATE), "phase", REACH + prober.block, 2))[-1].frames
            theirs = iodelay(str(prober.server), "judged")
            at: dict[str, float | str] = {"block": block}
            series.append(Series("autovoice latency", "subject", [Run({"total_frames": ours})], at))
            series.append(Series("jack_iodelay", "peer", [Run({"total_frames": theirs})], at))
            bars.append(Bar(f"{block} frames: difference", abs(ours - theirs), 0.5, "frames"))
    report(Result("latency_vs_jack_iodelay", "Beside jack_iodelay, through the limiter", {}, series, bars))
    assert all(bar.met for bar in bars)


@contextlib.contextmanager
def metered(server: str, client: str) -> Iterator[Iterator[str]]:
    """JACK's own meter in a client's loop; yields its lines."""
    environment = {**os.environ, "JACK_DEFAULT_SERVER": server, "JACK_NO_START_SERVER": "1"}
    with subprocess.Popen(["stdbuf", "-oL", "jack_iodelay"], env=environment, stdout=subprocess.PIPE, text=True) as meter:
        time.sleep(SETTLE_S)
        for left, right in ((f"{client}:out_1", "jack_delay:in"), ("jack_delay:out", f"{client}:in_1")):
            subprocess.run(["jack_connect", left, right], env=environment, capture_output=True, check=True)
        try:
            yield iter(meter.stdout or ())
        finally:
            meter.kill()


def iodelay(server: str, client: str) -> float:
    """What JACK's own meter says, once two readings agree."""
    before = -1.0
    with metered(server, client) as lines:
        for line in lines:
            found = re.match(r"\s*([\d.]+) frames", line)
            if found and abs(float(found[1]) - before) < 0.01:
                return before
            before = float(found[1]) if found else before
    raise AssertionError("jack_iodelay ended")
