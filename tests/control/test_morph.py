"""Morphs: the formula of the way, frames to the step, what a hand on a fader does, and that nothing clicks."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import Param, StageError
from autovoice.rt import Chain, Event
from autovoice.rt.control.morph import OWN, Leg, Way, check_seconds
from autovoice.rt.layout import MOVE
from autovoice.rt.presets import capture, save_preset
from conducted import RATE, SINE, STEP, Stand, conducted
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Crank, wait_until

LINEAR = Param("gain", "dB", -60.0, 24.0, 0.0)
LOG = Param("cutoff", "Hz", 20.0, 20_000.0, 100.0, "log")
SWITCH = Param("on", "", 0, 1, 0, "switch")
CHOICE = Param("mode", "", 0, 2, 0, "choice", choices=("a", "b", "c"))
STEP_FRAMES = 960  # 20 ms at 48 kHz


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def legs() -> list[Leg]:
    rows = [("x/gain", -20.0, 4.0, LINEAR), ("x/cutoff", 100.0, 6400.0, LOG)]
    return [
        Leg(*row) for row in [*rows, ("x/on", 0.0, 1.0, SWITCH), ("x/mode", 2.0, 1.0, CHOICE), ("x/same", 3.0, 3.0, LINEAR)]
    ]


def preset(name: str, *stages: Any, **master: float) -> Chain:
    chain = Chain(list(stages))
    save_preset(capture(chain, {f"master/{key}": value for key, value in master.items()}, name=name))
    return chain


def moves(stand: Stand) -> list[tuple[int, str, float, int]]:
    """Return (frame, path, value, origin) of what the audio thread applied since the last look."""
    rows = {stand.engine.processor.resolve(path)[:2]: path for path in stand.values}
    entries = stand.journal.read()
    entries = entries[entries["kind"] == MOVE]
    return [(int(e["frame"]), rows[int(e["uid"]), int(e["index"])], float(e["value"]), int(e["origin"])) for e in entries]


def even(moved: list[tuple[int, float]], way: Leg, count: int) -> bool:
    """Say whether values are those of a way of `count` steps, in order, and stand on its grid of frames.

    A step is left out, or stands beside its frame, where this machine stopped Python for longer than steps are sent ahead:
    one in five may.
    """
    values = [way.at(k / count) for k in range(1, count + 1)]
    place = [min(range(count), key=lambda k: abs(values[k] - value)) for _, value in moved]
    assert np.allclose([values[k] for k in place], [value for _, value in moved], rtol=1e-12)
    assert place == sorted(set(place))
    assert place[-1] == count - 1
    origins = [frame - k * STEP_FRAMES for k, (frame, _) in zip(place, moved, strict=True)]
    return origins.count(max(origins, key=origins.count)) >= 0.8 * count


def test_a_fader_travels_straight_on_its_own_scale() -> None:
    gain, cutoff, on, mode, _ = legs()
    assert [gain.at(k / 4) for k in range(5)] == [-20.0, -14.0, -8.0, -2.0, 4.0]
    assert np.allclose([cutoff.at(k / 6) for k in range(7)], 100.0 * 2.0 ** np.arange(7))
    assert [on.at(share) for share in (0.0, 0.49, 0.5, 1.0)] == [0, 0, 1, 1]
    assert [mode.at(share) for share in (0.0, 0.49, 0.5, 1.0)] == [2, 2, 1, 1]


@settings(deadline=None)
@given(a=st.floats(20, 20_000), b=st.floats(20, 20_000), share=st.floats(0, 1), log=st.booleans())
def test_no_rounding_leads_out_of_the_way(a: float, b: float, share: float, log: bool) -> None:
    leg = Leg("x/y", a, b, LOG if log else LINEAR)
    assert min(a, b) <= leg.at(share) <= max(a, b)
    assert (leg.at(0.0), leg.at(1.0)) == (a, b)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 30_000), max_size=30), first=st.integers(0, 5000))
def test_a_way_is_the_same_however_often_one_looks(cuts: list[int], first: int) -> None:
    at_once = Way(legs(), first, STEP_FRAMES, 50).due(0, 10**9)
    way = Way(legs(), first, STEP_FRAMES, 50)
    untils = [*itertools.accumulate(cuts), 10**9]
    assert [step for until in untils for step in way.due(0, until)] == at_once
    assert [frame for frame, _ in at_once] == [first + k * STEP_FRAMES for k in range(50)]
    assert at_once[-1][1] == {"x/gain": 4.0, "x/cutoff": 6400.0}
    stepped = [(k, values) for k, (_, values) in enumerate(at_once, 1) if "x/on" in values]
    assert [(k, values["x/on"], values["x/mode"]) for k, values in stepped] == [(25, 1.0, 1.0)]
    assert not any("x/same" in values for _, values in at_once)


def test_of_steps_that_are_late_only_the_last_is_sent_and_the_goal_never_missed() -> None:
    way = Way(legs(), 0, STEP_FRAMES, 50)
    assert [frame for frame, _ in way.due(0, 3 * STEP_FRAMES)] == [0, 960, 1920]
    late = way.due(30 * STEP_FRAMES + 5, 32 * STEP_FRAMES)  # asleep for half a second
    assert [frame // STEP_FRAMES for frame, _ in late] == [30, 31]
    assert late[0][1]["x/on"] == 1.0
    (frame, values), *more = way.due(10**9, 10**9 + 1)
    assert (frame, values["x/gain"], more) == (49 * STEP_FRAMES, 4.0, [])
    assert way.done


def test_between_steps_the_engine_draws_the_line_on() -> None:
    """What is heard of a gain that travels for half a second is one straight line in dB, 20 ms pieces and all."""
    crank = Crank(Chain(["gain"]))
    way = Way([Leg("gain/gain", 0.0, -24.0, LINEAR)], 1000, STEP_FRAMES, 25)
    for frame, values in way.due(0, 10**9):
        crank.processor.send(list(values.items()), frame)
    heard = 20 * np.log10(crank.run(np.ones(30_000, np.float32)).astype(np.float64))
    expected = -24.0 * np.clip((np.arange(30_000) - 1000 + 1) / 24_000, 0, 1)
    assert np.abs(heard - expected).max() < 1e-4


def test_a_morph_applies_the_formula_at_its_frames() -> None:
    preset("far", {"stage": "highpass", "cutoff": 640.0}, {"stage": "gain", "gain": -30.0, "bypass": True}, output=-6.0)
    with conducted([{"stage": "highpass", "cutoff": 20.0}, "gain"]) as stand:
        stand.journal.read()
        assert stand.do("morph", "far", 0.5) == "far"
        assert stand.reaches("master/output", -6.0)
        assert stand.rests()
        applied = moves(stand)
        for path, start, goal, row in [
            ("highpass/cutoff", 20.0, 640.0, LOG),
            ("gain/gain", 0.0, -30.0, LINEAR),
            ("master/output", 0.0, -6.0, LINEAR),
        ]:
            assert even([(frame, value) for frame, one, value, _ in applied if one == path], Leg(path, start, goal, row), 25)
        frames = {frame: {path for at, path, _, _ in applied if at == frame} for frame, *_ in applied}
        assert all({"highpass/cutoff", "gain/gain", "master/output"} <= paths for paths in frames.values())  # one group each
        (bypassed,) = [frame for frame, path, _, _ in applied if path == "gain/bypass"]
        assert sorted(frames).index(bypassed) in range(8, 13)  # half way
        assert {origin for *_, origin in applied} == {OWN}
        assert stand.values["highpass/cutoff"] == 640.0
        assert stand.conductor.preset == "far"
        assert not stand.state["edited"]


def test_where_chains_differ_the_swap_comes_at_once_and_what_both_have_travels_on() -> None:
    new = ["limiter", {"stage": "gain", "gain": -12.0}, {"stage": "eq", "band3_gain": 3.0}]
    preset("other", *new)
    with conducted([{"stage": "gain", "gain": 0.0}, "highpass"]) as stand:
        stand.do("preset/load", "other", 0.4)
        assert [p.key for p in stand.engine.chain.placed] == ["limiter", "gain", "eq"]
        assert stand.values["eq/band3_gain"] == 3.0
        assert stand.reaches("gain/gain", -12.0)
        assert stand.rests()
        gains = [(frame, value) for frame, path, value, _ in moves(stand) if path == "gain/gain"]
        assert gains[0][1] > -6.0
        assert even(gains, Leg("gain/gain", 0.0, -12.0, LINEAR), 20)
        heard = stand.so_far()
        assert np.abs(np.diff(heard)).max() <= 1.02 * STEP
        assert np.abs(heard[-4800:]).max() > 0.05


def test_a_stage_with_other_options_does_not_travel() -> None:
    """Its state cannot be kept, so the new one comes with the preset's own values."""
    preset("wide", {"stage": "limiter", "lookahead": 3.0, "ceiling": -9.0}, {"stage": "gain", "gain": -8.0})
    with conducted(["limiter", "gain"]) as stand:
        stand.journal.read()
        stand.do("morph", "wide", 0.2)
        assert stand.values["limiter/ceiling"] == -9.0
        assert stand.reaches("gain/gain", -8.0)
        travelled = moves(stand)
        assert {path for _, path, _, _ in travelled} == {"gain/gain"}
        assert len(travelled) > 2


