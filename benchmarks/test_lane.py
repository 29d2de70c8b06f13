"""Lanes: what a kill costs, how soon another worker is there, how fast one wakes, how many hops come late on a hogged machine.

What is heard is told apart by its level: a stage plays a constant, the worker halves it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.models.manager import ModelManager
from autovoice.rt import Chain, Engine
from autovoice.rt.lane.host import SOUND_S
from autovoice.rt.lane.layout import SEATS
from autovoice.rt.telemetry import LaneStats, percentiles
from autovoice.tools.lab.bench import hogs
from autovoice.tools.lab.bench.rig import pick_backend, voice
from autovoice.tools.lab.bench.timer import HostTimer
from autovoice.tools.private_jack import PrivateJack

Report = Callable[[Any], None]
BACKENDS = ["null", pytest.param("jack", marks=pytest.mark.skipif(pick_backend("auto") != "jack", reason="no jackd"))]
RATE, BLOCK = 48_000, 64
LEVEL, HALF = 0.25, 0.5
KILLS, STOPS, STARTS = 6, 3, 3
HOGGED_S, LONG_S = 30.0, 600.0
DRY_MS, BACK_S, LATE_SHARE = 5.0, 2.0, 0.001  # the bars

CONSTANT = '''
"""Play a constant."""
import numpy as np
LEVEL = np.float32({level})


def process(s, p, x, block):
    for c in range(block.channels):
        for i in range(block.frames):
            x[c, i] = LEVEL
'''
HALVE = '''
"""Halves what it hears."""


class Half:
    def prepare(self, sample_rate, hop):
        return 0

    def process(self, block):
        return 0.5 * block
'''
GAIN_DB = 20 * np.log10(HALF)


@pytest.fixture
def constant(tmp_path: Path) -> str:
    """Return the file of the stage that plays a constant."""
    path = tmp_path / "constant.py"
    path.write_text(CONSTANT.format(level=LEVEL), encoding="utf-8")
    return str(path)


@contextlib.contextmanager
def playing(chain: Chain, backend: str, **settings: Any) -> Iterator[Engine]:
    """Play a chain at 64 frames, on a JACK server of its own where that is asked for, once every lane has its second worker."""
    with contextlib.ExitStack() as stack:
        if backend == "jack":
            settings["server"] = stack.enter_context(PrivateJack(f"autovoice-lane-{os.getpid()}")).name
            settings["auto_connect"] = False
        else:
            settings |= {"block": BLOCK, "sample_rate": RATE}
        engine = stack.enter_context(Engine(chain, backend=backend, **settings))
        until(lambda: not engine.processor.rack.standby_missing())
        yield engine


def until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait, and return how long it took in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came"
        time.sleep(0.002)
    return time.monotonic() - began


def lane(engine: Engine) -> LaneStats:
    """Read the lane's line of telemetry."""
    return engine.processor.telemetry.lanes()["lane"]


