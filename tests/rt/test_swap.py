"""Changing the chain while it plays: nobody hears a click, nothing that stays forgets where it was."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from autovoice.rt import Chain, Engine, atomics
from autovoice.rt.layout import COPY_BYTES
from autovoice.rt.processor import SwapRefused
from autovoice.rt.swap import NEXT
from support import DEMO, Audio, Crank, wait_until

SINE = (0.5 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 48_000)).astype(np.float32)
STEP = float(np.abs(np.diff(SINE)).max())  # the largest step of the sine itself


def swapped(crank: Crank, sound: Audio, chain: Chain, at: int = 9600, **settings: object) -> Audio:
    """Run a sound through a crank, with a swap that is adopted at a frame."""
    before = crank.run(sound[..., :at])
    thread = crank.begin_swap(chain, **settings)
    after = crank.run(sound[..., at:])
    thread.join()
    return np.concatenate([before, after], axis=-1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["gain"], [{"stage": "gain", "gain": -12.0}]),
        (["gain"], ["highpass", "compressor"]),
        (["highpass", "limiter"], ["limiter", "highpass"]),
        (["limiter"], ["gain"]),
        ([], [{"stage": "gain", "name": "other", "gain": -20.0}]),
    ],
)
def test_a_swap_makes_no_step_above_the_signals_own(old: list[object], new: list[object]) -> None:
    crank = Crank(Chain(old), latency=500)
    heard = swapped(crank, SINE, Chain(new))
    assert crank.counter("swaps") == 1
    assert np.abs(np.diff(heard[2000:])).max() <= 1.02 * STEP  # the first 2000 frames: the filters begin
    assert np.abs(heard[20_000:]).max() > 0.04  # never muted


def test_after_a_swap_the_new_chain_sounds_as_if_it_had_always_played() -> None:
    noise = np.random.default_rng(1).standard_normal(40_000).astype(np.float32) * 0.1
    crank = Crank(Chain(["gain"]), latency=400)
    new = Chain([{"stage": "gain", "name": "half", "gain": -6.0}])
    heard = swapped(crank, noise, new, at=6400)
    alone = Crank(new, latency=400).run(noise)
    assert np.array_equal(heard[20_000:], alone[20_000:])
    assert np.array_equal(heard[:6400], Crank(Chain(["gain"]), latency=400).run(noise[:6400]))


def test_a_swap_to_the_same_stages_changes_not_a_bit() -> None:
    rng = np.random.default_rng(2)
    noise = (rng.standard_normal(40_000) * 0.3).astype(np.float32)
    chain = ["highpass", "gate", "compressor", "limiter"]
    heard = swapped(Crank(Chain(chain)), noise, Chain(chain))
    assert np.array_equal(heard, Crank(Chain(chain)).run(noise))


def test_a_swap_of_the_demo_chain_to_itself_changes_not_a_bit_of_speech(speech: Audio) -> None:
    heard = swapped(Crank(Chain(DEMO)), speech[:96_000], Chain(DEMO), at=48_000)
    assert np.array_equal(heard, Crank(Chain(DEMO)).run(speech[:96_000]))


def test_a_stage_that_stays_keeps_its_state_where_others_come_and_go() -> None:
    """A compressor with a slow release still holds its reduction when a stage is put in front of it."""
    compressor = {"stage": "compressor", "threshold": -40.0, "ratio": 10.0, "release": 2000.0}
    loud_then_soft = np.where(np.arange(48_000) < 9600, 0.9, 0.02).astype(np.float32)
    kept = swapped(Crank(Chain([compressor])), loud_then_soft, Chain(["gain", compressor]))
    forgot = swapped(Crank(Chain([compressor])), loud_then_soft, Chain(["gain", compressor]), keep_state=False)
    stayed = Crank(Chain([compressor])).run(loud_then_soft)
    assert np.allclose(kept, stayed, rtol=1e-4, atol=0)
    assert forgot[30_000] > 1.5 * stayed[30_000]


@pytest.mark.parametrize("ends_at", [9600, 9601, 9632, 9700, 10_200])
def test_a_parameter_that_glides_through_a_swap_never_jumps_and_rests_where_it_should(ends_at: int) -> None:
    """The glide's first frames are the old chain's, its rest the new one's; 9600 is the frame of the swap itself."""
    crank = Crank(Chain(["gain"]))
    crank.processor.send([("gain/gain", -12.0)], ends_at - 960)
    heard = swapped(crank, np.ones(20_000, np.float32), Chain([{"stage": "gain", "gain": -12.0}]))
    decibels = 20 * np.log10(heard.astype(np.float64))
    assert np.abs(np.diff(decibels)).max() < 1.01 * 12 / 960
    assert np.abs(decibels[max(ends_at, 9600 + 960) :] + 12).max() < 1e-5


