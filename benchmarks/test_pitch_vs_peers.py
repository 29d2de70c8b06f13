"""Pitch: our causal tracker beside trackers that may look at the whole recording, on voices whose pitch is known.

    pytest benchmarks/test_pitch_vs_peers.py --no-cov -o faulthandler_timeout=0      # half an hour, most of it the peers

Peers: praat-parselmouth 0.4.7 (`To Pitch (ac)`), swift-f0 0.3.0, librosa 0.11.0 (pYIN), torchcrepe 0.0.24 with torch 2.13.0
(its import of torchaudio, unused here, is stubbed).

A frame is right where it is called voiced and lies within 50 cents of the truth, so a tracker's own voicing decision counts in
RPA. `rpa_raw` is what RPA would be for trackers that name a pitch in unvoiced frames too. F1 is that of the voicing decision.
An octave error is a voiced frame that lies within a semitone of a multiple or fraction by a power of two. Frames of all clips
of a condition are pooled. Estimates are taken at every 5 ms, between the peer's own frames by interpolation of log f0.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.tools.lab.bench.offline import RATE, Offline
from scipy.signal import resample_poly

from benchmarks import corpus

Array = np.ndarray[Any, Any]
Report = Callable[[dict[str, Any]], None]
Tracker = Callable[[Array], tuple[Array, Array, Array]]  # 48 kHz sound to time_s, f0_hz (0 = unvoiced), f0_hz of every frame

HOP_S = 0.005
LOW_RATE = 16_000  # Hz, of swift-f0 and CREPE
SNR_DB = 10
CONDITIONS = ("clean", "white", "pink", "babble")
TOLERANCE_CENTS = 50
SLOW = ("pyin", "torchcrepe tiny")  # would take longer than all the others: final table only, in two conditions
SLOW_CONDITIONS = ("clean", "pink")
BEHIND_SWIFT = 0.02
OCTAVE_ERRORS = 0.005
CREPE_THRESHOLD = 0.21  # of periodicity, from its README
ROUNDS = 5


def ours(sound: Array) -> tuple[Array, Array, Array]:
    """Track with the stage at its defaults."""
    track = Chain(["pitch"]).analyse(np.pad(sound, (0, RATE // 10)), sample_rate=RATE)
    return track.time_s, track.f0_hz, track.f0_hz


def praat(floor_hz: float, ceiling_hz: float) -> Tracker:
    """Return Praat's autocorrelation method for a range; everything else at its standard settings."""
    parselmouth = pytest.importorskip("parselmouth")

    def track(sound: Array) -> tuple[Array, Array, Array]:
        voice = parselmouth.Sound(sound.astype(np.float64), RATE)
        pitch = voice.to_pitch_ac(time_step=HOP_S, pitch_floor=floor_hz, pitch_ceiling=ceiling_hz)
        f0 = np.nan_to_num(pitch.selected_array["frequency"])
        return pitch.xs(), f0, f0

    return track


