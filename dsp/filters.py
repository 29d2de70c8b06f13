"""Filters with a zero-delay feedback loop: the topology-preserving state-variable filter, stable while its cutoff moves.

After V. Zavalishin, The Art of VA Filter Design (2012, rev. 2018), chapter 4: two trapezoidal integrators whose states z1 and
z2 keep their meaning when the cutoff moves, unlike the delays of a direct form. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import fma, helper

_LARGEST_ANGLE = 0.42  # radians; 1 kHz at 8 kHz needs 0.393


def _fit_tan() -> list[float]:
    """Fit tan(x) / x as a polynomial in x² (Chebyshev nodes), coefficients from the constant up."""
    nodes = (np.cos(np.pi * (np.arange(64) + 0.5) / 64) + 1) / 2 * _LARGEST_ANGLE**2
    x = np.sqrt(nodes)
    return [float(c) for c in np.polynomial.Polynomial.fit(nodes, np.tan(x) / x, 8).convert().coef]


T0, T1, T2, T3, T4, T5, T6, T7, T8 = _fit_tan()


@helper
def tan(x):
    """Return tan(x) for float64 x in 0..0.42 radians, relative error below 1e-13."""
    u = x * x
    return x * ((((((((T8 * u + T7) * u + T6) * u + T5) * u + T4) * u + T3) * u + T2) * u + T1) * u + T0)


@helper
def highpass_coefficients(g, k):
    """Return (pole sum, pole product, input, output) of a section with g = tan(π cutoff / rate) and damping k = 1 / Q.

    They are the coefficients of z[n+1] = sum z[n] - product z[n-1] + input (x[n] - x[n-1]), y[n] = output (z[n+1] - z[n]),
    where z is the state of the first integrator: with both integrators written as one recursion of order two, a frame
    waits for one multiply-add of the frame before instead of two.
    """
    a = 1.0 / (1.0 + g * (g + k))
    return 2.0 * a * (1.0 - g * g), a * (1.0 - g * k + g * g), 2.0 * g * a, 0.5 / g


@helper
def highpass_tick(z, z_before, difference, section):
    """Return the next state of the first integrator while the cutoff rests."""
    return fma(section[0], z, fma(-section[1], z_before, section[2] * difference))


@helper
def highpass_move(z, z_before, x, x_before, g_before, g, k):
    """Return the next state of the first integrator in a frame that has a new g: both integrators keep what they hold."""
    band = 0.5 * (z + z_before)
    z2 = x_before - (z - z_before) * (0.5 / g_before) - (k - g_before) * band
    return z + 2.0 * g * (x - (g + k) * z - z2) / (1.0 + g * (g + k))
