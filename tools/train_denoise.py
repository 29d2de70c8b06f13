"""Train the network of `denoise` from recordings of voices; noises are made on the fly.

    python -m benchmarks.corpus && python -m benchmarks.training_voices VOICES --clips 57
    python -m autovoice.tools.train_denoise OUT.safetensors VOICES [VOICES...] --batches 800

Voices are WAV files, at any rate, in folders and their subfolders. They and the noises are kept as the stage's spectra and are
mixed there: white and coloured noise, steady and modulated, rumble, traffic, tones of mains and fans, babble of the same
voices, clicks, at -5 to 45 dB, everything through random equalisers and at random levels. The loss compares compressed spectra
(S. Braun and I. Tashev, Data augmentation and loss normalization for deep noise suppression, SPECOM 2020), the error's energy
over the voice's (which is what SI-SDR measures), and the correlation of band envelopes over 0.4 s, which is what STOI measures
(C. H. Taal et al., IEEE TASLP 19(7), 2011).

One thread, seeds that follow from --seed and the number of a batch, deterministic kernels: the same command gives the same file
on the same machine. What has been done is kept beside OUT every SAVE_EVERY batches, and is taken up again. The rate of learning
is constant but for the first WARM_UP and the last DECAY batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.dsp import suppressor
from autovoice.dsp.stages import denoise
from autovoice.dsp.suppressor import BANDS, CELLS, DENSE, FEATURES
from autovoice.dsp.toolchain import numba
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]

RATE = 48_000  # Hz
SIZE, SEGMENTS, LENGTH = denoise._layout(RATE)
HOP = 64 * SEGMENTS  # frames from one evaluation of the network to the next
WINDOW = denoise.windows(SIZE, HOP, LENGTH)[0].astype(np.float32)
BINS = int(suppressor.TOP_HZ / RATE * SIZE)
HERTZ = np.arange(BINS) * RATE / SIZE
STEPS = 768  # evaluations in one example: 2.05 s
BATCH = 32
METADATA = {"source": "autovoice.tools.train_denoise, voices of Kokoro-82M; Apache-2.0"}  # one: their order is not kept
RMS = 0.05  # of a voice and of a noise at 0 dB
MAKE_S = 3.0  # length of the noises that are made
SPARSE = 8  # every so many spectra tell the level
CURVE = 0.4  # exponent of the compressed spectra
ENVELOPE, SPAN, STRIDE = 6, 24, 8  # evaluations in a point of an envelope, points correlated, points from one to the next
LOSSES = {"magnitude": 0.5, "complex": 0.3, "error": 0.35, "envelope": 0.15}
SPEEDS = ((9, 10), (11, 10), (10, 11), (6, 7), (8, 9), (7, 6))  # other talkers: faster and slower
RATE_OF_LEARNING, LEAST_RATE = 2.5e-3, 2e-5
WARM_UP, DECAY = 40, 250  # batches
SAVE_EVERY = 50  # batches
KINDS = {
    **{"white": 0.07, "colour": 0.26, "modulated": 0.07, "rumble": 0.08, "traffic": 0.1},
    **{"tones": 0.12, "fan": 0.18, "babble": 0.08, "clicks": 0.04},
}


def spectra(sound: Array) -> Array:
    """Return the spectrum at every evaluation, complex64 of shape (evaluations, BINS)."""
    padded = np.pad(sound, (SIZE - HOP, 0)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP]
    parts = [np.fft.rfft(frames[at : at + 512] * WINDOW)[:, :BINS].astype(np.complex64) for at in range(0, len(frames), 512)]
    return np.concatenate(parts)


def load_voices(folders: list[Path], random: np.random.Generator) -> list[Array]:
    """Return the spectra of all recordings, each at its own and at another speed, a quarter of them in a small room."""
    from scipy.signal import fftconvolve, resample_poly

    found = []
    for path in (file for folder in folders for file in sorted(folder.rglob("*.wav"))):
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


def wandering_db(random: np.random.Generator, points: int, spread_db: float) -> Array:
    """Return a gain for each of STEPS spectra, which wanders between random values."""
    return np.interp(np.linspace(0, 1, STEPS), np.linspace(0, 1, points), random.normal(0, spread_db, points))


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
    power = np.square(np.abs(spectrum[::SPARSE])).sum(1)
    loud = power[power > 1e-3 * power.max()]
    scale = RMS / (np.sqrt(loud.mean() / np.square(WINDOW).sum() / (SIZE / 2)) + 1e-9) if len(loud) else 0.0
    return np.asarray(spectrum * np.float32(scale))


class Noises:
    """Makes noises as spectra."""

    def __init__(self, random: np.random.Generator, voices: list[Array]) -> None:
        """Make what noises are mixed from."""
        self.white = [spectra(random.standard_normal(round(2 * MAKE_S * RATE))) for _ in range(12)]
        self.tones = [tones(random) for _ in range(100)]
        self.clicks = [clicks(random) for _ in range(15)]
        self.babble = [np.sum([excerpt(random, voices) for _ in range(random.integers(4, 11))], 0) for _ in range(48)]

    def make(self, random: np.random.Generator) -> Array:
        """Return STEPS spectra of a noise of a random kind."""
        kind = random.choice(list(KINDS), p=list(KINDS.values()))
        white = excerpt(random, self.white)
        steep = np.maximum(HERTZ, 20) ** random.uniform(-1.3, 0.2)
        tilt = (steep * curve(random, random.choice([0, random.uniform(0, 6)]))).astype(np.float32)
        if kind == "white":
            return levelled(white)
        if kind == "babble":
            return levelled(excerpt(random, self.babble) * curve(random, random.uniform(0, 3)))
        if kind in ("fan", "rumble", "traffic"):
            corner = random.uniform(80, 1500) if kind == "fan" else random.uniform(30, 200)
            slope = random.uniform(0.3, 0.9) if kind == "fan" else random.uniform(0.5, 1.5)
            above = random.uniform(10, 50) < HERTZ
            air = white * (above / (1 + (HERTZ / corner) ** 2) ** slope * curve(random, 3)).astype(np.float32)
            if kind == "rumble":
                return levelled(air)
            if kind == "fan":
                return levelled(air) + levelled(excerpt(random, self.tones)) * np.float32(10 ** (-random.uniform(0, 15) / 20))
            wheels = np.roll(white, STEPS // 3, 0) * (1 / (1 + (HERTZ / random.uniform(500, 1500)) ** 4)).astype(np.float32)
            passing_db = wandering_db(random, int(random.integers(3, 6)), 8) - random.uniform(0, 20)
            return levelled(levelled(air) + levelled(wheels) * (10 ** (passing_db[:, None] / 20)).astype(np.float32))
        hiss = levelled(white * tilt)
        if kind == "tones":
            return levelled(excerpt(random, self.tones)) + hiss * np.float32(10 ** (-random.uniform(5, 50) / 20))
        if kind == "clicks":
            return levelled(excerpt(random, self.clicks)) + np.float32(0.1) * hiss
        if kind == "modulated":
            return hiss * (10 ** (wandering_db(random, int(random.integers(4, 40)), 6)[:, None] / 20)).astype(np.float32)
        return hiss


def band_weights() -> Array:
    """Return the share of each bin in each band, shape (BINS, BANDS)."""
    place = np.interp(HERTZ, suppressor.centres_hz(), np.arange(BANDS))
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(BANDS))), np.float32)


@numba.njit(error_model="numpy")
def fuse(voice: Array, noise: Array, lower: Array, share: Array, energies: Array) -> None:
    """Add to zeroed energies, (3, STEPS, BANDS): the power of voice + noise, its product with the voice, and the voice's."""
    for t in range(voice.shape[0]):
        for k in range(voice.shape[1]):
            s = voice[t, k]
            x = s + noise[t, k]
            b, above = lower[k], share[k]
            below = np.float32(1) - above
            mixture, product, alone = (
                x.real * x.real + x.imag * x.imag,
                x.real * s.real + x.imag * s.imag,
                s.real * s.real + s.imag * s.imag,
            )
            energies[0, t, b] += below * mixture
            energies[0, t, b + 1] += above * mixture
            energies[1, t, b] += below * product
            energies[1, t, b + 1] += above * product
            energies[2, t, b] += below * alone
            energies[2, t, b + 1] += above * alone


