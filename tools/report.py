"""The demo's picture: spectrograms of dry and wet with the pitch over them, pitch against its target, callback times.

    python -m autovoice.tools.report FOLDER < figures.json

A program of its own: Matplotlib's memory and threads stay out of the live process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from autovoice.rt import Track
    from autovoice.rt.presets import Preset

Array = np.ndarray[Any, Any]

WINDOW_S, HOP_S = 0.064, 0.008  # long enough to resolve the harmonics of a low voice
LOW_HZ, HIGH_HZ, ROWS = 60.0, 8_000.0, 360  # the spectrogram's logarithmic frequency axis
RANGE_DB = 75.0  # below the loudest point, shown
LEVEL_S = 0.03  # over which a level is taken
FREQUENCY_TICKS = (100, 200, 500, 1000, 2000, 5000)
PITCH_TICKS = (60, 80, 100, 150, 200, 300, 400)
DRY, WET, WANTED, MARK = "#2a6f97", "#c8553d", "#6b7280", "#f4f4f4"
TRACK_OVER_SOUND = "#7df9ff"


def spectrogram(sound: Array, sample_rate: float) -> tuple[Array, Array, Array]:
    """Return (times in s, frequencies in Hz, levels in dB) of a Hann-windowed STFT on a logarithmic frequency axis.

    `sound` is of shape (frames,); levels are of shape (ROWS, times), 0 dB being a full-scale sine.
    """
    size, hop = round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)
    window = np.hanning(size).astype(np.float32)
    padded = np.pad(sound, (size // 2, size))
    starts = np.arange(0, len(sound), hop)
    bins = 1 << (2 * size).bit_length()
    frequencies = np.geomspace(LOW_HZ, min(HIGH_HZ, sample_rate / 2), ROWS)
    place = frequencies * bins / sample_rate
    levels = np.empty((ROWS, len(starts)), np.float32)
    for k, start in enumerate(starts):
        magnitude = np.abs(np.fft.rfft(padded[start : start + size] * window, bins)) * (2 / window.sum())
        levels[:, k] = 20 * np.log10(np.interp(place, np.arange(len(magnitude)), magnitude) + 1e-7)
    return starts / sample_rate, frequencies, levels


def draw_spectrogram(axes: Axes, sound: Array, sample_rate: float, track: Track, title: str) -> None:
    """Draw one sound with its pitch over it."""
    times, frequencies, levels = spectrogram(sound, sample_rate)
    top = float(levels.max())
    axes.pcolormesh(times, frequencies, levels, cmap="magma", vmin=top - RANGE_DB, vmax=top, shading="nearest", rasterized=True)
    axes.plot(track.time_s, voiced(track), color=TRACK_OVER_SOUND, linewidth=1.4, label="f0")
    axes.set(yscale="log", ylim=(LOW_HZ, frequencies[-1]), xlim=(0, len(sound) / sample_rate), ylabel="Hz")
    axes.set_yticks(FREQUENCY_TICKS, [f"{tick:g}" for tick in FREQUENCY_TICKS])
    axes.minorticks_off()
    axes.set_title(title, loc="left", fontsize=10)


def voiced(track: Track) -> Array:
    """Return f0 in Hz with gaps where there is none."""
    return np.where(track.f0_hz > 0, track.f0_hz, np.nan)


def draw_marks(axes: Axes, score: list[tuple[float, str]], *, text: bool, color: str) -> None:
    """Draw where parameters were changed."""
    for seconds, label in score:
        axes.axvline(seconds, color=color, linewidth=0.9, linestyle=(0, (4, 3)))
        if text:
            axes.text(seconds, 0.97, f" {label}", color=color, transform=axes.get_xaxis_transform(), va="top", fontsize=9)


def draw_pitch(axes: Axes, dry: Track, wet: Track, shifts: list[tuple[float, float]]) -> None:
    """Draw the wet voice's pitch against the dry one's moved by the semitones that were asked for."""
    steps = np.zeros_like(dry.time_s)
    for seconds, semitones in shifts:
        steps[dry.time_s >= seconds] = semitones
    axes.plot(dry.time_s, voiced(dry), color=DRY, linewidth=1.0, label="dry")
    axes.plot(
        dry.time_s,
        voiced(dry) * 2 ** (steps / 12),
        color=WANTED,
        linewidth=3.2,
        alpha=0.45,
        label="dry, moved by the semitones asked for",
    )
    axes.plot(wet.time_s, voiced(wet), color=WET, linewidth=1.2, label="wet, as measured")
    heard = np.concatenate([dry.f0_hz[dry.f0_hz > 0], wet.f0_hz[wet.f0_hz > 0], [LOW_HZ]])
    axes.set(yscale="log", ylim=(LOW_HZ / 1.2, np.percentile(heard, 99) * 1.5), ylabel="f0, Hz")
    axes.set_yticks(PITCH_TICKS, [f"{tick:g}" for tick in PITCH_TICKS])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", ncols=3, fontsize=8, frameon=False)
    axes.set_title("Pitch", loc="left", fontsize=10)


def draw_levels(axes: Axes, dry: Array, wet: Array, sample_rate: float) -> None:
    """Draw both levels: what gate, compressor and trims did."""
    size = round(LEVEL_S * sample_rate)
    for sound, color, label in ((dry, DRY, "dry"), (wet, WET, "wet")):
        parts = sound[: len(sound) // size * size].reshape(-1, size)
        levels = 10 * np.log10(np.square(parts, dtype=np.float64).mean(1) + 1e-12)
        axes.plot((np.arange(len(levels)) + 0.5) * LEVEL_S, levels, color=color, linewidth=1.1, label=label)
    axes.set(ylim=(-95, 0), ylabel="dBFS RMS", xlabel="s")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", ncols=2, fontsize=8, frameon=False)
    axes.set_title("Level", loc="left", fontsize=10)


def draw_callbacks(axes: Axes, edges_us: Array, counts: Array, summary: dict[str, Any]) -> None:
    """Draw how long the callbacks took, against the period they had."""
    period_us = summary["block"] / summary["sample_rate"] * 1e6
    used = np.flatnonzero(counts)
    first, last = used[0], used[-1]
    axes.stairs(counts[first : last + 1], edges_us[first : last + 2], fill=True, color=DRY, baseline=0.5)
    axes.set(xscale="log", yscale="log", xlim=(edges_us[first] * 0.8, period_us * 1.3), ylim=(0.5, counts.max() * 6))
    axes.axvline(period_us, color=WET, linewidth=1.5)
    axes.text(
        period_us * 0.97, counts.max() * 3.5, f"the period, {period_us:.0f} µs ", color=WET, ha="right", va="top", fontsize=8
    )
    times = summary["callback_us"]
    for height, (name, key) in enumerate((("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max"))):
        axes.axvline(times[key], color="black", linewidth=0.7, linestyle=":")
        axes.text(times[key], counts.max() * 4 / 2.2**height, f" {name} {times[key]:.1f}", fontsize=8, va="top")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="µs in the callback", ylabel="callbacks")
    axes.set_title("Callback times", loc="left", fontsize=10)


def draw_stages(axes: Axes, stage_us: dict[str, dict[str, float]]) -> None:
    """Draw what each stage costs: its median and its 99.9th percentile."""
    names = list(stage_us)[::-1]
    places = np.arange(len(names))
    axes.barh(places, [stage_us[name]["p999"] for name in names], color=DRY, alpha=0.3, label="p99.9")
    axes.barh(places, [stage_us[name]["p50"] for name in names], color=DRY, label="p50")
    axes.set_yticks(places, names)
    axes.set(xlabel="µs in the stage")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.set_title("Stages", loc="left", fontsize=10)


def headline(summary: dict[str, Any]) -> str:
    """Say the figures in two lines."""
    latency, rate = summary["latency_frames"], summary["sample_rate"]
    return (
        f"AutoVoice live on {summary['backend']}, {rate / 1e3:g} kHz, {summary['block']} frames, "
        f"real-time {'granted' if summary['realtime'] else 'refused'}\n"
        f"latency {latency['measured']} frames measured, {latency['declared']} declared "
        f"({latency['measured'] / rate * 1e3:.1f} ms)    load {100 * summary['load']:.1f} %    "
        f"{summary['frames']:,} of {summary['expected_frames']:,} frames, {summary['xruns']} xruns, "
        f"{summary['deadline_misses']} deadline misses, {summary['late_wakes']} late wakes"
    )


def draw_demo(folder: Path, figures: dict[str, Any]) -> None:
    """Draw report.png from wet.wav, dry.wav and the figures."""
    from autovoice.rt import Chain

    tracker = Chain(["pitch"])
    dry, rate = soundfile.read(folder / "dry.wav", dtype="float32")
    wet, _ = soundfile.read(folder / "wet.wav", dtype="float32")
    dry_track, wet_track = (tracker.analyse(sound, sample_rate=rate) for sound in (dry, wet))
    score = [(seconds, text) for seconds, _, text in figures["score"]]
    shifts = [(seconds, semitones) for seconds, semitones, _ in figures["score"]]
    figure = plt.figure(figsize=(14, 13), layout="constrained")
    grid = figure.add_gridspec(5, 2, height_ratios=(1.2, 1.2, 0.9, 0.55, 0.8), width_ratios=(1.7, 1))
    above = figure.add_subplot(grid[0, :])
    draw_spectrogram(above, dry, rate, dry_track, "Dry, with its pitch")
    below = figure.add_subplot(grid[1, :], sharex=above)
    draw_spectrogram(below, wet, rate, wet_track, "Wet, with its pitch")
    draw_marks(below, score, text=True, color=MARK)
    pitch = figure.add_subplot(grid[2, :], sharex=above)
    draw_pitch(pitch, dry_track, wet_track, shifts)
    level = figure.add_subplot(grid[3, :], sharex=above)
    draw_levels(level, dry, wet, rate)
    for axes in (pitch, level):
        draw_marks(axes, score, text=False, color=WANTED)
    for axes in (above, below, pitch):
        axes.tick_params(labelbottom=False)
    draw_callbacks(
        figure.add_subplot(grid[4, 0]), np.array(figures["edges_us"]), np.array(figures["counts"]), figures["summary"]
    )
    draw_stages(figure.add_subplot(grid[4, 1]), figures["stage_us"])
    figure.suptitle(headline(figures["summary"]), x=0.01, ha="left", fontsize=11)
    figure.savefig(folder / "report.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Draw the demo's report."""
    draw_demo(Path(sys.argv[1]), json.load(sys.stdin))


