"""The dynamics chain beside Spotify's pedalboard (JUCE, C++): the same recording in blocks of 64 frames, in the same run.

Each side gets a whole array and cuts it inside its own compiled code, so the interpreter is in neither figure; ours goes
through the complete engine (events, metering, input check, telemetry). `extra_info` holds nanoseconds per block and, for each
size of chain, the ratio ours / pedalboard of medians taken in turns. Nothing is asserted about time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from autovoice.rt import Chain

pedalboard = pytest.importorskip("pedalboard")

RATE = 48_000  # Hz
BLOCK = 64  # frames
SECONDS = 30
ROUNDS = 9

PEERS = {
    "highpass": ({"stage": "highpass", "cutoff": 80.0}, lambda: pedalboard.HighpassFilter(80)),
    "gate": (
        {"stage": "gate", "threshold": -45.0, "attack": 1.0, "release": 100.0},
        lambda: pedalboard.NoiseGate(-45, 10, 1, 100),
    ),
    "compressor": (
        {"stage": "compressor", "threshold": -24.0, "ratio": 3.0, "attack": 5.0, "release": 80.0},
        lambda: pedalboard.Compressor(-24, 3, 5, 80),
    ),
    "limiter": ({"stage": "limiter", "ceiling": -6.0, "release": 100.0}, lambda: pedalboard.Limiter(-6, 100)),
}
CHAINS = {**{name: (name,) for name in PEERS}, "all four": tuple(PEERS)}


def _voice() -> np.ndarray:
    """Syllables of a gliding buzz over a noise floor: the gate opens and closes, compressor and limiter work."""
    random = np.random.default_rng(0)
    t = np.arange(SECONDS * RATE) / RATE
    phase = np.cumsum(120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.7 * t))) / RATE
    buzz = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 1.3 * t) + 0.4, 0, None) ** 1.5
    x = buzz / np.abs(buzz).max() * syllables + 0.003 * random.standard_normal(len(t))
    return (1.2 * x / np.abs(x).max()).astype(np.float32)


def _ns_per_block(run: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / (SECONDS * RATE / BLOCK)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Return the recording, shape (frames,)."""
    return _voice()


@pytest.mark.parametrize("names", CHAINS.values(), ids=CHAINS)
@pytest.mark.benchmark(group="dynamics, mono, 64-frame blocks at 48 kHz")
def test_dynamics_vs_pedalboard(benchmark, voice, report, names):
    """Time our chain; beside it, in turns, pedalboard's of the same kind."""
    chain = Chain([PEERS[name][0] for name in names])
    board = pedalboard.Pedalboard([PEERS[name][1]() for name in names])

    def ours() -> np.ndarray:
        return chain.render(voice, sample_rate=RATE, block=BLOCK)

    def theirs() -> np.ndarray:
        return board.process(voice, RATE, buffer_size=BLOCK, reset=False)

    ours(), theirs()  # compiled, and every page touched
    pairs = [(_ns_per_block(ours), _ns_per_block(theirs)) for _ in range(ROUNDS)]
    own_ns, peer_ns = (statistics.median(side) for side in zip(*pairs, strict=True))
    benchmark.extra_info["autovoice_ns_per_block"] = round(own_ns)
    benchmark.extra_info["pedalboard_ns_per_block"] = round(peer_ns)
    benchmark.extra_info["ratio"] = round(own_ns / peer_ns, 3)
    report({**benchmark.extra_info, "bar": 0.5 if len(names) == len(PEERS) else None})
    benchmark.pedantic(ours, rounds=ROUNDS)
    assert np.all(np.isfinite(ours()))
