"""Time-stretching beside Signalsmith Stretch (python-stretch) and Rubber Band R3 (pylibrb), on held-out and real voices.

Log-spectral distance: the spectrum of the output around time t against that of the original around t / factor, root mean
square in dB over 50 Hz to 16 kHz, where 60 dB below the loudest bin is the floor, mean over all frames within 45 dB of the
loudest. Two Hann windows: 43 ms tell harmonics apart, 21 ms the pulses and bursts.

Transient spread: the standard deviation in time of the energy above 6 kHz within 60 ms of where a click belongs, alone and
over a vowel, less that of the click itself. A click heard twice, smeared or lost shows here or in the level error.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.rt import stretch
from autovoice.tools.lab.bench.offline import RATE, Offline

from benchmarks import corpus

FACTORS = (0.75, 1.25, 1.5)
WINDOWS = (2048, 1024)  # frames
HOP = 480  # frames
BAND_HZ = (50.0, 16_000.0)
FLOOR_DB, HEARD_DB = -60.0, -45.0
PASSES = 5

Audio = np.ndarray[Any, Any]
Report = Callable[[dict[str, Any]], None]


def autovoice(sound: Audio, factor: float) -> Audio:
    return stretch(sound, RATE, factor)


def signalsmith(sound: Audio, factor: float) -> Audio:
    stretcher = pytest.importorskip("python_stretch").Signalsmith.Stretch()
    stretcher.preset(1, RATE)
    stretcher.setTimeFactor(1 / factor)
    return np.asarray(stretcher.process(np.ascontiguousarray(sound[None])))[0]


def rubber_band(sound: Audio, factor: float) -> Audio:
    library = pytest.importorskip("pylibrb")
    options = library.Option.PROCESS_OFFLINE | library.Option.ENGINE_FINER
    stretcher = library.RubberBandStretcher(sample_rate=RATE, channels=1, options=options, initial_time_ratio=factor)
    sound = np.ascontiguousarray(sound[None], np.float32)
    stretcher.set_expected_input_duration(sound.shape[1])
    piece = min(stretcher.get_process_size_limit(), 16_384)
    starts = range(0, sound.shape[1], piece)
    for at in starts:
        stretcher.study(sound[:, at : at + piece], at + piece >= sound.shape[1])
    made = []
    for at in starts:
        stretcher.process(sound[:, at : at + piece], at + piece >= sound.shape[1])
        while stretcher.available() > 0:
            made.append(stretcher.retrieve(stretcher.available()))
    return np.concatenate(made, axis=1)[0]


STRETCHERS = {"autovoice": autovoice, "signalsmith": signalsmith, "rubber_band_r3": rubber_band}


def fitted(sound: Audio, frames: int) -> Audio:
    """Return a sound cut or padded to a length: a peer's may differ."""
    return np.pad(sound, (0, max(0, frames - len(sound))))[:frames]


def spectra(sound: Audio, centres: Audio, window: int) -> Audio:
    """Return magnitudes of Hann-windowed frames around given (fractional) positions, shape (frames, bins)."""
    padded = np.pad(sound.astype(np.float64), window)
    rows = np.round(centres).astype(int)[:, None] + window - window // 2 + np.arange(window)
    return np.abs(np.fft.rfft(padded[rows] * np.hanning(window + 1)[:window], axis=1))


def distance_db(dry: Audio, wet: Audio, factor: float, window: int) -> float:
    """Return the log-spectral distance to the linearly time-mapped original."""
    hz = np.fft.rfftfreq(window, 1 / RATE)
    band = (hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])
    centres = np.arange(0, len(wet), HOP)
    wanted, heard = (spectra(x, at, window)[:, band] for x, at in ((dry, centres / factor), (wet, centres)))
    top = wanted.max()
    kept = wanted.max(axis=1) > top * 10 ** (HEARD_DB / 20)
    ratio = np.maximum(wanted, top * 10 ** (FLOOR_DB / 20)) / np.maximum(heard, top * 10 ** (FLOOR_DB / 20))
    return float(np.mean(np.sqrt(np.mean((20 * np.log10(ratio[kept])) ** 2, axis=1))))


def clicks(over_vowel: bool) -> tuple[Audio, Audio]:
    """Return ten seconds of 1 ms noise bursts, 150 to 300 ms apart, and where they begin."""
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    at = (np.cumsum(rng.uniform(0.15, 0.3, 42)) * RATE).astype(int)
    at = at[(at > 0.2 * RATE) & (at < 9.5 * RATE)]
    sound = np.zeros(10 * RATE)
    for start in at:
        sound[start : start + 240] += 0.5 * rng.standard_normal(240) * np.exp(-np.arange(240) / 48)
    if over_vowel:
        turns = np.cumsum(140 * (1 + 0.03 * np.sin(2 * np.pi * 0.7 * np.arange(len(sound)) / RATE))) / RATE
        vowel = np.diff(np.floor(turns), prepend=0)
        for hz, width in ((700, 90), (1200, 110), (2600, 160)):
            r = np.exp(-np.pi * width / RATE)
            vowel = signal.lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * hz / RATE), r * r], vowel)
        sound += 0.1 * vowel / vowel.std()
    return sound.astype(np.float32), at


