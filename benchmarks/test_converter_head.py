"""The ceiling of the converter's synthesis: envelopes fitted to the teacher's own sound, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(os.environ.get("AUTOVOICE_CORPUS", "~/.cache/autovoice/conversion")).expanduser()
FIRST, LAST, STEPS, RATE_OF_LEARNING = 12, 4, 200, 0.15  # frames left out at the start and the end, of silence


@pytest.mark.long
def test_converter_head(report: Callable[[Any], None]) -> None:
    """Pulses and noise under envelopes that were fitted by gradient descent, against the sound they were fitted to."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    judges = pytest.importorskip("autovoice.tools.quality.judges")
    from autovoice.models import dataset, training
    from autovoice.models.losses import SpectralLoss
    from autovoice.models.network import HARMONIC, NOISE, RATE, Synthesis
    from autovoice.tools.quality import words
    from autovoice.tools.quality.material import validation
    from autovoice.tools.quality.signal import resample

    paths = sorted((FOLDER / "validate").glob("*.safetensors"))
    if not paths:
        pytest.skip(f"python -m autovoice.tools.corpus {FOLDER} --split validate --utterances 4")
    training.allocate_once()
    synthesis, loss = Synthesis(), SpectralLoss()
    same = dataset.Normal(np.zeros(128), np.ones(128))
    rows = []
    for path, source in zip(paths[:2], validation(FOLDER, 2), strict=True):
        utterance = dataset.prepare(path)
        for voice in (1, 6):
            given = dataset.example(utterance, voice, voice, FIRST, len(utterance) - FIRST - LAST, 1, same)
            f0_hz, wanted = torch.from_numpy(given.f0_hz)[None], torch.from_numpy(given.sound)[None]
            envelopes = torch.full((1, len(given.x), HARMONIC + NOISE), -7.0, requires_grad=True)
            optimiser = torch.optim.Adam([envelopes], RATE_OF_LEARNING)
            hiss = torch.Generator().manual_seed(0)
            for step in range(STEPS):
                made = synthesis(envelopes.clamp(-14, 2), f0_hz, torch.randn(f0_hz.shape, generator=hiss))
                optimiser.param_groups[0]["lr"] = RATE_OF_LEARNING * (1 - step / STEPS)
                optimiser.zero_grad()
                loss(made, wanted)[0].backward()
                optimiser.step()
            sounds = [resample(sound, RATE, 16_000) for sound in (made.detach().numpy()[0], given.sound)]
            fitted, teacher = (judges.grades(sound)["ovrl"] for sound in sounds)
            likeness = judges.similarity(*(judges.embedding(sound) for sound in sounds))
            errors = [words.character_error(source.text or "", judges.transcript(sound)) for sound in sounds]
            rows.append({"similarity": likeness, "ovrl": fitted, "ovrl_teacher": teacher})
            rows[-1] |= {"character_error": errors[0], "character_error_teacher": errors[1]}
    report({"envelopes fitted to the sound": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}})
    assert np.mean([row["similarity"] for row in rows]) > 0.95
