"""The figure of `gate`: a voice in noise, a keyboard, and what a fixed and an adaptive gate make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.rt import Chain
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
NOISE_DBFS = -42.0
LEAD_S, PHRASES_S, PAUSE_S = 3.2, ((0.2, 2.4), (2.5, 5.0)), 1.5  # of the reader
KEYS_FROM_S = 8.2
SETTINGS: dict[str, Any] = {"stage": "gate", "threshold": -45.0, "hold": 200.0, "lookahead": 5.0}


def _scene() -> np.ndarray[Any, Any]:
    """Return noise, a reader with pauses in it, and a keyboard towards the end."""
    voice = speech.load(speech.default_paths(), RATE, None)
    lead, pause = np.zeros(round(LEAD_S * RATE)), np.zeros(round(PAUSE_S * RATE))
    parts = [part for start, end in PHRASES_S for part in (voice[round(start * RATE) : round(end * RATE)], pause)]
    sound = np.concatenate([lead, *parts])
    sound = 0.4 * sound / np.abs(sound).max()
    random = np.random.default_rng(0)
    noise = random.standard_normal(len(sound)) * 10 ** (NOISE_DBFS / 20)
    time = np.arange(round(0.03 * RATE)) / RATE
    for start in np.arange(KEYS_FROM_S, len(sound) / RATE - 0.1, 0.27):
        at = round(start * RATE)
        noise[at : at + len(time)] += 0.2 * random.standard_normal(len(time)) * np.exp(-time / 0.003)
    return np.asarray(sound + noise)


def draw(figure: Figure) -> None:
    """Draw input and output, then level, noise floor and the gains."""
    sound = _scene()
    adaptive, fixed = Chain([{**SETTINGS, "mode": "adaptive"}]), Chain([SETTINGS])
    heard = adaptive.render(sound, sample_rate=RATE)
    track = adaptive.analyse(sound, sample_rate=RATE)
    seconds = np.arange(len(sound)) / RATE
    above, below = figure.subplots(2, sharex=True, height_ratios=(1, 1.3))
    above.plot(seconds, sound, linewidth=0.4, color="silver", label="input: a reader in noise, key strokes from 8 s")
    above.plot(seconds, heard, linewidth=0.4, color="tab:blue", label="output, adaptive")
    above.set(ylabel="amplitude", ylim=(-0.6, 0.9), title="gate: fixed and adaptive threshold")
    above.legend(loc="upper left", ncols=2, fontsize="small")
    below.plot(track.time_s, track.level_dbfs, linewidth=0.4, color="silver", label="level (dBFS)")
    known = np.arange(len(track.time_s)) * 64 > 2 * RATE
    below.plot(track.time_s[known], track.noise_dbfs[known], color="tab:red", linewidth=1.2, label="noise floor (dBFS)")
    fixed_db = fixed.analyse(sound, sample_rate=RATE).gate_db
    below.plot(track.time_s, fixed_db, color="tab:orange", linewidth=1, label="gain, fixed (dB)")
    below.plot(track.time_s, track.gate_db, color="tab:blue", linewidth=1, label="gain, adaptive (dB)")
    below.set(xlabel="time (s)", ylabel="dB", ylim=(-95, 25), xlim=(0, seconds[-1]))
    below.legend(loc="upper left", ncols=4, fontsize="small")
