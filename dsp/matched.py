"""Second-order equalisers whose response follows the analogue one up to the top of the band, as state-variable filters.

The poles are the analogue ones by z = exp(s / rate); the zeros are placed so that the magnitude is right where it counts
(M. Vicanek, Matched Second Order Digital Filters, 2016), so a bell at 15 kHz keeps its width where the bilinear transform
squeezes it against half the sample rate. Vicanek's equations, which are quadratic forms in sin² and cos² of half the angle,
become short in the variable S = (1 - 1/z) / (1 + 1/z): with

    H = (b2 s² + b1 s + b0) / (s² + k s + 1),  s = S / g,  u = tan²(w / 2) / g² = -s² on the unit circle,

the squared magnitude is ((b0 - b2 u)² + b1² u) / ((1 - u)² + k² u): b0 is the gain at 0, b2 the gain at half the sample
rate, and b1 follows from the gain at one frequency between. g and k are at once the tuning of the state-variable filter that
realises H (V. Zavalishin, The Art of VA Filter Design, 2012, chapter 4). All in float64. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import math

from autovoice.dsp.native import helper


@helper
def matched_poles(w, damping):
    """Return (g, k) of the poles s² + 2 damping s + 1 at w radians per frame, by z = exp(s)."""
    if damping < 1.0:
        radius, half = math.exp(-damping * w), math.sin(0.5 * w * math.sqrt(1.0 - damping * damping))
        inside, swing = -math.expm1(-damping * w), 4.0 * radius * half * half
        at_zero, at_half = inside * inside + swing, (1.0 + radius) * (1.0 + radius) - swing
        product = radius * radius
    else:
        apart = damping + math.sqrt(damping * damping - 1.0)
        slow, fast = math.exp(-w / apart), math.exp(-w * apart)
        at_zero, at_half = math.expm1(-w / apart) * math.expm1(-w * apart), (1.0 + slow) * (1.0 + fast)
        product = slow * fast
    g = math.sqrt(at_zero / at_half)
    return g, 2.0 * (1.0 - product) / (at_half * g)


@helper
def warped(w, g):
    """Return u of a frequency in radians per frame."""
    t = math.tan(0.5 * w) / g
    return t * t


@helper
def _middle(u, k, power, b0, b2):
    """Return the b1 that gives a squared magnitude at u."""
    d, n = 1.0 - u, b0 - b2 * u
    return math.sqrt(max((power * (d * d + k * k * u) - n * n) / u, 0.0))


@helper
def _inverse(g, k, b2, b1, b0):
    """Return the filter 1 / H as (g, k, b2, b1, b0)."""
    r = math.sqrt(b0 / b2)
    return g * r, b1 / (b2 * r), 1.0 / b2, k / (r * b2), 1.0 / (r * r * b2)


@helper
def peak(w, gain, q):
    """Return (g, k, b2, b1, b0) of a bell: a linear gain at w, 1 at 0, level at w; a cut is the inverse of a boost.

    The analogue bell is (s² + √gain/Q s + 1) / (s² + s/(√gain Q) + 1), as in R. Bristow-Johnson's Audio EQ Cookbook.
    """
    boost = max(gain, 1.0 / gain)
    g, k = matched_poles(w, 0.5 / (math.sqrt(boost) * q))
    u, power = warped(w, g), boost * boost
    b2 = math.sqrt(power + (1.0 - power) / (u * u))
    b1 = math.sqrt(max(power * (k * k - 2.0 + 2.0 * u) - 2.0 * b2 * (b2 * u - 1.0), 0.0))
    if gain < 1.0:
        return _inverse(g, k, b2, b1, 1.0)
    return g, k, b2, b1, 1.0


@helper
def low_shelf(w, gain, q):
    """Return (g, k, b2, b1, b0) of a shelf: a linear gain at 0, its root at w, 1 far above; a cut is the inverse of a boost.

    With A = √gain the analogue shelf is A (s² + √A/Q s + A) / (A s² + √A/Q s + 1), as in the cookbook. Its magnitude is matched
    at 0, w and half the sample rate.
    """
    boost = max(gain, 1.0 / gain)
    a = math.sqrt(boost)
    g, k = matched_poles(w / math.sqrt(a), 0.5 / q)
    top = math.pi / w
    top *= top
    damping = top * a / (q * q)
    over, under = a - top, 1.0 - a * top
    b2 = a * math.sqrt((over * over + damping) / (under * under + damping))
    b1 = _middle(warped(w, g), k, boost, boost, b2)
    if gain < 1.0:
        return _inverse(g, k, b2, b1, boost)
    return g, k, b2, b1, boost


@helper
def high_shelf(w, gain, q):
    """Return (g, k, b2, b1, b0) of a shelf: 1 at 0, the root of a linear gain at w, the gain above.

    It is the gain times the opposite low shelf.
    """
    g, k, b2, b1, b0 = low_shelf(w, 1.0 / gain, q)
    return g, k, gain * b2, gain * b1, gain * b0


@helper
def low_cut(w, q):
    """Return (g, k, b2, b1, b0) of s² / (s² + s/Q + 1): both zeros at 0, the magnitude Q at w."""
    g, k = matched_poles(w, 0.5 / q)
    u = warped(w, g)
    d = 1.0 - u
    return g, k, q * math.sqrt(d * d + k * k * u) / u, 0.0, 0.0


@helper
def high_cut(w, q):
    """Return (g, k, b2, b1, b0) of 1 / (s² + s/Q + 1), its magnitude matched at 0, w and half the sample rate."""
    g, k = matched_poles(w, 0.5 / q)
    top = math.pi / w
    top *= top
    b2 = 1.0 / math.sqrt((1.0 - top) * (1.0 - top) + top / (q * q))
    return g, k, b2, _middle(warped(w, g), k, q * q, 1.0, b2), 1.0
