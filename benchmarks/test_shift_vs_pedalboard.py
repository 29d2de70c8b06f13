"""The voice shifter with its gate and limiter beside pedalboard's, and how even its cost is from block to block."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.tools.lab.bench.offline import BLOCK, RATE, Offline
from autovoice.tools.lab.bench.rig import DEMO_CHAIN

CHAIN = ["gate", {"stage": "shift", "semitones": 4.0}, "limiter"]
PASSES = 5


@pytest.mark.benchmark(group="gate + shift + limiter, mono, 64-frame blocks at 48 kHz")
def test_shift_vs_pedalboard(benchmark: Any, voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """Time both in turns over the whole recording."""
    pedalboard = pytest.importorskip("pedalboard")
    board = pedalboard.Pedalboard([pedalboard.NoiseGate(-45), pedalboard.PitchShift(4), pedalboard.Limiter(-1)])
    ours, blocks = Offline(CHAIN, voice), len(voice) / BLOCK
    ours.run()
    board(voice, RATE, buffer_size=BLOCK)
    own, peer = [], []
    for _ in range(PASSES):
        own.append(ours.run() / blocks * 1e6)
        start = time.perf_counter()
        board(voice, RATE, buffer_size=BLOCK)
        peer.append((time.perf_counter() - start) / blocks * 1e6)
    ratio = statistics.median(o / p for o, p in zip(own, peer, strict=True))
    report({"own_us": statistics.median(own), "pedalboard_us": statistics.median(peer), "ratio": ratio, "bar": 1 / 3})
    benchmark.extra_info["ratio"] = ratio
    benchmark.pedantic(ours.run, rounds=3)


@pytest.mark.parametrize("chain", [CHAIN, DEMO_CHAIN], ids=["gate_shift_limiter", "demo"])
@pytest.mark.benchmark(group="evenness")
def test_evenness(benchmark: Any, voice: np.ndarray, report: Callable[[dict[str, Any]], None], chain: list[Any]) -> None:
    """Take each block's least cost over identical passes: what is left is the code's own unevenness."""
    # A fresh chain for every pass: each does the same work at the same block.
    us = np.min([Offline(chain, voice).time_blocks() for _ in range(PASSES)], axis=0) / 1e3
    p50, p99, p999 = np.percentile(us, [50, 99, 99.9])
    report({"p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": us.max(), "ratio": p999 / p50, "bar": 3})
    benchmark.extra_info["p999_over_p50"] = p999 / p50
    benchmark.pedantic(Offline(chain, voice).run, rounds=3)
