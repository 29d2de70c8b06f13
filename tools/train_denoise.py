"""Train the network of `denoise` on clean voices and noises made up on the spot, and write the file that AutoVoice ships.

    pip install torch scipy
    python -m autovoice.tools.train_denoise OUT.safetensors --minutes 60 VOICES ...

VOICES are folders of clean recordings (WAV, any rate). The shipped weights were trained on Kokoro-82M's (Apache-2.0) training
talkers alone; no recording of a person was used. Voices and noises become spectra under the stage's own window once, and are
mixed there: coloured, modulated and white noise, tones of mains and fans, babble of the same voices, clicks, at -5 to 45 dB,
everything through random equalisers and at random levels. The loss compares compressed spectra (S. Braun and I. Tashev, Data
augmentation and loss normalization for deep noise suppression, SPECOM 2020), the error's energy, and the correlation of
band envelopes over 0.4 s, which is what STOI measures (C. H. Taal et al., IEEE TASLP 19(7), 2011).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.dsp import suppressor
from autovoice.dsp.stages import denoise
from autovoice.dsp.suppressor import BANDS, CELLS, DENSE, FEATURES
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]

RATE = 48_000  # Hz
SIZE, SEGMENTS, LENGTH = denoise._layout(RATE)
HOP = 64 * SEGMENTS * 2  # frames from one evaluation of the network to the next
WINDOW = denoise.windows(SIZE, HOP // 2, LENGTH)[0].astype(np.float32)
BINS = int(suppressor.TOP_HZ / RATE * SIZE)
HERTZ = np.arange(BINS) * RATE / SIZE
STEPS = 480  # evaluations in one example: 2.56 s
BATCH = 64
METADATA = {"source": "autovoice.tools.train_denoise, voices of Kokoro-82M (Apache-2.0)", "license": "Apache-2.0"}
RMS = 0.05  # of a voice and of a noise at 0 dB
MAKE_S = 3.0  # length of the noises that are made
CURVE = 0.4  # exponent of the compressed spectra
ENVELOPE, SPAN, STRIDE = 3, 24, 8  # evaluations in a point of an envelope, points correlated, points from one to the next
LOSSES = {"magnitude": 0.5, "complex": 0.3, "error": 0.25, "envelope": 0.15}
SPEEDS = ((9, 10), (11, 10), (10, 11), (6, 7), (8, 9))  # other talkers: faster and slower


def spectra(sound: Array) -> Array:
    """Return the spectrum at every evaluation, complex64 of shape (evaluations, BINS)."""
    padded = np.pad(sound, (SIZE - HOP, 0)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP]
    return np.asarray(np.fft.rfft(frames * WINDOW)[:, :BINS], np.complex64)


def load_voices(folders: list[Path], random: np.random.Generator) -> list[Array]:
    """Return the spectra of all recordings, each at its own and at another speed, a quarter of them in a small room."""
    from scipy.signal import fftconvolve, resample_poly

    found = []
    for path in sorted(file for folder in folders for file in folder.rglob("*.wav")):
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        common = np.gcd(RATE, rate)
        voice = resample_poly(sound.mean(1), RATE // common, rate // common)
        for up, down in ((1, 1), SPEEDS[random.integers(len(SPEEDS))]):
            other = resample_poly(voice, up, down)
            if random.uniform() < 0.25:
                frames = round(random.uniform(0.05, 0.4) * RATE)
                room = random.standard_normal(frames) * np.exp(-6.9 * np.arange(frames) / frames)
                room *= 10 ** (-random.uniform(3, 15) / 20) / np.linalg.norm(room)
                room[0] = 1
                other = fftconvolve(other, room)[: len(other)]
            found.append(spectra(RMS * other / np.sqrt(np.mean(other[np.abs(other) > 0.02 * np.abs(other).max()] ** 2))))
    return found


def curve(random: np.random.Generator, spread_db: float) -> Array:
    """Return a random smooth magnitude response over the bins."""
    knots = np.sort(random.uniform(np.log(30), np.log(20_000), 8))
    return np.asarray(10 ** (np.interp(np.log(np.maximum(HERTZ, 20)), knots, random.normal(0, spread_db, 8)) / 20), np.float32)


def tones(random: np.random.Generator) -> Array:
    """Return the mains or a fan: a harmonic series that may waver."""
    time_s = np.arange(round(MAKE_S * RATE)) / RATE
    f0, decay = random.choice([50, 60, 100, 120, random.uniform(45, 130), random.uniform(60, 400)]), random.uniform(0.3, 4)
    waver = np.interp(time_s, np.linspace(0, MAKE_S, 12), random.normal(0, random.choice([1e-9, 0.003]), 12))
    phase = np.cumsum(f0 * (1 + waver)) / RATE
    sound = np.zeros(len(time_s))
    for k in range(1, random.integers(3, 30)):
        if k * f0 < 6000:
            level = decay * k**0.8 + abs(random.normal(0, 6)) + (k % 2 == 0) * random.uniform(0, 10)
            sound += 10 ** (-level / 20) * np.sin(2 * np.pi * (k * phase + random.uniform()))
    return spectra(sound)


def clicks(random: np.random.Generator) -> Array:
    """Return knocks and key strokes."""
    sound = np.zeros(round(MAKE_S * RATE))
    time_s = np.arange(RATE // 25) / RATE
    for _ in range(random.integers(6, 40)):
        burst = random.standard_normal(len(time_s)) * np.exp(-time_s / random.uniform(0.0007, 0.005))
        burst += np.sin(2 * np.pi * random.uniform(500, 5000) * time_s) * np.exp(-time_s / random.uniform(0.002, 0.01))
        at = random.integers(len(sound) - len(time_s))
        sound[at : at + len(time_s)] += random.uniform(0.3, 1) * burst
    return spectra(sound)


def excerpt(random: np.random.Generator, bank: list[Array]) -> Array:
    """Return STEPS spectra of a random member of a bank, with silence around it where it is shorter."""
    whole = bank[random.integers(len(bank))]
    if len(whole) < STEPS:
        before = int(random.integers(STEPS - len(whole) + 1))
        return np.pad(whole, ((before, STEPS - len(whole) - before), (0, 0)))
    at = random.integers(len(whole) - STEPS + 1)
    return whole[at : at + STEPS]


def levelled(spectrum: Array) -> Array:
    """Return spectra whose loud frames have the power of a sound of RMS."""
    power = np.square(np.abs(spectrum)).sum(1)
    loud = power[power > 1e-3 * power.max()]
    scale = RMS / (np.sqrt(loud.mean() / np.square(WINDOW).sum() / (SIZE / 2)) + 1e-9) if len(loud) else 0.0
    return np.asarray(spectrum * np.float32(scale))


class Noises:
    """Makes noises as spectra."""

    def __init__(self, random: np.random.Generator, voices: list[Array]) -> None:
        """Make what noises are mixed from."""
        self.random = random
        self.white = [spectra(random.standard_normal(round(MAKE_S * RATE))) for _ in range(10)]
        self.tones = [tones(random) for _ in range(40)]
        self.clicks = [clicks(random) for _ in range(10)]
        self.babble = [np.sum([excerpt(random, voices) for _ in range(random.integers(5, 11))], 0) for _ in range(24)]

    def make(self) -> Array:
        """Return STEPS spectra of a noise of a random kind."""
        random = self.random
        kind = random.choice(
            ["white", "colour", "modulated", "tones", "fan", "babble", "clicks"], p=[0.08, 0.38, 0.08, 0.13, 0.19, 0.09, 0.05]
        )
        white = levelled(np.roll(excerpt(random, self.white), random.integers(STEPS), 0))
        tilt = np.maximum(HERTZ, 20) ** random.uniform(-1.3, 0.2) * curve(random, random.choice([0, random.uniform(0, 6)]))
        if kind == "white":
            return white
        if kind == "fan":
            corner = random.uniform(80, 1500)
            air = (random.uniform(10, 50) < HERTZ) / (1 + (HERTZ / corner) ** 2) ** random.uniform(0.3, 0.9) * curve(random, 3)
            return levelled(white * air) + levelled(excerpt(random, self.tones)) * 10 ** (-random.uniform(0, 15) / 20)
        hiss = levelled(white * tilt)
        if kind == "tones":
            return levelled(excerpt(random, self.tones)) + hiss * 10 ** (-random.uniform(5, 50) / 20)
        if kind == "babble":
            return excerpt(random, self.babble) * curve(random, random.uniform(0, 3))
        if kind == "clicks":
            return levelled(excerpt(random, self.clicks)) + 0.1 * hiss
        if kind == "modulated":
            points = random.integers(4, 40)
            level_db = np.interp(np.linspace(0, 1, STEPS), np.linspace(0, 1, points), random.normal(0, 6, points))
            return hiss * 10 ** (level_db[:, None] / 20)
        return hiss


def band_weights() -> Array:
    """Return the share of each bin in each band, shape (BINS, BANDS)."""
    place = np.interp(HERTZ, suppressor.centres_hz(), np.arange(BANDS))
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(BANDS))), np.float32)


def features(power: Array) -> Array:
    """Return what the stage computes from the power of the bands, (batch, STEPS, BANDS): (batch, STEPS, FEATURES)."""
    levels = np.log2(power + suppressor.EMPTY)
    mean, level, floor = levels.mean(-1), levels[:, 0].mean(-1), levels[:, 0].copy()
    out = np.zeros((*levels.shape[:2], FEATURES), np.float32)
    for t in range(levels.shape[1]):
        level = level + (mean[:, t] - level) / min(t + 1, suppressor.MEMORY)
        floor += np.where(levels[:, t] < floor, suppressor.DOWN, suppressor.UP) * (levels[:, t] - floor)
        out[:, t] = np.concatenate([levels[:, t] - level[:, None], levels[:, t] - floor], 1)
    return np.clip(suppressor.SCALE * out, suppressor.LOWEST, suppressor.GREATEST)


def batch(random: np.random.Generator, voices: list[Array], noises: Noises) -> tuple[Array, Array]:
    """Return features and, in bands, the power of the mixture, its product with the voice, and the voice's power."""
    weights = band_weights()
    scale = 1 / (weights.sum(0) * np.square(WINDOW).sum())
    energies = np.zeros((3, BATCH, STEPS, BANDS), np.float32)
    for i in range(BATCH):
        voice = excerpt(random, voices).copy()
        if random.uniform() < 0.3:
            middle = random.integers(STEPS // 4, 3 * STEPS // 4)
            voice[middle:] = excerpt(random, voices)[middle:]
        voice = levelled(voice * curve(random, random.choice([0, random.uniform(0, 5)]))) * (random.uniform() > 0.04)
        snr_db = random.choice([random.uniform(-5, 20), random.uniform(0, 10), random.uniform(20, 45)], p=[0.45, 0.43, 0.12])
        mixture = voice + levelled(noises.make()) * np.float32(10 ** (-snr_db / 20))
        for k, product in enumerate((mixture * mixture.conj(), mixture * voice.conj(), voice * voice.conj())):
            energies[k, i] = product.real @ weights * scale
    gain = 10 ** (random.uniform(-25, 10, (BATCH, 1, 1)) / 10)
    return features(energies[0] * gain), energies / RMS**2


def network() -> Any:
    """Return the network of `autovoice.dsp.suppressor` as a torch module with the names of its weights."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp = torch.nn.Linear(FEATURES, DENSE)
            self.g1 = torch.nn.GRU(DENSE, CELLS, batch_first=True)
            self.g2 = torch.nn.GRU(CELLS, CELLS, batch_first=True)
            self.out = torch.nn.Linear(2 * CELLS, BANDS)

        def forward(self, x: Any) -> Any:
            first, _ = self.g1(torch.tanh(self.inp(x)))
            second, _ = self.g2(first)
            return torch.sigmoid(self.out(torch.cat([first, second], -1)))

    return Network()


def loss(gain: Any, energies: Any, bins: Any) -> Any:
    """Return the loss of gains, (batch, STEPS, BANDS); `bins`: how many of them a band has."""
    import torch

    mixture, product, voice = energies
    loud, clean = (mixture + 1e-7).sqrt(), (voice + 1e-7).sqrt()
    heard, target = (gain * loud + 1e-3) ** CURVE, clean**CURVE
    lost = target - heard
    magnitude = (lost.square() * torch.where(lost > 0, 1.5, 1.0)).mean()  # taking voice away is worse than leaving noise
    coherent = (heard.square() + target.square() - 2 * heard * target * product / (loud * clean)).mean()
    error = ((gain.square() * mixture - 2 * gain * product + voice) * bins).sum((1, 2))
    whole = (voice * bins).sum((1, 2))
    talking = (whole > 1e-2).float()
    ratio = (torch.log10((error + 1e-3 * whole.mean()) / (whole + 1e-2)) * talking).sum() / talking.sum()

    def envelopes(power: Any) -> Any:
        points = torch.nn.functional.avg_pool1d(power.transpose(1, 2), ENVELOPE)
        return (points + 1e-7).sqrt().unfold(2, SPAN, STRIDE)  # (batch, BANDS, excerpts, SPAN)

    a, b = envelopes(voice), envelopes(gain.square() * mixture)
    power = a.square().mean((1, 3), keepdim=True)
    active = (power > 1e-3 * power.amax(2, keepdim=True)).float() * talking[:, None, None, None]
    a, b = (x - x.mean(-1, keepdim=True) for x in (a, b))
    alike = (a * b).sum(-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True) + 1e-4)
    correlation = (alike * active)[:, 3:27].mean(1).sum() / active.sum()
    terms = {"magnitude": magnitude, "complex": coherent, "error": ratio, "envelope": 1 - correlation}
    return sum(LOSSES[name] * term for name, term in terms.items())


def train(voices: list[Array], minutes: float, seed: int, tell: Callable[[str], None]) -> dict[str, Array]:
    """Return the weights after a time of training."""
    import torch

    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    noises, net = Noises(random, voices), network()
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4, betas=(0.9, 0.98))
    bins = torch.from_numpy(band_weights().sum(0))
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:  # warm up, then half a cosine
            group["lr"] = 3e-3 * min(1, (step + 1) / 30) * (0.03 + 0.97 * (0.5 + 0.5 * np.cos(np.pi * done)))
        inputs, energies = (torch.from_numpy(values) for values in batch(random, voices, noises))
        value = loss(net(inputs), energies, bins)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 20 == 0:
            tell(f"{step} batches, {100 * done:.0f} %, loss {value.item():.4f}")
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("voices", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    voices = load_voices(arguments.voices, np.random.default_rng(arguments.seed))
    if not voices:
        parser.error(f"no WAV file in {', '.join(map(str, arguments.voices))}")
    weights = train(voices, arguments.minutes, arguments.seed, print)
    write(arguments.out, weights)


def write(path: Path, weights: dict[str, Array]) -> None:
    """Write the weights as safetensors; the file appears when it is complete."""
    partial = path.with_name(path.name + ".part")
    save_file({name: np.ascontiguousarray(tensor, np.float32) for name, tensor in weights.items()}, partial, metadata=METADATA)
    partial.replace(path)


if __name__ == "__main__":
    main()
