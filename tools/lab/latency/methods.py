"""Which stages have a single delay, at which settings, and how the delay of a chain is measured.

A stage that only filters or moves the level gives back a waveform that fits the probe: its delay is measured by phase, to a
fraction of a frame. So do the stages that move the pitch, as long as the sound has none: an MLS passes through their grains
unchanged, a chirp does not. The stages of SINGLE_DELAY have one delay only within the settings named there; outside them
their output is many delays at once (echoes, bands), so envelopes are compared, which is good for a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovoice.rt import Chain
    from autovoice.rt.chain import Placed

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """How to measure: a method of autovoice.tools.lab.latency.delay and the probe that suits it."""

    method: str
    probe: str


BLOCKS = (32, 64, 128, 256, 480, 1024)  # frames, at which the tests and benchmarks ask for the truth
PLAIN, UNPITCHED, MANY_DELAYS = Way("phase", "chirp"), Way("phase", "mls"), Way("envelope", "bursts")

SINGLE_DELAY: dict[str, dict[str, tuple[float, float]]] = {
    "vocoder": {"mix": (0.0, 0.25)},  # up to here, and for the next three, the voice itself is by far the loudest
    "convert": {"mix": (0.0, 0.25)},
    "delay": {"mix": (0.0, 0.5)},
    "reverb": {"mix": (0.0, 0.5)},
    "stretch": {"speed": (1.0, 1.0), "freeze": (0.0, 0.0)},
}
"""For each stage that may have many delays: the parameters' ranges within which it has one."""

PITCH_MOVES: dict[str, dict[str, float]] = {
    "shift": {"semitones": 0.0, "formant": 0.0},
    "tune": {"amount": 0.0, "semitones": 0.0, "formant": 0.0},
    "harmony": {f"level_{k}": -60.0 for k in range(1, 5)},
}
"""For each stage that moves the pitch: the settings at which it does not."""

IDENTITY: dict[str, Settings] = {
    "gate": {"range": 0.0},
    "compressor": {"ratio": 1.0, "makeup": 0.0},
    "deesser": {"range": 0.0},
    "denoise": {"strength": 0.0},
    "limiter": {"ceiling": 0.0},
    "shift": PITCH_MOVES["shift"],
    "tune": PITCH_MOVES["tune"],
    "harmony": {"lead": 0.0, **PITCH_MOVES["harmony"]},
    "vocoder": {"mix": 0.0},
    "convert": {"mix": 0.0},
    "stretch": {"speed": 1.0, "freeze": 0, "catch_up": 0},
    "delay": {"mix": 0.0},
    "reverb": {"mix": 0.0},
    "eq": {"bypass": True},  # its filters turn phases; bypass is its dry path
    "highpass": {"bypass": True},
}
"""What sets a stage to give back its input at its declared delay; the others do so at any setting, or change the level."""


def way_for(chain: Chain) -> Way:
    """Return how the delay of a chain, as it is set, is measured."""
    if any(_has_many_delays(placed) for placed in chain.placed):
        return MANY_DELAYS
    return UNPITCHED if any(_moves_pitch(placed) for placed in chain.placed) else PLAIN


def _has_many_delays(placed: Placed) -> bool:
    ranges = SINGLE_DELAY.get(placed.stage.name, {})
    return not placed.bypass and any(not low <= placed.values[name] <= high for name, (low, high) in ranges.items())


def _moves_pitch(placed: Placed) -> bool:
    still = PITCH_MOVES.get(placed.stage.name, {})
    return not placed.bypass and any(placed.values[name] != value for name, value in still.items())


def at_identity(stages: Iterable[str | Mapping[str, Any]]) -> list[Settings]:
    """Return chain specs with every stage set to change nothing but the time."""
    specs = [{"stage": one} if isinstance(one, str) else dict(one) for one in stages]
    return [{**spec, **IDENTITY.get(str(spec["stage"]), {})} for spec in specs]
