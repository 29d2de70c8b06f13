"""Carriers with a white spectrum: pulse trains without aliases, and noise that follows the frame number.

A train of pulses with the harmonics 1..K of equal size is the closed sum sin((2K + 1) π t) / sin(π t) (J. A. Moorer, The
Synthesis of Complex Audio Spectra by Means of Discrete Summation Formulas, J. Audio Eng. Soc. 24(9), 1976; T. Stilson and
J. Smith, Alias-Free Digital Synthesis of Classic Analog Waveforms, ICMC 1996). It is what a saw is behind a whitening
filter. Phases are 32-bit integers, so that every frame is computed by itself, exactly, and in vectors. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2


def _fit_sin() -> list[np.float32]:
    """Fit sin(2 π a) / a over |a| <= 1/4 as a polynomial in a² (Chebyshev nodes), coefficients from the constant up."""
    nodes = (np.cos(np.pi * (np.arange(64) + 0.5) / 64) + 1) / 2 / 16
    a = np.sqrt(nodes)
    return [np.float32(c) for c in np.polynomial.Polynomial.fit(nodes, np.sin(2 * np.pi * a) / a, 4).convert().coef]


S0, S1, S2, S3, S4 = _fit_sin()
TURN = 4294967296.0  # 2**32: units of phase in a turn
HIGHEST_HARMONIC = 20_000.0  # Hz
_TURNS = np.float32(1 / TURN)
_NOISE = np.float32(np.sqrt(3) / 2**31)  # a uniform 32-bit integer becomes noise of variance 1
_HALF, _QUARTER, _ONE = np.float32(0.5), np.float32(0.25), np.float32(1)
_A4, _NOTE_A4, _PER_SEMITONE = np.float32(440), np.float32(69), np.float32(1 / 12)


@helper
def sin_turns(a):
    """Return sin(2 π a) for float32 a in -1/2..1/2, error below 2e-7, relative near 0."""
    folded = (_HALF if a > 0 else -_HALF) - a
    a = folded if abs(a) > _QUARTER else a
    u = a * a
    return a * ((((S4 * u + S3) * u + S2) * u + S1) * u + S0)


@helper
def note_hz(note):
    """Return the frequency of a MIDI note number, fractions included; 69 is 440 Hz."""
    return _A4 * exp2((note - _NOTE_A4) * _PER_SEMITONE)


@helper
def phase_step(hz, sample_rate):
    """Return the phase units, half a turn being 2**31, that a frequency advances by in a frame."""
    return np.int64(hz / sample_rate * TURN)


@helper
def harmonics_of(hz, sample_rate):
    """Return 2K + 1 for the K harmonics that a pulse train of this frequency has below the limit."""
    highest = min(HIGHEST_HARMONIC, 0.45 * sample_rate)
    return np.int32(2 * np.int64(highest / hz) + 1)


@helper
def pulse(phase, count):
    """Return 2 cos(2 π t) + ... + 2 cos(2 π K t), where count = 2K + 1 and 2**32 units of `phase` are a turn."""
    half = np.int32(np.int32(phase) >> np.int32(1))  # of the angle, so that sin(π t) needs no sign apart
    above = sin_turns(np.float32(np.int32(half * count)) * _TURNS)
    below = sin_turns(np.float32(half) * _TURNS)
    return (np.float32(count) if half == 0 else above / below) - _ONE


@helper
def noise_at(frame):
    """Return white noise of variance 1 at an absolute frame: an integer hash (T. Mueller's, two rounds), not a recursion."""
    h = np.uint32(frame)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x45D9F3B))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x45D9F3B))
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return np.float32(np.int32(h)) * _NOISE
