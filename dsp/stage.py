"""The stage contract: tables that describe a stage, and the loader that compiles and checks it.

A stage is a module with these names at its top level (only `process` is required):

    PARAMETERS = (Param("rate", "Hz", 0.1, 20.0, 5.0, help="how fast"),)      moved while it runs, smoothed for you
    OPTIONS = (Option("lookahead", "ms", 0.0, 5.0, 2.0, help="how early"),)   fixed while it runs: they set the latency
    STATE = [("phase", "f8"), ("delay", "f4", (4096,))]                       memory of one channel, as NumPy fields
    def latency(sample_rate, **options): return 0                             frames of delay, exactly
    def settle(sample_rate, **options): return 0                              frames of input before it sounds right
    def memory(sample_rate, **options): return 0                              float32 values of memory per channel, see below
    SPREADS = True                                                            it makes stereo of mono: even channels left
    def prepare(state, sample_rate, **options): ...                           fills state, shape (channels,)
    def process(s, p, x, block): ...                                          compiled; runs on the audio thread

In `process`, `s[c].phase` is the state of channel c; `x[c, i]` is frame i of channel c, float32, processed in place, valid
for `i < block.frames`; `p.rate[i]` is the parameter at that frame; `block.frame` is the absolute number of frame 0.
`block.bus` holds what analysis stages found (see BUS); an analysis stage writes `block.post`, which becomes `block.bus`
for every stage at the next absolute multiple of SEGMENT frames. The engine never calls `process` across such a multiple.

What is long, such as a delay line, goes into `memory`, which is laid out for the sample rate at hand: a field
`("memory", "i8")` of STATE then holds the address of each channel's float32 values, zero at the start.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from autovoice.dsp import native
from autovoice.dsp.bus import BLOCK as BLOCK
from autovoice.dsp.bus import BUS as BUS
from autovoice.dsp.bus import MAX_CHANNELS as MAX_CHANNELS
from autovoice.dsp.bus import SEGMENT as SEGMENT
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import RealTimeViolation, compile_entry

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000  # Hz
MAX_MEMORY = 1 << 24  # float32 values of a stage's memory per channel
SMOOTH_MS = 20.0  # the time a parameter takes to reach a new value, in a straight line

ENTRY_SIGNATURE = numba.types.void(*[numba.types.uintp] * 4)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ENTRY_SOURCE = """def {name}(state, parameters, audio, block):
    b = record_at(block, BLOCK)
    process(
        carray(as_pointer(state), (b.channels,), STATE_DTYPE),
        record_at(parameters, PARAMETERS_DTYPE),
        carray(as_pointer(audio), (b.channels, SEGMENT), float32),
        b,
    )
"""


class StageError(ValueError):
    """A stage, a parameter or a value that the contract does not take; the message says the way out."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter in real units, moved while the stage runs; `process` reads it per frame, already smoothed.

    `scale` is how a fader should move ("linear", "log", or "switch" and "choice", which step and are not smoothed).
    A choice's value is the index into `choices`. Raises StageError where the table contradicts itself.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    default: float
    scale: Literal["linear", "log", "switch", "choice"] = "linear"
    help: str = ""
    choices: tuple[str, ...] = ()
    smooth_ms: float = SMOOTH_MS

    def __post_init__(self) -> None:
        """Refuse a table that contradicts itself."""
        if not _NAME.fullmatch(self.name):
            raise StageError(f"parameter name must match {_NAME.pattern}, got {self.name!r}")
        if not self.minimum <= self.default <= self.maximum:
            raise StageError(f"{self.name}: the default must be in {self.minimum:g}..{self.maximum:g}, got {self.default:g}")
        if self.scale == "log" and self.minimum <= 0:
            raise StageError(f"{self.name}: a log scale needs a minimum above 0, got {self.minimum:g}")
        if self.scale == "choice" and len(self.choices) != self.maximum + 1:
            raise StageError(f"{self.name}: {len(self.choices)} choices need the range 0..{len(self.choices) - 1}")

    @property
    def steps(self) -> bool:
        """Whether the value jumps instead of gliding."""
        return self.scale in ("switch", "choice") or self.smooth_ms <= 0

    def check(self, value: object) -> float:
        """Return the value as a float within the range; raises StageError that names value, range and way out."""
        if isinstance(value, str) and self.choices:
            if value in self.choices:
                return float(self.choices.index(value))
            raise StageError(f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}")
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise StageError(f"{self.name} must be a number in {self.range_text()}, got {value!r}") from None
        whole = self.scale not in ("switch", "choice") or number.is_integer()
        if not (math.isfinite(number) and self.minimum <= number <= self.maximum and whole):
            raise StageError(f"{self.name} must be in {self.range_text()}, got {value}")
        return number

    def clamp(self, value: float) -> float:
        """Return the nearest value in range; the default for NaN. For callers that must not fail, such as OSC."""
        return self.default if math.isnan(value) else min(max(value, self.minimum), self.maximum)

    def range_text(self) -> str:
        """Say the range with its unit, `-90..0 dB`, or the choices."""
        if self.choices:
            return " | ".join(self.choices)
        return f"{self.minimum:g}..{self.maximum:g} {self.unit}".rstrip()