def test_a_parameter_glides_from_where_it_is_to_what_the_new_chain_wants() -> None:
    heard = swapped(Crank(Chain(["gain"])), np.ones(20_000, np.float32), Chain([{"stage": "gain", "gain": -12.0}]))
    assert np.abs(np.diff(heard)).max() < 0.005
    assert abs(20 * np.log10(heard[-1]) + 12) < 1e-4


def test_a_bypass_is_kept_or_set_by_the_new_chain() -> None:
    bypassed = Chain([{"stage": "gain", "gain": -12.0, "bypass": True}])
    heard = swapped(Crank(Chain([{"stage": "gain", "gain": -12.0}])), np.ones(20_000, np.float32), bypassed)
    assert np.abs(np.diff(heard)).max() < 0.005
    assert heard[-1] == 1


def test_events_reach_the_outgoing_and_the_incoming_chain() -> None:
    crank = Crank(Chain(["gain"]), latency=400)
    before = crank.run(SINE[:9600])
    swap = crank.begin_swap(Chain(["gain", "compressor"]))
    between = crank.run(SINE[9600:9728])
    swap.join()
    crank.processor.send([("gain/gain", -20.0)])
    heard = np.concatenate([before, between, crank.run(SINE[9728:])])
    assert crank.counter("events_applied") == 1
    assert np.abs(np.diff(heard)).max() <= 1.02 * STEP
    assert abs(np.abs(heard[24_000:]).max() - 0.05) < 0.001


def test_a_swap_that_needs_more_latency_is_refused_and_says_how_much() -> None:
    crank = Crank(Chain(["gain"]))
    with pytest.raises(SwapRefused, match=r"needs 78 frames of latency.*started with 0.*latency=78"):
        crank.processor.swap(Chain(["limiter"]))
    assert np.all(crank.run(np.ones(640, np.float32)) == 1)


def test_a_chain_with_less_latency_is_padded_to_what_was_reserved() -> None:
    crank = Crank(Chain(["limiter"]), latency=100)
    quiet = SINE * 0.1
    heard = swapped(crank, quiet, Chain(["gain"]))
    assert np.array_equal(heard[100:], quiet[:-100])


def test_a_swap_without_a_driver_that_answers_is_given_up() -> None:
    crank = Crank(Chain(["gain"]))
    with pytest.raises(SwapRefused, match="has not answered"):
        crank.processor.swap(Chain(["gain"]), timeout_s=0.05)


def test_swaps_in_quick_succession_all_arrive_and_the_retired_chains_are_freed() -> None:
    with Engine(Chain(["gain"]), backend="null", block=16, latency=400) as engine:
        images = []
        for k in range(30):
            images.append(weakref.ref(engine.processor.image))
            engine.swap(Chain([{"stage": "gain", "gain": float(-k)}, *(["limiter"] if k % 2 else [])]))
        assert wait_until(lambda: engine.stats().swaps == 30)
        assert wait_until(lambda: engine.processor._retired is None)
        gc.collect()
        assert [image() for image in images] == [None] * 30
        assert engine.alive


