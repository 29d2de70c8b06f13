"""Models that a worker can run beside AutoVoice's own stages: ONNX, TorchScript, and any Python class.

A class is asked for two methods. Nothing else of it is used, and it need not import anything of AutoVoice:

    class Worker:
        def prepare(self, sample_rate: float, hop: int) -> int:
            ...  # load or reset everything; return the frames by which `process` delays (None = 0)

        def process(self, block: np.ndarray) -> np.ndarray:
            ...  # float32 (hop,) in, float32 (hop,) out

`prepare` is called again whenever the lane starts afresh, and must leave no trace of what was heard before. A
`process(block, bus)` is given, too, what analysis stages in front of the lane found: an array of `autovoice.dsp.bus.BUS`, one
for each 64 frames.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ONNX_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class PeerError(RuntimeError):
    """A model that cannot be run; the message is one line that says why."""


class Peer(Protocol):
    """What a worker can run."""

    def prepare(self, sample_rate: float, hop: int) -> int | None:
        """Start afresh; return the frames by which `process` delays."""

    def process(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return as many frames as came in, shape (hop,), float32."""


class OnnxPeer:
    """A model for onnxruntime: audio in, audio out, and as many states as it likes, each fed back from call to call.

    The first input of float32 takes the hop, (1, hop) or with more leading ones; the first output gives as many values. Every
    further float32 input begins as zeros and is then given the next output, in order. An int64 input is the sample rate. The
    model's metadata may say `latency` (frames) and `sample_rate` (Hz).
    """

    def __init__(self, path: str) -> None:
        """Load it; raises PeerError."""
        try:
            import onnxruntime as ort
        except ImportError:
            raise PeerError(f"{path} needs onnxruntime, which is not installed: pip install onnxruntime") from None
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise PeerError(f"{path} is not a model that onnxruntime can load: {_first_line(error)}") from None
        self._path = path
        self._about = self._session.get_modelmeta().custom_metadata_map
        self._inputs, self._outputs = self._session.get_inputs(), [one.name for one in self._session.get_outputs()]
        floats = [one for one in self._inputs if one.type == "tensor(float)"]
        strange = [one.type for one in self._inputs if one.type not in ONNX_TYPES]
        if not floats or strange or len(self._outputs) < len(floats):
            raise PeerError(f"{path} must take float32 audio first and give back audio and every state; see docs/lanes.md")
        self._audio, self._states = floats[0], floats[1:]

    def prepare(self, sample_rate: float, hop: int) -> int:
        """Zero all states."""
        wanted = float(self._about.get("sample_rate", sample_rate))
        if wanted != sample_rate:
            raise PeerError(wrong_rate(self._path, wanted, sample_rate))
        rank = max(len(self._audio.shape), 1)
        self._shape = (1,) * (rank - 1) + (hop,)
        self._feed: dict[str, Any] = {
            one.name: np.full([d if isinstance(d, int) else 1 for d in one.shape], round(sample_rate), np.int64)
            for one in self._inputs
            if one.type == "tensor(int64)"
        }
        for one in self._states:
            self._feed[one.name] = np.zeros([d if isinstance(d, int) else 1 for d in one.shape], np.float32)
        return int(self._about.get("latency", 0))

    def process(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Run the model once."""
        self._feed[self._audio.name] = block.reshape(self._shape)
        audio, *states = self._session.run(self._outputs, self._feed)
        for one, state in zip(self._states, states, strict=False):
            self._feed[one.name] = state
        return np.asarray(audio, np.float32).reshape(-1)


class TorchScriptPeer:
    """A TorchScript module: `forward` takes (1, hop) and gives as many values; its buffers may hold states.

    A `latency` attribute (frames) and a `sample_rate` one (Hz) are believed. It is loaded anew to start afresh.
    """

    def __init__(self, path: str) -> None:
        """Load it; raises PeerError."""
        try:
            import torch
        except ImportError:
            raise PeerError(f"{path} needs torch, which is not installed: pip install torch") from None
        torch.set_num_threads(1)
        self._torch, self._path = torch, path
        self._module = self._load()

    def _load(self) -> Any:
        try:
            return self._torch.jit.load(self._path, map_location="cpu").eval()
        except Exception as error:
            raise PeerError(f"{self._path} is not a TorchScript module: {_first_line(error)}") from None

    def prepare(self, sample_rate: float, hop: int) -> int:
        """Load the module again, as its buffers are its memory."""
        self._module = self._load()
        wanted = float(getattr(self._module, "sample_rate", sample_rate))
        if wanted != sample_rate:
            raise PeerError(wrong_rate(self._path, wanted, sample_rate))
        return int(getattr(self._module, "latency", 0))

    def process(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Run the module once."""
        with self._torch.inference_mode():
            out = self._module(self._torch.from_numpy(block.copy())[None])
        return np.asarray(out, np.float32).reshape(-1)


def python_peer(text: str) -> Peer:
    """Return an object of `package.module:Class` or `file.py:Class`; raises PeerError."""
    where, _, name = text.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"autovoice_lane_{Path(where).stem}", where)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except ImportError as error:
        raise PeerError(f"{text} cannot be imported: {_first_line(error)}") from None
    except Exception as error:
        raise PeerError(f"{where}: {type(error).__name__}: {_first_line(error)}") from None
    made = getattr(module, name, None)
    if made is None:
        raise PeerError(f"{where} has nothing called {name}")
    peer = made() if isinstance(made, type) else made
    for method in ("prepare", "process"):
        if not callable(getattr(peer, method, None)):
            raise PeerError(f"{text} has no {method}(); a worker has prepare(sample_rate, hop) and process(block)")
    return peer  # type: ignore[no-any-return]


PEERS: dict[str, Callable[[str], Peer]] = {"onnx": OnnxPeer, "torchscript": TorchScriptPeer, "python": python_peer}
"""By a plan's kind, what loads it."""


def open_peer(kind: str, text: str) -> Peer:
    """Load a model; raises PeerError with one line."""
    if kind != "python" and not Path(text).is_file():
        raise PeerError(f"no model file at {text}")
    return PEERS[kind](text)


def wrong_rate(path: str, wanted: float, sample_rate: float) -> str:
    """Say that a model is made for another rate."""
    return f"{path} works at {wanted:g} Hz and the engine at {sample_rate:g}; resample in a Python worker"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
