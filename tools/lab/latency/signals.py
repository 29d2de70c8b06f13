"""Probe signals: sounds whose autocorrelation is one sharp peak, and a voice-like one for paths that have no single delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CHIRP_S, CHIRP_LOW_HZ, CHIRP_HIGH_HZ, CHIRP_AMPLITUDE = 0.25, 1_000.0, 8_000.0, 0.25
MLS_ORDERS = range(2, 21)
PROBE_MLS_S = 0.25  # the order whose length comes nearest is taken
BURSTS_S = 1.5
BURST_F0_HZ = (110.0, 140.0)  # from the first to the last burst: a man's speaking pitch, moving enough to be no steady tone
BURST_RATE_HZ = 9.0  # of the envelope: its bandwidth, about twice the rate of syllables
BURST_TILT_DB = -6.0  # per octave, of the harmonics
BURST_HIGH_HZ = 4_000.0

# Feedback taps of one primitive polynomial for each order (N. Zierler and J. Brillhart, Information and Control 13, 1968;
# as tabulated for linear-feedback shift registers by P. Alfke, Xilinx XAPP 052, 1996).
MLS_TAPS = {
    2: (2, 1),
    3: (3, 2),
    4: (4, 3),
    5: (5, 3),
    6: (6, 5),
    7: (7, 6),
    8: (8, 6, 5, 4),
    9: (9, 5),
    10: (10, 7),
    11: (11, 9),
    12: (12, 6, 4, 1),
    13: (13, 4, 3, 1),
    14: (14, 5, 3, 1),
    15: (15, 14),
    16: (16, 15, 13, 4),
    17: (17, 14),
    18: (18, 11),
    19: (19, 6, 2, 1),
    20: (20, 17),
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A sound to be sent, and the band in which its echo is looked for."""

    name: str
    sound: Array  # float32, shape (frames,)
    band_hz: tuple[float, float]
    sample_rate: float  # Hz

    @property
    def peak(self) -> float:
        """Return the largest absolute sample."""
        return float(np.abs(self.sound).max())


def chirp(sample_rate: float) -> Array:
    """Return a band-limited linear sweep with a Hann envelope; float32 of shape (frames,).

    It stays above the region in which a high-pass bends the phase, so the peak of the cross-correlation is the delay.
    """
    time_s = np.arange(round(CHIRP_S * sample_rate)) / sample_rate
    phase = 2 * np.pi * (CHIRP_LOW_HZ + (CHIRP_HIGH_HZ - CHIRP_LOW_HZ) * time_s / (2 * CHIRP_S)) * time_s
    return (CHIRP_AMPLITUDE * np.hanning(len(time_s)) * np.sin(phase)).astype(np.float32)


def mls(order: int) -> Array:
    """Return a maximum-length sequence of 2**order - 1 values of +1 and -1; int8 of shape (frames,).

    Its circular autocorrelation is 2**order - 1 at lag 0 and -1 everywhere else (S. W. Golomb, Shift Register Sequences,
    1967). Raises ValueError for an order without a polynomial in the table.
    """
    if order not in MLS_TAPS:
        raise ValueError(f"the order of an MLS must be in {MLS_ORDERS[0]}..{MLS_ORDERS[-1]}, got {order}")
    state = (1 << order) - 1
    bits = np.empty((1 << order) - 1, np.int8)
    for k in range(len(bits)):
        bits[k] = state & 1
        feedback = 0
        for tap in MLS_TAPS[order]:
            feedback ^= state >> (order - tap)
        state = (state >> 1) | ((feedback & 1) << (order - 1))
    return np.asarray(1 - 2 * bits, np.int8)


def bursts(sample_rate: float) -> Array:
    """Return harmonics of a gliding pitch under an irregular envelope, like syllables; float32 of shape (frames,).

    For what moves pitch or spectrum: the waveform that comes back is another one, its envelope is not. The envelope is a
    seeded band-limited noise, so that only one lag fits.
    """
    frames = round(BURSTS_S * sample_rate)
    time_s = np.arange(frames) / sample_rate
    rng = np.random.default_rng(4)
    knots = rng.uniform(-1.0, 1.0, round(BURSTS_S * 2 * BURST_RATE_HZ) + 2)
    knots[:2] = knots[-2:] = -1.0
    envelope = np.interp(time_s, np.linspace(0, BURSTS_S, len(knots)), knots)
    smooth = np.hanning(round(sample_rate / BURST_RATE_HZ / 2))
    envelope = np.convolve(np.clip(envelope, -0.5, 1.0) + 0.5, smooth / smooth.sum(), "same")
    f0_hz = np.linspace(*BURST_F0_HZ, frames)
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    voice = np.zeros(frames)
    for harmonic in range(1, int(BURST_HIGH_HZ / BURST_F0_HZ[1]) + 1):
        voice += harmonic ** (BURST_TILT_DB / 20 * np.log2(10)) * np.sin(harmonic * phase + harmonic**2)
    sound = envelope * voice
    return np.asarray(CHIRP_AMPLITUDE * 2 * sound / np.abs(sound).max(), np.float32)


def probe(name: str, sample_rate: float, level_db: float = 0.0) -> Probe:
    """Return the probe `chirp`, `mls` or `bursts`, louder by `level_db`; an MLS is bounded to the chirp's band when found.

    Raises ValueError for another name.
    """
    high = min(CHIRP_HIGH_HZ, 0.45 * sample_rate)
    if name == "chirp":
        sound, band = chirp(sample_rate), (CHIRP_LOW_HZ, high)
    elif name == "mls":
        order = max(MLS_ORDERS[0], min(MLS_ORDERS[-1], round(np.log2(PROBE_MLS_S * sample_rate))))
        sound, band = (CHIRP_AMPLITUDE / 2 * mls(order)).astype(np.float32), (CHIRP_LOW_HZ, min(0.4 * sample_rate, 2.5 * high))
    elif name == "bursts":
        sound, band = bursts(sample_rate), (BURST_F0_HZ[0] / 2, min(BURST_HIGH_HZ, 0.45 * sample_rate))
    else:
        raise ValueError(f"no probe is called {name!r}; there are: chirp, mls, bursts")
    return Probe(name, (sound * np.float32(10 ** (level_db / 20))).astype(np.float32), band, sample_rate)