def test_an_engine_that_stops_in_the_middle_of_a_swap_starts_again_with_the_new_chain() -> None:
    engine = Engine(Chain(["gain"]), backend="null", latency=48_000)  # the incoming chain has a second to settle
    engine.start()
    for gain in (-6.0, -12.0):
        engine.swap(Chain([{"stage": "gain", "gain": gain}]))
        engine.stop()
        gc.collect()
        engine.swap(Chain([{"stage": "gain", "gain": gain - 1}]))
        engine.start()
        cycles = engine.stats().cycles
        assert wait_until(lambda: engine.stats().cycles > cycles + 20)  # noqa: B023
        assert engine.processor.engine["incoming"] == 0
        assert engine.processor.engine["current"] == engine.processor.image.address
    engine.stop()


def test_a_swap_in_the_middle_of_a_glide_changes_not_a_bit() -> None:
    tone = np.full(20_000, 0.5, np.float32)
    target = Chain([{"stage": "gain", "gain": -20.0}])

    def crank() -> Crank:
        made = Crank(Chain(["gain"]))
        made.processor.send([("gain/gain", -20.0)], 9500)  # under way from 9500 to 10 460; the swap comes at 9600
        return made

    heard = swapped(crank(), tone, target)
    assert np.array_equal(heard, crank().run(tone))


LATE = [{"stage": "delay", "time": 110.0, "feedback": 0.7, "longest": 120.0, "mix": 0.5}]
BEHIND = [{"stage": "stretch", "speed": 0.8, "buffer": 5.0}]
BESIDE = [{"stage": "convert", "mode": "low", "mix": 0.5}]  # what its channels share is in the first one's memory


@pytest.mark.parametrize("stages", [LATE, BEHIND, BESIDE])
@pytest.mark.parametrize("blocks", [1, 7, 300])  # 300: more than the ring of the delay holds
@pytest.mark.parametrize("at", [3 * 64 * 50, 64 * 123])
def test_a_ring_that_is_written_on_between_control_and_audio_thread_arrives_whole(
    stages: list[object], blocks: int, at: int
) -> None:
    noise = (np.random.default_rng(9).standard_normal((2, 60_000)) * 0.1).astype(np.float32)
    crank = Crank(Chain(stages), ins=2)
    heard = [crank.run(noise[:, :at])]
    old = crank.processor.image
    new = crank.processor._image(Chain(stages))
    new.inherit(old)
    heard.append(crank.run(noise[:, at : at + 64 * blocks], [64, 13, 51]))  # between the copy and the adoption
    atomics.store(crank.processor.address + NEXT, new.address)
    heard.append(crank.run(noise[:, at + 64 * blocks :]))
    assert crank.counter("swaps") == 1
    assert np.array_equal(np.concatenate(heard, axis=1), Crank(Chain(stages), ins=2).run(noise))


def test_the_audio_thread_copies_little_at_a_swap() -> None:
    specs = ["delay", "stretch"]
    crank = Crank(Chain(specs), ins=2)
    new = crank.processor._image(Chain(specs))
    new.inherit(crank.processor.image)
    at_once = int(sum(row["size"] for row in new._copies if row["kind"] == COPY_BYTES))
    assert sum(memory.nbytes for memory in new._memories) > 2 << 20
    assert at_once < 800 << 10


def test_what_channels_share_is_copied_once() -> None:
    copied = []
    for channels in (1, 4):
        crank = Crank(Chain(BESIDE), ins=channels)
        new = crank.processor._image(Chain(BESIDE))
        new.inherit(crank.processor.image)
        copied.append(int(sum(row["size"] for row in new._copies if row["kind"] == COPY_BYTES)))
    assert copied[1] - copied[0] < 3 * 20 << 10  # lines for the bypass, and little else
