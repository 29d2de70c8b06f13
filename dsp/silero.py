"""Silero VAD, a recurrent network that tells speech from noise, as a program of small steps spread over the callbacks.

The weights are Silero VAD 6.2.3's own (Silero Team, MIT; `autovoice.tools.convert_silero` took them out of the package). Each
chunk of 512 samples at 16 kHz, with the 64 before it, becomes four spectra of 256 samples, 128 apart (the last is mirrored at
the chunk's end); their magnitudes pass four convolutions over time (128, 64, 64 and 128 outputs) and an LSTM cell of 128 (S.
Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997) with a logistic output: the probability.

All of it is cast into products of TILE outputs by at most 65 inputs (`vector.accumulate`): a DFT of 256 falls into four of
them, since cosines are even and sines odd about both the middle and the quarter of the window. These products and the little
between them are the units of a program that takes one chunk's time to run, in even steps counted by absolute samples. A unit
runs when its input is there, so the program of a chunk begins 231 samples into it and ends 231 samples (14.4 ms) behind it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.native import helper, record_at
from autovoice.dsp.scalar import exp2
from autovoice.dsp.vector import TILE, accumulate
from safetensors.numpy import load_file

RATE = 16_000  # Hz
CHUNK, CONTEXT = 512, 64  # samples: what is judged, and what the network sees before it
SPECTRA, SPACING, SPAN = 4, 128, 256  # of a chunk; samples from one to the next, and in each
BINS = SPAN // 2 + 1
CELLS = 128  # of the LSTM
RING = 1024  # samples kept, a power of 2: a chunk, its context and what arrives while it is worked on
WEIGHTS_FILE = Path(__file__).parent / "weights" / "silero_vad_16k.safetensors"
WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SPAN) / SPAN)

FOLD, PRODUCT, MAGNITUDE, CELL, DECIDE = range(5)  # kinds of unit
UNIT = np.dtype(
    [
        ("kind", "i4"),
        ("index", "i4"),  # of the spectrum, or the first cell
        ("weights", "i4"),  # offset of (count, TILE) float32 among the weights
        ("inputs", "i4"),  # offset in `work`
        ("outputs", "i4"),  # offset of TILE values in `work`
        ("count", "i4"),  # inputs
        ("bias", "i4"),  # offset of TILE values to begin with among the weights; -1 = with what is there
        ("rectify", "i4"),  # 1 = negative outputs become zero at the end
    ],
    align=True,
)
"""One step of the program."""
UNIT_BYTES = UNIT.itemsize
TILE_ROW = np.dtype([("values", "f4", (TILE,))])

# Offsets in `work`, in float32.
FOLDED = 0  # four times 65: inputs of the DFT's products
SPECTRUM = FOLDED + 4 * 65  # four times TILE: real even, real odd, imaginary even, imaginary odd bins
FEATURES = SPECTRUM + 4 * TILE  # SPECTRA times BINS: magnitudes of even bins, odd bins, and the last
CONV1 = FEATURES + SPECTRA * BINS  # SPECTRA times 128
CONV2 = CONV1 + SPECTRA * 128  # 2 times 64
CONV3 = CONV2 + 2 * 64  # 64
CONV4 = CONV3 + 64  # 128
GATES = CONV4 + 128  # in, forget, cell, out: 4 times CELLS
HIDDEN = GATES + 4 * CELLS
MEMORY = HIDDEN + CELLS
FINAL = MEMORY + CELLS  # weights of the output, and its bias
SCRATCH = FINAL + CELLS + 1  # SPAN
WORK = SCRATCH + SPAN

STATE = [
    ("weights", "i8"),  # addresses
    ("program", "i8"),
    ("units", "i8"),  # of the program
    ("start", "i8"),  # samples from the beginning of a chunk to its first unit
    ("running", "i8"),  # 1 from the first whole program on
    ("chunks", "i8"),  # judged so far, counted from absolute sample 0
    ("probability", "f4"),  # of speech in the last of them
    ("samples", "f4", (RING,)),
    ("work", "f4", (WORK,)),
]

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
MINUS_LOG2_E = np.float32(-np.log2(np.e))
WINDOW_F4 = WINDOW.astype(np.float32)


class Program:
    """Weights and units as they are laid out; built once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.weights: list[np.ndarray[Any, Any]] = []
        self.units: list[tuple[int, ...]] = []
        self._size = 0
        self._offsets: dict[bytes, int] = {}

    def put(self, values: np.ndarray[Any, Any]) -> int:
        """Lay weights out, once however often they are used; returns their offset."""
        laid = np.ravel(values).astype(np.float32)
        at = self._offsets.setdefault(laid.tobytes(), self._size)
        if at == self._size:
            self.weights.append(laid)
            self._size += laid.size
        return at

    def unit(self, kind: int, index: int = 0) -> None:
        """Add a step that is no product."""
        self.units.append((kind, index, 0, 0, 0, 0, -1, 0))

    def product(
        self,
        matrix: np.ndarray[Any, Any],
        inputs: int,
        outputs: int,
        bias: np.ndarray[Any, Any] | None = None,
        rectify: bool = False,
    ) -> None:
        """Add the steps of outputs += matrix @ inputs, matrix of shape (outputs, inputs), begun with `bias` if one is given."""
        for first in range(0, len(matrix), TILE):
            tile = matrix[first : first + TILE]
            parts = np.array_split(np.arange(matrix.shape[1]), -(-matrix.shape[1] // (TILE + 1)))
            for k, part in enumerate(parts):
                begin = self.put(bias[first : first + TILE]) if bias is not None and k == 0 else -1
                weights = self.put(tile[:, part].T)
                last = rectify and k == len(parts) - 1
                self.units.append((PRODUCT, 0, weights, inputs + part[0], outputs + first, len(part), begin, last))


def _transforms() -> list[np.ndarray[Any, Any]]:
    """Return the DFT's four products for folded inputs: real even, real odd, imaginary even and imaginary odd bins."""
    angle = 2 * np.pi * np.outer(np.arange(BINS - 1), np.arange(65)) / SPAN
    cosine, sine = np.cos(angle), np.sin(angle)
    return [cosine[0::2], cosine[1::2, :64], sine[0::2, :64], sine[1::2]]


def _write_program(w: dict[str, np.ndarray[Any, Any]]) -> Program:
    """Lay the network out, in the order in which its inputs come to be known."""
    program = Program()
    order = np.r_[0 : BINS - 1 : 2, 1 : BINS - 1 : 2, BINS - 1]  # of the magnitudes in FEATURES
    conv1 = w["conv1.weight"][:, order]
    program.product(w["lstm.weight_hh"], HIDDEN, GATES, bias=w["lstm.bias_ih"] + w["lstm.bias_hh"])
    for spectrum in range(SPECTRA):
        program.unit(FOLD, spectrum)
        for k, transform in enumerate(_transforms()):
            program.product(transform, FOLDED + 65 * k, SPECTRUM + TILE * k, bias=np.zeros(TILE))
        program.unit(MAGNITUDE, spectrum)
        for at in (spectrum - 1, spectrum, spectrum + 1):
            if 0 <= at < SPECTRA:
                bias = w["conv1.bias"] if spectrum == max(at - 1, 0) else None
                last = spectrum == min(at + 1, SPECTRA - 1)
                matrix = conv1[:, :, spectrum - at + 1]
                program.product(matrix, FEATURES + BINS * spectrum, CONV1 + 128 * at, bias, rectify=last)
    for at in range(2):  # a stride of two
        taps = range(1, 3) if at == 0 else range(3)
        for tap in taps:
            bias = w["conv2.bias"] if tap == taps[0] else None
            source = CONV1 + 128 * (2 * at + tap - 1)
            program.product(w["conv2.weight"][:, :, tap], source, CONV2 + 64 * at, bias, rectify=tap == 2)
    for tap in range(1, 3):
        bias = w["conv3.bias"] if tap == 1 else None
        program.product(w["conv3.weight"][:, :, tap], CONV2 + 64 * (tap - 1), CONV3, bias, rectify=tap == 2)
    program.product(w["conv4.weight"][:, :, 1], CONV3, CONV4, w["conv4.bias"], rectify=True)
    program.product(w["lstm.weight_ih"], CONV4, GATES)
    for first in range(0, CELLS, CELLS // 2):
        program.unit(CELL, first)
    program.unit(DECIDE)
    return program


@cache
def _resident() -> tuple[int, int, int, int, np.ndarray[Any, Any]]:
    """Return (address of the weights, address of the program, units, start, weights of the output), laid out once."""
    tensors = load_file(WEIGHTS_FILE)
    program = _write_program(tensors)
    units = np.array(program.units, UNIT)
    final = np.append(tensors["final.weight"].ravel(), tensors["final.bias"])
    return resident.keep(np.concatenate(program.weights)), resident.keep(units), len(units), _start(units), final


def _start(units: np.ndarray[Any, Any]) -> int:
    """Return the samples after which a program may begin so that each spectrum finds its input complete."""
    folds = np.flatnonzero(units["kind"] == FOLD)
    needed = np.minimum(SPACING * units["index"][folds] + SPAN - CONTEXT, CHUNK)
    return int((needed - folds * CHUNK // len(units)).max())


def plan(state: Any) -> None:
    """Fill zeroed `state` of any shape. Control thread only; for `prepare`."""
    state["weights"], state["program"], state["units"], state["start"], final = _resident()
    state["work"][..., FINAL : FINAL + CELLS + 1] = final


@helper
def push(s: Any, first: Any, source: Any, count: Any) -> None:
    """Take the samples at 16 kHz of absolute numbers `first` ... from source[0] ..."""
    for i in range(count):
        s.samples[(first + i) & (RING - 1)] = source[i]


@helper
def _due(s: Any, samples: Any) -> Any:
    """Return how many units of all programs have come up when so many samples are in."""
    chunk = (samples - s.start) // CHUNK
    rest = samples - s.start - chunk * CHUNK
    return chunk * s.units + ((rest + 1) * s.units + CHUNK - 1) // CHUNK


@helper
def advance(s: Any, before: Any, after: Any) -> None:
    """Run the units that came up while the number of samples that are in went from `before` to `after`."""
    for number in range(_due(s, before), _due(s, after)):
        chunk = number // s.units
        at = number - chunk * s.units
        if at == 0 and chunk >= 0:
            s.running = 1
        if s.running:
            unit = record_at(s.program + at * UNIT_BYTES, UNIT)
            _run(s, unit, chunk)


@helper
def _run(s: Any, unit: Any, chunk: Any) -> None:
    if unit.kind == PRODUCT:
        _product(s, unit)
    elif unit.kind == FOLD:
        _fold(s, chunk * CHUNK - CONTEXT + unit.index * SPACING, (chunk + 1) * CHUNK)
    elif unit.kind == MAGNITUDE:
        _magnitude(s.work, FEATURES + BINS * unit.index)
    elif unit.kind == CELL:
        _cell(s.work, unit.index)
    else:
        s.probability = _output(s.work)
        s.chunks = chunk + 1


@helper
def _product(s: Any, unit: Any) -> None:
    """Compute TILE outputs, or one part of their inputs."""
    outputs = s.work[unit.outputs : unit.outputs + TILE]
    if unit.bias >= 0:
        bias = record_at(s.weights + 4 * unit.bias, TILE_ROW).values
        for j in range(TILE):
            outputs[j] = bias[j]
    work = s.work.ctypes.data
    accumulate(s.weights + 4 * unit.weights, work + 4 * unit.inputs, work + 4 * unit.outputs, unit.count)
    if unit.rectify:
        for j in range(TILE):
            outputs[j] = outputs[j] if outputs[j] > ZERO else ZERO


@helper
def _fold(s: Any, first: Any, end: Any) -> None:
    """Window the samples from absolute number `first` on, mirrored at `end`, and add or take away what lies symmetrically."""
    v = s.work[SCRATCH : SCRATCH + SPAN]
    for n in range(SPAN):
        at = first + n
        if at >= end:
            at = 2 * end - 2 - at
        v[n] = WINDOW_F4[n] * s.samples[at & (RING - 1)]
    quarter = SPAN // 4
    middle = SPAN // 2
    for k in range(2):  # sums of the two halves for the cosines, differences for the sines
        sign = ONE if k == 0 else -ONE
        added = s.work[FOLDED + 195 * k : FOLDED + 195 * k + 65]
        taken = s.work[FOLDED + 65 + 65 * k : FOLDED + 130 + 65 * k]
        for n in range(1, quarter):
            low = v[n] + sign * v[SPAN - n]
            high = v[middle - n] + sign * v[middle + n]
            added[n] = low + high
            taken[n] = low - high
        ends = v[0] if k == 0 else ZERO
        turn = v[middle] if k == 0 else ZERO
        added[0] = ends + turn
        taken[0] = ends - turn
        added[quarter] = v[quarter] + sign * v[SPAN - quarter]


@helper
def _magnitude(work: Any, target: Any) -> None:
    """Write the magnitudes of a spectrum; the last bin is the alternating sum of its input."""
    half = 2 * TILE
    real, imaginary = work[SPECTRUM : SPECTRUM + half], work[SPECTRUM + half : SPECTRUM + 2 * half]
    features = work[target : target + BINS]
    for k in range(half):
        features[k] = np.sqrt(real[k] * real[k] + imaginary[k] * imaginary[k])
    even = odd = ZERO
    for n in range(0, TILE, 2):
        even += work[FOLDED + n]
        odd += work[FOLDED + n + 1]
    features[half] = abs(even + work[FOLDED + TILE] - odd)


@helper
def _logistic(x: Any) -> Any:
    return ONE / (ONE + exp2(x * MINUS_LOG2_E))


@helper
def _tanh(x: Any) -> Any:
    return TWO * _logistic(TWO * x) - ONE


@helper
def _cell(work: Any, first: Any) -> None:
    """Update half of the LSTM's cells."""
    half = CELLS // 2
    hidden, memory = work[HIDDEN + first : HIDDEN + first + half], work[MEMORY + first : MEMORY + first + half]
    gates = work[GATES + first : GATES + first + 3 * CELLS + half]
    for j in range(half):
        kept = _logistic(gates[CELLS + j]) * memory[j] + _logistic(gates[j]) * _tanh(gates[2 * CELLS + j])
        memory[j] = kept
        hidden[j] = _logistic(gates[3 * CELLS + j]) * _tanh(kept)


@helper
def _output(work: Any) -> Any:
    """Return the probability: the logistic function of the positive hidden values, weighted."""
    total = work[FINAL + CELLS]
    for j in range(CELLS):
        total += work[FINAL + j] * max(work[HIDDEN + j], ZERO)
    return _logistic(total)
