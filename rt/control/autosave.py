"""Autosave: what plays is written to a file every few seconds, so that a crash costs nobody their sound.

The file is `$XDG_STATE_HOME/autovoice/NAME.toml`, a preset with a few lines more: which preset and scene it was, and whether
the session ended in order. Files are written by a thread of their own; a disk that is slow or full holds nobody up.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import StageError
from autovoice.rt.presets import VERSION, Preset, check_preset
from autovoice.rt.presets.store import read_toml, write_toml
from autovoice.rt.store import xdg_folder

PERIOD_S = 2.0  # between two writings, and between two attempts where one failed
CLOSE_S = 5.0  # how long the end waits for a disk


@dataclass(frozen=True, slots=True)
class State:
    """What played last."""

    sound: Preset  # chain, values, and all of `master/`
    preset: str | None = None  # the preset and the scene that it came from
    scene: str | None = None
    clean: bool = False  # the session ended in order
    saved: datetime | None = None


def state_file(name: str, folder: Path | None = None) -> Path:
    """Return the file of an engine's state; `folder` stands in for the user's own."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "_"
    return (folder or xdg_folder("XDG_STATE_HOME", ".local/state")) / f"{plain}.toml"


def write_state(path: Path, state: State) -> None:
    """Write a state with the time of now; raises OSError."""
    data: dict[str, Any] = {"version": VERSION, "clean": state.clean, "saved": datetime.now(UTC).replace(microsecond=0)}
    data |= {key: value for key in ("preset", "scene") if (value := getattr(state, key)) is not None}
    if state.sound.channels is not None:
        data["channels"] = state.sound.channels
    data["stages"] = [dict(stage) for stage in state.sound.stages]
    data["master"] = {key.partition("/")[2]: value for key, value in state.sound.master.items()}
    write_toml(path, data)


def recover(name: str, folder: Path | None = None, notice: Callable[[str], None] | None = None) -> State | None:
    """Return an engine's last state, checked so far that its chain can be played; None where there is none.

    A file that cannot be used is set aside as `NAME.toml.broken`, with one line to `notice`, by default on stderr; so is told
    which voice is not there any more.
    Compiles the stages; control thread only.
    """
    path = state_file(name, folder)
    if not path.exists():
        return None
    try:
        state = _checked(path)
        state.sound.chain()
        for line in state.sound.absent:
            (notice or _print)(line)
        return state
    except StageError as error:
        aside = path.with_name(path.name + ".broken")
        with contextlib.suppress(OSError):
            path.replace(aside)
        (notice or _print)(f"the last state cannot be used and was set aside as {aside}: {error}")
        return None


def set_crashed_aside(path: Path) -> Path | None:
    """Keep the state of a session that ended unexpectedly from being overwritten; returns where it is, None for any other."""
    aside = path.with_name(path.stem + ".crashed.toml")
    try:
        if read_toml(path, "state", str(path)).get("clean"):
            return None
        path.replace(aside)
    except (StageError, OSError):  # there is none, or it is of no use
        return None
    return aside


def _checked(path: Path) -> State:
    data = read_toml(path, "state", str(path))
    extra = {key: data.pop(key, None) for key in ("clean", "saved", "preset", "scene")}
    sound = check_preset(path.stem, str(path), data)
    wanted = {"clean": bool, "saved": datetime, "preset": str, "scene": str}
    for key, kind in wanted.items():
        if extra[key] is not None and not isinstance(extra[key], kind):
            raise StageError(f"{path}: {key} is not as it was written, got {extra[key]!r}")
    return State(sound, extra["preset"], extra["scene"], bool(extra["clean"]), extra["saved"])


def _print(line: str) -> None:
    print(f"autovoice: {line}", file=sys.stderr)


class Autosave:
    """Writes the newest state that it was offered; `offer` never waits for the disk, `close` does for a while."""

    def __init__(self, path: Path) -> None:
        """Begin with nothing to write."""
        self.path = path
        self.notices: deque[str] = deque(maxlen=16)  # lines to say, for whoever says them
        self._lock = threading.Lock()
        self._newest: State | None = None  # not written yet
        self._wake = threading.Event()
        self._closing = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="autovoice-autosave", daemon=True)
        self._thread.start()

    def offer(self, state: State) -> None:
        """Have a state written."""
        with self._lock:
            self._newest = state
        self._wake.set()

    def close(self, state: State) -> None:
        """Write the last state, marked as the end of a session in order."""
        self._closing = True
        self.offer(replace(state, clean=True))
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            self._wake.wait(PERIOD_S if self._failed else None)
            self._wake.clear()
            closing = self._closing
            with self._lock:
                state, self._newest = self._newest, None
            if state is not None and not self._write(state):
                with self._lock:
                    self._newest = self._newest or state
            if closing:
                return

    def _write(self, state: State) -> bool:
        try:
            write_state(self.path, state)
        except OSError as error:
            if not self._failed:
                self.notices.append(f"the state is not saved: {error.strerror} ({self.path}); the sound goes on, it is retried")
            self._failed = True
            return False
        if self._failed:
            self.notices.append("the state is saved again")
            self._failed = False
        return True
