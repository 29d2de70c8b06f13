"""The log in a file; a module of its own, since what it stands on takes a while to import."""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import WatchedFileHandler

import click


class LogFile(WatchedFileHandler):
    """The log in a file, which may be rotated; one line says where it cannot be written any more, and the show goes on."""

    failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one; another file is opened where this was moved away."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close it; what a full disk did not take is lost."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say it once."""
        if not self.failed:
            self.failed = True
            click.echo(
                f"autovoice: the log {self.baseFilename} cannot be written: {sys.exc_info()[1]}; the voice plays on", err=True
            )
