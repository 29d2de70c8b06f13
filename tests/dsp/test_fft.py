"""FFT: the bins of the definition, the round trip, any interleaving of steps with other work."""

import numpy as np
import pytest
from autovoice.dsp import fft
from autovoice.dsp.toolchain import numba

SIZES = [1 << k for k in range(7, 14)]


@numba.njit(error_model="numpy")
def _step(states, way, step):
    if way > 0:
        fft.forward(states[0], step)
    else:
        fft.inverse(states[0], step)


class _Transform:
    """One transform with its memory: `signal`, `re` and `im` are views of it."""

    def __init__(self, size):
        self.state = np.zeros(1, fft.STATE)
        self.memory = np.zeros(fft.values(size), np.float32)
        fft.plan(self.state, size, self.memory.ctypes.data)
        views = _views(self.state)
        self.signal, self.re, self.im = views[0], *views[1]

    def run(self, way):
        for step in range(self.state["steps"][0]):
            _step(self.state, way, step)

    def spectrum(self):
        return self.re + 1j * self.im


@numba.njit(error_model="numpy")
def _views(states):
    return fft.signal(states[0]), fft.bins(states[0])


@pytest.mark.parametrize("size", SIZES)
def test_noise_has_the_bins_of_the_definition(size):
    transform = _Transform(size)
    x = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    transform.signal[:] = x
    transform.run(1)
    expected = np.fft.rfft(x.astype(np.float64))
    assert np.abs(transform.spectrum() - expected).max() < 3e-7 * np.abs(expected).max()


@pytest.mark.parametrize("size", SIZES)
def test_every_bin_goes_back_to_its_own_cosine_and_sine(size):
    transform = _Transform(size)
    t = np.arange(size)
    for k in (0, 1, 2, size // 8 + 1, size // 4, size // 2 - 1, size // 2):
        for part, wave in ((transform.re, np.cos), (transform.im, lambda a: -np.sin(a))):
            transform.re[:], transform.im[:] = 0, 0
            part[k] = size / 2
            transform.run(-1)
            end = k in (0, size // 2)
            expected = (0.5 if end else 1.0) * wave(2 * np.pi * k * t / size) * (not (end and part is transform.im))
            assert np.abs(transform.signal - expected).max() < 2e-6, k


@pytest.mark.parametrize("size", SIZES)
def test_the_round_trip_gives_the_signal_back(size):
    transform = _Transform(size)
    x = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    transform.signal[:] = x
    transform.run(1)
    transform.signal[:] = 0
    transform.run(-1)
    assert np.abs(transform.signal - x).max() < 2e-6


def test_silence_has_no_spectrum_and_an_impulse_a_flat_one():
    transform = _Transform(512)
    transform.run(1)
    assert np.all(transform.spectrum() == 0)
    transform.signal[0] = 1
    transform.run(1)
    np.testing.assert_allclose(transform.spectrum(), 1, atol=1e-6)


@pytest.mark.parametrize("size", [64, 1000, 16384])
def test_a_size_it_cannot_do_is_refused_with_the_range(size):
    with pytest.raises(ValueError, match=rf"128\.\.8192, got {size}"):
        fft.values(size)
    with pytest.raises(ValueError, match=rf"128\.\.8192, got {size}"):
        fft.plan(np.zeros(1, fft.STATE), size, 0)