def gaps(heard: np.ndarray[Any, Any]) -> list[dict[str, float]]:
    """Return each stretch in which the worker was not wholly heard: how soon it was dry, how long until it was wet again."""
    wet, dry = np.abs(heard - LEVEL * HALF) < 1e-4, np.abs(heard - LEVEL) < 1e-4
    begins = np.flatnonzero(wet[:-1] & ~wet[1:]) + 1
    found = []
    for begin in begins:
        still = np.flatnonzero(dry[begin:])
        back = np.flatnonzero(wet[begin:])
        if len(still) and len(back):
            found.append({"fade_ms": still[0] / RATE * 1e3, "back_s": back[0] / RATE})
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_lane_kill(backend: str, constant: str, report: Report, tmp_path: Path) -> None:
    """Kill -9, and SIGSTOP, on the worker in mid-song: blocks missed, time to the dry sound, time until one is heard again."""
    chain = Chain([constant, {"lane": [{"stage": "gain", "gain": GAIN_DB}]}])
    found: dict[str, Any] = {}
    for what, how, times in (("kill", signal.SIGKILL, KILLS), ("stop", signal.SIGSTOP, STOPS)):
        with playing(chain, backend) as engine, HostTimer() as timer:
            before = engine.stats()
            time.sleep(3.0)
            quiet = engine.stats()
            engine.record(tmp_path / f"{what}.wav")
            taken = []
            for _ in range(times):
                time.sleep(SOUND_S + 0.5)  # else it would be the end of a worker that keeps ending
                until(lambda: not engine.processor.rack.standby_missing() and lane(engine).state == "playing")
                pid = lane(engine).pid
                os.kill(pid, how)
                taken.append(until(lambda: lane(engine).pid not in (0, pid)))  # noqa: B023
            time.sleep(2.0)
            engine.stop_recording()
            after = engine.stats()
            stood = [one.late_us for one in timer.late() if one.late_us > BLOCK / RATE * 1e6 / 2]
        heard = soundfile.read(tmp_path / f"{what}.wav", dtype="float32")[0]
        runs = gaps(heard[RATE // 2 :])
        found[what] = {
            "times_count": times,
            "gaps_count": len(runs),
            "fade_worst_ms": max(one["fade_ms"] for one in runs),
            "back_median_s": float(np.median([one["back_s"] for one in runs])),
            "back_worst_s": max(one["back_s"] for one in runs),
            "takeover_median_s": float(np.median(taken)),
            "misses": after.misses - quiet.misses,
            "xruns": after.xruns - quiet.xruns,
            "late_wakes": after.late_wakes - quiet.late_wakes,
            "misses_before_in_3_s": quiet.misses - before.misses,
            "xruns_before_in_3_s": quiet.xruns - before.xruns,
            "host_standstills_count": len(stood),
            "callback_max_us": after.callback_us.max,
        }
    report(found)
    for one in found.values():
        assert one["gaps_count"] >= one["times_count"]
        assert one["fade_worst_ms"] <= DRY_MS
        assert one["back_worst_s"] <= BACK_S
        assert one["misses"] <= one["host_standstills_count"]


@pytest.mark.parametrize("what", ["a stage", "a Python class", "an ONNX model", "a TorchScript module"])
def test_lane_start(what: str, constant: str, report: Report, tmp_path: Path) -> None:
    """From a kill until a worker is heard again, with a second one standing by and without, by what it runs; its memory."""
    runs = runs_of(tmp_path)
    if what not in runs:
        pytest.skip("its library is not installed")
    found: dict[str, Any] = {}
    for standby in ("on", "off"):
        chain = Chain([constant, {"lane": runs[what], "standby": standby}])
        with playing(chain, "null") as engine:
            seconds = []
            resident = sum(resident_mb(pid) for pid in (lane(engine).pid, lane(engine).standby_pid) if pid)
            for _ in range(STARTS):
                time.sleep(SOUND_S + 0.5)
                until(lambda: not engine.processor.rack.standby_missing())
                pid, dry = lane(engine).pid, int(lane(engine).dry_frames)
                os.kill(pid, signal.SIGKILL)
                began = time.monotonic()
                until(lambda: lane(engine).pid not in (0, pid))  # noqa: B023
                until(lambda: rests(engine, dry))  # noqa: B023
                seconds.append(time.monotonic() - began - REST_S)
        found["second worker" if standby == "on" else "one worker"] = {
            "back_median_s": float(np.median(seconds)),
            "back_worst_s": max(seconds),
            "resident_mb": resident,
        }
    report(found)
    assert found["second worker"]["back_worst_s"] <= BACK_S


SWAPS = 5


@pytest.mark.parametrize("what", ["a stage", "a Python class", "an ONNX model", "a TorchScript module"])
def test_lane_swap(what: str, constant: str, report: Report, tmp_path: Path) -> None:
    """From the command to swap until it is done, to a chain whose model rests in memory and to one whose model does not."""
    runs = runs_of(tmp_path)
    if what not in runs:
        pytest.skip("its library is not installed")
    found: dict[str, Any] = {}
    for name, ttl_s in (("resident", 600.0), ("loaded anew", 0.0)):
        manager = ModelManager(ttl_s=ttl_s)
        chains = Chain([constant, {"lane": runs[what], "standby": "off"}]), Chain([constant, "gain"])
        taken, away = [], []
        with playing(chains[0], "null", workers=manager) as engine, HostTimer() as timer:
            before = engine.stats()
            for _ in range(SWAPS):
                away.append(seconds_of(lambda: engine.swap(chains[1])))  # noqa: B023
                time.sleep(REST_S)
                resident = sum(one.bytes for one in manager.resident()) / 2**20
                taken.append(seconds_of(lambda: engine.swap(chains[0])))  # noqa: B023
                time.sleep(1.0)
            after = engine.stats()
            stood = [one.late_us for one in timer.late() if one.late_us > BLOCK / RATE * 1e6 / 2]
        assert manager.resident() == []
        found[name] = {
            "swap_median_s": float(np.median(taken)),
            "swap_worst_s": max(taken),
            "away_median_s": float(np.median(away)),
            "resident_meanwhile_mb": resident,
            "lane_misses": after.lane_misses - before.lane_misses,
            "callback_misses": after.misses - before.misses,
            "host_standstills_count": len(stood),
        }
    report(found)
    assert found["resident"]["swap_median_s"] < found["loaded anew"]["swap_median_s"]


def seconds_of(do: Callable[[], None]) -> float:
    """Return how long something takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


REST_S = 0.1


def rests(engine: Engine, dry: int) -> bool:
    """Whether the dry sound was heard, and no more of it within REST_S."""
    before = lane(engine).dry_frames
    time.sleep(REST_S)
    return before > dry and lane(engine).dry_frames == before


def resident_mb(pid: int) -> float:
    """Return a process's proportional share of memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def runs_of(folder: Path) -> dict[str, Any]:
    """Return what a lane can run that halves: a stage, a Python class, and the models that can be made here."""
    worker = folder / "half.py"
    worker.write_text(HALVE, encoding="utf-8")
    found: dict[str, Any] = {"a stage": [{"stage": "gain", "gain": GAIN_DB}], "a Python class": f"{worker}:Half"}
    with contextlib.suppress(ImportError):
        found["an ONNX model"] = onnx_model(folder / "half.onnx")
    with contextlib.suppress(ImportError):
        found["a TorchScript module"] = torchscript_module(folder / "half.pt")
    return found


def onnx_model(path: Path, taps: int = 65, layers: int = 8, width: int = 32) -> str:
    """Write a streaming model: causal convolutions that are zero, beside a path that halves; a state of the newest frames."""
    import onnx
    import onnxruntime  # noqa: F401
    from onnx import TensorProto, helper, numpy_helper

    def tensor(name: str, shape: tuple[int, ...], value: float) -> Any:
        return numpy_helper.from_array(np.full(shape, value, np.float32), name)

    nodes = [
        helper.make_node("Unsqueeze", ["audio", "axis"], ["wide"]),
        helper.make_node("Concat", ["state", "wide"], ["h0"], axis=2),
    ]
    weights = [numpy_helper.from_array(np.array([1], np.int64), "axis"), tensor("half", (1,), HALF)]
    inside = 1
    for k in range(layers):
        weights.append(tensor(f"w{k}", (width, inside, 3), 0.0))
        nodes.append(helper.make_node("Conv", [f"h{k}", f"w{k}"], [f"c{k}"], kernel_shape=[3], pads=[2, 0]))
        nodes.append(helper.make_node("Tanh", [f"c{k}"], [f"h{k + 1}"]))
        inside = width
    weights.append(tensor("out", (1, width, 1), 0.0))
    nodes += [
        helper.make_node("Conv", [f"h{layers}", "out"], ["long"], kernel_shape=[1]),
        helper.make_node("Slice", ["long", "from", "to", "last"], ["added"]),
        helper.make_node("Squeeze", ["added", "axis"], ["flat"]),
        helper.make_node("Mul", ["audio", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "flat"], ["heard"]),
        helper.make_node("Slice", ["h0", "tail", "to", "last"], ["next"]),
    ]
    weights += [
        numpy_helper.from_array(np.array([v], np.int64), n)
        for n, v in (("from", taps), ("to", 1 << 30), ("last", 2), ("tail", -taps))
    ]
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "hop"])
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 1, taps])
    heard = helper.make_tensor_value_info("heard", TensorProto.FLOAT, [1, "hop"])
    after = helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 1, taps])
    graph = helper.make_graph(nodes, "half", [audio, state], [heard, after], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)


