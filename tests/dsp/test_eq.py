"""Equaliser: the response of the design to a twentieth of a dB, near the analogue one, and no step when a band moves."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from scipy import signal

RATE = 48_000  # Hz


def _eq(**settings):
    return Chain([{"stage": "eq", **{f"band{k}_type": "off" for k in (2, 6)}, **settings}])


def _db(power):
    return 10 * np.log10(np.maximum(power, 1e-30))


def _analogue(kind, frequency, gain_db, q):
    """Return (numerator, denominator) in s / (2 pi frequency), as R. Bristow-Johnson's cookbook gives them."""
    a = 10 ** (gain_db / 40)
    r = np.sqrt(a) / q
    return {
        "peak": ([1, a / q, 1], [1, 1 / (a * q), 1]),
        "low_shelf": ([a, a * r, a * a], [a, r, 1]),
        "high_shelf": ([a * a, a * r, a], [1, r, a]),
        "low_cut": ([1, 0, 0], [1, 1 / q, 1]),
        "high_cut": ([1], [1, 1 / q, 1]),
    }[kind]


def _analogue_power(kind, frequency, gain_db, q, hz):
    return np.abs(signal.freqs(*_analogue(kind, frequency, gain_db, q), np.asarray(hz) / frequency)[1]) ** 2


def _design_power(kind, frequency, gain_db, q, hz, rate):
    """Return the squared magnitude by Vicanek's own forms, B0 cos² + B1 sin² + 4 B2 sin² cos² over the same of A."""
    if gain_db < 0 and kind in ("peak", "low_shelf"):
        return 1 / _design_power(kind, frequency, -gain_db, q, hz, rate)
    if kind == "high_shelf":
        return 10 ** (gain_db / 10) * _design_power("low_shelf", frequency, -gain_db, q, hz, rate)
    frequency = min(frequency, 0.45 * rate)
    w0 = 2 * np.pi * frequency / rate
    poles = np.exp(w0 * np.roots(_analogue(kind, frequency, gain_db, q)[1]))
    a1, a2 = -poles.sum().real, poles.prod().real
    a = (1 + a1 + a2) ** 2, (1 - a1 + a2) ** 2, -4 * a2

    def form(c, w):
        sin2 = np.sin(w / 2) ** 2
        return c[0] * (1 - sin2) + c[1] * sin2 + 4 * c[2] * sin2 * (1 - sin2)

    middle, top = (_analogue_power(kind, frequency, gain_db, q, f) for f in (frequency, rate / 2))
    sin2 = np.sin(w0 / 2) ** 2
    cos2 = 1 - sin2
    if kind == "low_cut":
        return middle * form(a, w0) / sin2**2 * np.sin(np.pi * hz / rate) ** 4 / form(a, 2 * np.pi * hz / rate)
    if kind == "peak":  # level at w0: the paper's R1 and R2
        r1, r2 = form(a, w0) * middle, (a[1] - a[0] + 4 * (cos2 - sin2) * a[2]) * middle
        b2 = (r1 - r2 * sin2 - a[0]) / (4 * sin2**2)
        b = a[0], r2 + a[0] + 4 * (sin2 - cos2) * b2, b2
    else:
        b0, b1 = a[0] * 10 ** (gain_db / 10 if kind == "low_shelf" else 0), top * a[1]
        b = b0, b1, (middle * form(a, w0) - b0 * cos2 - b1 * sin2) / (4 * sin2 * cos2)
    return form(b, 2 * np.pi * hz / rate) / form(a, 2 * np.pi * hz / rate)


def _bins(rate):
    """Return 300 whole Hz from 20 Hz up, spaced like the ear hears."""
    return np.unique(np.geomspace(20, min(20_000, 0.45 * rate), 300).round().astype(int))


def _measured_power(chain, hz, rate):
    impulse = np.zeros(rate, np.float32)
    impulse[0] = 1
    return np.abs(np.fft.rfft(chain.render(impulse, sample_rate=rate).astype(float))[hz]) ** 2


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 88_200, 96_000, 192_000])
@pytest.mark.parametrize("kind", ["peak", "low_shelf", "high_shelf", "low_cut", "high_cut"])
def test_the_response_is_the_designs_within_a_twentieth_of_a_db(kind, rate):
    hz = _bins(rate)
    for frequency, gain, q in [(30, 24, 2), (100, -24, 0.3), (1000, 6, 0.1), (3000, -9, 20), (9000, 12, 0.7), (20_000, -18, 1)]:
        if kind in ("low_cut", "high_cut"):
            gain = 0
        measured = _measured_power(_eq(band3_type=kind, band3_frequency=frequency, band3_gain=gain, band3_q=q), hz, rate)
        expected = _design_power(kind, frequency, gain, q, hz, rate)
        heard = expected > 1e-9  # below -90 dB float32 ends
        np.testing.assert_allclose(_db(measured)[heard], _db(expected)[heard], atol=0.05, err_msg=f"{frequency} {gain} {q}")


