"""Voices of one's own in what is kept of a show: presets, scenes and the autosave name them, takes hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import voices as table
from autovoice.dsp.stage import StageError
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice
from autovoice.rt import Chain, Event, casting
from autovoice.rt.casting import VoiceSlots
from autovoice.rt.control.autosave import State, recover, write_state
from autovoice.rt.layout import MOVE
from autovoice.rt.presets import capture, load_preset, save_preset
from autovoice.rt.presets.store import user_file
from autovoice.rt.take.log import LOG, TakeError
from conducted import RATE, conducted
from numpy.typing import NDArray
from support import Crank, wait_until
from taking import make_take, read_log, replay, write_log

CONVERT = {"stage": "convert", "mode": "low"}
LATENCY = 1440  # frames
NOBODY = "no voice is called 'Kim'"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own for each test."""
    for variable in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch, voice_table: None) -> Iterator[Any]:
    """What begins a process anew: nobody of one's own is in a slot. Call it with the number of slots that others have."""

    def begin(others: int = 0) -> VoiceSlots:
        fixed = {name: slot for name, slot in table.voices().items() if slot < 10}
        taken = {f"other {k}": 10 + k for k in range(others)}
        slots = VoiceSlots(table.put_voice, slots=table.SLOTS, fixed=fixed | taken, find=voices.find)
        monkeypatch.setattr(casting, "slots", lambda: slots)
        return slots

    casting.slots()  # the process's own, before others write to its table
    begin()
    yield begin


def enrol(name: str, seed: int = 1) -> Voice:
    values = speaker_encoder.raw(np.random.default_rng(seed).standard_normal(128))
    voice = Voice(name, values, 100.0 + 20 * seed, 90.0 + 20 * seed, 190.0 + 20 * seed, consent="made up")
    voices.keep(voice, replace_old=True)
    return voice


def speaks(slot: float) -> NDArray[np.float32]:
    """Return who is in a slot."""
    return table.held(int(slot)).timbre


def voice_of(chain: Chain) -> NDArray[np.float32]:
    return speaks(chain["convert"].values["voice"])


def test_a_preset_says_who_speaks_and_brings_them_back_wherever_there_is_room(start: Any) -> None:
    kim = enrol("Kim")
    path = save_preset(capture(Chain([CONVERT | {"voice": "Kim", "other": "Bruno", "morph": 0.2}]), {}, name="us"))
    text = path.read_text()
    assert 'voice = "Kim"' in text
    assert 'other = "Bruno"' in text
    start(others=7)
    chain = load_preset("us").chain()
    assert chain["convert"].values["voice"] == 17
    assert chain["convert"].values["other"] == voices.shipped_names().index("Bruno")
    assert np.array_equal(voice_of(chain), kim.timbre)
    again = enrol("Kim", seed=2)  # in place of the one before, who goes on where they play
    assert np.array_equal(voice_of(load_preset("us").chain()), again.timbre)
    assert np.array_equal(voice_of(chain), kim.timbre)


def test_a_preset_whose_voice_is_gone_plays_with_the_stages_own_and_says_so() -> None:
    enrol("Kim")
    save_preset(capture(Chain([CONVERT | {"voice": "Kim", "pitch": 2.0}]), {}, name="us"))
    voices.delete("Kim")
    preset = load_preset("us")
    assert len(preset.absent) == 1
    assert f"us.toml: convert/voice stays at its default: {NOBODY}" in preset.absent[0]
    assert preset.chain()["convert"].values == Chain([CONVERT | {"pitch": 2.0}])["convert"].values
    voices.user_file("Kim").write_bytes(b"something else")
    assert "is no safetensors file, or a damaged one" in load_preset("us").absent[0]
    with pytest.raises(StageError, match=NOBODY.replace("Kim", "Kin")):
        Chain([CONVERT | {"voice": "Kin"}])


def test_a_name_is_a_name_before_it_is_a_number() -> None:
    enrol("12")
    assert Chain([CONVERT | {"voice": "12"}])["convert"].values["voice"] == 10
    assert Chain([CONVERT | {"voice": "13"}])["convert"].values["voice"] == 13
    assert Chain([CONVERT | {"voice": 12}])["convert"].values["voice"] == 12


def test_a_lane_refuses_a_voice_that_its_worker_cannot_know() -> None:
    enrol("Kim")
    with pytest.raises(StageError, match=r"^a lane's worker knows the voices that ship, and not Kim; put convert into"):
        Chain(["pitch", {"lane": [CONVERT | {"voice": "Kim"}]}])
    assert Chain(["pitch", {"lane": [CONVERT | {"voice": "Bruno"}]}])["lane"].values["convert_voice"] == 5


