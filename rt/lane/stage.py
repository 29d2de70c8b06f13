"""A lane as a chain sees it: a stage whose parameters are those of all that runs in its worker.

What runs is written behind `lane:` in the stage's name: stages in order (`lane:pitch+shift`, or a JSON list where they have
options or names of their own), an ONNX model (`lane:voice.onnx`), a TorchScript one (`lane:voice.pt`), or a Python class
(`lane:package.module:Class`, `lane:voice.py:Class`). In a chain's specification `{"lane": [...], "hop": 10}` says the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from autovoice.dsp.stage import SEGMENT, Option, Param, Stage, StageError
from autovoice.rt.lane import audio
from autovoice.rt.lane.naming import PREFIX, absolute, kind_of, stages_of

if TYPE_CHECKING:
    from autovoice.rt.chain import Placed

MOST_PARAMETERS = 62  # that the page of control has room for
BYPASS_MS = 10.0

OPTIONS = (
    Option("hop", "ms", 1.0, 200.0, 10.0, help="what the worker is given at once; of stages, in whole segments of 64 frames"),
    Option("reserve", "ms", 4.0, 2000.0, 10.0, help="delay beyond the hop: time for the worker, a driver block and a fade"),
    Option("delay", "frames", 0, 192_000, 0, help="what a model itself delays; of stages it is known"),
    Option("standby", "", 0, 1, 1, "choice", "a second worker that is loaded and takes over at once", choices=("off", "on")),
)
"""What is fixed while a lane runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs."""

    kind: str  # chain, onnx, torchscript, python
    text: str  # of a model: its file; of Python: module or file, and class
    inner: tuple[Placed, ...] = ()  # the stages of a chain


@dataclass(frozen=True, slots=True)
class LaneStage(Stage):
    """A stage whose work another process does."""

    plan: Plan

    def hop(self, sample_rate: float, options: Mapping[str, Any]) -> int:
        """Return the frames that are handed over at once."""
        return hop_frames(self.plan, sample_rate, float(options["hop"]))

    def inner(self, sample_rate: float, options: Mapping[str, Any]) -> int:
        """Return the frames by which the worker itself delays."""
        return inner_latency(self.plan, sample_rate, int(options["delay"]))

    def settling(self, sample_rate: float) -> int:
        """Return the frames of input that a worker which joins needs, beyond its latency, until it sounds as it will."""
        return max((p.stage.settle(sample_rate, p.options) for p in self.plan.inner), default=0)


def hop_frames(plan: Plan, sample_rate: float, hop_ms: float) -> int:
    """Return a hop in frames."""
    frames = max(1, round(hop_ms * 1e-3 * sample_rate))
    return max(-(-frames // SEGMENT) * SEGMENT, SEGMENT) if plan.kind == "chain" else max(frames, SEGMENT)


def inner_latency(plan: Plan, sample_rate: float, delay: int) -> int:
    """Return the frames by which what runs in a worker delays."""
    if plan.kind == "chain":
        return sum(p.stage.latency(sample_rate, p.options) for p in plan.inner)
    return delay


def parameter_name(key: str, name: str) -> str:
    """Return what a parameter of a stage within the lane is called from outside."""
    return f"{re.sub(r'[^a-z0-9]', '_', key.lower())}_{name}"


def table(inner: Sequence[Placed]) -> tuple[Param, ...]:
    """Return the lane's parameters: of each stage its own, then its bypass."""
    rows: list[Param] = []
    for p in inner:
        for one in p.stage.parameters:
            rows.append(
                Param(
                    parameter_name(p.key, one.name),
                    one.unit,
                    one.minimum,
                    one.maximum,
                    p.values[one.name],
                    one.scale,
                    one.help,
                    one.choices,
                    one.smooth_ms,
                )
            )
        rows.append(
            Param(
                parameter_name(p.key, "bypass"),
                "",
                0,
                1,
                float(p.bypass),
                help=f"1 = hear the input of {p.key}",
                smooth_ms=BYPASS_MS,
            )
        )
    return tuple(rows)


