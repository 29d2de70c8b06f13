"""Gains for each bin of a noisy spectrum: those of the bands, sharpened by what is known of the noise between them.

Within a band the bins differ: there are tones of a fan or of the mains, and gaps between a voice's harmonics. So the power of
the noise is tracked for each bin, learning where the band has next to no voice (as in T. Gerkmann and R. C. Hendriks, Unbiased
MMSE-based noise power estimation with low complexity and low tracking delay, IEEE TASLP 20(4), 2012, with the network's gain
in the place of the probability of speech), and kept near the least power of the last second (R. Martin, Noise power spectral
density estimation based on optimal smoothing and minimum statistics, IEEE TSAP 9(5), 2001), so that it cannot stick. It gives
a Wiener gain of its own by the decision-directed a priori SNR (Y. Ephraim and D. Malah, Speech enhancement using a minimum
mean-square error short-time spectral amplitude estimator, IEEE TASSP 32(6), 1984, eq. 51; P. Scalart and J. V. Filho, Speech
enhancement based on a priori signal to noise estimation, ICASSP 1996). The gain of a bin is the weighted geometric mean of
both.

Compiled code for the audio thread, except `values` and `plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import suppressor
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.toolchain import numba

carray = numba.carray

LEARNING_S = 0.53  # time constant of the noise where there is no voice
NO_VOICE, VOICE = np.float32(0.05), np.float32(0.15)  # gain of a band up to which noise is learnt, and from which it is not
LEAST_S = 0.8  # the least power is looked for in the last one to two of these
SMOOTHED_S = 0.032  # time constant of the power that it is looked for in
AT_LEAST, AT_MOST = np.float32(1.5), np.float32(4)  # the noise's power over the least
INERTIA_S = 0.13  # of the a priori SNR: time constant of the decision-directed rule
LEAST_SNR = np.float32(10**-2.5)  # a priori
MOST_SNR = np.float32(1e4)  # a posteriori
SHARE = np.float32(0.3)  # of the bins' own gain, in decibels; the rest is the band's
QUIETEST = np.float32(1e-14)
ZERO, ONE = np.float32(0), np.float32(1)

STATE = np.dtype(
    [
        ("bins", "i8"),
        ("work", "i8"),  # address of ROWS rows of float32 for each bin
        ("seen", "i8"),  # spectra, counted from the first that has a whole window of sound: negative before
        ("learning", "f4"),  # coefficient of the noise per spectrum
        ("span", "i8"),  # spectra in LEAST_S
        ("smoothing", "f4"),  # coefficient of the power that the least is looked for in
        ("inertia", "f4"),  # weight of what was found before in the a priori SNR
    ],
    align=True,
)
# Power of the sound, of the noise, of the voice found before over the noise; gain; smoothed power; least of it, and before
_POWER, _NOISE, _VOICE, _GAIN, _SMOOTH, _LEAST, _BEFORE = range(7)
ROWS = 7


def values(size: int) -> int:
    """Return the float32 values of memory for spectra of `size` samples."""
    return ROWS * (size // 2 + 16)


def plan(state: Any, size: int, hop_s: float, work: Any) -> None:
    """Lay out for spectra of `size` samples every `hop_s` in zeroed `state`; `work`: address of `values(size)` float32."""
    state["bins"], state["work"] = size // 2 + 1, work
    state["learning"] = 1 - np.exp(-hop_s / LEARNING_S)
    state["span"] = max(1, round(LEAST_S / hop_s))
    state["smoothing"] = 1 - np.exp(-hop_s / SMOOTHED_S)
    state["inertia"] = np.exp(-hop_s / INERTIA_S)


@helper
def _row(s: Any, which: Any) -> Any:
    return carray(as_pointer(s.work + 4 * which * (s.bins + 15)), (s.bins,), np.float32)


@helper
def begin(s: Any, window: Any) -> None:
    """Await as many spectra as it takes to have a whole window of sound."""
    s.seen = -window


@helper
def take(s: Any, re: Any, im: Any, first: Any) -> None:
    """Take the power of one channel's spectrum; that of the first replaces what was there."""
    power = _row(s, _POWER)
    if first:
        for k in range(s.bins):
            power[k] = re[k] * re[k] + im[k] * im[k]
    else:
        for k in range(s.bins):
            power[k] += re[k] * re[k] + im[k] * im[k]


@helper
def learn(s: Any, net: Any, bands: Any) -> None:
    """Spread the gains of the bands over the bins, and learn the noise where they are small."""
    gain, noise, power = _row(s, _GAIN), _row(s, _NOISE), _row(s, _POWER)
    suppressor.spread(net, bands, gain, s.bins)
    s.seen += 1
    rate = max(s.learning, ONE / np.float32(max(s.seen, 1)))
    slope = rate / (VOICE - NO_VOICE)
    if s.seen <= 0:
        for k in range(s.bins):
            noise[k] = power[k]
    else:
        for k in range(s.bins):
            step = min(max(slope * (VOICE - gain[k]), ZERO), rate)
            noise[k] += step * (power[k] - noise[k])
    _keep_near_least(s, power, noise)


@helper
def _keep_near_least(s: Any, power: Any, noise: Any) -> None:
    """Follow the least of the smoothed power, and keep the noise within AT_LEAST and AT_MOST times it."""
    smooth, least, before = _row(s, _SMOOTH), _row(s, _LEAST), _row(s, _BEFORE)
    if s.seen <= 0:
        for k in range(s.bins):
            smooth[k] = least[k] = before[k] = power[k]
    elif s.seen % s.span == 0:
        for k in range(s.bins):
            before[k], least[k] = least[k], smooth[k]
    for k in range(s.bins):
        smooth[k] += s.smoothing * (power[k] - smooth[k])
        least[k] = min(least[k], smooth[k])
        lowest = min(least[k], before[k])
        noise[k] = max(min(max(noise[k], AT_LEAST * lowest), AT_MOST * lowest), QUIETEST)


@helper
def judge(s: Any, least: Any, strength: Any) -> Any:
    """Turn the spread gains into the gains to apply, in octaves, scaled by `strength` and at least `least`; returns them."""
    gain, noise, power, voice = _row(s, _GAIN), _row(s, _NOISE), _row(s, _POWER), _row(s, _VOICE)
    inertia, rest = s.inertia, ONE - s.inertia
    own, common = SHARE, ONE - SHARE
    for k in range(s.bins):
        posterior = min(power[k] / noise[k], MOST_SNR)
        prior = max(inertia * voice[k] + rest * max(posterior - ONE, ZERO), LEAST_SNR)
        wiener = prior / (prior + ONE)
        voice[k] = wiener * wiener * posterior
        gain[k] = max(strength * (common * log2(gain[k]) + own * log2(wiener)), least)
    return gain


@helper
def apply(s: Any, re: Any, im: Any) -> None:
    """Leave in the bins of a channel what the gains take away from them."""
    gain = _row(s, _GAIN)
    for k in range(s.bins):
        change = gain[k] - ONE
        re[k] *= change
        im[k] *= change


@helper
def to_linear(s: Any) -> None:
    """Turn octaves into factors."""
    gain = _row(s, _GAIN)
    for k in range(s.bins):
        gain[k] = exp2(gain[k])
