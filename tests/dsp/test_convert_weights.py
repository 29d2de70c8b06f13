"""Weights of another file than the one that ships, for benches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from autovoice.dsp.converter import weights
from safetensors.numpy import load_file, save_file


@pytest.fixture(autouse=True)
def _unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No weights have been read yet; afterwards those that ship are read again."""
    monkeypatch.setattr(weights, "_chosen", [weights.WEIGHTS_FILE])
    weights.tensors.cache_clear()
    yield
    weights.tensors.cache_clear()


def test_weights_of_another_file_stand_for_those_that_ship(tmp_path: Path) -> None:
    shipped = load_file(weights.WEIGHTS_FILE)
    save_file({name: 2 * values for name, values in shipped.items()}, tmp_path / "mine.safetensors")
    weights.use(tmp_path / "mine.safetensors")
    found = weights.tensors()
    assert found.keys() == shipped.keys()
    assert all(np.array_equal(found[name], (2 * values).astype(np.float32)) for name, values in shipped.items())
    with pytest.raises(
        ValueError, match=r"convert\.safetensors comes too late: a converter with .*mine\.safetensors is laid out"
    ):
        weights.use(weights.WEIGHTS_FILE)


def test_a_file_that_holds_none_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    other, broken = tmp_path / "other.safetensors", tmp_path / "broken.safetensors"
    save_file({"inputs.weight": np.zeros((4, 4), np.float32)}, other)
    broken.write_bytes(b"no weights at all")
    tracts = load_file(weights.WEIGHTS_FILE) | {"tract.weight": np.zeros(4, np.float32)}
    save_file(tracts, foreign := tmp_path / "foreign.safetensors")
    none = "holds no weights of this converter: export them"
    for path, line in ((other, none), (foreign, none), (broken, "is no file of weights")):
        with pytest.raises(ValueError, match=rf"{path.name} {line}"):
            weights.use(path)
    assert np.array_equal(weights.tensors()["inputs.bias"], load_file(weights.WEIGHTS_FILE)["inputs.bias"].astype(np.float32))