def swift() -> Tracker:
    """Return swift-f0 at its own voicing threshold."""
    detector = pytest.importorskip("swift_f0").SwiftF0()

    def track(sound: Array) -> tuple[Array, Array, Array]:
        found = detector.detect(resample_poly(sound, 1, RATE // LOW_RATE).astype(np.float32), LOW_RATE)
        return found.timestamps, np.where(found.confidence >= 0.5, found.pitch_hz, 0.0), found.pitch_hz

    return track


def pyin() -> Tracker:
    """Return pYIN at librosa's defaults but for the range."""
    librosa = pytest.importorskip("librosa")
    rate = 22_050

    def track(sound: Array) -> tuple[Array, Array, Array]:
        low = resample_poly(sound, 147, 320)
        f0, voiced, _ = librosa.pyin(low, fmin=50, fmax=1100, sr=rate, fill_na=None)
        return librosa.times_like(f0, sr=rate), np.where(voiced, f0, 0.0), f0

    return track


def crepe() -> Tracker:
    """Return CREPE's tiny network with its Viterbi decoder and the threshold that its README recommends."""
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):
        sys.modules.setdefault(name, types.ModuleType(name))
    torch = pytest.importorskip("torch")
    torchcrepe = pytest.importorskip("torchcrepe")
    torch.set_num_threads(1)

    def track(sound: Array) -> tuple[Array, Array, Array]:
        audio = torch.from_numpy(resample_poly(sound, 1, RATE // LOW_RATE).astype(np.float32))[None]
        hop = round(HOP_S * LOW_RATE)
        options = {"model": "tiny", "return_periodicity": True, "batch_size": 512}
        f0, periodicity = torchcrepe.predict(audio, LOW_RATE, hop, 50.0, 1100.0, **options)
        periodicity = torchcrepe.filter.median(periodicity, 3)
        f0, voiced = f0[0].numpy(), (periodicity[0] >= CREPE_THRESHOLD).numpy()
        return np.arange(len(f0)) * HOP_S, np.where(voiced, f0, 0.0), f0

    return track


def trackers() -> dict[str, Tracker]:
    """Return every tracker by the name it has in the tables."""
    return {
        "autovoice": ours,
        "praat 75-600": praat(75, 600),
        "praat 50-1100": praat(50, 1100),
        "swift-f0": swift(),
        "pyin": pyin(),
        "torchcrepe tiny": crepe(),
    }


def on_grid(time_s: Array, f0_hz: Array, points: int) -> Array:
    """Return f0 at every HOP_S: voiced as the nearest frame is, between two voiced frames at its place on a log scale."""
    grid = np.arange(points) * HOP_S
    after = np.clip(np.searchsorted(time_s, grid), 1, len(time_s) - 1)
    before = after - 1
    weight = np.clip((grid - time_s[before]) / np.maximum(time_s[after] - time_s[before], 1e-9), 0, 1)
    f0 = f0_hz[np.where(weight < 0.5, before, after)].astype(np.float64)
    low, high = (np.log2(np.maximum(f0_hz[k], 1.0)) for k in (before, after))
    steady = (f0_hz[before] > 0) & (f0_hz[after] > 0) & (np.abs(low - high) < 0.25)
    return np.where(steady, 2 ** (low + weight * (high - low)), f0)


def tally(truth: Array, f0: Array, raw: Array) -> Array:
    """Count frames: voiced, right, right in the raw track, voiced by both, called voiced, octave and gross errors, unvoiced."""
    voiced, called = truth > 0, f0 > 0
    cents = 1200 * np.log2(np.maximum(f0, 1.0) / np.maximum(truth, 1.0))
    raw_cents = 1200 * np.log2(np.maximum(raw, 1.0) / np.maximum(truth, 1.0))
    both = voiced & called
    octave = both & (np.abs(cents) > 600) & (np.abs(cents - 1200 * np.round(cents / 1200)) < 100)
    right, raw_right = both & (np.abs(cents) < TOLERANCE_CENTS), voiced & (np.abs(raw_cents) < TOLERANCE_CENTS)
    gross = both & (np.abs(cents) > 200)
    counted = (voiced, right, raw_right, both, called, octave, gross, called & ~voiced, ~voiced)
    return np.array([part.sum() for part in counted], np.float64)


def scores(counts: Array) -> dict[str, float]:
    """Turn pooled counts into the figures of the tables."""
    voiced, right, raw_right, both, called, octave, gross, false, unvoiced = counts
    figures = {
        "rpa": right / voiced,
        "rpa_raw": raw_right / voiced,
        "voicing_f1": 2 * both / (voiced + called),
        "recall": both / voiced,
        "false_voicing": false / unvoiced,
        "octave_errors": octave / max(both, 1.0),
        "gross_errors": gross / max(both, 1.0),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def compare(split: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return scores by condition and tracker, over the spoken and sung voices of a split."""
    pytest.importorskip("pyworld")
    counts: dict[str, dict[str, Array]] = {condition: {} for condition in CONDITIONS}
    clips = [*corpus.truth(split), *(corpus.sung(split) if split != "real" else [])]
    peers = trackers()
    for seed, clip in enumerate(clips, 1):
        points = int(clip.time_s[-1] / HOP_S)
        truth = clip.f0_hz[np.round(np.arange(points) * HOP_S * 1000).astype(int)]
        for condition in CONDITIONS:
            noisy = clip.sound
            if condition != "clean":
                noisy = corpus.mix(clip.sound, corpus.noise(condition), SNR_DB, seed=seed)
            for name, follow in peers.items():
                if name in SLOW and (split == "validate" or condition not in SLOW_CONDITIONS):
                    continue
                time_s, f0, raw = follow(noisy)
                found = tally(truth, *(on_grid(np.asarray(time_s), np.asarray(track), points) for track in (f0, raw)))
                counts[condition][name] = counts[condition].get(name, 0) + found
    return {condition: {name: scores(total) for name, total in rows.items()} for condition, rows in counts.items()}


@pytest.mark.long
@pytest.mark.parametrize("split", ["validate", "heldout", "real"])
def test_pitch_accuracy(split: str, report: Report) -> None:
    """Right pitch and voicing at least Praat's better setting; what misses the other two bars is listed, not asserted.

    They are to lie within BEHIND_SWIFT of swift-f0 and to have no more octave errors than OCTAVE_ERRORS (docs/decisions/0013).
    """
    table = compare(split)
    missed = []
    for condition, rows in table.items():
        mine, neural = rows["autovoice"], rows["swift-f0"]
        missed += [f"{condition}: {f}" for f in ("rpa", "voicing_f1") if mine[f] < neural[f] - BEHIND_SWIFT]
        missed += [f"{condition}: octave_errors"] if mine["octave_errors"] > OCTAVE_ERRORS else []
    report({**table, "missed": missed})
    if split == "real":
        return  # 21 s of singing and 25 s of reading: a table, too little for a bar
    for condition, rows in table.items():
        mine, wide, standard = (rows[n] for n in ("autovoice", "praat 50-1100", "praat 75-600"))
        for figure in ("rpa", "voicing_f1"):
            assert mine[figure] >= max(wide[figure], standard[figure]), condition


def test_pitch_speed(report: Report) -> None:
    """At least 200 times real time on one core, the peers in the same run: the best of several rounds, in processor time."""
    pytest.importorskip("pyworld")
    sound = np.concatenate([clip.sound for clip in corpus.speech("validate")])[: 20 * RATE]
    chain = Offline(["pitch"], sound)
    peers = {name: follow for name, follow in trackers().items() if name != "autovoice"}
    best = dict.fromkeys(["autovoice", *peers], np.inf)
    blocks = []
    for _ in range(ROUNDS):
        fresh = Offline(["pitch"], sound)
        begin = time.process_time()
        fresh.run()
        best["autovoice"] = min(best["autovoice"], time.process_time() - begin)
        blocks.append(chain.time_blocks())
    for name, follow in peers.items():
        follow(sound[:RATE])
        for _ in range(2):
            begin = time.process_time()
            follow(sound)
            best[name] = min(best[name], time.process_time() - begin)
    quiet = np.min(blocks, axis=0)[200:] / 1000
    middle, rare = np.percentile(quiet, [50, 99.9])
    speeds = {name: round(len(sound) / RATE / seconds, 1) for name, seconds in best.items()}
    block_us = {"mean": quiet.mean(), "p50": middle, "p99.9": rare, "max": quiet.max()}
    report({"times_real_time": speeds, "block_us": {name: round(float(us), 2) for name, us in block_us.items()}})
    assert speeds["autovoice"] >= 200
    assert rare <= 3 * middle


def test_pitch_alignment(report: Report) -> None:
    """The offset between the track of a glide and the glide is below 1 ms, and a decision stands within 20 ms."""
    rows = {}
    for start_hz, octaves_per_s in ((80, 2.0), (200, 2.0), (800, -2.0)):
        t = np.arange(round(0.8 * RATE)) / RATE
        truth = start_hz * 2 ** (octaves_per_s * t)
        phase = 2 * np.pi * np.cumsum(truth) / RATE
        glide = 0.02 * sum(np.cos(k * phase) * (k * truth < 8000) for k in range(1, 100))
        for name, follow in {"autovoice": ours, "praat 50-1100": praat(50, 1100), "swift-f0": swift()}.items():
            time_s, f0, _ = follow(glide.astype(np.float32))
            kept = (f0 > 0) & (time_s > 0.1) & (time_s < 0.7)
            offsets = np.log2(f0[kept] / (start_hz * 2 ** (octaves_per_s * time_s[kept]))) / octaves_per_s
            rows[f"{name}, {start_hz} Hz, {octaves_per_s:+g} octaves/s"] = round(1000 * float(np.median(offsets)), 3)
    report({"offset_ms": rows})
    assert all(abs(offset) < 1 for name, offset in rows.items() if name.startswith("autovoice"))
