"""The ceiling of the converter's synthesis: envelopes fitted to a sound itself, without a network.

To the teacher's, and to a real reader's with the pitch that our tracker finds: what is lost there, no network can bring back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from autovoice.models.dataset import Example

FOLDER = Path(os.environ.get("AUTOVOICE_CORPUS", "~/.cache/autovoice/conversion")).expanduser()
FIRST, LAST, STEPS, RATE_OF_LEARNING = 12, 4, 200, 0.15  # frames left out at the start and the end, of silence


def of_teacher() -> Iterator[tuple[Example, str]]:
    """Yield two utterances in two voices each, and their texts."""
    from autovoice.tools.quality.material import validation

    for path, source in zip(sorted((FOLDER / "validate").glob("*.safetensors"))[:2], validation(FOLDER, 2), strict=True):
        for voice in (1, 6):
            yield itself(path, voice), source.text or ""


def of_reader(folder: Path) -> Iterator[tuple[Example, str]]:
    """Yield what a real reader says, and the texts; `folder` is for files that last as long as the test."""
    from autovoice.tools.quality.material import RATE, real
    from autovoice.tools.quality.signal import resample
    from safetensors.numpy import save_file

    for source in real():
        sound = np.round(resample(source.sound, source.rate, RATE).clip(-1, 1) * (2**15 - 1)).astype(np.int16)[None]
        unknown = {"timbre": np.zeros((1, 128), np.float32), "content": np.zeros((512, 1), np.float16)}
        path = folder / f"{source.name}.safetensors"
        save_file({"sound": sound, "clear": np.ones(1, np.uint8), "phonemes": np.zeros(1, np.int16), **unknown}, path)
        yield itself(path, 0), source.text or ""


def itself(path: Path, voice: int) -> Example:
    """Return a whole utterance from a voice to itself."""
    from autovoice.models import dataset

    utterance = dataset.prepare(path)
    same = dataset.Normal(np.zeros(128), np.ones(128))
    return dataset.example(utterance, voice, voice, FIRST, len(utterance) - FIRST - LAST, 1, same)


def fitted(given: Example) -> Any:
    """Return pulses and noise under envelopes that were fitted by gradient descent to the sound."""
    import torch
    from autovoice.models.losses import SpectralLoss
    from autovoice.models.network import HARMONIC, NOISE, Synthesis

    synthesis, loss = Synthesis(), SpectralLoss()
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
    return made.detach().numpy()[0]


@pytest.mark.long
@pytest.mark.parametrize("who", ["teacher", "reader"])
def test_converter_head(who: str, tmp_path: Path, report: Callable[[Any], None]) -> None:
    """Pulses and noise under envelopes that were fitted by gradient descent, against the sound they were fitted to."""
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    judges = pytest.importorskip("autovoice.tools.quality.judges")
    from autovoice.models import training
    from autovoice.models.network import RATE
    from autovoice.tools.quality import words
    from autovoice.tools.quality.signal import resample

    if who == "teacher" and not (FOLDER / "validate").exists():
        pytest.skip(f"python -m autovoice.tools.corpus {FOLDER} --split validate --utterances 4")
    training.allocate_once()
    rows = []
    for given, text in of_teacher() if who == "teacher" else of_reader(tmp_path):
        sounds = [resample(sound, RATE, 16_000) for sound in (fitted(given), given.sound)]
        made, meant = (judges.grades(sound)["ovrl"] for sound in sounds)
        likeness = judges.similarity(*(judges.embedding(sound) for sound in sounds))
        errors = [words.character_error(text, judges.transcript(sound)) for sound in sounds]
        rows.append({"similarity": likeness, "ovrl": made, f"ovrl_{who}": meant})
        rows[-1] |= {"character_error": errors[0], f"character_error_{who}": errors[1]}
    report({f"envelopes fitted to the {who}": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}})
    assert np.mean([row["similarity"] for row in rows]) > 0.95
