"""A voice made up for the quality report's tests: its melody, formants and syllables are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from autovoice.tools.quality import judges

Array = np.ndarray[Any, Any]
RATE = 16_000


def talk(seconds: float = 2.4, transpose: float = 1.0, formant: float = 1.0, seed: int = 0) -> Array:
    """Return a voice: syllables of 0.3 s with a falling melody, two formants, a hiss and a pause between them."""
    time = np.arange(round(seconds * RATE)) / RATE
    syllable = time % 0.6
    f0 = 130 * transpose * (1 + 0.25 * np.sin(2 * np.pi * 0.9 * time) - 0.2 * syllable)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = np.zeros_like(time)
    for k in range(1, 60):
        hz = k * f0
        level = sum(1 / (1 + ((hz - at * formant) / 120) ** 2) for at in (600, 1700, 2600))
        sound += np.where(hz < 7_000, level * np.cos(k * phase), 0.0)
    loud = np.clip(np.minimum(syllable, 0.34 - syllable) / 0.04, 0, 1)
    hiss = np.random.default_rng(seed).standard_normal(len(time)) * np.clip(
        np.minimum(syllable - 0.36, 0.46 - syllable) / 0.02, 0, 1
    )
    return (0.1 * sound * loud + 0.02 * hiss).astype(np.float32)


def without_judges(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let judges be as if they were not installed, until the test ends."""
    gone = {name: replace(judges.JUDGES[name], modules=(f"no_such_module_of_{name}",)) for name in names}
    monkeypatch.setattr(judges, "JUDGES", {**judges.JUDGES, **gone})
