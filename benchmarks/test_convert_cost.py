"""What the converter costs on the audio thread, and what torch and ONNX Runtime take for its network alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import weights
from autovoice.dsp.converter.program import DECODER, ENCODER, INPUTS, KERNEL, LOOKAHEADS, SPEAKER
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.rt import Chain
from autovoice.tools.lab.bench.offline import BLOCK, RATE, Offline

PASSES = 7
SECONDS = 10
HOP_US = 10_000.0
HOPS = 300  # that torch and ONNX Runtime are timed over
MODES = tuple(LOOKAHEADS)
STAGES = ("highpass", "pitch", "convert")  # of a swap
SWAPS = 25
CACHE_BYTES = 8 << 20  # written before a swap, so that what is copied comes from memory


def test_convert_cost(voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """The converter in each mode, and knowing who sings: share of one core, and how even its 64-frame blocks are.

    The tracker's cost stands apart.
    """
    sound = voice[: SECONDS * RATE]
    chains: dict[str, list[Any]] = {"pitch": ["pitch"]} | {mode: [{"stage": "convert", "mode": mode}] for mode in MODES}
    moving = {"stage": "convert", "voice": 0, "other": 5, "morph": 0.5}
    chains["morph"] = [moving]
    chains["singer"] = [{"stage": "convert", "voice": 0, "singer": 5}]
    times: dict[str, list[np.ndarray]] = {name: [] for name in chains}
    for _ in range(PASSES):
        for name, specs in chains.items():
            times[name].append(Offline(specs, sound).time_blocks())
    us = {name: np.min(passes, axis=0) / 1e3 for name, passes in times.items()}
    period_us = 1e6 * BLOCK / RATE
    found: dict[str, float] = {}
    for name, each in us.items():
        p50, p99, p999 = np.percentile(each, [50, 99, 99.9])
        found |= {f"{name}_rtf": each.mean() / period_us, f"{name}_p50_us": p50, f"{name}_p99_us": p99, f"{name}_p999_us": p999}
        if name != "pitch":
            assert each.mean() / period_us < 0.25, name
            assert p999 < 3 * p50, name
    hop = RATE // 100
    cycle = np.lcm(hop, BLOCK) // BLOCK  # blocks after which hops and blocks meet again
    for name, label in (("balanced", "hop"), ("singer", "singer_hop")):
        whole = us[name][: len(us[name]) // cycle * cycle].reshape(-1, cycle).sum(1) * hop / (cycle * BLOCK)
        found |= {f"{label}_p50_us": float(np.median(whole)), f"{label}_p99_us": float(np.percentile(whole, 99))}
    report(found | {"hop_bar_us": 5000.0})


def stepper() -> Any:
    """Return the network as a torch module that takes one frame and its own past, from the weights that ship."""
    torch = pytest.importorskip("torch")
    from autovoice.models.network import Converter

    network = Converter()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.tensors().items() if "normal" not in k}, strict=False)

    class Step(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def block(self, block: Any, h: Any, past: Any, film: Any) -> tuple[Any, Any]:
            window = torch.cat([past, h.unsqueeze(2)], 2)
            dilation = block.reach // (KERNEL - 1)
            y = (window[:, :, ::dilation] * block.depthwise.weight[:, 0]).sum(2) + block.depthwise.bias
            y = y * torch.rsqrt(y.square().mean(1, keepdim=True) + 1e-3)
            if film is not None:
                y = y * (1 + film[:, :256]) + film[:, 256:]
            a, b = block.gate(y).chunk(2, 1)
            return h + block.out(a * torch.sigmoid(b)), window[:, :, 1:]

        def forward(self, x: Any, speaker: Any, pitch: Any, *pasts: Any) -> Any:
            n = self.network
            h = n.inputs(x) + n.lookahead.weight[1]
            kept = []
            film = n.film(torch.nn.functional.silu(n.speaker(speaker)))
            for k, one in enumerate([*n.encoder, *n.decoder]):
                if k == len(ENCODER):
                    h = h + n.pitch(pitch)
                own = film[:, 512 * (k - len(ENCODER)) : 512 * (k - len(ENCODER) + 1)] if k >= len(ENCODER) else None
                h, past = self.block(one, h, pasts[k], own)
                kept.append(past)
            return (n.outputs(h).clamp(-14.0, 2.0), *kept)

    return Step().eval()


def inputs() -> list[np.ndarray]:
    """Return one frame, a speaker, a pitch, and the past of every block."""
    random = np.random.default_rng(1)
    shapes = [(1, INPUTS), (1, SPEAKER), (1, 1), *((1, 256, (KERNEL - 1) * d) for d in ENCODER + DECODER)]
    return [random.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def cpu_us(step: Callable[[list[Any]], list[Any]], given: list[Any]) -> float:
    """Return the microseconds of processor time that a frame takes, its past fed back each time."""
    begin = time.thread_time()
    for _ in range(HOPS):
        out = step(given)
        given = [*given[:3], *out[1:]]
    return 1e6 * (time.thread_time() - begin) / HOPS


def cpu_of(specs: list[Any], sound: np.ndarray) -> float:
    """Return the microseconds of processor time that a chain takes for a hop, in 64-frame blocks."""
    chain = Offline(specs, sound)
    begin = time.thread_time()
    chain.run()
    return 1e6 * (time.thread_time() - begin) / (100 * chain.frames / RATE)


def test_inference_paths(tmp_path: Path, voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """One hop: the whole stage on the audio thread beside the network alone in torch and ONNX Runtime; processor time."""
    torch = pytest.importorskip("torch")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.set_num_threads(1)
    module, given = stepper(), inputs()
    tensors = [torch.from_numpy(one) for one in given]
    path = tmp_path / "step.onnx"
    sound = voice[: HOPS * RATE // 100]
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(module, tuple(tensors), check_trace=False))
        names = ["x", "speaker", "pitch", *(f"past_{k}" for k in range(len(given) - 3))]
        torch.onnx.export(module, tuple(tensors), str(path), input_names=names, dynamo=False)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        paths: dict[str, Callable[[], float]] = {
            "stage": lambda: cpu_of(["convert"], sound) - cpu_of(["pitch"], sound),
            "torch": lambda: cpu_us(lambda one: list(module(*one)), tensors),
            "torchscript": lambda: cpu_us(lambda one: list(traced(*one)), tensors),
            "onnxruntime": lambda: cpu_us(lambda one: session.run(None, dict(zip(names, one, strict=True))), given),
        }
        taken: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(PASSES):
            for name, once in paths.items():
                taken[name].append(once())
    least = {name: min(passes) for name, passes in taken.items()}
    figures = {f"{name}_hop_us": value for name, value in least.items()}
    figures |= {f"{name}_to_stage": value / least["stage"] for name, value in least.items() if name != "stage"}
    report(figures | {"stage_rtf": least["stage"] / HOP_US})


def swap_us(channels: int, sound: np.ndarray) -> dict[str, float]:
    """Return what the callback that adopts a chain takes, the caches cold; those that run both chains; those that run one."""
    from autovoice.rt import atomics
    from autovoice.rt.callback import RUN
    from autovoice.rt.memory import address_of
    from autovoice.rt.processor import Processor
    from autovoice.rt.swap import NEXT

    chain = Chain(STAGES)
    processor = Processor(chain, sample_rate=RATE, in_channels=channels, out_channels=channels, block=BLOCK)
    heard = np.ascontiguousarray(np.tile(sound[:RATE], (channels, 1)))
    given, given_back = np.zeros((2, channels, BLOCK), np.float32)
    pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
    pointers[:channels] = [address_of(row) for row in given]
    pointers[MAX_CHANNELS : MAX_CHANNELS + channels] = [address_of(row) for row in given_back]
    cold = np.zeros(CACHE_BYTES, np.uint8)

    def play(blocks: int) -> list[float]:
        took = []
        for k in range(blocks):
            given[:] = heard[:, k * BLOCK : (k + 1) * BLOCK]
            begin = time.perf_counter_ns()
            RUN.ctypes(processor.address, address_of(pointers), address_of(pointers[MAX_CHANNELS:]), BLOCK, 0)
            took.append((time.perf_counter_ns() - begin) / 1e3)
        return took

    adopting, both, one = [], [], []
    for _ in range(SWAPS):
        one += play(300)
        processor.publish(processor.image.present(), keep_state=True, follow=True, settle=0)
        cold += 1
        adopting += play(1)
        both += play(100)
        while atomics.load(processor.address + NEXT) != 0 or processor.engine["incoming"] != 0:
            play(10)
    processor.close()
    groups = {"adopting": adopting, "both": both, "one": one}
    return {
        f"{name}_{channels}_{what}_us": value
        for name, each in groups.items()
        for what, value in (("least", min(each)), ("p50", float(np.median(each))))
    }


def test_convert_swap(voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """A swap that keeps the converter's state: the callback that adopts the chain, in mono, stereo and eight channels."""
    found = {name: value for channels in (1, 2, 8) for name, value in swap_us(channels, voice).items()}
    report(found | {"period_us": 1e6 * BLOCK / RATE})
    assert found["adopting_2_least_us"] < 200.0
