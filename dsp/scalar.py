"""Scalar maths whose bits do not depend on the machine's libm: polynomials that inline and vectorise.

Each is float32 arithmetic in a fixed order, its multiply-adds fused, so a vectorised loop and its scalar tail give the same
bits. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import bits_of_f32, f32_of_bits, fma, helper

DB_PER_OCTAVE = np.float32(20 * np.log10(2.0))
OCTAVES_PER_DB = np.float32(1 / (20 * np.log10(2.0)))
_ONE = np.float32(1)
_MANTISSA_BITS = np.int32(23)


def _fit(function, low, high, degree):
    """Fit a near-minimax polynomial in float64 (Chebyshev nodes), coefficients from the constant up, as float32."""
    nodes = np.cos(np.pi * (np.arange(64) + 0.5) / 64) * (high - low) / 2 + (high + low) / 2
    fit = np.polynomial.Polynomial.fit(nodes, function(nodes), degree).convert()
    return [np.float32(c) for c in fit.coef]


# (2**f - 1) / f, so that exp2(0) is exactly 1
E1, E2, E3, E4, E5 = _fit(lambda f: np.expm1(f * np.log(2)) / f, -0.5, 0.5, 4)
# log2(1 + t) / t over 1 + t in [sqrt(1/2), sqrt(2)], so that log2(1) is exactly 0
L0, L1, L2, L3, L4, L5, L6, L7 = _fit(lambda t: np.log1p(t) / t / np.log(2), -0.293, 0.4143, 7)


@helper
def exp2(x):
    """Return 2**x for float32 x in -126..126 (clamped), relative error below 3e-7."""
    x = min(max(x, np.float32(-126)), np.float32(126))
    whole = np.floor(x + np.float32(0.5))
    f = x - whole
    mantissa = fma(fma(fma(fma(fma(E5, f, E4), f, E3), f, E2), f, E1), f, _ONE)
    return f32_of_bits(np.int32(bits_of_f32(mantissa) + (np.int32(whole) << _MANTISSA_BITS)))


@helper
def log2(x):
    """Return log2(x) for float32 x > 0, absolute error below 2e-7 near x = 1 and 3e-6 anywhere; -126 for 0 and denormals."""
    bits = bits_of_f32(max(x, np.float32(1.17549435e-38)))
    # 0x3F3504F3 is sqrt(1/2): the mantissa falls into [0.707, 1.414)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> _MANTISSA_BITS)
    t = f32_of_bits(np.int32(bits - (exponent << _MANTISSA_BITS))) - _ONE
    ratio = fma(fma(fma(fma(fma(fma(fma(L7, t, L6), t, L5), t, L4), t, L3), t, L2), t, L1), t, L0)
    return fma(t, ratio, np.float32(exponent))


@helper
def db_to_gain(db):
    """Return the amplitude of a level in dB; 0 dB gives exactly 1."""
    return exp2(db * OCTAVES_PER_DB)


@helper
def gain_to_db(gain):
    """Return the level in dB of an amplitude >= 0; about -759 for 0."""
    return log2(gain) * DB_PER_OCTAVE
