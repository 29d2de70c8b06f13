"""Fit the weights of `autovoice.dsp.f0_choice` to the training voices.

    python -m benchmarks.fit_f0 OUT.safetensors

Needs torch 2.13.0 and pyworld 0.3.5. Material: `corpus.truth("train")` and `corpus.sung("train")`, clean and with noise at
several levels, at other speeds and through an equaliser, and in rooms with mains hum, rumble or little noise; tones, pulse
trains and vowels that leap and glide from 52 to 1400 Hz; noises and thumps without pitch.
Validation and held-out voices and recordings are not touched.

The stage itself describes the candidates. The network starts from a fit to single frames, then it and the transitions are
trained together through the forward recursion, to maximise the probability of the right candidate, or of "unvoiced", given
the past; the probability of candidates that are octaves off costs besides. A short second course adds what is lowest; the
weights are the mean of both courses' (M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autovoice.dsp import f0, f0_choice
from autovoice.dsp.native import call_stage
from autovoice.dsp.stage import BLOCK, SEGMENT, load
from autovoice.dsp.toolchain import numba
from safetensors.numpy import load_file, save_file
from scipy.signal import iirpeak, lfilter, resample_poly

from benchmarks import corpus

Array = np.ndarray[Any, Any]

RATE = corpus.RATE
NOISE_DB = (("white", 10), ("white", 3), ("pink", 10), ("pink", 4), ("babble", 10), ("babble", 18), ("babble", 4), ("fan", 8))
SPEEDS, SPEED_NOISES = (0.8, 1.0, 1.25), 3  # of playing, which makes other voices of the same; noises of each
COLOUR_DB, COLOURS = 12.0, 3  # most that an equaliser lifts or cuts these voices; its bells
ROOM_DB = {"hum": (3, 25), "rumble": (3, 20), "room": (20, 45)}  # ranges below the voice of what a room adds
WAIT_S = 1.5  # of a room before its voice, in which nothing is learnt: whether a hum is a voice, time must tell
SOFTER_DB = 30  # most that a voice in a quiet room is turned down
TOLERANCE_CENTS = 50
TONES, NOISES, LOW_TONES, RUMBLES = 8, 6, 12, 8  # made-up recordings
TONES_HZ, LOW_TONES_HZ = (52.0, 1400.0), (52.0, 80.0)
CHUNK, OVERLAP, BURN_IN = 128, 16, 12  # frames
BATCH = 128
COURSES = ((14, 4e-3), (3, 8e-4))  # epochs and highest rate of learning, of the second with `low_material` too
OCTAVE_WEIGHT = 1.0  # of the probability of what is wrong by octaves, beside that of what is right
FRAME_BATCH, FRAME_EPOCHS = 1024, 3
HALF_A_VOICE = 0.5  # weight of a voiced frame that has no right candidate: only its voicing counts


@dataclass
class Frames:
    """One recording as the stage describes it; T decisions."""

    feature: Array  # (T, CANDIDATES, FEATURES)
    octave: Array  # (T, CANDIDATES), log2 of Hz
    present: Array  # (T, CANDIDATES), bool
    right: Array  # (T, CANDIDATES), bool: within TOLERANCE_CENTS of the truth
    rival: Array  # (T, CANDIDATES), bool: within twice as much of an octave or more away
    voiced: Array  # (T,), bool


@numba.njit(error_model="numpy")
def _drive(stage, s, state, parameters, audio, block, b, sound, x, feature, lag, count, frame):  # type: ignore[no-untyped-def]
    """Run the stage over a recording and keep what each decision was made from; returns the number of decisions."""
    last, t = -1, 0
    for k in range(sound.size // SEGMENT):
        x[0, :] = sound[k * SEGMENT : (k + 1) * SEGMENT]
        b[0].frame = k * SEGMENT
        call_stage(stage, state, parameters, audio, block)
        if b[0].post.f0_frame > last:
            last = b[0].post.f0_frame
            feature[t], lag[t], count[t], frame[t] = s[0].feature, s[0].voice_lag, s[0].voices, last
            t += 1
    return t


def describe(sound: Array, f0_hz: Array, skip_s: float = 0.0) -> Frames:
    """Return the stage's candidates of a recording beside its truth, which comes in rows of a millisecond.

    The decisions before `skip_s` are left out.
    """
    stage = load("pitch")
    sound = np.pad(sound, (0, RATE // 10)).astype(np.float32)
    s = np.zeros(1, stage.state).view(np.recarray)
    stage.prepare(s, RATE, {})
    parameters = np.zeros(1, stage.parameter_block)
    for parameter in stage.parameters:
        parameters[parameter.name] = parameter.default
    b = np.zeros(1, BLOCK)
    b["frames"], b["channels"], b["sample_rate"] = SEGMENT, 1, RATE
    b["post"]["f0_frame"] = -1
    x = np.zeros((1, SEGMENT), np.float32)
    most, c = len(sound) // SEGMENT, f0.CANDIDATES
    feature, lag = np.zeros((most, c, f0_choice.FEATURES), np.float32), np.zeros((most, c), np.float32)
    count, frame = np.zeros(most, np.int64), np.zeros(most, np.int64)
    pointers = (s.ctypes.data, parameters.ctypes.data, x.ctypes.data, b.ctypes.data)
    t = _drive(stage.address, s, *pointers, b, sound, x, feature, lag, count, frame)
    row = np.round(frame[:t] / RATE * 1000).astype(int)
    truth = np.where(row < len(f0_hz), f0_hz[np.minimum(row, len(f0_hz) - 1)], 0.0)
    octave = np.log2(s.rate[0]) - lag[:t]
    present = np.arange(c) < count[:t, None]
    off = np.abs(1200 * (octave - np.log2(np.maximum(truth, 1.0))[:, None]))
    right = present & (truth > 0)[:, None] & (off < TOLERANCE_CENTS)
    rival = present & (truth > 0)[:, None] & (off > 600) & (np.abs(off - 1200 * np.round(off / 1200)) < 2 * TOLERANCE_CENTS)
    known = slice(int((row < 1000 * skip_s).sum()), t)
    octave = np.where(present, octave, 0.0).astype(np.float32)
    return Frames(feature[known], octave[known], present[known], right[known], rival[known], truth[known] > 0)


def tones(seed: int, range_hz: tuple[float, float] = TONES_HZ, seconds: int = 12) -> tuple[Array, Array]:
    """Return made-up voices and their f0 in rows of a millisecond: leaps, glides, vibrato, rests, six kinds of spectrum."""
    random = np.random.default_rng(seed)
    truth, sound = np.zeros(seconds * 1000), np.zeros(seconds * RATE)
    at, step = 100, RATE // 1000
    while at < len(truth) - 1300:
        length = int(random.uniform(150, 900))
        t = np.arange(length) / 1000
        octaves = random.uniform(*np.log2(range_hz)) + (random.random() < 0.6) * random.normal() * t
        octaves += (random.random() < 0.3) * random.uniform(0.2, 1) / 12 * np.sin(2 * np.pi * random.uniform(4, 8) * t)
        truth[at : at + length] = np.clip(2**octaves, 50, 1430)
        hz = np.interp(np.arange(length * step) / step, np.arange(length), truth[at : at + length])
        tone = _timbre(random, 2 * np.pi * np.cumsum(hz) / RATE + random.uniform(0, 6), float(hz.max()))
        ends = np.minimum(np.arange(len(tone)), np.arange(len(tone))[::-1]) / (random.uniform(0.002, 0.03) * RATE)
        sound[at * step : (at + length) * step] = tone / tone.std() * np.minimum(1, ends) * 0.05 * 10 ** random.uniform(-1, 0)
        at += length + int(random.random() < 0.8) * int(random.uniform(0, 250))
    return sound, truth


def _timbre(random: np.random.Generator, phase: Array, highest_hz: float) -> Array:
    """Give a phase a sine, pulses, pulses without fundamental, a strong second harmonic, or (as often as these) a vowel."""
    harmonics = int(min(7000 / highest_hz, 60))
    kind = random.integers(7)
    if kind == 0:
        return np.asarray(np.sin(phase))
    if kind == 3:
        return np.asarray(0.2 * np.sin(phase) + np.sin(2 * phase) + 0.2 * np.sin(3 * phase))
    pulses = sum(np.cos(k * phase) for k in range(2 if kind == 2 else 1, max(4, harmonics) + 1))
    if kind < 3:
        return np.asarray(pulses)
    sound = lfilter([1], [1, -0.95], pulses)
    for low, high in ((250, 900), (800, 2400), (2300, 3300)):
        sound = _resonance(sound, random.uniform(low, high), random.uniform(50, 130))
    return sound


def _resonance(sound: Array, hz: float, bandwidth_hz: float) -> Array:
    radius = np.exp(-np.pi * bandwidth_hz / RATE)
    return np.asarray(lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], sound))


def noises(seed: int, seconds: float = 10.0) -> Array:
    """Return sounds without pitch: hiss of many colours, fricatives, rumble, thumps; loud and hardly audible."""
    random = np.random.default_rng(seed)
    parts: list[Array] = []
    while sum(map(len, parts)) < seconds * RATE:
        white = random.normal(size=int(random.uniform(0.2, 1.0) * RATE))
        push = random.choice([-1, 1]) * np.exp(-np.arange(len(white)) / RATE / random.uniform(0.01, 0.1))
        kinds = (
            lambda w: w,
            lambda w: lfilter([1], [1, -random.uniform(0.8, 0.99)], w),
            lambda w: lfilter([1, -1.6, 0.9], [1], w),
            lambda w: _resonance(w, random.uniform(300, 5000), random.uniform(300, 1500)),
            lambda w: lfilter([1], [1, -1.98, 0.9801], w),
            lambda _, push=push: push,
        )
        part = kinds[random.integers(len(kinds))](white)
        parts.append(part / part.std() * 0.05 * 10 ** random.uniform(-2, 0))
    return np.concatenate(parts)


def room(random: np.random.Generator, kind: str, frames: int) -> Array:
    """Return what a room adds: "hum" of 50 or 60 Hz mains, "rumble", or, as "room", either or hiss; steady all the time."""
    if kind == "room":
        kind = str(random.choice(["hum", "rumble", "white", "pink"]))
    if kind == "hum":
        phase = 2 * np.pi * random.choice([50, 60]) * (1 + random.uniform(-0.004, 0.004)) * np.arange(frames) / RATE
        slope = random.uniform(0.3, 3)
        levels = [random.uniform(0.2, 1) * k**-slope * (1 if k % 2 else random.uniform(0, 1.5)) for k in range(1, 13)]
        tones = sum(level * np.sin(k * phase + random.uniform(0, 6)) for k, level in enumerate(levels, 1))
        return np.asarray(tones + 10 ** random.uniform(-3, -1) * random.normal(size=frames))
    if kind == "rumble":
        white = random.normal(size=frames)
        return np.asarray(lfilter([1], [1, -np.exp(-2 * np.pi * random.uniform(20, 150) / RATE)], white))
    return corpus.noise(kind, frames / RATE)


def in_a_room(sound: Array, f0_hz: Array, kind: str, seed: int) -> tuple[Array, Array]:
    """Return a voice after WAIT_S of a room and then in it, and its truth; in a quiet room it may be soft itself."""
    random = np.random.default_rng(seed)
    voice = np.pad(sound, (round(WAIT_S * RATE), 0))
    if kind == "room":
        voice = voice * 10 ** (random.uniform(-SOFTER_DB, 0) / 20)
    heard = corpus.mix(voice, room(random, kind, len(voice)), random.uniform(*ROOM_DB[kind]), seed=seed)
    return heard, np.pad(f0_hz, (round(WAIT_S * 1000), 0))


def coloured(random: np.random.Generator, sound: Array) -> Array:
    """Return a voice through an equaliser of some bells: other formants and microphones, now and then a strong harmonic."""
    for _ in range(COLOURS):
        bell = iirpeak(np.exp(random.uniform(np.log(100), np.log(2000))), random.uniform(0.7, 3), fs=RATE)
        sound = sound + (10 ** (random.uniform(-1, 1) * COLOUR_DB / 20) - 1) * lfilter(*bell, sound)
    return sound


def material() -> Iterator[Frames]:
    """Describe everything that is trained on."""
    for seed, clip in enumerate([*corpus.truth("train"), *corpus.sung("train")]):
        yield describe(clip.sound, clip.f0_hz)
        for k, (kind, snr_db) in enumerate(NOISE_DB):
            yield describe(corpus.mix(clip.sound, corpus.noise(kind), snr_db, seed=1000 + 37 * seed + k), clip.f0_hz)
        for k, speed in enumerate(SPEEDS):
            yield from _at_speed(clip, speed, 3000 + 10 * seed + k)
        for k, kind in enumerate(ROOM_DB):
            sound, truth = in_a_room(clip.sound, clip.f0_hz, kind, 4000 + 10 * seed + k)
            yield describe(sound, truth, skip_s=WAIT_S)
    for seed in range(TONES):
        yield from _tones(seed, TONES_HZ)
    for seed in range(NOISES):
        yield describe(noises(seed), np.zeros(1))


def low_material() -> Iterator[Frames]:
    """Describe what tells the lowest voices, which may be nearly sines, from hum and rumble."""
    for seed in range(5000, 5000 + LOW_TONES):
        yield from _tones(seed, LOW_TONES_HZ)
    for seed in range(6000, 6000 + RUMBLES):
        random = np.random.default_rng(seed)
        sound = room(random, "rumble", 10 * RATE)
        yield describe(sound / sound.std() * 10 ** random.uniform(-3, -1), np.zeros(1))


def _tones(seed: int, range_hz: tuple[float, float]) -> Iterator[Frames]:
    sound, truth = tones(seed, range_hz)
    for heard in (sound, corpus.mix(sound, corpus.noise("pink"), 15, seed=seed)):
        yield describe(heard, truth)


def _at_speed(clip: corpus.Clip, speed: float, seed: int) -> Iterator[Frames]:
    """Describe a clip played faster or slower and through an equaliser, alone and in some of the noises."""
    random = np.random.default_rng(seed)
    ratio = Fraction(speed).limit_denominator(100)
    sound = resample_poly(clip.sound, ratio.denominator, ratio.numerator).astype(np.float32)
    row = np.minimum(np.round(np.arange(int(len(clip.f0_hz) / speed)) * speed).astype(int), len(clip.f0_hz) - 1)
    truth = clip.f0_hz[row] * speed
    sound = coloured(random, sound)
    yield describe(sound, truth)
    for k in random.permutation(len(NOISE_DB))[:SPEED_NOISES]:
        kind, snr_db = NOISE_DB[k]
        yield describe(corpus.mix(sound, corpus.noise(kind), snr_db, seed=seed), truth)


class Network(torch.nn.Module):
    """The network of `f0_choice` in front of standardised features, and its transitions; odds are natural logarithms here."""

    def __init__(self, mean: Array, deviation: Array) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(f0_choice.FEATURES, f0_choice.HIDDEN)
        self.output = torch.nn.Linear(f0_choice.HIDDEN, 1)
        self.mean, self.deviation = torch.tensor(mean), torch.tensor(deviation)
        self.transitions = torch.nn.Parameter(torch.log(torch.tensor([0.05, 3e-3, 0.02, 0.02])))

    def forward(self, feature: Any, present: Any) -> Any:
        """Return the log-odds of each candidate; where there is none, hardly any."""
        odds = self.output(torch.relu(self.hidden((feature - self.mean) / self.deviation)))[..., 0]
        return torch.where(present, odds, torch.tensor(-30.0))

    def weights(self) -> dict[str, Array]:
        """Return the fields of the stage's state: standardisation folded in, odds to base 2."""
        weight = self.hidden.weight / self.deviation
        width, least, onset, ending = torch.exp(self.transitions)
        tensors = {
            "hidden_weight": weight.T,
            "hidden_bias": self.hidden.bias - weight @ self.mean,
            "output_weight": self.output.weight[0] / np.log(2),
            "output_bias": self.output.bias[0] / np.log(2),
            "leap_width": width,
            "leap_least": least,
            "onset": onset,
            "ending": ending,
        }
        return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}

    def restore(self, weights: dict[str, Array]) -> None:
        """Take over what `weights` gave, as its file has it: each course can be repeated from the file before it."""
        w = {name: torch.tensor(value) for name, value in weights.items()}
        with torch.no_grad():
            self.hidden.weight.copy_(w["hidden_weight"].T * self.deviation)
            self.hidden.bias.copy_(w["hidden_bias"] + w["hidden_weight"].T @ self.mean)
            self.output.weight.copy_(w["output_weight"][None] * np.log(2))
            self.output.bias.copy_(w["output_bias"] * np.log(2))
            self.transitions.copy_(torch.log(torch.cat([w[n] for n in ("leap_width", "leap_least", "onset", "ending")])))


