"""Filters with a zero-delay feedback loop: the topology-preserving state-variable high-pass, stable while its cutoff moves.

After V. Zavalishin, The Art of VA Filter Design (2012, rev. 2018), chapter 4: two trapezoidal integrators whose states z1 and
z2 keep their meaning when the cutoff moves, unlike the delays of a direct form. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import fma, helper
from autovoice.dsp.stage import SEGMENT

HIGHPASS = np.dtype(
    [
        ("z", "f8"),  # first integrator
        ("z_before", "f8"),  # and one frame earlier
        ("x_before", "f8"),  # input one frame earlier
        ("g", "f8"),  # tan(pi cutoff / rate)
        ("cutoff", "f4"),  # Hz, the one `g` was made for
        ("fresh", "i4"),  # 0 = never ran
        ("drive", "f8", (SEGMENT,)),  # what moves the integrator in the frames at hand
        ("path", "f8", (1 + SEGMENT,)),  # and where it goes
    ],
    align=True,
)
"""One high-pass section of one channel, a field of a stage's state."""

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
def _highpass_move(z, z_before, x, x_before, g_before, g, k):
    """Return the next state of the first integrator in a frame that has a new g: both integrators keep what they hold."""
    band = 0.5 * (z + z_before)
    z2 = x_before - (z - z_before) * (0.5 / g_before) - (k - g_before) * band
    return z + 2.0 * g * (x - (g + k) * z - z2) / (1.0 + g * (g + k))


@helper
def _highpass_rest(section, row, k, frames):
    """Filter a row while the cutoff rests: only the recursion itself goes frame by frame."""
    drive, path = section.drive, section.path
    pole_sum, pole_product, gain_in, gain_out = highpass_coefficients(section.g, k)
    drive[0] = gain_in * (row[0] - section.x_before)
    for i in range(1, frames):
        drive[i] = gain_in * (row[i] - row[i - 1])
    section.x_before = row[frames - 1]
    z, z_before = section.z, section.z_before
    path[0] = z
    for i in range(frames):
        z, z_before = fma(pole_sum, z, fma(-pole_product, z_before, drive[i])), z
        path[i + 1] = z
    section.z, section.z_before = z, z_before
    for i in range(frames):
        row[i] = (path[i + 1] - path[i]) * gain_out


@helper
def _highpass_glide(section, row, cutoff_hz, k, angle, frames):
    """Filter a row while the cutoff moves, with the bits of `_highpass_rest` in frames in which it does not."""
    cutoff, g = section.cutoff, section.g
    c = highpass_coefficients(max(g, 1e-9), k)
    z, z_before, before = section.z, section.z_before, section.x_before
    for i in range(frames):
        now = row[i]
        if cutoff_hz[i] == np.float32(0):
            after = z = 0.0
        elif cutoff_hz[i] != cutoff:
            g_before, g = g, tan(angle * cutoff_hz[i])
            c = highpass_coefficients(g, k)
            started = cutoff != np.float32(0)
            after = _highpass_move(z, z_before, now, before, g_before, g, k) if started else 2.0 * g * now / (1.0 + g * (g + k))
            row[i] = (after - z) * c[3]
        else:
            after = highpass_tick(z, z_before, now - before, c)
            row[i] = (after - z) * c[3]
        z, z_before, before, cutoff = after, z, now, cutoff_hz[i]
    section.z, section.z_before, section.x_before, section.cutoff, section.g = z, z_before, before, cutoff, g


@helper
def highpass(section, row, cutoff_hz, k, angle, frames):
    """Filter a row of float64 in place by a section with damping k = 1 / Q; a cutoff of 0 Hz lets everything pass.

    `angle` is pi / rate in radians per Hz; `cutoff_hz` holds a cutoff for each frame.
    """
    if section.fresh == 0:
        section.fresh, section.cutoff, section.g = 1, cutoff_hz[0], tan(angle * cutoff_hz[0])
    moving = np.int32(0)
    for i in range(frames):
        moving |= np.int32(cutoff_hz[i] != section.cutoff)
    if moving != 0:
        _highpass_glide(section, row, cutoff_hz, k, angle, frames)
    elif section.cutoff != np.float32(0):
        _highpass_rest(section, row, k, frames)
    else:
        section.z = section.z_before = 0.0
        section.x_before = row[frames - 1]
