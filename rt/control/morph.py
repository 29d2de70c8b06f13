"""Morphing: parameters travel from where they are to where a preset has them, each on its own fader's scale.

A way is cut into steps of 20 ms, as long as the engine's own glide, so the straight lines that the engine draws from step to
step join into one. Steps are sent ahead of time with their frames: the way is even although Python is late now and then.
A parameter that somebody else moves leaves the morph; the rest goes on.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autovoice.dsp.stage import Param, StageError
from autovoice.rt.casting import is_slot
from autovoice.rt.layout import IMMEDIATELY, MAX_PENDING

if TYPE_CHECKING:
    from autovoice.rt.engine import Engine
    from autovoice.rt.processor import Processor

STEP_S = 0.02
AHEAD_S = 0.2  # how long before their frame steps are sent
WAITING = 256  # events of ours that may wait for their frames; the engine holds 1024 for everybody
GROUP = MAX_PENDING // 2  # values that the engine takes at once
START_STEPS = 2  # from the command to the first step, so that it too is sent before its frame
LEAST_AHEAD = 3  # steps, however many parameters travel
LOOK_S = 0.03  # between two looks at what is due
LONGEST_S = 600.0
OWN = -1
"""The origin of moves that the library makes: no gesture of anybody's, so neither undo nor a morph takes them for one."""


def check_seconds(seconds: object) -> float:
    """Return how long a morph takes; raises StageError."""
    try:
        value = float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value <= LONGEST_S:
        raise StageError(f"a morph takes 0..{LONGEST_S:g} s, got {seconds!r}")
    return value


@dataclass(frozen=True, slots=True)
class Leg:
    """One parameter's way."""

    path: str
    start: float
    goal: float
    parameter: Param

    @property
    def steps(self) -> bool:
        """Whether it changes at once, half way, because nothing lies between its values."""
        return self.parameter.scale in ("switch", "choice") or is_slot(self.parameter)

    def at(self, share: float) -> float:
        """Return its value at a share of the way: start + share (goal - start); start (goal / start)^share on a log scale."""
        if share >= 1:
            return self.goal
        if self.steps:
            return self.goal if share >= 0.5 else self.start
        if self.parameter.scale == "log":
            value = self.start * math.pow(self.goal / self.start, share)
        else:
            value = self.start + share * (self.goal - self.start)
        return min(max(value, min(self.start, self.goal)), max(self.start, self.goal))  # rounding stays between the ends


@dataclass(frozen=True, slots=True)
class Waiting:
    """Steps that were sent ahead of their frames."""

    frame: int | None = None  # of the last of them; None = there are none
    values: dict[str, float] = field(default_factory=dict)  # where they lead, by path


