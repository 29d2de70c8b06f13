"""Fourier transform of real signals, sizes 128..8192, cut into steps of like cost that a stage spreads over its calls.

A signal of N = 2n samples is read as n complex numbers, transformed, and split into the spectra of its even and odd samples
(W. H. Press et al., Numerical Recipes, 3rd ed. 2007, section 12.3.2). The complex transform is Pease's (An adaptation of the
fast Fourier transform for parallel processing, J. ACM 15(2), 1968) in radix 4: every pass reads four stretches of n / 4 numbers
from end to end and writes them interleaved, so that one loop, which the compiler turns into vector instructions, does them all.
The results come in digit-reversed order, which the last step undoes. Where n is no power of 4, a pass of radix 2 follows.

A stage holds the field `("fft", fft.STATE)` and `values(size)` float32 of memory, calls `plan` in `prepare`, and does

    signal = fft.signal(s.fft)                               # N samples to fill
    for step in range(s.fft.steps): fft.forward(s.fft, step)
    re, im = fft.bins(s.fft)                                 # N / 2 + 1 bins: sum x[t] exp(-2 pi i k t / N)
    for step in range(s.fft.steps): fft.inverse(s.fft, step)    # back to `signal`, scaled so that the round trip gives x

where the steps of one transform may lie in as many calls as they like: all of that runs on the audio thread. The tables are
shared by all that have the same size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.toolchain import numba

carray = numba.carray

SMALLEST, LARGEST = 128, 8192  # samples
STATE = np.dtype(
    [
        ("size", "i8"),  # N, real samples
        ("steps", "i8"),  # of one transform: 5 for 128 samples, 8 for 8192
        ("turns", "i8"),  # addresses: twiddles w, w^2, w^3 of each pass of radix 4, real then imaginary parts
        ("split", "i8"),  # exp(-2 pi i k / N), real then imaginary parts
        ("places", "i8"),  # int32: where the passes leave bin k, then where they leave bin n - k
        ("work", "i8"),  # values(N) float32: signal, real and imaginary parts of the bins, two buffers of 2 n
    ],
    align=True,
)

_PAD = 16  # float32 that the last bin is given, so that all that follows stays aligned
_ZERO, _HALF = np.float32(0), np.float32(0.5)


def values(size: int) -> int:
    """Return the float32 values of memory that transforms of `size` real samples work in; raises ValueError."""
    if not (SMALLEST <= size <= LARGEST and size & (size - 1) == 0):
        raise ValueError(f"size must be a power of two in {SMALLEST}..{LARGEST}, got {size}")
    return 4 * size + 2 * _PAD


def plan(state: Any, size: int, work: Any) -> None:
    """Lay out transforms of `size` real samples in zeroed `state` of any shape. Control thread only.

    `work` is the address of `values(size)` float32, or an array of one for each state. Raises ValueError that names the range.
    """
    values(size)
    state["size"], state["work"] = size, work
    state["steps"], state["turns"], state["split"], state["places"] = _tables(size)


def steps(size: int) -> int:
    """Return the steps of one transform of `size` real samples."""
    return _passes(size // 2) + 2


def _passes(half: int) -> int:
    """Return the passes of radix 4, and one of radix 2 if need be, that transform `half` complex numbers."""
    return -(-(half.bit_length() - 1) // 2)


@cache
def _tables(size: int) -> tuple[int, int, int, int]:
    """Return the number of steps and the addresses of the twiddles, of the split's and of the places, laid out once."""
    half, quarter = size // 2, size // 8
    index = np.arange(quarter)
    turns = []
    place = np.zeros(1, np.int64)
    width = 1  # product of the radices so far
    while width < half:
        if 4 * width <= half:
            angle = -2 * np.pi / half * (index // width * width)
            turns.append([turn(power * angle) for turn in (np.cos, np.sin) for power in (1, 2, 3)])
            place = np.concatenate([place * 4 + digit for digit in range(4)])
        else:
            place = np.concatenate([place, place + half // 2])
        width *= 4
    k = np.arange(half)
    split = np.stack([np.cos(2 * np.pi * k / size), -np.sin(2 * np.pi * k / size)])
    tables = np.array(turns, np.float32), split.astype(np.float32), np.stack([place, place[-k]]).astype(np.int32)
    turns_at, split_at, places_at = (resident.keep(table) for table in tables)
    return steps(size), turns_at, split_at, places_at


@helper
def signal(s: Any) -> Any:
    """View the N samples."""
    return carray(as_pointer(s.work), (s.size,), np.float32)


@helper
def bins(s: Any) -> Any:
    """View the real and the imaginary parts of bins 0..N/2."""
    at = s.work + 4 * s.size
    count = s.size // 2 + 1
    re = carray(as_pointer(at), (count,), np.float32)
    im = carray(as_pointer(at + 4 * (count - 1 + _PAD)), (count,), np.float32)
    return re, im


@helper
def _buffer(s: Any, which: Any) -> Any:
    """View the real and the imaginary parts of one of the two buffers of n complex numbers."""
    half = s.size // 2
    at = s.work + 4 * (2 * s.size + 2 * _PAD) + 8 * half * which
    return carray(as_pointer(at), (half,), np.float32), carray(as_pointer(at + 4 * half), (half,), np.float32)


@helper
def _split_tables(s: Any) -> Any:
    half = s.size // 2
    return carray(as_pointer(s.split), (half,), np.float32), carray(as_pointer(s.split + 4 * half), (half,), np.float32)


@helper
def _places(s: Any) -> Any:
    half = s.size // 2
    return carray(as_pointer(s.places), (half,), np.int32), carray(as_pointer(s.places + 4 * half), (half,), np.int32)


@helper
def forward(s: Any, step: Any) -> None:
    """Do one step of the transform of the samples into bins 0..N/2."""
    half = s.size // 2
    if step == 0:
        re, im = _buffer(s, 0)
        samples = signal(s)
        for k in range(half):
            re[k] = samples[2 * k]
            im[k] = samples[2 * k + 1]
    elif step < s.steps - 1:
        _pass(s, step - 1, half)
    else:
        _split(s, half)


@helper
def inverse(s: Any, step: Any) -> None:
    """Do one step of the way back from the bins (imaginary parts of the two outermost are ignored) to the samples."""
    half = s.size // 2
    if step == 0:
        _join(s, half)
    elif step < s.steps - 1:
        _pass(s, step - 1, half)
    else:  # real and imaginary parts are in each other's place: a forward transform of the swapped parts is an inverse one
        im, re = _buffer(s, s.steps & 1)
        place, _ = _places(s)
        samples = signal(s)
        for k in range(half):
            samples[2 * k] = re[place[k]]
            samples[2 * k + 1] = im[place[k]]


@helper
def _pass(s: Any, turn: Any, half: Any) -> None:
    """Do one pass of the complex transform, from one buffer to the other."""
    ar, ai = _buffer(s, turn & 1)
    br, bi = _buffer(s, 1 - (turn & 1))
    if (1 << (2 * turn + 2)) <= half:
        quarter = half // 4
        _radix_4(ar, ai, br, bi, carray(as_pointer(s.turns + 24 * quarter * turn), (6, quarter), np.float32), quarter)
    else:
        _radix_2(ar, ai, br, bi, half // 2)


@helper
def _radix_4(ar: Any, ai: Any, br: Any, bi: Any, turn: Any, quarter: Any) -> None:
    """Transform the four numbers a[i + j quarter] and turn the results by their twiddles into b[4 i + k]."""
    cos1, cos2, cos3, sin1, sin2, sin3 = turn[0], turn[1], turn[2], turn[3], turn[4], turn[5]
    for i in range(quarter):
        r0, r1, r2, r3 = ar[i], ar[i + quarter], ar[i + 2 * quarter], ar[i + 3 * quarter]
        i0, i1, i2, i3 = ai[i], ai[i + quarter], ai[i + 2 * quarter], ai[i + 3 * quarter]
        even_r, odd_r, far_r, near_r = r0 + r2, r1 + r3, r0 - r2, r1 - r3
        even_i, odd_i, far_i, near_i = i0 + i2, i1 + i3, i0 - i2, i1 - i3
        x1, y1 = far_r + near_i, far_i - near_r
        x2, y2 = even_r - odd_r, even_i - odd_i
        x3, y3 = far_r - near_i, far_i + near_r
        br[4 * i], bi[4 * i] = even_r + odd_r, even_i + odd_i
        br[4 * i + 1], bi[4 * i + 1] = x1 * cos1[i] - y1 * sin1[i], x1 * sin1[i] + y1 * cos1[i]
        br[4 * i + 2], bi[4 * i + 2] = x2 * cos2[i] - y2 * sin2[i], x2 * sin2[i] + y2 * cos2[i]
        br[4 * i + 3], bi[4 * i + 3] = x3 * cos3[i] - y3 * sin3[i], x3 * sin3[i] + y3 * cos3[i]


@helper
def _radix_2(ar: Any, ai: Any, br: Any, bi: Any, middle: Any) -> None:
    """Transform the pairs a[i], a[i + middle]; as the last pass it has no twiddles and leaves them where they are."""
    for i in range(middle):
        r0, r1, i0, i1 = ar[i], ar[i + middle], ai[i], ai[i + middle]
        br[i], bi[i] = r0 + r1, i0 + i1
        br[i + middle], bi[i + middle] = r0 - r1, i0 - i1


@helper
def _split(s: Any, half: Any) -> None:
    """Turn the complex Z into bins of the real signal: E + W O, E = (Z[k] + Z*[n-k]) / 2, O = (Z[k] - Z*[n-k]) / 2i."""
    re, im = _buffer(s, s.steps & 1)
    out_re, out_im = bins(s)
    place, mirror = _places(s)
    cosine, sine = _split_tables(s)
    for k in range(half):
        r0, r1, i0, i1 = re[place[k]], re[mirror[k]], im[place[k]], im[mirror[k]]
        odd_r, odd_i = i0 + i1, r1 - r0
        out_re[k] = _HALF * ((r0 + r1) + (odd_r * cosine[k] - odd_i * sine[k]))
        out_im[k] = _HALF * ((i0 - i1) + (odd_r * sine[k] + odd_i * cosine[k]))
    out_re[half] = re[0] - im[0]
    out_im[half] = _ZERO


@helper
def _join(s: Any, half: Any) -> None:
    """Undo `_split`: Z = E + i O, scaled by 1 / n, with real and imaginary parts in each other's place."""
    re, im = _buffer(s, 0)
    in_re, in_im = bins(s)
    cosine, sine = _split_tables(s)
    scale = _HALF / np.float32(half)
    for k in range(1, half):
        r0, r1, i0, i1 = in_re[k], in_re[half - k], in_im[k], in_im[half - k]
        turned_r, turned_i = r0 - r1, i0 + i1
        odd_r = turned_r * cosine[k] + turned_i * sine[k]
        odd_i = turned_i * cosine[k] - turned_r * sine[k]
        im[k] = scale * ((r0 + r1) - odd_i)
        re[k] = scale * ((i0 - i1) + odd_r)
    im[0] = scale * (in_re[0] + in_re[half])
    re[0] = scale * (in_re[0] - in_re[half])