def test_a_hand_on_a_fader_takes_it_out_of_the_morph_and_the_rest_goes_on() -> None:
    preset("far", {"stage": "highpass", "cutoff": 640.0}, {"stage": "gain", "gain": -30.0})
    with conducted([{"stage": "highpass", "cutoff": 20.0}, "gain"]) as stand:
        stand.do("morph", "far", 1.0)
        assert wait_until(lambda: stand.values["gain/gain"] < -5.0)
        stand.hand("gain/gain", 3.0)
        assert stand.reaches("highpass/cutoff", 640.0)
        assert stand.rests()
        assert stand.values["gain/gain"] == 3.0
        applied = [move for move in moves(stand) if move[1] == "gain/gain"]
        taken = next(k for k, move in enumerate(applied) if move[3] == 5)
        left = [value for _, _, value, _ in applied[taken:] if value != 3.0]
        assert len(left) <= 30  # of the 40 that were to come: steps that were on their way already
        assert stand.state["undo"] == 2
        stand.do("undo")
        assert stand.reaches("gain/gain", applied[taken - 1][2])
        stand.do("undo")
        assert stand.values["gain/gain"] == 0.0
        assert stand.values["highpass/cutoff"] == 20.0


def test_a_second_morph_begins_where_the_first_has_come_to() -> None:
    preset("down", {"stage": "gain", "gain": -40.0})
    preset("up", {"stage": "gain", "gain": 20.0})
    with conducted(["gain"]) as stand:
        stand.do("morph", "down", 1.0)
        assert wait_until(lambda: stand.values["gain/gain"] < -10.0)
        stand.do("morph", "up", 0.4)
        assert stand.reaches("gain/gain", 20.0)
        values = [value for _, path, value, _ in moves(stand) if path == "gain/gain"]
        turn = values.index(min(values))
        falling = np.array(values[: turn + 1])
        assert np.allclose(falling, 0.8 * np.round(falling / 0.8))
        pace = (20.0 - values[turn]) / 20
        assert np.diff(values).max() <= 4.01 * pace  # no jump where one takes over from the other
        frames = int(stand.engine.processor.telemetry["now_frame"])
        assert wait_until(lambda: stand.engine.processor.telemetry["now_frame"] > frames + 24_000)
        assert stand.values["gain/gain"] == 20.0