@numba.njit(error_model="numpy")
def _describe(levels: Array, out: Array) -> None:
    """Turn log2 of the bands' powers, (STEPS, BANDS), into features, (STEPS, FEATURES), before scale and limits."""
    level, floor, quantile = np.float32(0), levels[0].copy(), levels[0].copy()
    for t in range(len(levels)):
        level += (levels[t].mean() - level) / min(t + 1, suppressor.MEMORY)
        step = max(suppressor.STEP, suppressor.FIRST_STEP / np.float32(t + 1))
        for b in range(levels.shape[1]):
            now = levels[t, b]
            floor[b] += (suppressor.DOWN if now < floor[b] else suppressor.UP) * (now - floor[b])
            quantile[b] += step * (suppressor.QUANTILE - np.float32(1) if now < quantile[b] else suppressor.QUANTILE)
            out[t, b], out[t, BANDS + b], out[t, 2 * BANDS + b] = now - level, now - floor[b], now - quantile[b]


def features(power: Array) -> Array:
    """Return what the stage computes from the power of the bands, (batch, STEPS, BANDS): (batch, STEPS, FEATURES)."""
    levels = np.log2(power + suppressor.EMPTY).astype(np.float32)
    out = np.zeros((*levels.shape[:2], FEATURES), np.float32)
    for example, described in zip(levels, out, strict=True):
        _describe(example, described)
    return np.clip(suppressor.SCALE * out, suppressor.LOWEST, suppressor.GREATEST)


