"""Models as a worker hosts them, within this process: what they are given, and what becomes of what they say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.rt.lane.host import Lane
from autovoice.rt.lane.peer_worker import PeerWorker
from autovoice.rt.lane.peers import OnnxPeer, PeerError, TorchScriptPeer, open_peer
from support import Audio, Crank

HOP = 480  # frames


class Session:
    """What onnxruntime would give: a running sum of the hops' first values, and the rate it was told."""

    metadata: ClassVar[dict[str, str]] = {}

    def __init__(self, path: str, *_: object, **__: object) -> None:
        if not path.endswith("good.onnx"):
            raise RuntimeError("Protobuf parsing failed\nat some line")

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map=self.metadata)

    def get_inputs(self) -> list[Any]:
        rows = ("audio", [1, 1, "hop"], "tensor(float)"), ("sr", [], "tensor(int64)"), ("sum", [1, 2], "tensor(float)")
        return [SimpleNamespace(name=name, shape=shape, type=kind) for name, shape, kind in rows]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="heard"), SimpleNamespace(name="after")]

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        assert names == ["heard", "after"]
        assert feed["audio"].shape == (1, 1, HOP)
        assert (feed["sr"].dtype, int(feed["sr"])) == (np.int64, 48_000)
        after = feed["sum"] + feed["audio"][0, 0, 0]
        return [np.full((1, 1, HOP), after[0, 0], np.float32), after]


@pytest.fixture
def onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Put a stand-in for onnxruntime in place; the path of a model for it."""
    runtime = SimpleNamespace(InferenceSession=Session, SessionOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    (tmp_path / "good.onnx").touch()
    return str(tmp_path / "good.onnx")


def test_states_of_an_onnx_model_are_fed_back_and_begin_anew_with_prepare(onnx: str) -> None:
    peer = OnnxPeer(onnx)
    for _ in range(2):
        assert peer.prepare(48_000, HOP) == 0
        assert [float(peer.process(np.full(HOP, v, np.float32))[-1]) for v in (1, 2, 3)] == [1, 3, 6]


def test_a_model_says_what_it_delays_and_is_refused_at_another_rate(onnx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "metadata", {"latency": "70", "sample_rate": "48000"})
    assert OnnxPeer(onnx).prepare(48_000, HOP) == 70
    with pytest.raises(PeerError, match="works at 48000 Hz and the engine at 44100"):
        OnnxPeer(onnx).prepare(44_100, HOP)


def test_what_is_no_model_is_refused_in_one_line(onnx: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.touch()
    with pytest.raises(PeerError, match=r"bad.onnx is not a model that onnxruntime can load: Protobuf parsing failed$"):
        open_peer("onnx", str(bad))
    with pytest.raises(PeerError, match=r"no model file at /nowhere\.onnx"):
        open_peer("onnx", "/nowhere.onnx")
    for source, word in (
        ("import nothing_of_that_name", "cannot be imported"),
        ("1 / 0", "ZeroDivisionError"),
        ("A = 3", "no prepare"),
    ):
        path = tmp_path / "own.py"
        path.write_text(source, encoding="utf-8")
        with pytest.raises(PeerError, match=word) as refused:
            open_peer("python", f"{path}:A")
        assert "\n" not in str(refused.value)


def test_a_torchscript_module_is_loaded_anew_to_begin_anew(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Sum(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sum", torch.zeros(1))

        def forward(self, x):  # type: ignore[no-untyped-def]
            self.sum += x[0, 0]
            return 0.0 * x + self.sum

    torch.jit.script(Sum()).save(str(tmp_path / "sum.pt"))
    peer = TorchScriptPeer(str(tmp_path / "sum.pt"))
    for _ in range(2):
        peer.prepare(48_000, HOP)
        assert [float(peer.process(np.full(HOP, v, np.float32))[-1]) for v in (1, 2, 3)] == [1, 3, 6]


class Says:
    """A model that says what it is told to, and remembers what it heard."""

    def __init__(self, words: Callable[[Audio], Audio], delay: int = 0) -> None:
        self.words, self.delay = words, delay
        self.heard: list[Audio] = []

    def prepare(self, sample_rate: float, hop: int) -> int:
        self.heard.clear()
        return self.delay

    def process(self, block: Audio) -> Audio:
        self.heard.append(block.copy())
        return self.words(block)


def served(monkeypatch: pytest.MonkeyPatch, peer: Says, *, delay: int = 0) -> tuple[PeerWorker, Lane, Audio]:
    """Let a lane of two channels take two hops of noise, and a worker in this process work on the first."""
    monkeypatch.setattr(Lane, "start", lambda self, live: None)
    monkeypatch.setattr(Lane, "await_ready", lambda self: None)
    crank = Crank(Chain([{"lane": "test_nothing:Worker", "delay": delay}]), ins=2)
    lane = crank.processor.image.lanes["lane"]
    lane.record["waits"] = 0
    sound = np.random.default_rng(1).standard_normal((2, 2 * HOP)).astype(np.float32)
    crank.run(sound)
    worker = PeerWorker(lane._arena._map, 0, peer)
    worker.prepare()
    assert peer.heard == []
    worker._work(0)
    return worker, lane, sound


def test_a_model_hears_the_mean_of_the_channels_and_all_of_them_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Says(lambda block: block)
    worker, _, sound = served(monkeypatch, peer)
    mean = sound[:, :HOP].mean(axis=0, dtype=np.float32)
    assert np.array_equal(peer.heard[0], mean)
    assert all(np.array_equal(row[:HOP], mean) for row in worker._output)


def test_what_is_no_number_or_denormal_becomes_silence_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def words(block: Audio) -> Audio:
        said = block.copy()
        said[:5] = np.nan, np.inf, -np.inf, 1e-40, 1e6
        return said

    worker, lane, _ = served(monkeypatch, Says(words))
    assert worker._output[0, :5].tolist() == [0, 0, 0, 0, 1024]
    assert int(lane.record["seat"][0]["nonfinite"]) == 3


def test_a_model_that_delays_less_than_declared_is_held_back_and_one_that_gives_another_length_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, _, sound = served(monkeypatch, Says(lambda block: block, delay=30), delay=100)
    mean = sound[:, :HOP].mean(axis=0, dtype=np.float32)
    assert np.array_equal(worker._output[0, 70 : HOP + 70], mean)
    with pytest.raises(PeerError, match=r"was given 480 frames and gave back an array of shape \(479,\)"):
        served(monkeypatch, Says(lambda block: block[:-1]))