@pytest.mark.parametrize(("gain", "tolerance_db"), [(6, 0.7), (-12, 1.1)])
@pytest.mark.parametrize("kind", ["peak", "low_shelf", "high_shelf"])
def test_it_keeps_the_analogue_shape_up_to_15_khz(kind, gain, tolerance_db):
    hz = _bins(RATE)
    for frequency in (200, 2000, 8000, 15_000):
        measured = _measured_power(_eq(band1_type=kind, band1_frequency=frequency, band1_gain=gain, band1_q=1), hz, RATE)
        analogue = _analogue_power(kind, frequency, gain, 1, hz)
        assert np.abs(_db(measured / analogue)).max() < tolerance_db, frequency


def test_six_bands_multiply():
    hz = _bins(RATE)
    bands = [
        ("low_cut", 80, 0, 0.7), ("low_shelf", 200, 4, 0.7), ("peak", 300, -6, 2), ("peak", 2500, 5, 1), ("peak", 6000, -4, 4),
        ("high_shelf", 10_000, 6, 0.6),
    ]  # fmt: skip
    names = ("type", "frequency", "gain", "q")
    settings = {f"band{k + 1}_{n}": v for k, band in enumerate(bands) for n, v in zip(names, band, strict=True)}
    expected = np.prod([_design_power(*band, hz, RATE) for band in bands], axis=0)
    np.testing.assert_allclose(_db(_measured_power(_eq(**settings), hz, RATE)), _db(expected), atol=0.05)


def test_boost_and_equal_cut_cancel():
    x = np.random.default_rng(1).uniform(-0.5, 0.5, RATE // 2).astype(np.float32)
    settings = {}
    for k, kind in ((1, "peak"), (3, "low_shelf"), (5, "high_shelf")):
        for band, gain in ((k, 15.0), (k + 1, -15.0)):
            settings |= {f"band{band}_type": kind, f"band{band}_gain": gain, f"band{band}_frequency": 1000.0 * k}
    np.testing.assert_allclose(_eq(**settings).render(x, sample_rate=RATE), x, atol=2e-6)


def test_bands_that_do_nothing_pass_every_bit():
    x = np.random.default_rng(2).uniform(-1, 1, (2, RATE // 4)).astype(np.float32)
    np.testing.assert_array_equal(Chain(["eq"]).render(x, sample_rate=RATE), x)
    alone = _eq(band1_type="peak", band1_gain=12.0, band1_frequency=1000.0).render(x, sample_rate=RATE)
    among = Chain([{"stage": "eq", "band1_type": "peak", "band1_gain": 12.0, "band1_frequency": 1000.0, "band3_q": 9.0}])
    np.testing.assert_array_equal(among.render(x, sample_rate=RATE), alone)


@pytest.mark.parametrize(
    ("name", "ends", "floor_db"),
    [("frequency", (150.0, 600.0), -95), ("gain", (-24.0, 24.0), -60), ("type", (1, 2), -58), ("q", (0.5, 12.0), -49)],
)
def test_a_band_that_moves_adds_no_zipper_noise(name, ends, floor_db):
    """A 200 Hz tone under a moving bell, heard above 4 kHz; a gain that glides by 48 dB in 20 ms alone leaves -54 dB there."""
    x = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32) * 0.25
    events = [Event(f, f"eq/band3_{name}", ends[k % 2]) for k, f in enumerate(range(4800, 40_000, 3501))]
    y = _eq(band3_frequency=200.0, band3_gain=12.0, band3_q=2.0).render(x, sample_rate=RATE, events=events)
    high = signal.sosfilt(signal.butter(8, 4000, "high", fs=RATE, output="sos"), y.astype(float))[2000:-2000]
    assert np.abs(high).max() < np.abs(y).max() * 10 ** (floor_db / 20)


def test_a_moved_band_sounds_as_one_that_was_always_there():
    x = np.random.default_rng(3).uniform(-0.5, 0.5, RATE).astype(np.float32)
    target = {"band4_frequency": 700.0, "band4_gain": -9.0, "band4_q": 3.0}
    y = _eq().render(x, sample_rate=RATE, events=[Event(1000, f"eq/{n}", v) for n, v in target.items()])
    np.testing.assert_allclose(y[RATE // 2 :], _eq(**target).render(x, sample_rate=RATE)[RATE // 2 :], atol=1e-6)


def test_wild_modulation_stays_bounded_and_dies_with_the_sound():
    random = np.random.default_rng(4)
    x = random.uniform(-1, 1, 2 * RATE).astype(np.float32)
    x[RATE:] = 0
    events = [Event(int(f), "eq/band3_frequency", float(random.choice([20.0, 300.0, 20_000.0]))) for f in range(0, RATE, 53)]
    events += [Event(int(f), "eq/band3_q", float(random.choice([0.1, 20.0]))) for f in range(0, RATE, 71)]
    y = _eq(band3_gain=12.0).render(x, sample_rate=RATE, events=events)
    assert np.abs(y[:RATE]).max() < 30
    assert np.abs(y[-RATE // 20 :]).max() < 1e-4
