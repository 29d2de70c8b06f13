"""Equaliser, dynamics, delay and reverb beside Spotify's pedalboard (JUCE, C++): cost in the same run, and quality.

Costs are nanoseconds per block of 64 frames at 48 kHz, least of many runs taken in turns. Ours goes through the complete
engine (events, metering, input check, telemetry), which `engine_ns` measures with an empty chain, as `peer_engine_ns` does
with an empty Pedalboard; `stage_ratio` compares what is left without either. Nothing is asserted about time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.tools.lab.bench.offline import BLOCK, RATE, Offline
from scipy import signal

pedalboard = pytest.importorskip("pedalboard")

ROUNDS = 150
SECONDS = 1.0  # so short that some of the rounds run without being interrupted
Report = Callable[[dict[str, Any]], None]

BANDS = [
    ("low_cut", 80.0, 0.0, 0.71), ("low_shelf", 200.0, 3.0, 0.71), ("peak", 400.0, -3.0, 1.0), ("peak", 1500.0, 2.0, 1.0),
    ("peak", 3500.0, 3.0, 1.0), ("high_shelf", 9000.0, 3.0, 0.71),
]  # fmt: skip
NAMES = ("type", "frequency", "gain", "q")
EQ = {f"band{k + 1}_{n}": v for k, band in enumerate(BANDS) for n, v in zip(NAMES, band, strict=True)}


def _peer_eq() -> list[Any]:
    kinds = {"low_shelf": pedalboard.LowShelfFilter, "peak": pedalboard.PeakFilter, "high_shelf": pedalboard.HighShelfFilter}
    return [pedalboard.HighpassFilter(80)] + [kinds[kind](hz, gain, q) for kind, hz, gain, q in BANDS[1:]]


COSTS: dict[str, tuple[dict[str, Any] | None, Callable[[], list[Any]] | None, float | None]] = {
    "highpass": ({"stage": "highpass", "cutoff": 80.0}, lambda: [pedalboard.HighpassFilter(80)], None),
    "eq": ({"stage": "eq", **EQ}, _peer_eq, 0.5),
    "compressor": ({"stage": "compressor", "threshold": -24.0}, lambda: [pedalboard.Compressor(-24, 3, 5, 100)], 0.5),
    "compressor, side-chain": ({"stage": "compressor", "threshold": -24.0, "sidechain": 100.0}, None, None),
    "deesser": ({"stage": "deesser"}, None, None),
    "limiter, true peak": ({"stage": "limiter", "ceiling": -6.0}, lambda: [pedalboard.Limiter(-6, 100)], 1.0),
    "delay": ({"stage": "delay"}, lambda: [pedalboard.Delay(0.35, 0.35, 0.25)], 0.5),
    "reverb": ({"stage": "reverb"}, lambda: [pedalboard.Reverb()], 1.0),
}


def _ns_per_block(chain: Offline) -> float:
    """Process the whole recording; nanoseconds for each block."""
    return chain.run() * 1e9 / (chain.frames / BLOCK)


def _peer_ns(board: Any, sound: np.ndarray) -> float:
    start = time.perf_counter_ns()
    board.process(sound, RATE, buffer_size=BLOCK, reset=False)
    return (time.perf_counter_ns() - start) / (sound.shape[1] / BLOCK)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", COSTS)
def test_cost_vs_pedalboard(name: str, channels: int, voice: np.ndarray, report: Report) -> None:
    """Time a stage, an empty chain, the peer and an empty Pedalboard in turns."""
    spec, peer, bar = COSTS[name]
    sound = np.tile(2 * voice[RATE : round((1 + SECONDS) * RATE)], (channels, 1))
    runs: dict[str, Callable[[], float]] = {
        "ours_ns": partial(_ns_per_block, Offline([spec], sound)),
        "engine_ns": partial(_ns_per_block, Offline([], sound)),
    }
    if peer is not None:
        board, empty = pedalboard.Pedalboard(peer()), pedalboard.Pedalboard([])
        runs |= {"peer_ns": lambda: _peer_ns(board, sound), "peer_engine_ns": lambda: _peer_ns(empty, sound)}
    times = {key: min(run() for _ in range(ROUNDS)) for key, run in _in_turns(runs).items()}
    result: dict[str, Any] = {key: round(value) for key, value in times.items()}
    if peer is not None:
        result["ratio"] = round(times["ours_ns"] / times["peer_ns"], 3)
        own, other = times["ours_ns"] - times["engine_ns"], times["peer_ns"] - times["peer_engine_ns"]
        result["stage_ratio"] = round(own / other, 3)
    report({"stage": name, "channels": channels, **result, "bar": bar})
    assert bar is None or result["stage_ratio"] <= bar


def _in_turns(runs: dict[str, Callable[[], float]]) -> dict[str, Callable[[], float]]:
    """Run all of them ROUNDS times in turns; return functions that hand the times out one by one."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            times[key].append(run())
    return {key: iter(row).__next__ for key, row in times.items()}


