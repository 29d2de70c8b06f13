"""Where a user's own presets lie, and the TOML in them and in all else that is kept of a show. Control thread only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from autovoice.dsp.stage import StageError
from autovoice.rt.store import Store, read_file, write_file

MAX_BYTES = 1 << 18  # of a file that is read; the longest chain there can be takes a tenth
OWN = Store("preset", "presets", ".toml")
user_folder, user_file, user_names = OWN.folder, OWN.file, OWN.names


def read_toml(path: Path, what: str, where: str) -> dict[str, Any]:
    """Read a TOML file; raises StageError with one line where it cannot be read, is no such file, or is too long."""
    content = read_file(path, what, where, MAX_BYTES)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise StageError(f"{where} is not a {what}: {' '.join(str(error).split())}") from error


def toml(data: Mapping[str, Any]) -> bytes:
    """Return data as the bytes of a TOML file."""
    return tomli_w.dumps(data).encode()


def write_toml(path: Path, data: Mapping[str, Any]) -> None:
    """Write a TOML file, whole or not at all; raises OSError."""
    write_file(path, toml(data))
