"""How much of a voice there is in each band of a noisy spectrum: a small recurrent network that knows the noise by its floor.

The power in BANDS overlapping triangular bands, about an equivalent rectangular bandwidth wide (B. R. Glasberg and B. C. J.
Moore, Derivation of auditory filter shapes from notched-noise data, Hearing Research 47, 1990) but no narrower than the window
resolves, is taken in three ways: relative to the recent level, so that the gain of the microphone does not matter, relative to
a noise floor that follows each band quickly down and slowly up, and relative to a quantile of the band's recent powers (V.
Stahl, A. Fischer and R. Bippus, Quantile based noise estimation for spectral subtraction and Wiener filtering, ICASSP 2000),
which a voice with its pauses hardly moves. A dense layer and two gated recurrent units (K. Cho et al.,
Learning phrase representations using RNN encoder-decoder, 2014) turn that into a gain for each band, as in RNNoise (J.-M.
Valin, A hybrid DSP/deep learning approach to real-time full-band speech enhancement, 2018). `autovoice.tools.train_denoise`
makes the weights.

One evaluation is cut into UNITS of like cost. Compiled code for the audio thread, except `plan` and what it calls.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.native import address_of_record, as_pointer, helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vector import TILE, accumulate
from safetensors.numpy import load_file

carray = numba.carray

NARROWEST_HZ = 46.875  # distance of two bands, at least: of two bins
RELATIVE = 0.09  # and in proportion to their frequency
HIGHEST_HZ = 9_500.0  # the last band begins here or above
TOP_HZ = 10_500.0  # nothing above is looked at: the highest band's gain holds there
EMPTY = np.float32(1e-11)  # power of a sample (-110 dBFS) below which there is nothing to tell
SCALE = np.float32(0.2)  # of a feature: 1 is 15 dB
LOWEST, GREATEST = np.float32(-3), np.float32(4)  # of a feature
DOWN, UP = np.float32(0.05), np.float32(0.002)  # coefficients of the noise floor per evaluation: 50 ms and 1.3 s
QUANTILE = np.float32(0.3)  # of a band's powers
STEP, FIRST_STEP = np.float32(0.02), np.float32(2)  # octaves of power per evaluation, and over their number at first
MEMORY = 750  # evaluations, of the recent level: 2 s
WEIGHTS_FILE = Path(__file__).parent / "weights" / "denoise.safetensors"


def centres_hz() -> list[float]:
    """Return the frequencies of the bands."""
    found = [0.0]
    while found[-1] < HIGHEST_HZ:
        found.append(found[-1] + max(NARROWEST_HZ, RELATIVE * found[-1]))
    return found


BANDS = len(centres_hz())
FEATURES = 3 * BANDS
CELLS = TILE  # of each recurrent layer
DENSE = TILE  # outputs of the layer before them
UNITS = 11
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
MINUS_LOG2_E = np.float32(-np.log2(np.e))

STATE = np.dtype(
    [
        ("bins", "i8"),  # below TOP_HZ
        ("lower", "i8"),  # address of int32 for each bin: the band at or below it
        ("share", "i8"),  # address of float32 for each bin: how much of it belongs to the band above
        ("evenly", "i8"),  # address of float32 for each bin: weights that add up to 1 and count every band alike
        ("weights", "i8"),  # address of float32
        ("seen", "i8"),  # evaluations, counted from the first that has a whole window of sound: negative before
        ("level", "f4"),  # recent, log2 of power
        ("scale", "f4", (BANDS,)),  # of a band's summed power, so that white noise has the power of a sample; 0 = has no bins
        ("power", "f4", (BANDS + 1,)),
        ("floor", "f4", (BANDS,)),  # log2 of power
        ("quantile", "f4", (BANDS,)),  # log2 of power
        ("features", "f4", (FEATURES,)),
        ("dense", "f4", (TILE,)),
        ("hidden", "f4", (2 * CELLS,)),  # of both recurrent layers
        ("gates", "f4", (4 * CELLS,)),  # reset, update, candidate from below, candidate from before
        ("out", "f4", (TILE,)),
        ("gain", "f4", (BANDS,)),  # 0..1
    ],
    align=True,
)
_FIELDS: Any = STATE.fields
FEATURES_AT, DENSE_AT, HIDDEN_AT, GATES_AT, OUT_AT = (
    _FIELDS[name][1] for name in ("features", "dense", "hidden", "gates", "out")
)
# Rows of TILE weights: for each product a bias, and then one for each input.
DENSE_ROW = 0
LAYER_ROWS = (1 + FEATURES, 5 + FEATURES + 3 * (DENSE + CELLS))
OUT_ROW = LAYER_ROWS[1] + 4 + 3 * (CELLS + CELLS)


def _pack(tensors: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Lay the network's weights out in rows of TILE, shape (rows, TILE)."""

    def rows(bias: np.ndarray[Any, Any], *matrices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        block = np.concatenate([bias[None], *(matrix.T for matrix in matrices)])  # (1 + inputs, outputs)
        return np.pad(block, ((0, 0), (0, TILE - block.shape[1])))

    blocks = [rows(tensors["inp.bias"], tensors["inp.weight"])]
    for layer in ("g1", "g2"):
        below, before = (np.split(tensors[f"{layer}.weight_{kind}_l0"], 3) for kind in ("ih", "hh"))
        bias_below, bias_before = (np.split(tensors[f"{layer}.bias_{kind}_l0"], 3) for kind in ("ih", "hh"))
        blocks += [rows(bias_below[k] + bias_before[k], below[k], before[k]) for k in range(2)]
        blocks += [rows(bias_below[2], below[2]), rows(bias_before[2], before[2])]
    blocks.append(rows(tensors["out.bias"], tensors["out.weight"]))
    return np.concatenate(blocks).astype(np.float32)


@cache
def _weights() -> int:
    return resident.keep(_pack(load_file(WEIGHTS_FILE)))


@cache
def _bands(size: int, sample_rate: float) -> tuple[int, int, int, int, np.ndarray[Any, Any]]:
    """Return (bins below TOP_HZ, addresses of `lower`, `share` and `evenly`, how many bins each band has)."""
    centres = np.array(centres_hz())
    f = np.arange(size // 2 + 1) * sample_rate / size
    place = np.interp(f, centres, np.arange(BANDS))
    lower = np.minimum(place.astype(np.int32), BANDS - 2)
    share = (place - lower).astype(np.float32)
    bins = int(TOP_HZ / sample_rate * size)
    bins = min(bins, len(f))
    sums = np.bincount(lower[:bins], 1 - share[:bins], BANDS) + np.bincount(lower[:bins] + 1, share[:bins], BANDS)
    evenly = (1 / np.bincount(lower[:bins])[lower[:bins]] / len(np.unique(lower[:bins]))).astype(np.float32)
    return bins, resident.keep(lower), resident.keep(share), resident.keep(evenly), sums


def plan(state: Any, size: int, sample_rate: float, window: np.ndarray[Any, Any]) -> None:
    """Lay out for spectra of `size` samples under a window, in zeroed `state` of any shape. Control thread only."""
    state["bins"], state["lower"], state["share"], state["evenly"], sums = _bands(size, sample_rate)
    state["weights"] = _weights()
    state["scale"] = np.where(sums > 0.1, 1 / np.maximum(sums * np.square(window).sum(), 1e-9), 0)
    state["gain"] = 1


@helper
def begin(s: Any, window: Any) -> None:
    """Await as many evaluations as it takes to have a whole window of sound."""
    s.seen = -window


@helper
def clear(s: Any) -> None:
    """Begin to sum power."""
    for b in range(BANDS + 1):
        s.power[b] = ZERO


@helper
def add_power(s: Any, re: Any, im: Any) -> None:
    """Add the power of a spectrum to the bands."""
    lower = carray(as_pointer(s.lower), (s.bins,), np.int32)
    share = carray(as_pointer(s.share), (s.bins,), np.float32)
    band = 0
    below = above = ZERO
    for k in range(s.bins):
        if lower[k] != band:  # bins come in the order of their bands
            s.power[band] += below
            s.power[band + 1] += above
            below = above = ZERO
            band = lower[k]
        power = re[k] * re[k] + im[k] * im[k]
        below += (ONE - share[k]) * power
        above += share[k] * power
    s.power[band] += below
    s.power[band + 1] += above


@helper
def _describe(s: Any, channels: Any) -> None:
    """Turn the bands' power, summed over channels, into features, and let the recent level and the floor follow."""
    mean = ZERO
    per_channel = ONE / np.float32(channels)
    for b in range(BANDS):
        if s.scale[b] > ZERO:
            s.power[b] = log2(s.power[b] * (s.scale[b] * per_channel) + EMPTY)
        else:  # above half the sample rate
            s.power[b] = s.power[b - 1]
        mean += s.power[b]
    mean /= np.float32(BANDS)
    s.seen += 1
    if s.seen <= 1:
        s.level = mean
        for b in range(BANDS):
            s.floor[b] = s.quantile[b] = s.power[b]
    count = np.float32(max(s.seen, 1))
    step = max(STEP, FIRST_STEP / count)
    s.level += (mean - s.level) / min(count, np.float32(MEMORY))
    for b in range(BANDS):
        power = s.power[b]
        s.floor[b] += (DOWN if power < s.floor[b] else UP) * (power - s.floor[b])
        s.quantile[b] += step * (QUANTILE - ONE if power < s.quantile[b] else QUANTILE)
        s.features[b] = min(max(SCALE * (power - s.level), LOWEST), GREATEST)
        s.features[BANDS + b] = min(max(SCALE * (power - s.floor[b]), LOWEST), GREATEST)
        s.features[2 * BANDS + b] = min(max(SCALE * (power - s.quantile[b]), LOWEST), GREATEST)


@helper
def _product(s: Any, row: Any, inputs: Any, count: Any, outputs: Any, add: Any) -> None:
    """Multiply inputs by rows of weights; `add` = 0 begins with the bias in `row`. Arrays are given by their addresses."""
    at = s.weights + 4 * TILE * row
    if add == 0:
        bias = carray(as_pointer(at), (TILE,), np.float32)
        values = carray(as_pointer(outputs), (TILE,), np.float32)
        for k in range(TILE):
            values[k] = bias[k]
        at += 4 * TILE
    accumulate(at, inputs, outputs, count)


@helper
def _logistic(values: Any, count: Any) -> None:
    for k in range(count):
        values[k] = ONE / (ONE + exp2(MINUS_LOG2_E * values[k]))


@helper
def _tanh(x: Any) -> Any:
    return TWO / (ONE + exp2(TWO * MINUS_LOG2_E * x)) - ONE


@helper
def _cell(hidden: Any, gates: Any) -> None:
    """Move a recurrent layer on: h = (1 - z) tanh(below + r before) + z h."""
    reset, update, below, before = gates[:CELLS], gates[CELLS : 2 * CELLS], gates[2 * CELLS : 3 * CELLS], gates[3 * CELLS :]
    _logistic(reset, CELLS)
    _logistic(update, CELLS)
    for k in range(CELLS):
        candidate = _tanh(below[k] + reset[k] * before[k])
        hidden[k] = candidate + update[k] * (hidden[k] - candidate)


@helper
def _layer(s: Any, layer: Any, part: Any) -> None:
    """Do a quarter of a recurrent layer: reset gate, update gate, candidate, new state."""
    base = address_of_record(s)
    inputs = base + (HIDDEN_AT if layer == 1 else DENSE_AT)
    hidden = base + HIDDEN_AT + 4 * CELLS * layer
    count = CELLS if layer == 1 else DENSE
    row = LAYER_ROWS[1] if layer == 1 else LAYER_ROWS[0]
    gates = base + GATES_AT
    if part < 2:
        row += part * (1 + count + CELLS)
        _product(s, row, inputs, count, gates + 4 * CELLS * part, 0)
        _product(s, row + 1 + count, hidden, CELLS, gates + 4 * CELLS * part, 1)
    elif part == 2:
        row += 2 * (1 + count + CELLS)
        _product(s, row, inputs, count, gates + 8 * CELLS, 0)
        _product(s, row + 1 + count, hidden, CELLS, gates + 12 * CELLS, 0)
    else:
        _cell(s.hidden[CELLS * layer : CELLS * (layer + 1)], s.gates)


@helper
def advance(s: Any, unit: Any, channels: Any) -> None:
    """Do one of the UNITS of an evaluation: power of the bands, summed over channels, to `gain`."""
    base = address_of_record(s)
    if unit == 0:
        _describe(s, channels)
    elif unit == 1:
        _product(s, DENSE_ROW, base + FEATURES_AT, FEATURES, base + DENSE_AT, 0)
        for k in range(DENSE):
            s.dense[k] = _tanh(s.dense[k])
    elif unit < UNITS - 1:
        _layer(s, (unit - 2) // 4, (unit - 2) % 4)
    else:
        _product(s, OUT_ROW, base + HIDDEN_AT, 2 * CELLS, base + OUT_AT, 0)
        _logistic(s.out, BANDS)
        for b in range(BANDS):
            s.gain[b] = s.out[b]


@helper
def mean_over_bands(s: Any, values: Any) -> Any:
    """Return the mean of a value given for each bin."""
    evenly = carray(as_pointer(s.evenly), (s.bins,), np.float32)
    mean = ZERO
    for k in range(s.bins):
        mean += evenly[k] * values[k]
    return mean


@helper
def spread(s: Any, gain: Any, out: Any, count: Any) -> None:
    """Draw a line through the gains of the bands: `out` for each of `count` bins."""
    lower = carray(as_pointer(s.lower), (count,), np.int32)
    share = carray(as_pointer(s.share), (count,), np.float32)
    for k in range(count):
        g = gain[lower[k]]
        out[k] = g + share[k] * (gain[lower[k] + 1] - g)
