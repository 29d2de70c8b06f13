"""What a user keeps under names of their own, presets and voices: a folder for each, and files that are whole or not there.

Control thread only. A name that passes `check_name` holds no separator and no dot, so it names a file in the folder and
nowhere else, whoever sent it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from autovoice.dsp.stage import StageError, suggest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
SHARED, PRIVATE = 0o666, 0o600
"""Who may read a file: whoever the user's umask lets, or the user alone."""


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


@dataclass(frozen=True, slots=True)
class Store:
    """The user's own things of one kind, each a file `NAME.suffix` in one folder, which need not exist.

    What is wrong is raised as `error`, with one line that says the way out; a name that is none as StageError.
    """

    what: str  # one of them, in words
    folder_name: str
    suffix: str
    error: type[ValueError] = StageError
    mode: int = SHARED

    def folder(self) -> Path:
        """Return the folder."""
        return xdg_folder("XDG_DATA_HOME", ".local/share") / self.folder_name

    def file(self, name: str) -> Path:
        """Return the file of a name, which need not exist; refuses one that is a link out of the folder."""
        path = self.folder() / f"{check_name(name, self.what)}{self.suffix}"
        if path.resolve().parent != path.parent.resolve():
            raise self.error(f"{self.what} {name}: {path} is a link that leads out of its folder; put the file itself there")
        return path

    def names(self) -> list[str]:
        """Return the names: every file in the folder that a name can reach."""
        try:
            entries = [entry.name for entry in os.scandir(self.folder()) if entry.is_file()]
        except OSError:
            return []  # no folder yet, or none that we may read: reading and writing say why
        stems = (entry.removesuffix(self.suffix) for entry in entries if entry.endswith(self.suffix))
        return sorted(stem for stem in stems if NAME.fullmatch(stem))

    def check_own(self, name: str) -> str:
        """Return a name that there is; refuses any other and offers the nearest."""
        if name not in self.names():
            raise self.error(f"no {self.what} of your own is called {name!r}{suggest(name, self.names())}")
        return name

    def write(self, name: str, data: bytes) -> Path:
        """Write a file in place of the one of that name, and return it; where that fails, the old one is still there."""
        path = self.file(name)
        try:
            write_file(path, data, self.mode)
        except OSError as error:
            raise self.error(f"{self.what} {name} was not saved: {error.strerror} ({path.parent})") from error
        return path

    def delete(self, name: str) -> None:
        """Delete a file that there is."""
        try:
            self.file(self.check_own(name)).unlink()
        except OSError as error:
            raise self.error(f"{self.what} {name} was not deleted: {error.strerror}") from error


def read_file(path: Path, what: str, where: str, most: int, error: type[ValueError] = StageError) -> bytes:
    """Read a file of at most so many bytes; raises `error` with one line where it cannot be read, is none, or is too long."""
    try:
        if path.exists() and not path.is_file():
            raise error(f"{where} is not a file")  # a pipe would keep us waiting for ever
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as reason:
        raise error(f"no {what} can be read at {where}: {reason.strerror}") from reason
    if len(content) > most:
        raise error(f"{where}: a {what} has at most {most} bytes")
    return content


def write_file(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Write a file beside its place and rename it there, so that a reader or a crash finds the old one or the new one.

    Makes the folder; raises OSError and then leaves what was there as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the content does
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