def test_what_plays_is_kept_by_name_and_comes_back_after_a_crash(start: Any) -> None:
    kim = enrol("Kim")
    with conducted([CONVERT], latency=LATENCY) as stand:
        assert stand.do("voice", "Kim") == "Kim"
        assert stand.reaches("convert/voice", 10.0)
        assert stand.plays(4800)  # what is shown has been taken, and is in the journal
        with stand.conductor.lock:
            stand.library._catch_up()
            state = stand.library._state()
        assert stand.do("preset/save", "of tonight") == "of tonight"
    assert 'voice = "Kim"' in user_file("of tonight").read_text()
    path = Path(os.environ["XDG_STATE_HOME"], "autovoice", "stage.toml")
    write_state(path, state)
    start(others=3)
    found, notices = recover("stage", notice=(told := []).append), told
    assert found is not None
    assert np.array_equal(voice_of(found.sound.chain()), kim.timbre)
    assert notices == []
    voices.delete("Kim")
    found = recover("stage", notice=notices.append)
    assert found is not None
    assert found.sound.chain()["convert"].values["voice"] == 0
    assert len(notices) == 1
    assert NOBODY in notices[0]
    write_state(path, State(capture(Chain(["gain"]), {}, name="")))
    assert recover("stage", notice=notices.append) is not None
    assert len(notices) == 1


def test_the_show_goes_on_where_a_voice_is_gone(tmp_path: Path) -> None:
    enrol("Kim")
    save_preset(capture(Chain([CONVERT | {"voice": "Kim"}]), {}, name="us"))
    show = tmp_path / "show.toml"
    set_by_name = '\n[scenes.set]\n"convert/voice" = "Lou"\n'
    lou = enrol("Lou", seed=3)
    show.write_text(f'version = 1\n[[scenes]]\nname = "One"\npreset = "us"\n[[scenes]]\nname = "Two"{set_by_name}')
    voices.delete("Kim")
    with conducted([CONVERT], latency=LATENCY, scenes=show) as stand:
        assert [NOBODY in notice.text for notice in stand.notices] == [True]
        assert stand.do("preset/load", "us") == "us"
        assert NOBODY in stand.notices[-1].text
        assert stand.do("scene/go", "Two") == "Two"
        assert stand.rests()
        assert np.array_equal(speaks(stand.values["convert/voice"]), lou.timbre)


def test_who_sings_is_said_by_name_and_forgotten_again() -> None:
    kim = enrol("Kim")
    with conducted([CONVERT], latency=LATENCY) as stand:
        assert stand.values["convert/singer"] == -1
        assert stand.do("singer", "Kim") == "Kim"
        assert stand.do("voice", "Bruno") == "Bruno"
        assert stand.rests()
        slot = int(stand.values["convert/singer"])
        assert np.array_equal(speaks(slot), kim.timbre)
        assert casting.slots().users(slot) == 1
        assert stand.do("preset/save", "tonight") == "tonight"
        assert stand.do("singer", "nobody") == "nobody"
        assert stand.rests()
        assert stand.values["convert/singer"] == -1
        assert wait_until(lambda: casting.slots().users(slot) == 0)  # while it plays
        with pytest.raises(StageError, match=NOBODY.replace("Kim", "Kin")):
            stand.do("singer", "Kin")
    text = user_file("tonight").read_text()
    assert 'singer = "Kim"' in text
    assert np.array_equal(speaks(load_preset("tonight").chain()["convert"].values["singer"]), kim.timbre)


def test_a_morph_to_another_voice_passes_through_nobody_else() -> None:
    save_preset(capture(Chain([CONVERT | {"voice": "Hugo", "pitch": 4.0}]), {}, name="him"))
    with conducted([CONVERT | {"voice": "Ada"}], latency=LATENCY) as stand:
        stand.do("preset/load", "him", 0.4)
        assert stand.reaches("convert/voice", 9.0)
        assert stand.reaches("convert/pitch", 4.0)
        uid, index, _ = stand.engine.processor.resolve("convert/voice")
        moves = stand.journal.read()
        assert {row["value"] for row in moves if (row["uid"], row["index"], row["kind"]) == (uid, index, MOVE)} <= {0.0, 9.0}


def test_an_edit_of_the_chain_keeps_who_speaks_whatever_became_of_the_name() -> None:
    kim = enrol("Kim")
    with conducted([CONVERT], latency=LATENCY) as stand:
        stand.do("voice", "Kim")
        assert stand.reaches("convert/voice", 10.0)
        voices.delete("Kim")
        stand.do("chain/add", "gain")
        assert stand.rests()
        assert np.array_equal(speaks(stand.values["convert/voice"]), kim.timbre)


def buzz(frames: int) -> NDArray[np.float32]:
    phase = 2 * np.pi * np.cumsum(140 + 20 * np.sin(np.arange(frames) / 4000)) / RATE
    return (0.1 * sum(np.sin(h * phase) / h for h in range(1, 20))).astype(np.float32)


