"""From checkpoints to the file that ships: the mean of the run's mean, and nothing that only training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.models import export
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

NORMAL = {"normal.mean": np.ones(4, np.float32), "normal.std": np.full(4, 2.0, np.float32)}


def checkpoint(folder: Path, number: int, value: float, **more: Any) -> Path:
    """Write what a run saves, with one value in all weights of the mean and another in those of the moment."""
    path = folder / f"{number}.safetensors"
    tensors = {
        f"mean.{name}": np.full((2, 3), value, np.float32) for name in ("outputs.weight", "bands.weight", "phonemes.weight")
    }
    tensors |= {"model.outputs.weight": np.full((2, 3), 99.0, np.float32), **NORMAL, **more}
    save_file(tensors, path, {"number": str(number)})
    return path


def test_a_checkpoint_ships_its_mean_and_no_more(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    size = export.export([checkpoint(tmp_path, 7, 0.5)], out)
    found = load_file(out)
    assert size == out.stat().st_size and set(found) == {"outputs.weight", "bands.weight", *NORMAL}
    assert found["outputs.weight"].dtype == np.float16 and (found["outputs.weight"] == 0.5).all()
    assert all(np.array_equal(found[name], values) for name, values in NORMAL.items())
    with safe_open(out, "numpy") as file:
        assert file.metadata()["batches"] == "7"


def test_of_several_checkpoints_the_mean_ships(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    places = [str(checkpoint(tmp_path, number, value)) for number, value in ((7, 0.5), (9, 1.0))]
    done = CliRunner().invoke(export.main, [*places, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert (load_file(out)["outputs.weight"] == 0.75).all()
    with safe_open(out, "numpy") as file:
        assert file.metadata()["batches"] == "7 9"


def test_what_is_no_checkpoint_or_of_another_run_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    good = checkpoint(tmp_path, 7, 0.5)
    other = checkpoint(tmp_path, 8, 0.5, **{"normal.mean": np.zeros(4, np.float32)})
    deeper = checkpoint(tmp_path, 9, 0.5, **{"mean.more": np.zeros(1, np.float32)})
    save_file({"a": np.zeros(1, np.float32)}, foreign := tmp_path / "foreign.safetensors")
    for places, line in (
        ([foreign], "foreign.safetensors is no checkpoint of autovoice train"),
        ([good, other], "8.safetensors and .*7.safetensors are not of one run"),
        ([good, deeper], "9.safetensors and .*7.safetensors are not of one run"),
    ):
        with pytest.raises(ValueError, match=line):
            export.export(places, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7.safetensors", "8.safetensors", "9.safetensors", foreign.name]
