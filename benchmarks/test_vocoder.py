"""What the vocoder costs, and how well words survive it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.tools.lab.bench.offline import BLOCK, RATE, Offline

from benchmarks import corpus

SECONDS, ROUNDS = 10, 7
BAR_US = 6.0  # 24 bands, 64 frames, mono
SETTINGS: dict[str, dict[str, Any]] = {
    "8 bands, saw": {"bands": 8},
    "24 bands, saw": {},
    "24 bands, chord of four": {"carrier": "chord"},
    "24 bands, noise": {"carrier": "noise"},
    "24 bands, chord, formants moved": {"carrier": "chord", "formant": 3.0},
    "40 bands, chord": {"carrier": "chord", "bands": 40},
}


def test_vocoder_cost(report: Callable[[dict[str, Any]], None]) -> None:
    """Time 64 frames in turns with an empty chain, which is taken off; microseconds."""
    sound = np.concatenate([clip.sound for clip in corpus.speech("validate")])[: SECONDS * RATE]
    chains = {name: Offline([{"stage": "vocoder", **settings}], sound) for name, settings in SETTINGS.items()}
    empty = Offline([], sound)
    times: dict[str, list[np.ndarray]] = {name: [] for name in (*chains, "")}
    for _ in range(ROUNDS):
        times[""].append(empty.time_blocks())
        for name, chain in chains.items():
            times[name].append(chain.time_blocks())
    engine_us = float(np.min(times[""], axis=0).mean()) / 1e3
    rows = {}
    for name in chains:
        least = np.min(times[name], axis=0) / 1e3  # of each block: what the machine's other work adds is gone
        p50, p999 = np.percentile(least, [50, 99.9])
        rows[name] = {
            "mean_us": round(float(least.mean()) - engine_us, 2),
            "chain_p50_us": round(float(p50), 2),
            "chain_p99_9_us": round(float(p999), 2),
            "chain_worst_us": round(float(least.max()), 2),
        }
    report({"block": BLOCK, "engine_us": round(engine_us, 3), "bar_us": BAR_US, **rows})
    assert rows["24 bands, chord of four"]["mean_us"] < BAR_US


@pytest.mark.parametrize("split", ["validate"])
def test_vocoder_intelligibility(report: Callable[[dict[str, Any]], None], split: str) -> None:
    """STOI (C. H. Taal et al., 2011) by the number of bands and by carrier; there is no Python peer to stand beside it."""
    pystoi = pytest.importorskip("pystoi")
    signal = pytest.importorskip("scipy.signal")
    rows = {}
    for name, settings in {
        **{f"{bands} bands, saw": {"bands": bands} for bands in (8, 12, 16, 24, 32, 40)},
        "24 bands, chord": {"carrier": "chord"},
        "24 bands, noise": {"carrier": "noise"},
        "24 bands, saw, sibilance 0": {"sibilance": 0.0},
    }.items():
        chain = Chain([{"stage": "vocoder", **settings}])
        scores, gains = [], []
        for clip in corpus.speech(split):
            heard = chain.render(clip.sound, sample_rate=RATE)
            clean, wet = (signal.resample_poly(x, 1, 3) for x in (clip.sound, heard))
            scores.append(float(pystoi.stoi(clean, wet, RATE // 3)))
            gains.append(20 * np.log10(heard.std() / clip.sound.std()))
        rows[name] = {"stoi": round(statistics.mean(scores), 3), "level_db": round(float(np.mean(gains)), 1)}
    report({"split": split, **rows})
    assert rows["24 bands, saw"]["stoi"] > rows["8 bands, saw"]["stoi"]
