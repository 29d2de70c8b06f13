"""Every stage and the demo chain over sample rates, block sizes, hostile input and moving parameters.

After Tracktion's pluginval.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine
from support import DEMO, Audio, events_for, wait_until

RATES = (44_100, 48_000, 88_200, 96_000, 192_000)  # Hz
BLOCKS = (1, 16, 64, 441, 1024, 8192)  # frames
LOUDEST = 1024.0  # what the engine lets in
HEADROOM = 32.0  # 24 dB of gain, and what a filter may overshoot
CHAINS = {name: [name] for name in stage_names()} | {"demo": DEMO}
TAILS_S = {"delay": 7.0, "reverb": 5.0}  # at their defaults: echoes and rooms ring on
SMALLEST_NORMAL = np.float32(1.1754944e-38)


def hostile(kind: str, frames: int) -> Audio:
    """Return stereo input of a kind that a driver or a broken plug-in upstream may hand over."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((2, frames)).astype(np.float32)
    if kind == "noise":
        return noise * np.float32(0.3)
    if kind == "huge":
        return noise * np.float32(3e37)
    if kind == "denormal":
        return noise * np.float32(1e-39)
    sound = noise * np.float32(0.3)
    sound[rng.random((2, frames)) < 0.05] = {"nan": np.nan, "inf": np.inf}[kind]
    sound[0, ::97] *= -1
    return sound


def bound(chain: Chain) -> float:
    """Return the largest magnitude that may come out: full scale behind a limiter."""
    ends_limited = bool(chain.placed) and chain.placed[-1].stage.name == "limiter"
    return 1.0 if ends_limited else LOUDEST * HEADROOM


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", CHAINS)
def test_whatever_comes_in_what_goes_out_is_finite_bounded_and_free_of_denormals(name: str, rate: int) -> None:
    chain = Chain(CHAINS[name])
    rng = np.random.default_rng(rate)
    for block in BLOCKS:
        for kind in ("noise", "nan", "inf", "denormal", "huge"):
            sound = hostile(kind, 6000 if block == 1 else 24_000)
            events = [e for e in events_for(chain, rng.integers(0, sound.shape[1], 60), rng) if not e.path.endswith("/bypass")]
            heard = chain.render(sound, sample_rate=rate, block=block, events=events, compensate=False)
            where = f"{kind}, block {block}"
            assert np.isfinite(heard).all(), where
            assert np.abs(heard).max() <= bound(chain), where
            assert not np.any((heard != 0) & (np.abs(heard) < SMALLEST_NORMAL)), where


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", CHAINS)
def test_silence_in_gives_exact_silence_out_once_the_tail_has_ended(name: str, rate: int) -> None:
    chain = Chain(CHAINS[name])
    silent = np.zeros((2, rate), np.float32)
    assert np.all(chain.render(silent, sample_rate=rate, block=441) == 0)
    silent[:, : rate // 10] = hostile("noise", rate // 10)
    tail = round(TAILS_S.get(name, 0.5) * rate)
    heard = chain.render(np.pad(silent, ((0, 0), (0, tail))), sample_rate=rate, block=1024)
    assert np.abs(heard[:, : rate // 10]).max() > 0.1
    assert np.all(heard[:, -rate // 10 :] == 0)


@pytest.mark.parametrize("name", CHAINS)
def test_after_not_a_number_the_voice_comes_back(name: str) -> None:
    """No recursion may keep a NaN: what comes a second later sounds as if there had never been one."""
    rng = np.random.default_rng(6)
    sound = (rng.standard_normal(96_000) * 0.2).astype(np.float32)
    broken = sound.copy()
    broken[1000:1100] = np.nan
    broken[1200:1210] = np.inf
    chain = Chain(CHAINS[name])
    level = [np.sqrt(np.mean(chain.render(s, sample_rate=48_000)[-24_000:] ** 2)) for s in (sound, broken)]
    assert level[1] == pytest.approx(level[0], rel=0.05)


@pytest.mark.parametrize(
    ("rate", "block"), [(44_100, 1024), (48_000, 16), (48_000, 64), (88_200, 441), (96_000, 8192), (192_000, 256)]
)
def test_parameters_fuzzed_from_another_thread_never_break_the_sound(rate: int, block: int, tmp_path: Path) -> None:
    source = np.concatenate([hostile(kind, 4000) for kind in ("noise", "nan", "huge", "inf", "denormal")], axis=1)
    chain = Chain(DEMO)
    stop = threading.Event()
    wet = tmp_path / "wet.wav"
    settings = {"in_channels": 2, "out_channels": 2, "options": {"source": source, "loop": True}}
    with Engine(chain, backend="null", sample_rate=rate, block=block, **settings) as engine:
        engine.record(wet)

        def fuzz() -> None:
            rng = np.random.default_rng(7)
            while not stop.is_set():
                for event in events_for(chain, [0], rng):
                    engine.set(event.path, event.value)

        thread = threading.Thread(target=fuzz)
        thread.start()
        assert wait_until(lambda: engine.stats().events_applied > 500)
        assert wait_until(lambda: engine.stats().frames > source.shape[1])
        stop.set()
        thread.join()
        assert engine.stats().nonfinite > 100
        assert engine.stats().events_unknown == 0
    heard = soundfile.read(wet, dtype="float32")[0]
    assert len(heard) > 1000
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= LOUDEST * HEADROOM
