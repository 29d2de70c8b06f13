"""High-pass: Butterworth to the last digit of float32, at rest and while the cutoff moves."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from scipy import signal

RATE = 48_000  # Hz
ORDER = {"12dB": 2, "24dB": 4}
DAMPING = {"12dB": [2**0.5], "24dB": [2 * np.cos(np.pi / 8), 2 * np.cos(3 * np.pi / 8)]}


def _chain(cutoff, slope):
    return Chain([{"stage": "highpass", "cutoff": cutoff, "slope": slope}])


def _state_variable_highpass(x, cutoff_hz, slope, rate):
    """Run Zavalishin's loop as the book derives it (2012, chapter 4), one frame at a time."""
    y = np.asarray(x, float)
    for k in DAMPING[slope]:
        z1 = z2 = 0.0
        out = np.empty_like(y)
        for n, (v, g) in enumerate(zip(y, np.tan(np.pi * cutoff_hz / rate), strict=True)):
            high = (v - (g + k) * z1 - z2) / (1 + g * (g + k))
            band = z1 + g * high
            low = z2 + g * band
            z1, z2 = 2 * band - z1, 2 * low - z2
            out[n] = high
        y = out
    return y


@pytest.mark.parametrize("slope", ["12dB", "24dB"])
@pytest.mark.parametrize("cutoff", [20.0, 80.0, 1000.0])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000, 192_000])
def test_the_response_is_the_analytic_butterworth(rate, cutoff, slope):
    impulse = np.zeros(2 * rate, np.float32)
    impulse[0] = 1
    y = _chain(cutoff, slope).render(impulse, sample_rate=rate).astype(float)
    hz = np.geomspace(cutoff / 4, 0.45 * rate, 200)
    _, measured = signal.freqz(y, worN=hz, fs=rate)
    _, analytic = signal.sosfreqz(signal.butter(ORDER[slope], cutoff, "high", fs=rate, output="sos"), worN=hz, fs=rate)
    np.testing.assert_allclose(20 * np.log10(np.abs(measured / analytic)), 0, atol=2e-4)  # dB
    np.testing.assert_allclose(measured, analytic, atol=1e-6)  # and the phase


@pytest.mark.parametrize(("slope", "fall_db"), [("12dB", 12), ("24dB", 24)])
def test_the_cutoff_is_lowered_by_3_db_and_each_octave_below_by_the_slope(slope, fall_db):
    t = np.arange(3 * RATE) / RATE

    def level_db(hz):
        y = _chain(200.0, slope).render(np.sin(2 * np.pi * hz * t), sample_rate=RATE)[RATE:]
        return 20 * np.log10(np.sqrt(2 * np.mean(y.astype(float) ** 2)))

    assert level_db(200) == pytest.approx(-3.01, abs=0.01)
    assert level_db(25) - level_db(12.5) == pytest.approx(fall_db, abs=0.1)
    assert level_db(5000) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("slope", ["12dB", "24dB"])
def test_a_moving_cutoff_follows_the_state_variable_loop_frame_by_frame(slope):
    x = np.random.default_rng(3).uniform(-1, 1, 8000).astype(np.float32)
    targets = {1000: 1000.0, 2500: 20.0, 2700: 400.0, 5000: 80.0}
    y = _chain(80.0, slope).render(x, sample_rate=RATE, events=[Event(f, "highpass/cutoff", v) for f, v in targets.items()])
    cutoff, value, step, left, target = np.empty(len(x)), 80.0, 0.0, 0, 80.0
    for n in range(len(x)):
        if n in targets:
            target, left = targets[n], RATE // 50
            step = (target - value) / left
        if left:
            left -= 1
            value = value + step if left else target
        cutoff[n] = np.float32(value)
    np.testing.assert_allclose(y, _state_variable_highpass(x, cutoff, slope, RATE), atol=2e-6)


@pytest.mark.parametrize("slope", ["12dB", "24dB"])
def test_wild_modulation_stays_bounded_and_dies_with_the_sound(slope):
    random = np.random.default_rng(4)
    x = random.uniform(-1, 1, 2 * RATE).astype(np.float32)
    x[RATE:] = 0
    events = [Event(int(f), "highpass/cutoff", float(random.choice([20.0, 1000.0]))) for f in range(0, RATE, 53)]
    y = _chain(80.0, slope).render(x, sample_rate=RATE, events=events)
    assert np.abs(y).max() < 4
    assert np.abs(y[-RATE // 4 :]).max() < 1e-15


def test_an_offset_of_the_converter_is_gone_after_half_a_second():
    y = _chain(80.0, "12dB").render(np.full(RATE, 0.5), sample_rate=RATE)
    assert np.abs(y[RATE // 2 :]).max() < 1e-7
