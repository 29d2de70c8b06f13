"""The pitch stage against sounds whose pitch is known, and one real voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from autovoice.rt import Chain
from numpy.typing import NDArray
from scipy.signal import lfilter, resample_poly

Signal = NDArray[np.float64]

HOP_S = 0.005
SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")
WARM_UP_S = 0.05  # the longest comparison, and a few hops


def seconds(duration: float, sample_rate: int) -> Signal:
    """Return the times of the frames."""
    return np.arange(round(duration * sample_rate)) / sample_rate


def phase_of(f0_hz: Signal, sample_rate: int) -> Signal:
    """Return the phase in radians of a tone whose frequency at each frame is given, exact to the trapezium rule."""
    return 2 * np.pi * np.concatenate([[0], np.cumsum((f0_hz[1:] + f0_hz[:-1]) / 2)]) / sample_rate


def pulses(f0_hz: Signal, sample_rate: int, lowest: int = 1) -> Signal:
    """Return a band-limited pulse train with harmonics from `lowest` up to 8 kHz or 0.45 of the rate."""
    phase, top = phase_of(f0_hz, sample_rate), min(8000, 0.45 * sample_rate)
    return sum(np.cos(k * phase) * (k * f0_hz < top) for k in range(lowest, int(top / f0_hz.min()) + 1))


def vowel(f0_hz: Signal, sample_rate: int, formants_hz: tuple[int, ...] = (700, 1220, 2600)) -> Signal:
    """Return pulses of falling spectrum through three resonances of 80 Hz bandwidth."""
    sound = lfilter([1], [1, -0.95], pulses(f0_hz, sample_rate))
    radius = np.exp(-np.pi * 80 / sample_rate)
    for hz in formants_hz:
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / sample_rate), radius**2], sound)
    return sound


def level(sound: Signal, dbfs: float = -20.0) -> Signal:
    """Return the sound at an RMS level."""
    return sound * 10 ** (dbfs / 20) / np.sqrt(np.mean(sound**2))


def follow(sound: Signal, sample_rate: int = 48_000, **settings: float) -> tuple[Signal, Signal, Signal]:
    """Return time_s, f0_hz and voicing of the whole sound, without the first moments."""
    frames = sound.shape[-1]
    track = Chain([{"stage": "pitch", **settings}]).analyse(sound, sample_rate=sample_rate)
    kept = (track.time_s > WARM_UP_S) & (track.time_s < frames / sample_rate - WARM_UP_S)
    return track.time_s[kept], track.f0_hz[kept], track.voicing[kept]


def cents(f0_hz: Signal, truth_hz: Signal | float) -> Signal:
    """Return the error in cents; an unvoiced frame is off by thousands."""
    return 1200 * np.log2(np.maximum(f0_hz, 1.0) / truth_hz)


def speech(sample_rate: int = 48_000) -> Signal:
    """Return seven seconds of a man who reads."""
    soundfile = pytest.importorskip("soundfile")
    paths = sorted(SPEECH.glob("*.wav"))
    if not paths:
        pytest.skip("needs the Debian package pocketsphinx-testdata")
    return resample_poly(soundfile.read(paths[0])[0], sample_rate // 100, 160)


@pytest.mark.parametrize("hz", [60, 82.4, 110, 196, 330, 523.25, 784, 1000])
@pytest.mark.parametrize("kind", [lambda f, r: np.sin(phase_of(f, r)), pulses, vowel], ids=["sine", "pulses", "vowel"])
def test_a_steady_tone_is_measured_within_three_cents(kind, hz):
    """From a bass's lowest note to a soprano's high C, at the default settings, every frame.

    But where a pulse stands right at the end of a stretch that is shorter than a period, as at 60 Hz.
    """
    _, f0_hz, voicing = follow(level(kind(np.full(24_000, hz), 48_000)))
    error = np.abs(cents(f0_hz, hz))
    assert np.percentile(error, 90 if hz < 80 else 100) < 3
    assert error.max() < 25
    assert voicing.min() > 0.8


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("hz", [75, 220, 760, 880])
def test_every_sample_rate_measures_the_same_pitch(sample_rate, hz):
    """Whatever factor the decimation has: a vowel within 6 cents, one decision every 5 ms."""
    time_s, f0_hz, _ = follow(level(vowel(np.full(sample_rate // 2, hz), sample_rate)), sample_rate)
    assert np.abs(cents(f0_hz, hz)).max() < 6
    if sample_rate > 12_800:  # below, the bus moves more seldom than the tracker
        assert np.diff(time_s) == pytest.approx(round(HOP_S * sample_rate) / sample_rate)


@pytest.mark.parametrize("dbfs", [-60, -40, -20, 0])
def test_the_level_does_not_change_the_pitch(dbfs):
    """A vowel of 130 Hz is followed in every frame from a whisper's level up to full scale."""
    _, f0_hz, _ = follow(level(vowel(np.full(24_000, 130.0), 48_000), dbfs))
    assert np.abs(cents(f0_hz, 130.0)).max() < 3