class Option(Param):
    """One setting that is fixed while the stage runs, because it sets the latency or the layout; changed by a swap."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A loaded, compiled and vetted stage. Immutable; any thread may read it."""

    name: str
    help: str
    parameters: tuple[Param, ...]
    options: tuple[Option, ...]
    state: np.dtype[np.void]
    parameter_block: np.dtype[np.void]
    address: int  # of `void process(state*, parameters*, audio*, block*)`
    _latency: Callable[..., int]
    _settle: Callable[..., int]
    _memory: Callable[..., int]
    _prepare: Callable[..., None]
    spreads: bool  # makes stereo of mono
    entry: object = field(repr=False)  # keeps the machine code alive
    module: ModuleType = field(repr=False)

    def parameter(self, name: str) -> int:
        """Return the index of a parameter; raises StageError that offers the nearest name."""
        names = [p.name for p in self.parameters]
        if name not in names:
            raise StageError(f"{self.name} has no parameter {name!r}{suggest(name, names)}")
        return names.index(name)

    def configure(self, settings: Mapping[str, object]) -> tuple[dict[str, float], dict[str, Any]]:
        """Split settings by name into checked parameter values and options, with defaults for what is not named."""
        known = [p.name for p in (*self.parameters, *self.options)]
        for name in settings:
            if name not in known:
                raise StageError(f"{self.name} has no parameter {name!r}{suggest(name, known)}")

        def values(table: Iterable[Param]) -> dict[str, float]:
            return {p.name: self._checked(p, settings[p.name]) if p.name in settings else p.default for p in table}

        chosen = {o.name: o for o in self.options}
        return values(self.parameters), {
            name: chosen[name].choices[int(value)] if chosen[name].choices else value
            for name, value in values(self.options).items()
        }

    def _checked(self, parameter: Param, value: object) -> float:
        try:
            return parameter.check(value)
        except StageError as error:
            raise StageError(f"{self.name}/{error}") from None

    def latency(self, sample_rate: float, options: Mapping[str, Any]) -> int:
        """Return the frames by which the stage delays audio."""
        return self._frames("latency", self._latency(sample_rate, **options))

    def settle(self, sample_rate: float, options: Mapping[str, Any]) -> int:
        """Return the frames of input the stage needs, beyond its latency, before it sounds as it will."""
        return self._frames("settle", self._settle(sample_rate, **options))

    def memory(self, sample_rate: float, options: Mapping[str, Any]) -> int:
        """Return the float32 values of memory that each channel needs beside its state."""
        return self._frames("memory", self._memory(sample_rate, **options), MAX_MEMORY)

    def _frames(self, what: str, value: object, most: int = 1 << 20) -> int:
        if not isinstance(value, (int, np.integer)) or not 0 <= int(value) <= most:
            raise StageError(f"{self.name}: {what}() must give a whole number in 0..{most}, got {value!r}")
        return int(value)

    def prepare(self, state: np.ndarray[Any, Any], sample_rate: float, options: Mapping[str, Any]) -> None:
        """Fill zeroed state, shape (channels,), for a sample rate in Hz. Control thread only."""
        self._prepare(state, sample_rate, **options)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what there is where nothing is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known) or 'none'}"


def check_sample_rate(sample_rate: float) -> float:
    """Return a usable sample rate in Hz; raises StageError."""
    if not (math.isfinite(sample_rate) and MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE):
        raise StageError(f"sample_rate must be in {MIN_SAMPLE_RATE}..{MAX_SAMPLE_RATE} Hz, got {sample_rate:.12g}")
    return float(sample_rate)


STAGES = Path(__file__).resolve().parent / "stages"


def stage_names() -> list[str]:
    """Return the names of the stages that come with AutoVoice."""
    return sorted(p.stem for p in STAGES.glob("*.py") if not p.stem.startswith("_"))


@cache
def stage_summaries() -> dict[str, str]:
    """Return what each stage that comes with AutoVoice is for, in a line, by its name; compiles nothing."""
    lines = {name: ast.get_docstring(ast.parse(stage_file(name).read_text(encoding="utf-8"))) for name in stage_names()}
    return {name: (text or "").partition("\n")[0] for name, text in lines.items()}


