"""Presets: chains that people recognise, and their own, as TOML files.

A preset file holds `version = 1`, an `about` line, the `[[stages]]` in order with their settings by name, and optionally
`channels` of the output and a `[master]` table. Voices stand in it by their names. Presets that come with AutoVoice lie beside
this module; a user's own lie in `$XDG_DATA_HOME/autovoice/presets`; any other file is named by its path. Control thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import Param, StageError, suggest
from autovoice.rt.casting import named, present
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.master import check_master
from autovoice.rt.presets.store import OWN, read_toml, toml, user_file, user_names
from autovoice.rt.store import check_name

FOLDER = Path(__file__).resolve().parent
VERSION = 1
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By version, what makes the next version's data of it."""
KEYS = {"version", "about", "channels", "stages", "master"}
KEPT_MASTER = ("input", "output", "mix")
"""What of `master/` belongs to a sound; mute and bypass belong to the moment."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A chain with its settings and the engine's own, checked as far as that goes without compiling."""

    name: str
    about: str
    stages: tuple[dict[str, Any], ...]  # as Chain takes them
    master: dict[str, float]  # by path, `master/mix`
    channels: int | None  # of the output that it is made for, None = as many as go in
    absent: tuple[str, ...] = ()  # a line on each voice that it names and that is not there any more

    def chain(self) -> Chain:
        """Return the chain; raises StageError for a stage or a value that does not exist."""
        try:
            return Chain(self.stages)
        except (StageError, OverflowError) as error:
            raise StageError(f"preset {self.name}: {error}") from error


def preset_names() -> list[str]:
    """Return the names of the presets that come with AutoVoice."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def all_names() -> list[str]:
    """Return the names of all presets, those that come with AutoVoice and the user's own."""
    return sorted({*preset_names(), *user_names()})


def load_preset(name: str) -> Preset:
    """Load a preset by name, or a file by its path (anything that ends in `.toml`); raises StageError that says the way out.

    What comes from elsewhere than this machine's user is passed through `check_name` first: it refuses paths.
    """
    if name.endswith(".toml"):
        path, where = Path(name).expanduser(), name
    else:
        path = preset_file(name)
        where = str(path) if path.parent != FOLDER else name
    return check_preset(path.stem, where, read_toml(path, "preset", where))


def preset_file(name: str) -> Path:
    """Return the file of a preset that comes with AutoVoice or is the user's own; raises StageError that offers the nearest."""
    if name in preset_names():
        return FOLDER / f"{name}.toml"
    if name not in user_names():
        raise StageError(f"no preset is called {name!r}{suggest(name, all_names())}")
    return user_file(name)


def save_preset(preset: Preset) -> Path:
    """Write one of the user's own presets, in place of the one of that name, and return its file.

    Raises StageError where the name is not free to use, or where the file cannot be written; the old one is then still there.
    """
    _refuse_shipped(preset.name, "overwritten; save it under another name")
    data: dict[str, Any] = {"version": VERSION}
    if preset.about:
        data["about"] = preset.about
    if preset.channels is not None:
        data["channels"] = preset.channels
    data["stages"] = [dict(stage) for stage in preset.stages]
    if preset.master:
        data["master"] = {path.partition("/")[2]: value for path, value in preset.master.items()}
    return OWN.write(preset.name, toml(data))


def delete_preset(name: str) -> None:
    """Delete one of the user's own presets; raises StageError where there is none, or where it came with AutoVoice."""
    _refuse_shipped(check_name(name), "deleted")
    OWN.delete(name)


def _refuse_shipped(name: str, what: str) -> None:
    if name in preset_names():
        raise StageError(f"preset {name} comes with AutoVoice and cannot be {what}")


def capture(
    chain: Chain,
    values: Mapping[str, float],
    *,
    name: str,
    about: str = "",
    channels: int | None = None,
    master: Sequence[str] = KEPT_MASTER,
) -> Preset:
    """Return what plays as a preset: every stage of the chain with all its settings, `values` by path over the chain's own."""
    stages = tuple(named(placed.stage.name, describe(placed)) for placed in chain.with_values(values).placed)
    kept = {path: values[path] for path in (f"master/{one}" for one in master) if path in values}
    return Preset(name, about, stages, kept, channels)


def describe(placed: Placed) -> dict[str, Any]:
    """Return a stage with all its settings, as Chain and a preset file take it: choices by name, switches as true or false."""
    module = placed.stage.module
    own = module.__name__.startswith("autovoice_user_stage_")
    spec: dict[str, Any] = {"stage": str(module.__file__) if own else placed.stage.name}
    if placed.key != placed.stage.name:
        spec["name"] = placed.key
    if placed.bypass:
        spec["bypass"] = True
    return {**spec, **placed.options, **{p.name: _written(p, placed.values[p.name]) for p in placed.stage.parameters}}


def _written(parameter: Param, value: float) -> str | bool | float:
    if parameter.choices:
        return parameter.choices[int(value)]
    return bool(value) if parameter.scale == "switch" else value


def check_version(where: str, data: dict[str, Any], what: str = "preset") -> dict[str, Any]:
    """Return a file's data as this version has it; raises StageError for a newer version, or none."""
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        raise StageError(
            f"{where}: this {what} is of version {version} and this AutoVoice reads up to {VERSION}; update AutoVoice"
        )
    while version in MIGRATIONS:
        data = MIGRATIONS[version](data)
        version = data["version"]
    if version != VERSION or isinstance(version, bool):
        raise StageError(f"{where}: a {what} says version = {VERSION}, got {version!r}")
    return data


def check_preset(name: str, where: str, data: dict[str, Any]) -> Preset:
    """Return a preset of a file's data; raises StageError with one line that begins with `where`."""
    data = check_version(where, data)
    for key in data:
        if key not in KEYS:
            raise StageError(f"{where}: a preset has no key {key!r}{suggest(key, sorted(KEYS))}")
    stages = data.get("stages")
    if not isinstance(stages, list) or not all(isinstance(one, dict) and isinstance(one.get("stage"), str) for one in stages):
        raise StageError(f'{where}: a preset lists its stages as [[stages]] tables, each with stage = "NAME"')
    for stage in stages:
        if stage.get("bypass", False) not in (False, True):
            raise StageError(f"{where}: bypass of {stage['stage']} must be true or false, got {stage['bypass']!r}")
    about, master, channels = data.get("about", ""), data.get("master", {}), data.get("channels")
    if not isinstance(about, str) or not isinstance(master, dict):
        raise StageError(f"{where}: about is a line of text and [master] a table")
    if channels is not None and channels not in range(1, 9):
        raise StageError(f"{where}: channels must be in 1..8, got {channels!r}")
    try:
        values = {f"master/{key}": check_master(key, value) for key, value in master.items()}
    except (StageError, OverflowError) as error:
        raise StageError(f"{where}: {error}") from None
    found = [present(stage["stage"], stage) for stage in stages]
    absent = tuple(f"{where}: {line}" for _, lines in found for line in lines)
    return Preset(name, about, tuple(stage for stage, _ in found), values, channels, absent)
