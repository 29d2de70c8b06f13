"""Which engines of this user are running, and where their counters lie: one small file each in a folder of the user's own."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


class RegistryError(LookupError):
    """An engine that is not running; the message names those that are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One running engine."""

    name: str
    pid: int
    backend: str
    stages: list[str]  # of the chain it started with
    telemetry: str  # paths for Telemetry.attach, WorstPage.attach and ControlPage.attach
    worst: str
    control: str
    osc: int = 0  # ports of its surfaces of control, 0 = none
    web: int = 0


def folder() -> Path:
    """Return the folder, made if need be; raises OSError where it is not this user's alone."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = Path(base) / f"autovoice-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder that only you may write; remove it, or set XDG_RUNTIME_DIR")
    return path


def publish(entry: Entry) -> Path | None:
    """Let other processes find an engine; returns its file for `withdraw`, None where that is not possible."""
    with contextlib.suppress(OSError):
        path = folder() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', entry.name)}.{entry.pid}.json"
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(entry)), encoding="utf-8")
        partial.replace(path)
        return path
    return None


def withdraw(path: Path | None) -> None:
    """Take an engine off the list."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def running() -> list[Entry]:
    """Return the engines that run now, the newest first; files of dead ones are removed."""
    try:
        files = sorted(folder().glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return []
    entries = []
    for path in files:
        try:
            entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if os.path.exists(entry.telemetry):
            entries.append(entry)
        else:
            withdraw(path)
    return entries


def find(name: str | None = None) -> Entry:
    """Return the running engine of a name, or the newest; raises RegistryError that says which there are."""
    entries = running()
    if not entries:
        raise RegistryError("no AutoVoice engine is running; start one with `autovoice live`")
    for entry in entries:
        if name in (None, entry.name, str(entry.pid)):
            return entry
    names = [entry.name for entry in entries]
    near = difflib.get_close_matches(name or "", names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"running are: {', '.join(names)}"
    raise RegistryError(f"no AutoVoice engine is called {name!r}; {hint}")