def recursion(network: Network, feature: Any, octave: Any, present: Any) -> tuple[Any, Any]:
    """Return the probabilities that the stage computes: of candidates (B, CHUNK, CANDIDATES), of "unvoiced" (B, CHUNK)."""
    odds = network(feature, present)
    highest = odds.max(2).values.clamp(min=0)
    likelihood, quiet = torch.exp(odds - highest[..., None]), torch.exp(-highest)
    width, least, onset, ending = torch.exp(network.transitions)
    leap = (octave[:, :-1, :, None] - octave[:, 1:, None, :]) / width
    moves = (1 - ending) * (1 / (1 + leap * leap) + least)  # (B, CHUNK - 1, from, to)
    voices, unvoiced = torch.zeros_like(octave[:, 0]), torch.ones(len(octave))
    every_voice, every_unvoiced = [], []
    for t in range(octave.shape[1]):
        arriving = (voices[:, :, None] * moves[:, t - 1]).sum(1) if t else torch.zeros_like(voices)
        voices = (arriving + (unvoiced * onset)[:, None]) * likelihood[:, t]
        unvoiced = (unvoiced * (1 - onset) + (1 - unvoiced) * ending) * quiet[:, t]
        total = voices.sum(1) + unvoiced
        voices, unvoiced = voices / total[:, None], unvoiced / total
        every_voice.append(voices)
        every_unvoiced.append(unvoiced)
    return torch.stack(every_voice, 1), torch.stack(every_unvoiced, 1)