def read(spec: Mapping[str, Any], provided: Collection[str]) -> tuple[str, dict[str, Any]]:
    """Return a lane's canonical stage name, and its settings, of what a chain's specification says under `lane`.

    `provided` are the analysis stages in front of it, whose results the bus carries to the worker.
    """
    from autovoice.rt.casting import own_voices
    from autovoice.rt.chain import place_all
    from autovoice.rt.presets import describe

    settings = dict(spec)
    run = settings.pop("lane", None)
    if run is None:
        run = str(settings.pop("stage")).removeprefix(PREFIX)
    if isinstance(run, str):
        if kind_of(run) != "chain":
            return PREFIX + run, settings
        run = stages_of(run)
    if not isinstance(run, (list, tuple)) or not run:
        raise StageError(f"a lane runs a list of stages, a model's file or module:Class, got {str(run)[:80]!r}")
    inner = place_all(run, provided)
    names: list[Any] = []
    given: dict[str, Any] = {}
    for p in inner:
        if isinstance(p.stage, LaneStage):
            raise StageError("a lane cannot hold another lane")
        if own := own_voices(p.stage.name, p.values):
            raise StageError(f"a lane's worker knows the voices that ship, and not {own[0]}; put {p.key} into the chain itself")
        spec_of = describe(p)
        for one in p.stage.parameters:
            if p.values[one.name] != one.default:
                given[parameter_name(p.key, one.name)] = p.values[one.name]
            spec_of.pop(one.name, None)
        if spec_of.pop("bypass", False):
            given[parameter_name(p.key, "bypass")] = 1.0
        for option in p.stage.options:
            if spec_of[option.name] == _default(option):
                del spec_of[option.name]
        names.append(spec_of["stage"] if len(spec_of) == 1 else spec_of)
    plain = all(isinstance(name, str) and "+" not in name and ":" not in name for name in names)
    text = "+".join(names) if plain else json.dumps(names, sort_keys=True)
    return PREFIX + text, {**given, **settings}


def _default(option: Param) -> object:
    return option.choices[int(option.default)] if option.choices else option.default


@cache
def load_lane(name: str) -> LaneStage:
    """Return the stage of a canonical name that `read` gave; control thread only."""
    from autovoice.rt.chain import place_all

    text = name.removeprefix(PREFIX)
    kind = kind_of(text)
    inner: tuple[Placed, ...] = ()
    if kind == "chain":
        inner = tuple(place_all(stages_of(text), None))
        import autovoice.rt.lane.chain_worker  # noqa: F401  compiled here, so that the worker finds it in the cache
    plan = Plan(kind, text if kind == "chain" else absolute(text), inner)
    parameters = table(inner)
    if len(parameters) > MOST_PARAMETERS:
        raise StageError(f"a lane has at most {MOST_PARAMETERS} parameters, these have {len(parameters)}; make two lanes")
    block = np.dtype([(p.name, "f4", (SEGMENT,)) for p in parameters] or [("unused", "f4", (SEGMENT,))], align=True)
    what = " + ".join(p.key for p in inner) if inner else text

    def latency(sample_rate: float, hop: float, reserve: float, delay: float, standby: str) -> int:
        whole = hop_frames(plan, sample_rate, hop) + round(reserve * 1e-3 * sample_rate)
        return whole + inner_latency(plan, sample_rate, int(delay))

    def settle(sample_rate: float, **options: Any) -> int:
        return max((p.stage.settle(sample_rate, p.options) for p in plan.inner), default=0)

    return LaneStage(
        name=name,
        help=f"In a process of its own: {what}.",
        parameters=parameters,
        options=OPTIONS,
        state=audio.LANE_STATE,
        parameter_block=block,
        address=cast(int, audio.PLAY.address),
        _latency=latency,
        _settle=settle,
        _memory=lambda sample_rate, **options: 0,
        _prepare=lambda state, sample_rate, **options: None,
        spreads=any(p.stage.spreads for p in inner),
        entry=audio.PLAY,
        module=audio,
        plan=plan,
    )