def stage_file(name: str) -> Path:
    """Return the file of a stage that comes with AutoVoice, or of a user's, named by its path; it may not exist."""
    return Path(name).expanduser().resolve() if name.endswith(".py") else STAGES / f"{name}.py"


@cache
def load(name: str) -> Stage:
    """Load a stage by name, or a user's by the path of its file (anything that ends in `.py`).

    Compiles it or takes it from the cache; control thread only. Raises StageError that says what to change.
    """
    if name.endswith(".py"):
        path = stage_file(name)
        if not path.is_file():
            raise StageError(f"no stage file at {name}")
        return _build(path.stem, _import_file(path))
    names = stage_names()
    if name not in names:
        raise StageError(f"no stage is called {name!r}{suggest(name, names)}")
    return _build(name, importlib.import_module(f"autovoice.dsp.stages.{name}"))


def _import_file(path: Path) -> ModuleType:
    name = f"autovoice_user_stage_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba looks a function's module up by name
    try:
        spec.loader.exec_module(module)
    except StageError:
        raise
    except Exception as error:
        raise StageError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _build(name: str, module: ModuleType) -> Stage:
    where = module.__file__ or name
    if not _NAME.fullmatch(name):
        raise StageError(f"{where}: a stage's file name must match {_NAME.pattern}.py")
    process = getattr(module, "process", None)
    if not inspect.isfunction(process) or list(inspect.signature(process).parameters) != ["s", "p", "x", "block"]:
        raise StageError(f"{where}: a stage needs a function process(s, p, x, block)")
    parameters = _table(module, "PARAMETERS", Param, where)
    options = _table(module, "OPTIONS", Option, where)
    if twice := {p.name for p in (*parameters, *options) if sum(q.name == p.name for q in (*parameters, *options)) > 1}:
        raise StageError(f"{where}: two parameters are called {twice.pop()!r}")
    state = np.dtype(getattr(module, "STATE", None) or [("unused", "i8")], align=True)
    # A row of SEGMENT values each, so that one index serves audio and parameters alike.
    parameter_block = np.dtype([(p.name, "f4", (SEGMENT,)) for p in parameters] or [("unused", "f4", (SEGMENT,))], align=True)
    if hasattr(module, "memory") and ("memory" not in (state.names or ()) or state["memory"] != np.dtype("i8")):
        raise StageError(f'{where}: a stage with memory() needs the field ("memory", "i8") in STATE, for its address')
    entry = _compile(name, module, process, state, parameter_block)
    return Stage(
        name=name,
        help=(inspect.getdoc(module) or "").strip(),
        parameters=parameters,
        options=options,
        state=state,
        parameter_block=parameter_block,
        address=int(entry.address),
        _latency=getattr(module, "latency", lambda sample_rate, **options: 0),
        _settle=getattr(module, "settle", lambda sample_rate, **options: 0),
        _memory=getattr(module, "memory", lambda sample_rate, **options: 0),
        _prepare=getattr(module, "prepare", lambda state, sample_rate, **options: None),
        spreads=bool(getattr(module, "SPREADS", False)),
        entry=entry,
        module=module,
    )


def _table(module: ModuleType, name: str, kind: type[Any], where: str) -> tuple[Any, ...]:
    table = tuple(getattr(module, name, ()))
    for row in table:
        if type(row) is not kind:
            raise StageError(f"{where}: {name} holds {kind.__name__} rows, got {row!r}")
    return table


def _compile(name: str, module: ModuleType, process: Callable[..., None], state: Any, parameter_block: Any) -> Any:
    """Compile the entry under the stage's own file name, so that Numba's cache follows edits of that file.

    It is given the line of `process`, too: Numba reads the source there for its messages, and from Python 3.13 on fails
    where it finds no function.
    """
    scope: dict[str, Any] = {
        "process": native.helper(process),
        "record_at": native.record_at,
        "as_pointer": native.as_pointer,
        "carray": numba.carray,
        "float32": np.float32,
        "BLOCK": BLOCK,
        "STATE_DTYPE": state,
        "PARAMETERS_DTYPE": parameter_block,
        "SEGMENT": SEGMENT,
        "__name__": module.__name__,
    }
    source = "\n" * (process.__code__.co_firstlineno - 1) + _ENTRY_SOURCE.format(name=name)
    exec(compile(source, str(module.__file__), "exec"), scope)
    try:
        return compile_entry(scope[name], ENTRY_SIGNATURE)
    except RealTimeViolation as error:
        raise StageError(f"{module.__file__}: process is not safe on the audio thread: {error}") from error
    except ValueError as error:
        raise StageError(f"{module.__file__}: process {error}") from error
