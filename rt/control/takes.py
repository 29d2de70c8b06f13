"""Takes on command: `/record 1` begins one in the user's folder, `/record 0` ends it, and both say where it lies."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from autovoice.dsp.stage import StageError
from autovoice.rt.control.family import Family, Handler
from autovoice.rt.record import Recorder
from autovoice.rt.take.names import make_folder
from autovoice.rt.take.recorder import Take


class TakesFamily(Family):
    """Begins and ends takes, and tells what becomes of the one that runs, whoever began it."""

    def __init__(self, conductor: Any) -> None:
        """Nothing was told yet."""
        super().__init__(conductor)
        self._recorder: Recorder | None = None  # that the following was told of
        self._told: set[str] = set()

    def handlers(self) -> Mapping[str, Handler]:
        """Return the command."""
        return {"record": self._record}

    def state(self) -> dict[str, Any]:
        """Return where the sound goes, from which second on a take can be rendered again, and what went wrong."""
        recorder = self.conductor.engine.recorder
        exact = recorder.exact_from if isinstance(recorder, Take) else None
        return {
            "recording": str(recorder.place) if recorder is not None else None,
            "recording_exact_from_s": exact / self.conductor.engine.sample_rate if exact is not None else None,
            "recording_trouble": self.conductor.engine.recording_trouble,
        }

    def tick(self, now_s: float) -> None:
        """Say what is new of the take that runs: once each."""
        recorder = self.conductor.engine.recorder
        if recorder is not self._recorder:
            self._recorder, self._told = recorder, set()
            self.conductor.changed()
        if recorder is None:
            return
        if recorder.error is not None:
            self._tell("error", f"{recorder.error}; the voice plays on")
        if recorder.dropped:
            self._tell("dropped", f"the disk is too slow: frames of {recorder.place} were lost, and are silent there")
        if isinstance(recorder, Take) and recorder.exact_from:
            second = recorder.exact_from / self.conductor.engine.sample_rate
            self._tell("exact", f"{recorder.place} can be rendered again, bit for bit, from {second:.2f} s on")

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.conductor.notice(text, "notice" if what == "exact" else "error")
            self.conductor.changed()

    def _record(self, on: bool | None = None, name: str | None = None) -> str:
        engine = self.conductor.engine
        running = engine.recorder
        if on is None:
            on = running is None
        if on:
            return self._begin(name)
        if running is None:
            raise StageError("nothing is being recorded; /record 1 begins a take")
        self.conductor.changed()
        return str(engine.stop_recording())

    def _begin(self, name: str | None) -> str:
        engine = self.conductor.engine
        if (running := engine.recorder) is not None:
            raise StageError(f"{running.place} is being recorded; /record 0 ends it")
        folder = make_folder(name, self.conductor.takes_folder)
        try:
            engine.take(folder)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where nothing was written
            raise
        self.conductor.swapped(engine.chain, keep_state=True)  # the sound goes on: keys that are held stay down
        return str(folder)
