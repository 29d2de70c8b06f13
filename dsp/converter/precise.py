"""Logarithm and power of two in double precision, by polynomials: a phase that adds up for hours must not drift with rounding.

Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import math

import numpy as np
from autovoice.dsp.native import bits_of_f32, f32_of_bits, helper

# 2**f = sum of (f ln 2)**n / n!, for |f| <= 1/2: the first term left out is below 7e-15
E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = (math.log(2) ** n / math.factorial(n) for n in range(1, 12))
# log2(m) = 2 / ln 2 * sum of t**(2n + 1) / (2n + 1), t = (m - 1) / (m + 1), |t| < 0.172: the first term left out is below 1e-17
A0, A1, A2, A3, A4, A5, A6, A7, A8, A9 = (2 / math.log(2) / (2 * n + 1) for n in range(10))
_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@helper
def power_of_two(x):
    """Return 2**x for float64 x in -126..126, relative error below 1e-14."""
    whole = np.floor(x + 0.5)
    f = x - whole
    high = ((((E11 * f + E10) * f + E9) * f + E8) * f + E7) * f + E6
    total = (((((high * f + E5) * f + E4) * f + E3) * f + E2) * f + E1) * f + 1.0
    return total * np.float64(f32_of_bits(np.int32((np.int32(whole) + _BIAS) << _MANTISSA_BITS)))


@helper
def precise_log2(x):
    """Return log2(x) of a normal float32 as float64, error below 1e-14."""
    bits = bits_of_f32(x)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> _MANTISSA_BITS)  # sqrt(1/2) <= mantissa < sqrt(2)
    m = np.float64(f32_of_bits(np.int32(bits - (exponent << _MANTISSA_BITS))))
    t = (m - 1.0) / (m + 1.0)
    u = t * t
    high = (((A9 * u + A8) * u + A7) * u + A6) * u + A5
    return t * (((((high * u + A4) * u + A3) * u + A2) * u + A1) * u + A0) + np.float64(exponent)
