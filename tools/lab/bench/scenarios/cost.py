"""What one callback costs: every stage, the demo chain and the presets, at blocks of 16 to 1024 frames of a voice.

The blocks are driven by compiled code as fast as it goes, and each counts with its least time over several passes over the
same sound: what is left is the code's own cost and unevenness. What a stage costs by itself is the mean of its chain less that
of the analysis it builds on and of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain
from autovoice.rt.presets import load_preset, preset_names
from autovoice.tools.lab.bench.offline import least_of
from autovoice.tools.lab.bench.rig import DEMO_CHAIN, voice
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.percentiles import figures_of, histogram_us
from autovoice.tools.lab.results import Result, Role, Run, Series

HEADLINE = ("own_mean_us", "callback_p50_us", "callback_p99_us", "callback_p999_us", "callback_max_us", "mean_load")
BLOCKS = (16, 32, 64, 128, 256, 512, 1024)
PASSES = 3
AT_WORK: dict[str, dict[str, Any]] = {
    "shift": {"semitones": 4.0},
    "gain": {"gain": -6.0},
    "eq": {f"band{k}_gain": gain for k, gain in enumerate((3.0, -3.0, 2.0, -2.0, 1.0), 2)} | {"band1_type": "low_cut"},
    "harmony": {f"level_{k}": -6.0 for k in range(1, 5)} | {"degree_2": 4, "degree_3": -3, "degree_4": 7},
    "stretch": {"speed": 0.8},
}
"""Settings of the stages that rest at their defaults."""
EMPTY = "engine alone"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be measured: its chain or specs, with the outputs it is meant for, and what it builds on."""

    kind: str  # "engine", "stage", "chain" or "preset"
    chain: Chain | list[Any]
    below: list[Any] = field(default_factory=list)  # the analysis before a stage; nothing, but the engine, before a chain
    out_channels: int | None = None


def subjects(settings: Settings) -> dict[str, Subject]:
    """Return everything that is to be measured by name; only the engine and the chain that was asked for, if one was."""
    found = {EMPTY: Subject("engine", [])}
    if settings.chosen - {"block"}:
        return found | {settings.chain_name: Subject("chain", settings.chain, out_channels=settings.out_channels)}
    for name in stage_names():
        needed = [placed.stage.name for placed in Chain([name]).placed[:-1]]
        found[name] = Subject("stage", [*needed, {"stage": name, **AT_WORK.get(name, {})}], needed)
    found["demo chain"] = Subject("chain", DEMO_CHAIN)
    for name in preset_names():
        preset = load_preset(name)
        found[name] = Subject("preset", list(preset.stages), out_channels=preset.channels)
    return found


def run(settings: Settings, progress: Progress) -> Result:
    """Measure everything at every block, then all of it again, so that a slow minute does not fall on one series alone."""
    wanted = subjects(settings)
    blocks = (settings.block,) if "block" in settings.chosen else BLOCKS
    sound = voice(settings.sample_rate, settings.seconds)
    found: dict[tuple[str, int], list[Run]] = {(name, block): [] for name in wanted for block in blocks}
    total = settings.repeat * len(found)
    for k in range(settings.repeat):
        means: dict[tuple[str, int], float] = {}
        for n, (name, block) in enumerate(found):
            progress.at((k * len(found) + n) / total, f"{name}, {block} frames")
            found[name, block].append(_measure(settings, wanted[name], block, sound, means))
        progress.keep(_result(settings, wanted, found))
    return _result(settings, wanted, found)


def _measure(
    settings: Settings, wanted: Subject, block: int, sound: np.ndarray[Any, Any], means: dict[tuple[str, int], float]
) -> Run:
    """Measure one at one block; `means` remembers what the chains below took on average in this repetition."""
    us = least_of(PASSES, wanted.chain, sound, block, settings.sample_rate, wanted.out_channels) / 1e3
    mean = float(us.mean())
    metrics = {**figures_of("callback", us), "callback_mean_us": mean}
    metrics["frame_mean_ns"] = mean * 1e3 / block
    metrics["mean_load"] = mean * 1e-6 * settings.sample_rate / block
    if wanted.kind == "engine":
        means["[]", block] = mean
    else:
        key = repr(wanted.below), block
        if key not in means:
            means[key] = float(least_of(PASSES, wanted.below, sound, block, settings.sample_rate).mean()) / 1e3
        metrics["own_mean_us"] = mean - means[key]
    drawn = block == settings.block or wanted.kind in ("chain", "engine")
    return Run({key: round(value, 7) for key, value in metrics.items()}, {"callback": histogram_us(us)} if drawn else {})


def _result(settings: Settings, wanted: dict[str, Subject], found: dict[tuple[str, int], list[Run]]) -> Result:
    roles: dict[str, Role] = {"engine": "baseline"}
    series = [
        Series(name, roles.get(wanted[name].kind, "subject"), runs, {"block": float(block)})
        for (name, block), runs in found.items()
        if runs
    ]
    notes = [
        f"each block counts with the least of {PASSES} passes over {settings.seconds:g} s of a voice, mono",
        "own: a stage without the engine and the analysis it builds on; a chain without the engine",
    ]
    return Result("cost", "what one callback costs", settings.described(), series, [], notes)
