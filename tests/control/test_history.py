"""Undo and redo: what counts as one step, and what a step brings back."""

from __future__ import annotations

from dataclasses import dataclass, field

from autovoice.rt import Chain
from autovoice.rt.control.history import LIMIT, History, Moment
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

S = 1_000_000_000  # ns


def group(frame: int = 0, producer: int = 1, origin: int = 7) -> tuple[int, ...]:
    return frame, producer, origin


def moment(*stages: str, **values: float) -> Moment:
    return Moment(Chain(list(stages)), {path.replace("_", "/"): value for path, value in values.items()})


def test_a_gesture_is_one_step_back_to_where_it_began() -> None:
    history = History()
    for k in range(100):
        history.move("gain/gain", float(-k), float(-k - 1), k * S // 20, group(frame=k))
    assert len(history.past) == 1
    assert history.undo() == {"gain/gain": 0.0}
    assert history.redo() == {"gain/gain": -100.0}


def test_a_pause_of_more_than_a_second_ends_a_gesture() -> None:
    history = History()
    history.move("gain/gain", 0.0, 1.0, 0, group(1))
    history.move("gain/gain", 1.0, 2.0, S, group(2))
    history.move("gain/gain", 2.0, 3.0, 2 * S + 1, group(3))
    assert [history.undo(), history.undo(), history.undo()] == [{"gain/gain": 2.0}, {"gain/gain": 0.0}, None]


def test_two_hands_on_two_faders_are_two_steps() -> None:
    history = History()
    for k in range(10):
        history.move("a/x", float(k), k + 1.0, k * S // 10, group(2 * k))
        history.move("b/x", float(-k), -k - 1.0, k * S // 10, group(2 * k + 1))
    assert [history.undo(), history.undo(), history.undo()] == [{"b/x": 0.0}, {"a/x": 0.0}, None]


def test_a_hand_that_goes_on_while_another_came_and_went_makes_no_second_step() -> None:
    history = History()
    history.move("a/x", 0.0, 1.0, 0, group(1))
    history.move("b/x", 0.0, 1.0, 0, group(2))
    for k in range(1, 9):
        history.move("a/x", float(k), k + 1.0, k * S // 2, group(2 + k))
    assert len(history.past) == 2


def test_what_arrives_at_one_frame_from_one_sender_is_one_step() -> None:
    history = History()
    for path in ("a/x", "b/x", "c/x"):
        history.move(path, 0.0, 1.0, S, group(100))
    history.move("d/x", 0.0, 1.0, S, group(100, origin=8))
    assert history.undo() == {"d/x": 0.0}
    assert history.undo() == {"a/x": 0.0, "b/x": 0.0, "c/x": 0.0}


def test_a_change_of_the_chain_is_a_step_of_its_own_and_ends_every_gesture() -> None:
    history = History()
    before, after = moment("gain", gain_gain=1.0), moment("gain", "eq", gain_gain=1.0)
    history.move("gain/gain", 0.0, 1.0, 0, group(1))
    history.change(before, after)
    history.move("gain/gain", 1.0, 2.0, S // 10, group(2))
    assert history.undo() == {"gain/gain": 1.0}
    assert history.undo() is before
    assert history.undo() == {"gain/gain": 0.0}
    assert [history.redo(), history.redo(), history.redo(), history.redo()] == [
        {"gain/gain": 1.0},
        after,
        {"gain/gain": 2.0},
        None,
    ]


def test_a_swap_to_what_plays_already_is_no_step() -> None:
    history = History()
    history.change(moment("gain", gain_gain=1.0), moment("gain", gain_gain=1.0))
    assert not history.past
    history.change(moment("gain", gain_gain=1.0), moment("gain", gain_gain=2.0))
    history.change(moment("gate"), Moment(Chain([{"stage": "gate", "lookahead": 3.0}]), {}))
    assert len(history.past) == 2


def test_a_new_move_clears_what_could_be_made_again() -> None:
    history = History()
    history.move("a/x", 0.0, 1.0, 0, group(1))
    history.undo()
    history.move("b/x", 0.0, 1.0, 0, group(2))
    assert history.redo() is None


def test_the_oldest_steps_are_forgotten() -> None:
    history = History()
    for k in range(LIMIT + 50):
        history.move("a/x", float(k), k + 1.0, 2 * k * S, group(k))
    assert len(history.past) == LIMIT == 200
    values = [history.undo() for _ in range(LIMIT)]
    assert values[-1] == {"a/x": 50.0}
    assert history.undo() is None
    assert len(history.future) == LIMIT


@dataclass
class Desk:
    """Faders that do what the history says, and a list of all that they stood at."""

    values: dict[str, float] = field(default_factory=lambda: dict.fromkeys("abc", 0.0))


class Undoing(RuleBasedStateMachine):
    """However moves, undo and redo follow each other: undoing all leads to the beginning, redoing all to where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.desk, self.history, self.now = Desk(), History(), 0

    @rule(path=st.sampled_from("abc"), value=st.floats(-1, 1), wait=st.sampled_from([1, S // 2, 3 * S]))
    def move(self, path: str, value: float, wait: int) -> None:
        self.now += wait
        self.history.move(path, self.desk.values[path], value, self.now, group(self.now))
        self.desk.values[path] = value

    @rule()
    def undo(self) -> None:
        self.desk.values |= self.history.undo() or {}

    @rule()
    def redo(self) -> None:
        self.desk.values |= self.history.redo() or {}

    @invariant()
    def all_the_way_back_and_forth(self) -> None:
        start, steps = dict(self.desk.values), 0
        while (values := self.history.undo()) is not None:
            self.desk.values |= values
            steps += 1
        assert self.desk.values == dict.fromkeys("abc", 0.0)
        for _ in range(steps):
            self.desk.values |= self.history.redo() or {}
        assert self.desk.values == start


TestUndoing = Undoing.TestCase
TestUndoing.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
