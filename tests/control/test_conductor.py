"""The Conductor: commands on the chain, refusals of one line, surfaces that die and come back."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, Notice, OscSettings
from autovoice.rt.registry import find
from support import wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    chain = Chain(["highpass", "gate", {"stage": "delay", "name": "echo", "mix": 0.5}, "limiter"])
    with Engine(chain, backend="null", name=f"conducted-{os.getpid()}", latency=2000) as running:
        yield running


def keys(engine: Engine) -> list[str]:
    return [p.key for p in engine.chain.placed]


def test_edits_keep_every_stage_as_it_is_set(engine: Engine) -> None:
    with Conductor(engine) as conductor:
        engine.set("echo/feedback", 0.7)
        engine.bypass("gate")
        assert wait_until(lambda: engine.processor.values["gate/bypass"] == 1.0)
        assert conductor.do("chain/add", "eq", 1) == ["highpass", "eq", "gate", "echo", "limiter"]
        assert conductor.do("chain/move", "limiter", 0)[0] == "limiter"
        assert conductor.do("chain/remove", "highpass") == ["limiter", "eq", "gate", "echo"]
        assert conductor.do("chain/option", "gate", "lookahead", "4") == keys(engine)
        assert engine.chain["gate"].options["lookahead"] == 4.0
        values = engine.processor.values
        assert (values["echo/feedback"], values["echo/mix"], values["gate/bypass"]) == (0.7, 0.5, 1.0)


def test_a_chain_is_named_by_what_plays_by_stage_or_in_json(engine: Engine) -> None:
    with Conductor(engine) as conductor:
        engine.set("echo/feedback", 0.6)
        assert wait_until(lambda: engine.processor.values["echo/feedback"] == 0.6)
        assert conductor.do("chain/swap", "echo, reverb ,limiter") == ["echo", "reverb", "limiter"]
        assert engine.chain["echo"].stage.name == "delay"
        assert engine.processor.values["echo/feedback"] == 0.6
        assert conductor.do("chain/swap", '["gain", {"stage": "delay", "name": "echo", "feedback": 0.2}]') == ["gain", "echo"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("chain/ad", "eq"), "did you mean 'chain/add'"),
        (("chain/add",), "the command is chain/add STAGE [INDEX], got 0 arguments"),
        (("chain/add", "equaliser"), "no stage is called 'equaliser'"),
        (("chain/add", "/tmp/mine.py"), "no stage is called '/tmp/mine.py'"),
        (("chain/swap", '[{"stage": "../../x.py"}]'), "no stage is called '../../x.py'"),
        (("chain/swap", "["), "names separated by commas or a JSON list"),
        (("chain/swap", "[3]"), "a stage is a name or an object"),
        (("chain/swap", " , "), "at least one stage"),
        (("chain/remove", "gat"), "did you mean 'gate'"),
        (("chain/move", "gate", 9), "the position must be in 0..3, got 9"),
        (("chain/option", "gate", "look", "1"), "did you mean 'lookahead'"),
        (("chain/option", "gate", "lookahead", "99"), "must be in 0..5 ms, got 99"),
        (("chain/add", "stretch"), "needs"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_the_way_out(
    engine: Engine, command: tuple[object, ...], says: str
) -> None:
    with Conductor(engine) as conductor:
        before = keys(engine)
        if command == ("chain/add", "stretch"):
            command = ("chain/swap", '[{"stage": "shift", "range": "low"}, "tune", "harmony", "denoise", "stretch"]')
        with pytest.raises(StageError) as refused:
            conductor.do(*command)  # type: ignore[arg-type]
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)
        assert keys(engine) == before


def test_panic_silences_and_forgets_the_tails() -> None:
    sound = np.zeros(96_000, np.float32)
    sound[:4800] = 0.5 * np.sin(np.arange(4800) * 0.05)
    sink = np.zeros((1, 96_000), np.float32)
    chain = Chain([{"stage": "delay", "time": 100.0, "feedback": 0.9, "mix": 0.5}])
    options = {"source": sound, "loop": False, "sink": sink}
    with Engine(chain, backend="null", options=options) as engine, Conductor(engine) as conductor:
        assert wait_until(lambda: engine.stats().frames > 14_400)
        conductor.do("panic")
        begun = engine.stats().frames
        conductor.do("mute", False)
        assert wait_until(lambda: engine.stats().frames > begun + 30_000)
    assert np.abs(sink[0, 9_600:14_000]).max() > 0.1
    assert not sink[0, begun + 20_000 : begun + 28_000].any()


def test_tapping_sets_the_tempo(engine: Engine) -> None:
    with Conductor(engine) as conductor:
        times = []
        for _ in range(4):
            before = time.monotonic()
            bpm = conductor.do("tap")
            assert (bpm is None) == (not times)
            times.append((before, time.monotonic()))
            time.sleep(0.25)
        longest = max(then[1] - now[0] for now, then in itertools.pairwise(times))  # between two taps, as seen from here
        shortest = min(then[0] - now[1] for now, then in itertools.pairwise(times))
        assert 60 / longest - 1 <= bpm <= 60 / shortest + 1
        assert wait_until(lambda: engine.processor.values["echo/bpm"] == pytest.approx(bpm))


def test_mute_and_bypass_toggle_without_an_argument(engine: Engine) -> None:
    with Conductor(engine) as conductor:
        for name in ("mute", "bypass"):
            assert conductor.do(name) == 1.0
            assert wait_until(lambda: engine.processor.values[f"master/{name}"] == 1.0)  # noqa: B023
            assert conductor.do(name) == 0.0


def test_a_surface_that_dies_comes_back_and_its_port_is_found(engine: Engine) -> None:
    told: list[Notice] = []
    with Conductor(engine, osc=OscSettings(port=0), told=told.append) as conductor:
        assert wait_until(lambda: conductor.osc is not None)
        assert conductor.osc is not None
        port = conductor.osc["port"]
        assert wait_until(lambda: find(f"conducted-{os.getpid()}").osc == port)
        host = conductor._hosts[0]

        def die() -> int:
            first, misses = host.pid, engine.stats().misses
            assert first is not None
            conductor.osc = None
            os.kill(first, signal.SIGKILL)
            assert wait_until(lambda: host.pid not in (None, first) and conductor.osc is not None)
            return engine.stats().misses - misses

        assert any(die() == 0 for _ in range(5))  # in one of them no host stands still in the middle of a block
        assert any("starts again" in notice.text for notice in told)
    assert wait_until(lambda: host.pid is None)


def test_a_port_in_use_is_said_and_the_show_goes_on(engine: Engine) -> None:
    told: list[Notice] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with Conductor(engine, osc=OscSettings(port=port), told=told.append) as conductor:
            assert wait_until(lambda: any(str(port) in notice.text and "taken" in notice.text for notice in told))
            assert wait_until(lambda: conductor._hosts[0].pid is None)
            frames = engine.stats().frames
            assert wait_until(lambda: engine.stats().frames > frames)
            assert conductor.do("mute") == 1.0
    assert not any("starts again" in notice.text for notice in told)
