"""Undo and redo: what was changed by hand, step by step, and what it was before.

A gesture on a fader is one step: moves of one path at most a second apart; so is a group that arrived at one frame. A change of
the chain, such as a stage added or a preset loaded, is a step with all that played before it. Knows nothing of the engine: who
owns the history carries out what it says.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from autovoice.rt.chain import Chain, Placed, is_lane

LIMIT = 200  # steps
GESTURE_NS = 1_000_000_000  # moves of one path that are no further apart are one gesture
AT_ONCE = 16  # gestures that may go on side by side


@dataclass(frozen=True, slots=True)
class Moment:
    """All that plays at one time; equal where it would sound the same."""

    chain: Chain = field(compare=False)
    values: dict[str, float]  # by path, all of the chain's and those of `master/` that belong to it
    preset: str | None = field(default=None, compare=False)
    scene: str | None = field(default=None, compare=False)
    layout: tuple[tuple[str, str, tuple[tuple[str, object], ...]], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note the chain's layout, by which chains are compared."""
        object.__setattr__(self, "layout", layout_of(self.chain))


def layout_of(chain: Chain) -> tuple[tuple[str, str, tuple[tuple[str, object], ...]], ...]:
    """Return what makes two chains the same but for their values: names, code and options of the stages, in order."""
    return tuple((p.key, _code(p), tuple(sorted(p.options.items()))) for p in chain.placed)


def _code(placed: Placed) -> str:
    return placed.stage.name if is_lane(placed) else str(placed.stage.module.__file__)


@dataclass(slots=True)
class Moves:
    """A step that moved values."""

    before: dict[str, float]
    after: dict[str, float]
    at_ns: dict[str, int]  # of each path's last move
    group: tuple[int, ...]  # what moves of one group share


@dataclass(frozen=True, slots=True)
class Change:
    """A step that changed what plays as a whole."""

    before: Moment
    after: Moment


Step = Moves | Change


class History:
    """Steps done and undone, at most LIMIT. One thread at a time."""

    def __init__(self) -> None:
        """Nothing was done."""
        self.past: deque[Step] = deque(maxlen=LIMIT)
        self.future: list[Step] = []

    def move(self, path: str, before: float, after: float, at_ns: int, group: tuple[int, ...]) -> None:
        """Record that somebody moved a value at a CLOCK_MONOTONIC time; `group` is equal within a group and nowhere else."""
        self.future.clear()
        step = self._gesture(path, at_ns) or self._group(group)
        if step is None:
            step = Moves({}, {}, {}, group)
            self.past.append(step)
        step.before.setdefault(path, before)
        step.after[path] = after
        step.at_ns[path] = at_ns

    def _gesture(self, path: str, at_ns: int) -> Moves | None:
        """Return the step of a gesture on this path that goes on, though others began since; a change of the chain ends it."""
        for step in itertools.islice(reversed(self.past), AT_ONCE):
            if isinstance(step, Change):
                break
            if path in step.at_ns and at_ns - step.at_ns[path] <= GESTURE_NS:
                return step
        return None

    def _group(self, group: tuple[int, ...]) -> Moves | None:
        step = self.past[-1] if self.past else None
        return step if isinstance(step, Moves) and step.group == group else None

    def change(self, before: Moment, after: Moment) -> None:
        """Record that something else plays now; nothing where that sounds the same."""
        if before != after:
            self.future.clear()
            self.past.append(Change(before, after))

    def undo(self) -> Mapping[str, float] | Moment | None:
        """Return what to go back to, values by path or all that played; None where nothing is left to undo."""
        if not self.past:
            return None
        step = self.past.pop()
        self.future.append(step)
        return step.before

    def redo(self) -> Mapping[str, float] | Moment | None:
        """Return what to go forward to again; None where nothing was undone since the last change."""
        if not self.future:
            return None
        step = self.future.pop()
        self.past.append(step)
        return step.after