def torchscript_module(path: Path) -> str:
    """Write a module that halves."""
    import torch

    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 * x

    torch.jit.script(Half()).save(str(path))
    return str(path)


def times_of(engine: Engine) -> dict[str, float]:
    """Return how long workers took to wake, and to answer, from the histograms of the lane's seats."""
    seats = engine.processor.image.lanes["lane"].record["seat"]
    found = {}
    for name in ("wake_ns", "work_ns"):
        times = percentiles(np.array(sum(seats[k][name].astype(np.int64) for k in range(SEATS))))
        short = name.removesuffix("_ns")
        found |= {
            f"{short}_p50_us": times.p50,
            f"{short}_p99_us": times.p99,
            f"{short}_p999_us": times.p999,
            f"{short}_max_us": times.max,
        }
    return found


def hogged(chain: Chain, backend: str, seconds: float, *, hog: bool) -> dict[str, float]:
    """Play a voice for a while, with every core hogged or not, and count."""
    sound: Any = {"options": {"source": voice(RATE)}} if backend == "null" else {}
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(playing(chain, backend, **sound))
        timer = stack.enter_context(HostTimer())
        if hog:
            stack.enter_context(hogs.cpu())
        before = engine.stats()
        time.sleep(seconds)
        after = engine.stats()
        stood = [one.late_us for one in timer.late() if one.late_us > 1e3]
        hops = after.lane_hops - before.lane_hops
        misses = after.lane_misses - before.lane_misses
        return {
            "hops": hops,
            "lane_misses": misses,
            "missed_share": misses / max(hops, 1),
            "dry_s": (lane(engine).dry_frames - before.lanes["lane"].dry_frames) / RATE,
            "restarts": lane(engine).restarts,
            "priority": lane(engine).priority,
            "callback_misses": after.misses - before.misses,
            "xruns": after.xruns - before.xruns,
            "host_standstills_count": len(stood),
            "host_longest_us": max(stood, default=0.0),
            **times_of(engine),
        }


