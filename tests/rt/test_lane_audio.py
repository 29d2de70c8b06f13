"""What the audio thread makes of a worker that is on time, late or gone: driven by hand, with the test as the worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, atomics
from autovoice.rt.lane import semaphore
from autovoice.rt.lane.host import Lane
from autovoice.rt.lane.layout import ACTIVE, DONE, NEVER, SEAT_0, SEAT_BYTES, WAKE
from autovoice.rt.memory import address_of
from support import SAMPLE_RATE, Audio, Crank

HOP, RESERVE = 480, 480  # frames
DELAY = HOP + RESERVE
FADE, HOLD = 120, 2400  # frames: 2.5 and 50 ms
FACTOR = np.float32(-0.5)  # what the test's worker does to the sound
SOUND = (0.3 * np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(2 * SAMPLE_RATE))).astype(np.float32)


class Hand:
    """A crank on a lane whose worker is the test: it answers hops when it is told to."""

    def __init__(self, delay: int = 0) -> None:
        chain = Chain([{"lane": "test_nothing:Worker", "hop": 10, "reserve": 10, "delay": delay}])
        self.crank = Crank(chain)
        self.lane = self.crank.processor.image.lanes["lane"]
        self.lane.record["waits"] = 0
        self.inner = delay
        size = int(self.lane.record["mask"]) + 1
        memory = self.lane._arena._bytes
        self._input = memory[int(self.lane.record["input"]) :][: 4 * size].view("f4")
        self._outputs = [memory[int(seat["output"]) :][: 4 * size].view("f4") for seat in self.lane.record["seat"]]
        self.played = 0
        self.take_seat(0, NEVER, 0)

    def take_seat(self, seat: int, start: int, done: int) -> None:
        self.seat, self.done = seat, done
        self.lane.record["seat"][seat]["start"] = start
        self._store(DONE, done if start != NEVER else NEVER)
        atomics.store(self.lane.address + ACTIVE, seat)

    def _store(self, field: int, value: int) -> None:
        atomics.store(self.lane.address + SEAT_0 + self.seat * SEAT_BYTES + field, value)

    def play(self, frames: int, cuts: Any = 64) -> Audio:
        heard = self.crank.run(SOUND[self.played : self.played + frames], cuts)
        self.played += frames
        return heard

    def answer(self) -> None:
        """Give every whole hop that has come in, as a worker does that delays by `inner`."""
        until = self.played // HOP * HOP
        places = np.arange(self.done, until) & (len(self._input) - 1)
        self._outputs[self.seat][places] = FACTOR * self._input[(places - self.inner) & (len(self._input) - 1)]
        self.done = until
        self._store(DONE, until)

    def play_answered(self, frames: int) -> Audio:
        return np.concatenate([(self.play(64), self.answer())[0] for _ in range(frames // 64)])

    def counts(self) -> tuple[int, int, int]:
        row = self.crank.processor.telemetry["lane"][0]["counts"]
        total = self.crank.processor.telemetry["lanes"]
        assert row == total
        return int(row["hops"]), int(row["misses"]), int(row["dry_frames"])


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Lane, "start", lambda self, live: None)
    monkeypatch.setattr(Lane, "await_ready", lambda self: None)
    return None


def dry(begin: int, frames: int, late: int = DELAY) -> Audio:
    return SOUND[begin - late : begin - late + frames]


def test_a_worker_on_time_is_heard_wholly_and_each_hop_is_posted_once() -> None:
    hand = Hand()
    heard = hand.play_answered(64 * 300)
    assert np.array_equal(heard[DELAY:], FACTOR * SOUND[: len(heard) - DELAY])
    assert not heard[:DELAY].any()
    assert hand.counts() == (len(heard) // HOP, 0, 0)
    place = hand.lane.address + SEAT_0 + WAKE
    assert sum(semaphore.wait(place, 0) for _ in range(100)) == len(heard) // HOP


def test_a_hop_that_is_not_there_one_fade_before_its_time_is_missed_once_and_the_dry_sound_is_aligned_to_the_frame() -> None:
    hand = Hand()
    hand.play_answered(9600)
    begin = hand.played
    heard = hand.play(4 * HOP)
    wet, still = FACTOR * dry(begin, len(heard)), dry(begin, len(heard))
    # The newest frame there is 9599, heard at 9599 + DELAY: a fade before the end of its segment's calls the worker is missed.
    gone = int(np.flatnonzero(heard != wet)[0])
    assert RESERVE + HOP - FADE - 64 <= gone <= RESERVE + HOP - FADE
    assert np.array_equal(heard[gone + FADE :], still[gone + FADE :])
    share = (heard - still)[gone : gone + FADE] / (wet - still)[gone : gone + FADE]
    good = np.abs((wet - still)[gone : gone + FADE]) > 0.01
    assert np.allclose(share[good], (1 - np.arange(1, FADE + 1) / FADE)[good], atol=1e-3)
    hops, misses, dry_frames = hand.counts()
    assert (hops, dry_frames) == (hand.played // HOP, len(heard) - gone)
    looked_at = begin + len(heard) + FADE - DELAY  # the frames below this one were asked for
    assert misses == -(-looked_at // HOP) - 9600 // HOP


def test_a_worker_that_is_late_once_is_heard_again_after_its_sound_was_whole_for_a_while() -> None:
    hand = Hand()
    hand.play_answered(9600)
    hand.play(3 * HOP)
    begin = hand.played
    heard = hand.play_answered(64 * 100)
    wet, still = FACTOR * dry(begin, len(heard)), dry(begin, len(heard))
    first = int(np.flatnonzero(heard != still)[0])
    assert HOLD - 64 <= first <= HOLD + 128
    assert np.array_equal(heard[first + FADE :], wet[first + FADE :])
    assert np.abs(np.diff(heard)).max() < 0.02


def test_the_dry_sound_is_as_late_as_a_model_that_delays() -> None:
    hand = Hand(delay=333)
    hand.play_answered(9600)
    begin = hand.played
    heard = hand.play(4 * HOP)
    assert np.array_equal(heard[-HOP:], dry(begin, 4 * HOP, DELAY + 333)[-HOP:])


def test_a_second_worker_is_heard_from_the_frame_on_where_it_sounds_as_it_will() -> None:
    hand = Hand()
    hand.play_answered(9600)
    hand.play(HOP)
    join = (hand.played // HOP + 2) * HOP
    start = join + 2000
    hand.take_seat(1, start, join)
    while hand.played < join:
        hand.play(64)
    begin = hand.played
    heard = hand.play_answered(64 * 120)
    wet, still = FACTOR * dry(begin, len(heard)), dry(begin, len(heard))
    first = int(np.flatnonzero(heard != still)[0])
    assert start + DELAY + HOLD - 64 <= begin + first <= start + DELAY + HOLD + 128
    assert np.array_equal(heard[first + FADE :], wet[first + FADE :])
    assert int(hand.lane.record["heard"]) == 1


def test_a_seat_is_free_only_when_the_audio_thread_reads_nothing_from_it_any_more() -> None:
    hand = Hand()
    hand.play_answered(9600)
    assert [hand.lane._is_free(seat) for seat in (0, 1)] == [False, True]
    hand.take_seat(1, hand.played + 9600, hand.played)
    assert [hand.lane._is_free(seat) for seat in (0, 1)] == [False, False]
    hand.play(64)  # the fade of the first worker's last frames has begun
    assert not hand.lane._is_free(0)
    hand.play(FADE + 64)
    assert [hand.lane._is_free(seat) for seat in (0, 1)] == [True, False]


def test_freewheel_waits_for_the_worker_as_a_render_does() -> None:
    from autovoice.rt.layout import FREEWHEEL

    hand = Hand()
    driver = hand.crank.processor.telemetry.array[0]["driver"]
    assert int(hand.lane.record["freewheel"]) == address_of(driver) + 8 * FREEWHEEL
    hand.play_answered(9600)
    driver[FREEWHEEL] = 1
    hand.lane.record["failed"] = 1  # else it would wait for ever, as it should
    assert int(hand.lane.record["asks"]) == 0
    hand.lane.record["failed"] = 0
    hand.play_answered(9600)  # all that is needed is there: it does not wait
    assert hand.counts()[1] == 0
