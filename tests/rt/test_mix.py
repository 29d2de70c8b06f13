"""Around the chain: bypass, dry and wet, trims, mute, fades, and how channels meet."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.dsp.stage import stage_names
from autovoice.rt import Chain, Engine, Event
from support import DEMO, Audio, Crank, found_at, wait_until

NOISE = (np.random.default_rng(3).standard_normal((2, 24_000)) * 0.2).astype(np.float32)


def delayed(sound: Audio, frames: int) -> Audio:
    return np.concatenate([np.zeros((*sound.shape[:-1], frames), np.float32), sound], axis=-1)[..., : sound.shape[-1]]


@pytest.mark.parametrize("stage", stage_names())
def test_a_bypassed_stage_is_its_exactly_delayed_input(stage: str) -> None:
    chain = Chain([{"stage": stage, "bypass": True}])
    frames = chain.latency(48_000)
    heard = chain.render(NOISE, sample_rate=48_000, compensate=False)
    assert np.array_equal(heard[:, :24_000], delayed(NOISE, frames))
    assert chain.latency(48_000) == Chain([stage]).latency(48_000)


def test_bypass_goes_in_and_out_without_a_click_and_without_moving_the_sound_in_time() -> None:
    sine = (0.1 * np.sin(2 * np.pi * 300 * np.arange(24_000) / 48_000)).astype(np.float32)  # below the limiter's ceiling
    events = [Event(5000, "limiter/bypass", 1), Event(9000, "limiter/bypass", 0), Event(9100, "limiter/bypass", 1)]
    heard = Chain(["limiter"]).render(sine, sample_rate=48_000, block=480, events=events)
    assert np.abs(heard - sine).max() < 1e-7


def test_a_mix_of_0_is_the_exactly_delayed_dry_voice() -> None:
    chain = Chain([*DEMO, {"stage": "gain", "gain": -20.0}])
    crank = Crank(chain, ins=2)
    crank.processor.send([("master/mix", 0.0)], 0)
    heard = crank.run(NOISE, (64, 17, 300))
    frames = crank.processor.latency
    assert frames > 100
    assert np.array_equal(heard[:, 2000:], delayed(NOISE, frames)[:, 2000:])


def test_half_a_mix_of_a_neutral_chain_is_the_voice_itself_and_no_comb_filter() -> None:
    crank = Crank(Chain(["limiter"]), ins=2)
    crank.processor.send([("master/mix", 0.5)], 0)
    quiet = NOISE * 0.5
    heard = crank.run(quiet, 100)
    assert np.abs(heard - delayed(quiet, 78)).max() < 1e-6


def test_trims_are_gains_in_db_before_and_after_the_chain() -> None:
    ceiling = Chain([{"stage": "limiter", "ceiling": -6.0, "peak": "sample"}])
    ones = np.ones(24_000, np.float32)
    levels = {}
    for trim in ("input", "output"):
        crank = Crank(ceiling)
        crank.processor.send([(f"master/{trim}", 12.0)], 0)
        levels[trim] = 20 * np.log10(crank.run(ones)[-1])
    assert levels["input"] == pytest.approx(-6.0, abs=0.01)  # the limiter holds what comes in louder
    assert levels["output"] == pytest.approx(6.0, abs=0.01)  # and knows nothing of what comes after


def test_mute_is_silence_after_3_ms_and_lifts_without_a_click() -> None:
    crank = Crank(Chain(["gain"]))
    crank.processor.send([("master/mute", 1.0)], 1000)
    crank.processor.send([("master/mute", 0.0)], 5000)
    heard = crank.run(np.ones(8000, np.float32), 480)
    assert np.all(heard[:1000] == 1)
    assert np.all(heard[1000 + 144 : 5000] == 0)
    assert np.all(heard[5000 + 144 :] == 1)
    assert np.abs(np.diff(heard)).max() < 1.01 / 144


def test_mono_in_is_heard_on_both_of_two_outputs() -> None:
    heard = Crank(Chain(["gain"]), ins=1, outs=2).run(NOISE[:1])
    assert np.array_equal(heard, NOISE[[0, 0]])


def test_stereo_in_is_heard_on_one_output_as_the_mean() -> None:
    heard = Crank(Chain(["gain"]), ins=2, outs=1).run(NOISE)
    assert np.allclose(heard, NOISE.mean(axis=0, keepdims=True), atol=1e-7)


def test_channels_stay_apart() -> None:
    left = NOISE.copy()
    left[1] = 0
    heard = Crank(Chain(["highpass", "limiter"]), ins=2).run(left)
    assert np.all(heard[1] == 0)
    assert np.abs(heard[0]).max() > 0.1


def test_eight_channels_pass() -> None:
    sound = (np.random.default_rng(4).standard_normal((8, 4000)) * 0.1).astype(np.float32)
    assert np.array_equal(Chain(["gain"]).render(sound, sample_rate=48_000), sound)


def test_the_engine_fades_in_from_silence_and_out_to_silence() -> None:
    ones = np.ones(48_000, np.float32)
    crank = Crank(Chain(["gain"]))
    crank.processor.silence_now()
    crank.processor.presence(1.0)
    heard = crank.run(ones[:4800])
    assert heard[0] <= 1 / 480
    assert np.all(heard[480:] == 1)
    assert np.abs(np.diff(heard)).max() < 1.01 / 480
    crank.processor.presence(0.0)
    heard = crank.run(ones[:4800])
    assert np.all(heard[480:] == 0)
    assert np.abs(np.diff(heard)).max() < 1.01 / 480


def test_panic_silences_a_live_engine_forgets_its_state_and_lets_the_voice_back_in(speech: Audio) -> None:
    with Engine(Chain(DEMO), backend="null", options={"source": speech, "loop": True}) as engine:
        assert wait_until(lambda: engine.stats().out_peak_dbfs > -40)
        engine.panic()
        assert wait_until(lambda: engine.stats().out_peak_dbfs < -60)
        assert engine.alive
        engine.mute(False)
        assert wait_until(lambda: engine.stats().out_peak_dbfs > -40)


def test_found_at_tells_a_delay_to_the_frame() -> None:
    assert found_at(NOISE[0, 500:2000], delayed(NOISE[0], 33)) == 533
    assert found_at(NOISE[1, 500:2000], NOISE[0]) is None
