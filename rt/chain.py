"""A chain: which stages, in which order, with which settings; rendered, analysed, or handed to an engine."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from autovoice.dsp.stage import MAX_CHANNELS, SEGMENT, Stage, StageError, check_sample_rate, load, suggest
from autovoice.rt.casting import numbered
from autovoice.rt.layout import MAX_STAGES

_KEY = re.compile(r"[A-Za-z0-9_-]{1,32}")  # part of paths and of OSC addresses
Spec = str | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Placed:
    """One stage in a chain, with its name there and its settings."""

    key: str  # the stage's own name, or the one it was given: `shift`, `shift_2`, `octave`
    stage: Stage
    values: dict[str, float]
    options: dict[str, Any]
    bypass: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A parameter change at an absolute frame; those of one frame are applied together."""

    frame: int
    path: str  # `shift/semitones`, `shift/bypass`, `master/mix`
    value: float


@dataclass(frozen=True, slots=True)
class Track:
    """What the analysis stages found over time; every array has the shape (points,)."""

    time_s: np.ndarray[Any, Any]  # of the audio that the values speak of
    f0_hz: np.ndarray[Any, Any]  # 0 = unvoiced
    voicing: np.ndarray[Any, Any]  # 0..1
    vad: np.ndarray[Any, Any]  # 0..1
    level_dbfs: np.ndarray[Any, Any]
    vad_probability: np.ndarray[Any, Any]  # 0..1
    noise_dbfs: np.ndarray[Any, Any]  # of the gate's noise floor
    gating_ratio: np.ndarray[Any, Any]  # share of the time the gate was closed
    vibrato_hz: np.ndarray[Any, Any]  # rate, 0 = none
    vibrato_cents: np.ndarray[Any, Any]  # extent: from the middle to the peak
    vibrato_regularity: np.ndarray[Any, Any]  # 0..1
    tilt_db: np.ndarray[Any, Any]  # per octave
    dynamics_db: np.ndarray[Any, Any]
    hnr_db: np.ndarray[Any, Any]  # harmonics to noise
    target_hz: np.ndarray[Any, Any]  # of the tuner, 0 = none
    buffered_s: np.ndarray[Any, Any]  # of the stretcher
    gate_db: np.ndarray[Any, Any]
    denoise_db: np.ndarray[Any, Any]
    deesser_db: np.ndarray[Any, Any]
    compressor_db: np.ndarray[Any, Any]
    limiter_db: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Chain:
    """Stages in order.

    Each is named (`"gate"`), a file (`"mystage.py"`) or a mapping with `stage`, its parameters and options by name, and
    optionally `name` (how it is addressed) and `bypass`. Voices may be given by their names. A stage that needs another's
    analysis (`shift` needs `pitch`) gets it put in front of it when none stands there. Control thread only: stages are
    compiled on first use. Raises StageError that says what to change.
    """

    specs: Sequence[Spec]
    placed: tuple[Placed, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Load and check every stage."""
        placed = place_all(self.specs)
        if len(placed) > MAX_STAGES:
            raise StageError(f"a chain holds at most {MAX_STAGES} stages, got {len(placed)}")
        object.__setattr__(self, "placed", tuple(placed))

    def __getitem__(self, key: str) -> Placed:
        """Return the stage of that name; raises StageError that offers the nearest."""
        for entry in self.placed:
            if entry.key == key:
                return entry
        raise StageError(f"no stage in the chain is called {key!r}{suggest(key, [p.key for p in self.placed])}")

    def canonical(self, path: str) -> str:
        """Return a parameter's path; `shift/semitones` also means that of a `shift` which stands in a lane."""
        key, _, name = path.partition("/")
        if any(p.key == key for p in self.placed):
            return path
        within = f"{re.sub('[^a-z0-9]', '_', key.lower())}_{name}"
        lanes = [p.key for p in self.placed if is_lane(p) and any(one.name == within for one in p.stage.parameters)]
        return f"{lanes[0]}/{within}" if lanes else path

    def with_values(self, values: Mapping[str, float]) -> Chain:
        """Return this chain with other settings, given by path (`shift/semitones`, `gate/bypass`) and already checked."""
        chain = copy.copy(self)
        placed = []
        for p in self.placed:
            own = {name: values.get(f"{p.key}/{name}", value) for name, value in p.values.items()}
            placed.append(replace(p, values=own, bypass=bool(values.get(f"{p.key}/bypass", p.bypass))))
        object.__setattr__(chain, "placed", tuple(placed))
        return chain

    @classmethod
    def of(cls, placed: Sequence[Placed]) -> Chain:
        """Return a chain of exactly these, as a lane's worker runs them."""
        chain = cls(())
        object.__setattr__(chain, "placed", tuple(placed))
        return chain

    def all_placed(self) -> tuple[Placed, ...]:
        """Return every stage that does work, those of a lane in the lane's place."""
        return tuple(one for p in self.placed for one in (p.stage.plan.inner if is_lane(p) else (p,)))  # type: ignore[attr-defined]

    def latency(self, sample_rate: float) -> int:
        """Return the frames by which the chain delays audio at a sample rate in Hz."""
        rate = check_sample_rate(sample_rate)
        return sum(p.stage.latency(rate, p.options) for p in self.placed)

    def render(
        self,
        dry: np.ndarray[Any, Any],
        *,
        sample_rate: float,
        block: int = 64,
        events: Sequence[Event] = (),
        compensate: bool = True,
        channels: int | None = None,
    ) -> np.ndarray[Any, Any]:
        """Process a recording exactly as it would sound live.

        `dry` is float of shape (frames,) or (channels, frames), 1..8 channels; the result is float32 of the same shape, or
        (channels, frames) where `channels` asks for another number: 2 lets a chain that spreads make stereo of mono.
        The declared latency is cut off the front unless `compensate` is False. `block` is the driver block that a live run
        would have had; it does not change a bit of the result. Raises StageError for shapes, rates and values out of range.
        """
        from autovoice.rt.rendering import render

        return render(self, dry, sample_rate=sample_rate, block=block, events=events, compensate=compensate, channels=channels)[
            0
        ]

    def analyse(self, dry: np.ndarray[Any, Any], *, sample_rate: float) -> Track:
        """Return what the analysis stages put on the bus while `dry` (as in `render`) passes through the chain."""
        from autovoice.rt.rendering import render

        bus = render(self, dry, sample_rate=sample_rate, block=SEGMENT, trace=True)[1]
        frame = np.arange(len(bus)) * SEGMENT
        if any(p.stage.name == "pitch" for p in self.all_placed()):  # one point for each decision of the tracker
            kept = np.flatnonzero(np.diff(bus["f0_frame"], prepend=bus["f0_frame"][:1] - 1) > 0)
            bus, frame = bus[kept], bus["f0_frame"][kept]
            bus, frame = bus[frame >= 0], frame[frame >= 0]
        names = [f.name for f in fields(Track) if f.name != "time_s"]
        return Track(time_s=frame / sample_rate, **{name: np.array(bus[name]) for name in names})


LOCAL = ("marks",)  # analysis that does not cross to another process, and speaks of no sound that came back from one


def place_all(specs: Sequence[Spec], provided: Collection[str] | None = ()) -> list[Placed]:
    """Place stages in order; analysis that is missing is put in front of what needs it, unless it is `provided`.

    Where `provided` is None, nothing is added.
    """
    placed: list[Placed] = []
    for spec in specs:
        _append(spec, placed, provided)
    return placed


def _append(spec: Spec, placed: list[Placed], provided: Collection[str] | None) -> None:
    """Place a stage at the end, after the analysis it needs, and what that needs in its turn."""
    entry = _place(spec, placed)
    if provided is not None:
        for needed in getattr(entry.stage.module, "REQUIRES", ()):
            if needed not in _present(placed, needed in LOCAL) and needed not in provided:
                _append(needed, placed, provided)
    placed.append(entry)


def is_lane(placed: Placed) -> bool:
    """Say whether a process of its own does the work."""
    return placed.stage.name.startswith("lane:")


def _present(placed: Sequence[Placed], local: bool = False) -> set[str]:
    """Return which stages stand in a chain; with `local`, behind its last lane."""
    after = max((k + 1 for k, p in enumerate(placed) if is_lane(p)), default=0) if local else 0
    return {p.stage.name for p in placed[after:]}


def _place(spec: Spec, placed: Sequence[Placed]) -> Placed:
    taken = {p.key for p in placed}
    if isinstance(spec, str):
        spec = {"stage": spec}
    settings = dict(spec)
    name = settings.pop("stage", None)
    if "lane" in settings or (isinstance(name, str) and name.startswith("lane:")):
        return _place_lane(spec, placed)
    if not isinstance(name, str):
        raise StageError(f"a stage is named by a string under 'stage', got {name!r}")
    given = settings.pop("name", None)
    bypass = bool(settings.pop("bypass", False))
    stage = load(name)
    return _settled(stage, stage.name, given, bypass, settings, taken)


def _place_lane(spec: Mapping[str, object], placed: Sequence[Placed]) -> Placed:
    """Place a lane, with the analysis in its worker that the bus does not bring there."""
    from autovoice.rt.lane.stage import load_lane, read

    name, settings = read(spec, _present(placed) - set(LOCAL))
    given = settings.pop("name", None)
    bypass = bool(settings.pop("bypass", False))
    return _settled(load_lane(name), "lane", given, bypass, settings, {p.key for p in placed})


def _settled(stage: Stage, name: str, given: object, bypass: bool, settings: Mapping[str, object], taken: set[str]) -> Placed:
    """Give a stage its key and its values."""
    key = str(given) if given is not None else _free_key(name, taken)
    if not _KEY.fullmatch(key):
        raise StageError(f"a stage's name in the chain has 1 to 32 letters, digits, _ and -, got {key[:80]!r}")
    if key in taken or key == "master":
        raise StageError(f"two stages of the chain are called {key!r}; give one another name")
    values, options = stage.configure(numbered(stage.name, settings))
    return Placed(key, stage, values, options, bypass)


def _free_key(name: str, taken: set[str]) -> str:
    key, count = name, 1
    while key in taken:
        count += 1
        key = f"{name}_{count}"
    return key


def check_channels(channels: int) -> int:
    """Return a usable channel count; raises StageError."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise StageError(f"channels must be in 1..{MAX_CHANNELS}, got {channels}")
    return channels
