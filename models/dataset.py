"""Examples for the converter: the same moment of an utterance in two voices, the first disturbed as microphones and rooms do.

Utterances come from `autovoice.tools.corpus`. What is slow to compute (bands, the pitch that our own tracker finds) is kept
beside them in a folder `prepared`. Where a disturbance (`autovoice.models.disturbance`) changes the level, in one step or in
swells, the target changes along, so that a converter passes dynamics on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import HOP_S, TRACKED_S
from autovoice.models import disturbance
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, np.dtype[Any]]

RATE = 24_000  # Hz
HOP = round(HOP_S * RATE)
TRACKED = 2  # pitches in a hop
PAD = 50  # frames of silence before and after an utterance
CONTENT_HOP = 2.5  # frames of ours in one of the teacher's
CONTENT_LAG = 3  # frames by which the teacher's sound runs ahead of its content: there, phonemes are told best
LEAD = 30  # frames before an example that its room and the analysis remember
CALM = 0.35  # share of examples that are heard as they are, but for their level
SAME_VOICE = 0.15  # share of examples in which a voice becomes itself


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance in all its voices."""

    sound: Array  # int16 (voices, frames HOP)
    bands: Array  # float16 (voices, frames, MELS)
    f0_hz: Array  # float32 (voices, TRACKED frames), held where unvoiced
    voicing: Array  # float16, as f0_hz
    timbre: Array  # float32 (voices, 128)
    clear: Array  # uint8 (voices,), 1 where it may be a target
    content: Array  # float16 (frames, 512)
    phonemes: Array  # int16 (frames,)

    def __len__(self) -> int:
        """Return the frames."""
        return int(self.bands.shape[1])


def prepare(path: Path) -> Utterance:
    """Return an utterance, its features computed first where they are not kept yet.

    Raises ValueError where it was made by a version of this program that wrote less.
    """
    kept = path.parent / "prepared" / path.name
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        partial = kept.with_name(f".{os.getpid()}.{kept.name}")
        save_file(_features(path), partial)
        partial.replace(kept)
    return Utterance(**_read(kept, [one.name for one in fields(Utterance)]))


def _read(path: Path, names: list[str]) -> dict[str, Array]:
    """Return the tensors of a file that has these."""
    tensors = load_file(path)
    if lacking := ", ".join(name for name in names if name not in tensors):
        raise ValueError(f"{path} is of an older version, it lacks {lacking}: delete it and make it again")
    return {name: tensors[name] for name in names}


def _features(path: Path) -> dict[str, Array]:
    from autovoice.rt import Chain
    from scipy.signal import resample_poly

    given = _read(path, ["sound", "clear", "timbre", "content", "phonemes"])
    sound = np.pad(given["sound"], ((0, 0), (PAD * HOP, PAD * HOP)))
    count = sound.shape[1] // HOP
    sound = np.ascontiguousarray(sound[:, : count * HOP])
    tracker = Chain(["pitch"])
    pitches, voicings, bands = [], [], []
    for one in sound.astype(np.float32) / 2**15:
        track = tracker.analyse(resample_poly(one, 2, 1).astype(np.float32), sample_rate=2 * RATE)
        voiced = track.f0_hz[track.f0_hz > 0]
        start = float(voiced[0]) if len(voiced) else features.REFERENCE_HZ
        pitches.append(np.resize(features.held(track.f0_hz, start), TRACKED * count))
        voicings.append(np.resize(track.voicing, TRACKED * count))
        bands.append(features.bands(one, RATE)[:count])
    last = given["content"].shape[1] - 1
    places = np.clip((np.arange(count) + CONTENT_LAG - PAD) / CONTENT_HOP, 0, last).astype(int)
    return {
        "sound": sound,
        "bands": np.stack(bands).astype(np.float16),
        "f0_hz": np.stack(pitches).astype(np.float32),
        "voicing": np.stack(voicings).astype(np.float16),
        "timbre": given["timbre"],
        "clear": given["clear"],
        "content": np.ascontiguousarray(given["content"][:, places].T),
        "phonemes": given["phonemes"][places],
    }


@dataclass(frozen=True, slots=True)
class Example:
    """What the network is given for `frames` frames, and what it should say; arrays are float32."""

    x: Array  # (frames, MELS + 2)
    pitch: Array  # (frames, 1) of the target, as far as it is known by then
    speaker: Array  # (128,)
    f0_hz: Array  # ((frames + 1) HOP,) of the target, exact
    sound: Array  # (frames HOP,)
    content: Array  # (frames, 512)
    phonemes: Array  # int64 (frames,)
    bands: Array  # (frames, MELS) of the target, the frames that are drawn


