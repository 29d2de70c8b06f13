"""Emotions: what each one moves, and whether they can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import emotions

Report = Callable[[Any], None]


def test_emotions(report: Report) -> None:
    """Validation talkers in seven emotions, told apart by a classifier that knows only the training talkers."""
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    pytest.importorskip("scipy.signal")
    known, asked = emotions.pieces("train"), emotions.pieces("validate")
    answer = emotions.tell_apart(known, asked)
    report({"told apart": answer, **{f"{name} less neutral": moved for name, moved in emotions.effects(asked).items()}})
    assert answer["correct_ratio"] >= 0.85
    moved = emotions.effects(asked)
    assert moved["sad"]["pitch_st"] < -1 < 1 < moved["excited"]["pitch_st"]
    assert moved["sad"]["tilt_db"] < 0 < moved["angry"]["tilt_db"]
    assert moved["sad"]["syllables_per_s"] < 0 < moved["excited"]["syllables_per_s"]
