"""Where a user's own presets lie, and how a file is written so that it is whole or not there.

Control thread only. A name that passes `check_name` holds no separator and no dot, so it names a file in the folder and
nowhere else, whoever sent it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from autovoice.dsp.stage import StageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
MAX_BYTES = 1 << 18  # of a file that is read; the longest chain there can be takes a tenth


def check_name(name: object, what: str = "preset") -> str:
    """Return a name that is safe as a file's; raises StageError that says what it may hold."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise StageError(
            f"a {what}'s name has 1 to 64 letters, digits, spaces, - and _, and begins with a letter or digit, "
            f"got {str(name)[:80]!r}"
        )
    return name


def xdg_folder(variable: str, default: str) -> Path:
    """Return AutoVoice's folder under an XDG base directory; a relative one is passed over, as the standard asks."""
    base = os.environ.get(variable, "")
    return (Path(base) if os.path.isabs(base) else Path.home() / default) / "autovoice"


def user_folder() -> Path:
    """Return the folder of the user's own presets, which need not exist."""
    return xdg_folder("XDG_DATA_HOME", ".local/share") / "presets"


def user_file(name: str) -> Path:
    """Return the file of a user's preset, which need not exist; raises StageError where a link leads out of the folder."""
    path = user_folder() / f"{check_name(name)}.toml"
    if path.resolve().parent != path.parent.resolve():
        raise StageError(f"preset {name}: {path} is a link that leads out of its folder; put the file itself there")
    return path


def user_names() -> list[str]:
    """Return the names of the user's own presets: every file in the folder that a name can reach."""
    names = []
    try:
        for entry in os.scandir(user_folder()):
            stem, suffix = os.path.splitext(entry.name)
            if suffix == ".toml" and NAME.fullmatch(stem) and entry.is_file():
                names.append(stem)
    except OSError:
        return []  # no folder yet, or none that we may read: load says why
    return sorted(names)


def read_toml(path: Path, what: str, where: str) -> dict[str, Any]:
    """Read a TOML file; raises StageError with one line where it cannot be read, is no such file, or is too long."""
    try:
        if path.exists() and not path.is_file():
            raise StageError(f"{where} is not a file")  # a pipe would keep us waiting for ever
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StageError(f"no {what} can be read at {where}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise StageError(f"{where}: a {what} has at most {MAX_BYTES} bytes")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise StageError(f"{where} is not a {what}: {' '.join(str(error).split())}") from error


def write_toml(path: Path, data: Mapping[str, Any]) -> None:
    """Write a TOML file beside its place and rename it there, so that a reader or a crash finds the old one or the new one.

    Makes the folder; raises OSError and then leaves what was there as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            tomli_w.dump(data, file)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the content does
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
