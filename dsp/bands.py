"""Banks of analytic band-pass filters, computed across bands: what a channel vocoder measures and speaks with.

Each band is a Butterworth low-pass of order two moved up to the band's centre: the product of two complex one-pole filters,
that is, of the two poles with positive frequency of a fourth-order Butterworth band-pass. Its output is analytic: the
magnitude is the envelope itself, without the ripple of a rectifier (D. Gabor, Theory of Communication, 1946), so the follower
behind it may be as fast as the band is wide. The analysis has a zero at 0 Hz, too, the same for all bands and hence applied
once, so that the strong low end of a voice does not reach its high bands; the synthesis has none, so that the low bands' skirts
fall by 12 dB per octave under the weak high ones. A pole is held as its real and imaginary part (the coupled form), which
float32 serves well at low frequencies and high rates.

A recursion runs along time, so vectors run across bands: every field below is a row of bands, padded to whole vectors with
bands of gain 0. Compiled code only, but for `layout`.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp.carriers import sin_turns
from autovoice.dsp.native import fma, helper
from autovoice.dsp.scalar import exp2

MOST_BANDS = 40
VECTOR = 8  # bands are padded to a multiple of this
LANES = -(-MOST_BANDS // VECTOR) * VECTOR
LOWEST_HZ, HIGHEST_HZ = 80.0, 12_000.0  # centres of a vocoder's outermost bands
ERB_KNEE_HZ = 1 / 0.00437  # of the ear's own bands: B. Glasberg and B. Moore, Hearing Research 47, 1990
HIGHEST_SHARE = 0.4  # of the sample rate, that a centre may have
TOGETHER = 10 ** (2.2 / 10)  # power response of all bands together, flat within 0.4 dB RMS for 24 bands
FOLLOWED = 10 ** (1.7 / 10)  # power of followed envelopes, which rise faster than they fall, over that of speech

_ANALYSIS = (
    *("a1_re", "a1_im", "a2_re", "a2_im", "a_gain"),  # poles and input gain
    *("z1_re", "z1_im", "z2_re", "z2_im", "envelope"),  # states; the envelope is that of the amplitude, or of the power
    *("centre", "width"),  # Hz
)
_SYNTHESIS = (
    *("b1_re", "b1_im", "b2_re", "b2_im", "b_gain"),  # poles and input gain
    *("y1_re", "y1_im", "y2_re", "y2_im", "carrier_peak", "product"),  # states and output
)


def analysis_fields(lanes: int) -> list[Any]:
    """Return the fields of an analysis bank, to be part of a stage's STATE."""
    return [("lanes", "i8"), ("bands", "i8"), *((name, "f4", (lanes,)) for name in _ANALYSIS)]


STATE = [*analysis_fields(LANES), *((name, "f4", (LANES,)) for name in _SYNTHESIS)]
"""Fields of a vocoder's two banks."""

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_QUARTER = np.float32(0.25)
_SLANT = np.float32(math.sqrt(0.5))  # cos and sin of the Butterworth poles' angle, 135 degrees
_OCTAVES = np.float32(-2 * math.pi / math.log(2) * math.sqrt(0.5) / 2)  # exp(-π width / √2) as a power of two
FLOOR = np.float32(1e-6)  # -120 dBFS: envelopes aim this much below their band, so that silence becomes exactly 0 in time
_CARRIER_FLOOR = np.float32(1e-3)  # -60 dBFS: carriers below it fade instead of being raised


