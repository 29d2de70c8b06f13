"""Parameter moves: sample-accurate, in order, whole groups at one frame, none lost."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine, Event
from autovoice.rt.layout import EVENT
from autovoice.rt.ring import Ring
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Crank, wait_until

GLIDE = 960  # frames: 20 ms at 48 kHz
ONES = np.ones(4800, np.float32)


@pytest.mark.parametrize("frame", [0, 1, 63, 64, 65, 1000, 2047])
@pytest.mark.parametrize("block", [1, 64, 100, 4800])
def test_a_gain_move_starts_at_exactly_its_frame_and_glides_in_a_straight_line_for_20_ms(frame: int, block: int) -> None:
    crank = Crank(Chain(["gain"]))
    crank.processor.send([("gain/gain", 12.0)], frame)
    heard = 20 * np.log10(crank.run(ONES, block))
    expected = np.clip((np.arange(4800) - frame + 1) / GLIDE, 0, 1) * 12.0
    assert np.all(heard[:frame] == 0)
    assert heard[frame] > 0
    assert np.abs(heard - expected).max() < 1e-4
    assert np.all(heard[frame + GLIDE :] == heard[-1])


def test_a_switch_steps_at_exactly_its_frame() -> None:
    crank = Crank(Chain([{"stage": "gain", "gain": 6.0}]))
    crank.processor.send([("gain/bypass", 1.0)], 777)
    heard = crank.run(ONES, 4800)
    assert np.all(heard[:777] == heard[0])
    assert np.all(np.diff(heard[776:]) <= 0)  # cross-faded over 10 ms from that frame on
    assert np.all(heard[777 + 480 :] == 1)


@pytest.mark.parametrize("frame", [-1, 130, 1000])
def test_a_group_is_applied_whole_at_one_frame(frame: int) -> None:
    chain = Chain([{"stage": "gain", "name": "up"}, {"stage": "gain", "name": "down"}])
    crank = Crank(chain)
    crank.processor.send([("up/gain", 20.0), ("down/gain", -20.0)], frame)
    assert np.abs(crank.run(ONES, 100) - 1).max() < 1e-5  # the two cancel at every frame, if they move together


def test_of_a_group_with_one_bad_value_nothing_is_applied() -> None:
    crank = Crank(Chain(["gain"]))
    with pytest.raises(StageError, match=r"gain/gain must be in -60\.\.24 dB, got 99"):
        crank.processor.send([("master/output", -20.0), ("gain/gain", 99.0)])
    assert np.all(crank.run(ONES) == 1)
    assert crank.counter("events_applied") == 0


def test_moves_are_applied_in_the_order_of_their_frames_whatever_order_they_came_in() -> None:
    crank = Crank(Chain(["gain"]))
    for frame, gain in ((3000, -6.0), (1000, 6.0), (2000, 12.0)):
        crank.processor.send([("gain/gain", gain)], frame)
    heard = 20 * np.log10(crank.run(ONES, 333))
    assert [round(float(heard[k])) for k in (999, 1999, 2999, 4799)] == [0, 6, 12, -6]


def test_moves_of_one_frame_are_ordered_by_producer_then_arrival() -> None:
    crank = Crank(Chain(["gain"]))
    other = Ring(EVENT, 64)
    crank.processor.engine["rings"][1] = other.address
    crank.processor.engine["producers"] = 2
    uid, index, _ = crank.processor.resolve("gain/gain")
    other.push(np.array([(500, uid, index, -12.0, 0, 0, 0)], EVENT))  # of producer 1: last at frame 500
    crank.processor.send([("gain/gain", 3.0)], 500)
    crank.processor.send([("gain/gain", 6.0)], 1500)
    crank.processor.send([("gain/gain", 9.0)], 1500)
    heard = 20 * np.log10(crank.run(ONES))
    assert [round(float(heard[k])) for k in (1499, 4799)] == [-12, 9]


def test_a_late_move_is_applied_at_once_and_counted() -> None:
    crank = Crank(Chain(["gain"]))
    crank.run(ONES[:640])
    crank.processor.send([("gain/gain", 6.0)], 639)
    heard = crank.run(ONES[:64])
    assert heard[0] > 1
    assert crank.counter("events_late") == 1
    crank.processor.send([("gain/gain", 0.0)], 704)
    crank.processor.send([("gain/gain", 3.0)])
    crank.run(ONES[:64])
    assert crank.counter("events_late") == 1


def test_a_move_for_a_stage_that_has_left_the_chain_is_counted_as_unknown() -> None:
    crank = Crank(Chain(["gain", {"stage": "highpass"}]))
    crank.processor.send([("highpass/cutoff", 100.0)], 64 * 200)
    swap = crank.begin_swap(Chain(["gain"]))
    crank.run(np.zeros(64 * 210, np.float32))
    swap.join()
    assert crank.counter("events_unknown") == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(-60, 24)), min_size=1, max_size=40), st.integers(1, 700))
def test_any_automation_equals_the_same_moves_computed_by_hand(moves: list[tuple[int, int]], block: int) -> None:
    events = [Event(frame, "gain/gain", float(gain)) for frame, gain in moves]
    heard = Chain(["gain"]).render(np.ones(8000), sample_rate=48_000, block=block, events=events)
    value, target, step, left, expected = 0.0, 0.0, 0.0, 0, []
    for frame in range(8000):
        for _, gain in (m for m in moves if m[0] == frame):
            target, left = float(gain), GLIDE
            step = (target - value) / GLIDE
        if left:
            left -= 1
            value = value + step if left else target
        expected.append(value)
    assert np.abs(20 * np.log10(heard) - expected).max() < 1e-3


def test_more_moves_than_can_wait_at_once_are_all_applied_at_their_frames() -> None:
    events = [Event(10 * k, "gain/gain", -6.0 if k % 2 else 0.0) for k in range(4000)]
    heard = Chain(["gain"]).render(np.ones(48_000), sample_rate=48_000, events=events)
    few = Chain(["gain"]).render(np.ones(48_000), sample_rate=48_000, block=1024, events=events[::-1])
    assert np.array_equal(heard, few)
    assert heard[-1] < 0.51 and heard[0] == 1


def test_of_ten_thousand_moves_a_second_none_is_lost() -> None:
    with Engine(Chain(["gain"]), backend="null") as engine:
        wait_until(lambda: engine.stats().events_applied == 1)  # the fade in
        begin, sent = time.monotonic(), 0
        while sent < 20_000:
            while sent < min((time.monotonic() - begin) * 10_000, 20_000):
                engine.set("gain/gain", float(sent % 24))
                sent += 1
            time.sleep(0.001)
        assert wait_until(lambda: engine.stats().events_applied == sent + 1)
        assert engine.stats().events_unknown == engine.stats().events_late == 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("gian/gain", 0.0, "did you mean 'gain'"),
        ("gain/gian", 0.0, "did you mean 'gain'"),
        ("master/mx", 0.0, "did you mean 'mix'"),
        ("gain/gain", float("nan"), "-60..24 dB"),
        ("limiter/lookahead", 2.0, "swap the chain"),
        ("gain", 0.0, "no parameter"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused_with_the_way_out(path: str, value: float, message: str) -> None:
    crank = Crank(Chain(["gain", "limiter"]))
    with pytest.raises(StageError) as refused:
        crank.processor.send([(path, value)])
    assert message in str(refused.value)


def test_whoever_waits_for_what_was_sent_waits_until_it_is_applied() -> None:
    crank = Crank(Chain(["gain"]))
    processor = crank.processor
    crank.run(np.zeros(64, np.float32))
    processor.send([("gain/gain", -6.0)])
    waiting = threading.Thread(target=processor.await_sent, args=(30.0,))
    waiting.start()
    processor.telemetry.array[0]["cycles"] += 1  # a callback ends that had looked into the ring before
    waiting.join(0.1)
    assert waiting.is_alive()
    assert wait_until(lambda: crank.run(np.zeros(64, np.float32)) is not None and not waiting.is_alive())
    assert processor.telemetry["events_applied"] == 1
    processor.await_sent(0.01)  # nothing runs: it gives up