@pytest.mark.parametrize("then", ["preset/load", "undo"])
def test_what_comes_at_once_ends_a_morph_and_none_of_its_steps_has_the_last_word(then: str) -> None:
    preset("far", {"stage": "gain", "gain": -40.0}, output=-20.0)
    preset("here", {"stage": "gain", "gain": -1.0}, "highpass", output=-2.0)
    with conducted(["gain"]) as stand:
        stand.do("morph", "far", 2.0)
        assert wait_until(lambda: stand.values["gain/gain"] < -2.0)
        stand.do(then, *(["here"] if then == "preset/load" else []))
        frames = int(stand.engine.processor.telemetry["now_frame"])
        assert wait_until(lambda: stand.engine.processor.telemetry["now_frame"] > frames + RATE // 2)
        expected = (-1.0, -2.0) if then == "preset/load" else (0.0, 0.0)
        assert (stand.values["gain/gain"], stand.values["master/output"]) == expected
        assert stand.state["morph"] is None


def test_a_stage_that_is_taken_out_leaves_a_morph() -> None:
    preset("far", {"stage": "gain", "gain": -20.0}, {"stage": "highpass", "cutoff": 200.0})
    with conducted(["gain", "highpass"]) as stand:
        stand.do("morph", "far", 0.6)
        stand.do("chain/remove", "gain")
        assert stand.reaches("highpass/cutoff", 200.0)
        assert stand.rests()
        assert [p.key for p in stand.engine.chain.placed] == ["highpass"]
        assert not stand.notices


def test_a_pedal_goes_the_way_to_a_preset_and_back_as_one_step() -> None:
    preset("far", {"stage": "gain", "gain": -30.0}, {"stage": "highpass", "cutoff": 320.0})
    with conducted([{"stage": "highpass", "cutoff": 20.0}, {"stage": "gain", "gain": -10.0}]) as stand:
        do = stand.library.handlers()
        with pytest.raises(StageError, match="name a preset first"), stand.conductor.lock:
            do["morph/position"](0.5)
        with stand.conductor.lock:
            assert do["morph/target"]("far") == "far"
        assert [p.key for p in stand.engine.chain.placed] == ["gain", "highpass"]
        assert stand.values["gain/gain"] == -10.0
        for position in (0.25, 1.0, 0.5):
            do["morph/position"](position)
            assert stand.reaches("gain/gain", -10.0 - 20.0 * position)
            assert stand.values["highpass/cutoff"] == pytest.approx(20.0 * 16.0**position)
        assert wait_until(lambda: stand.state["undo"] == 2)
        stand.do("undo")
        assert stand.reaches("highpass/cutoff", 20.0)
        assert stand.values["gain/gain"] == -10.0
        for position in (-0.1, 1.1, float("nan")):
            with pytest.raises(StageError, match=r"the position must be in 0\.\.1"):
                do["morph/position"](position)


def test_many_parameters_leave_room_for_everybody_elses_events() -> None:
    """Of 1024 events that may wait in the engine, a morph of the largest stages twice over takes less than half."""
    way = Way([Leg(f"x/p{k}", 0.0, 1.0, LINEAR) for k in range(150)], 0, STEP_FRAMES, 100)
    sent = way.due(0, way.ahead * STEP_FRAMES)
    assert sum(len(values) for _, values in sent) <= 512
    assert Way(legs()[:1], 0, STEP_FRAMES, 100).ahead * 0.02 > 0.2


def test_a_morph_of_every_kind_of_value_does_not_click() -> None:
    """The steps of a morph through filters and gains make no step in a sine above its own."""
    near = [{"stage": "highpass", "cutoff": 20.0}, {"stage": "eq", "band3_gain": -6.0}, {"stage": "gain", "gain": 0.0}]
    far = [{"stage": "highpass", "cutoff": 120.0}, {"stage": "eq", "band3_gain": 4.0}, {"stage": "gain", "gain": -12.0}]
    chain, goal = Chain(near), Chain(far)
    ways = []
    for a, b in zip(chain.placed, goal.placed, strict=True):
        ways += [Leg(f"{a.key}/{p.name}", a.values[p.name], b.values[p.name], p) for p in a.stage.parameters]
    steps = Way(ways, 24_000, STEP_FRAMES, 30).due(0, 10**9)
    events = [Event(frame, path, value) for frame, values in steps for path, value in values.items()]
    heard = chain.render(np.tile(SINE, 2), sample_rate=RATE, events=events)
    loudest = np.abs(heard[12_000:]).max() / 0.25
    assert np.abs(np.diff(heard[12_000:])).max() <= 1.02 * STEP * loudest


@pytest.mark.parametrize("seconds", [-1, 601, float("nan"), float("inf"), "soon", None, 10**400])
def test_a_time_that_cannot_be_is_refused(seconds: Any) -> None:
    with pytest.raises(StageError, match=r"a morph takes 0\.\.600 s, got"):
        check_seconds(seconds)


def test_a_morph_is_even_although_python_is_late() -> None:
    """A hog that keeps the interpreter busy moves no step from its frame."""
    preset("far", {"stage": "gain", "gain": -25.0})
    with conducted(["gain"]) as stand:
        stand.do("morph", "far", 0.5)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            sum(range(20_000))
        assert stand.reaches("gain/gain", -25.0)
        gains = [(frame, value) for frame, path, value, _ in moves(stand) if path == "gain/gain"]
        assert even(gains, Leg("gain/gain", 0.0, -25.0, LINEAR), 25)
