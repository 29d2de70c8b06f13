"""The teacher's phonemes, frame by frame, without the teacher."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.models import teacher
from autovoice.models.teacher import PAD, STRESS, UNTOLD

VOCABULARY = {symbol: number for number, symbol in enumerate(f"$,.!? {STRESS}abk")}
FRAMES = {"$": 3, "k": 1, STRESS[0]: 2, "a": 4, " ": 1, "b": 2, ",": 5, STRESS[1]: 1}


def said(symbols: str) -> tuple[np.ndarray, list[int], list[int]]:
    """Return content in which each symbol has a column of its own, their tokens, and the frames of each."""
    counts = [FRAMES[symbol] for symbol in symbols]
    columns = np.random.default_rng(0).normal(size=(4, len(symbols)))
    return np.repeat(columns, counts, 1), [VOCABULARY[symbol] for symbol in symbols], counts


def test_each_frame_is_told_its_phoneme() -> None:
    content, tokens, counts = said(f"$k{STRESS[0]}ab {STRESS[1]}ab,$")
    a, b, k = (VOCABULARY[symbol] for symbol in "abk")
    wanted = [PAD, k, a, a, b, UNTOLD, a, a, b, PAD, PAD]  # stress belongs to what it stresses, a stop is silence
    assert teacher.phonemes(content, tokens, VOCABULARY).tolist() == np.repeat(wanted, counts).tolist()


def test_content_of_another_utterance_is_refused() -> None:
    content, tokens, _ = said("$kab$")
    with pytest.raises(ValueError, match="5 different frames of content for 4 tokens"):
        teacher.phonemes(content, tokens[1:], VOCABULARY)
