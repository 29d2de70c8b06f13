"""What is said while a program runs: lines for the person at the terminal, and a log for everything that comes after.

The terminal shows notes and errors, one line each. A log, JSON lines or text, holds every event besides, each with time, level,
event, session and engine. The standard library's `logging` carries both, so what `autovoice.rt` logs arrives here too; nothing
of it runs on the audio thread, where there is no Python.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autovoice.rt import Stats

FORMATS = ("text", "json")
ROOT = logging.getLogger("autovoice")
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "note"}
"""What a record holds by itself; everything else was given by `extra` and belongs to the event."""

TROUBLE_S, READING_S = 10.0, 60.0  # between two records of what went wrong, and of calm readings

_bound: dict[str, Any] = {}
_hidden: set[str] = set()


def bind(**fields: Any) -> None:
    """Add fields to every record from now on: the session and the engine."""
    _bound.update(fields)


def hide(secret: str) -> None:
    """Keep a token out of log files; what is on stderr is for whoever started the program."""
    _hidden.add(secret)


def note(message: str, **fields: Any) -> None:
    """Tell the person and the log."""
    ROOT.info(message, extra={"note": True, **fields})


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Tell the log what happened: `event("recording started", path=path)`."""
    ROOT.log(level, name, extra=fields)


def show(message: str) -> None:
    """Tell the person alone, where somebody else has told the log."""
    if TERMINAL in ROOT.handlers:
        TERMINAL.show(message)


def as_json(record: logging.LogRecord) -> str:
    """Return a record as one line of JSON."""
    return json.dumps({**_head(record), **_bound, **_fields(record)}, default=str, ensure_ascii=False)


def as_text(record: logging.LogRecord) -> str:
    """Return a record as one line for people: time, level, event, then `name=value` for what belongs to it."""
    head, fields = _head(record), {**_bound, **_fields(record)}
    told = " ".join(f"{name}={json.dumps(value, default=str, ensure_ascii=False)}" for name, value in fields.items())
    return f"{head['time']} {head['level']:<7} {head['event']}{'  ' + told if told else ''}"


def _head(record: logging.LogRecord) -> dict[str, str]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": time, "level": record.levelname.lower(), "event": " ".join(record.getMessage().split())}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in STANDARD}
    if record.exc_info:
        fields["trace"] = logging.Formatter().formatException(record.exc_info)
    return fields


class Terminal(logging.Handler):
    """Shows notes and errors on stderr, above a status line that may stand there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        if getattr(record, "note", False) or record.levelno >= logging.ERROR:
            self.show(record.getMessage())

    def show(self, message: str) -> None:
        """Show a line."""
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        click.echo(f"{clear}autovoice: {' '.join(message.split())}", err=True)


class Lines(logging.Formatter):
    """One of the formats, by name."""

    def __init__(self, form: str, *, secret: bool) -> None:
        """Choose from FORMATS, and whether others may read it."""
        super().__init__()
        self.line = as_json if form == "json" else as_text
        self.secret = secret

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line, without what a log file must not hold."""
        line = self.line(record)
        if not self.secret:
            for hidden in _hidden:
                line = line.replace(hidden, "***")
        return line


class Stderr(logging.Handler):
    """The log on stderr, in the terminal's place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        click.echo(self.format(record), err=True)


TERMINAL = Terminal()
ROOT.addHandler(TERMINAL)
ROOT.setLevel(logging.INFO)


def configure(form: str = "text", path: Path | None = None) -> bool:
    """Begin a log: in a file, or with "json" on stderr in the terminal's place. Says whether the terminal is left to people.

    Raises OSError where the file cannot be written.
    """
    keeper: logging.Handler | None = None
    if path is not None:
        from autovoice.tools.log_file import LogFile

        keeper = LogFile(path, encoding="utf-8")
    elif form == "json":
        keeper = Stderr()
    end()
    if keeper is not None:
        keeper.setFormatter(Lines(form, secret=isinstance(keeper, Stderr)))
        ROOT.addHandler(keeper)
    if isinstance(keeper, Stderr):
        ROOT.removeHandler(TERMINAL)
        return False
    return True


def end() -> None:
    """End a log, and give the terminal back."""
    for handler in list(ROOT.handlers):
        if isinstance(handler.formatter, Lines):
            ROOT.removeHandler(handler)
            handler.close()
    if TERMINAL not in ROOT.handlers:
        ROOT.addHandler(TERMINAL)
    _bound.clear()
    _hidden.clear()


class Readings:
    """Logs what a live engine counts: what went wrong every ten seconds at most, and how it goes every minute."""

    WRONG = ("xruns", "misses", "late_wakes", "nonfinite", "record_dropped")

    def __init__(self) -> None:
        """Begin with counts of zero."""
        self._before = dict.fromkeys(self.WRONG, 0)
        self._trouble_at = time.monotonic()
        self._reading_at = self._trouble_at + READING_S

    def look(self, stats: Stats, *, last: bool = False) -> None:
        """Look at the counts, as often as one likes; the `last` look logs whatever is new."""
        now = time.monotonic()
        counts = {name: int(getattr(stats, name)) for name in self.WRONG}
        new = {name: count - self._before[name] for name, count in counts.items() if count > self._before[name]}
        if new and (last or now >= self._trouble_at):
            event("trouble", logging.WARNING, **new, frames=stats.frames)
            self._before, self._trouble_at = counts, now + TROUBLE_S
        if last or now >= self._reading_at:
            event("reading", frames=stats.frames, load=round(stats.load, 4), callback_us=asdict(stats.callback_us), **counts)
            self._reading_at = now + READING_S
