"""The figure of `vad`: a voice in noise, what the network makes of it, and when the detectors say voice."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 9.0
NOISE_DBFS = -38.0


def _pink(frames: int) -> np.ndarray[Any, Any]:
    """Return noise whose power falls by 3 dB per octave, RMS 1."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(frames))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, frames)
    return np.asarray(noise / noise.std())


def draw(figure: Figure) -> None:
    """Draw the spectrogram above the probability and both detectors' decisions."""
    voice = speech.load(speech.default_paths(), RATE, SECONDS)
    voice = 0.3 * voice / np.abs(voice).max()
    from_half = np.arange(len(voice)) > len(voice) / 2
    sound = np.pad(voice + 10 ** (NOISE_DBFS / 20) * from_half * _pink(len(voice)), (RATE // 2, RATE))
    sound += 1e-6 * np.random.default_rng(1).standard_normal(len(sound))  # or the spectrogram would take log(0)
    silero = Chain(["vad"]).analyse(sound, sample_rate=RATE)
    above, below = figure.subplots(2, sharex=True, height_ratios=(1, 1.2))
    above.specgram(sound, NFFT=1024, noverlap=512, Fs=RATE, scale="dB", vmin=-130, vmax=-40, cmap="magma")
    above.set(ylim=(0, 8000), ylabel="frequency (Hz)", title=f"vad: a reader; from {0.5 + SECONDS / 2:g} s on with pink noise")
    below.plot(silero.time_s, silero.vad_probability, linewidth=0.9, label="probability (Silero)")
    below.fill_between(silero.time_s, 1.08, 1.08 + 0.14 * silero.vad, step="post", label="vad, model silero", color="tab:green")
    if importlib.util.find_spec("webrtcvad"):
        webrtc = Chain([{"stage": "vad", "model": "webrtc"}]).analyse(sound, sample_rate=RATE)
        band = 1.3 + 0.14 * webrtc.vad
        below.fill_between(webrtc.time_s, 1.3, band, step="post", label="vad, model webrtc", color="tab:orange")
    below.axhline(0.5, linewidth=0.7, linestyle=":", color="grey", label="threshold")
    below.set(xlabel="time (s)", ylabel="probability", ylim=(-0.03, 1.5), yticks=(0, 0.5, 1), xlim=(0, silero.time_s[-1]))
    below.legend(loc=(0.2, 0.12), ncols=2, fontsize="small")
