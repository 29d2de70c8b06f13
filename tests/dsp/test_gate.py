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


def _noise(dbfs, seconds, seed=1):
    return (_db(dbfs) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def _buzz(dbfs, seconds, f0=120):
    """Return a voice-like sound of thirty harmonics, RMS level in dBFS."""
    t = np.arange(round(seconds * RATE)) / RATE
    x = sum(np.sin(2 * np.pi * k * f0 * t + k * k) / k**0.5 for k in range(1, 31))
    return (_db(dbfs) * x / x.std()).astype(np.float32)


def _after(seconds, track):
    return track[round(seconds * RATE / SEGMENT) :]


def test_adaptive_closes_on_steady_noise_once_it_has_warmed_up():
    x = _noise(-40, 4.0)
    gate_db = _gate(mode="adaptive", threshold=-70.0, hold=10.0).analyse(x, sample_rate=RATE).gate_db
    assert np.all(gate_db[round(0.1 * RATE / SEGMENT) : round(1.98 * RATE / SEGMENT)] == 0)
    assert np.all(_after(2.5, gate_db) == -60)
    assert np.all(_after(2.5, _gate(threshold=-70.0).analyse(x, sample_rate=RATE).gate_db) == 0)


@pytest.mark.parametrize(("over_db", "opens"), [(-9.0, False), (9.0, True)])
def test_adaptive_opens_for_a_voice_above_the_noise_and_not_for_one_below(over_db, opens):
    x = _noise(-40, 4.0)
    x[3 * RATE : 3 * RATE + RATE // 2] += _buzz(-40 + over_db, 0.5)
    gate_db = _gate(mode="adaptive", threshold=-70.0).analyse(x, sample_rate=RATE).gate_db
    part = gate_db[round(3.05 * RATE / SEGMENT) : round(3.5 * RATE / SEGMENT)]
    assert np.all((part == 0) == opens)


def test_adaptive_never_opens_below_the_threshold_parameter():
    x = _noise(-90, 4.0)
    x[3 * RATE :] += _buzz(-65, 1.0)
    assert np.all(_after(0.1, _gate(mode="adaptive", threshold=-40.0).analyse(x, sample_rate=RATE).gate_db) == -60)
    assert np.all(_after(3.1, _gate(mode="adaptive", threshold=-70.0).analyse(x, sample_rate=RATE).gate_db[:-10]) == 0)


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
@pytest.mark.parametrize("dbfs", [-70.0, -40.0])
def test_the_bus_shows_the_noise_floor_under_a_voice(mode, dbfs):
    x = _noise(dbfs, 8.0)
    for start in range(0, 8, 2):
        x[start * RATE : start * RATE + RATE] += _buzz(-20, 1.0)
    track = _gate(mode=mode, threshold=-30.0).analyse(x, sample_rate=RATE)
    assert track.noise_dbfs[-1] == pytest.approx(dbfs, abs=2.0)
    assert np.all(track.noise_dbfs[1 : round(1.7 * RATE / SEGMENT)] == -120)


def test_adaptive_learns_noise_that_rises_and_noise_that_falls():
    x = np.concatenate([_noise(-60, 4.0), _noise(-40, 12.0, 2), _noise(-60, 8.0, 3)])
    track = _gate(mode="adaptive", threshold=-80.0).analyse(x, sample_rate=RATE)
    at = [round(s * RATE / SEGMENT) for s in (3.9, 15.9, 23.9)]
    np.testing.assert_allclose(track.noise_dbfs[at], [-60, -40, -60], atol=2.0)
    assert np.all(track.gate_db[at] == -60)


def test_a_note_held_for_six_seconds_does_not_become_noise():
    x = _noise(-60, 10.0)
    x[3 * RATE : 9 * RATE] += _buzz(-20, 6.0)
    gate_db = _gate(mode="adaptive", threshold=-70.0).analyse(x, sample_rate=RATE).gate_db
    assert np.all(gate_db[round(3.05 * RATE / SEGMENT) : round(9 * RATE / SEGMENT)] == 0)


@pytest.mark.parametrize(("confirm", "opens"), [(0.0, True), (5.5, False)])
def test_clicks_do_not_open_it_where_a_sound_must_last(confirm, opens):
    rng = np.random.default_rng(3)
    x = _noise(-70, 6.0)
    t = np.arange(round(0.04 * RATE)) / RATE
    for start in np.arange(2.5, 5.9, 0.25):
        at = round(start * RATE)
        x[at : at + len(t)] += 0.3 * rng.standard_normal(len(t)) * np.exp(-t / 0.003)
    gate_db = _gate(mode="adaptive", confirm=confirm, threshold=-60.0).analyse(x, sample_rate=RATE).gate_db
    assert np.any(_after(2.4, gate_db) > -60) == opens


def test_the_lookahead_is_the_latency_and_nothing_else():
    chain = _gate(lookahead=5.0, threshold=-60.0)
    assert chain.latency(RATE) == 240
    assert chain.latency(44_100) == 220
    x = _buzz(-20, 0.5)
    y = chain.render(x, sample_rate=RATE, compensate=False)
    np.testing.assert_array_equal(y[RATE // 10 :], x[RATE // 10 - 240 : -240])


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_the_lookahead_saves_the_onset(mode):
    x = _noise(-60, 4.0)
    start = 3 * RATE
    x[start : start + RATE // 2] += _buzz(-20, 0.5)
    y = _gate(mode=mode, threshold=-45.0, lookahead=5.0, range=90.0).render(x, sample_rate=RATE)
    lost = np.flatnonzero(np.abs(y[start:]) > 0.5 * np.abs(x[start:]))[0]
    assert lost <= 2 * RATE // 1000


@pytest.mark.parametrize(("level", "playback", "opens"), [(-40.0, 0, True), (-40.0, 1, False), (-38.5, 1, True)])
def test_playback_doubles_the_threshold(level, playback, opens):
    gate_db = _gate(threshold=-45.0, playback=playback).analyse(_levels((level, 500)), sample_rate=RATE).gate_db
    assert (gate_db[-1] == 0) == opens


@pytest.mark.parametrize(("multiplier", "opens"), [(1.0, True), (8.0, False)])
def test_playback_makes_the_adaptive_gate_less_sensitive(multiplier, opens):
    x = _noise(-40, 4.0)
    x[3 * RATE :] += _buzz(-31, 1.0)
    chain = _gate(mode="adaptive", threshold=-70.0, playback=1, playback_multiplier=multiplier)
    assert np.all((_after(3.1, chain.analyse(x, sample_rate=RATE).gate_db)[:-10] == 0) == opens)


@pytest.mark.parametrize(("frequency", "sidechain", "opens"), [(50, 20, True), (50, 300, False), (2000, 300, True)])
def test_the_side_chain_does_not_listen_below_its_cutoff(frequency, sidechain, opens):
    x = (_db(-30) * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)).astype(np.float32)
    y = _gate(threshold=-45.0, sidechain=sidechain).render(x, sample_rate=RATE)[RATE // 2 :]
    assert np.array_equal(y, x[RATE // 2 :]) == opens


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_the_assist_closes_it_where_no_voice_is_told_and_holds_it_where_one_is(mode, stage_file):
    """A stage in front tells of a voice from 4 s to 5 s, while the sound goes on from 3 s to 6 s."""
    path = stage_file(
        "tells_voice",
        '''
        """Tell of a voice in the fifth second."""


        def process(s, p, x, block):
            second = block.frame // 48_000
            block.post.vad = 1.0 if second == 4 else 0.0
        ''',
    )
    x = _noise(-70, 7.0)
    x[3 * RATE : 6 * RATE] += _buzz(-20, 3.0)
    gate = {"stage": "gate", "mode": mode, "threshold": -50.0, "assist": 1, "hold": 50.0, "release": 50.0}
    gate_db = Chain([path, gate]).analyse(x, sample_rate=RATE).gate_db

    def during(start, end):
        return gate_db[round(start * RATE / SEGMENT) : round(end * RATE / SEGMENT)]

    assert np.all(during(3.02, 3.13) == 0)  # in doubt it stays open
    assert np.all(during(3.25, 3.95) == -60)
    assert np.all(during(4.05, 5.1) == 0)
    assert np.all(during(5.25, 5.95) == -60)


def test_a_voice_that_the_vad_stage_hears_holds_the_fixed_gate_open_6_db_further_down(stage_file):
    path = stage_file("hears_voice", '"""Hear a voice."""\n\n\ndef process(s, p, x, block):\n    block.post.vad = 1.0\n')
    x = _levels((-40, 100), (-54, 1000))
    for assist, last in ((0, -60), (1, 0)):
        gate = {"stage": "gate", "threshold": -45.0, "hysteresis": 6.0, "hold": 50.0, "assist": assist}
        assert Chain([path, gate]).analyse(x, sample_rate=RATE).gate_db[-1] == last


def test_the_gating_ratio_is_the_share_of_the_last_seconds_in_which_it_was_closed():
    x = np.tile(_levels((-20, 500), (-70, 500)), 40)
    ratio = _gate(hold=10.0, threshold=-45.0).analyse(x, sample_rate=RATE).gating_ratio
    assert ratio[1] > 0.99
    assert ratio[-1] == pytest.approx(0.5, abs=0.1)
