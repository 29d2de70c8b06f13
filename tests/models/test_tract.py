"""The length of a vocal tract is read from what the decoder expects, and follows from a timbre."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter.features import MELS
from autovoice.models import reference, tract
from autovoice.models.dataset import Utterance
from scipy.ndimage import gaussian_filter1d

FRAMES = 120


@pytest.fixture
def utterance() -> Utterance:
    random = np.random.default_rng(0)
    shape = (2, FRAMES, MELS)
    return Utterance(
        sound=np.zeros((2, 1), np.int16),
        bands=random.normal(0, 1, shape).astype(np.float16),
        f0_hz=np.full((2, 2 * FRAMES), 150.0, np.float32),
        voicing=np.ones((2, 2 * FRAMES), np.float16),
        timbre=np.zeros((2, 128), np.float32),
        clear=np.array([0, 1], np.uint8),
        content=np.zeros((FRAMES, 512), np.float16),
        phonemes=np.zeros(FRAMES, np.int16),
    )


def test_stretched_bands_have_their_peaks_higher_by_the_factor() -> None:
    hz = tract._centres_hz()
    bands = np.exp(-0.5 * (np.log2(hz / 1000.0) / 0.2) ** 2)[None]
    for factor in (0.8, 1.0, 1.25):
        peak = hz[int(np.argmax(tract.stretched(bands, factor)))]
        assert peak == pytest.approx(1000.0 * factor, rel=0.04)


@pytest.mark.parametrize("octaves", [-0.2, 0.0, 0.113, 0.3])
def test_a_ruler_finds_the_factor_by_which_a_voice_was_stretched(
    utterance: Utterance, octaves: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its mean spectrum is; the decoder here expects smooth bands, of a voice's first value stretched."""
    smooth = gaussian_filter1d(np.random.default_rng(1).normal(0, 1, (FRAMES, MELS)), 3.0, axis=1)
    colour = np.random.default_rng(2).normal(0, 1, MELS)

    def decode(w: dict[str, Any], h: Any, speaker: Any, pitch: Any) -> tuple[Any, Any]:
        return None, tract.stretched(smooth, 2.0 ** speaker[0]) + abs(speaker[0]) * colour

    monkeypatch.setattr(reference, "encode", lambda w, x, mode: np.zeros((len(x), 4)))
    monkeypatch.setattr(reference, "decode", decode)
    ruler = tract.Ruler({"speaker.weight": np.zeros((4, 128))}, [utterance])
    assert ruler(np.r_[octaves, np.zeros(127)]) == pytest.approx(octaves, abs=0.01)


def test_what_is_linear_in_the_timbre_is_learnt() -> None:
    random = np.random.default_rng(3)
    speakers, told = random.normal(0, 1, (2000, 128)), random.normal(0, 0.02, 128)
    found = tract.weights(speakers, speakers @ told)
    assert np.abs(found - told).max() < 1e-3
