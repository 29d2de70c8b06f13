"""Off-pitch sung lines through `tune`: how near the notes they land, and how much of their vibrato stays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.tools.lab.bench.offline import RATE

from benchmarks import corpus

SPLITS = ("validate", "heldout")
TRANSITION_S = 0.15  # after a change of note, which the singer glides through


def f0_track(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return times in s and f0 in Hz, 0 = unvoiced, by Praat: a judge that is not ours."""
    parselmouth = pytest.importorskip("parselmouth")
    pitch = parselmouth.Sound(sound.astype(np.float64), RATE).to_pitch_ac(time_step=0.005, pitch_floor=60, pitch_ceiling=1100)
    return pitch.xs(), pitch.selected_array["frequency"]


def steady_notes(clip: Any) -> list[tuple[float, float, float]]:
    """Return (start, end, MIDI note) of each note's part behind its transition, in s."""
    changes = np.flatnonzero(np.diff(clip.note, prepend=-1, append=-1) != 0)
    runs = [(clip.time_s[a], clip.time_s[b - 1], clip.note[a]) for a, b in pairwise(changes)]
    return [(start + TRANSITION_S, end, note) for start, end, note in runs if note > 0 and end - start > TRANSITION_S + 0.2]


def cents_from(f0_hz: np.ndarray, note: float) -> np.ndarray:
    return np.asarray(1200 * np.log2(f0_hz / (440 * 2 ** ((note - 69) / 12))))


def extent(time_s: np.ndarray, cents: np.ndarray, rate_hz: float) -> float:
    """Return the amplitude in cents of a sine of a known rate, fitted beside a line."""
    turns = 2 * np.pi * rate_hz * time_s
    basis = np.column_stack([np.sin(turns), np.cos(turns), np.ones_like(turns), time_s])
    sine, cosine = np.linalg.lstsq(basis, cents, rcond=None)[0][:2]
    return float(np.hypot(sine, cosine))


def tuned(clip: corpus.Clip, retune: float) -> np.ndarray:
    """Return a line tuned to the chromatic scale, in the range that its singer would choose."""
    voice = "low" if "bass" in clip.name or "tenor" in clip.name else "mid"
    return Chain([{"stage": "tune", "retune": retune, "range": voice}]).render(clip.sound, sample_rate=RATE)


@pytest.mark.parametrize("split", SPLITS)
def test_tune_off_pitch_lines(split: str, report: Callable[[dict[str, Any]], None]) -> None:
    """At a retune time of 0: where each note lands (its median), and how far its frames are away, vibrato included."""
    rows = {}
    landed: list[float] = []
    for clip in corpus.sung(split, off_pitch=True):
        row: dict[str, float] = {}
        for name, sound in (("before", clip.sound), ("after", tuned(clip, 0.0))):
            time_s, f0_hz = f0_track(sound)
            notes = []
            for start, end, note in steady_notes(clip):
                inside = (time_s > start) & (time_s < end) & (f0_hz > 0)
                if inside.sum() > 10:
                    notes.append(cents_from(f0_hz[inside], note))
            row[f"{name}_notes_cents"] = float(np.median([abs(np.median(cents)) for cents in notes]))
            row[f"{name}_notes_within_5"] = float(np.mean([abs(np.median(cents)) <= 5 for cents in notes]))
            row[f"{name}_frames_cents"] = float(np.median(np.abs(np.concatenate(notes))))
        landed += [float(abs(np.median(cents))) for cents in notes]
        rows[clip.name] = {key: round(value, 3) for key, value in row.items()}
    worst = {key: max(row[key] for row in rows.values()) for key in ("after_notes_cents", "after_frames_cents")}
    median = float(np.median(landed))
    report({"bar_cents": 5, "median_note_cents": median, "notes": len(landed), "worst_line": worst, "clips": rows})
    assert median <= 5


@pytest.mark.parametrize("split", SPLITS)
def test_tune_keeps_vibrato(split: str, report: Callable[[dict[str, Any]], None]) -> None:
    """At a retune time of 100 ms, what is left of the extent, note by note, by the same fit before and after."""
    kept = []
    for clip in corpus.sung(split):
        before, after = f0_track(clip.sound), f0_track(tuned(clip, 100.0))
        for start, end, note in steady_notes(clip):
            middle = np.searchsorted(clip.time_s, 0.5 * (start + end))
            rate_hz, written = clip.vibrato_hz[middle], clip.vibrato_cents[middle]
            if written < 20 or end - start < 2 / max(rate_hz, 1):
                continue
            extents = []
            for time_s, f0_hz in (before, after):
                inside = (time_s > start) & (time_s < end) & (f0_hz > 0)
                if np.mean(f0_hz[(time_s > start) & (time_s < end)] > 0) > 0.9:
                    extents.append(extent(time_s[inside], cents_from(f0_hz[inside], note), rate_hz))
            if len(extents) == 2 and extents[0] > 0.7 * written:
                kept.append(extents[1] / extents[0])
    low, median, high = np.percentile(kept, [10, 50, 90])
    report({"notes": len(kept), "p10": low, "median": median, "p90": high, "bar": [0.9, 1.1]})
    assert 0.9 <= median <= 1.1
