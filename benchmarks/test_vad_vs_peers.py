"""Voice activity: our kernel beside onnxruntime running the same network, and what each detector hears in noise.

Peers: silero-vad 6.2.3 (`--no-deps`) with onnxruntime, webrtcvad-wheels, ten-vad (needs Debian's libc++1), soxr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp import resampler
from autovoice.rt import Chain
from autovoice.rt.rendering import render
from autovoice.tools.lab.bench.offline import BLOCK, RATE, Offline

from benchmarks import corpus

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import silero_reference

Array = np.ndarray[Any, Any]
Report = Callable[[dict[str, Any]], None]
LOW_RATE = 16_000  # Hz, of every detector
MINUTES = 10
ROUNDS = 9
SNRS = (20, 10, 5, 0)  # dB
THRESHOLD = 0.5


def material(seconds: float) -> Array:
    """Return talkers of all splits in turn, clean and in noise of every kind, float32 at RATE."""
    clips = [clip.sound for split in ("train", "validate", "heldout", "real") for clip in corpus.speech(split)]
    noises = [corpus.noise(kind) for kind in corpus.NOISES]
    parts, length, k = [], 0, 0
    while length < seconds * RATE:
        clip = clips[k % len(clips)]
        parts.append(clip if k % 7 == 6 else corpus.mix(clip, noises[k % 7], SNRS[k % 4], seed=k))
        length, k = length + len(clip), k + 1
    return np.concatenate(parts)[: round(seconds * RATE)]


def judge(sound: Array, rate: float, **settings: object) -> tuple[Array, Array]:
    """Return (input frame in the middle, probability) of everything that the stage judges."""
    bus = render(Chain([{"stage": "vad", **settings}]), sound, sample_rate=rate, block=BLOCK, trace=True)[1]
    at = np.flatnonzero(np.diff(bus["vad_frame"], prepend=0))
    return bus["vad_frame"][at], bus["vad_probability"][at]


def test_silero_equals_onnxruntime(report: Report) -> None:
    """The probability of every chunk of ten minutes, at 16 kHz and through our resampler from 44.1, 48 and 96 kHz."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("soxr")
    import soxr

    sound = material(MINUTES * 60)
    rows = {}
    for rate in (LOW_RATE, RATE, 44_100, 96_000):
        fed = sound if rate == RATE else soxr.resample(sound, RATE, rate).astype(np.float32)
        theirs = silero_reference.probabilities(resampler.convert(fed, rate, LOW_RATE))
        _, ours = judge(fed, rate)
        count = min(len(ours), len(theirs))
        rows[rate] = {"chunks": count, "largest_difference": float(np.abs(ours[:count] - theirs[:count]).max())}
        assert len(theirs) - count <= 1
    report({"minutes": MINUTES, "bar": 1e-4, "by_sample_rate": rows})
    assert max(row["largest_difference"] for row in rows.values()) < 1e-4


def test_silero_cost(report: Report) -> None:
    """Microseconds on one thread for a chunk of 32 ms: the whole stage at 48 kHz, resampler included, beside onnxruntime.

    Passes take turns, and each block and each chunk counts with its least time: what other programs take is gone from both.
    """
    pytest.importorskip("onnxruntime")
    pytest.importorskip("webrtcvad")
    sound = material(19.2)  # whole chunks, blocks and frames of 30 ms: a block has the same work in every pass
    low = resampler.convert(sound, RATE, LOW_RATE)
    specs = [["vad"], [], *([{"stage": "vad", "model": "webrtc", "frame_ms": ms}] for ms in ("10", "30"))]
    runs = [Offline(spec, sound) for spec in specs]
    passes: list[list[Array]] = []
    for _ in range(ROUNDS):
        chunks: list[int] = []
        silero_reference.probabilities(low, chunks)
        passes.append([*(run.time_blocks() for run in runs), np.array(chunks)])
    least = [np.min([each[k] for each in passes], axis=0) * 1e-3 for k in range(len(runs) + 1)]
    ours, without, webrtc_10, webrtc_30, theirs = least
    every = np.concatenate([each[0] for each in passes]) * 1e-3
    block_us = float((ours - without).mean())
    chunk_us = block_us * 0.032 * RATE / BLOCK
    report(
        {
            "silero_us_per_chunk": round(chunk_us, 2),
            "onnxruntime_us_per_chunk": round(float(theirs.mean()), 2),
            "ratio": round(chunk_us / float(theirs.mean()), 3),
            "bar": 0.5,
            "silero_us_per_block": round(block_us, 3),
            "block_us_with_engine_p50_p99_p99_9_max": [round(float(v), 2) for v in np.percentile(ours, [50, 99, 99.9, 100])],
            "the_same_of_all_passes": [round(float(v), 2) for v in np.percentile(every, [50, 99, 99.9, 100])],
            "webrtc_10_ms": [round(float(v), 2) for v in np.percentile(webrtc_10, [50, 99, 99.9, 100])],
            "webrtc_30_ms": [round(float(v), 2) for v in np.percentile(webrtc_30, [50, 99, 99.9, 100])],
        }
    )
    assert chunk_us < 0.5 * theirs.mean()
    assert ours.max() < 100


