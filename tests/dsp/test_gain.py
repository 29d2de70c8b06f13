"""Gain: exact factors, exact silence of action at 0 dB, and glides without a step."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event

RATE = 48_000  # Hz


@pytest.mark.parametrize("gain_db", [-60.0, -6.0, 0.1, 6.0, 24.0])
def test_a_gain_in_db_is_that_factor(gain_db):
    x = np.random.default_rng(0).uniform(-1, 1, 2000).astype(np.float32)
    y = Chain([{"stage": "gain", "gain": gain_db}]).render(x, sample_rate=RATE)
    np.testing.assert_allclose(y, x * 10 ** (gain_db / 20), rtol=2e-6)


def test_zero_db_passes_every_bit():
    x = np.random.default_rng(1).standard_normal((2, 3000)).astype(np.float32)
    np.testing.assert_array_equal(Chain(["gain"]).render(x, sample_rate=RATE), x)


def test_a_glide_is_straight_in_db_and_takes_20_ms():
    glide = RATE // 50
    y = Chain(["gain"]).render(np.ones(4 * glide), sample_rate=RATE, events=[Event(glide, "gain/gain", -24.0)])
    line = np.interp(np.arange(4 * glide), [glide - 1, 2 * glide - 1], [0, -24])
    np.testing.assert_allclose(20 * np.log10(y), line, atol=1e-4)