def batch(random: np.random.Generator, voices: list[Array], noises: Noises) -> tuple[Array, Array]:
    """Return features and, in bands, the power of the mixture, its product with the voice, and the voice's power."""
    scale = 1 / (band_weights().sum(0) * np.square(WINDOW).sum())
    place = np.interp(HERTZ, suppressor.centres_hz(), np.arange(BANDS))
    lower = np.minimum(place.astype(np.int64), BANDS - 2)
    share = (place - lower).astype(np.float32)
    energies = np.zeros((3, BATCH, STEPS, BANDS), np.float32)
    for i in range(BATCH):
        voice = excerpt(random, voices).copy()
        if random.uniform() < 0.3:
            middle = random.integers(STEPS // 4, 3 * STEPS // 4)
            voice[middle:] = excerpt(random, voices)[middle:]
        voice = levelled(voice * curve(random, random.choice([0, random.uniform(0, 5)])))
        voice *= np.float32(random.uniform() > 0.04)
        snr_db = random.choice([random.uniform(-5, 25), random.uniform(0, 10), random.uniform(25, 45)], p=[0.5, 0.4, 0.1])
        noise = noises.make(random) * np.float32(10 ** (-snr_db / 20))
        fuse(voice, noise, lower, share, energies[:, i])
    energies *= scale.astype(np.float32)
    gain = 10 ** (random.uniform(-25, 10, (BATCH, 1, 1)) / 10)
    return features(energies[0] * gain), energies / np.float32(RMS**2)


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
    correlation = (alike * active)[:, 3:].mean(1).sum() / active.sum()
    terms = {"magnitude": magnitude, "complex": coherent, "error": ratio, "envelope": 1 - correlation}
    return sum(LOSSES[name] * term for name, term in terms.items())


def rate_of_learning(number: int, batches: int) -> float:
    """Return the rate for a batch: up, constant, and down with the power 1.5 of what is left."""
    left = min(1.0, (batches - number) / DECAY)
    return max(RATE_OF_LEARNING * min(1.0, (number + 1) / WARM_UP) * float(left**1.5), LEAST_RATE)


def train(
    voices: list[Array], batches: int, seed: int, tell: Callable[[str], None], kept: Path | None = None, stop: int | None = None
) -> dict[str, Array]:
    """Return the weights after so many batches, taking up what is `kept`; `stop`: leave off at this batch."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    noises, net = Noises(np.random.default_rng((seed, 1)), voices), network()
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4, betas=(0.9, 0.98))
    bins = torch.from_numpy(band_weights().sum(0))
    done, values = 0, []
    if kept is not None and kept.exists():
        state = torch.load(kept, weights_only=True)
        done = state["done"]
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
    for number in range(done, batches if stop is None else stop):
        for group in optimiser.param_groups:
            group["lr"] = rate_of_learning(number, batches)
        made = batch(np.random.default_rng((seed, 2, number)), voices, noises)
        inputs, energies = (torch.from_numpy(array) for array in made)
        value = loss(net(inputs), energies, bins)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        values.append(value.item())
        if (number + 1) % SAVE_EVERY == 0:
            tell(f"{number + 1} of {batches} batches, loss {np.mean(values):.4f}")
            values.clear()
            if kept is not None:
                partial = kept.with_name(kept.name + ".part")
                torch.save({"done": number + 1, "net": net.state_dict(), "optimiser": optimiser.state_dict()}, partial)
                partial.replace(kept)
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("voices", type=Path, nargs="+")
    parser.add_argument("--batches", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    voices = load_voices(arguments.voices, np.random.default_rng((arguments.seed, 0)))
    if not voices:
        parser.error(f"no WAV file in {', '.join(map(str, arguments.voices))}")
    kept = arguments.out.with_name(arguments.out.name + ".kept")
    weights = train(voices, arguments.batches, arguments.seed, lambda line: print(line, flush=True), kept)
    write(arguments.out, weights)


def write(path: Path, weights: dict[str, Array]) -> None:
    """Write the weights as safetensors; the file appears when it is complete."""
    partial = path.with_name(path.name + ".part")
    save_file({name: np.ascontiguousarray(tensor, np.float32) for name, tensor in weights.items()}, partial, metadata=METADATA)
    partial.replace(path)


if __name__ == "__main__":
    main()