def _response_db(render: Callable[[np.ndarray], np.ndarray], hz: np.ndarray) -> np.ndarray:
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    return 20 * np.log10(np.abs(np.fft.rfft(render(impulse).astype(float))[hz]))


def _analogue_db(kind: str, frequency: float, gain_db: float, q: float, hz: np.ndarray) -> np.ndarray:
    """Return the level of the cookbook's analogue filter."""
    a = 10 ** (gain_db / 40)
    r = a**0.5 / q
    top, bottom = {
        "low_shelf": ([a, a * r, a * a], [a, r, 1]),
        "peak": ([1, a / q, 1], [1, 1 / (a * q), 1]),
        "high_shelf": ([a * a, a * r, a], [1, r, a]),
    }[kind]
    return np.asarray(20 * np.log10(np.abs(signal.freqs(top, bottom, hz / frequency)[1])))


@pytest.mark.parametrize("kind", ["peak", "low_shelf", "high_shelf"])
def test_eq_vs_the_analogue_filter(kind: str, report: Report) -> None:
    """How far a band of +6 dB, Q 1, is from the analogue one, up to 20 kHz."""
    hz = np.unique(np.geomspace(20, 20_000, 400).round().astype(int))
    peers = {"peak": "PeakFilter", "low_shelf": "LowShelfFilter", "high_shelf": "HighShelfFilter"}
    rows = {}
    for frequency in (1000.0, 4000.0, 8000.0, 12_000.0, 16_000.0):
        ideal = _analogue_db(kind, frequency, 6.0, 1.0, hz)
        chain = Chain([{"stage": "eq", "band1_type": kind, "band1_frequency": frequency, "band1_gain": 6.0, "band1_q": 1.0}])
        board = pedalboard.Pedalboard([getattr(pedalboard, peers[kind])(frequency, 6, 1.0)])
        ours = _response_db(lambda x, chain=chain: chain.render(x, sample_rate=RATE), hz)
        theirs = _response_db(lambda x, board=board: board(x, RATE), hz)
        rows[f"{frequency:g} Hz"] = [round(float(np.abs(v - ideal).max()), 3) for v in (ours, theirs)]
    report({"kind": kind, "worst_db_autovoice_pedalboard": rows})
    assert all(ours < 0.8 and ours <= theirs + 0.05 for ours, theirs in rows.values())


METER = (  # two of the four phases of ITU-R BS.1770-4, annex 2; the others are their mirror images
    np.array([14, 90, -161, 272, -487, 1125, 7964, -838, 390, -218, 122, -68]) / 8192,
    np.array([-239, 240, -424, 730, -1364, 3810, 6388, -1641, 832, -477, 271, -155]) / 8192,
)


def _peaks_db(y: np.ndarray) -> dict[str, float]:
    """Return the highest sample, the true peak of BS.1770-4, and peaks on grids 4 and 16 times finer, dBFS."""
    meter = np.max([np.abs(np.convolve(y, taps)).max() for phase in METER for taps in (phase, phase[::-1])])
    long = signal.firwin(128 * 16 + 1, 1 / 16, window=("kaiser", 5.0))
    peaks = {"sample": y, "BS.1770-4": meter, "4x": signal.resample_poly(y, 4, 1)}
    peaks["16x, 129 taps"] = signal.resample_poly(y, 16, 1, window=long)
    return {name: round(20 * math.log10(np.abs(v).max()), 3) for name, v in peaks.items()}


def test_limiter_true_peak(voice: np.ndarray, report: Report) -> None:
    """Peaks of a voice 12 dB too loud, and of the same voice clipped first, behind a ceiling of -1 dBFS."""
    loud = (8 * voice[: 10 * RATE]).astype(np.float32)
    sounds = {"voice": loud, "clipped": np.clip(loud, -1, 1), "noise": np.random.default_rng(0).standard_normal(5 * RATE)}
    ours = Chain([{"stage": "limiter", "ceiling": -1.0}])
    sample = Chain([{"stage": "limiter", "ceiling": -1.0, "peak": "sample"}])
    board = pedalboard.Pedalboard([pedalboard.Limiter(-1, 100)])
    rows = {
        name: {
            "autovoice": _peaks_db(ours.render(x, sample_rate=RATE).astype(float)),
            "autovoice, peak=sample": _peaks_db(sample.render(x, sample_rate=RATE).astype(float)),
            "pedalboard": _peaks_db(board(x.astype(np.float32), RATE).astype(float)),
        }
        for name, x in sounds.items()
    }
    report({"ceiling_dbfs": -1.0, "peaks_dbfs": rows})
    assert all(row["autovoice"][grid] <= -1 for row in rows.values() for grid in ("sample", "BS.1770-4", "4x"))
    assert all(rows[name]["autovoice"]["16x, 129 taps"] <= -1 for name in ("voice", "clipped"))


