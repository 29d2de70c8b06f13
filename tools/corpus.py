"""Speech to train the converter on: every utterance said by several voices at once, frame by frame.

    python -m autovoice.tools.corpus FOLDER --split train --utterances 1200 --jobs 2
    python -m autovoice.tools.corpus FOLDER --split validate --utterances 16

The teacher (`autovoice.models.teacher`) says each text with the rhythm and melody of one voice; the same content is then given
to the others. An utterance of `train` has the voice it came from, two of the voices that ship, and one that nobody has: a
weighted mean of two or three training voices. Pitch is moved to each voice's own height, give or take JITTER semitones, its
excursions scaled by INTONATION. An utterance of `validate` is said by a validation voice and by every voice that ships, with
the melody of the first, unchanged. What an utterance says, and who, follows from its number alone; what is there already is
kept, so that a run may be broken off and taken up. With fewer `--others` the same time gives more words in fewer voices.

An utterance is a safetensors file: `sound` int16 (voices, samples) at 24 kHz, `timbre` float32 (voices, 128), at 40 frames a
second `content` float16 (512, frames) and `phonemes` int16 (frames,), and the names of the voices and the text as metadata.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.models import teacher
from safetensors.numpy import save_file

Array = np.ndarray[Any, np.dtype[Any]]

VALIDATE = ("af_nova", "am_puck", "bf_lily", "jm_kumo")
HELD_OUT = ("af_kore", "am_eric", "bm_lewis", "bf_alice", "ff_siwis", "im_nicola")
SHIPPED = tuple("af_heart af_bella af_sky bf_emma zf_xiaoxiao am_adam am_michael am_fenrir am_onyx bm_george".split())
"""Of the training voices, those that the converter is asked to become."""
SPLITS = ("train", "validate")
JITTER = 2.0  # semitones
INTONATION = (0.6, 1.5)
SPEED = (0.85, 1.2)
OTHERS = 3

COMMON = (
    "the a an of to in on with from over under behind and but or because while if when this that these her his my your our "
    "their some every no old new small great quiet strange green young was is were are has had will can could should went came "
    "took gave saw heard made found lost never always often soon again almost perhaps quickly"
).split()
SENTENCES = (
    "A narrow boat drifted past the mill, and nobody on board looked up.",
    "Have you already paid for the concert tickets, or shall I do it?",
    "The judge asked for silence, but the crowd kept on murmuring.",
    "Our train was late, so we missed the first half of the play.",
    "Six grey geese flew north over the frozen marshes at dawn.",
    "He wrote the address on a yellow card and lost it the same day.",
    "Put the heavy boxes by the window before you wash your hands.",
    "What on earth are those children doing on the roof?",
    "My grandfather could whistle any tune after hearing it once.",
    "The recipe calls for two eggs, a pinch of salt and fresh basil.",
    "Though the engine was old, it never failed us in the mountains.",
    "Choose a book you like, and read the third page aloud.",
    "They changed the password yesterday and forgot to tell the office.",
    "Warm evening light fell through the leaves of the chestnut trees.",
    "I would rather walk home than wait an hour for the next bus.",
    "Please turn the volume down, the neighbours have gone to bed.",
)


def training_voices() -> list[str]:
    """Return the voices that may be trained on, sorted."""
    return [voice for voice in teacher.voices() if voice not in VALIDATE + HELD_OUT]


def text_of(split: str, number: int) -> str:
    """Return what an utterance says: for training, words at random, so that all sounds meet each other."""
    if split == "validate":
        return SENTENCES[number % len(SENTENCES)]
    random = np.random.default_rng((7, number))
    rare = teacher.lexicon()
    words = [
        str(random.choice(rare) if random.uniform() < 0.5 else random.choice(COMMON)) for _ in range(random.integers(8, 15))
    ]
    comma = random.integers(3, len(words) - 2)
    words[comma] += ","
    return " ".join(words).capitalize() + str(random.choice([".", ".", "?", "!"]))


def make(split: str, number: int, path: Path, others: int = OTHERS) -> None:
    """Say one utterance in all its voices, or of training in the first `others` beside its own, and write the file."""
    random = np.random.default_rng((11, SPLITS.index(split), number))
    said = text_of(split, number)
    if split == "train":
        names = training_voices()
        base = str(random.choice(names))
        utterance = teacher.utter(said, base, float(random.uniform(*SPEED)))
        targets = [str(name) for name in random.choice([name for name in SHIPPED if name != base], 2, replace=False)]
        mixed = [str(name) for name in random.choice(names, random.integers(2, 4), replace=False)]
        weights = random.dirichlet(np.ones(len(mixed)))
        parts = [{base: 1.0}, *({name: 1.0} for name in targets), dict(zip(mixed, map(float, weights), strict=True))]
        parts = parts[: 1 + others]
        heights = 2 ** (random.uniform(-JITTER, JITTER, len(parts)) / 12)
        melodies = [(heights[k], float(random.uniform(*INTONATION))) for k in range(len(parts))]
    else:
        base = VALIDATE[number % len(VALIDATE)]
        utterance = teacher.utter(said, base)
        parts = [{name: 1.0} for name in (base, *SHIPPED)]
        melodies = [(1.0, 1.0)] * len(parts)
    timbres = [np.sum([w * teacher.timbre(name, utterance.tokens) for name, w in part.items()], 0) for part in parts]
    medians = [float(np.exp(sum(w * np.log(teacher.median_hz(name)) for name, w in part.items()))) for part in parts]
    sounds = [
        teacher.sound(utterance, timbre, utterance.melody(median * height, intonation))
        for timbre, median, (height, intonation) in zip(timbres, medians, melodies, strict=True)
    ]
    level = max(1.0, max(float(np.abs(sound).max()) for sound in sounds))
    tensors = {
        "sound": np.round(np.stack(sounds) / level * (2**15 - 1)).astype(np.int16),
        "timbre": np.stack(timbres).astype(np.float32),
        "content": utterance.content[0].astype(np.float16),
        "phonemes": utterance.phonemes,
    }
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    save_file(tensors, partial, {"voices": json.dumps(parts), "text": said})
    partial.replace(path)


def _task(given: tuple[str, int, Path, int]) -> str:
    make(*given)
    return given[2].name


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True)
@click.option("--utterances", type=click.IntRange(1), default=1200, show_default=True, help="about 5 s each, in every voice")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="number of the first one")
@click.option(
    "--others",
    type=click.IntRange(1, OTHERS),
    default=OTHERS,
    show_default=True,
    help="voices beside its own; train",
)
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True, help="processes side by side")
def main(folder: Path, split: str, utterances: int, first: int, others: int, jobs: int) -> None:
    """Make the utterances that are missing."""
    place = folder / split
    place.mkdir(parents=True, exist_ok=True)
    tasks = [(split, n, place / f"{n:06d}.safetensors", others) for n in range(first, first + utterances)]
    tasks = [task for task in tasks if not task[2].exists()]
    try:
        teacher.median_hz(SHIPPED[0])  # cuts the graph once, and tells what is missing
    except teacher.TeacherMissing as error:
        raise click.ClickException(str(error)) from error
    with multiprocessing.get_context("spawn").Pool(jobs) as pool, click.progressbar(length=len(tasks), label=str(place)) as bar:
        for _ in pool.imap_unordered(_task, tasks):
            bar.update(1)


if __name__ == "__main__":
    main()