def test_noise_and_silence_are_unvoiced():
    """White noise, pink-like noise and fricative-like noise are unvoiced in 97 % of the frames; silence in all."""
    white = np.random.default_rng(1).normal(size=96_000)
    for noise in (white, lfilter([1], [1, -0.9], white), lfilter([1, -1.6, 0.9], [1], white)):
        _, f0_hz, voicing = follow(level(noise))
        assert np.mean(f0_hz > 0) < 0.03
        assert np.mean(voicing) < 0.2
    _, f0_hz, voicing = follow(np.zeros(24_000))
    assert not f0_hz.any()
    assert not voicing.any()


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_a_mains_hum_is_no_voice_and_hides_none(mains_hz):
    """A hum at -40 dBFS that has lasted for 2 s is unvoiced, at once before a vowel and after it; the vowel is followed."""
    t = seconds(4.0, 48_000)
    hum = level(sum(np.sin(k * phase_of(np.full(len(t), mains_hz), 48_000)) / k for k in range(1, 8)), -40)
    talking = (t > 2.5) & (t < 3.3)
    time_s, f0_hz, _ = follow(hum + np.where(talking, level(vowel(np.full(len(t), 140.0), 48_000)), 0))
    alone = (time_s > 2) & ((time_s < 2.48) | (time_s > 3.32))
    assert np.mean(f0_hz[alone] > 0) < 0.02
    assert np.mean(np.abs(cents(f0_hz[(time_s > 2.52) & (time_s < 3.28)], 140.0)) < 25) > 0.98


@pytest.mark.parametrize("dbfs", [-80, -70, -60, -50])
def test_hardly_audible_noise_is_unvoiced(dbfs):
    """What a quiet room sounds like before anyone has spoken, when there is no loudness yet to compare with."""
    for seed, pole in enumerate((0.0, 0.5, 0.95)):
        noise = lfilter([1], [1, -pole], np.random.default_rng(seed).normal(size=96_000))
        assert np.mean(follow(level(noise, dbfs))[1] > 0) < 0.01


def test_a_thump_has_no_pitch():
    """A push at the microphone, which jumps and decays over 0.1 s, correlates with its past but does not repeat."""
    thump = np.where(seconds(0.6, 48_000) > 0.2, np.exp(-(seconds(0.6, 48_000) - 0.2) / 0.1), 0.0)
    assert not follow(0.3 * thump)[1].any()


def test_a_missing_fundamental_is_no_octave_error():
    """Harmonics 2 to n of 120 Hz, as a telephone passes them, still sound and measure as 120 Hz."""
    _, f0_hz, _ = follow(level(pulses(np.full(24_000, 120.0), 48_000, lowest=2)))
    assert np.abs(cents(f0_hz, 120.0)).max() < 3