if __name__ == "__main__":
    main()


def new_figure() -> Figure:
    """Return an empty figure of the manual's size."""
    return plt.figure(figsize=(8, 4), dpi=110, layout="constrained")


def draw_presets(presets: Sequence[Preset], path: Path) -> None:
    """Draw the spectrogram of one sentence, and of what each preset makes of it."""
    from autovoice.tools.speech import default_paths, load

    rate = 48_000
    speech = load(default_paths()[:1], rate, 3.0)
    sounds = [("the voice", speech)]
    for preset in presets:
        wet = preset.chain().render(speech, sample_rate=rate, channels=preset.channels)
        sounds.append((preset.name, np.atleast_2d(wet).mean(0)))
    columns = 5
    rows = -(-len(sounds) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(13, 2.6 * rows), dpi=100, layout="constrained", sharex=True, sharey=True
    )
    for axes, (title, sound) in zip(panels.flat, sounds, strict=False):
        axes.specgram(sound, NFFT=1024, Fs=rate, noverlap=768, vmin=-130, vmax=-40, cmap="magma")
        axes.set(title=title, ylim=(0, 8000))
    for axes in panels.flat[len(sounds) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("frequency (Hz)")
    for axes in panels[-1]:
        axes.set_xlabel("time (s)")
    partial = path.with_name(path.name + ".part")
    figure.savefig(partial, format="png")
    plt.close(figure)
    partial.replace(path)
