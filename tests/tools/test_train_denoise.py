"""The training of `denoise`: what it feeds the network is what the stage feeds it, and what it writes the stage can read."""

import numpy as np
import pytest
import soundfile
from autovoice.dsp import suppressor
from autovoice.dsp.toolchain import numba
from autovoice.tools import train_denoise as training
from safetensors.numpy import load_file


@numba.njit(error_model="numpy")
def _features(states, power, out):
    for t in range(len(power)):
        for b in range(suppressor.BANDS):
            states[0].power[b] = power[t, b]
        suppressor.advance(states[0], 0, 1)
        out[t] = states[0].features


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    t = np.arange(24_000 * 3) / 24_000
    soundfile.write(folder / "buzz.wav", 0.1 * np.sign(np.sin(2 * np.pi * 120 * t)) * (np.sin(2 * np.pi * 2 * t) > 0), 24_000)
    return training.load_voices([folder], np.random.default_rng(0))


def test_a_batch_holds_the_features_of_its_own_mixtures(voices, monkeypatch):
    monkeypatch.setattr(training, "BATCH", 2)
    random = np.random.default_rng(1)
    features, energies = training.batch(random, voices, training.Noises(random, voices))
    mixture, product, voice = energies
    assert np.isfinite(features).all()
    assert np.all(product**2 <= mixture * voice * 1.001 + 1e-6)  # Cauchy and Schwarz
    state = np.zeros(1, suppressor.STATE)
    suppressor.plan(state, training.SIZE, training.RATE, training.WINDOW)
    power = mixture[0] * training.RMS**2
    expected = np.zeros_like(features[0])
    _features(state, power / state["scale"], expected)
    np.testing.assert_allclose(training.features(power[None])[0], expected, atol=1e-4)


def test_the_bands_are_those_of_the_stage():
    weights = training.band_weights()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    state = np.zeros(1, suppressor.STATE)
    suppressor.plan(state, training.SIZE, training.RATE, training.WINDOW)
    np.testing.assert_allclose(1 / (weights.sum(0) * np.square(training.WINDOW).sum()), state["scale"][0], rtol=1e-5)


def test_two_seconds_of_training_give_a_file_of_the_right_shapes(voices, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setattr(training, "BATCH", 2)
    training.write(tmp_path / "w", training.train(voices, 2 / 60, 0, print))
    made, shipped = load_file(tmp_path / "w"), load_file(suppressor.WEIGHTS_FILE)
    assert {name: t.shape for name, t in made.items()} == {name: t.shape for name, t in shipped.items()}
    assert all(np.isfinite(t).all() for t in made.values())


def test_a_folder_without_recordings_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", str(tmp_path / "out"), str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        training.main()
    assert f"no WAV file in {tmp_path}" in capsys.readouterr().err
