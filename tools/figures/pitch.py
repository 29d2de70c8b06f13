"""The figure of `pitch`: a reader, from the middle on in noise; the track on the spectrogram, the probability below it."""

from __future__ import annotations

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
SECONDS = 7.0
NOISE_DBFS = -38.0
HIGHEST_HZ = 800


def draw(figure: Figure) -> None:
    """Draw f0 above the voicing probability and the threshold."""
    voice = speech.load(speech.default_paths(), RATE, SECONDS)
    voice = 0.3 * voice / np.abs(voice).max()
    noise = 10 ** (NOISE_DBFS / 20) * np.random.default_rng(0).standard_normal(len(voice))
    late = np.arange(len(voice)) > len(voice) / 2
    sound = voice + np.where(late, noise, 1e-3 * noise)
    track = Chain(["pitch"]).analyse(sound, sample_rate=RATE)
    above, below = figure.subplots(2, sharex=True, height_ratios=(2.2, 1))
    above.specgram(sound, NFFT=2048, noverlap=1792, Fs=RATE, scale="dB", vmin=-130, vmax=-45, cmap="Greys")
    above.plot(track.time_s, np.where(track.f0_hz > 0, track.f0_hz, np.nan), color="tab:red", linewidth=1.6, label="f0")
    above.set(ylim=(0, HIGHEST_HZ), ylabel="frequency (Hz)")
    above.set_title(f"pitch: a reader; from {SECONDS / 2:g} s on with white noise")
    above.legend(loc="upper right")
    below.plot(track.time_s, track.voicing, linewidth=0.9, label="voicing")
    below.axhline(0.3, linewidth=0.8, linestyle=":", color="grey", label="threshold")
    below.set(xlabel="time (s)", ylabel="probability", ylim=(-0.03, 1.03), xlim=(0, len(sound) / RATE))
    below.legend(loc="center right", fontsize="small")
