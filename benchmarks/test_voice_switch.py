"""How long a change of voice takes, and whether anything is missing meanwhile: in the sound, and in the command."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import features
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice
from autovoice.rt import Chain, Engine, Event, casting
from autovoice.rt.control.conductor import Conductor
from autovoice.tools.convert import MODES, STAGES

RATE = 48_000  # Hz
FRAME = RATE // 100
PAIRS = (("Ada", "Bruno"), ("Otto", "Nora"), ("Hugo", "Clara"))
MOMENTS_S = (2.0, 3.1, 4.3, 5.2)
AFTER_S = 0.6
DONE = 0.9  # of the way from one voice's bands to the other's
BAR_MS = 200.0
DIP_DB, STEP = 3.0, 1.5
HEARD_DB = 30.0  # below the loud moments (95 %): what is softer is no speech
NEWCOMERS = 20


def levels(sound: np.ndarray) -> np.ndarray:
    """Return the level of each 10 ms, dB."""
    return 10 * np.log10(np.mean(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME) ** 2, 1) + 1e-9)


def way(heard: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return for each hop how far the bands are on the way from one voice's to the other's, 0..1."""
    a, b, c = (features.bands(one, RATE) for one in (before, after, heard))
    return np.asarray(((c - a) * (b - a)).sum(1) / np.maximum(((b - a) ** 2).sum(1), 1e-9))


@pytest.mark.parametrize("mode", MODES)
def test_voice_switch(mode: str, voice: np.ndarray, report: Callable[[dict[str, Any]], None]) -> None:
    """A change of voice: from the move until 90 % of it is heard; the deepest dip and the largest step beside its twins."""
    sound = voice[: round((MOMENTS_S[-1] + 2) * RATE)]
    done_ms: dict[str, list[float]] = {"voice": [], "morph": []}
    dips, steps = [], []
    slots = casting.slots()
    for names in PAIRS:
        one, other = (slots.acquire(name) for name in names)

        def play(events: tuple[Event, ...] = (), **settings: float) -> np.ndarray:
            chain = Chain([{"stage": "convert", "mode": mode, "match": 0, **settings}])
            return chain.render(sound, sample_rate=RATE, events=events, compensate=False)

        before, after = play(voice=one), play(voice=other)
        for moment_s in MOMENTS_S:
            at = round(moment_s * RATE)
            inside = slice(at, at + round(AFTER_S * RATE))
            for how, settings, event in (
                ("voice", {"voice": one}, Event(at, "convert/voice", other)),
                ("morph", {"voice": one, "other": other}, Event(at, "convert/morph", 1.0)),
            ):
                heard = play((event,), **settings)
                share = way(heard[inside], before[inside], after[inside])
                late = np.flatnonzero(share < DONE)
                done_ms[how].append(10.0 * (late[-1] + 1 if len(late) else 0))
                quieter = np.minimum(levels(before[inside]), levels(after[inside]))
                dips += list((levels(heard[inside]) - quieter)[quieter > np.percentile(levels(before), 95) - HEARD_DB])
                steady = max(np.abs(np.diff(twin[inside])).max() for twin in (before, after))
                steps.append(np.abs(np.diff(heard[inside])).max() / steady)
    found = {
        f"{how}_{name}_ms": value
        for how, each in done_ms.items()
        for name, value in (("p50", float(np.median(each))), ("worst", max(each)))
    }
    dip = {"dip_worst_db": float(min(dips)), "dip_p1_db": float(np.percentile(dips, 1))}
    report(found | dip | {"bar_ms": BAR_MS, "step_worst_ratio": float(max(steps))})
    assert max(map(max, done_ms.values())) <= BAR_MS
    assert min(dips) > -DIP_DB
    assert max(steps) < STEP


def test_voice_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Callable[[dict[str, Any]], None]) -> None:
    """The command `voice`, live, for voices of one's own that are in no slot yet: until it has answered, and misses."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    random = np.random.default_rng(1)
    for k in range(NEWCOMERS):
        values = speaker_encoder.raw(random.standard_normal(128))
        voices.keep(Voice(f"Newcomer {k}", values, 150.0, 110.0, 210.0, consent="made up"))
    took_ms = []
    with (
        Engine(Chain(STAGES), backend="null", block=64, name=f"switch-{os.getpid()}") as engine,
        Conductor(engine) as conductor,
    ):
        conductor.do("voice", "Bruno")
        misses = engine.stats().misses
        for k in range(NEWCOMERS):
            begun = time.perf_counter()
            conductor.do("voice", f"Newcomer {k}")
            took_ms.append(1e3 * (time.perf_counter() - begun))
            time.sleep(0.1)
        misses = engine.stats().misses - misses
    report({"p50_ms": float(np.median(took_ms)), "worst_ms": max(took_ms), "misses_number": misses, "voices_number": NEWCOMERS})
    assert np.median(took_ms) < 50.0