VOICE_CHAIN: list[Any] = [
    "highpass",
    "gate",
    "pitch",
    {"lane": [{"stage": "shift", "semitones": 4.0}, "compressor"]},
    "limiter",
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hog", [False, True], ids=["idle", "hogged"])
def test_lane_hops(backend: str, hog: bool, report: Report) -> None:
    """Half a minute of a voice shifted in a lane: hops that were late, and how long the worker takes to wake and to answer."""
    found = hogged(Chain(VOICE_CHAIN), backend, HOGGED_S, hog=hog)
    report(found)
    assert found["missed_share"] <= LATE_SHARE or found["host_standstills_count"] > 0


@pytest.mark.parametrize("hog", [False, True], ids=["idle", "hogged"])
def test_lane_hosts_onnx(hog: bool, report: Report, tmp_path: Path) -> None:
    """Half a minute of a voice through an ONNX model of eight layers of convolutions in a lane."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    chain = Chain([{"lane": onnx_model(tmp_path / "half.onnx"), "hop": 10, "reserve": 15}])
    found = hogged(chain, "null", HOGGED_S, hog=hog)
    report(found)
    assert found["missed_share"] <= LATE_SHARE or found["host_standstills_count"] > 0


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
def test_lane_ten_minutes_hogged(backend: str, report: Report) -> None:
    """Ten minutes of a voice shifted in a lane, every core hogged: late hops in a thousand."""
    found = hogged(Chain(VOICE_CHAIN), backend, LONG_S, hog=True)
    report(found)
    assert found["missed_share"] <= LATE_SHARE