@pytest.fixture
def take(tmp_path: Path, start: Any) -> Path:
    """Kim speaks, then Lou, Bruno, a chain with Mo in it, and Kim again, who was enrolled anew meanwhile."""
    for seed, name in enumerate(("Kim", "Lou", "Mo"), 1):
        enrol(name, seed)

    def become(name: str) -> Any:
        return lambda crank: crank.processor.send([("convert/voice", casting.slots().acquire(name))])

    def enrol_anew(crank: Crank) -> None:
        enrol("Kim", seed=9)

    swap = Chain([CONVERT | {"voice": "Mo", "other": "Lou", "morph": 0.3}])
    steps = [9_000, become("Lou"), 3_000, become("Bruno"), 3_001, lambda crank: crank.begin_swap(swap), 30_000]
    steps += [enrol_anew, become("Kim"), 5_000]
    folder = make_take(tmp_path / "take", Chain([CONVERT | {"voice": "Kim"}]), buzz(60_000), steps, latency=LATENCY)
    for name in ("Kim", "Lou", "Mo"):
        voices.delete(name)
    start(others=2)  # so that no slot is the same as then
    for slot in range(10, 30):
        table.put_voice(slot, np.zeros(table.VALUES), 100.0, "another")
    return folder


def test_a_take_is_rendered_again_bit_for_bit_though_its_voices_are_gone(take: Path) -> None:
    found = replay(take)
    assert (found.same, found.checked, found.same_from) == (True, found.frames, 0)
    assert found.notes == ()
    told = [(line["name"], line["slot"]) for line in read_log(take) if line.get("kind") == "voice"]
    assert told == [("Lou", 11), ("Bruno", 5), ("Mo", 10), ("Kim", 13)]
    assert [(one["name"], one["slot"]) for one in read_log(take)[0]["voices"]] == [("Clara", 1), ("Kim", 12)]
    assert (take / LOG).stat().st_mode & 0o077 == 0
    assert [casting.slots().users(slot) for slot in range(10, 30)] == [0] * 20  # all given back


def test_a_take_with_other_voices_in_its_log_sounds_otherwise(take: Path) -> None:
    """What is in the log is what is heard."""
    lines = read_log(take)
    lou = next(line for line in lines if line.get("name") == "Lou")
    lou["timbre"] = lines[0]["voices"][-1]["timbre"]
    write_log(take, lines)
    found = replay(take)
    assert not found.same
    assert found.first_different is not None
    assert found.first_different > 9_000


def test_a_take_of_before_voices_were_in_it_takes_the_slots_as_they_are(take: Path) -> None:
    lines = [line for line in read_log(take) if line.get("kind") != "voice"]
    del lines[0]["voices"]
    write_log(take, lines)
    assert replay(take).first_different is not None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"slot": 64}, "slot must be a whole number in 0..63, got 64"),
        ({"timbre": "AAAA"}, "timbre must be 128 float32 in -16..16 as base64, got 'AAAA'"),
        ({"timbre": "ä" * 684}, "timbre must be 128 float32"),
        ({"timbre": "AADAfw==" * 64 + "AADAfw=="}, "timbre must be 128 float32"),
        ({"median_hz": 5}, "median_hz must be a number in 30..1000, got 5"),
        ({"path": "/etc/passwd"}, "there is no field 'path' here"),
        ({"name": "a\nb"}, "name must be a line"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_voice_in_a_log_is_checked(tmp_path: Path, fields: dict[str, Any], line: str) -> None:
    folder = make_take(tmp_path / "take", Chain(["gain"]), buzz(2_000), [1_000])
    voice = {"frame": 0, "kind": "voice", "slot": 3, "name": "Kim", "median_hz": 100.0, "timbre": "AAAA" * 170 + "AAA="}
    for spoilt, more in (({}, None), (fields, line)):
        lines = read_log(folder)[:1]
        write_log(folder, [*lines, voice | spoilt])
        if more is None:
            replay(folder)
        else:
            with pytest.raises(TakeError) as caught:
                replay(folder)
            assert more in str(caught.value)


def test_a_voice_that_is_put_into_a_slot_that_plays_ends_what_a_take_promises(tmp_path: Path) -> None:
    spare = 50
    steps = [9_000, lambda crank: table.put_voice(spare, np.zeros(table.VALUES), 200.0, "newcomer"), 9_000]
    folder = make_take(tmp_path / "take", Chain([CONVERT | {"voice": spare}]), buzz(20_000), steps, latency=LATENCY)
    broken = [line for line in read_log(folder) if line.get("kind") == "broken"]
    assert [line["reason"] for line in broken] == ["a voice was put into a slot that plays"]
    found = replay(folder)
    assert found.different == 0
    assert found.checked <= 9_000


def test_a_render_knows_names_in_its_events_by_slot() -> None:
    """Events are numbers: whoever makes them asks for the slot."""
    enrol("Kim")
    sound = buzz(6_000)
    chain = Chain([CONVERT])
    moved = chain.render(sound, sample_rate=RATE, events=[Event(0, "convert/voice", casting.slots().acquire("Kim"))])
    assert np.array_equal(moved, Chain([CONVERT | {"voice": "Kim"}]).render(sound, sample_rate=RATE))
