"""The polynomials that replace libm: accurate, exact where exactness is relied on, the same bits alone and in a vector."""

import numba
import numpy as np
import pytest
from autovoice.dsp import scalar

_OPTIONS = {"error_model": "numpy", "nogil": True}


@numba.njit(**_OPTIONS)
def _exp2(x, y):
    for i in range(len(x)):
        y[i] = scalar.exp2(x[i])


@numba.njit(**_OPTIONS)
def _log2(x, y):
    for i in range(len(x)):
        y[i] = scalar.log2(x[i])


@numba.njit(**_OPTIONS)
def _db_to_gain(x, y):
    for i in range(len(x)):
        y[i] = scalar.db_to_gain(x[i])


@numba.njit(**_OPTIONS)
def _gain_to_db(x, y):
    for i in range(len(x)):
        y[i] = scalar.gain_to_db(x[i])


def _of(function, x):
    x = np.atleast_1d(np.asarray(x, np.float32))
    y = np.empty_like(x)
    function(x, y)
    return y


def test_exp2_is_within_3e7_of_the_truth():
    x = np.linspace(-30, 30, 200_001, dtype=np.float32)
    assert np.abs(_of(_exp2, x) / np.exp2(x.astype(float)) - 1).max() < 3e-7


def test_exp2_of_whole_numbers_is_exact():
    x = np.arange(-126, 127)
    np.testing.assert_array_equal(_of(_exp2, x), np.exp2(x.astype(float)).astype(np.float32))


def test_exp2_beyond_its_range_is_clamped():
    assert _of(_exp2, [-500.0, 500.0]).tolist() == [2.0**-126, 2.0**126]


def test_log2_is_within_2e7_octaves_near_one_and_3e6_anywhere():
    x = np.exp2(np.linspace(-125, 125, 200_001)).astype(np.float32)
    error = np.abs(_of(_log2, x) - np.log2(x.astype(float)))
    assert error.max() < 8e-6  # half a unit in the last place of 126
    assert error[(x > 2**-10) & (x < 2**10)].max() < 1e-6
    assert error[(x > 0.75) & (x < 1.4)].max() < 2e-7


def test_log2_of_powers_of_two_is_exact():
    x = np.arange(-126, 127)
    np.testing.assert_array_equal(_of(_log2, np.exp2(x.astype(float))), x)


def test_log2_of_zero_and_denormals_is_the_least_normal_exponent():
    assert _of(_log2, [0.0, 1e-40]).tolist() == [-126.0, -126.0]


@pytest.mark.parametrize(("db", "gain"), [(0.0, 1.0), (-20.0, 0.1), (6.0, 1.9952623), (-90.0, 3.1622777e-5)])
def test_decibels_and_gains_convert_both_ways(db, gain):
    assert _of(_db_to_gain, db)[0] == pytest.approx(gain, rel=1e-6)
    assert _of(_gain_to_db, gain)[0] == pytest.approx(db, abs=1e-5)


def test_zero_db_is_exactly_unity_and_back():
    assert _of(_db_to_gain, 0.0)[0] == 1.0
    assert _of(_gain_to_db, 1.0)[0] == 0.0


@pytest.mark.parametrize("function", [_exp2, _log2, _db_to_gain, _gain_to_db])
def test_a_value_has_the_same_bits_alone_and_in_a_long_vector(function):
    x = np.random.default_rng(2).uniform(0.001, 40, 777).astype(np.float32)
    alone = np.concatenate([_of(function, v) for v in x])
    np.testing.assert_array_equal(_of(function, x), alone)
