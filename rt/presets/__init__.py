"""Presets: chains that people recognise, and their own, as TOML files.

A preset file holds `version = 1`, an `about` line, the `[[stages]]` in order with their settings by name, and optionally
`channels` of the output and a `[master]` table. Those that come with AutoVoice lie beside this module; anybody's own is named
by its path. Control thread only.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import StageError, suggest
from autovoice.rt.chain import Chain
from autovoice.rt.processor import check_master

FOLDER = Path(__file__).resolve().parent
VERSION = 1
KEYS = {"version", "about", "channels", "stages", "master"}


@dataclass(frozen=True, slots=True)
class Preset:
    """A chain with its settings and the engine's own, checked as far as that goes without compiling."""

    name: str
    about: str
    stages: tuple[dict[str, Any], ...]  # as Chain takes them
    master: dict[str, float]  # by path, `master/mix`
    channels: int | None  # of the output that it is made for, None = as many as go in

    def chain(self) -> Chain:
        """Return the chain; raises StageError for a stage or a value that does not exist."""
        try:
            return Chain(self.stages)
        except StageError as error:
            raise StageError(f"preset {self.name}: {error}") from error


def preset_names() -> list[str]:
    """Return the names of the presets that come with AutoVoice."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_preset(name: str) -> Preset:
    """Load a preset by name, or a file by its path (anything that ends in `.toml`); raises StageError that says the way out."""
    own = name.endswith(".toml")
    path = Path(name).expanduser() if own else FOLDER / f"{name}.toml"
    if not own and name not in preset_names():
        raise StageError(f"no preset is called {name!r}{suggest(name, preset_names())}")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StageError(f"no preset can be read at {name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StageError(f"{name} is not a preset: {error}") from error
    return _checked(path.stem, name, data)


def _checked(name: str, where: str, data: dict[str, Any]) -> Preset:
    if data.get("version") != VERSION:
        raise StageError(f"{where}: a preset says version = {VERSION}, got {data.get('version')!r}")
    for key in data:
        if key not in KEYS:
            raise StageError(f"{where}: a preset has no key {key!r}{suggest(key, sorted(KEYS))}")
    stages = data.get("stages")
    if not isinstance(stages, list) or not all(isinstance(one, dict) and isinstance(one.get("stage"), str) for one in stages):
        raise StageError(f'{where}: a preset lists its stages as [[stages]] tables, each with stage = "NAME"')
    about, master, channels = data.get("about", ""), data.get("master", {}), data.get("channels")
    if not isinstance(about, str) or not isinstance(master, dict):
        raise StageError(f"{where}: about is a line of text and [master] a table")
    if channels is not None and channels not in range(1, 9):
        raise StageError(f"{where}: channels must be in 1..8, got {channels!r}")
    try:
        values = {f"master/{key}": check_master(key, value) for key, value in master.items()}
    except StageError as error:
        raise StageError(f"{where}: {error}") from None
    return Preset(name, about, tuple(stages), values, channels)
