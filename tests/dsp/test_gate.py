"""Gate: thresholds, times and range as labelled; untouched audio when open."""

import numpy as np
import pytest
from autovoice.rt import Chain

RATE = 48_000  # Hz
SEGMENT = 64  # frames: the grid of the bus


def _gate(**settings):
    return Chain([{"stage": "gate", **settings}])


def _db(gain):
    return 10 ** (np.asarray(gain) / 20)


def _levels(*parts):
    """Return constant levels after one another, each (dBFS, ms)."""
    return np.concatenate([np.full(round(ms * RATE / 1000), _db(dbfs)) for dbfs, ms in parts]).astype(np.float32)


def test_an_open_gate_passes_every_bit():
    x = np.sin(2 * np.pi * 150 * np.arange(RATE) / RATE).astype(np.float32)
    y = _gate(threshold=-45.0, attack=1.0).render(x, sample_rate=RATE)
    np.testing.assert_array_equal(y[RATE // 10 :], x[RATE // 10 :])


@pytest.mark.parametrize("range_db", [0.0, 20.0, 60.0, 90.0])
def test_a_closed_gate_lowers_by_the_range(range_db):
    x = _db(-50) * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    y = _gate(threshold=-45.0, range=range_db).render(x, sample_rate=RATE)
    np.testing.assert_allclose(y, x * _db(-range_db), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("level", "opens"), [(-45.01, False), (-44.99, True)])
def test_it_opens_at_the_threshold(level, opens):
    gate_db = _gate(threshold=-45.0).analyse(_levels((level, 500)), sample_rate=RATE).gate_db
    assert (gate_db[-1] == 0) == opens


@pytest.mark.parametrize(("level", "stays"), [(-50.9, True), (-51.1, False)])
def test_it_closes_only_below_threshold_minus_hysteresis(level, stays):
    x = _levels((-40, 100), (level, 1000))
    gate_db = _gate(threshold=-45.0, hysteresis=6.0, hold=50.0, release=100.0).analyse(x, sample_rate=RATE).gate_db
    assert (gate_db[-1] == 0) == stays
    never_open = _gate(threshold=-45.0, hysteresis=6.0).analyse(_levels((level, 1000)), sample_rate=RATE).gate_db
    assert never_open[-1] == -60


@pytest.mark.parametrize(("hold", "release"), [(10.0, 30.0), (50.0, 150.0), (300.0, 1000.0)])
def test_hold_and_release_last_as_long_as_they_say(hold, release):
    x = _levels((-20, 200), (-60, hold + release + 100))
    y = _gate(hold=hold, release=release, range=60.0).render(x, sample_rate=RATE)
    gain = (y / x)[RATE // 5 :]
    per_ms = RATE / 1000
    assert np.flatnonzero(gain < 1)[0] == pytest.approx(hold * per_ms, abs=0.01 * release * per_ms)  # it starts level
    assert np.flatnonzero(gain > 1.0001 * _db(-60))[-1] == pytest.approx((hold + release) * per_ms, rel=0.01)


@pytest.mark.parametrize("attack", [0.1, 1.0, 20.0])
def test_the_attack_goes_from_closed_to_open_in_its_time(attack):
    x = _levels((-60, 100), (-20, 100))
    y = _gate(attack=attack).render(x, sample_rate=RATE)
    gain = (y / x)[RATE // 10 :]
    assert np.flatnonzero(gain == 1)[0] + 1 == pytest.approx(attack * RATE / 1000, abs=1)
    assert np.all(gain[np.flatnonzero(gain == 1)[0] :] == 1)


def test_a_50_hz_hum_over_the_threshold_does_not_chatter():
    x = _db(-40) * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)
    gate_db = _gate(threshold=-45.0, hold=10.0).analyse(x, sample_rate=RATE).gate_db
    assert np.all(gate_db[20:] == 0)


def test_closing_and_opening_make_no_click():
    x = _levels((-10, 100), (-60, 400), (-10, 100))
    chain = _gate(attack=5.0, release=100.0, range=40.0)
    gain = chain.render(x, sample_rate=RATE) / x
    frames = {"attack": 5 * RATE / 1000, "release": 100 * RATE / 1000}
    # The steepest place of 10 ** (-2 v²) with v running in a straight line: 1.84 per run from 1 to 0.
    assert np.diff(gain)[RATE // 20 :].max() < 1.85 / frames["attack"]
    assert -np.diff(gain).min() < 1.85 / frames["release"]


def test_the_bus_shows_the_gain():
    x = _levels((-60, 200), (-20, 200), (-60, 600))
    chain = _gate(range=50.0)
    gain = 20 * np.log10(chain.render(x, sample_rate=RATE) / x)
    gate_db = chain.analyse(x, sample_rate=RATE).gate_db
    last = np.arange(SEGMENT - 1, len(x), SEGMENT)[: len(gate_db) - 1]
    np.testing.assert_allclose(gate_db[1 : len(last) + 1], gain[last], atol=1e-4)
