"""Speech to train the converter on: every utterance said by several voices at once, frame by frame.

    python -m autovoice.tools.corpus FOLDER --split train --utterances 1200 --jobs 2
    python -m autovoice.tools.corpus FOLDER --split validate --utterances 16

The teacher (`autovoice.models.teacher`) says each text with the rhythm and melody of one voice, at an uneven pace; the same
content is then given to others. An utterance of `train` is first said by people who take little care (`relaxed` of
`autovoice.models.articulation`), at any height, in voices that nobody has: a weighted mean of two or three training voices, or
beyond it. Then it is said clearly, which is what a converter should make of it: by one of the voices that ship, and by such a
mean, at their own height, give or take JITTER semitones. Excursions of the pitch are scaled by INTONATION. An utterance of
`validate` is said by a validation voice and by every voice that ships, with the melody of the first, unchanged. What an
utterance says, and who, follows from its number alone; what is there already is kept, so that a run may be broken off and
taken up. With fewer voices the same time gives more words.

An utterance is a safetensors file: `sound` int16 (voices, samples) at 24 kHz, `clear` uint8 (voices,), 1 where it may be a
target, `timbre` float32 (voices, 128), at 40 frames a second `content` float16 (512, frames) and `phonemes` int16 (frames,),
and the names of the voices and the text as metadata.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.models import articulation, teacher
from safetensors.numpy import save_file

Array = np.ndarray[Any, np.dtype[Any]]

VALIDATE = ("af_nova", "am_puck", "bf_lily", "jm_kumo")
HELD_OUT = ("af_kore", "am_eric", "bm_lewis", "bf_alice", "ff_siwis", "im_nicola")
SHIPPED = tuple("af_heart af_bella af_sky bf_emma zf_xiaoxiao am_adam am_michael am_fenrir am_onyx bm_george".split())
"""Of the training voices, those that the converter is asked to become."""
SPLITS = ("train", "validate")
JITTER = (-2.0, 2.0)  # semitones from a voice's own height
RELAXED_JITTER = (-11.0, 7.0)  # of who is heard and not imitated: from a bass to a child
INTONATION = (0.6, 1.5)
SPEED = (0.85, 1.2)
RELAXED, CLEAR = 2, 2  # voices of an utterance
CARE = (0.0, 1.0)  # that the relaxed ones take
BEYOND = (0.7, 1.4)  # how far from everybody's mean their timbre lies, of where a mixture does

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


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who says an utterance, and how."""

    voices: dict[str, float]  # and their weights
    utterance: teacher.Utterance
    height: float = 1.0  # of the pitch, of the voice's own
    intonation: float = 1.0
    clear: bool = True
    beyond: float = 1.0  # how far from everybody's mean the timbre lies, of where `voices` do

    def timbre(self) -> Array:
        """Return the timbre, (128,)."""
        tokens = self.utterance.tokens
        own = sum(weight * teacher.timbre(name, tokens) for name, weight in self.voices.items())
        everybody = np.mean([teacher.timbre(name, tokens) for name in training_voices()], 0)
        return np.asarray(everybody + self.beyond * (own - everybody), np.float32)

    def sound(self) -> Array:
        """Return the sound."""
        median = np.exp(sum(weight * np.log(teacher.median_hz(name)) for name, weight in self.voices.items()))
        melody = self.utterance.melody(float(median) * self.height, self.intonation)
        return teacher.sound(self.utterance, self.timbre(), melody)


def speakers(split: str, number: int, relaxed: int = RELAXED, clear: int = CLEAR) -> list[Speaker]:
    """Return who says an utterance; of training so many relaxed ones, and so many clear ones behind them."""
    said = text_of(split, number)
    if split == "validate":
        base = VALIDATE[number % len(VALIDATE)]
        utterance = teacher.utter(said, base)
        return [Speaker({name: 1.0}, utterance) for name in (base, *SHIPPED)]
    random = np.random.default_rng((11, SPLITS.index(split), number))
    names = training_voices()
    spoken = teacher.utter(said, str(random.choice(names)), float(random.uniform(*SPEED)))
    utterance = articulation.paced(spoken, random)

    def moved(jitter: tuple[float, float]) -> tuple[float, float]:
        return float(2 ** (random.uniform(*jitter) / 12)), float(random.uniform(*INTONATION))

    found = []
    for _ in range(relaxed):
        careless = articulation.relaxed(utterance, teacher.vowels(), float(random.uniform(*CARE)), random)
        beyond = float(random.uniform(*BEYOND))
        found.append(Speaker(_mixture(names, random), careless, *moved(RELAXED_JITTER), clear=False, beyond=beyond))
    ships = [str(name) for name in random.choice(SHIPPED, clear, replace=False)]
    for k in range(clear):
        alone = (number + k) % 2 == 0  # every other one
        found.append(Speaker({ships[k]: 1.0} if alone else _mixture(names, random), utterance, *moved(JITTER)))
    return found


def _mixture(names: list[str], random: Any) -> dict[str, float]:
    """Return two or three voices at random, and weights whose sum is 1."""
    mixed = [str(name) for name in random.choice(names, random.integers(2, 4), replace=False)]
    return dict(zip(mixed, map(float, random.dirichlet(np.ones(len(mixed)))), strict=True))


def make(split: str, number: int, path: Path, relaxed: int = RELAXED, clear: int = CLEAR) -> None:
    """Say one utterance in all its voices and write the file."""
    said = speakers(split, number, relaxed, clear)
    sounds = [speaker.sound() for speaker in said]
    level = max(1.0, max(float(np.abs(sound).max()) for sound in sounds))
    meant = said[-1].utterance
    tensors = {
        "sound": np.round(np.stack(sounds) / level * (2**15 - 1)).astype(np.int16),
        "clear": np.array([speaker.clear for speaker in said], np.uint8),
        "timbre": np.stack([speaker.timbre() for speaker in said]),
        "content": meant.content[0].astype(np.float16),
        "phonemes": meant.phonemes,
    }
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    save_file(tensors, partial, {"voices": json.dumps([one.voices for one in said]), "text": text_of(split, number)})
    partial.replace(path)


def _task(given: tuple[str, int, Path, int, int]) -> str:
    make(*given)
    return given[2].name


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True)
@click.option("--utterances", type=click.IntRange(1), default=1200, show_default=True, help="about 5 s each, in every voice")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="number of the first one")
@click.option("--relaxed", type=click.IntRange(1), default=RELAXED, show_default=True, help="who say it carelessly; train")
@click.option("--clear", type=click.IntRange(1, len(SHIPPED)), default=CLEAR, show_default=True, help="who say it well; train")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True, help="processes side by side")
def main(folder: Path, split: str, utterances: int, first: int, relaxed: int, clear: int, jobs: int) -> None:
    """Make the utterances that are missing."""
    place = folder / split
    place.mkdir(parents=True, exist_ok=True)
    tasks = [(split, n, place / f"{n:06d}.safetensors", relaxed, clear) for n in range(first, first + utterances)]
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