def _rt60(h: np.ndarray, hz: float) -> float:
    """Return the RT60 of an octave, from -5 to -35 dB of M. Schroeder's backward integral."""
    band = signal.sosfiltfilt(signal.butter(4, [hz / 2**0.5, hz * 2**0.5], "band", fs=RATE, output="sos"), h)
    energy = np.cumsum(np.sum(band**2, axis=0)[::-1])[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-30)
    first, last = np.argmax(level_db < -5), np.argmax(level_db < -35)
    return float(-60 / (np.polyfit(np.arange(first, last), level_db[first:last], 1)[0] * RATE))


def _tail(h: np.ndarray, rt60: float) -> dict[str, float]:
    """Return when echoes are as dense as noise, how far a spectral line of the late tail stands out, what repeats.

    J. Abel & P. Huang's normalised echo density in windows of 20 ms (AES 121, 2006), above 0.8 for 50 ms;
    the spectrum of 0.3..1.3 s, its decay undone and its colour taken out; the largest autocorrelation at 0.6..150 ms.
    """
    width = round(0.02 * RATE)
    window = np.hanning(width + 2)[1:-1] / np.hanning(width + 2).sum()
    begin = int(np.argmax(np.abs(h) > 1e-6))
    centres = np.arange(begin + width // 2, len(h) - width // 2, RATE // 200)[:200]
    parts = np.stack([h[c - width // 2 : c - width // 2 + width] for c in centres])
    density = (np.abs(parts) > np.sqrt(parts**2 @ window)[:, None]) @ window / math.erfc(2**-0.5)
    lasting = np.lib.stride_tricks.sliding_window_view(density, 10).min(axis=1)
    tail = (h * 10 ** (3 * np.arange(len(h)) / RATE / rt60))[round(0.3 * RATE) : round(1.3 * RATE)]
    power = np.abs(np.fft.rfft(tail * np.hanning(len(tail)))) ** 2
    lines = (power / np.convolve(power, np.ones(301) / 301, "same"))[200:8000]
    repeats = np.abs(np.fft.rfft(lines - lines.mean()))[5:1200] / lines.sum()
    return {
        "dense_after_ms": round(1e3 * float(centres[np.argmax(lasting > 0.8)] - begin) / RATE, 1),
        "highest_line": round(float(lines.max()), 1),
        "repeats": round(float(repeats.max()), 3),
    }


def test_reverb_tail_vs_pedalboard(report: Report) -> None:
    """RT60 against the parameter, echo density and smoothness of the tail; the peer at a like decay, noise as the ideal."""
    impulse = np.zeros((2, 4 * RATE), np.float32)
    impulse[:, 0] = 1
    rows: dict[str, Any] = {}
    errors = []
    for decay in (0.6, 1.5, 3.0):
        chain = Chain(
            [{"stage": "reverb", "decay": decay, "high": 1.0, "motion": 0.0, "early": 0.0, "mix": 1.0, "predelay": 0.0}]
        )
        h = chain.render(impulse, sample_rate=RATE).astype(float)
        found = {f"{hz} Hz": round(_rt60(h, hz), 3) for hz in (250, 500, 1000, 2000, 4000, 8000)}
        errors.append(max(abs(v / decay - 1) for v in found.values()))
        rows[f"rt60, decay {decay:g}"] = found
    chain = Chain([{"stage": "reverb", "decay": 2.0, "high": 1.0, "motion": 1.0, "mix": 1.0, "predelay": 0.0}])
    ours = chain.render(impulse, sample_rate=RATE).astype(float)
    board = pedalboard.Pedalboard([pedalboard.Reverb(room_size=0.6, damping=0.0, wet_level=1.0, dry_level=0.0)])
    theirs = board(impulse, RATE).astype(float)
    t = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(4 * RATE) * 10 ** (-3 * t / 2)
    rows["autovoice"] = _tail(ours[0], _rt60(ours, 1000))
    rows["pedalboard"] = _tail(theirs[0], _rt60(theirs, 1000)) | {"rt60_s": round(_rt60(theirs, 1000), 2)}
    rows["decaying noise"] = _tail(noise, 2.0)
    report({**rows, "worst_rt60_error": round(max(errors), 3)})
    assert max(errors) < 0.08
    assert rows["autovoice"]["repeats"] < rows["pedalboard"]["repeats"]
