"""What onnxruntime finds with Silero VAD's own model in a synthetic talker, kept in tests/data/silero_vad.npz.

    pip install --no-deps silero-vad==6.2.3 && pip install onnxruntime
    python tests/silero_reference.py

The tests read the file, so they need neither package. The talker is made anew from its seed each time; its syllables, noises
and pauses were chosen so that the probabilities spread over the whole range.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "data" / "silero_vad.npz"
RATE, CHUNK, CONTEXT = 16_000, 512, 64
SECONDS, SEED, SYLLABLE_S = 12, 2, 0.2


def talker() -> np.ndarray[Any, Any]:
    """Return phrases of syllables over noise that grows after half of the time; float32 at RATE, shape (frames,)."""
    rng = np.random.default_rng(SEED)
    n = SECONDS * RATE
    t = np.arange(n) / RATE
    edges = np.arange(0, SECONDS + SYLLABLE_S, SYLLABLE_S)

    def contour(low: float, high: float) -> np.ndarray[Any, Any]:
        return np.interp(t, edges, rng.uniform(low, high, len(edges)))

    def each_syllable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.repeat(values, int(SYLLABLE_S * RATE))[:n]

    f0 = contour(95, 170)
    phase = np.cumsum(f0) / RATE
    formants = [contour(*span) for span in ((280, 750), (900, 2300), (2300, 3100), (3300, 3700))]
    voice = np.zeros(n)
    for harmonic in range(1, 36):
        f = harmonic * f0
        shape = zip(formants, (1, 0.5, 0.25, 0.12), (60, 90, 120, 160), strict=True)
        gain = sum(g / (1 + ((f - centre) / width) ** 2) for centre, g, width in shape)
        voice += gain * np.cos(2 * np.pi * harmonic * phase + 0.3 * harmonic**2) * (f < 7500)
    within = (t / SYLLABLE_S) % 1
    loudness = each_syllable(rng.uniform(0.3, 1, len(edges)) * (rng.random(len(edges)) > 0.15))
    hiss = np.diff(rng.standard_normal(n), prepend=0)
    burst = np.where(within < 0.25, each_syllable(rng.uniform(0, 0.12, len(edges))), 0)
    voice = voice * np.sin(np.pi * within) ** 0.6 * loudness / np.abs(voice).max() + 0.5 * burst * hiss
    voice *= np.convolve((t % 4) < 2.6, np.ones(160) / 160, "same")
    noise = rng.standard_normal(n) * np.where(t < SECONDS / 2, 0.001, 0.01)
    return np.asarray(0.3 * voice + noise, np.float32)


def probabilities(sound: np.ndarray[Any, Any], times_ns: list[int] | None = None) -> np.ndarray[Any, Any]:
    """Return what the package's model says through onnxruntime for each whole chunk of a sound at RATE, one thread.

    The nanoseconds that each chunk takes are appended to `times_ns`.
    """
    import onnxruntime

    package = importlib.util.find_spec("silero_vad")
    assert package and package.origin, "pip install --no-deps silero-vad==6.2.3"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(package.origin).parent / "data" / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE, np.int64)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    found = []
    for start in range(0, len(sound) - CHUNK + 1, CHUNK):
        chunk = padded[None, start : start + CONTEXT + CHUNK]
        begin = time.perf_counter_ns()
        output, state = session.run(None, {"input": chunk, "state": state, "sr": rate})
        if times_ns is not None:
            times_ns.append(time.perf_counter_ns() - begin)
        found.append(output[0, 0])
    return np.array(found, np.float32)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, probability=probabilities(talker()))
    print(f"{FILE}: {FILE.stat().st_size} bytes")
