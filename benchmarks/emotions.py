"""How far apart the emotions of `convert` are: what each moves, and whether a simple classifier tells them apart.

A talker's sentences are converted to a shipped voice with each emotion, stretched to its tempo, and cut into pieces. What is
measured of a piece is what a listener has: pitch against the voice's own median, its range, the level's range, spectral tilt,
harmonics against noise, and how fast syllables come. The classifier is linear discriminant analysis, fitted on the training
talkers and asked about the validation talkers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from autovoice.dsp.converter.prosody import EMOTIONS
from autovoice.dsp.converter.voices import median_hz
from autovoice.rt import Chain
from autovoice.rt.stretching import stretch

from benchmarks import corpus

Array = np.ndarray[Any, Any]

PIECE_S = 4.0
LEAD_S = 3.0
FEATURES = ("pitch_st", "pitch_range_st", "level_range_db", "tilt_db", "hnr_db", "syllables_per_s")
SLOTS_USED = (0, 6)  # a woman's and a man's voice
NUCLEUS_DB = 3.0  # by which a syllable's nucleus stands out of what surrounds it
SMOOTH_S = 0.05
FRAME_S = 0.01


def measure(sound: Array, median_hz: float) -> Array:
    """Return the FEATURES of a sound at corpus.RATE."""
    track = Chain(["pitch", "vibrato"]).analyse(sound, sample_rate=corpus.RATE)
    voiced = track.f0_hz > 0
    semitones = 12 * np.log2(track.f0_hz[voiced] / median_hz)
    levels = levels_db(sound)
    active = levels > levels.max() - 35
    low, high = np.percentile(semitones, [10, 90])
    return np.array(
        [
            np.median(semitones),
            high - low,
            levels[active].std(),
            np.median(track.tilt_db[voiced]),
            np.median(track.hnr_db[voiced]),
            nuclei(levels) / (active.sum() * FRAME_S),
        ]
    )


def levels_db(sound: Array) -> Array:
    """Return the level of each FRAME_S, smoothed over SMOOTH_S."""
    size = round(FRAME_S * corpus.RATE)
    power = np.square(sound[: len(sound) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    wide = round(SMOOTH_S / FRAME_S)
    return np.asarray(10 * np.log10(np.convolve(power, np.ones(wide) / wide, "same") + 1e-10))


def nuclei(levels: Array) -> int:
    """Count syllables: peaks of the level that stand out (after P. Mermelstein, JASA 58(4), 1975)."""
    from scipy.signal import find_peaks

    peaks, _ = find_peaks(levels, prominence=NUCLEUS_DB, height=levels.max() - 25)
    return len(peaks)


def pieces(split: str, slots: Sequence[int] = SLOTS_USED) -> dict[str, Array]:
    """Return by emotion the features of all pieces of a split's talkers, (pieces, len(FEATURES))."""
    found: dict[str, list[Array]] = {name: [] for name in EMOTIONS}
    for number, clip in enumerate(corpus.speech(split)):
        slot = slots[number % len(slots)]
        for name, emotion in EMOTIONS.items():
            chain = Chain(["highpass", "pitch", {"stage": "convert", "voice": slot, **emotion.settings()}])
            lead = clip.sound[: round(LEAD_S * corpus.RATE)]  # while the speaker's range is learnt
            made = chain.render(np.concatenate([lead, clip.sound]), sample_rate=corpus.RATE, block=1024)[len(lead) :]
            spoken = stretch(made, corpus.RATE, 1 / emotion.tempo)
            size = round(PIECE_S * corpus.RATE)
            for at in range(0, len(spoken) - size + 1, size):
                found[name].append(measure(spoken[at : at + size], median_hz(slot)))
    return {name: np.array(rows) for name, rows in found.items()}


def tell_apart(known: dict[str, Array], asked: dict[str, Array]) -> dict[str, Any]:
    """Fit the classifier to one set and ask it about the other."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    classifier.fit(np.concatenate(list(known.values())), np.repeat(list(known), [len(rows) for rows in known.values()]))
    answers = {name: classifier.predict(rows) for name, rows in asked.items()}
    right = {name: float(np.mean(answer == name)) for name, answer in answers.items()}
    total = sum(map(len, asked.values()))
    return {
        "correct_ratio": sum(right[name] * len(rows) for name, rows in asked.items()) / total,
        "pieces": total,
        **{f"correct_{name}_ratio": share for name, share in right.items()},
    }


def effects(found: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Return by emotion how its features differ from the neutral ones, in the mean."""
    neutral = found["neutral"].mean(0)
    return {
        name: dict(zip(FEATURES, map(float, rows.mean(0) - neutral), strict=True))
        for name, rows in found.items()
        if name != "neutral"
    }
