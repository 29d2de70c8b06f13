"""Fit the weights of `autovoice.dsp.f0_choice` to the training voices.

    python -m benchmarks.fit_f0 OUT.safetensors

Needs torch 2.13.0 and pyworld 0.3.5. Material: `corpus.truth("train")` and `corpus.sung("train")`, clean and with noise at
several levels; tones, pulse trains and vowels that leap and glide from 52 to 1400 Hz; noises and thumps without pitch.
Validation and held-out voices and recordings are not touched.

The stage itself describes the candidates. The network starts from a fit to single frames, then it and the transitions are
trained together through the forward recursion, to maximise the probability of the right candidate, or of "unvoiced", given
the past.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autovoice.dsp import f0, f0_choice
from autovoice.dsp.native import call_stage
from autovoice.dsp.stage import BLOCK, SEGMENT, load
from autovoice.dsp.toolchain import numba
from safetensors.numpy import save_file
from scipy.signal import lfilter

from benchmarks import corpus

Array = np.ndarray[Any, Any]

RATE = corpus.RATE
NOISE_DB = (("white", 10), ("white", 3), ("pink", 10), ("pink", 4), ("babble", 10), ("babble", 18), ("babble", 4), ("fan", 8))
TOLERANCE_CENTS = 50
TONES, NOISES = 8, 6  # made-up recordings
CHUNK, OVERLAP, BURN_IN = 128, 16, 12  # frames
BATCH, EPOCHS, RATE_OF_LEARNING = 128, 14, 4e-3
FRAME_BATCH, FRAME_EPOCHS = 1024, 3
HALF_A_VOICE = 0.5  # weight of a voiced frame that has no right candidate: only its voicing counts


@dataclass
class Frames:
    """One recording as the stage describes it; T decisions."""

    feature: Array  # (T, CANDIDATES, FEATURES)
    octave: Array  # (T, CANDIDATES), log2 of Hz
    present: Array  # (T, CANDIDATES), bool
    right: Array  # (T, CANDIDATES), bool: within TOLERANCE_CENTS of the truth
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


def describe(sound: Array, time_s: Array, f0_hz: Array) -> Frames:
    """Return the stage's candidates of a recording beside its truth, which comes in rows of a millisecond."""
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
    return Frames(feature[:t], np.where(present, octave, 0.0).astype(np.float32), present, right, truth > 0)


def tones(seed: int, seconds: int = 12) -> tuple[Array, Array]:
    """Return made-up voices and their f0 in rows of a millisecond: leaps, glides, vibrato, rests, six kinds of spectrum."""
    random = np.random.default_rng(seed)
    truth, sound = np.zeros(seconds * 1000), np.zeros(seconds * RATE)
    at, step = 100, RATE // 1000
    while at < len(truth) - 1300:
        length = int(random.uniform(150, 900))
        t = np.arange(length) / 1000
        octaves = random.uniform(np.log2(52), np.log2(1400)) + (random.random() < 0.6) * random.normal() * t
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
    """Return sounds without pitch: hiss of many colours, fricatives, rumble, thumps."""
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
        parts.append(part / part.std() * 0.05 * 10 ** random.uniform(-1, 0))
    return np.concatenate(parts)


def material() -> Iterator[Frames]:
    """Describe everything that is trained on."""
    for seed, clip in enumerate([*corpus.truth("train"), *corpus.sung("train")]):
        yield describe(clip.sound, clip.time_s, clip.f0_hz)
        for k, (kind, snr_db) in enumerate(NOISE_DB):
            yield describe(
                corpus.mix(clip.sound, corpus.noise(kind), snr_db, seed=1000 + 37 * seed + k), clip.time_s, clip.f0_hz
            )
    for seed in range(TONES):
        sound, truth = tones(seed)
        for heard in (sound, corpus.mix(sound, corpus.noise("pink"), 15, seed=seed)):
            yield describe(heard, np.arange(len(truth)) / 1000, truth)
    for seed in range(NOISES):
        yield describe(noises(seed), np.zeros(1), np.zeros(1))


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


def fit(recordings: list[Frames], out: Path) -> None:
    """Train and write the weights, after every epoch anew."""
    torch.manual_seed(0)
    chunks: dict[str, list[Array]] = {name: [] for name in Frames.__dataclass_fields__}
    for recording in recordings:
        for start in range(0, len(recording.voiced) - CHUNK + 1, CHUNK - OVERLAP):
            for name, parts in chunks.items():
                parts.append(getattr(recording, name)[start : start + CHUNK])
    data = {name: torch.from_numpy(np.stack(parts)) for name, parts in chunks.items()}
    seen = data["feature"][data["present"]].numpy()
    network = Network(seen.mean(0), seen.std(0) + 1e-3)
    _fit_frames(network, data)
    batches = len(data["voiced"]) // BATCH
    rates = (RATE_OF_LEARNING, 5 * RATE_OF_LEARNING)
    shape = [p for name, p in network.named_parameters() if name != "transitions"]
    optimiser = torch.optim.Adam([{"params": shape, "lr": rates[0]}, {"params": [network.transitions], "lr": rates[1]}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, list(rates), total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(data["voiced"]))[: batches * BATCH].reshape(batches, BATCH):
            batch = {name: tensor[rows] for name, tensor in data.items()}
            voices, unvoiced = recursion(network, batch["feature"], batch["octave"], batch["present"])
            found = torch.log((voices * batch["right"]).sum(2) + 1e-5)
            heard = HALF_A_VOICE * torch.log(1 - unvoiced + 1e-5)
            silent = torch.log(unvoiced + 1e-5)
            score = torch.where(batch["voiced"], torch.where(batch["right"].any(2), found, heard), silent)
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
    fit(list(material()), Path(sys.argv[1]))