def fit(recordings: list[Frames], low: list[Frames], out: Path) -> None:
    """Train and write the weights, after every epoch anew."""
    torch.manual_seed(0)
    data = _chunks(recordings)
    seen = data["feature"][data["present"]].numpy()
    network = Network(seen.mean(0), seen.std(0) + 1e-3)
    _fit_frames(network, data)
    _fit_sequences(network, data, out, *COURSES[0])
    torch.manual_seed(1)
    first = load_file(out)
    network.restore(first)
    more = _chunks(low)
    _fit_sequences(network, {name: torch.cat([data[name], more[name]]) for name in data}, out, *COURSES[1])
    second = load_file(out)
    save_file({name: (first[name] + second[name]) / 2 for name in first}, out)


def _chunks(recordings: list[Frames]) -> dict[str, Any]:
    """Cut recordings into pieces of CHUNK frames and stack these."""
    chunks: dict[str, list[Array]] = {name: [] for name in Frames.__dataclass_fields__}
    for recording in recordings:
        for start in range(0, len(recording.voiced) - CHUNK + 1, CHUNK - OVERLAP):
            for name, parts in chunks.items():
                parts.append(getattr(recording, name)[start : start + CHUNK])
    return {name: torch.from_numpy(np.stack(parts)) for name, parts in chunks.items()}


