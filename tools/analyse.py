"""`autovoice analyse`: pitch, vibrato, levels and colour of a recorded voice, as the live stages hear them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import print_json
from autovoice.tools.status import note_name

if TYPE_CHECKING:
    from autovoice.rt import Track

CURVES = (
    "time_s", "f0_hz", "voicing", "level_dbfs", "vibrato_hz", "vibrato_cents", "vibrato_regularity",
    "tilt_db", "dynamics_db", "hnr_db",
)  # fmt: skip
SHORTEST_VIBRATO_S = 0.1  # of reports
SAME_RATE = 0.15  # relative difference below which two rates belong to one vibrato


@click.command("analyse")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print figures and curves: times, f0, voicing, levels, vibrato, colour.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Draw spectrogram, pitch, vibrato and colour.",
)
def command(source: Path, as_json: bool, plot: Path | None) -> None:
    """Measure pitch, vibrato, level and colour of the voice in the sound file IN."""
    with Compiling():
        from autovoice.rt import Chain
        from autovoice.rt.backends.file import open_sound

        chain = Chain(["vibrato"])
        with open_sound(source) as sound:
            dry = sound.read(dtype="float32", always_2d=True).T
            sample_rate = float(sound.samplerate)
        track = chain.analyse(dry, sample_rate=sample_rate)
    summary = summarise(dry, track, sample_rate)
    if plot is not None:
        from autovoice.tools.voice_report import draw

        draw(plot, dry.mean(0), track, summary["vibrato"], sample_rate, title=source.name)
    if as_json:
        print_json({"input": source, **summary, "track": {name: getattr(track, name) for name in CURVES}})
        return
    for line in describe(source, summary):
        click.echo(line)


def describe(source: Path, summary: dict[str, Any]) -> list[str]:
    """Say the figures, one line for each kind."""
    f0, colour, channels = summary["f0_hz"], summary["colour"], summary["channels"]
    lines = [
        f"{source}: {summary['seconds']:.2f} s, {channels} channel{'s' * (channels > 1)}, {summary['sample_rate']:g} Hz",
        f"level    peak {summary['peak_dbfs']:.1f} dBFS, RMS {summary['rms_dbfs']:.1f} dBFS",
    ]
    if f0 is None or colour is None:
        return [*lines, "pitch    none found"]
    lines += [
        f"pitch    median {f0['median']:.1f} Hz ({note_name(f0['median'])} cents), {f0['low']:.1f} to {f0['high']:.1f} Hz "
        f"({note_name(f0['low'])} to {note_name(f0['high'])}) in nine tenths of the voiced part, "
        f"voiced {100 * summary['voiced_share']:.0f} %",
        f"colour   tilt {colour['tilt_db']:.1f} dB per octave, harmonics to noise {colour['hnr_db']:.1f} dB, "
        f"dynamics {colour['dynamics_db']:.1f} dB",
    ]
    if not summary["vibrato"]:
        return [*lines, "vibrato  none found"]
    for k, part in enumerate(summary["vibrato"]):
        lines.append(
            f"{'' if k else 'vibrato':<8} {part['start_s']:6.2f} to {part['end_s']:6.2f} s   {part['rate_hz']:4.1f} Hz   "
            f"{part['extent_cents']:4.0f} cents   regularity {part['regularity']:.2f}   on {note_name(part['f0_hz'])}"
        )
    return lines


def summarise(dry: Any, track: Track, sample_rate: float) -> dict[str, Any]:
    """Return length, levels in dBFS, the pitch of the voiced part (5th to 95th percentile), its colour and its vibrato."""
    import numpy as np

    voiced = track.f0_hz > 0

    def dbfs(amplitude: float) -> float:
        return 20 * float(np.log10(max(amplitude, 1e-6)))

    pitch = colour = None
    if voiced.any():
        low, median, high = (float(value) for value in np.percentile(track.f0_hz[voiced], [5, 50, 95]))
        pitch = {"low": low, "median": median, "high": high}
        colour = {name: float(np.median(getattr(track, name)[voiced])) for name in ("tilt_db", "hnr_db", "dynamics_db")}
    return {
        "seconds": dry.shape[1] / sample_rate,
        "channels": dry.shape[0],
        "sample_rate": sample_rate,
        "peak_dbfs": dbfs(np.abs(dry).max()),
        "rms_dbfs": dbfs(float(np.sqrt(np.mean(np.square(dry, dtype=np.float64))))),
        "f0_hz": pitch,
        "voiced_share": np.count_nonzero(voiced) / max(len(voiced), 1),
        "colour": colour,
        "vibrato": vibratos(track),
    }


def vibratos(track: Track) -> list[dict[str, float]]:
    """Return the stretches with vibrato: start and end in s, medians of rate, extent, regularity and pitch.

    What the stage reports speaks of the window before; so a stretch begins half a window before its first report. Reports
    that a consonant parts belong together where the next stretch would begin before the last has ended, at a like rate.
    """
    import numpy as np
    from autovoice.dsp.undulation import WINDOW_S

    time_s, rate_hz = track.time_s, track.vibrato_hz
    runs: list[np.ndarray[Any, Any]] = []  # indices of the reports of each stretch
    for first, last in np.flatnonzero(np.diff((rate_hz > 0).astype(int), prepend=0, append=0)).reshape(-1, 2):
        run = np.arange(first, last)
        near = bool(runs) and time_s[first] - WINDOW_S / 2 <= time_s[runs[-1][-1]]
        if near and abs(np.median(rate_hz[run]) / np.median(rate_hz[runs[-1]]) - 1) < SAME_RATE:
            runs[-1] = np.concatenate([runs[-1], run])
        else:
            runs.append(run)
    found = []
    begin_s = 0.0
    for run in runs:
        if time_s[run[-1]] - time_s[run[0]] < SHORTEST_VIBRATO_S:
            continue
        begin_s, end_s = max(begin_s, float(time_s[run[0]]) - WINDOW_S / 2), float(time_s[run[-1]])
        within = (time_s >= begin_s) & (time_s <= end_s) & (track.f0_hz > 0)
        values = {
            "rate_hz": rate_hz[run],
            "extent_cents": track.vibrato_cents[run],
            "regularity": track.vibrato_regularity[run],
            "f0_hz": track.f0_hz[within],
        }
        found.append({"start_s": begin_s, "end_s": end_s, **{name: float(np.median(value)) for name, value in values.items()}})
        begin_s = end_s
    return found
