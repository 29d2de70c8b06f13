"""The converter's program: every step of one hop, in order, and when in the hop it is due.

A step is a unit of 0.1 to 3 µs. Each is due at a frame of the hop that follows the analysis, in proportion to what the steps
before it cost, so that the work is spread evenly over the callbacks, however these are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import resident
from autovoice.dsp.converter import weights
from autovoice.dsp.converter.features import HARMONIC, MELS, NOISE
from autovoice.dsp.vector import TILE

Array = np.ndarray[Any, np.dtype[Any]]

CHANNELS, KERNEL, SPEAKER = 256, 5, 128
ENCODER, DECODER = (1, 2, 4, 8, 1, 2, 4, 8), (1, 2, 4, 1, 2)  # dilations
LOOKAHEADS = {"low": 1, "balanced": 3, "quality": 8}  # hops
INPUTS = MELS + 2  # bands, pitch, voicing
OUTPUTS = HARMONIC + NOISE
EXCITATIONS = 8  # steps in which a hop of pulses is computed
OVERLAPS = 2  # steps in which a frame is added to the output

BEGIN, TRANSFORM, BANDS, PRODUCT, SPEAK, DEPTHWISE, GATE, PITCH = range(8)
SHAPE, EXCITE, PULSES, HISS, RESPOND, JOIN, INVERT, OVERLAP = range(8, 16)
COPY, MEND, NOTHING = range(16, 19)
"""Kinds of step."""
COSTS_NS = {
    BEGIN: 900, TRANSFORM: 430, BANDS: 3000, SPEAK: 150, DEPTHWISE: 450, GATE: 200, PITCH: 50, SHAPE: 700,
    EXCITE: 2200, PULSES: 500, HISS: 900, RESPOND: 1350, JOIN: 300, INVERT: 800, OVERLAP: 400, COPY: 50, MEND: 900,
}  # fmt: skip
"""What a step takes at 48 kHz, measured on one core of a server of 2023."""
PER_FRAME = (BEGIN, TRANSFORM, EXCITE, PULSES, HISS, INVERT, OVERLAP)  # what takes longer at higher rates
USUAL_HOP = 480  # frames, at 48 kHz
PRODUCT_NS = 80, 0.066  # a product, and each of its weights

ALWAYS, OTHER_SPEAKER, OTHER_SINGER = range(3)
"""When a step is run: a speaker is who is to be heard, a singer who is heard."""

UNIT = np.dtype(
    [
        ("kind", "i4"),
        ("index", "i4"),  # of the step, block, tile or part
        ("due", "i4"),  # frames into the hop
        ("weights", "i4"),  # offset among the integers; of a depthwise convolution among the floats
        ("floats", "i4"),  # offset of TILE scales and TILE biases
        ("inputs", "i4"),  # offset in the work, or of the ring of a depthwise convolution in the rings
        ("outputs", "i4"),  # offset in the work; of a depthwise convolution: of its scale and shift, -1 = none
        ("count", "i4"),  # inputs, or the dilation
        ("fresh", "i4"),  # 1 = begin with the bias, 0 = add to what is there
        ("asked", "i4"),  # when it is run: ALWAYS, ...
    ],
    align=True,
)
UNIT_BYTES = UNIT.itemsize

# Offsets in the work, float32.
FEATURES = 0
HIDDEN = FEATURES + 96
NORMED = HIDDEN + CHANNELS
GATES = NORMED + CHANNELS
GATED = GATES + 2 * CHANNELS
ENVELOPE = GATED + CHANNELS  # as the network draws it
SHAPED = ENVELOPE + 2 * TILE  # as it is heard
VOICE = SHAPED + 2 * TILE
EMBEDDED = VOICE + SPEAKER
FILM = EMBEDDED + SPEAKER
KEPT = FILM + 2 * CHANNELS * len(DECODER)  # what was heard, before the decoder
SINGER = KEPT + CHANNELS
SINGER_FILM = SINGER + SPEAKER
EXPECTED = SINGER_FILM + 2 * CHANNELS * len(DECODER)  # bands of who sings
WORK = EXPECTED + 2 * TILE

RINGS = sum((KERNEL - 1) * dilation + 1 for dilation in ENCODER + DECODER + DECODER) * CHANNELS


class _Writer:
    """Collects steps, integers and floats."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.units: list[dict[str, int]] = []
        self.costs: list[float] = []
        self.integers: list[Array] = []
        self.laid: dict[tuple[int, int], int] = {}  # offsets of tiles among them, by matrix and row: what comes twice lies once
        self.floats: list[Array] = []

    def step(self, kind: int, index: int = 0, cost: float | None = None, **fields: int) -> None:
        """Add a step."""
        self.units.append({"kind": kind, "index": index, **fields})
        self.costs.append(COSTS_NS[kind] if cost is None else cost)

    def put(self, *values: Array) -> int:
        """Lay floats out; returns their offset."""
        at = sum(len(one) for one in self.floats)
        self.floats += [np.asarray(one, np.float32).ravel() for one in values]
        return at

    def product(
        self, matrix: Array, bias: Array, inputs: int, outputs: int, *, fresh: bool = True, asked: int = ALWAYS
    ) -> None:
        """Add the steps of outputs = matrix @ inputs + bias, or of outputs += that."""
        rows = -(-len(matrix) // TILE) * TILE
        whole, scales = (np.pad(one, [(0, rows - len(one))] + [(0, 0)] * (one.ndim - 1)) for one in weights.integers(matrix))
        bias = np.pad(bias, (0, rows - len(bias)))
        for first in range(0, rows, TILE):
            tile = slice(first, first + TILE)
            at = self.laid.setdefault((id(matrix), first), sum(one.size for one in self.integers))
            if at == sum(one.size for one in self.integers):
                self.integers.append(np.ascontiguousarray(whole[tile].T).ravel())
            floats = self.put(scales[tile], bias[tile])
            fields = {"weights": at, "floats": floats, "inputs": inputs, "outputs": outputs + first, "count": matrix.shape[1]}
            cost = PRODUCT_NS[0] + PRODUCT_NS[1] * TILE * matrix.shape[1]
            self.step(PRODUCT, cost=cost, fresh=int(fresh), asked=asked, **fields)

    def block(self, w: dict[str, Array], name: str, dilation: int, ring: int, film: int) -> int:
        """Add the steps of one residual block; returns the values of its ring."""
        taps = self.put(w[f"{name}.depthwise.weight"][:, 0].T, w[f"{name}.depthwise.bias"])
        self.step(DEPTHWISE, weights=taps, inputs=ring, outputs=film, count=dilation)
        self.product(w[f"{name}.gate.weight"], w[f"{name}.gate.bias"], NORMED, GATES)
        self.step(GATE)
        self.product(w[f"{name}.out.weight"], w[f"{name}.out.bias"], GATED, HIDDEN, fresh=False)
        return ((KERNEL - 1) * dilation + 1) * CHANNELS

    def decoder(self, w: dict[str, Array], ring: int, voice: int, film: int, anew: int) -> int:
        """Add the steps of the decoder for a voice; its scales and shifts go to `film` where it is another, `anew`.

        Returns the values of its rings.
        """
        self.product(w["speaker.weight"], w["speaker.bias"], voice, EMBEDDED, asked=anew)
        self.step(SPEAK, asked=anew)
        self.product(w["film.weight"], w["film.bias"], EMBEDDED, film, asked=anew)
        self.step(PITCH, int(anew == OTHER_SINGER), weights=self.put(w["pitch.weight"][:, 0], w["pitch.bias"]))
        begin = ring
        for number, dilation in enumerate(DECODER):
            ring += self.block(w, f"decoder.{number}", dilation, ring, film + 2 * CHANNELS * number)
        return ring - begin


def _write(steps: int, tiles: int, mode: str, known: bool) -> _Writer:
    """Write the program for transforms of so many steps and responses of so many tiles; `known`: it is who sings."""
    w = weights.tensors()
    out = _Writer()
    out.step(BEGIN)
    for step in range(steps):
        out.step(TRANSFORM, step)
    out.step(BANDS)
    look_ahead = w["lookahead.weight"][list(LOOKAHEADS).index(mode)]
    out.product(w["inputs.weight"], w["inputs.bias"] + look_ahead, FEATURES, HIDDEN)
    ring = 0
    for number, dilation in enumerate(ENCODER):
        ring += out.block(w, f"encoder.{number}", dilation, ring, -1)
    judged = known and "bands.weight" in w  # which older weights lack
    if judged:
        out.step(COPY, inputs=HIDDEN, outputs=KEPT)
    ring += out.decoder(w, ring, VOICE, FILM, OTHER_SPEAKER)
    out.product(w["outputs.weight"], w["outputs.bias"], HIDDEN, ENVELOPE)
    if judged:
        out.step(COPY, inputs=KEPT, outputs=HIDDEN)
        out.decoder(w, ring, SINGER, SINGER_FILM, OTHER_SINGER)
        out.product(w["bands.weight"], w["bands.bias"], HIDDEN, EXPECTED)
        out.step(MEND)
    out.step(SHAPE)
    for part in range(EXCITATIONS):
        out.step(EXCITE, part)
    for which, kind in enumerate((PULSES, HISS)):
        out.step(kind)
        for step in range(steps):
            out.step(TRANSFORM, step)
        for tile in range(tiles):
            out.step(RESPOND, tile, count=which)
    out.step(JOIN)
    for step in range(steps):
        out.step(INVERT, step)
    for part in range(OVERLAPS):
        out.step(OVERLAP, part)
    return out


@dataclass(frozen=True, slots=True)
class Program:
    """A program in resident memory: addresses, and numbers that the stage needs."""

    units: int  # address
    count: int
    integers: int  # address
    floats: int  # address
    late: int  # frames into the hop before which no pulse is computed


@cache
def program(hop: int, steps: int, tiles: int, mode: str, known: bool = False) -> Program:
    """Lay the program out for a rate's hop, transforms of so many steps and responses of so many tiles. Control thread only.

    That for a singer who is `known` begins with the same steps, computes pulses no sooner, and has the other's weights first.
    """
    written = _write(steps, tiles, mode, known)
    units = np.zeros(len(written.units), UNIT)
    for unit, fields in zip(units, written.units, strict=True):
        for name, value in fields.items():
            unit[name] = value
    costs = np.array(written.costs)
    costs[np.isin(units["kind"], PER_FRAME)] *= hop / USUAL_HOP
    before = np.concatenate([[0.0], np.cumsum(costs)])
    units["due"] = np.floor(before[:-1] / before[-1] * (hop - 1))
    late = int(units["due"][units["kind"] == EXCITE].min())
    floats = resident.keep(np.concatenate(written.floats))
    return Program(resident.keep(units), len(units), _integers(), floats, late)


@cache
def _integers() -> int:
    """Lay the integers out, which are the same for every rate and mode, once."""
    return resident.keep(np.concatenate(_write(1, 1, "balanced", known=True).integers))
