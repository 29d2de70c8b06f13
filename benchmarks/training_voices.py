"""More speech to train on: sentences put together at random, said by Kokoro's voices outside the validation and held-out ones.

    python -m benchmarks.training_voices FOLDER --clips 57       FOLDER/000_am_onyx.wav and so on, about 12 s each, 24 kHz

A clip's voice and words follow from its number alone, and what is there already is kept.
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import corpus, kokoro

WHO = (
    "the old captain|my younger sister|a tired musician|nobody in the office|their noisy children|the green parrot|"
    "every second visitor|our new teacher|a stranger with a dog|the whole village|Professor Hughes|George|Elizabeth|"
    "the shy waiter|two clever thieves|this machine"
).split("|")
DOES = (
    "quickly forgot|should have painted|just bought|will never find|carefully opened|laughed about|is thinking of|threw away|"
    "has been watching|could hardly believe|ought to measure|sings about|jumped over|wished for|shook|described"
).split("|")
WHAT = (
    "the broken window|a jar of yellow honey|his favourite guitar|seven cheap oranges|the path through the forest|"
    "an unusual noise|five thousand euros|the vague answer|fish and chips|a journey to Zanzibar|the judge's opinion|"
    "such a huge mess|the lost keys|blue shoes|the second chapter|hot chocolate"
).split("|")
HOW = (
    "before sunrise.|while it was raining.|for no good reason!|at the edge of town.|and went home.|because of the storm.|"
    "with both hands.|during the show.|although I asked twice.|in the year nineteen eighty four.|didn't they?|"
    "which is rather odd.|of course.|yesterday, I think.|as soon as possible.|under the bridge."
).split("|")


def voices() -> list[str]:
    """Return the voices that may be trained on, in order."""
    kept_apart = {*corpus.VOICES["validate"], *corpus.VOICES["heldout"]}
    sources = corpus.FOLDER / "sources"
    kokoro.say("Yes.", corpus.VOICES["train"][0], sources)  # so that the archive is there
    with tarfile.open(sources / kokoro.STYLES) as archive:
        names = {Path(name).stem for name in archive.getnames() if name.endswith(".bin")}
    return sorted(names - kept_apart)


def words(number: int) -> str:
    """Return the text of a clip: three sentences."""
    random = np.random.default_rng((1, number))
    texts = [" ".join(str(random.choice(part)) for part in (WHO, DOES, WHAT, HOW)) for _ in range(3)]
    return " ".join(text[0].upper() + text[1:] for text in texts)


def main() -> None:
    """Make the clips that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=57)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    names = voices()
    for number in range(arguments.clips):
        voice = names[number * 17 % len(names)]  # neighbours in the list are alike
        path = arguments.folder / f"{number:03d}_{voice}.wav"
        if not path.exists():
            sound = kokoro.say(words(number), voice, corpus.FOLDER / "sources")
            partial = path.with_suffix(".part")
            soundfile.write(partial, sound, kokoro.RATE, format="WAV")
            partial.replace(path)
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
