"""Voices change while somebody speaks: no gap, no click, in every mode, however the change is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import voices as table
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice
from autovoice.rt import Chain, Engine, casting
from autovoice.rt.control.conductor import Conductor
from numpy.typing import NDArray
from support import Crank, wait_until

Signal = NDArray[np.float32]
RATE = 48_000  # Hz
AT = RATE  # the frame of the change
FRAME = RATE // 100  # of which the level is taken
DIP_DB = 2.0  # below the quieter of the two voices
STEP = 1.25  # of the largest step of the steady voices
MODES = ("low", "balanced", "quality")
FROM, TO, NEW = "Ada", "Bruno", "Kim"


@pytest.fixture(autouse=True)
def kim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """A voice of one's own, in the store and in no slot."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    values = speaker_encoder.raw(np.random.default_rng(1).standard_normal(128))
    voice = Voice(NEW, values, 150.0, 110.0, 210.0, consent="made up")
    voices.keep(voice)
    return voice


@cache
def speech(seconds: float = 2.0) -> Signal:
    """Return syllables of a buzz under moving formants, four a second, and a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    f0 = 150 * 2 ** (0.25 * np.sin(2 * np.pi * 0.9 * t))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = np.zeros(len(t))
    for k in range(1, 40):
        formants = (650 + 150 * np.sin(11 * t), 1100 + 300 * np.sin(7 * t), 2500 + 0 * t)
        gain = sum(a / (1 + ((k * f0 - hz) / 90) ** 2) for a, hz in zip((1.0, 0.5, 0.2), formants, strict=True))
        sound += gain * np.sin(k * phase)
    sound *= 0.65 + 0.35 * np.sin(2 * np.pi * 4 * t)
    return (0.1 * sound / sound.std() + np.random.default_rng(1).normal(0, 0.001, len(t))).astype(np.float32)


def levels(sound: Signal) -> NDArray[np.float64]:
    """Return the level of each 10 ms, dB."""
    return np.asarray(10 * np.log10(np.mean(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME) ** 2, 1) + 1e-12))


def play(mode: str, change: Callable[[Crank], None] | None = None, **settings: Any) -> Signal:
    """Return what is heard of the speech, with something done in the middle of it."""
    crank = Crank(Chain([{"stage": "convert", "mode": mode, "match": 0, **settings}]))
    first = crank.run(speech()[:AT])
    if change is not None:
        change(crank)
    return np.concatenate([first, crank.run(speech()[AT:])])


def assert_no_gap(heard: Signal, before: Signal, after: Signal) -> None:
    """Hold what was heard about a change beside the same with either voice from beginning to end."""
    inside = slice(AT - RATE // 10, AT + RATE // 2)
    dip = levels(heard[inside]) - np.minimum(levels(before[inside]), levels(after[inside]))
    assert dip.min() > -DIP_DB
    steady = max(np.abs(np.diff(one[RATE // 2 :])).max() for one in (before, after))
    assert np.abs(np.diff(heard[inside])).max() < STEP * steady
    assert not np.allclose(heard[AT:], before[AT:], atol=1e-3)
    apart = np.abs(heard - after).reshape(-1, RATE // 4).max(1)
    assert apart[-1] <= 3e-3, f"the largest difference in each quarter of a second: {apart}"


@pytest.mark.parametrize("mode", MODES)
def test_a_voice_changes_without_a_gap(mode: str) -> None:
    """By slot, by morphing all the way at once, to a voice that was in no slot, and within the slot that plays."""
    slots = casting.slots()
    ada, bruno, kim = (slots.acquire(name) for name in (FROM, TO, NEW))
    newcomer = f"{NEW} in mode {mode}"
    voices.keep(replace(voices.find(NEW), name=newcomer))
    spare = slots.lend("spare", voices.find(FROM), 0)  # nobody else's, however many voices other tests have put in slots
    assert [table.held(slot).name for slot in (ada, bruno, kim, spare)] == [FROM, TO, NEW, "spare"]
    first, second, third = (play(mode, voice=slot) for slot in (ada, bruno, kim))
    assert_no_gap(play(mode, lambda crank: crank.processor.send([("convert/voice", bruno)]), voice=ada), first, second)
    morph = play(mode, lambda crank: crank.processor.send([("convert/morph", 1.0)]), voice=ada, other=bruno)
    assert_no_gap(morph, first, second)

    def become_new(crank: Crank) -> None:
        assert newcomer not in slots.names().values()
        crank.processor.send([("convert/voice", slots.acquire(newcomer))])

    assert_no_gap(play(mode, become_new, voice=ada), first, third)
    found = voices.find(TO)
    taken = play(mode, lambda _: table.put_voice(spare, found.timbre, found.median_hz, "spare"), voice=spare)
    assert_no_gap(taken, first, second)
    slots.release(spare)


def test_a_voice_that_is_asked_for_by_name_comes_without_a_gap() -> None:
    """Live: read from its file, put into a slot, moved to, while the voice before it is heard."""
    heard = np.zeros((1, 4 * RATE), np.float32)
    stages = [{"stage": "convert", "mode": "low", "match": 0}]
    options = {"source": speech(), "sink": heard}  # goes round
    with (
        Engine(Chain(stages), backend="null", name=f"switch-{os.getpid()}", options=options) as engine,
        Conductor(engine) as conductor,
    ):

        def frames() -> int:
            return int(engine.processor.telemetry["now_frame"])

        assert wait_until(lambda: frames() > RATE)
        at = frames()
        conductor.do("voice", NEW)
        assert wait_until(lambda: frames() > at + RATE)
        slot = int(engine.processor.values["convert/voice"])
    round_again = np.concatenate([speech(), speech()])
    before, after = (
        Chain([stages[0] | {"voice": one}]).render(round_again, sample_rate=RATE, compensate=False) for one in (0, slot)
    )
    inside = slice(at - RATE // 10, at + 3 * RATE // 4)
    dip = levels(heard[0, inside]) - np.minimum(levels(before[inside]), levels(after[inside]))
    assert dip.min() > -DIP_DB
    assert np.allclose(heard[0, at + RATE // 2 : at + RATE], after[at + RATE // 2 : at + RATE], atol=3e-3)
