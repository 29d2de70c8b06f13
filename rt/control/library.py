"""Presets, morphs, scenes, undo and autosave: commands that change what plays as a whole, and what remembers it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.dsp.stage import Param, StageError
from autovoice.rt.chain import Chain
from autovoice.rt.control.autosave import PERIOD_S, Autosave, State, set_crashed_aside, state_file
from autovoice.rt.control.family import Family, Handler
from autovoice.rt.control.follow import Follower, Moved
from autovoice.rt.control.history import History, Moment, layout_of
from autovoice.rt.control.morph import OWN, Leg, Morpher, Waiting, check_seconds
from autovoice.rt.control.scenes import Show
from autovoice.rt.layout import IMMEDIATELY, MIDI_PRODUCER, PRESENCE
from autovoice.rt.master import MASTER
from autovoice.rt.presets import KEPT_MASTER, Preset, all_names, capture, delete_preset, load_preset, save_preset
from autovoice.rt.presets.store import user_names
from autovoice.rt.store import check_name

if TYPE_CHECKING:
    from autovoice.rt.control.conductor import Conductor

MASTER_PATHS = tuple(f"master/{name}" for name in KEPT_MASTER)
OF_THE_MOMENT = {"master/mute", "master/bypass"}  # no part of a sound: undo leaves them as they are
TOLD_S = 0.5  # between two looks at whether surfaces know how many steps there are to undo


class Library(Family):
    """What plays as a whole, and what it was before."""

    def __init__(self, conductor: Conductor) -> None:
        """Follow what plays; reads and checks the show file, and raises StageError where it could fail on stage."""
        super().__init__(conductor)
        self._engine = conductor.engine
        self._follower = Follower(self._engine.processor)
        self._history = History()
        self._morpher = Morpher(self._engine)
        self._own: set[int] = set()  # generations of chains that this family swapped to
        self._swapping = False
        self._scene: str | None = conductor.scene  # where a show that was broken off goes on
        self._loaded = {conductor.preset: self._moment()}  # presets as they were loaded or saved, by name
        self._pedal: list[Leg] = []  # the way that `morph/position` goes
        self._show = self._read_show()
        self._told: tuple[Any, ...] = ()
        self._next_look_s = self._next_save_s = 0.0
        self._unsaved = True
        name = str(self._engine.identity()["name"])
        self._autosave: Autosave | None = None
        if conductor.autosave:
            file = state_file(name, conductor.state_folder)
            if not conductor.resumed and (kept := set_crashed_aside(file)) is not None:
                conductor.notice(
                    f"the last session ended unexpectedly; what it played is kept in {kept}: "
                    f"rename that to {file.name}, then start with --resume"
                )
            self._autosave = Autosave(file)

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands."""
        return {
            "preset/load": self._load,
            "preset/save": self._save,
            "preset/delete": self._delete,
            "morph": self._load,
            "morph/target": self._aim,
            "morph/position": self._stand,
            "scene/go": lambda scene: self._go_to(self._needed_show().find(scene)),
            "scene/next": lambda: self._go_by(1),
            "scene/previous": lambda: self._go_by(-1),
            "undo": lambda: self._step_back(forward=False),
            "redo": lambda: self._step_back(forward=True),
        }

    def state(self) -> dict[str, Any]:
        """Return presets, scenes, the morph, and how many steps can be undone."""
        show = self._show
        return {
            "presets": all_names(),
            "own_presets": user_names(),
            "edited": self._edited,
            "scenes": show.names if show is not None else [],
            "scene": self._scene,
            "morph": self._morpher.name if self._morpher.share is not None else None,
            "undo": len(self._history.past),
            "redo": len(self._history.future),
        }

    def swapped(self, chain: Chain, keep_state: bool) -> None:
        """Learn which chains are this family's own doing."""
        if self._swapping:
            self._own.add(self._engine.processor.generation)
        self._catch_up()
        if self._follower.chain is not self._engine.processor.chain:  # no driver runs that would enter it in the journal
            self._follower.resync()

    def journal(self, entries: np.ndarray[Any, Any]) -> None:
        """Learn what was done; the family reads the journal itself, so that it is never behind when a command comes."""
        self._catch_up()

    def tick(self, now_s: float) -> None:
        """Keep surfaces and the autosave up to date."""
        self._catch_up()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + TOLD_S
            told = (self._edited, self._morpher.share is None, len(self._history.past), len(self._history.future))
            if told != self._told:
                self._told = told
                self.conductor.changed()
        if self._autosave is not None:
            if self._unsaved and now_s >= self._next_save_s:
                self._unsaved, self._next_save_s = False, now_s + PERIOD_S
                self._autosave.offer(self._state())
            with contextlib.suppress(IndexError):
                while True:
                    self.conductor.notice(self._autosave.notices.popleft())

    def close(self) -> None:
        """End a morph where it is; write the last state."""
        self._morpher.close()
        if self._autosave is not None:
            self._catch_up()
            self._autosave.close(self._state())

    # What plays, and what was done.

    @property
    def _edited(self) -> bool:
        """Whether what plays is no longer what the preset was."""
        loaded = self._loaded.get(self.conductor.preset)
        return self.conductor.preset is not None and self._morpher.share is None and loaded != self._moment()

    def _moment(self) -> Moment:
        return self._moment_of(self._follower.chain, self._follower.values)

    def _moment_of(self, chain: Chain, values: Mapping[str, float]) -> Moment:
        """Return the moment at which this chain plays with these values, of which those of the sound are kept."""
        own = {path: values[path] for path in (*_values(chain), *MASTER_PATHS) if path in values}
        return Moment(chain, own, self.conductor.preset, self._scene)

    def _catch_up(self) -> None:
        """Take in what the journal holds: what others did becomes a step of the history, and leaves the morph."""
        if self._engine.processor is not self._follower.processor:  # a driver that came back at another rate
            self._morpher.cancel()
            self._own.clear()
            self._follower = Follower(self._engine.processor)
        for event in self._follower.read():
            self._unsaved = True
            if isinstance(event, Moved):
                self._note(event)
            elif event.generation in self._own:
                self._own.discard(event.generation)
            else:
                self._history.change(self._moment_of(event.chain, event.values), self._moment())
        self._follower.lapped = False

    def _settle(self) -> None:
        """Take in all that was sent before this call, also what the audio thread has yet to come to: a block or two."""
        if self._engine.alive:
            self._engine.processor.await_sent()
        self._catch_up()

    def _note(self, event: Moved) -> None:
        if event.origin == OWN:
            return
        self._morpher.moved(event.path, event.after)
        if event.path in OF_THE_MOMENT or (event.producer == MIDI_PRODUCER and self._is_note(event.path)):
            return
        group = (event.frame, event.producer, event.origin)
        self._history.move(event.path, event.before, event.after, event.time_ns, group)

    def _parameter(self, path: str) -> Param | None:
        with contextlib.suppress(StageError):
            return self._engine.processor.resolve(path)[2]
        return None

    def _is_note(self, path: str) -> bool:
        parameter = self._parameter(path)
        return parameter is not None and parameter.unit == "MIDI"

    # Going from one sound to another.

    def _go(self, chain: Chain, master: Mapping[str, float], seconds: float, preset: str | None, scene: str | None) -> None:
        """Play a chain as it is set, and these values of `master/`, at once or in a glide: one step of the history."""
        self._settle()
        before = self._moment()
        values = {**_values(chain), **master}
        after = replace(self._moment_of(chain, {**self._follower.values, **values}), preset=preset, scene=scene)
        if seconds > 0:
            self._glide(chain, values, seconds, preset or scene or "")
        else:
            self._arrive(chain, values)
        self._history.change(before, after)
        self._label(after)
        self._loaded[preset] = after

    def _label(self, moment: Moment) -> None:
        self.conductor.preset, self._scene, self._unsaved = moment.preset, moment.scene, True

    def _arrive(self, chain: Chain, values: Mapping[str, float]) -> None:
        """Cross-fade to a chain with these values of its and of `master/`, which move as one group."""
        self._swap(chain.with_values(values))
        waiting = self._morpher.cancel()
        present = self._engine.processor.values
        self._morpher.send({path: value for path, value in values.items() if present.get(path) != value})
        self._take_back(waiting, values)

    def _glide(self, chain: Chain, goals: Mapping[str, float], seconds: float, name: str) -> None:
        """Let what both chains have travel in a time."""
        both = self._meet(chain, goals)
        waiting = self._morpher.cancel()
        present = {**self._follower.values, **waiting.values}
        self._take_back(waiting, {path: goal for path, goal in goals.items() if path.partition("/")[0] not in both})
        self._morpher.start(self._legs(present, goals, both), seconds, name, after=waiting.frame)

    def _meet(self, chain: Chain, goals: Mapping[str, float]) -> set[str]:
        """Swap to a chain, where it is another, with what both have as it is; returns the names of what both have."""
        now, then = layout_of(self._follower.chain), layout_of(chain)
        both = {key for key, *_ in set(now) & set(then)} | {"master"}
        if now != then:
            kept = {path: value for path, value in self._follower.values.items() if path.partition("/")[0] in both}
            self._swap(chain.with_values({**goals, **kept}), follow=True)
        return both

    def _legs(self, present: Mapping[str, float], goals: Mapping[str, float], both: set[str]) -> list[Leg]:
        travel = [path for path in goals if path.partition("/")[0] in both and path in present]
        return [Leg(path, present[path], goals[path], row) for path in travel if (row := self._parameter(path)) is not None]

    def _take_back(self, waiting: Waiting, values: Mapping[str, float]) -> None:
        """After steps of a cancelled morph that the engine has yet to come to, set what should be."""
        late = {path: values[path] for path in waiting.values if path in values}
        self._morpher.send(late, waiting.frame if waiting.frame is not None else IMMEDIATELY)

    def _swap(self, chain: Chain, *, follow: bool = False) -> None:
        self._swapping = True
        try:
            self.conductor.swap(chain, follow=follow)
        finally:
            self._swapping = False

    # The commands.

    def _load(self, name: str, seconds: float | None = None) -> str:
        preset = self._preset(name)
        self._go(preset.chain(), preset.master, check_seconds(seconds or 0.0), preset.name, self._scene)
        return preset.name

    def _preset(self, name: str) -> Preset:
        """Return a preset; a voice that it names and that is not there any more is told, and the show goes on."""
        preset = load_preset(check_name(name))
        for line in preset.absent:
            self.conductor.notice(line, "error")
        return preset

    def _aim(self, name: str) -> str:
        """Make the way from what plays to a preset one that `morph/position` goes."""
        preset = self._preset(name)
        chain = preset.chain()
        self._settle()
        goals = {**_values(chain), **preset.master}
        before = self._moment()
        both = self._meet(chain, goals)
        self._catch_up()
        self._history.change(before, self._moment())
        self._pedal = self._legs(self._follower.values, goals, both)
        return preset.name

    def _stand(self, position: float) -> float:
        """Stand at a place of that way, 0 = where it began, 1 = at the preset; a gesture as on a fader."""
        if not 0 <= position <= 1:  # NaN too
            raise StageError(f"the position must be in 0..1, got {position}")
        if not self._pedal:
            raise StageError("there is nowhere to go; name a preset first, with morph/target")
        values = {leg.path: leg.at(position) for leg in self._pedal if self._parameter(leg.path) is not None}
        self._engine.set_many(values)
        return position

    def _save(self, name: str) -> str:
        self._settle()
        chain = self._follower.chain
        about = load_preset(name).about if check_name(name) in user_names() else ""
        save_preset(capture(chain, self._follower.values, name=name, about=about, channels=self._channels()))
        self.conductor.preset = name
        self._loaded[name], self._unsaved = self._moment(), True
        self._read_show_again()
        return name

    def _delete(self, name: str) -> str:
        delete_preset(name)
        if self.conductor.preset == name:
            self.conductor.preset, self._unsaved = None, True
        return name

    def _step_back(self, *, forward: bool) -> dict[str, int]:
        """Undo, or redo, and return how many steps are left either way; where that fails, nothing was done."""
        self._settle()
        history = self._history
        goal = history.redo() if forward else history.undo()
        if goal is None:
            raise StageError(f"there is nothing to {'redo' if forward else 'undo'}")
        try:
            if isinstance(goal, Moment):
                self._arrive(goal.chain, goal.values)
                self._label(goal)
            else:
                for path, value in goal.items():
                    self._morpher.moved(path, value)
                self._morpher.send(goal)
        except BaseException:
            _ = history.undo() if forward else history.redo()
            raise
        return {"undo": len(history.past), "redo": len(history.future)}

    def _needed_show(self) -> Show:
        if self._show is None:
            raise StageError("there are no scenes; start with a show file, --scenes SHOW.toml")
        return self._show

    def _go_by(self, by: int) -> str:
        show = self._needed_show()
        at = show.names.index(self._scene) if self._scene in show.names else -1
        if by < 0 and at <= 0:
            raise StageError(f"{self._scene} is the first scene" if at == 0 else "no scene has been gone to yet")
        if at + by >= len(show.scenes):
            raise StageError(f"{self._scene} is the last scene")
        return self._go_to(at + by)

    def _go_to(self, index: int) -> str:
        """Go to a scene. Straight after the one it goes on from, what was moved by hand and is not its business stays."""
        show = self._needed_show()
        scene = show.scenes[index]
        self._settle()
        chain, master = scene.chain, scene.master
        in_order = index > 0 and self._scene == show.scenes[index - 1].name and self.conductor.preset == scene.origin
        if scene.preset is None and in_order and layout_of(chain) == layout_of(self._follower.chain):
            chain = self._follower.chain.with_values({**self._follower.values, **scene.settings})
            master = {path: value for path, value in scene.settings.items() if path.startswith("master/")}
        self._go(chain, master, scene.morph, scene.origin, scene.name)
        return scene.name

    def _read_show(self) -> Show | None:
        file = self.conductor.scenes_file
        if file is None:
            return None
        show = Show(file)
        show.check_latency(self._engine.sample_rate, self._engine.processor.latency)
        for line in show.absent:
            self.conductor.notice(line, "error")
        return show

    def _read_show_again(self) -> None:
        """Take a preset that was saved into the show; where the show cannot be played with it, it stays as it was."""
        try:
            self._show = self._read_show()
        except StageError as error:
            self.conductor.notice(f"the show stays as it was read: {error}")

    def _state(self) -> State:
        names = [p.name for p in MASTER[:PRESENCE]]
        sound = capture(self._follower.chain, self._follower.values, name="", channels=self._channels(), master=names)
        return State(sound, self.conductor.preset, self._scene)

    def _channels(self) -> int | None:
        """Return how many channels the sound needs at the output, where one would not do."""
        count = self._engine.processor.out_channels
        return count if count > 1 and any(p.stage.spreads for p in self._follower.chain.placed) else None


def _values(chain: Chain) -> dict[str, float]:
    """Return a chain's own values by path."""
    values = {f"{p.key}/{name}": value for p in chain.placed for name, value in p.values.items()}
    return values | {f"{p.key}/bypass": float(p.bypass) for p in chain.placed}
