"""Scenes: a show's sounds in order, from a TOML file that is checked whole before the show begins.

    version = 1

    [[scenes]]
    name = "Verse"
    preset = "clean_vocal"

    [[scenes]]
    name = "Chorus"
    morph = 1.5
    [scenes.set]
    "reverb/mix" = 0.3

A scene without a preset goes on from the one before it, so the first one has one. What a scene sounds like does not depend on
the way to it: gone to from anywhere, it is what it would be had every scene before it been played in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import StageError, suggest
from autovoice.rt.casting import numbered
from autovoice.rt.chain import Chain
from autovoice.rt.control.morph import check_seconds
from autovoice.rt.image import BYPASS
from autovoice.rt.master import MASTER, check_master
from autovoice.rt.presets import Preset, check_version, load_preset
from autovoice.rt.presets.store import read_toml

KEYS = {"name", "preset", "set", "morph"}
MAX_SCENES = 1000
MAX_NAME = 80  # characters


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene, checked, with all that it sounds like."""

    name: str
    preset: str | None  # that it loads; None = it goes on from the scene before
    settings: dict[str, float]  # its own, by path
    morph: float  # seconds
    chain: Chain  # with every value that the chain has in this scene
    master: dict[str, float]  # by path, every value of `master/` that the show sets anywhere
    origin: str  # the preset that plays in it, its own or that of a scene before


class Show:
    """The scenes of a file; raises StageError with one line for the first thing that would fail on stage."""

    def __init__(self, path: str | Path) -> None:
        """Read and check a show; compiles every stage in it."""
        self.path = Path(path).expanduser()
        data = check_version(str(path), read_toml(self.path, "show", str(path)), "show")
        for key in data:
            if key not in ("version", "scenes"):
                raise StageError(f"{path}: a show has no key {key!r}{suggest(key, ['version', 'scenes'])}")
        tables = data.get("scenes")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise StageError(f"{path}: a show lists its scenes as [[scenes]] tables")
        if not 1 <= len(tables) <= MAX_SCENES:
            raise StageError(f"{path}: a show has 1..{MAX_SCENES} scenes, got {len(tables)}")
        self.scenes: list[Scene] = []
        self.absent: list[str] = []  # a line on each voice that is not there any more
        for number, table in enumerate(tables, 1):
            try:
                self.scenes.append(self._scene(table, self.scenes[-1] if self.scenes else None))
            except StageError as error:
                raise StageError(f"{path}: scene {number}{_named(table)}: {error}") from None
        # A scene gone to from behind takes back what later ones set: every one says all of `master/` that the show sets.
        first = {f"master/{p.name}": p.default for p in MASTER if f"master/{p.name}" in self.scenes[-1].master}
        self.scenes = [replace(scene, master={**first, **scene.master}) for scene in self.scenes]

    @property
    def names(self) -> list[str]:
        """The scenes' names, in order."""
        return [scene.name for scene in self.scenes]

    def find(self, which: object) -> int:
        """Return the index from 0 of a scene by its name, or its number from 1; raises StageError that says what there is."""
        text = str(int(which)) if isinstance(which, float) and which.is_integer() else str(which)
        if text in self.names:
            return self.names.index(text)
        if text.isascii() and text.isdigit():
            if 1 <= int(text[:9]) <= len(self.scenes):
                return int(text[:9]) - 1
            raise StageError(f"the show has scenes 1..{len(self.scenes)}, got {text[:80]}")
        raise StageError(f"no scene is called {text[:80]!r}{suggest(text[:80], self.names)}")

    def check_latency(self, sample_rate: float, reserved: int) -> None:
        """Refuse a show of which a scene could not be swapped to on an engine that reserved so many frames of delay."""
        for number, scene in enumerate(self.scenes, 1):
            needed = scene.chain.latency(sample_rate)
            if needed > reserved:
                raise StageError(
                    f"{self.path}: scene {number} ({scene.name}) needs {needed} frames of latency and the engine was started "
                    f"with {reserved}; start it with latency={self.latency(sample_rate)} or more"
                )

    def latency(self, sample_rate: float) -> int:
        """Return the frames of delay that an engine must reserve for every scene."""
        return max(scene.chain.latency(sample_rate) for scene in self.scenes)

    def _scene(self, table: dict[str, Any], before: Scene | None) -> Scene:
        """Check one scene, given the one that it comes after."""
        for key in table:
            if key not in KEYS:
                raise StageError(f"a scene has no key {key!r}{suggest(key, sorted(KEYS))}")
        name, wanted, settings = table.get("name"), table.get("preset"), table.get("set", {})
        if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= MAX_NAME:
            raise StageError(f"a scene has a name of 1..{MAX_NAME} characters, got {name!r}")
        if name in self.names:
            raise StageError("another scene has this name; give one another")
        if not isinstance(settings, dict):
            raise StageError(f'[scenes.set] holds values by path, such as "shift/semitones" = 4.0, got {settings!r}')
        master = before.master if before is not None else {}
        if wanted is not None:
            preset = self._preset(wanted)
            chain, origin = preset.chain(), preset.name
            master = {**master, **preset.master}
        elif before is not None:
            chain, origin = before.chain, before.origin
        else:
            raise StageError('the first scene names a preset, preset = "NAME": a show begins with a sound of its own')
        own = {path: check_setting(chain, path, value) for path, value in settings.items()}
        master = {**master, **{path: value for path, value in own.items() if path.startswith("master/")}}
        return Scene(name, wanted, own, check_seconds(table.get("morph", 0.0)), chain.with_values(own), master, origin)

    def _preset(self, name: object) -> Preset:
        if not isinstance(name, str):
            raise StageError(f"preset is the name of one, or a file, got {name!r}")
        preset = load_preset(str(self.path.parent / name) if name.endswith(".toml") else name)
        self.absent += [line for line in preset.absent if line not in self.absent]
        return preset


def _named(table: dict[str, Any]) -> str:
    name = table.get("name")
    return f" ({name[:MAX_NAME]})" if isinstance(name, str) and name.isprintable() else ""


def check_setting(chain: Chain, path: str, value: object) -> float:
    """Return a value for a path of a chain, or of `master/`, as a checked float; raises StageError that says the way out."""
    key, _, name = path.partition("/")
    if key == "master":
        return check_master(name, value)
    stage = chain[key].stage
    if name in {option.name for option in stage.options}:
        raise StageError(f"{path} is fixed while it runs, because it sets the latency; set it in the preset")
    parameter = BYPASS if name == "bypass" else stage.parameters[stage.parameter(name)]
    try:
        return parameter.check(numbered(chain[key].stage.name, {name: value})[name])
    except (StageError, OverflowError) as error:
        raise StageError(f"{key}/{error}") from None
