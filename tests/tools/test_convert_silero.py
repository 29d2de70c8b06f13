"""The shipped weights of Silero VAD are the package's own, bit for bit."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from autovoice.dsp.silero import WEIGHTS_FILE
from autovoice.tools import convert_silero
from safetensors.numpy import load_file


def test_the_shipped_weights_are_those_of_the_package() -> None:
    pytest.importorskip("onnx")
    if importlib.util.find_spec("silero_vad") is None:
        pytest.skip("silero-vad is not installed")
    theirs = convert_silero.read_onnx(convert_silero.package_folder() / convert_silero.ONNX_FILE)
    ours = load_file(WEIGHTS_FILE)
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_without_the_package_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps silero-vad"):
        convert_silero.package_folder()
