"""An engine gets over a stage whose state broke, and a panic forgets sound, not settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from autovoice.rt import Chain, Engine
from support import played

RATE = 48_000  # Hz
FRAGILE = '''
"""A leaky sum that a loud sample turns into infinity minus infinity for good."""
import numpy as np

STATE = [("sum", "f4")]
LOUD, HUGE, LEAK, SCALE = np.float32(0.9), np.float32(3e38), np.float32(0.9), np.float32(0.1)


def process(s, p, x, block):
    for c in range(block.channels):
        for i in range(block.frames):
            if x[c, i] > LOUD:
                s[c].sum = HUGE * HUGE - HUGE * HUGE
            s[c].sum = LEAK * s[c].sum + SCALE * x[c, i]
            x[c, i] = s[c].sum
'''


def test_a_broken_state_is_replaced_and_the_voice_comes_back(tmp_path: Path) -> None:
    stage = tmp_path / "fragile.py"
    stage.write_text(FRAGILE)
    source = np.full(RATE * 4, 0.5, np.float32)
    source[RATE] = 1.0  # one sample breaks the state
    wet = tmp_path / "wet.wav"
    with Engine(Chain([str(stage)]), backend="null", options={"source": source, "loop": False}) as engine:
        engine.record(wet)
        assert played(engine, RATE * 5 // 2)
        assert engine.stats().nonfinite > 0
    sound, _ = soundfile.read(wet, dtype="float32")
    assert np.isfinite(sound).all()
    np.testing.assert_allclose(sound[2 * RATE : 2 * RATE + 1000], 0.5, atol=1e-3)


def test_panic_silences_and_keeps_the_settings(tmp_path: Path) -> None:
    source = np.full(RATE, 0.25, np.float32)
    wet = tmp_path / "wet.wav"
    with Engine(Chain(["gain"]), backend="null", options={"source": source}) as engine:
        engine.set("gain/gain", 6.0)
        engine.record(wet)
        assert played(engine, RATE * 3 // 10)
        engine.panic()
        assert played(engine, RATE * 3 // 10)
        engine.mute(False)
        assert played(engine, RATE * 3 // 10)
    sound, _ = soundfile.read(wet, dtype="float32")
    assert np.abs(sound).min() == 0.0
    np.testing.assert_allclose(sound[-RATE // 5 : -RATE // 10], 0.25 * 10 ** (6 / 20), rtol=1e-3)
