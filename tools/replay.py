"""`autovoice replay`: a take rendered again from its input and its log, and held against what was heard."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import CommandError, note, on_terminal, print_json

if TYPE_CHECKING:
    from autovoice.rt.take.replay import Replayed

LONG_S = 30.0  # of sound: what is shorter is done before a bar would be read
NAME = "replay.wav"


@click.command("replay")
@click.argument("take", metavar="TAKE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="WET.wav", help=f"[default: TAKE/{NAME}]")
@click.option("--check", is_flag=True, help="Exit with 1 unless it is the same, bit for bit.")
@click.option(
    "--allow-stage",
    "allowed",
    multiple=True,
    metavar="FILE.py",
    help="Run a stage of the user's own. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found on stdout.")
def command(take: Path, out: Path | None, check: bool, allowed: tuple[str, ...], as_json: bool) -> int:
    """Render a TAKE again, a folder or the log in it, and compare it with the sound that was heard."""
    if not take.exists():
        raise CommandError(f"no take at {take}; give its folder, or the log.jsonl in it")
    with Compiling():
        from autovoice.rt.take.replay import Replay

        replay = Replay(take, allowed)
    target = replay.folder / NAME if out is None else out
    began = time.monotonic()
    with ExitStack() as stack:
        progress = None
        if on_terminal() and replay.frames > LONG_S * replay.header.sample_rate:
            bar = stack.enter_context(click.progressbar(length=replay.frames, label=replay.folder.name, file=sys.stderr))
            progress = bar.update
        found = replay.run(target, progress)
    seconds = time.monotonic() - began
    if as_json:
        speed = found.frames / found.sample_rate / seconds
        print_json({"take": replay.folder, "output": target, "same": found.same, **asdict(found), "times_real_time": speed})
    else:
        click.echo(f"{target}: {verdict(found)}")
    for line in found.notes:
        note(line)
    return 0 if found.same or not check else 1


def verdict(found: Replayed) -> str:
    """Say in one line how the replay compares with what was heard."""
    rate = found.sample_rate
    if found.checked == 0:
        return "no part of the take can be held against it"
    if found.different:
        where = (found.first_different or 0) / rate
        level = 20 * _log10(found.largest)
        return f"differs first at {where:.3f} s, in {found.different} of {found.checked} frames, by {level:.1f} dBFS at most"
    spans = ", ".join(f"from {span.begin / rate:.3f} to {span.end / rate:.3f} s" for span in found.exact)
    return f"bit for bit the same {spans} (of {found.frames / rate:.3f} s)"


def _log10(value: float) -> float:
    from math import log10

    return log10(max(value, 1e-30))
