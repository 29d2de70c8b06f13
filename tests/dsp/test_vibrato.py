"""The vibrato stage against voices whose vibrato, slope, noise and range are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from autovoice.rt import Chain, Track
from numpy.typing import NDArray

Signal = NDArray[np.float64]

RATE = 48_000  # Hz
FILLED_S = 1.2  # from here on the window of 0.8 s and the smoothing are full


def seconds(duration: float, sample_rate: int = RATE) -> Signal:
    """Return the times of the frames."""
    return np.arange(round(duration * sample_rate)) / sample_rate


def voice(f0_hz: Signal, sample_rate: int = RATE, slope_db: float = -9.0) -> Signal:
    """Return harmonics up to 7 kHz that fall by `slope_db` per octave, in seeded phases, at -20 dBFS RMS."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    top = min(7000, 0.45 * sample_rate)
    offsets = np.random.default_rng(3).uniform(0, 2 * np.pi, 400)
    count = int(top / f0_hz.max())
    sound = sum(k ** (slope_db / 6.0206) * np.sin(k * phase + offsets[k]) for k in range(1, count + 1))
    return 0.1 * sound / np.sqrt(np.mean(sound**2))


def vibrato(hz: float, rate_hz: float, extent_cents: float, duration: float = 1.8, sample_rate: int = RATE) -> Signal:
    """Return an f0 curve."""
    return hz * 2 ** (extent_cents / 1200 * np.sin(2 * np.pi * rate_hz * seconds(duration, sample_rate)))


def analyse(sound: Signal, sample_rate: int = RATE, **settings: float) -> Track:
    return Chain([{"stage": "vibrato", **settings}]).analyse(sound, sample_rate=sample_rate)


@cache
def straight(hz: float) -> Track:
    """Return the track of a steady voice."""
    return analyse(voice(np.full(2 * RATE, hz)))


@pytest.mark.parametrize("hz", [75.0, 220.0, 800.0])
@pytest.mark.parametrize(("rate_hz", "extent_cents"), [(4.0, 200.0), (5.3, 70.0), (8.0, 20.0), (8.0, 200.0)])
def test_rate_and_extent_are_those_of_the_voice(hz, rate_hz, extent_cents):
    """From a bass to a soprano, at every update: rate within 0.1 Hz, extent within 5 %, depth kept to 0.97 and more."""
    track = analyse(voice(vibrato(hz, rate_hz, extent_cents)))
    filled = track.time_s > FILLED_S
    assert track.vibrato_hz[filled] == pytest.approx(rate_hz, abs=0.1)
    assert track.vibrato_cents[filled] == pytest.approx(extent_cents, rel=0.05)
    assert np.median(track.vibrato_cents[filled]) > 0.97 * extent_cents
    assert track.vibrato_regularity[filled].min() > 0.95


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 96_000, 192_000])
def test_every_sample_rate_measures_the_same_vibrato(sample_rate):
    """5.5 Hz and 60 cents, whatever the length of a segment."""
    track = analyse(voice(vibrato(180.0, 5.5, 60.0, 2.0, sample_rate), sample_rate), sample_rate)
    filled = track.time_s > FILLED_S + 0.3
    assert track.vibrato_hz[filled] == pytest.approx(5.5, abs=0.1)
    assert track.vibrato_cents[filled] == pytest.approx(60.0, rel=0.05)


def test_a_straight_voice_has_no_vibrato():
    """A steady tone, and a glide of an octave a second."""
    assert not straight(220.0).vibrato_hz.any()
    assert not analyse(voice(150.0 * 2 ** seconds(1.5))).vibrato_hz.any()


def test_vibrato_on_a_glide_is_found():
    """A trend of 400 cents a second and a bend are taken out, not mistaken for vibrato."""
    t = seconds(2.0)
    bend = 400 * t + 600 * (t - 1) ** 2
    track = analyse(voice(200 * 2 ** ((bend + 50 * np.sin(2 * np.pi * 6 * t)) / 1200)))
    filled = track.time_s > FILLED_S
    assert track.vibrato_hz[filled] == pytest.approx(6.0, abs=0.1)
    assert track.vibrato_cents[filled] == pytest.approx(50.0, rel=0.05)


