"""A sign of life while stages compile, which happens once for each processor and version."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import click
from autovoice.tools.options import note, on_terminal

PATIENCE_S = 0.8  # a warm start takes less, and says nothing


def compile_apart(backend: str, stages: Iterable[str], *, always: bool = False) -> None:
    """Compile in another process what a run needs, where nothing was compiled yet or `always`.

    Says nothing of what goes wrong there: the run itself meets it again, and reports it.
    """
    from autovoice.dsp.stage import stage_file
    from autovoice.dsp.toolchain import ROOT, is_cold

    stages = list(stages)
    files = [ROOT / "rt" / "callback.py", *(stage_file(name) for name in stages)]
    if always or is_cold(path for path in files if path.is_file()):
        subprocess.run([sys.executable, "-m", "autovoice.tools.warm", backend, *stages], capture_output=True, check=False)


class Compiling:
    """Shows on stderr how many functions were compiled so far, once that takes longer than a warm start does."""

    def __enter__(self) -> Self:
        """Start to watch the compile cache."""
        self._began = time.monotonic()
        self._done = threading.Event()
        self._shown = False
        self._thread = threading.Thread(target=self._watch, name="autovoice-compiling", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take the line away again."""
        self._done.set()
        self._thread.join()
        if self._shown and on_terminal():
            click.echo("\r\x1b[K", err=True, nl=False)
        elif self._shown and kind is None:
            note(f"compiled in {time.monotonic() - self._began:.1f} s")

    def _watch(self) -> None:
        self._done.wait(PATIENCE_S)
        before: int | None = None
        while not self._done.wait(0.2):
            now = self._compiled()
            before = now if before is None else before
            if now is None or before is None or now == before:
                continue
            count = now - before
            if on_terminal():
                elapsed = time.monotonic() - self._began
                click.echo(
                    f"\r\x1b[Kautovoice: compiling for this processor, once: {count} functions, {elapsed:.0f} s",
                    err=True,
                    nl=False,
                )
            elif not self._shown:
                note("compiling for this processor, once; the next start is quick")
            self._shown = True

    def _compiled(self) -> int | None:
        """Count the functions in the compile cache; None before anyone knows where that is."""
        folder = getattr(sys.modules.get("autovoice.dsp.toolchain"), "CACHE_DIR", None)
        return sum(1 for _ in folder.rglob("*.nbc")) if folder is not None else None
