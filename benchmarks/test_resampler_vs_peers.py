"""The resampler beside scipy.signal.resample_poly and soxr (HQ and VHQ): what passes, what folds or mirrors, delay and cost.

The same tones go through each. Ours and soxr's stream are fed 64 frames at a time, as a stage would; SciPy's, which has no
stream, gets the whole recording. soxr's stream answers in bursts: its delay is the furthest that its output lags behind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.dsp import resampler

Array = np.ndarray[Any, Any]
PAIRS = [(outer, inner) for outer in (44_100, 48_000, 88_200, 96_000) for inner in (16_000, 24_000, 48_000) if outer != inner]
BLOCK = 64  # frames
TONES = 40  # in each band
EDGE_HZ = 1_310  # below the lower rate's Nyquist frequency
SECONDS = 3
ROUNDS = 7


def _soxr_stream(sound: Array, source: int, target: int, quality: str) -> tuple[Array, float]:
    """Return what comes out in blocks of 64 frames, and the largest lag of output behind input in seconds."""
    import soxr

    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality=quality)
    parts, sent, got, lag = [], 0, 0, 0.0
    for at in range(0, len(sound), BLOCK):
        block = sound[at : at + BLOCK]
        lag = max(lag, (sent + len(block)) / source - got / target)  # before this block is answered
        parts.append(stream.resample_chunk(block))
        sent, got = sent + len(block), got + len(parts[-1])
        if parts[-1].size:
            lag = max(lag, sent / source - got / target)
    return np.concatenate([*parts, stream.resample_chunk(np.zeros(0, np.float32), last=True)]), lag


def _converters(source: int, target: int) -> dict[str, Callable[[Array], Array]]:
    soxr = pytest.importorskip("soxr")
    signal = pytest.importorskip("scipy.signal")
    common = math.gcd(source, target)
    return {
        "autovoice": lambda x: resampler.convert(x, source, target, block=BLOCK),
        "scipy": lambda x: signal.resample_poly(x, target // common, source // common),
        "soxr HQ": lambda x: soxr.resample(x, source, target, quality="HQ"),
        "soxr VHQ": lambda x: soxr.resample(x, source, target, quality="VHQ"),
        "soxr HQ stream": lambda x: _soxr_stream(x, source, target, "HQ")[0],
    }


def _tones(hz: Array, rate: int) -> list[Array]:
    time_s = np.arange(rate // 5) / rate
    return [np.sin(2 * np.pi * f * time_s).astype(np.float32) for f in hz]


def _split(heard: Array, hz: float, rate: int) -> tuple[float, float]:
    """Return (dB of the tone, dB of all the rest) in the middle of what came out, by least squares."""
    middle = heard[len(heard) // 4 : 3 * len(heard) // 4].astype(float)
    angle = 2 * np.pi * hz / rate * np.arange(len(middle))
    basis = np.stack([np.cos(angle), np.sin(angle)], 1)
    fit, *_ = np.linalg.lstsq(basis, middle, rcond=None)
    rest = np.sqrt(2 * np.mean((middle - basis @ fit) ** 2))
    return 20 * math.log10(np.hypot(*fit)), 20 * math.log10(max(rest, 1e-9))


def _quality(convert: Callable[[Array], Array], source: int, target: int) -> dict[str, float]:
    """Return ripple and the worst alias or image, in dB; tones on both sides of the lower rate's Nyquist frequency."""
    nyquist = min(source, target) / 2
    passing = np.linspace(50, nyquist - EDGE_HZ, TONES)
    split = [_split(convert(tone), hz, target) for hz, tone in zip(passing, _tones(passing, source), strict=True)]
    result = {"ripple_db": max(abs(gain) for gain, _ in split), "rest_db": max(rest for _, rest in split)}
    if source > target:
        folding = np.linspace(nyquist + 20, source / 2 - 50, TONES)
        heard = [convert(tone) for tone in _tones(folding, source)]
        result["alias_db"] = max(
            20 * math.log10(max(np.sqrt(2 * np.mean(one[len(one) // 4 : 3 * len(one) // 4].astype(float) ** 2)), 1e-9))
            for one in heard
        )
    return {key: round(value, 4 if key == "ripple_db" else 1) for key, value in result.items()}


def _compare(source: int, target: int) -> dict[str, dict[str, float]]:
    """Return quality and cost of each converter for one pair of rates; cost is the least of rounds in turns."""
    converters = _converters(source, target)
    noise = np.random.default_rng(0).standard_normal(SECONDS * source).astype(np.float32)
    rows = {name: _quality(convert, source, target) for name, convert in converters.items()}
    times: dict[str, list[float]] = {name: [] for name in converters}
    for _ in range(ROUNDS):
        for name, convert in converters.items():
            begin = time.perf_counter()
            convert(noise)
            times[name].append(time.perf_counter() - begin)
    for name, row in rows.items():
        row["ns_per_frame_out"] = round(min(times[name]) / (SECONDS * target) * 1e9, 1)
    rows["autovoice"]["delay_ms"] = round(1e3 * resampler.conversion(source, target).delay_s, 4)
    rows["soxr HQ stream"]["delay_ms"] = round(1e3 * _soxr_stream(noise, source, target, "HQ")[1], 2)
    return rows


def test_resampler_vs_peers(report: Callable[[dict[str, Any]], None]) -> None:
    """Every pair of rates, up and down: the bars hold for ours, and the peers' figures stand beside them."""
    pairs = [pair for a, b in PAIRS for pair in ((a, b), (b, a))]
    table = {f"{source} to {target}": _compare(source, target) for source, target in pairs}
    report({"passband": f"up to {EDGE_HZ} Hz below the lower rate's Nyquist frequency", "table": table})
    ours = [rows["autovoice"] for rows in table.values()]
    assert max(row["ripple_db"] for row in ours) <= 0.05
    assert max(row.get("alias_db", -200) for row in ours) <= -90
    assert max(row["rest_db"] for row in ours) <= -90
    assert max(row["delay_ms"] for row in ours) <= 2
