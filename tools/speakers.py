"""Speech in voices that nobody has, for the speaker encoder: few words, many timbres.

    python -m autovoice.tools.speakers FOLDER --utterances 200

Each utterance is a file as `autovoice.tools.corpus` writes them: SPEAKERS timbres say the same words, each at a pitch of its
own. A timbre is a weighted mean of one to three training voices, moved on beyond them and away from all of them at random: an
encoder that knew only mixtures of the training voices would find nobody else. What is there already is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.models import teacher
from autovoice.models.dataset import Normal
from autovoice.tools.corpus import COMMON, training_voices
from safetensors.numpy import save_file

Array = np.ndarray[Any, np.dtype[Any]]

SPEAKERS = 12
WORDS = (4, 7)
BEYOND = 0.6  # how far a mixture may be moved on from the mean of all voices, as a share of its distance
AWAY = 0.5  # of the spread of the training voices, at random in every value
JITTER = 2.5  # semitones


def timbre(random: np.random.Generator, names: list[str], normal: Normal, tokens: int) -> tuple[Array, float]:
    """Return a random voice, and its median pitch in Hz."""
    chosen = [str(name) for name in random.choice(names, random.integers(1, 4), replace=False)]
    weights = random.dirichlet(np.ones(len(chosen)))
    mixed = weights @ np.stack([normal(teacher.timbre(name, tokens)) for name in chosen])
    mixed = mixed * (1 + random.uniform(0, BEYOND)) + random.uniform(0, AWAY) * random.standard_normal(len(mixed))
    height = float(np.exp(weights @ np.log([teacher.median_hz(name) for name in chosen])))
    return (mixed * normal.std + normal.mean).astype(np.float32), height * 2 ** (random.uniform(-JITTER, JITTER) / 12)


def make(number: int, path: Path, normal: Normal) -> None:
    """Say one utterance in all its voices and write the file; all follows from the number."""
    random = np.random.default_rng((13, number))
    names, rare = training_voices(), teacher.lexicon()
    words = [str(random.choice(rare if random.uniform() < 0.5 else COMMON)) for _ in range(random.integers(*WORDS))]
    utterance = teacher.utter(" ".join(words).capitalize() + ".", str(random.choice(names)), float(random.uniform(0.95, 1.25)))
    voices = [timbre(random, names, normal, utterance.tokens) for _ in range(SPEAKERS)]
    sounds = [teacher.sound(utterance, one, utterance.melody(hz, float(random.uniform(0.6, 1.4)))) for one, hz in voices]
    level = max(1.0, max(float(np.abs(sound).max()) for sound in sounds))
    tensors = {
        "sound": np.round(np.stack(sounds) / level * (2**15 - 1)).astype(np.int16),
        "timbre": np.stack([one for one, _ in voices]),
    }
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    save_file(tensors, partial)
    partial.replace(path)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--utterances", type=click.IntRange(1), default=200, show_default=True, help=f"about 2 s each, in {SPEAKERS} voices"
)
def main(folder: Path, utterances: int) -> None:
    """Make the utterances that are missing in FOLDER/speakers."""
    place = folder / "speakers"
    place.mkdir(parents=True, exist_ok=True)
    normal = Normal.of(np.stack([teacher.timbre(voice, 80) for voice in training_voices()]))
    with click.progressbar(range(utterances), label=str(place)) as bar:
        for number in bar:
            path = place / f"{number:06d}.safetensors"
            if not path.exists():
                make(number, path, normal)


if __name__ == "__main__":
    main()
