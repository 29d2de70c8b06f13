"""What live scenarios share: a voice to play, a driver to play it on, an engine on that."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.tools.lab.bench.scenarios import Settings
from autovoice.tools.options import CommandError
from autovoice.tools.private_jack import PrivateJack

if TYPE_CHECKING:
    from autovoice.rt.chain import Spec

Array = np.ndarray[Any, Any]

DEMO_CHAIN: list[Spec] = ["highpass", "gate", "pitch", {"stage": "shift", "semitones": 4.0}, "compressor", "limiter"]
VOICE_PEAK = 0.5  # of full scale
SYNTHETIC_S = 12.0


def voice(sample_rate: int = 48_000, seconds: float | None = None) -> Array:
    """Return a voice, peak 0.5, float32 (frames,): Debian's reading of Jane Austen, or a synthetic one where that is missing.

    Repeated where `seconds` asks for more than there is (25 s).
    """
    sound = recorded_voice(sample_rate)
    if sound is None:
        sound = _levelled(synthetic_voice(sample_rate))
    return sound if seconds is None else np.resize(sound, round(seconds * sample_rate))


def recorded_voice(sample_rate: int) -> Array | None:
    """Return Debian's reading, about 25 s, peak 0.5, float32 (frames,); None where it, or SciPy to resample it, is missing."""
    from autovoice.tools import speech

    paths: list[Path] = sorted(speech.FOLDER.glob("*.wav"))
    try:
        return _levelled(speech.load(paths, sample_rate, None)) if paths else None
    except CommandError:  # no SciPy to resample it with
        return None


def _levelled(sound: Array) -> Array:
    return np.asarray(VOICE_PEAK / np.abs(sound).max() * sound, np.float32)


def synthetic_voice(sample_rate: int) -> Array:
    """Return syllables of a gliding buzz over a noise floor: the gate opens and closes, a shifter finds a pitch."""
    random = np.random.default_rng(0)
    t = np.arange(round(SYNTHETIC_S * sample_rate)) / sample_rate
    phase = np.cumsum(120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.7 * t))) / sample_rate
    buzz = sum((np.sin(2 * np.pi * k * phase) / k for k in range(1, 12)), np.zeros_like(t))
    syllables = np.clip(np.sin(2 * np.pi * 1.3 * t) + 0.4, 0, None) ** 1.5
    return np.asarray(buzz / np.abs(buzz).max() * syllables + 0.003 * random.standard_normal(len(t)), np.float32)


class Rig:
    """The driver of a scenario: a private JACK server, or the clock; a context manager. Control thread only."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing runs yet."""
        self.settings = settings
        self.server: PrivateJack | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the server where there is to be one."""
        wanted = self.settings
        if wanted.backend == "jack":
            name = f"autovoice-bench-{os.getpid()}"
            server = PrivateJack(name, sample_rate=wanted.sample_rate, block=wanted.block)
            self.server = self._stack.enter_context(server)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self._stack.close()

    @contextlib.contextmanager
    def engine(
        self, chain: Chain | None = None, *, source: Array | None = None, latency: int | None = None
    ) -> Iterator[Engine]:
        """Play a sound, the voice unless another is given, over and over through a chain, live."""
        wanted = self.settings
        sound = voice(wanted.sample_rate) if source is None else source
        with Engine(
            wanted.chain if chain is None else chain,
            backend=wanted.backend,
            server=self.server.name if self.server else None,
            name="autovoice-bench",
            block=wanted.block,
            sample_rate=wanted.sample_rate,
            latency=latency,
            out_channels=wanted.out_channels or 1,
            options={"source": sound, "loop": True},
        ) as engine:
            if wanted.master:
                engine.set_many(wanted.master)
            yield engine


def pick_backend(wanted: str) -> str:
    """Return `jack` or `null` for `auto`, `jack` or `null`."""
    if wanted != "auto":
        return wanted
    return "jack" if PrivateJack.available() else "null"