class Normal:
    """Mean and spread of the training voices' timbre, so that the network sees values about 1."""

    def __init__(self, mean: Array, std: Array) -> None:
        """Take what was measured."""
        self.mean, self.std = mean.astype(np.float32), std.astype(np.float32)

    @classmethod
    def of(cls, timbres: Array) -> Normal:
        """Measure over voices, (voices, 128)."""
        return cls(timbres.mean(0), timbres.std(0) + 1e-3)

    def __call__(self, timbre: Array) -> Array:
        """Return a timbre, (..., 128), as the network takes it."""
        return np.asarray((timbre - self.mean) / self.std, np.float32)


def example(
    utterance: Utterance, source: int, target: int, first: int, frames: int, lookahead: int, normal: Normal, random: Any = None
) -> Example:
    """Cut an example out: analysis frames from `first` on; `random`, a NumPy generator, disturbs the source."""
    x = utterance.bands[source, first : first + frames].astype(np.float32)
    newest = TRACKED * (np.arange(first, first + frames) + 1) - round(TRACKED_S / HOP_S * TRACKED)
    newest = np.maximum(newest, 0)
    heard = features.pitch(utterance.f0_hz[source, newest])
    voicing = utterance.voicing[source, newest].astype(np.float32)
    begin = first - LEAD
    gain_db = np.zeros(LEAD + frames + 1)
    if random is not None:
        gain_db = disturbance.gain_db(len(gain_db), random)
        calm = random.uniform() < CALM
        x = _disturbed(utterance, source, begin, gain_db, None if calm else random)[-frames:]
        if not calm:
            heard, voicing = disturbance.tracked(heard, voicing, random)
    centre = first + 1 - lookahead  # of the first synthesis frame
    drawn = np.arange(centre, centre + frames)
    known = np.minimum(TRACKED * drawn, newest)
    grid = np.arange((centre - 1) * HOP, (centre + frames) * HOP) * (TRACKED / HOP)
    places = np.arange(utterance.f0_hz.shape[1])
    f0_hz = np.exp2(np.interp(grid, places, np.log2(utterance.f0_hz[target])))
    loud = np.interp(np.arange((centre - begin) * HOP, (centre + frames - begin) * HOP) / HOP, np.arange(len(gain_db)), gain_db)
    sound = utterance.sound[target, centre * HOP : (centre + frames) * HOP] / 2**15 * 10 ** (loud / 20)
    return Example(
        x=np.concatenate([x, heard[:, None], voicing[:, None]], 1).astype(np.float32),
        pitch=features.pitch(utterance.f0_hz[target, np.maximum(known, 0)])[:, None],
        speaker=normal(utterance.timbre[target]),
        f0_hz=f0_hz.astype(np.float32),
        sound=sound.astype(np.float32),
        content=utterance.content[drawn].astype(np.float32),
        phonemes=utterance.phonemes[drawn].astype(np.int64),
        bands=features.scaled(features.power(utterance.bands[target, drawn]) * 10 ** (gain_db[drawn - begin, None] / 10)),
    )


def _disturbed(utterance: Utterance, source: int, begin: int, gain_db: Array, random: Any) -> Array:
    """Return the bands of a source from frame `begin` on, as another body, room and microphone would have given them.

    Without `random` only its level is another. What swells is heard without what does not swell along, noise and echoes: a
    network that hears through them would take every swell for a deeper one.
    """
    count = len(gain_db) - 1
    whole = utterance.sound[source]
    sound = np.zeros(count * HOP, np.float32)
    silent = max(-begin, 0) * HOP
    sound[silent:] = whole[max(begin, 0) * HOP : (begin + count) * HOP] / np.float32(2**15)
    volume = np.interp(np.arange(count * HOP) / HOP, np.arange(count + 1), gain_db - gain_db.mean())
    loudness = 10 ** (gain_db.mean() / 20)
    if random is None:
        return features.bands(sound * 10 ** (volume / 20) * loudness, RATE)
    if np.ptp(gain_db) > 0:
        return disturbance.body(features.bands(sound * 10 ** (volume / 20) * loudness, RATE), random)
    rms = float(np.sqrt(np.mean((whole / np.float32(2**15)) ** 2)))
    return disturbance.body(features.bands(disturbance.heard(sound, rms, RATE, random) * loudness, RATE), random)


def draw(
    utterances: list[Utterance], count: int, frames: int, lookahead: int, normal: Normal, random: Any
) -> Iterator[Example]:
    """Yield random examples, long utterances more often."""
    lengths = np.array([max(len(one) - frames - 16, 0) for one in utterances], float)
    for number in random.choice(len(utterances), count, p=lengths / lengths.sum()):
        utterance = utterances[number]
        voices = len(utterance.timbre)
        source = int(random.integers(voices))
        clear = np.flatnonzero(utterance.clear)
        others = clear[clear != source]
        itself = len(others) == 0 or (utterance.clear[source] and random.uniform() < SAME_VOICE)
        target = source if itself else int(random.choice(others))
        first = int(random.integers(12, len(utterance) - frames - 2))
        yield example(utterance, source, target, first, frames, lookahead, normal, random)
