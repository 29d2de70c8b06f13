"""The vector operations against NumPy, on rows that no vector length divides."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.dsp import vector
from autovoice.dsp.toolchain import numba

LANES = vector.LANES


def noise(*shape: int) -> np.ndarray:
    """Return float32 noise, the same every time."""
    return np.random.default_rng(11).normal(size=shape).astype(np.float32)


@numba.njit(error_model="numpy")
def _highest(x, first, count, least):
    return vector.highest(x.ctypes.data + 4 * first, count, least)


@pytest.mark.parametrize("count", [-3, 0, 1, 7, 8, 9, 31])
def test_highest_is_the_maximum_of_so_many_values(count):
    """What lies behind them does not count, and where there are none it is the least."""
    x = noise(60)
    x[5 + max(count, 0)] = 9
    assert _highest(x, 5, count, np.float32(-1.5)) == max([-1.5, *x[5 : 5 + max(count, 0)]])


@numba.njit(error_model="numpy")
def _turns(x, first):
    return vector.turns(x.ctypes.data + 4 * first)


@numba.njit(error_model="numpy")
def _lowest_bit(bits):
    return vector.lowest_bit(bits)


def test_turns_are_peaks_and_valleys():
    """A peak begins a plateau and a valley its own; a slope is neither."""
    x = np.concatenate([[0, 1, 2, 2, 1, 0, 0, 3, 1, 2], noise(30)]).astype(np.float32)
    for first in range(1, 25):
        bits = _turns(x, first)
        for k in range(LANES):
            before, here, after = x[first + k - 1 : first + k + 2]
            assert bool(bits >> k & 1) == (here > before and here >= after)
            assert bool(bits >> (LANES + k) & 1) == (here < before and here <= after)
    assert [_lowest_bit(np.int64(bits)) for bits in (1, 8, 0b1101000)] == [0, 3, 3]


@numba.njit(error_model="numpy")
def _correlate(x, products, power):
    vector.lagged_products(x.ctypes.data, products.ctypes.data, products.size)
    vector.running_power(x.ctypes.data, power.ctypes.data)


def test_products_and_power_are_their_sums():
    """Of LANES values with those k further on, and of the squares of LANES values from each."""
    x, products, power = noise(80), np.zeros(48, np.float32), np.zeros(LANES, np.float32)
    _correlate(x, products, power)
    assert products == pytest.approx([x[:LANES] @ x[k : k + LANES] for k in range(48)], abs=1e-5)
    assert power == pytest.approx([np.sum(x[k : k + LANES] ** 2) for k in range(LANES)], abs=1e-5)


@numba.njit(error_model="numpy")
def _add_weighted(sums, values, weights, count):
    vector.add_weighted(sums.ctypes.data, values.ctypes.data, weights.ctypes.data, count)


def test_weighted_rows_are_added_and_no_others():
    """Rows of 2 * LANES values, each by a weight of its own; the row behind the last stays."""
    sums, values = np.ones((5, 2 * LANES), np.float32), noise(5, 2 * LANES)
    weights = np.arange(1, 6, dtype=np.float32)
    _add_weighted(sums, values, weights, 4)
    assert sums[:4] == pytest.approx(1 + weights[:4, None] * values[:4], abs=1e-5)
    assert np.all(sums[4] == 1)
