"""The bench's material: validation voices saying sentences, ten shipped targets, and one real speaker.

Utterances come from `python -m autovoice.tools.corpus FOLDER --split validate`; each holds the source first and then the same
words in every shipped voice, which are the ceiling. A target's references are its own speech: the teacher says sentences of
REFERENCES, which no source says, with the target's own rhythm and melody.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from autovoice.tools.quality.clips import Clip, QualityError
from autovoice.tools.quality.judges import FOLDER
from autovoice.tools.quality.signal import Array, resample

RATE = 24_000  # Hz, of the teacher
REFERENCES = (
    "The gardener planted three rows of beans along the southern wall, and watered them every evening.",
    "When the music finally stopped, everyone turned round to see who had come in.",
    "It takes about an hour to reach the village, unless the bridge is closed again.",
)
PEOPLE = Path("/usr/share/pocketsphinx/test/data/librivox")


@dataclass(frozen=True)
class Source:
    """Something said, which is to be said by others."""

    name: str
    sound: Array = field(repr=False)
    rate: int
    text: str | None
    material: str
    aligned: dict[str, Array] = field(default_factory=dict, repr=False)  # by target
    rows: dict[str, int] = field(default_factory=dict, repr=False)  # which voice of its file that is
    speaker: str = ""  # the teacher's name of who says it; none for a person


def validation(folder: Path, most: int | None = None) -> list[Source]:
    """Return the validation utterances of a corpus folder, in order; raises QualityError where there is none."""
    found = [_source(path, "validation") for path in sorted((folder / "validate").glob("*.safetensors"))[:most]]
    if not found:
        make = f"python -m autovoice.tools.corpus {folder} --split validate --utterances 16"
        raise QualityError(f"{folder} holds no validation utterances: {make}")
    return found


def training(folder: Path, most: int) -> list[Source]:
    """Return so many training utterances that a voice which ships says as well, spread over all.

    Raises QualityError where there are fewer.
    """
    paths = [path for path in sorted((folder / "train").glob("*.safetensors")) if _rows(path)]
    if len(paths) < most:
        raise QualityError(f"{folder} holds {len(paths)} training utterances in voices that ship, {most} were asked for")
    return [_source(paths[k * len(paths) // most], "training") for k in range(most)]


def _source(path: Path, split: str) -> Source:
    """Return an utterance of the corpus, from its first voice."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        known = file.metadata()
        sounds = file.get_tensor("sound").astype(np.float32) / 2**15
    rows = _rows(path)
    speaker = next(iter(json.loads(known["voices"])[0]))
    aligned = {target: sounds[row] for target, row in rows.items()}
    return Source(f"{path.stem}-{speaker}", sounds[0], RATE, known["text"], split, aligned, rows, speaker)


def _rows(path: Path) -> dict[str, int]:
    """Return which of its other voices may be targets, and are nobody's mixture, by name."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        if "clear" not in file.keys():  # noqa: SIM118 (no mapping)
            raise QualityError(f"{path} is of an older version, it lacks clear: delete it and make it again")
        voices, clear = json.loads(file.metadata()["voices"]), file.get_tensor("clear")
    return {next(iter(part)): row for row, part in enumerate(voices) if row and clear[row] and len(part) == 1}


def real(most: int | None = None) -> list[Source]:
    """Return what a man reads (Debian's pocketsphinx-testdata), with its text; not to be tuned on."""
    if not PEOPLE.exists():
        raise QualityError(f"{PEOPLE} is not there: it is Debian's package pocketsphinx-testdata")
    texts = dict(_transcripts())
    found = []
    for path in sorted(PEOPLE.glob("*.wav"))[:most]:
        sound, rate = soundfile.read(path, dtype="float32")
        found.append(Source(path.stem.rpartition("-")[2], sound, rate, texts.get(path.stem), "real"))
    return found


def _transcripts() -> Iterator[tuple[str, str]]:
    for line in (PEOPLE / "transcription").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"(?:<s>)?(.*?)(?:</s>)?\s*\((\S+)\)\s*", line):
            yield match[2], match[1].strip()


def reference_files(target: str) -> list[Path]:
    """Return where a target's references are, or will be."""
    return [FOLDER / "references" / f"{target}-{number}.wav" for number in range(len(REFERENCES))]


def references(target: str) -> tuple[Array, ...]:
    """Return three clips of a target's own speech at RATE, made by the teacher when first asked for."""
    found = []
    for path, text in zip(reference_files(target), REFERENCES, strict=True):
        if not path.exists():
            from autovoice.models import teacher

            utterance = teacher.utter(text, target)
            sound = teacher.sound(utterance, teacher.timbre(target, utterance.tokens))
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{os.getpid()}.{path.name}")
            soundfile.write(partial, sound, RATE, subtype="FLOAT", format="WAV")
            partial.replace(path)
        found.append(soundfile.read(path, dtype="float32")[0])
    return tuple(found)


def own_speech(source: Source) -> list[Path]:
    """Return files in which who says a source says something else, as they would to be enrolled."""
    if source.speaker:
        references(source.speaker)
        return reference_files(source.speaker)
    return [path for path in sorted(PEOPLE.glob("*.wav")) if path.stem.rpartition("-")[2] != source.name]


def clip(source: Source, target: str, system: str, converted: Array, delay_s: float | None, compute_s: float | None) -> Clip:
    """Return the clip of one conversion at the source's rate."""
    return Clip(
        f"{source.name}__{target}",
        source.sound,
        np.asarray(converted, np.float32),
        source.rate,
        references=tuple(resample(sound, RATE, source.rate) for sound in references(target)),
        aligned=source.aligned.get(target),
        text=source.text,
        delay_s=delay_s,
        compute_s=compute_s,
        system=system,
        material=source.material,
        said=source.name,
        target=target,
    )
