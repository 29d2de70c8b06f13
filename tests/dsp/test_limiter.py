"""Limiter: no sample above the ceiling whatever comes, the delayed input itself when nothing is to be done, and true peaks."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

RATE = 48_000  # Hz


def _limiter(**options):
    """Return a limiter of sample peaks; what it does with them is the same for true peaks."""
    return Chain([{"stage": "limiter", "peak": "sample", **options}])


def _gain(db):
    return 10 ** (np.asarray(db) / 20)


def _glide(start, targets, frames, rate):
    """Return a parameter as the engine moves it: straight lines of 20 ms to {frame: target}."""
    line, value, step, left, target = np.empty(frames), start, 0.0, 0, start
    for n in range(frames):
        if n in targets:
            target, left = targets[n], round(0.02 * rate)
            step = (target - value) / left
        if left:
            left -= 1
            value = value + step if left else target
        line[n] = value
    return line


def _bursts(random, frames):
    """Return what limiters fear: noise bursts, offsets, squares and single samples, up to +60 dBFS, with gaps."""
    x = np.zeros(frames)
    for _ in range(random.integers(1, 12)):
        at, length = random.integers(frames), random.integers(1, 600)
        part = slice(at, min(at + length, frames))
        n = np.arange(part.stop - part.start)
        kind = random.integers(5)
        shape = [
            random.standard_normal(len(n)),
            np.ones(len(n)),
            np.where(n // random.integers(1, 40) % 2, -1.0, 1.0),
            np.sin(n * random.uniform(0.01, 3)),
            np.where(n == 0, 1.0, 0.0),
        ][kind]
        x[part] += shape * _gain(random.uniform(-20, 60))
    return np.clip(x, -1024, 1024).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([8_000, 44_100, 48_000, 96_000, 192_000]),
    lookahead=st.sampled_from([0.5, 1.5, 3.3, 5.0]),
    block=st.sampled_from([1, 17, 64, 333]),
)
def test_no_sample_exceeds_the_ceiling_while_everything_moves(seed, rate, lookahead, block):
    random = np.random.default_rng(seed)
    x = _bursts(random, 6000)
    targets = {int(f): float(random.uniform(-20, 0)) for f in random.integers(0, 6000, 5)}
    events = [Event(f, "limiter/ceiling", v) for f, v in targets.items()]
    events += [Event(int(f), "limiter/release", float(random.uniform(10, 1000))) for f in random.integers(0, 6000, 3)]
    y = _limiter(lookahead=lookahead).render(x, sample_rate=rate, block=block, events=events)
    ceiling = _gain(_glide(-1.0, targets, len(x), rate))
    assert np.all(np.abs(y) <= ceiling * (1 + 1e-6))  # the ceiling itself is a float32


@pytest.mark.parametrize(("rate", "lookahead"), [(48_000, 1.5), (44_100, 0.5), (192_000, 5.0)])
def test_it_is_a_maximum_a_release_and_a_triangle(rate, lookahead):
    """The plain form of the method in float64, over bursts far enough apart for the limiter to come to rest between them."""
    x = np.full(2 * rate, 0.05)
    for at, level in ((0.1, 3.0), (0.11, 2.0), (0.5, 1.2), (1.3, 8.0)):
        x[int(at * rate) : int(at * rate) + 300] *= level / 0.05 * np.sin(np.arange(300) * 0.31)
    frames = round(lookahead * rate / 1000)
    need = np.maximum(20 * np.log10(np.maximum(np.abs(x), 1e-9)) + 1, 0)
    held = np.max(np.lib.stride_tricks.sliding_window_view(np.pad(need, (frames, 0)), frames + 1), axis=1)
    released, level, fall = np.empty(len(x)), 0.0, 10 / (0.05 * rate)
    for n, now in enumerate(held):
        level = released[n] = max(now, level - fall)
    triangle = np.convolve(np.ones(frames // 2 + 1), np.ones(frames - frames // 2 + 1))
    gain_db = -np.convolve(released, triangle / triangle.sum())[frames : len(x)]
    y = _limiter(ceiling=-1.0, release=50.0, lookahead=lookahead).render(x, sample_rate=rate)[: len(x) - frames]
    # 0.01 dB, because the release is a whole number of units per frame
    np.testing.assert_allclose(y, x[: len(y)] * _gain(gain_db), rtol=1.2e-3, atol=1e-7)


@pytest.mark.parametrize("block", [1, 17, 1000])
def test_coming_to_rest_and_starting_again_leave_no_trace_of_the_cutting(block):
    x = np.full(RATE, 0.1, np.float32)
    for at in (3000, 3900, 20_000, 20_070, 40_001):
        x[at : at + 20] = 2
    x[10_000:15_000] = 1e-39  # denormal
    chain = _limiter(release=10.0)
    np.testing.assert_array_equal(chain.render(x, sample_rate=RATE, block=block), chain.render(x, sample_rate=RATE))


@pytest.mark.parametrize("ceiling", [-20.0, -6.0, -1.0, 0.0])
def test_what_stays_below_the_ceiling_comes_out_bit_for_bit(ceiling):
    x = np.random.default_rng(6).uniform(-1, 1, (2, RATE // 4)).astype(np.float32) * np.float32(_gain(ceiling) * (1 - 1e-6))
    np.testing.assert_array_equal(_limiter(ceiling=ceiling).render(x, sample_rate=RATE), x)


def test_a_sample_exactly_at_the_ceiling_passes():
    x = np.ones(4000, np.float32)
    np.testing.assert_array_equal(_limiter(ceiling=0.0).render(x, sample_rate=RATE), x)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("lookahead", [0.5, 1.5, 5.0])
def test_the_delay_is_the_lookahead_to_the_frame(lookahead, rate):
    chain = _limiter(lookahead=lookahead)
    x = np.zeros(3000, np.float32)
    x[1000] = 0.25
    y = chain.render(x, sample_rate=rate, compensate=False)
    assert chain.latency(rate) == round(lookahead * rate / 1000)
    assert np.flatnonzero(y).tolist() == [1000 + chain.latency(rate)]


@pytest.mark.parametrize("over_db", [0.1, 6.0, 20.0])
@pytest.mark.parametrize("lookahead", [0.5, 1.5, 5.0])
def test_a_single_peak_lands_on_the_ceiling_and_not_below(lookahead, over_db):
    x = np.full(4000, 0.01, np.float32)
    x[2000] = _gain(-1 + over_db)
    y = _limiter(ceiling=-1.0, lookahead=lookahead).render(x, sample_rate=RATE)
    assert 20 * np.log10(y[2000]) == pytest.approx(-1, abs=2e-4)


@pytest.mark.parametrize("rate", [44_100, 192_000])
def test_the_gain_bends_down_within_the_lookahead_and_never_jumps(rate):
    lookahead = round(1.5e-3 * rate)
    x = np.full(rate // 2, 0.01, np.float32)
    x[rate // 4] = 4.0
    over_db = 20 * np.log10(4) + 1
    y = _limiter(ceiling=-1.0).render(x, sample_rate=rate)
    gain_db = 20 * np.log10(y / x)
    start, bottom = np.flatnonzero(gain_db < -1e-3)[0], rate // 4
    assert bottom - lookahead <= start < bottom
    assert np.all(gain_db[: bottom - lookahead] == 0)
    step = np.diff(gain_db)
    assert np.abs(step).max() < 1.05 * over_db / (lookahead / 2)  # the middle of the S
    assert np.abs(np.diff(step)).max() < 1.05 * over_db / (lookahead / 2) ** 2 * 2


@pytest.mark.parametrize("release", [10.0, 100.0, 1000.0])
def test_the_gain_comes_back_by_10_db_in_the_release_time(release):
    x = np.full(3 * RATE, 0.001, np.float32)
    x[1000:1100] = _gain(19)
    y = _limiter(ceiling=-1.0, release=release).render(x, sample_rate=RATE)
    gain_db = 20 * np.log10(y / x)[1100:]
    assert gain_db[0] == pytest.approx(-20, abs=0.1)
    frames = np.flatnonzero(gain_db > -5)[0] - np.flatnonzero(gain_db > -15)[0]
    assert frames == pytest.approx(release * RATE / 1000, rel=0.02)
    assert np.all(gain_db[round(2.1 * release * RATE / 1000) + 100 :] == 0)


def test_a_tone_6_db_too_loud_keeps_its_shape():
    t = np.arange(2 * RATE) / RATE
    y = _limiter(ceiling=-6.0, release=100.0).render(np.sin(2 * np.pi * 1000 * t), sample_rate=RATE)[RATE:]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(RATE))) ** 2
    tone = spectrum[990:1011].sum()
    assert 10 * np.log10((spectrum.sum() - tone) / tone) < -60


def test_the_bus_shows_the_reduction():
    track = _limiter(ceiling=-6.0).analyse(np.ones(RATE, np.float32), sample_rate=RATE)
    assert track.limiter_db[-1] == pytest.approx(-6, abs=0.01)


INTERPOLATOR = (  # two of the four phases of ITU-R BS.1770-4, annex 2, in 1 / 8192; the others are their mirror images
    np.array([14, 90, -161, 272, -487, 1125, 7964, -838, 390, -218, 122, -68]) / 8192,
    np.array([-239, 240, -424, 730, -1364, 3810, 6388, -1641, 832, -477, 271, -155]) / 8192,
)


def _meter_db(y):
    """Return the true peak of BS.1770-4, dBTP."""
    return 20 * np.log10(max(np.abs(np.convolve(y, taps)).max() for phase in INTERPOLATOR for taps in (phase, phase[::-1])))


def _oversampled_db(y, factor):
    """Return the peak at a multiple of the rate, by a sinc of 128 frames, flat to 0.48 of the rate."""
    window = signal.firwin(128 * factor + 1, 1 / factor, window=("kaiser", 5.0))
    return 20 * np.log10(np.abs(signal.resample_poly(y, factor, 1, window=window)).max())


def _feared(kind, frames):
    """Return what makes peaks between samples."""
    random, n = np.random.default_rng(11), np.arange(frames)
    return {
        "noise": lambda: random.standard_normal(frames),
        "signs": lambda: np.sign(random.standard_normal(frames)),
        "quarter of the rate": lambda: np.sin(np.pi / 2 * n + np.pi / 4),
        "square": lambda: np.sign(np.sin(0.1305 * n)),
        "bursts": lambda: 3 * np.sin(1.44 * n) * (np.sin(0.0065 * n) > 0.8),
        "clipped voice": lambda: np.clip(
            signal.sosfilt(signal.butter(2, [0.01, 0.15], "band", output="sos"), 9 * random.standard_normal(frames)), -1, 1
        ),
        "clicks": lambda: 4 * random.standard_normal(frames) * (random.random(frames) < 0.01),
    }[kind]().astype(np.float32)


FEARED = ["noise", "signs", "quarter of the rate", "square", "bursts", "clipped voice", "clicks"]


@pytest.mark.parametrize("lookahead", [0.5, 1.5, 5.0])
@pytest.mark.parametrize("kind", FEARED)
def test_no_true_peak_exceeds_the_ceiling(kind, lookahead):
    x = _feared(kind, RATE)
    y = _limiter(peak="true", ceiling=-6.0, lookahead=lookahead).render(x, sample_rate=RATE).astype(float)
    assert _meter_db(x) > -5
    assert _meter_db(y) <= -6
    assert 20 * np.log10(np.abs(signal.resample_poly(y, 4, 1)).max()) <= -6


@pytest.mark.parametrize("lookahead", [0.5, 1.5])
@pytest.mark.parametrize("kind", FEARED)
def test_nor_does_a_peak_on_a_grid_four_times_finer_while_the_sound_ends_below_a_third_of_the_rate(kind, lookahead):
    x = signal.sosfilt(signal.butter(10, 1 / 3 * 2, output="sos"), _feared(kind, RATE)).astype(np.float32)
    y = _limiter(peak="true", ceiling=-9.0, lookahead=lookahead).render(x, sample_rate=RATE).astype(float)
    assert -9.75 < _oversampled_db(y, 16) <= -9


def test_true_peaks_delay_by_six_frames_more_and_quiet_sound_comes_out_bit_for_bit():
    chain = _limiter(peak="true", ceiling=0.0)
    assert chain.latency(RATE) == _limiter().latency(RATE) + 6
    x = np.random.default_rng(12).uniform(-0.4, 0.4, (2, RATE // 4)).astype(np.float32)
    np.testing.assert_array_equal(chain.render(x, sample_rate=RATE), x)


def test_a_peak_between_samples_of_one_channel_moves_both():
    x = np.full((2, RATE // 2), 0.1, np.float32)
    x[1] = np.sin(np.pi / 2 * np.arange(RATE // 2) + np.pi / 4)  # samples at 0.707, peaks at 1
    gain_db = 20 * np.log10(_limiter(peak="true", ceiling=-1.0).render(x, sample_rate=RATE)[0, RATE // 4 :] / 0.1)
    assert gain_db.min() > -1.8 and gain_db.max() < -1.0


@pytest.mark.parametrize("block", [1, 17, 1000])
def test_the_estimate_leaves_no_trace_of_the_cutting(block):
    one = np.concatenate([0.3 * _feared("clipped voice", 3000), _feared("noise", 700), 0.2 * _feared("noise", 4000)])
    x = np.stack([one, np.roll(one, 311)])  # each side comes near the ceiling at times of its own
    chain = _limiter(peak="true", release=10.0)
    np.testing.assert_array_equal(chain.render(x, sample_rate=RATE, block=block), chain.render(x, sample_rate=RATE))
