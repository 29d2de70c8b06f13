"""The resampler: nothing folds or mirrors above -90 dB, the passband is flat, the delay exact, the cut into blocks unheard."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from autovoice.dsp import resampler
from autovoice.dsp.resampler import RING, Conversion, conversion, convert, lowpass
from autovoice.dsp.vector import DOT_STEP
from hypothesis import given, settings
from hypothesis import strategies as st

Audio = np.ndarray[Any, Any]
OUTER, INNER = (8_000, 44_100, 48_000, 88_200, 96_000, 192_000), (16_000, 24_000, 48_000)  # Hz
PAIRS = [(a, b) for outer in OUTER for inner in INNER if outer != inner for a, b in ((outer, inner), (inner, outer))]
EDGE_HZ = 1_340  # below the lower rate's Nyquist frequency: the end of the passband


def response(plan: Conversion) -> tuple[Audio, Audio]:
    """Return (Hz, dB) of the low-pass, finely sampled."""
    taps = lowpass(plan)
    size = 1 << int(np.ceil(np.log2(16 * len(taps))))
    gain = np.abs(np.fft.rfft(taps, size)) / plan.up
    return np.fft.rfftfreq(size, 1 / (plan.up * plan.source)), 20 * np.log10(np.maximum(gain, 1e-12))


def tone(hz: float, rate: float, frames: int) -> Audio:
    return np.sin(2 * np.pi * hz / rate * np.arange(frames))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_stopband_passband_and_delay_keep_their_promises(source: int, target: int) -> None:
    plan = conversion(source, target)
    nyquist = min(source, target) / 2
    hz, db = response(plan)
    assert db[hz >= nyquist].max() <= -90
    assert np.abs(db[hz <= nyquist - EDGE_HZ]).max() <= 0.05
    assert plan.target == target
    assert 0.0019 < plan.delay_s <= 0.002
    taps = lowpass(plan)[1:]
    assert np.allclose(taps, taps[::-1], rtol=0, atol=1e-15)  # linear phase about the declared delay
    assert len(taps) == 2 * plan.half - 1
    assert Fraction(plan.half, plan.up if target < source else plan.down).denominator == 1  # whole frames of the higher rate


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_comes_out_where_and_when_it_should_and_nothing_else(source: int, target: int) -> None:
    """Alias, image, ripple and delay in one: what is left after the tone is taken away is below -84 dB of it."""
    plan = conversion(source, target)
    for share in (0.05, 0.5, 1.0):
        hz = share * (min(source, target) / 2 - EDGE_HZ)
        heard = convert(tone(hz, source, source // 5), source, target)
        time_s = np.arange(len(heard)) / target - plan.delay_s
        settled = time_s > plan.delay_s
        wanted = np.sin(2 * np.pi * hz * time_s)
        gain = heard[settled] @ wanted[settled] / (wanted[settled] @ wanted[settled])
        assert abs(20 * np.log10(gain)) <= 0.06
        assert 20 * np.log10(np.abs(heard - gain * wanted)[settled].max()) <= -84  # sums of images, each below -90


@pytest.mark.parametrize(("source", "target"), [(a, b) for a, b in PAIRS if a > b])
def test_what_the_lower_rate_cannot_carry_is_gone(source: int, target: int) -> None:
    for hz in np.linspace(target / 2 + 10, source / 2 - 100, 5):
        heard = convert(tone(hz, source, source // 5), source, target)
        settled = heard[len(heard) // 4 :]
        assert 20 * np.log10(np.sqrt(2 * np.mean(settled.astype(float) ** 2))) <= -90


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (16_000, 44_100), (48_000, 24_000), (192_000, 16_000)])
def test_every_cutting_gives_the_same_bits(source: int, target: int) -> None:
    noise = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    expected = convert(noise, source, target)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(1, 128))
    def check(block: int) -> None:
        assert np.array_equal(convert(noise, source, target, block=block), expected)

    check()


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (48_000, 16_000), (16_000, 48_000), (44_100, 48_000)])
def test_it_computes_what_the_low_pass_says(source: int, target: int) -> None:
    """The polyphase sums are the whole convolution, every M-th value of it."""
    plan = conversion(source, target)
    noise = np.random.default_rng(2).standard_normal(600)
    stuffed = np.zeros(len(noise) * plan.up)
    stuffed[:: plan.up] = noise
    whole = np.convolve(stuffed, lowpass(plan))[: len(stuffed) : plan.down]
    heard = convert(noise, source, target)
    assert len(heard) == len(whole)
    assert np.abs(heard - whole).max() < 2e-6


def test_equal_rates_pass_every_bit_at_once() -> None:
    noise = np.random.default_rng(3).standard_normal(500).astype(np.float32)
    assert np.array_equal(convert(noise, 48_000, 48_000), noise)
    assert conversion(48_000, 48_000).delay_s == 0


def test_silence_stays_silence_and_ends_with_the_filter() -> None:
    sound = np.zeros(4800, np.float32)
    sound[:100] = 1
    heard = convert(sound, 48_000, 16_000)
    assert np.any(heard[:90])
    assert not np.any(heard[(100 + 192) // 3 + 1 :])


@pytest.mark.parametrize("rate", [11_025, 22_050, 32_000, 176_400, 47_999, 44_056.5, 16_010])
def test_any_rate_is_taken_within_a_thousandth(rate: float) -> None:
    for plan in (conversion(rate, 16_000), conversion(16_000, rate)):
        exact = 16_000 if plan.source == rate else rate
        assert abs(plan.target / exact - 1) < (1e-3 if rate in (47_999, 44_056.5, 16_010) else 1e-12)
        taps = -(-len(lowpass(plan)) // (plan.up * DOT_STEP)) * DOT_STEP
        assert taps + 128 <= RING
        assert resampler._bank(plan)[1] == taps
