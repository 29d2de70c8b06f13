"""Contrast given back: distributions agree afterwards, level stays, and the last layer does it by itself."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.dsp.converter import features
from autovoice.dsp.converter.features import HARMONIC, NOISE
from autovoice.models import contrast

BANDS, FRAMES = 12, 20_000


def shapes(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(1, keepdims=True)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """What was wanted, and the flatter curves that a regression draws of it."""
    random = np.random.default_rng(1)
    wanted = random.normal(0, 1, (FRAMES, BANDS)) @ random.normal(0, 0.5, (BANDS, BANDS)) + np.linspace(0, -3, BANDS)
    mean = wanted.mean(0)
    made = mean + (wanted - mean) @ np.diag(np.linspace(0.4, 0.9, BANDS)) + random.normal(0, 0.05, wanted.shape)
    return made, wanted


def test_what_was_drawn_gets_the_spread_of_what_was_wanted(pair: tuple[np.ndarray, np.ndarray]) -> None:
    made, wanted = pair
    matrix, mean = contrast.transport(made, wanted)
    drawn = shapes(made)
    moved = drawn + (drawn - mean) @ (matrix - np.eye(BANDS)).T
    before, after = (np.cov(rows.T) - np.cov(shapes(wanted).T) for rows in (drawn, moved))
    assert np.abs(after).max() < 0.03 * np.abs(before).max()
    assert matrix == pytest.approx(matrix.T)  # the transport of least effort is symmetric
    assert moved.mean(0) == pytest.approx(drawn.mean(0))


def test_strength_runs_from_nothing_past_what_was_wanted(pair: tuple[np.ndarray, np.ndarray]) -> None:
    traces = [np.trace(contrast.transport(*pair, strength)[0]) for strength in (0.0, 0.5, 1.0, 1.3)]
    assert traces[0] == pytest.approx(BANDS)
    assert traces == sorted(traces)


def test_the_last_layer_does_what_the_transport_does() -> None:
    random = np.random.default_rng(2)
    centres = np.linspace(features.mel(40.0), features.mel(12_000.0), 82)[1:-1]
    weight, bias = random.normal(0, 0.1, (HARMONIC + NOISE, 16)), random.normal(-6, 1, HARMONIC + NOISE)
    mean = random.normal(0, 1, 80)
    same = contrast.folded(weight, bias, np.eye(80), mean, centres)
    assert same[0] == pytest.approx(weight, abs=1e-6) and same[1] == pytest.approx(bias, abs=1e-5)
    doubled = contrast.folded(weight, bias, 2 * np.eye(80), np.zeros(80), centres)
    hidden = random.normal(0, 1, (5, 16))
    before, after = (hidden @ w.T + b for w, b in ((weight, bias), doubled))
    for rows in (slice(0, HARMONIC), slice(HARMONIC, None)):
        assert after[:, rows].mean() == pytest.approx(before[:, rows].mean(), abs=0.1)  # level stays
    wide, wanted = shapes(after[:, 5:75]), 2 * shapes(before[:, 5:75])
    assert np.corrcoef(wide.ravel(), wanted.ravel())[0, 1] > 0.9  # but for what going from bands to rows smooths


def test_quiet_frames_do_not_count() -> None:
    made, wanted = np.full((3, 80), -5.0), np.full((3, 80), -5.0)
    made[1], wanted[2] = -9.0, -9.0
    assert contrast.loud(made, wanted).tolist() == [True, False, False]