def by_label(middle: Array, values: Array, labels: int) -> Array:
    """Return the value that speaks of each 10 ms: that of the judgement whose middle is nearest."""
    wanted = (np.arange(labels) + 0.5) * RATE * corpus.FRAME_MS / 1000
    return values[np.searchsorted((middle[1:] + middle[:-1]) / 2, wanted)]


def detections(sound: Array) -> dict[str, tuple[Array, Array]]:
    """Return (input frame in the middle, probability) of every judgement on a sound at RATE, by ours and by the peers."""
    import soxr
    from ten_vad import TenVad

    low = soxr.resample(sound, RATE, LOW_RATE).astype(np.float32)
    samples = np.clip(np.rint(low * 32768), -32768, 32767).astype(np.int16)
    ten, hop = TenVad(256, THRESHOLD), 256

    def grid(size: int, values: Array | list[float]) -> tuple[Array, Array]:
        return (np.arange(len(values)) + 0.5) * size * RATE / LOW_RATE, np.array(values, np.float32)

    return {
        "silero": judge(sound, RATE),
        **{
            f"webrtc mode {mode}, {frame_ms} ms": judge(sound, RATE, model="webrtc", mode=mode, frame_ms=frame_ms)
            for mode in "0123"
            for frame_ms in ("10", "30")
        },
        "onnxruntime": grid(512, silero_reference.probabilities(low)),
        "ten-vad": grid(hop, [ten.process(samples[k : k + hop])[0] for k in range(0, len(samples) - hop + 1, hop)]),
    }


def area(values: Array, talking: Array) -> float:
    """Return the probability that a talking frame has a higher value than a silent one (area under the ROC curve)."""
    order = np.argsort(values, kind="stable")
    _, first, count = np.unique(values[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (count + 1) / 2, count)  # equal values share their mean rank
    hits = talking.sum()
    return float((ranks[talking].sum() - hits * (hits + 1) / 2) / (hits * (~talking).sum()))


@pytest.mark.long
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_detection_in_noise(split: str, report: Report) -> None:
    """Share of talking 10 ms frames found and of others taken for talk, raw decisions; babble is talk, of others."""
    for name in ("onnxruntime", "webrtcvad", "ten_vad", "soxr"):
        pytest.importorskip(name)
    clips = corpus.speech(split) + (corpus.speech("real") if split == "heldout" else [])
    clean = np.concatenate([clip.sound for clip in clips if not clip.name.startswith("vocadito")])  # they sing throughout
    talking = corpus.activity(clean)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for kind in corpus.NOISES:
        for snr in SNRS:
            noisy = corpus.mix(clean, corpus.noise(kind), snr, seed=snr)
            for name, (middle, values) in detections(noisy).items():
                values = by_label(middle, values, len(talking))
                table.setdefault(name, {})[f"{kind} {snr} dB"] = {
                    "hit": round(float((values[talking] >= THRESHOLD).mean()), 4),
                    "false": round(float((values[~talking] >= THRESHOLD).mean()), 4),
                    "auc": round(area(values, talking), 4),
                }
    means = {}
    for name, rows in table.items():
        kept = [row for key, row in rows.items() if not key.startswith("babble")]
        means[name] = {key: round(float(np.mean([row[key] for row in kept])), 4) for key in ("hit", "false", "auc")}
        means[name]["balanced"] = round((means[name]["hit"] + 1 - means[name]["false"]) / 2, 4)
    silent = round(float((~talking).mean()), 3)
    report({"split": split, "seconds": len(clean) // RATE, "silent": silent, "means_without_babble": means, "table": table})
    assert means["silero"]["auc"] > max(row["auc"] for name, row in means.items() if name.startswith("webrtc"))
    assert means["silero"]["auc"] > means["onnxruntime"]["auc"] - 0.005
