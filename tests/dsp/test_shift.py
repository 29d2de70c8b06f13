"""Shift: pitch moves as told, formants stay, what has no pitch passes bit for bit, and nothing clicks."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from scipy.signal import lfilter

RATE = 48_000  # Hz
FORMANTS_HZ = (700, 1220, 2600, 3400)
RANGE_MS = {"low": 16.0, "mid": 10.0, "high": 7.0}


def _shift(**settings):
    return Chain(["pitch", {"stage": "shift", **settings}])


def _vowel(f0_hz, seconds=1.0, rate=RATE):
    """Make an /a/ of peak 0.3: a band-limited pulse train (f0 a number or one for each frame) through four resonators."""
    frames = round(seconds * rate)
    f0 = np.broadcast_to(np.asarray(f0_hz, float), frames)
    phase = 2 * np.pi * np.cumsum(f0) / rate
    x = sum(np.cos(h * phase) for h in range(1, int(5000 / f0.max()) + 1))
    x = lfilter([1], [1, -0.9], x)
    for centre in FORMANTS_HZ:
        radius = np.exp(-np.pi * 90 / rate)
        x = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2], x)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def _f0(x, near_hz, rate=RATE, hop_s=0.02, apart_s=0.03, frame_s=0.05):
    """Measure the pitch in Hz every 20 ms, by the best correlation some periods apart, within 6 % of `near_hz`."""
    near = np.broadcast_to(near_hz, len(x))
    found = []
    for at in range(0, len(x) - round(0.09 * rate), round(hop_s * rate)):
        period = rate / near[at]
        apart = min(max(1, int(apart_s * rate / period)), 7)  # periods; of more, 6 % would reach to the next
        frame = x[at : at + round(frame_s * rate)].astype(float)
        lags = np.arange(int(apart * period * 0.94), int(apart * period * 1.06) + 2)
        lags = lags[lags + len(frame) + at <= len(x)]
        others = np.lib.stride_tricks.sliding_window_view(x[at + lags[0] : at + lags[-1] + len(frame)], len(frame))
        score = others @ frame / np.sqrt((others.astype(float) ** 2).sum(1) + 1e-9)
        k = int(np.clip(score.argmax(), 1, len(score) - 2))
        left, middle, right = score[k - 1 : k + 2]
        found.append(rate * apart / (lags[k] + 0.5 * (left - right) / (left - 2 * middle + right)))
    return np.array(found)


def _cents(a, b):
    return 1200 * np.log2(np.asarray(a) / b)


def _envelope_db(x, rate=RATE, top_hz=4000):
    """Return the spectral envelope up to 4 kHz: mean power of 300 Hz bands, one every 20 Hz, about its mean."""
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    db = [10 * np.log10(power[np.abs(hz - f) < 150].mean()) for f in range(300, top_hz, 20)]
    return np.array(db) - np.mean(db)


def _moved(dry, wet):
    """Return by how many semitones the envelope of `wet` has moved against that of `dry`: the warp that fits best."""
    low, high = _envelope_db(dry, top_hz=7000), _envelope_db(wet, top_hz=7000)
    hz = np.arange(300, 7000, 20)
    inside = (hz > 600) & (hz < 3200)

    def distance(semitones):
        warped = np.interp(hz[inside] / 2 ** (semitones / 12), hz, low)
        return np.std(warped - high[inside])

    candidates = np.arange(-14, 14, 0.25)
    return candidates[np.argmin([distance(c) for c in candidates])]


def _rms_db(x):
    return 10 * np.log10(np.mean(np.square(x, dtype=float)))


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("voice", RANGE_MS)
def test_the_delay_at_zero_is_the_latency_and_every_bit_passes(voice, rate):
    chain = _shift(range=voice)
    assert chain.latency(rate) == round(RANGE_MS[voice] * rate / 1000)
    x = _vowel(150, 0.4, rate)
    y = chain.render(x, sample_rate=rate, compensate=False)
    np.testing.assert_array_equal(y[chain.latency(rate) :], x[: len(y) - chain.latency(rate)])


@pytest.mark.parametrize("semitones", [-12, -7, -4, -1, 1, 4, 7, 12])
@pytest.mark.parametrize("f0_hz", [65, 90, 220, 400])
def test_a_vowel_is_shifted_by_the_semitones(f0_hz, semitones):
    x = _vowel(f0_hz)
    y = _shift(semitones=float(semitones)).render(x, sample_rate=RATE)[RATE // 4 :]
    target = f0_hz * 2 ** (semitones / 12)
    cents = _cents(_f0(y, target), target)
    assert abs(np.median(cents)) < 2
    assert np.percentile(np.abs(cents), 90) < 6


@pytest.mark.parametrize(("f0_hz", "semitones"), [(110, 24), (400, -24)])
def test_two_octaves_are_in_reach(f0_hz, semitones):
    target = f0_hz * 2 ** (semitones / 12)
    y = _shift(semitones=float(semitones)).render(_vowel(f0_hz), sample_rate=RATE)[RATE // 4 :]
    assert abs(np.median(_cents(_f0(y, target), target))) < 3


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 192_000])
def test_the_shift_does_not_depend_on_the_sample_rate(rate):
    target = 165 * 2 ** (5 / 12)
    y = _shift(semitones=5.0).render(_vowel(165, 0.8, rate) if rate > 10_000 else _vowel(165, 0.8)[::6], sample_rate=rate)
    assert abs(np.median(_cents(_f0(y[rate // 4 :], target, rate), target))) < 3


@pytest.mark.parametrize(("voice", "f0_hz"), [("low", 65), ("mid", 110), ("high", 160), ("high", 600)])
def test_each_range_serves_its_lowest_voice(voice, f0_hz):
    target = f0_hz * 2 ** (4 / 12)
    y = _shift(semitones=4.0, range=voice).render(_vowel(f0_hz), sample_rate=RATE)[RATE // 4 :]
    assert np.percentile(np.abs(_cents(_f0(y, target), target)), 90) < 6


@pytest.mark.parametrize("semitones", [1.0, 12.0])
def test_a_sine_is_shifted_when_its_formant_moves_along(semitones):
    x = 0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE).astype(np.float32)
    y = _shift(semitones=semitones, formant=semitones).render(x, sample_rate=RATE)[RATE // 4 :]
    target = 220 * 2 ** (semitones / 12)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 19))
    assert abs(_cents(spectrum.argmax() * RATE / (1 << 19), target)) < 2
    assert abs(_rms_db(y) - _rms_db(x)) < 1.5


@pytest.mark.parametrize("semitones", [-7, -4, 4, 7])
def test_formants_stay_where_they_are(semitones):
    x = _vowel(110)
    y = _shift(semitones=float(semitones)).render(x, sample_rate=RATE)
    assert abs(_moved(x[RATE // 4 :], y[RATE // 4 :])) <= 0.5
    assert np.std(_envelope_db(x[RATE // 4 :]) - _envelope_db(y[RATE // 4 :])) < 3


@pytest.mark.parametrize("formant", [-6, -3, 3, 6])
def test_formants_move_alone(formant):
    x = _vowel(110)
    y = _shift(formant=float(formant)).render(x, sample_rate=RATE)
    assert _moved(x[RATE // 4 :], y[RATE // 4 :]) == pytest.approx(formant, abs=0.5)
    assert abs(np.median(_cents(_f0(y[RATE // 4 :], 110), 110))) < 2


def test_formants_moved_up_fold_nothing_over():
    t = np.arange(RATE) / RATE
    high = sum(np.cos(2 * np.pi * 150 * h * t) for h in range(104, 125))  # 15.6..18.6 kHz, which would come out at 10.8..16.8
    x = _vowel(150) + (0.1 * high / np.abs(high).max()).astype(np.float32)
    y = _shift(formant=12.0).render(x, sample_rate=RATE)[RATE // 4 :]
    power = np.abs(np.fft.rfft(y * np.hanning(len(y)))) ** 2
    hz = np.fft.rfftfreq(len(y), 1 / RATE)
    before = np.abs(np.fft.rfft(x[RATE // 4 :] * np.hanning(len(y)))) ** 2
    folded = power[(hz > 10_800) & (hz < 16_800)].sum() / before[(hz > 15_000) & (hz < 19_000)].sum()
    assert 10 * np.log10(folded) < -30


@pytest.mark.parametrize("semitones", [-12, -5, 5, 12])
def test_loudness_stays(semitones):
    x = _vowel(130)
    y = _shift(semitones=float(semitones)).render(x, sample_rate=RATE)
    for at in range(RATE // 4, RATE - RATE // 10, RATE // 10):
        assert _rms_db(y[at : at + RATE // 10]) == pytest.approx(_rms_db(x[at : at + RATE // 10]), abs=1.5)


@pytest.mark.parametrize(("rate_hz", "depth_st"), [(5.5, 0.6), (0.7, 5.0)])
def test_vibrato_and_glides_are_followed(rate_hz, depth_st):
    t = np.arange(2 * RATE) / RATE
    f0 = 180 * 2 ** (depth_st * np.sin(2 * np.pi * rate_hz * t) / 12)
    y = _shift(semitones=4.0).render(_vowel(f0, 2.0), sample_rate=RATE)
    still = _vowel(f0 * 2 ** (4 / 12), 2.0)  # what a voice that sings the shifted melody would measure
    start, target = RATE // 4, f0 * 2 ** (4 / 12)
    fine = {"apart_s": 0.004, "frame_s": 0.012}
    cents = _cents(_f0(y[start:], target[start:], **fine), _f0(still[start:], target[start:], **fine))
    assert np.percentile(np.abs(cents), 90) < 15


def test_a_leap_of_the_melody_lets_nothing_pass_unshifted():
    x = np.concatenate([_vowel(110, 0.6), _vowel(165, 0.6)])
    y = _shift(semitones=4.0).render(x, sample_rate=RATE)
    sung = slice(RATE // 4, RATE)
    assert np.mean(x[sung] == y[sung]) < 0.01


@pytest.mark.parametrize(("voice", "latest_ms"), [("low", 25), ("high", 35)])
def test_an_onset_is_shifted_within_a_few_periods(voice, latest_ms):
    silence = np.zeros(RATE // 4, np.float32)
    x = np.concatenate([silence, _vowel(180, 0.4)])
    y = _shift(semitones=4.0, range=voice).render(x, sample_rate=RATE)
    assert np.flatnonzero(x != y)[0] - len(silence) < latest_ms * RATE / 1000


def test_noise_passes_bit_for_bit():
    x = (0.1 * np.random.default_rng(1).standard_normal(RATE)).astype(np.float32)
    x = np.diff(x, prepend=x[:1])  # a hiss
    y = _shift(semitones=7.0, formant=-3.0).render(x, sample_rate=RATE)
    np.testing.assert_array_equal(y, x)


def test_silence_stays_silence():
    x = np.concatenate([_vowel(120, 0.3), np.zeros(RATE // 2, np.float32)])
    y = _shift(semitones=-5.0).render(x, sample_rate=RATE)
    assert np.all(y[round(0.4 * RATE) :] == 0)


def test_a_burst_between_vowels_passes_once_and_untouched():
    gap = np.zeros(round(0.12 * RATE), np.float32)
    gap[len(gap) // 2 : len(gap) // 2 + 240] = 0.3 * np.random.default_rng(2).standard_normal(240)
    vowel = _vowel(120, 0.3) * np.minimum(1, np.minimum(np.arange(14400), np.arange(14400)[::-1]) / 960).astype(np.float32)
    x = np.concatenate([vowel, gap, vowel])
    y = _shift(semitones=4.0).render(x, sample_rate=RATE)
    at = len(vowel) + len(gap) // 2
    np.testing.assert_array_equal(y[at - 480 : at + 960], x[at - 480 : at + 960])


@pytest.mark.parametrize("semitones", [-7.0, 7.0])
def test_speech_begins_and_ends_without_a_click(speech, semitones):
    y = _shift(semitones=semitones).render(speech, sample_rate=RATE)
    bend = [np.abs(np.diff(x, 2)).max() for x in (speech, y)]
    assert bend[1] < 2 * bend[0]
    assert np.abs(y).max() < 1.5 * np.abs(speech).max()


def test_semitones_glide_without_a_click():
    x = _vowel(140, 1.5)
    events = [Event(k * 4800, "shift/semitones", v) for k, v in enumerate([0, 5, -5, 12, -12, 0, 3, 0, 7, -7, 1, 0, -12, 12])]
    y = _shift().render(x, sample_rate=RATE, events=events)
    assert np.abs(np.diff(y)).max() < 2 * np.abs(np.diff(x)).max()
    assert np.abs(y).max() < 2 * np.abs(x).max()


def test_back_at_zero_every_bit_passes_again():
    x = _vowel(140)
    y = _shift(semitones=5.0).render(x, sample_rate=RATE, events=[Event(RATE // 2, "shift/semitones", 0.0)])
    assert not np.array_equal(y[RATE // 4 : RATE // 2], x[RATE // 4 : RATE // 2])
    settled = RATE // 2 + round(0.06 * RATE)
    np.testing.assert_array_equal(y[settled:], x[settled:])


def test_both_channels_of_a_stereo_voice_move_together():
    x = np.stack([_vowel(120), 0.5 * _vowel(120)])
    y = _shift(semitones=4.0, formant=2.0).render(x, sample_rate=RATE)
    np.testing.assert_array_equal(y[1], y[0] * np.float32(0.5))
    twice = _shift(semitones=4.0).render(np.stack([x[0], x[0]]), sample_rate=RATE)
    once = _shift(semitones=4.0).render(x[0], sample_rate=RATE)
    np.testing.assert_allclose(twice, [once, once], atol=1e-5)


@pytest.mark.parametrize("block", [1, 37, 480, 1024])
def test_the_cutting_into_blocks_does_not_change_a_bit(speech, block):
    x = speech[:RATE]
    moves = enumerate([3.0, 7.0, -4.0, -9.0, 0.0, 0.0, 2.0, 12.0])
    events = [Event(k * 3001, "shift/semitones" if k % 2 else "shift/formant", value) for k, value in moves]
    chain = _shift()
    whole = chain.render(x, sample_rate=RATE, block=64, events=events)
    np.testing.assert_array_equal(chain.render(x, sample_rate=RATE, block=block, events=events), whole)


def test_loud_noise_and_wild_parameters_stay_finite():
    rng = np.random.default_rng(3)
    x = np.concatenate([_vowel(300, 0.3), 900 * rng.standard_normal(9600), _vowel(70, 0.4), np.ones(4800)]).astype(np.float32)
    events = [
        Event(int(f), f"shift/{n}", float(v))
        for n in ("semitones", "formant")
        for f, v in zip(rng.integers(0, len(x), 60), rng.uniform(-24, 24, 60) / (1 + (n == "formant")), strict=True)
    ]
    y = _shift(range="high").render(x, sample_rate=RATE, events=events)
    assert np.all(np.isfinite(y))
    assert np.abs(y).max() < 3 * np.abs(x).max()
