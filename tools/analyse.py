"""`autovoice analyse`: the pitch and the levels of a recording, as the live tracker hears them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import print_json
from autovoice.tools.status import note_name

if TYPE_CHECKING:
    from autovoice.rt import Track


@click.command("analyse")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the track: times, f0, voicing and levels.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw spectrogram and pitch.")
def command(source: Path, as_json: bool, plot: Path | None) -> None:
    """Measure the pitch and the level of the sound file IN."""
    with Compiling():
        from autovoice.rt import Chain
        from autovoice.rt.backends.file import open_sound

        chain = Chain(["pitch"])
        with open_sound(source) as sound:
            dry = sound.read(dtype="float32", always_2d=True).T
            sample_rate = float(sound.samplerate)
        track = chain.analyse(dry, sample_rate=sample_rate)
    summary = summarise(dry, track, sample_rate)
    if plot is not None:
        from autovoice.tools.report import draw_analysis

        draw_analysis(plot, dry.mean(0), track, sample_rate, title=source.name)
    if as_json:
        points = {name: getattr(track, name) for name in ("time_s", "f0_hz", "voicing", "level_dbfs")}
        print_json({"input": source, **summary, "track": points})
        return
    click.echo(f"{source}: {summary['seconds']:.2f} s, {summary['channels']} channels, {sample_rate:g} Hz")
    click.echo(f"level  peak {summary['peak_dbfs']:.1f} dBFS, RMS {summary['rms_dbfs']:.1f} dBFS")
    if summary["f0_hz"] is None:
        click.echo("pitch  none found")
    else:
        f0 = summary["f0_hz"]
        click.echo(
            f"pitch  median {f0['median']:.1f} Hz ({note_name(f0['median'])} cents), {f0['low']:.1f} to {f0['high']:.1f} Hz "
            f"in nine tenths of the voiced part, voiced {100 * summary['voiced_share']:.0f} %"
        )


def summarise(dry: Any, track: Track, sample_rate: float) -> dict[str, Any]:
    """Return length, levels in dBFS and the pitch of the voiced part, 5th to 95th percentile."""
    import numpy as np

    voiced = track.f0_hz[track.f0_hz > 0]

    def dbfs(amplitude: float) -> float:
        return 20 * float(np.log10(max(amplitude, 1e-6)))

    low, median, high = np.percentile(voiced, [5, 50, 95]) if len(voiced) else (0.0, 0.0, 0.0)
    return {
        "seconds": dry.shape[1] / sample_rate,
        "channels": dry.shape[0],
        "sample_rate": sample_rate,
        "peak_dbfs": dbfs(np.abs(dry).max()),
        "rms_dbfs": dbfs(float(np.sqrt(np.mean(np.square(dry, dtype=np.float64))))),
        "f0_hz": {"low": low, "median": median, "high": high} if len(voiced) else None,
        "voiced_share": len(voiced) / max(len(track.f0_hz), 1),
    }