def test_vibrato_is_reported_soon_and_ends_with_the_voice():
    """It is there half a second after the voice set in, and gone a tenth of a second after the voice has gone."""
    sound = np.concatenate([np.zeros(RATE // 2), voice(vibrato(220.0, 6.0, 60.0, 1.5)), np.zeros(RATE // 2)])
    track = analyse(sound)
    shaking = track.time_s[track.vibrato_hz > 0]
    assert 0.85 < shaking[0] < 1.1
    assert 1.95 < shaking[-1] < 2.15
    assert track.vibrato_regularity[-1] == 0


def test_a_new_note_forgets_the_old():
    """After a leap of a fifth the vibrato of the new note is measured on that note alone."""
    curve = np.concatenate([vibrato(200.0, 5.0, 30.0, 1.5), vibrato(300.0, 7.0, 90.0, 1.5)])
    track = analyse(voice(curve))
    late = track.time_s > 2.1  # 0.6 s: the old note would still be in the window
    assert track.vibrato_hz[late] == pytest.approx(7.0, abs=0.1)
    assert track.vibrato_cents[late] == pytest.approx(90.0, rel=0.05)
    between = (track.time_s > 1.6) & (track.time_s < 1.75)
    assert not track.vibrato_hz[between].any()


def test_slips_of_the_tracker_are_left_out():
    """Four times a second the voice jumps up by a fifth for 25 ms, as where a tracker errs; the vibrato is still measured."""
    t = seconds(1.8)
    slipped = np.where(np.mod(t, 0.25) < 0.025, 1.5, 1.0) * vibrato(200.0, 6.0, 60.0)
    track = analyse(voice(slipped))
    filled = track.time_s > FILLED_S
    assert track.f0_hz[filled].max() > 1.4 * 200
    assert track.vibrato_hz[filled] == pytest.approx(6.0, abs=0.1)
    assert track.vibrato_cents[filled] == pytest.approx(60.0, rel=0.08)


def test_where_the_sound_does_not_repeat_its_pitch_counts_little():
    """Four times a second 50 ms drown in noise, half a semitone sharp: too near to be a leap, and yet no vibrato."""
    t = seconds(2.4)
    spoilt = np.mod(t, 0.25) < 0.05
    noise = 0.1 * np.random.default_rng(7).normal(size=len(t)) * spoilt
    track = analyse(voice(vibrato(200.0, 6.0, 60.0, 2.4) * np.where(spoilt, 2 ** (50 / 1200), 1.0)) + noise)
    filled = track.time_s > FILLED_S
    assert track.vibrato_hz[filled] == pytest.approx(6.0, abs=0.05)
    assert track.vibrato_cents[filled] == pytest.approx(60.0, rel=0.05)


def test_an_irregular_voice_is_said_to_be_irregular():
    """A pitch that wanders at random is explained in small part by any sinusoid, and counts as no vibrato."""
    random = np.random.default_rng(5).normal(size=40)
    wander = np.interp(seconds(3.0), np.linspace(0, 3, 40), random)
    track = analyse(voice(200 * 2 ** (60 * wander / 1200)))
    filled = track.time_s > FILLED_S
    assert np.median(track.vibrato_regularity[filled]) < 0.8
    assert np.mean(track.vibrato_hz[filled] > 0) < 0.1


def test_the_thresholds_decide_what_counts():
    """A vibrato of 20 cents is none where 30 are asked for; its regularity is reported all the same."""
    sound = voice(vibrato(220.0, 6.0, 20.0, 2.0))
    track = analyse(sound, least_extent=30.0)
    assert not track.vibrato_hz.any()
    assert not track.vibrato_cents.any()
    assert track.vibrato_regularity[-50:].min() > 0.95


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("hz", "slope_db"), [(80.0, -12.0), (260.0, -3.0), (600.0, -6.0)])
def test_tilt_is_the_slope_of_the_harmonics(hz, slope_db, sample_rate):
    """Within 1 dB per octave, whatever octaves the sample rate gives and however few harmonics they hold."""
    track = analyse(voice(vibrato(hz, 5.0, 50.0, 1.0, sample_rate), sample_rate, slope_db), sample_rate)
    assert track.tilt_db[-1] == pytest.approx(slope_db, abs=1.0)


@pytest.mark.parametrize(("hz", "ratio_db"), [(75.0, 20.0), (130.0, 0.0), (130.0, 40.0), (500.0, 10.0), (900.0, 30.0)])
def test_harmonics_to_noise_is_the_ratio_that_was_mixed(hz, ratio_db):
    """A steady voice and white noise: the mean over a second within 0.6 dB."""
    noise = 0.1 * 10 ** (-ratio_db / 20) * np.random.default_rng(4).normal(size=2 * RATE)
    track = analyse(voice(np.full(2 * RATE, hz)) + noise)
    kept = (track.time_s > 0.5) & (track.f0_hz > 0)
    assert np.mean(track.hnr_db[kept]) == pytest.approx(ratio_db, abs=0.6)


def test_harmonics_to_noise_bears_a_vibrato():
    """The lag is found anew wherever the pitch has moved to: 20 dB stay 20, within 2, in a bass with vibrato."""
    noise = 0.01 * np.random.default_rng(4).normal(size=2 * RATE)
    track = analyse(voice(vibrato(80.0, 5.0, 30.0, 2.0)) + noise)
    kept = (track.time_s > 0.5) & (track.f0_hz > 0)
    assert np.mean(track.hnr_db[kept]) == pytest.approx(20.0, abs=2.0)


def test_harmonics_to_noise_above_48_khz_is_that_of_the_lower_half():
    """At 96 kHz neighbours are averaged, which halves the power of white noise: 3 dB more are left."""
    noise = 0.01 * np.random.default_rng(4).normal(size=96_000)
    track = analyse(voice(np.full(96_000, 150.0), 96_000) + noise, 96_000)
    kept = (track.time_s > 0.3) & (track.f0_hz > 0)
    assert np.mean(track.hnr_db[kept]) == pytest.approx(23.0, abs=0.6)


def test_dynamics_is_the_range_of_the_level():
    """One second at -40 dBFS and one at -16 are 24 dB apart; a steady voice has no range to speak of."""
    sound = voice(np.full(2 * RATE, 200.0))
    sound[:RATE] *= 10 ** (-24 / 20)
    assert analyse(1.6 * sound).dynamics_db[-1] == pytest.approx(24.0, abs=2.0)
    assert straight(200.0).dynamics_db[-1] < 2.0


def test_dynamics_forgets():
    """Eleven seconds after a soft second, the range is that of a steady voice again."""
    sound = np.tile(voice(np.full(RATE, 200.0)), 12)
    sound[:RATE] *= 10 ** (-24 / 20)
    track = analyse(sound)
    assert track.dynamics_db[track.time_s > 2][0] > 15
    assert track.dynamics_db[-1] < 3


def test_pauses_keep_the_colour_of_the_voice():
    """Tilt, dynamics and harmonics to noise speak of the voice; neither silence nor a hiss after it moves them."""
    hiss = 0.01 * np.random.default_rng(6).normal(size=RATE)
    track = analyse(np.concatenate([voice(np.full(RATE, 200.0)), np.zeros(RATE // 2), hiss]))
    unvoiced = track.time_s > 1.1
    assert not track.f0_hz[unvoiced].any()
    for name in ("tilt_db", "dynamics_db", "hnr_db"):
        assert len(np.unique(getattr(track, name)[unvoiced])) == 1, name
        assert getattr(track, name)[-1] != 0, name


def test_the_sound_passes_untouched_and_channels_are_one_voice():
    """No frame is delayed or changed; a voice that is on one of two channels is measured."""
    sound = voice(vibrato(220.0, 6.0, 60.0, 1.5)).astype(np.float32)
    stereo = np.stack([sound, np.zeros_like(sound)])
    chain = Chain(["vibrato"])
    assert chain.latency(RATE) == 0
    np.testing.assert_array_equal(chain.render(stereo, sample_rate=RATE), stereo)
    track = chain.analyse(stereo, sample_rate=RATE)
    assert track.vibrato_hz[-20:] == pytest.approx(6.0, abs=0.1)


def test_a_delay_before_it_changes_nothing():
    """Behind a look-ahead limiter that has nothing to limit, the same is measured."""
    sound = voice(vibrato(220.0, 6.0, 60.0, 1.5))
    late = Chain(["limiter", "vibrato"])
    assert late.latency(RATE) > 0
    track, plain = late.analyse(sound, sample_rate=RATE), analyse(sound)
    for name in ("vibrato_hz", "vibrato_cents", "tilt_db"):
        assert getattr(track, name)[-30:] == pytest.approx(getattr(plain, name)[-30:], rel=0.02), name
    for name in ("hnr_db", "dynamics_db"):
        assert np.mean(getattr(track, name)[100:]) == pytest.approx(np.mean(getattr(plain, name)[100:]), abs=1.0), name