class Way:
    """A morph's steps: the k-th of n is sent at frame first + (k - 1) step and holds what is reached one step later."""

    def __init__(self, legs: Iterable[Leg], first: int, step: int, count: int) -> None:
        """Plan `count` steps of `step` frames from frame `first` on."""
        self.legs = {leg.path: leg for leg in legs if leg.start != leg.goal}
        self.first, self.step, self.count = first, step, max(count, 1)
        self.sent = 0  # steps so far
        self._stepped: set[str] = set()
        self._last: dict[str, tuple[int, float]] = {}  # frame and value of what was sent last, by path

    @property
    def done(self) -> bool:
        """Whether everything was sent."""
        return self.sent >= self.count or not self.legs

    @property
    def share(self) -> float:
        """How much of it was sent, 0..1."""
        return 1.0 if self.done else self.sent / self.count

    @property
    def ahead(self) -> int:
        """How many steps may be sent before their time."""
        return max(LEAST_AHEAD, WAITING // max(len(self.legs), 1))

    def due(self, now: int, until: int) -> list[tuple[int, dict[str, float]]]:
        """Return the steps that fall before frame `until`, as (frame, values); of those before `now` only the last."""
        if until <= self.first or self.done:
            return []
        last = min(self.count, (until - self.first - 1) // self.step + 1)
        begin = min(max(self.sent + 1, (now - self.first) // self.step + 1), self.count)
        steps = []
        for k in range(begin, last + 1):
            frame = self.first + (k - 1) * self.step
            values = self._values(k / self.count)
            self._last |= {path: (frame, value) for path, value in values.items()}
            self.sent = k
            if values:
                steps.append((frame, values))
        return steps

    def _values(self, share: float) -> dict[str, float]:
        values = {}
        for path, leg in self.legs.items():
            if not leg.steps:
                values[path] = leg.at(share)
            elif share >= 0.5 and path not in self._stepped:
                values[path] = leg.goal
                self._stepped.add(path)
        return values

    def leave(self, path: str) -> None:
        """Let a parameter go."""
        self.legs.pop(path, None)

    def waiting(self, now: int) -> Waiting:
        """Return what the engine has yet to take, or may have: it can be a few blocks behind `now`, which is reckoned."""
        late = {path: value for path, (frame, value) in self._last.items() if frame >= now - self.step}
        return Waiting(max(now, *(self._last[path][0] for path in late)) if late else None, late)


class Morpher:
    """Sends a morph's steps to an engine, from a thread of its own; the methods may be called from any other thread."""

    def __init__(self, engine: Engine) -> None:
        """Nothing moves yet."""
        self._engine = engine
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._way: Way | None = None
        self._processor: Processor | None = None
        self._thread: threading.Thread | None = None
        self.name = ""  # of what the morph goes to

    @property
    def share(self) -> float | None:
        """How much of the morph was sent, 0..1; None where there is none."""
        with self._lock:
            return None if self._way is None else self._way.share

    def start(self, legs: Iterable[Leg], seconds: float, name: str, after: int | None = None) -> None:
        """Begin a morph at once, or a step after the frame of the last step of one that was cancelled."""
        rate = self._engine.sample_rate
        step = max(1, round(STEP_S * rate))
        with self._lock:
            begin = self._now() + START_STEPS * step if after is None else after + step
            self._way = Way(legs, begin, step, round(seconds * rate / step))
            self._processor, self.name = self._engine.processor, name
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="autovoice-morph", daemon=True)
                self._thread.start()
        self._wake.set()

    def cancel(self) -> Waiting:
        """End the morph where it is; returns the steps that the engine has yet to take."""
        with self._lock:
            way, self._way = self._way, None
            return way.waiting(self._now()) if way is not None else Waiting()

    def moved(self, path: str, value: float) -> None:
        """Let a parameter that somebody else moved leave the morph; after steps already sent it goes back to `value`."""
        if self._way is None:  # without the lock, since thousands may come a second
            return
        with self._lock:
            if self._way is None:
                return
            self._way.leave(path)
            waiting = self._way.waiting(self._now())
        if path in waiting.values and waiting.frame is not None:
            self.send({path: value}, waiting.frame)

    def send(self, values: Mapping[str, float], frame: int = IMMEDIATELY) -> None:
        """Send one group at a frame; parameters that the chain does not have are left out."""
        rest = list(values.items())
        while rest:
            self._send_some(dict(rest[:GROUP]), frame)
            rest = rest[GROUP:]

    def _send_some(self, values: dict[str, float], frame: int) -> None:
        processor = self._engine.processor
        while values:
            try:
                processor.send(list(values.items()), frame, OWN)
                return
            except StageError:
                known = {path: value for path, value in values.items() if _exists(processor, path)}
                if len(known) == len(values):
                    raise
                values = known

    def close(self) -> None:
        """End the morph and the thread."""
        self.cancel()
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _now(self) -> int:
        return self._engine.frame_at(time.monotonic_ns())

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(LOOK_S if self._way is not None else None)
            self._wake.clear()
            if self._engine.alive:
                with contextlib.suppress(StageError):  # a driver that died between; the next look sees it
                    self._go_on()

    def _go_on(self) -> None:
        """Send what is due. A group is sent under the lock, so that nothing follows a `cancel`."""
        with self._lock:
            way = self._way
            if way is None:
                return
            now = self._now()
            if self._processor is not self._engine.processor:  # another driver, other frames: go there at once
                steps = [(now, {path: leg.goal for path, leg in way.legs.items()})]
                self._way = None
            else:
                ahead = min(round(AHEAD_S * self._engine.sample_rate), way.ahead * way.step)
                steps = way.due(now, now + ahead)
            for frame, values in steps:
                self.send(values, frame)
            if way.done and not way.waiting(now).values:
                self._way = None


def _exists(processor: Processor, path: str) -> bool:
    with contextlib.suppress(StageError):
        processor.resolve(path)
        return True
    return False
