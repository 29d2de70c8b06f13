"""An engine that plays a sine into nothing, with a Conductor beside it: for the tests of presets, scenes, morphs and undo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, Notice
from autovoice.rt.control.library import Library
from autovoice.rt.journal import Journal
from autovoice.rt.layout import EVENT, IMMEDIATELY, OSC_PRODUCER
from support import played, wait_until

RATE = 48_000  # Hz
SINE = (0.25 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)).astype(np.float32)
STEP = float(np.abs(np.diff(SINE)).max())  # the largest step of the sine itself


@dataclass
class Stand:
    """What a test stands before."""

    engine: Engine
    conductor: Conductor
    journal: Journal
    heard: np.ndarray[Any, Any]
    notices: list[Notice] = field(default_factory=list)

    @property
    def library(self) -> Library:
        """The family of commands that is tested."""
        return next(one for one in self.conductor._families if isinstance(one, Library))

    @property
    def values(self) -> dict[str, float]:
        """Every value as applied."""
        return self.engine.processor.values

    @property
    def state(self) -> dict[str, Any]:
        """What surfaces are told."""
        with self.conductor.lock:
            return self.library.state()

    def do(self, name: str, *arguments: Any) -> Any:
        """Do a command."""
        return self.conductor.do(name, *arguments)

    def hand(self, path: str, value: float, frame: int = IMMEDIATELY) -> None:
        """Move a fader as the OSC server does: straight into its ring."""
        uid, index, _ = self.engine.processor.resolve(path)
        event = np.array([(frame, uid, index, value, 0, OSC_PRODUCER, 5)], EVENT)
        assert self.engine.processor.rings[OSC_PRODUCER].push(event)

    def reaches(self, path: str, value: float) -> bool:
        """Wait until a value is what it should be."""
        return wait_until(lambda: self.values.get(path) == value)

    def rests(self) -> bool:
        """Wait until no morph is under way, no swap, and the library has seen all that was done."""
        swaps = self.engine.processor.generation - 1

        def idle() -> bool:
            return self.state["morph"] is None and self.engine.stats().swaps >= swaps

        with self.conductor.lock:
            self.library.tick(0.0)
        return wait_until(idle)

    def plays(self, frames: int) -> bool:
        """Wait until that many frames more were played."""
        return played(self.engine, frames)

    def so_far(self) -> np.ndarray[Any, Any]:
        """Return what was heard of the sine once it had settled."""
        frames = int(self.engine.processor.telemetry["now_frame"])
        return np.asarray(self.heard[0, 4800 : min(frames, self.heard.shape[1])])


@contextmanager
def conducted(stages: list[Any], seconds: float = 30.0, **settings: Any) -> Iterator[Stand]:
    """Play a sine through a chain, with everything that is heard in `heard`, shape (1, frames)."""
    heard = np.zeros((1, int(seconds * RATE)), np.float32)
    notices: list[Notice] = []
    name = settings.pop("name", f"presets-{os.getpid()}")
    chain = Chain(stages)
    options = {"source": SINE, "sink": heard}
    with Engine(chain, backend="null", name=name, latency=settings.pop("latency", 800), options=options) as engine:
        assert engine.processor.page is not None
        journal = Journal(engine.processor.page)
        with Conductor(engine, told=notices.append, **settings) as conductor:
            yield Stand(engine, conductor, journal, heard, notices)
