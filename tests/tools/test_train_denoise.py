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


@pytest.fixture(scope="module")
def noises(voices):
    return training.Noises(np.random.default_rng(0), voices)


def test_a_batch_holds_the_features_of_its_own_mixtures(voices, noises, monkeypatch):
    monkeypatch.setattr(training, "BATCH", 2)
    random = np.random.default_rng(1)
    features, energies = training.batch(random, voices, noises)
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


@pytest.fixture
def brief(monkeypatch, noises):
    """Training on so little that it takes a second."""
    pytest.importorskip("torch")
    for name, value in (("BATCH", 1), ("STEPS", 256), ("SAVE_EVERY", 1), ("Noises", lambda *_: noises)):
        monkeypatch.setattr(training, name, value)


def test_training_gives_the_same_file_again_and_after_a_break(voices, brief, tmp_path):
    for name in ("once", "again"):
        training.write(tmp_path / name, training.train(voices, 4, 0, print))
    kept = tmp_path / "kept"
    training.train(voices, 4, 0, print, kept, stop=2)
    training.write(tmp_path / "broken", training.train(voices, 4, 0, print, kept))
    files = [(tmp_path / name).read_bytes() for name in ("once", "again", "broken")]
    assert files[0] == files[1] == files[2]
    made, shipped = load_file(tmp_path / "once"), load_file(suppressor.WEIGHTS_FILE)
    assert {name: t.shape for name, t in made.items()} == {name: t.shape for name, t in shipped.items()}
    assert all(np.isfinite(t).all() for t in made.values())


def test_another_seed_gives_other_weights(voices, brief):
    first, second = (training.train(voices, 1, seed, print) for seed in (0, 1))
    assert not np.array_equal(first["inp.weight"], second["inp.weight"])


def test_the_rate_of_learning_rises_holds_and_falls(monkeypatch):
    rates = [training.rate_of_learning(number, 1000) for number in range(1000)]
    assert rates[0] < rates[20] < rates[training.WARM_UP] == rates[999 - training.DECAY] == training.RATE_OF_LEARNING
    assert np.all(np.diff(rates[1000 - training.DECAY :]) <= 0)
    assert rates[-1] == training.LEAST_RATE


@pytest.mark.parametrize("kind", training.KINDS)
def test_noises_are_finite_and_have_a_level(noises, kind, monkeypatch):
    monkeypatch.setattr(training, "KINDS", {kind: 1.0})
    for number in range(3):
        made = noises.make(np.random.default_rng(number))
        assert made.shape == (training.STEPS, training.BINS)
        power = np.square(np.abs(made)).sum(1).mean() / np.square(training.WINDOW).sum() / (training.SIZE / 2)
        assert 0.03 * training.RMS**2 < power < 30 * training.RMS**2


def test_a_folder_without_recordings_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", str(tmp_path / "out"), str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        training.main()
    assert f"no WAV file in {tmp_path}" in capsys.readouterr().err
