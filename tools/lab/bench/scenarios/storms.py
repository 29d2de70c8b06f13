"""Storms of changes while a steady tone plays: chains swapped as fast as the engine takes them, or parameters at 10 kHz.

A steady tone makes a click measurable: no step from one sample to the next may be much larger than the steepest of a sine of
the loudest sample's height, at the highest pitch the chain gives it, or than the steps it makes while nothing is changed.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.rt import Chain
from autovoice.rt.layout import MAX_STAGES
from autovoice.tools.lab.bench.observe import SETTLE_S, SLICE_S, Tick, Watch
from autovoice.tools.lab.bench.rig import Rig
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.bench.timer import HostTimer
from autovoice.tools.lab.results import Bar, Result, Run, Series

if TYPE_CHECKING:
    from autovoice.rt import Engine

HEADLINE = (
    "swaps_number", "events_number", "callback_p999_us", "callback_max_us", "misses_count", "clicks_count",
    "memory_growth_kib",
)  # fmt: skip
TONE_HZ, TONE_PEAK = 200.0, 0.2
CHANGES_HZ, BUNDLE = 10_000, 10  # changes a second, in groups that are applied at one frame
MOVED = 0.1  # of a parameter's range: how far it is moved about the value it has
SEMITONES = 3.0  # ... but a pitch
CLICK = 2.0  # times the steepest step of the tone
LEAD_S = 1.0  # after the start, until the tone is steady
WHAT = {"none": "no change", "swaps": "swaps as fast as they are taken", "moves": f"{CHANGES_HZ} changes a second"}
Storm = Callable[["Engine", float], Iterator[None]]


def run(settings: Settings, progress: Progress) -> Result:
    """Measure the storm that the scenario is named after, each time beside a calm run of the same length."""
    storm = settings.scenario
    chains = (settings.chain, other(settings.chain) if storm == "swaps" else settings.chain)
    runs: dict[str, list[Run]] = {"none": [], storm: []}
    host: list[Run] = []
    realtime = True
    parts = 2 * settings.repeat

    def result() -> Result:
        series = [Series(settings.chain_name, "subject", found, {"storm": name}) for name, found in runs.items() if found]
        series.append(Series("host timer", "baseline", host, {"storm": storm}))
        title = f"{settings.chain_name} live, {settings.block} frames: {WHAT[storm]}"
        return Result(storm, title, settings.described(), series, _bars(runs[storm], realtime=realtime), _notes(settings))

    with Rig(settings) as rig:
        for k in range(settings.repeat):
            steps = 0.0  # of the calm tone
            for name, found in runs.items():
                tick = progress.part(2 * k + (name != "none"), parts, WHAT[name], settings.seconds)
                taken, sound, real = _play(rig, chains, name, tick)
                realtime = realtime and real
                metrics, steps = clicks(sound, settings, steps, moved=name == "moves")
                found.append(Run({**taken[0].metrics, **metrics}, taken[0].histograms, taken[0].worst, taken[0].timeline))
                if name == storm:
                    host.append(taken[1])
            progress.keep(result())
    return result()


def other(chain: Chain) -> Chain:
    """Return the same chain with 3 dB less at its end."""
    specs = list(chain.specs)
    return Chain([*specs, {"stage": "gain", "gain": -3.0}] if len(chain.placed) < MAX_STAGES else specs)


def _play(rig: Rig, chains: tuple[Chain, Chain], storm: str, tick: Tick) -> tuple[tuple[Run, Run], np.ndarray[Any, Any], bool]:
    """Let a storm loose on a tone; what the engine and the host did, and the sound that came out."""
    settings = rig.settings
    rate = settings.sample_rate
    tone = TONE_PEAK * np.sin(2 * np.pi * TONE_HZ * np.arange(rate) / rate)  # whole periods: the loop has no seam
    reserve = max(chain.latency(rate) for chain in chains)
    with tempfile.TemporaryDirectory(prefix="autovoice-bench-") as folder, HostTimer() as timer:
        wet = Path(folder) / "wet.wav"
        with rig.engine(chains[0], source=tone.astype(np.float32), latency=reserve) as engine:
            time.sleep(SETTLE_S)
            engine.record(wet)
            time.sleep(LEAD_S)
            watch, begin, looked = Watch(engine, timer), time.monotonic(), 0.0
            for _ in STORMS[storm](engine, chains, settings.seconds):
                elapsed = time.monotonic() - begin
                if elapsed - looked >= SLICE_S:
                    looked = elapsed
                    watch.look()
                    tick(elapsed)
            watch.look()
            found = watch.run(), timer.run()
            engine.stop_recording()
            realtime = engine.realtime
        return found, _read(wet), realtime


def _read(path: Path) -> np.ndarray[Any, Any]:
    import soundfile

    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0])


def _calm(engine: Engine, chains: tuple[Chain, Chain], seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        yield


def _swaps(engine: Engine, chains: tuple[Chain, Chain], seconds: float) -> Iterator[None]:
    end, k = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        k += 1
        engine.swap(chains[k % 2])
        yield


def _moves(engine: Engine, chains: tuple[Chain, Chain], seconds: float) -> Iterator[None]:
    moved = random.Random(0)
    ranges = movable(chains[0])
    begin, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - begin) < seconds:
        while sent < elapsed * CHANGES_HZ / BUNDLE:
            paths = [ranges[(sent * BUNDLE + k) % len(ranges)] for k in range(min(BUNDLE, len(ranges)))]
            engine.set_many({path: moved.uniform(low, high) for path, low, high in paths})
            sent += 1
        time.sleep(BUNDLE / CHANGES_HZ)
        yield


STORMS: dict[str, Callable[[Engine, tuple[Chain, Chain], float], Iterator[None]]] = {
    "none": _calm,
    "swaps": _swaps,
    "moves": _moves,
}


def movable(chain: Chain) -> list[tuple[str, float, float]]:
    """Return (path, least, most) of every parameter that glides: a tenth of its range about the value it has."""
    found = []
    for placed in chain.placed:
        for row in placed.stage.parameters:
            if row.steps:
                continue
            value = placed.values.get(row.name, row.default)
            reach = SEMITONES if row.unit == "st" else MOVED * (row.maximum - row.minimum)
            if row.scale == "log":
                factor = (row.maximum / row.minimum) ** MOVED
                low, high = value / factor, value * factor
            else:
                low, high = value - reach, value + reach
            found.append((f"{placed.key}/{row.name}", max(low, row.minimum), min(high, row.maximum)))
    return [*found, ("master/output", -6.0, 0.0)]


def clicks(sound: np.ndarray[Any, Any], settings: Settings, calm: float, *, moved: bool) -> tuple[dict[str, float], float]:
    """Count the steps of a recording that no tone of its height makes; `calm` is the steepest of the calm run, 0 before it.

    Returns the metrics and the steepest step.
    """
    step = np.abs(np.diff(sound))
    if not len(step):
        return {}, 0.0
    semitones = max((p.values.get("semitones", 0.0) for p in settings.chain.placed), default=0.0) + SEMITONES * moved
    highest_hz = TONE_HZ * 2 ** (max(semitones, 0.0) / 12)
    sine = float(np.abs(sound).max()) * 2 * math.pi * highest_hz / settings.sample_rate
    limit = CLICK * max(sine, calm)
    largest = float(step.max())
    found = {"clicks_count": float(np.sum(step > limit)), "largest_step_number": largest, "tone_step_number": limit / CLICK}
    return found, largest


def _bars(runs: list[Run], *, realtime: bool) -> list[Bar]:
    if not runs:
        return []
    missed = sum(one.metrics["misses_count"] - one.metrics.get("misses_explained_number", 0.0) for one in runs)
    clicked = sum(one.metrics.get("clicks_count", 0.0) for one in runs)
    refused = "" if realtime else "the host grants no SCHED_FIFO"
    return [
        Bar("deadline misses of ours", missed, 0.0, "", held=realtime, remark=refused),
        Bar(f"steps above {CLICK:g} times the tone's steepest", clicked, 0.0, ""),
    ]


def _notes(settings: Settings) -> list[str]:
    return [f"a tone of {TONE_HZ:g} Hz, {20 * math.log10(TONE_PEAK):.0f} dBFS; the storm: {WHAT[settings.scenario]}"]
