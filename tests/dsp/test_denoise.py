"""Denoise: exact transparency, exact delay, less noise and not less voice, no musical noise, one network for all channels."""

import numpy as np
import pytest
from autovoice.dsp import noise_gain, suppressor
from autovoice.dsp.stages import denoise
from autovoice.dsp.toolchain import numba
from autovoice.rt import Chain
from safetensors.numpy import load_file

RATE = 48_000  # Hz
HOP_S = 128 / RATE  # s
RATES = (44_100, 48_000, 88_200, 96_000, 192_000)


def _denoise(**settings):
    return Chain([{"stage": "denoise", **settings}])


def _noise(seconds, dbfs, seed=0, rate=RATE):
    return 10 ** (dbfs / 20) * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def _db(sound):
    return 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))


def _si_sdr(clean, heard):
    target = clean * np.dot(clean, heard) / np.dot(clean, clean)
    return _db(target) - _db(heard - target)


@pytest.mark.parametrize("rate", (8_000, *RATES))
def test_strength_0_is_the_input_bit_for_bit_at_the_declared_delay(rate):
    x = np.stack([_noise(0.5, -20, seed, rate) for seed in (0, 1)]).astype(np.float32)
    chain = _denoise(strength=0.0)
    heard = chain.render(x, sample_rate=rate, compensate=False)
    delay = chain.latency(rate)
    np.testing.assert_array_equal(heard[:, delay:], x[:, :-delay])
    assert np.all(heard[:, :delay] == 0)


@pytest.mark.parametrize("rate", RATES)
def test_the_delay_is_10_ms_at_most(rate):
    assert _denoise().latency(rate) <= 0.01 * rate


def test_the_delay_is_448_frames_at_48_khz():
    assert _denoise().latency(RATE) == 448


@pytest.mark.parametrize("rate", (8_000, *RATES))
def test_the_windows_add_up_to_one(rate):
    size, segments, length = denoise._layout(rate)
    hop = 64 * segments
    analysis, synthesis = denoise.windows(size, hop, length)
    product = np.pad(analysis[-length:] * synthesis, (0, -length % hop))
    np.testing.assert_allclose(product.reshape(-1, hop).sum(0), 1, atol=1e-6)
    assert rate == 8_000 or analysis.argmax() > 0.7 * size  # it leans on the newest sound


@pytest.mark.parametrize("rate", RATES)
def test_steady_noise_goes_down(rate):
    for dbfs in (-60, -40, -20):
        x = _noise(3, dbfs, rate=rate)
        heard = _denoise().render(x, sample_rate=rate)
        assert _db(heard[2 * rate :]) < _db(x) - 15, dbfs


