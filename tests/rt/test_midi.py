"""MIDI: which notes sound, and that every message acts at exactly its frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain
from autovoice.rt.journal import Journal
from autovoice.rt.layout import MIDI_PRODUCER, MOVE
from autovoice.rt.memory import address_of
from autovoice.rt.midi import HEAR_BLOCK, HELD, MAX_PLAYERS, MAX_VOICES, MESSAGE
from autovoice.rt.midi_input import MESSAGES, MidiMap, Player, Target, midi_input
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Audio, Crank

EVERYBODY = frozenset(range(16))
Score = list[tuple[int, bytes]]  # (frame, message)


def on(note: int, channel: int = 0, velocity: int = 100) -> bytes:
    return bytes([0x90 | channel, note, velocity])


def off(note: int, channel: int = 0) -> bytes:
    return bytes([0x80 | channel, note, 64])


def control(controller: int, value: int, channel: int = 0) -> bytes:
    return bytes([0xB0 | channel, controller, value])


def bend(value: int, channel: int = 0) -> bytes:
    return bytes([0xE0 | channel, value & 127, value >> 7])


class Stage:
    """A crank with a keyboard: it plays a score into a chain, block by block, as a driver would."""

    def __init__(self, chain: list[Any]) -> None:
        self.crank = Crank(Chain(chain))
        self.processor = self.crank.processor
        self.input = midi_input(self.processor)
        self.journal = Journal(self.processor.page)  # type: ignore[arg-type]
        self.frame = 0

    def player(self, paths: Iterable[str], voices: int = 0, channels: frozenset[int] = EVERYBODY) -> Player:
        rows = [self.processor.resolve(path)[:2] for path in paths]
        return Player(rows[0][0], tuple(index for _, index in rows), voices or len(rows), channels)

    def target(self, path: str, low: float, high: float) -> Target:
        return Target(*self.processor.resolve(path)[:2], np.linspace(low, high, 128))

    def use(self, *players: Player, controls: dict[tuple[int, int], list[Target]] | None = None) -> None:
        assert self.input.publish(MidiMap(controls or {}, players))

    def play(self, score: Score, sound: Audio | int = 64, cuts: int | Iterable[int] = 64) -> Audio:
        """Process sound, or so many frames of silence; frames of the score count from its beginning."""
        x = np.zeros(sound, np.float32) if isinstance(sound, int) else sound
        parts, at, sizes = [], 0, itertools.cycle([cuts] if isinstance(cuts, int) else cuts)
        while at < len(x):
            count = min(next(sizes), len(x) - at)
            mine = [(frame - at, message) for frame, message in score if at <= frame < at + count]
            block = np.zeros(len(mine), MESSAGE)
            for row, (frame, message) in zip(block, mine, strict=True):
                row["frame"], row["size"] = frame, len(message)
                for name, byte in zip(("status", "first", "second"), message, strict=False):
                    row[name] = byte
            HEAR_BLOCK.ctypes(self.input.address, self.frame, address_of(block), len(block))
            parts.append(self.crank.run(x[at : at + count], count))
            at += count
            self.frame += count
        return np.concatenate(parts)

    def moves(self) -> list[tuple[int, int, float]]:
        """Return what was applied since the last call, as (frame, parameter index, value), all of it by MIDI."""
        new = self.journal.read()
        assert np.all((new["kind"] == MOVE) & (new["producer"] == MIDI_PRODUCER))
        return [(int(e["frame"]), int(e["index"]), float(e["value"])) for e in new]

    def values(self, score: Score, frames: int = 64) -> list[float]:
        """Play, and return the values that were set, in turn."""
        self.play(score, frames)
        return [value for _, _, value in self.moves()]


def solo() -> Stage:
    """One voice, on `tune/note`."""
    stage = Stage(["tune"])
    stage.use(stage.player(["tune/note"]))
    return stage


def chord() -> tuple[Stage, dict[int, float]]:
    """Four voices, on `vocoder/note_1`...; and what `sound` keeps of them."""
    stage = Stage([{"stage": "vocoder", "carrier": "chord"}])
    stage.use(stage.player([f"vocoder/note_{k}" for k in (1, 2, 3, 4)]))
    return stage, {}


def sound(stage: Stage, voices: dict[int, float], *messages: bytes) -> list[float]:
    """Play messages at once and return what the voices sound then, 0 for none."""
    stage.play([(0, message) for message in messages])
    voices.update({index: value for _, index, value in stage.moves()})
    return [voices.get(index, 0.0) for index in range(1, 5)]


@pytest.mark.parametrize("cuts", [1, 7, 64, 1000])
def test_a_note_and_a_controller_act_at_exactly_their_frames(cuts: int) -> None:
    stage = Stage(["gain", "tune"])
    stage.use(stage.player(["tune/note"]), controls={(3, 7): [stage.target("gain/gain", -60, 24)]})
    score = [(0, on(60)), (63, off(60)), (64, on(61)), (700, control(7, 127, 3)), (700, control(7, 127, 2)), (999, off(61))]
    heard = stage.play(score, np.ones(1500, np.float32), cuts)
    note, gain = (stage.processor.resolve(path)[1] for path in ("tune/note", "gain/gain"))
    assert stage.moves() == [(0, note, 60), (63, note, 0), (64, note, 61), (700, gain, 24), (999, note, 0)]
    assert stage.crank.counter("events_late") == 0
    late = stage.processor.latency
    assert np.all(heard[late : late + 700] == heard[late])
    assert heard[late + 700] > heard[late]


def test_of_one_voice_the_last_note_sounds_and_the_one_before_comes_back() -> None:
    stage = solo()
    assert stage.values([(0, on(60)), (1, on(64)), (2, on(67)), (3, off(64)), (4, off(67)), (5, off(60))]) == [
        60,
        64,
        67,
        60,
        0,
    ]
    assert stage.values([(0, on(60)), (1, on(64)), (2, on(60)), (3, off(60)), (4, off(64))]) == [60, 64, 60, 64, 0]


def test_a_note_on_of_velocity_0_is_a_note_off() -> None:
    assert solo().values([(0, on(60)), (1, on(60, velocity=0))]) == [60, 0]


def test_notes_of_the_same_name_on_two_channels_are_two_keys() -> None:
    assert solo().values([(0, on(60, 1)), (1, on(60, 2)), (2, off(60, 2)), (3, off(60, 1)), (4, off(60, 1))]) == [60, 60, 60, 0]


def test_voices_are_taken_in_order_the_oldest_is_stolen_and_comes_back_to_what_falls_free() -> None:
    stage, voices = chord()
    assert sound(stage, voices, on(60), on(64), on(67), on(71)) == [60, 64, 67, 71]
    assert sound(stage, voices, on(72)) == [72, 64, 67, 71]
    assert sound(stage, voices, on(74)) == [72, 74, 67, 71]
    assert sound(stage, voices, off(67)) == [72, 74, 64, 71]
    assert sound(stage, voices, off(71)) == [72, 74, 64, 60]
    assert sound(stage, voices, off(72), off(64)) == [0, 74, 0, 60]
    assert sound(stage, voices, on(50)) == [50, 74, 0, 60]


def test_the_pedal_holds_what_was_let_go_and_only_that_on_its_channel() -> None:
    stage, voices = chord()
    assert sound(stage, voices, on(60), on(62, 1), control(64, 127), off(60), off(62, 1)) == [60, 0, 0, 0]
    assert sound(stage, voices, control(64, 127, 2), on(50, 2), off(50, 2), on(65), control(64, 63)) == [0, 50, 65, 0]
    assert sound(stage, voices, control(64, 0, 2)) == [0, 0, 65, 0]
    assert sound(stage, voices, control(64, 64), off(65), on(65), control(64, 0)) == [0, 0, 65, 0]  # struck again: it is held


def test_all_sound_off_ends_what_the_pedal_holds_and_all_notes_off_does_not() -> None:
    stage, voices = chord()
    assert sound(stage, voices, on(60), on(64), on(67, 5), control(64, 127), control(123, 0)) == [60, 64, 67, 0]
    assert sound(stage, voices, control(64, 0)) == [0, 0, 67, 0]
    assert sound(stage, voices, on(60), on(64), control(64, 127), control(120, 0)) == [0, 0, 67, 0]
    assert sound(stage, voices, control(127, 0, 5)) == [0, 0, 0, 0]  # every mode message lets notes go


def test_a_bend_makes_fractions_of_what_its_channel_sounds_and_of_what_it_will() -> None:
    stage = solo()
    score = [(0, on(60)), (1, bend(0)), (2, bend(8192)), (3, bend(16383)), (4, bend(0, 1)), (5, on(62)), (6, control(121, 0))]
    assert stage.values(score) == [60, 58, 60, pytest.approx(62 - 2 / 8192), pytest.approx(64 - 2 / 8192), 62]


def test_a_bend_at_the_ends_of_the_range_stays_a_note() -> None:
    assert solo().values([(0, bend(0)), (1, on(1)), (2, bend(16383)), (3, on(127)), (4, on(0)), (5, off(0))]) == [
        1.0,
        pytest.approx(3 - 2 / 8192),
        127.0,
    ]


def test_what_controllers_a_map_binds_moves_together_and_a_bound_pedal_holds_nothing() -> None:
    stage = Stage(["gain", "tune"])
    targets = [stage.target("gain/gain", -60, 24), stage.target("tune/humanise", 0, 1)]
    stage.use(stage.player(["tune/note"]), controls={(0, 64): targets, (0, 120): targets[:1]})
    stage.play([(7, control(64, 127)), (8, on(60)), (9, off(60))])
    gain, note, humanise = (stage.processor.resolve(path)[1] for path in ("gain/gain", "tune/note", "tune/humanise"))
    assert stage.moves() == [(7, gain, 24), (7, humanise, 1), (8, note, 60), (9, note, 0)]


def test_of_more_keys_than_are_kept_the_oldest_goes() -> None:
    stage = solo()
    stage.play([(0, on(note)) for note in range(1, HELD + 2)])
    stage.moves()
    back = stage.values([(0, off(note)) for note in range(HELD + 1, 0, -1)])
    assert back == [*range(HELD, 1, -1), 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 1)), max_size=60), st.integers(1, 4))
def test_the_newest_keys_that_are_down_sound_whatever_is_played(strokes: list[tuple[bool, int, int]], count: int) -> None:
    stage = Stage([{"stage": "vocoder", "carrier": "chord"}])
    stage.use(stage.player([f"vocoder/note_{k}" for k in range(1, 5)], count))
    down: list[tuple[int, int]] = []
    voices: dict[int, float] = {}
    for press, note, channel in strokes:
        down = [key for key in down if key != (note, channel)] + ([(note, channel)] if press else [])
        sounding = [note for note in sound(stage, voices, on(note, channel) if press else off(note, channel)) if note]
        assert len(sounding) == min(count, len(down))
        assert set(sounding) <= {note for note, _ in down}
        assert not down or not press or note in sounding
        if count == 1:
            assert sounding == [note for note, _ in down[-1:]]


MESSAGE_BYTES = st.builds(lambda *byte: bytes(byte), st.integers(0x80, 0xEF), st.integers(0, 127), st.integers(0, 127))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 499), MESSAGE_BYTES | st.binary(max_size=3)), max_size=40),
    st.lists(st.integers(1, 200), min_size=1),
)
def test_any_bytes_do_the_same_for_every_way_of_cutting_the_time(score: Score, cuts: list[int]) -> None:
    score = sorted(score, key=lambda one: one[0])
    noise = np.random.default_rng(1).uniform(-1, 1, 500).astype(np.float32)
    found = []
    for sizes in (cuts, [500]):
        stage = Stage(["gain", {"stage": "vocoder", "carrier": "chord"}])
        players = [stage.player([f"vocoder/note_{k}" for k in (1, 2, 3, 4)])]
        bound = {(c, k): [stage.target("gain/gain", -60, 24)] for c in range(16) for k in range(0, 128, 3)}
        stage.use(*players, controls=bound)
        found.append((stage.play(score, noise, sizes).tobytes(), stage.moves(), stage.input.counts))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "message", [b"", b"\x90", b"\x90\x3c", b"\x90\x3c\x80", b"\x90\x80\x40", b"\x3c\x40\x40", b"\xc0\x3c\x40", b"\xb0\x07"]
)
def test_what_is_no_whole_message_does_nothing_and_is_counted(message: bytes) -> None:
    stage = solo()
    assert stage.values([(0, message), (1, b"\xf8"), (2, b"\xfe"), (3, b"\xf0\x7e\xf7")]) == []
    assert stage.input.counts["malformed"] == (1 if message else 0)
    assert stage.input.counts["heard"] == 0


def test_control_sees_every_message_and_program_changes_apart() -> None:
    stage = solo()
    stage.play([(5, on(60)), (9, bytes([0xC2, 17])), (70, bytes([0xD0, 3]))], 128)
    seen = [(int(m["frame"]), int(m["status"]), int(m["first"]), int(m["second"])) for m in stage.input.messages()]
    assert seen == [(5, 0x90, 60, 100), (9, 0xC2, 17, 0), (70, 0xD0, 3, 0)]
    assert [(int(m["frame"]), int(m["first"])) for m in stage.input.programs()] == [(9, 17)]
    stage.play([(0, on(60))] * (MESSAGES + 3))
    assert stage.input.counts["unseen"] == 3
    assert len(stage.input.messages()) == MESSAGES


def test_another_map_keeps_the_notes_of_stages_that_stay_and_gives_them_to_stages_that_come() -> None:
    stage = Stage(["tune", {"stage": "vocoder", "carrier": "chord"}])
    tune, vocoder = stage.player(["tune/note"]), stage.player([f"vocoder/note_{k}" for k in (1, 2, 3, 4)])
    stage.use(tune)
    stage.play([(0, on(60)), (1, on(64))])
    stage.moves()
    stage.use(vocoder, tune)
    stage.play([])
    note = tune.index[0]
    assert sorted(stage.moves()) == sorted([(64, note, 64), (64, vocoder.index[0], 64), (64, vocoder.index[1], 60)])
    narrow = stage.player([f"vocoder/note_{k}" for k in (1, 2, 3, 4)], 1)
    stage.use(narrow, stage.player(["tune/note"], channels=frozenset()))
    stage.play([])
    assert sorted(stage.moves()) == sorted([(128, note, 0), (128, vocoder.index[0], 64), (128, vocoder.index[1], 0)])
    assert stage.values([(0, off(64))]) == [60]


def test_a_map_is_in_use_until_the_audio_thread_has_taken_up_the_next_one() -> None:
    stage = solo()
    assert not stage.input.settled
    assert not stage.input.publish(MidiMap({}, ()))
    stage.play([])
    assert stage.input.settled
    assert stage.input.publish(MidiMap({}, ()))


def test_release_lets_every_note_go_at_the_next_block() -> None:
    stage, voices = chord()
    assert sound(stage, voices, on(60), on(64, 3), control(64, 127, 3), bend(0, 3)) == [60, 62, 0, 0]
    stage.input.release()
    assert sound(stage, voices) == [0, 0, 0, 0]
    assert sound(stage, voices, on(70, 3)) == [70, 0, 0, 0]  # neither bent any more
    assert sound(stage, voices, off(70, 3)) == [0, 0, 0, 0]  # nor held by a pedal


def test_the_largest_group_that_a_message_can_make_is_not_cut() -> None:
    """All voices of all players on one channel: bent and let go at once, each told twice."""
    stage = Stage([{"stage": "vocoder", "name": f"v{j}"} for j in range(MAX_PLAYERS)])
    paths = [f"note_{1 + k % 4}" for k in range(MAX_VOICES)]
    stage.use(*[stage.player([f"v{j}/{path}" for path in paths]) for j in range(MAX_PLAYERS)])
    stage.play([(0, on(note)) for note in range(1, MAX_VOICES + 1)])
    stage.moves()
    assert stage.values([(0, control(121, 0))]) == [*range(1, MAX_VOICES + 1)] * MAX_PLAYERS
    assert (
        len(stage.values([(0, control(64, 127)), (0, control(123, 0)), (1, control(121, 0))])) == 2 * MAX_PLAYERS * MAX_VOICES
    )
    assert stage.input.counts["lost"] == 0


def test_a_map_without_room_is_refused() -> None:
    target = Target(1, 0, np.zeros(128))
    with pytest.raises(ValueError, match="at most 4 parameters"):
        MidiMap({(0, 1): [target] * 5}, ())
    with pytest.raises(ValueError, match="at most 8 stages"):
        MidiMap({}, [Player(k, (0,), 1, EVERYBODY) for k in range(9)])