def transients(dry: Audio, wet: Audio, at: Audio, factor: float) -> dict[str, float]:
    """Return the mean excess spread, the mean displacement (ms) and the mean level error (dB) of clicks."""
    signal = pytest.importorskip("scipy.signal")
    highpass = signal.butter(8, 6000, "high", fs=RATE, output="sos")
    half = round(0.06 * RATE)
    ms = np.arange(-half, half) / RATE * 1e3

    def moments(sound: Audio, centre: int) -> tuple[float, float, float]:
        energy = sound[centre - half : centre + half] ** 2
        energy = np.maximum(energy - 3 * np.median(energy), 0)
        middle = float((energy * ms).sum() / energy.sum())
        return float(np.sqrt((energy * (ms - middle) ** 2).sum() / energy.sum())), middle, float(energy.sum())

    bright = [signal.sosfilt(highpass, sound.astype(np.float64)) for sound in (dry, wet)]
    before = np.array([moments(bright[0], int(k)) for k in at])
    after = np.array([moments(bright[1], round(k * factor)) for k in at])
    return {
        "excess_spread_ms": float(np.mean(np.abs(after[:, 0] - before[:, 0]))),
        "displacement_ms": float(np.mean(np.abs(after[:, 1] - before[:, 1]))),
        "level_error_db": float(np.mean(np.abs(10 * np.log10(after[:, 2] / before[:, 2])))),
    }


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("split", ["heldout", "real"])
def test_log_spectral_distance(report: Report, split: str, factor: float) -> None:
    clips = [clip.sound.astype(np.float32) for clip in corpus.speech(split)]
    table: dict[str, Any] = {"clips": len(clips), "factor": factor}
    for name, run in STRETCHERS.items():
        made = [run(sound, factor) for sound in clips]
        exact = [len(wet) == round(len(dry) * factor) for dry, wet in zip(clips, made, strict=True)]
        pairs = [(dry, fitted(wet, round(len(dry) * factor))) for dry, wet in zip(clips, made, strict=True)]
        distances = {
            f"lsd_{window}_db": float(np.mean([distance_db(dry, wet, factor, window) for dry, wet in pairs]))
            for window in WINDOWS
        }
        table[name] = {**distances, "exact_lengths": sum(exact)}
    report(table)
    assert table["autovoice"]["exact_lengths"] == len(clips)
    for window in WINDOWS:
        for peer in ("signalsmith", "rubber_band_r3"):
            assert table["autovoice"][f"lsd_{window}_db"] <= table[peer][f"lsd_{window}_db"]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("over_vowel", [False, True], ids=["alone", "over_vowel"])
def test_transient_spread(report: Report, over_vowel: bool, factor: float) -> None:
    dry, at = clicks(over_vowel)
    frames = round(len(dry) * factor)
    made = {name: transients(dry, fitted(run(dry, factor), frames), at, factor) for name, run in STRETCHERS.items()}
    report({"clicks": len(at), "factor": factor, **made})
    for peer in ("signalsmith", "rubber_band_r3"):
        assert made["autovoice"]["excess_spread_ms"] <= made[peer]["excess_spread_ms"]


@pytest.mark.parametrize("factor", FACTORS)
def test_speed(report: Report, voice: Audio, factor: float) -> None:
    """Time all three in turns on the same ten seconds."""
    sound = voice[: 10 * RATE]
    times: dict[str, list[float]] = {name: [] for name in STRETCHERS}
    for run in STRETCHERS.values():
        run(sound[:RATE], factor)
    for _ in range(PASSES):
        for name, run in STRETCHERS.items():
            begin = time.perf_counter()
            run(sound, factor)
            times[name].append(time.perf_counter() - begin)
    rows = {name: {"s": min(taken), "times_real_time": 10 / min(taken)} for name, taken in times.items()}
    ratios = {
        f"of_{peer}": statistics.median(o / p for o, p in zip(times["autovoice"], times[peer], strict=True))
        for peer in ("signalsmith", "rubber_band_r3")
    }
    report({"factor": factor, **rows, **ratios})
    assert max(ratios.values()) < 1


@pytest.mark.parametrize(
    "settings", [{}, {"speed": 0.5}, {"speed": 0.25}, {"freeze": 1}], ids=["rest", "half", "quarter", "freeze"]
)
def test_live_cost_is_even(report: Report, voice: Audio, settings: dict[str, float]) -> None:
    """Take each block's least cost over identical passes, as for all stages."""
    us = np.min([Offline([{"stage": "stretch", **settings}], voice).time_blocks() for _ in range(PASSES)], axis=0) / 1e3
    p50, p999 = np.percentile(us, [50, 99.9])
    report({"p50_us": p50, "p999_us": p999, "max_us": us.max(), "ratio": p999 / p50, "bar": 3})