@pytest.mark.parametrize("hz", [150.0, 250.0, 350.0])
def test_a_formant_on_the_second_harmonic_is_no_octave_error(hz):
    """The second harmonic is 14 dB above the fundamental and the third."""
    phase = phase_of(np.full(24_000, hz), 48_000)
    _, f0_hz, _ = follow(level(0.2 * np.sin(phase) + np.sin(2 * phase) + 0.2 * np.sin(3 * phase)))
    assert np.abs(cents(f0_hz, hz)).max() < 5


def test_a_voice_in_noise_keeps_its_octave():
    """10 dB above pink-like noise, 95 % of the frames of a vowel are right within a quarter tone, none an octave off."""
    noise = lfilter([1], [1, -0.95], np.random.default_rng(2).normal(size=96_000))
    for hz in (100.0, 240.0, 500.0):
        error = cents(follow(level(vowel(np.full(96_000, hz), 48_000)) + level(noise, -30))[1], hz)
        assert np.mean(np.abs(error) < 50) > 0.95
        assert not np.any((np.abs(error) > 1100) & (np.abs(error) < 1300))


@pytest.mark.parametrize("sample_rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize(("start_hz", "octaves_per_s"), [(80, 2.0), (200, 2.0), (800, -2.0), (300, -1.5)])
def test_a_glide_is_measured_where_the_frame_says(sample_rate, start_hz, octaves_per_s):
    """The time offset between the track of a glide and the glide itself is below half a millisecond."""
    t = seconds(0.8, sample_rate)
    time_s, f0_hz, _ = follow(level(pulses(start_hz * 2 ** (octaves_per_s * t), sample_rate)), sample_rate)
    offset_s = cents(f0_hz, start_hz * 2 ** (octaves_per_s * time_s)) / 1200 / octaves_per_s
    assert abs(np.mean(offset_s)) < 0.0005
    assert np.abs(offset_s).max() < 0.005


@pytest.mark.parametrize("hz", [110.0, 220.0, 440.0])
def test_vibrato_is_followed(hz):
    """A singer's vibrato, 6 Hz and one semitone either way, is followed within 20 cents, neither flattened nor late."""
    t = seconds(1.5, 48_000)

    def truth(at: Signal) -> Signal:
        return hz * 2 ** (np.sin(2 * np.pi * 6 * at) / 12)

    time_s, f0_hz, _ = follow(level(vowel(truth(t), 48_000)))
    assert np.abs(cents(f0_hz, truth(time_s))).max() < 20


def test_a_note_is_found_and_lost_within_milliseconds():
    """A vowel of 0.3 s between silences is voiced from its start to its end within 20 ms."""
    sound = np.zeros(28_800)
    sound[9_600:24_000] = level(vowel(np.full(14_400, 180.0), 48_000))
    time_s, f0_hz, _ = follow(sound)
    voiced = time_s[f0_hz > 0]
    assert voiced[0] == pytest.approx(0.2, abs=0.02)
    assert voiced[-1] == pytest.approx(0.5, abs=0.02)
    assert np.all(np.diff(voiced) < 1.5 * HOP_S)


@pytest.mark.parametrize("sample_rate", [44_100, 48_000, 192_000])
def test_a_decision_is_on_the_bus_within_twenty_milliseconds(sample_rate):
    """What comes 19 ms after a frame's centre cannot change it: the track before a cut is that of the whole."""
    whole = level(vowel(150 * 2 ** seconds(0.5, sample_rate), sample_rate))
    cut = whole.copy()
    at = sample_rate // 4
    cut[at:] = 0
    chain = Chain(["pitch"])
    a, b = (chain.analyse(sound, sample_rate=sample_rate) for sound in (whole, cut))
    first_difference = np.flatnonzero((a.f0_hz != b.f0_hz) | (a.voicing != b.voicing))[0]
    assert 0.25 - 0.019 < a.time_s[first_difference] < 0.25
    heard = chain.analyse(whole[:at], sample_rate=sample_rate)
    assert heard.time_s[-1] > 0.25 - 0.020 - HOP_S  # the latest decision on the bus when that audio has passed
    np.testing.assert_array_equal(heard.f0_hz, a.f0_hz[: len(heard.f0_hz)])


def test_the_frame_is_counted_at_the_chains_input():
    """A stage before the tracker that delays the sound does not shift the track of a glide."""
    t = seconds(0.8, 48_000)
    sound = level(pulses(150 * 2 ** (2 * t), 48_000))
    chain = Chain([{"stage": "limiter"}, "pitch"])
    assert chain.latency(48_000) > 0
    track = chain.analyse(sound, sample_rate=48_000)
    kept = (track.time_s > WARM_UP_S) & (track.time_s < 0.75)
    offset_s = cents(track.f0_hz[kept], 150 * 2 ** (2 * track.time_s[kept])) / 1200 / 2
    assert abs(np.mean(offset_s)) < 0.0005


def test_floor_and_ceiling_bound_the_search():
    """A pitch outside the range is not reported, and no multiple or fraction of it in its place."""
    for hz, settings in ((110.0, {"floor": 150.0}), (600.0, {"ceiling": 400.0}), (1250.0, {})):
        _, f0_hz, _ = follow(level(vowel(np.full(24_000, hz), 48_000)), **settings)
        assert np.mean(f0_hz > 0) < 0.02


def test_the_threshold_trades_missed_voice_for_false_voice():
    """A voice 11 dB below white noise is voiced more often at a low threshold; the probability does not depend on it."""
    sound = level(vowel(np.full(96_000, 150.0), 48_000), -27) + level(np.random.default_rng(4).normal(size=96_000), -16)
    tracks = [follow(sound, threshold=threshold) for threshold in (0.1, 0.5, 0.9)]
    low, middle, high = (np.mean(f0_hz > 0) for _, f0_hz, _ in tracks)
    assert low >= middle >= high
    assert low > high
    for (_, f0_hz, voicing), threshold in zip(tracks, (0.1, 0.5, 0.9), strict=True):
        np.testing.assert_array_equal(f0_hz > 0, voicing >= np.float32(threshold))
        np.testing.assert_array_equal(voicing, tracks[0][2])


def test_the_sound_passes_untouched_and_channels_are_one_voice():
    """No frame is delayed or changed; a voice that is on one of two channels is found."""
    sound = level(vowel(np.full(24_000, 140.0), 48_000)).astype(np.float32)
    stereo = np.stack([sound, np.zeros_like(sound)])
    chain = Chain(["pitch"])
    assert chain.latency(48_000) == 0
    np.testing.assert_array_equal(chain.render(stereo, sample_rate=48_000), stereo)
    _, f0_hz, _ = follow(stereo)
    assert np.abs(cents(f0_hz, 140.0)).max() < 3


@pytest.mark.parametrize("block", [1, 37, 480, 8192])
def test_the_cut_into_blocks_does_not_change_the_track(block):
    """The whole bus, as a later stage sees it at every 64 frames, is bit for bit that of 64-frame blocks."""
    from autovoice.rt.rendering import render

    sound = speech()[:72_000]
    chain = Chain(["pitch"])
    expected = render(chain, sound, sample_rate=48_000, block=64, trace=True)[1]
    np.testing.assert_array_equal(render(chain, sound, sample_rate=48_000, block=block, trace=True)[1], expected)
    assert expected["f0_hz"].any()


def test_a_real_voice_is_followed_plausibly():
    """A man who reads is voiced for about 60 % of the time, lies between 60 and 180 Hz, and does not leap."""
    _, f0_hz, _ = follow(level(speech(), -26))
    voiced = f0_hz > 0
    assert 0.45 < np.mean(voiced) < 0.75
    assert 85 < np.median(f0_hz[voiced]) < 115
    assert np.mean((f0_hz[voiced] > 60) & (f0_hz[voiced] < 180)) > 0.9
    both = voiced[1:] & voiced[:-1]
    steps = np.abs(cents(f0_hz[1:][both], f0_hz[:-1][both]))
    assert np.median(steps) < 25
    assert np.mean(steps > 600) < 0.01