def test_noise_is_down_within_a_tenth_of_a_second_of_the_beginning():
    """Spectra whose window is not yet full of sound would pass for much less noise than there is."""
    x = _noise(0.2, -40)
    heard = _denoise().render(x, sample_rate=RATE)
    assert _db(heard[: RATE // 10]) < _db(x) - 17


@pytest.mark.parametrize("reduction", [3.0, 6.0, 12.0])
def test_it_lowers_by_the_reduction_and_no_more(reduction):
    x = _noise(3, -35)
    heard = _denoise(reduction=reduction).render(x, sample_rate=RATE)
    assert _db(heard[2 * RATE :]) - _db(x) == pytest.approx(-reduction, abs=0.1 * reduction)


def test_strength_is_the_share_of_what_is_found_best_in_db():
    """At 1 some bins of noise come to the limit of the reduction, 60 dB."""
    x = _noise(3, -35)
    strengths = (1.0, 0.5, 0.25)
    full, half, quarter = (
        _denoise(strength=s, reduction=60.0).analyse(x, sample_rate=RATE).denoise_db[1500:] for s in strengths
    )
    np.testing.assert_allclose(quarter, half / 2, atol=1e-3)
    np.testing.assert_allclose(half, full / 2, atol=0.1)
    assert full.mean() < -20


def test_a_clean_voice_stays_as_it_is(speech):
    heard = _denoise().render(speech, sample_rate=RATE)
    assert _si_sdr(speech, heard) > 15
    assert _db(heard) == pytest.approx(_db(speech), abs=0.5)


@pytest.mark.parametrize(("dbfs", "gain"), [(-60, 0), (-20, 20)])
def test_a_voice_in_noise_comes_out_clearer_at_any_level(speech, dbfs, gain):
    clean = speech * 10 ** ((dbfs - _db(speech)) / 20)
    noisy = clean + _noise(len(clean) / RATE, dbfs - 5)
    heard = _denoise().render(noisy, sample_rate=RATE)
    assert _si_sdr(clean[RATE // 2 :], heard[RATE // 2 :]) > 5 + 6


def test_what_is_left_of_noise_is_not_musical():
    x = _noise(8, -35)
    heard = _denoise().render(x, sample_rate=RATE)

    def kurtosis(sound):
        power = np.abs(np.fft.rfft(sound[2 * RATE :].reshape(-1, 1000) * np.hanning(1000))[:, 5:250]) ** 2
        return np.median((power**2).mean(0) / power.mean(0) ** 2)

    assert kurtosis(heard) < 1.5 * kurtosis(x)


def test_the_mains_go_down():
    t = np.arange(5 * RATE) / RATE
    x = sum(10 ** (-k / 4) * np.sin(2 * np.pi * 50 * k * t + k) for k in range(1, 12)) * 0.02 + _noise(5, -100)
    heard = _denoise().render(x, sample_rate=RATE)
    assert _db(heard[4 * RATE :]) < _db(x) - 14


def test_noise_that_gets_louder_is_learnt_in_three_seconds():
    x = np.concatenate([_noise(2, -80), _noise(4, -40, seed=1)])
    heard = _denoise().render(x, sample_rate=RATE)
    assert _db(heard[5 * RATE :]) < _db(x[5 * RATE :]) - 17


def test_it_does_the_same_after_a_minute():
    x = _noise(60, -35)
    gain_db = _denoise().analyse(x, sample_rate=RATE).denoise_db
    early, late = gain_db[1500:2250], gain_db[-750:]
    assert late.mean() == pytest.approx(early.mean(), abs=1.0)


def test_the_bus_tells_the_mean_gain(speech):
    gain_db = _denoise(reduction=20.0).analyse(speech + _noise(len(speech) / RATE, -45), sample_rate=RATE).denoise_db
    assert np.all((gain_db <= 0) & (gain_db > -20.01))
    assert np.ptp(gain_db) > 5
    assert np.all(_denoise(strength=0.0).analyse(speech, sample_rate=RATE).denoise_db == 0)


def test_all_channels_have_the_same_gains(speech):
    noisy = speech + _noise(len(speech) / RATE, -40)
    heard = _denoise().render(np.stack([noisy, 0.5 * noisy, 0 * noisy]), sample_rate=RATE)
    np.testing.assert_array_equal(heard[1], 0.5 * heard[0])
    assert np.all(heard[2] == 0)


def test_smoothing_slows_gains_that_go_down_and_only_those(speech):
    noisy = speech + _noise(len(speech) / RATE, -40)
    fast, slow = (_denoise(smoothing=ms).analyse(noisy, sample_rate=RATE).denoise_db[750:] for ms in (0.0, 100.0))
    assert np.percentile(slow - fast, 95) > 2
    assert np.percentile(slow - fast, 2) > -0.2


@numba.njit(error_model="numpy")
def _evaluate(states, power, gains):
    for k in range(len(power)):
        for b in range(suppressor.BANDS):
            states[0].power[b] = power[k, b] * 2
        for unit in range(suppressor.UNITS):
            suppressor.advance(states[0], unit, 2)
        gains[k] = states[0].gain


def test_the_network_is_the_one_of_the_weights():
    """Against the definition in float64: features, dense layer, two gated recurrent units, logistic output."""
    state = np.zeros(1, suppressor.STATE)
    suppressor.plan(state, 1024, RATE, np.ones(1024))
    power = 10 ** np.random.default_rng(0).uniform(-9, -1, (300, suppressor.BANDS)).astype(np.float32)
    gains = np.zeros((300, suppressor.BANDS), np.float32)
    _evaluate(state, power / state["scale"], gains)

    w = {name: tensor.astype(np.float64) for name, tensor in load_file(suppressor.WEIGHTS_FILE).items()}
    levels = np.log2(power.astype(np.float64) + 1e-11)
    level, floor, quantile, hidden = levels[0].mean(), levels[0].copy(), levels[0].copy(), [np.zeros(64), np.zeros(64)]

    def logistic(v):
        return 1 / (1 + np.exp(-v))

    for k, now in enumerate(levels):
        level += (now.mean() - level) / min(k + 1, 750)
        floor += np.where(now < floor, 0.05, 0.002) * (now - floor)
        quantile += max(0.02, 2 / (k + 1)) * np.where(now < quantile, -0.7, 0.3)
        features = np.clip(0.2 * np.concatenate([now - level, now - floor, now - quantile]), -3, 4)
        v = np.tanh(w["inp.weight"] @ features + w["inp.bias"])
        for layer in range(2):
            name = f"g{layer + 1}"
            below = np.split(w[f"{name}.weight_ih_l0"] @ v + w[f"{name}.bias_ih_l0"], 3)
            before = np.split(w[f"{name}.weight_hh_l0"] @ hidden[layer] + w[f"{name}.bias_hh_l0"], 3)
            reset, update = (logistic(below[g] + before[g]) for g in range(2))
            hidden[layer] = (1 - update) * np.tanh(below[2] + reset * before[2]) + update * hidden[layer]
            v = hidden[layer]
        expected = logistic(w["out.weight"] @ np.concatenate(hidden) + w["out.bias"])
        np.testing.assert_allclose(gains[k], expected, atol=2e-4)


def test_bands_above_half_the_rate_look_like_the_last_one_below_it():
    state = np.zeros(1, suppressor.STATE)
    suppressor.plan(state, 128, 8_000, np.ones(128))
    below = int((state["scale"][0] > 0).sum())
    assert 0 < below < suppressor.BANDS
    power = np.zeros((1, suppressor.BANDS), np.float32)
    power[0, :below] = np.geomspace(1e-3, 1e-5, below) / state["scale"][0, :below]
    _evaluate(state, power, np.zeros((1, suppressor.BANDS), np.float32))
    features = state["features"][0].reshape(3, -1)
    np.testing.assert_allclose(features[0, below:], features[0, below - 1], rtol=1e-6)
    levels = np.log2(np.pad(np.geomspace(1e-3, 1e-5, below), (0, suppressor.BANDS - below), mode="edge"))
    np.testing.assert_allclose(features[0], np.clip(0.2 * (levels - levels.mean()), -3, 4), atol=1e-3)


def test_bands_share_every_bin_and_see_white_noise_as_flat():
    state = np.zeros(1, suppressor.STATE)
    suppressor.plan(state, 1024, RATE, np.ones(1024))
    power = np.zeros((1, suppressor.BANDS + 1), np.float32)
    out = np.zeros(513, np.float32)
    _bands_of(state, np.ones(513, np.float32), power, out)
    np.testing.assert_allclose(power[0, :-1] * state["scale"][0], 1 / 1024, rtol=1e-5)
    places = np.interp(np.arange(513) * RATE / 1024, suppressor.centres_hz(), np.arange(suppressor.BANDS))
    np.testing.assert_allclose(out, places, rtol=1e-4)


@numba.njit(error_model="numpy")
def _bands_of(states, spectrum, power, out):
    suppressor.clear(states[0])
    suppressor.add_power(states[0], spectrum, spectrum * 0)
    for b in range(suppressor.BANDS + 1):
        power[0, b] = states[0].power[b]
    for b in range(suppressor.BANDS):
        states[0].gain[b] = b
    suppressor.spread(states[0], states[0].gain, out, len(out))


@numba.njit(error_model="numpy")
def _track(states, nets, power, voice, noise):
    """Feed spectra of one power, in which the bands' gains say voice; tell the noise of a bin."""
    re, bands = np.zeros(513, np.float32), np.full(suppressor.BANDS, voice, np.float32)
    for t in range(len(power)):
        re[:] = np.sqrt(power[t])
        noise_gain.take(states[0], re, re * 0, True)
        noise_gain.learn(states[0], nets[0], bands)
        noise[t] = noise_gain._row(states[0], noise_gain._NOISE)[100]


def _tracked(power, voice):
    state, net, memory = np.zeros(1, noise_gain.STATE), np.zeros(1, suppressor.STATE), np.zeros(noise_gain.values(1024), "f4")
    noise_gain.plan(state, 1024, HOP_S, memory.ctypes.data)
    suppressor.plan(net, 1024, RATE, np.ones(1024))
    noise = np.zeros(len(power))
    _track(state, net, power.astype(np.float32), np.float32(voice), noise)
    return noise


def test_the_noise_is_learnt_where_there_is_no_voice_and_only_there():
    """A quarter louder, which the bounds by the least power allow for: in one time constant by 63 % of the way."""
    steps = round(noise_gain.LEARNING_S / HOP_S)
    power = np.concatenate([np.full(4000, 2.0), np.full(steps, 2.5)])
    assert _tracked(power, 0.0)[3999] == pytest.approx(1.5 * 2.0, rel=1e-3)  # at least: the mean is above the least
    power[3000:4000] = 4.0  # the least is still 2: up to 8 is allowed for
    learnt = _tracked(power[:4000], 0.0)[3000 + steps - 1]
    assert learnt == pytest.approx(3 + (4 - 3) * (1 - np.exp(-1)), rel=0.02)
    assert _tracked(power[:4000], 1.0)[3000 + steps - 1] == pytest.approx(3.0, rel=1e-3)


def test_the_noise_is_kept_near_the_least_power_even_under_a_voice():
    rises = np.concatenate([np.full(1000, 1.0), np.full(1000, 100.0)])
    noise = _tracked(rises, 1.0)
    assert noise[999] == pytest.approx(1.5, rel=1e-3)
    assert noise[1000 + round(0.7 / HOP_S)] < 5  # what lasts shorter may be voice
    assert noise[1000 + round(2 * noise_gain.LEAST_S / HOP_S)] > 140
    falls = _tracked(rises[::-1], 1.0)
    assert falls[1000 + round(6 * noise_gain.SMOOTHED_S / HOP_S)] < 6