def layout(
    state: Any,
    sample_rate: float,
    bands: int,
    lowest: float = LOWEST_HZ,
    highest: float = HIGHEST_HZ,
    knee: float = ERB_KNEE_HZ,
) -> None:
    """Set up the analysis of zeroed states, shape (channels,): bands side by side between two centres in Hz.

    Their widths grow as the centre + knee: with a knee of 0 all span the same part of an octave.
    """
    highest = min(highest, HIGHEST_SHARE * sample_rate)
    places, step = np.linspace(math.log(lowest + knee), math.log(highest + knee), bands, retstep=True)
    centre, width = np.exp(places) - knee, 2 * np.exp(places) * math.sinh(step / 2)
    state["bands"], state["lanes"] = bands, -(-bands // VECTOR) * VECTOR
    state["centre"][:, :bands], state["width"][:, :bands] = centre, width
    at = np.exp(2j * np.pi * centre / sample_rate)
    response = 1 - 1 / at
    for pole, sign in (("a1", -1), ("a2", 1)):
        s = np.pi * width * (-1 + 1j * sign) / math.sqrt(2) + 2j * np.pi * centre
        z = np.exp(s / sample_rate)
        state[f"{pole}_re"][:, :bands], state[f"{pole}_im"][:, :bands] = z.real, z.imag
        response /= 1 - z / at
    state["a_gain"][:, :bands] = 2 / np.abs(response)  # 2: a sine of amplitude 1 has an analytic envelope of 1


@helper
def aim_synthesis(s, ratio, sample_rate, white):
    """Set the synthesis bands to the analysis bands' places times `ratio`.

    Where `white`, the gain makes a carrier of spectral density 2 / sample_rate come out of all bands with the power of the
    voice (half the square of each band's amplitude); else it is 1 at the centre. Neighbours differ in sign: where both are
    3 dB down, their phases are 180 degrees apart, and without it the sum would have holes there.
    """
    per_rate = np.float32(1.0 / sample_rate)
    top, fade = np.float32(0.45), np.float32(1 / 0.05)
    density = np.float32(1.0 / (4.0 * TOGETHER * FOLLOWED))
    for b in range(s.lanes):
        centre, width = s.centre[b] * ratio * per_rate, s.width[b] * ratio * per_rate
        heard = min(max((top - centre) * fade, _ZERO), _ONE)  # bands near the Nyquist frequency fade out
        centre = min(centre, top)
        apart = width * _SLANT * _HALF
        radius = exp2(_OCTAVES * width)
        low, high = centre - apart, min(centre + apart, _HALF)
        s.b1_re[b], s.b1_im[b] = radius * sin_turns(_QUARTER - low), radius * sin_turns(low)
        s.b2_re[b], s.b2_im[b] = radius * sin_turns(_QUARTER - high), radius * sin_turns(high)
        at_low, at_high = _distance(radius, centre - low), _distance(radius, high - centre)
        gain = _TWO * at_low * at_high
        if white:
            gain *= np.sqrt(density / max(width, np.float32(1e-6)))
        gain = gain * heard if b < s.bands else _ZERO
        s.b_gain[b] = gain if b & 1 == 0 else -gain


@helper
def _distance(radius, turns):
    """Return |1 - r exp(j 2 π turns)|: from a pole to the unit circle."""
    half = radius * sin_turns(turns * _HALF)
    return np.sqrt((_ONE - radius) * (_ONE - radius) + np.float32(4) / radius * half * half)


@helper
def _advance(s, b, x):
    """Advance one analysis band by one frame of the differenced input; return its analytic output."""
    re = fma(s.a1_re[b], s.z1_re[b], fma(-s.a1_im[b], s.z1_im[b], s.a_gain[b] * x))
    im = fma(s.a1_re[b], s.z1_im[b], s.a1_im[b] * s.z1_re[b])
    s.z1_re[b], s.z1_im[b] = re, im
    out_re = fma(s.a2_re[b], s.z2_re[b], fma(-s.a2_im[b], s.z2_im[b], re))
    out_im = fma(s.a2_re[b], s.z2_im[b], fma(s.a2_im[b], s.z2_re[b], im))
    s.z2_re[b], s.z2_im[b] = out_re, out_im
    return out_re, out_im


@helper
def analyse(s, x, rise, fall, lanes):
    """Advance all analysis bands by one frame, their envelopes by `rise` or `fall` of the way to the amplitude."""
    for b in range(lanes):
        re, im = _advance(s, b, x)
        above = np.sqrt(fma(re, re, im * im)) - FLOOR - s.envelope[b]
        now = fma(rise if above > _ZERO else fall, above, s.envelope[b])
        s.envelope[b] = now if now > _ZERO else _ZERO


@helper
def analyse_power(s, x, share, lanes):
    """Advance all analysis bands by one frame, their envelopes by `share` of the way to the power (amplitude squared)."""
    for b in range(lanes):
        re, im = _advance(s, b, x)
        s.envelope[b] = fma(share, fma(re, re, im * im) - s.envelope[b], s.envelope[b])


@helper
def synthesise(s, x, lanes):
    """Advance all synthesis bands by one frame of the carrier; leave carrier times envelope in `product`."""
    b1_re, b1_im, b2_re, b2_im, gain = s.b1_re, s.b1_im, s.b2_re, s.b2_im, s.b_gain
    y1_re, y1_im, y2_re, y2_im, envelope, product = s.y1_re, s.y1_im, s.y2_re, s.y2_im, s.envelope, s.product
    for b in range(lanes):
        re = fma(b1_re[b], y1_re[b], fma(-b1_im[b], y1_im[b], gain[b] * x))
        im = fma(b1_re[b], y1_im[b], b1_im[b] * y1_re[b])
        y1_re[b], y1_im[b] = re, im
        re, im = (
            fma(b2_re[b], y2_re[b], fma(-b2_im[b], y2_im[b], re)),
            fma(b2_re[b], y2_im[b], fma(b2_im[b], y2_re[b], im)),
        )
        y2_re[b], y2_im[b] = re, im
        product[b] = re * envelope[b]


@helper
def level_carrier(s, forget, lanes):
    """Divide `product` by the peak of each band's carrier, so that an unknown carrier speaks in all bands."""
    y2_re, y2_im, peak, product = s.y2_re, s.y2_im, s.carrier_peak, s.product
    for b in range(lanes):
        size = np.sqrt(fma(y2_re[b], y2_re[b], y2_im[b] * y2_im[b]))
        faded = forget * peak[b]
        now = size if size > faded else faded
        peak[b] = now
        product[b] /= now + _CARRIER_FLOOR


@helper
def sum_alternate(s, lanes):
    """Return the sums of the even and of the odd bands' `product`, in a fixed order."""
    product = s.product
    a, b, c, d, e, f, g, h = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for k in range(0, lanes, VECTOR):
        a += product[k]
        b += product[k + 1]
        c += product[k + 2]
        d += product[k + 3]
        e += product[k + 4]
        f += product[k + 5]
        g += product[k + 6]
        h += product[k + 7]
    return (a + c) + (e + g), (b + d) + (f + h)


@helper
def sibilant_share(s, split_hz):
    """Return the share, 0..1, of the power in all bands that lies in those above a frequency; 0 for silence."""
    low, high = _ZERO, _ZERO
    for b in range(s.bands):
        power = s.envelope[b] * s.envelope[b]
        if s.centre[b] > split_hz:
            high += power
        else:
            low += power
    return high / (low + high + np.float32(1e-18))
