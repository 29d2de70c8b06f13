"""`autovoice render`: a file through a chain, with the very bits a live run would have played."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import build_chain, chain_options, chain_specs, note, on_terminal, print_json
from autovoice.tools.values import Real, Whole

if TYPE_CHECKING:
    from autovoice.rt.backends.file import FileRender, Rendered

LONG_S = 30.0  # of sound: what is shorter is done before a bar would be read


@click.command("render")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@chain_options
@click.option(
    "--block", type=Whole(1, 8192), default=64, show_default=True, metavar="FRAMES", help="Block of the live run to equal."
)
@click.option("--channels", type=Whole(1, 8), metavar="N", help="Channels of OUT.  [default: the preset's, or IN's]")
@click.option(
    "--stretch", type=Real(0.25, 4), default=1.0, metavar="FACTOR", help="Make IN that many times as long before the chain."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done on stdout.")
def command(
    source: Path,
    target: Path,
    settings: tuple[str, ...],
    block: int,
    channels: int | None,
    stretch: float,
    as_json: bool,
    **request: Any,
) -> None:
    """Process the sound file IN and write OUT.

    OUT has IN's rate and its length times --stretch: the chain's latency is cut off the front. OUT.wav holds 32-bit floats,
    OUT.flac 24-bit integers.
    """
    with Compiling():
        from autovoice.rt.backends.file import FileRender

        specs, trims, wanted = chain_specs(request)
        built, master = build_chain(specs, settings)
        changes = {**trims, **master}
        job = FileRender(
            built,
            source,
            target,
            block=block,
            changes=changes,
            channels=wanted if channels is None else channels,
            stretch=stretch,
        )
    done, seconds = run_job(job, source, target)
    if as_json:
        times = {"seconds": seconds, "times_real_time": speed(done, seconds)}
        print_json({**asdict(done), "input": source, "output": target, **times})


def run_job(job: FileRender, source: Path, target: Path) -> tuple[Rendered, float]:
    """Render, with a progress bar where it takes long, and note what there is to say; returns the seconds it took, too."""
    began = time.monotonic()
    if on_terminal() and job.frames > LONG_S * job.sample_rate:
        with click.progressbar(length=job.frames, label=source.name, file=sys.stderr) as bar:
            done = job.run(bar.update)
    else:
        done = job.run()
    seconds = time.monotonic() - began
    if done.peak > 1.0 and target.suffix.lower() == ".flac":
        note(f"{target} was clipped: its peak is {done.peak:.3f} of full scale; write .wav, or lower master/output")
    if done.nonfinite:
        note(f"{source} holds {done.nonfinite} samples that are not numbers; they were taken as 0")
    for line in done.lacking:
        note(f"played live, {line}")
    return done, seconds


def speed(done: Rendered, seconds: float) -> float:
    """Return how many times faster than its sound a render was."""
    return done.frames / done.sample_rate / seconds