def _fit_sequences(network: Network, data: dict[str, Any], out: Path, epochs: int, rate: float) -> None:
    """Train network and transitions through the recursion; writes the weights after every epoch."""
    batches = len(data["voiced"]) // BATCH
    rates = (rate, 5 * rate)
    shape = [p for name, p in network.named_parameters() if name != "transitions"]
    optimiser = torch.optim.Adam([{"params": shape, "lr": rates[0]}, {"params": [network.transitions], "lr": rates[1]}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, list(rates), total_steps=epochs * batches)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(data["voiced"]))[: batches * BATCH].reshape(batches, BATCH):
            batch = {name: tensor[rows] for name, tensor in data.items()}
            voices, unvoiced = recursion(network, batch["feature"], batch["octave"], batch["present"])
            found = torch.log((voices * batch["right"]).sum(2) + 1e-5)
            heard = HALF_A_VOICE * torch.log(1 - unvoiced + 1e-5)
            silent = torch.log(unvoiced + 1e-5)
            score = torch.where(batch["voiced"], torch.where(batch["right"].any(2), found, heard), silent)
            score = score + OCTAVE_WEIGHT * torch.log(1 - (voices * batch["rival"]).sum(2) + 1e-5)
            loss = -score[:, BURN_IN:].mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}: {total / batches:.4f}", flush=True)
        save_file({k: np.ascontiguousarray(v, np.float32) for k, v in network.weights().items()}, out)


def _fit_frames(network: Network, data: dict[str, Any]) -> None:
    """Start the network from frames on their own: the right candidate, or none, by cross entropy."""
    clear = data["right"].any(2) | ~data["voiced"]
    feature, present, right = (data[name][clear] for name in ("feature", "present", "right"))
    target = torch.where(right.any(1), right.to(torch.int64).argmax(1), f0.CANDIDATES)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(FRAME_EPOCHS):
        for rows in torch.randperm(len(target))[: len(target) // 3].split(FRAME_BATCH):
            odds = network(feature[rows], present[rows])
            loss = torch.nn.functional.cross_entropy(torch.nn.functional.pad(odds, (0, 1)), target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    fit(list(material()), list(low_material()), Path(sys.argv[1]))
