"""MIDI under the Conductor: learning, notes that find their stages, programs that choose presets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine
from autovoice.rt.control import conductor as conducting
from autovoice.rt.control.board import Row
from autovoice.rt.control.conductor import Conductor, Notice
from autovoice.rt.control.learn import MidiFamily, values_of
from autovoice.rt.memory import address_of
from autovoice.rt.midi import HEAR_BLOCK, MESSAGE
from autovoice.rt.midi_input import midi_input
from autovoice.rt.presets import all_names
from support import wait_until

CHAIN: list[Any] = ["gain", "tune", {"stage": "vocoder", "carrier": "saw"}]


class Show:
    """An engine on the null driver with a Conductor, and a keyboard that stands where a driver's MIDI port would."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.engine = Engine(Chain(CHAIN), backend="null").start()
        self.conductor = Conductor(self.engine, told=self.notices.append).start()
        (self.midi,) = [family for family in self.conductor._families if isinstance(family, MidiFamily)]

    def play(self, *messages: list[int]) -> None:
        processor = self.engine.processor
        block = np.zeros(len(messages), MESSAGE)
        for row, message in zip(block, messages, strict=True):
            row["size"] = len(message)
            for name, byte in zip(("status", "first", "second"), message, strict=False):
                row[name] = byte
        frame = int(processor.telemetry["now_frame"]) + 256
        HEAR_BLOCK.ctypes(midi_input(processor).address, frame, address_of(block), len(block))

    def shows(self, **wanted: float) -> bool:
        """Say whether parameters come to these values; `tune__note` is `tune/note`. The keyboard goes on without messages."""

        def there() -> bool:
            self.play()
            values = self.engine.processor.values
            return all(values[path.replace("__", "/")] == pytest.approx(value) for path, value in wanted.items())

        return wait_until(there)

    @property
    def state(self) -> dict[str, Any]:
        found = None
        while found is None:  # it may just be being written
            assert self.engine.processor.page is not None
            found = self.engine.processor.page.read_board()
        return dict(found[1]["state"]["midi"])

    def learned(self) -> bool:
        return wait_until(lambda: self.midi.learning is None and self.state["learning"] is None)

    def close(self) -> None:
        self.conductor.stop()
        self.engine.stop()


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Iterator[Show]:
    families = (("autovoice.rt.control.chains", "ChainFamily"), ("autovoice.rt.control.learn", "MidiFamily"))
    monkeypatch.setattr(conducting, "FAMILIES", families)
    show = Show()
    yield show
    show.close()


def row(minimum: float, maximum: float, scale: str = "linear", choices: tuple[str, ...] = ()) -> Row:
    return Row("a/b", 1, 0, "b", "", minimum, maximum, minimum, scale, choices, "")


def test_a_controller_reaches_both_ends_of_a_range_and_exactly_its_middle() -> None:
    pan, cutoff = values_of(row(-1, 1)), values_of(row(20, 20_000, "log"))
    assert pan[[0, 64, 127]].tolist() == [-1, 0, 1]
    assert cutoff[[0, 64, 127]] == pytest.approx([20, 632.4555, 20_000])
    assert np.all(np.diff(pan) > 0) and np.all(np.diff(cutoff) > 0)


def test_a_switch_is_on_from_64_up_and_choices_share_the_way() -> None:
    assert values_of(row(0, 1, "switch")).tolist() == [0.0] * 64 + [1.0] * 64
    assert np.bincount(values_of(row(0, 3, "choice", ("a", "b", "c", "d"))).astype(int)).tolist() == [32] * 4


def test_the_next_controller_that_moves_is_learned_with_its_channel_and_moves_the_parameter(show: Show) -> None:
    show.play([0xB0, 7, 1])  # moved before: it is not meant
    show.conductor.do("midi/learn", "gain/gain")
    assert show.state["learning"] == "gain/gain"
    show.play([0x92, 60, 100], [0xB2, 121, 0], [0xB2, 74, 10], [0xB2, 75, 10])
    assert show.learned()
    assert show.state["controls"] == [{"path": "gain/gain", "channel": 3, "controller": 74}]
    assert show.notices[-1].text == "gain/gain follows controller 74 of channel 3"
    assert show.shows()
    show.play([0xB0, 74, 0], [0xB2, 74, 127])
    assert show.shows(gain__gain=24)
    show.conductor.do("midi/learn", "gain/gain")
    show.play([0xB0, 1, 64])
    assert show.learned()
    show.play([0xB2, 74, 0], [0xB0, 1, 64])
    assert show.shows(gain__gain=-18)
    show.conductor.do("midi/forget", "gain/gain")
    assert show.state["controls"] == []
    assert wait_until(lambda: show.shows() and midi_input(show.engine.processor).settled)
    show.play([0xB0, 1, 127], [0x90, 50, 1])
    assert show.shows(gain__gain=-18, tune__note=50)


def test_all_stages_with_notes_hear_every_channel_until_they_learn_one(show: Show) -> None:
    assert {one["stage"]: len(one["channels"]) for one in show.state["notes"]} == {"tune": 16, "vocoder": 16}
    show.play([0x95, 61, 100])
    assert show.shows(tune__note=61, vocoder__note_1=61)
    show.conductor.do("midi/learn", "tune/note")
    show.play([0xB0, 1, 1], [0x93, 66, 100])
    assert show.learned()
    assert show.shows(tune__note=66)
    show.play([0x95, 70, 100])
    assert show.shows(tune__note=66, vocoder__note_1=70)
    assert {one["stage"]: one["channels"] for one in show.state["notes"]}["tune"] == [4]
    show.conductor.do("midi/forget", "tune/note")
    assert show.shows(tune__note=0, vocoder__note_1=70)
    show.midi.bind("tune/note", 0)
    assert show.shows(tune__note=70)


def test_a_carrier_of_one_note_gets_the_last_and_a_chord_all_of_them(show: Show) -> None:
    show.play([0x90, 60, 1], [0x90, 64, 1])
    assert show.shows(vocoder__note_1=64, vocoder__note_2=0)
    show.engine.set("vocoder/carrier", "chord")
    assert show.shows(vocoder__note_1=64, vocoder__note_2=60)
    show.engine.set("vocoder/carrier", "saw")
    assert show.shows(vocoder__note_1=64, vocoder__note_2=0)


def test_bindings_and_held_notes_outlive_their_stages(show: Show) -> None:
    show.midi.bind("gain/gain", 1, 7)
    show.play([0x90, 60, 1])
    assert show.shows(tune__note=60)
    show.conductor.do("chain/swap", "highpass")
    assert show.shows(highpass__bypass=0)
    show.play([0xB0, 7, 127])
    assert show.state["controls"] == [{"path": "gain/gain", "channel": 1, "controller": 7}]
    assert show.state["notes"] == []
    show.conductor.do("chain/swap", '[{"stage": "gain", "gain": -3}, "tune"]')
    assert show.shows(gain__gain=-3, tune__note=60)
    show.play([0xB0, 7, 0], [0x80, 60, 0])
    assert show.shows(gain__gain=-60, tune__note=0)


def test_a_held_note_goes_on_where_the_same_stages_are_set_anew(show: Show) -> None:
    show.play([0x90, 60, 1])
    assert show.shows(tune__note=60)
    assert wait_until(lambda: show.shows() and midi_input(show.engine.processor).settled)
    show.conductor.swap(Chain(CHAIN))
    assert show.shows(tune__note=60, vocoder__note_1=60)


def test_panic_lets_every_note_go(show: Show) -> None:
    show.play([0x90, 60, 1], [0xB0, 64, 127])
    assert show.shows(tune__note=60, vocoder__note_1=60)
    show.conductor.do("panic")
    assert show.shows(tune__note=0, vocoder__note_1=0)


def test_the_newest_program_chooses_a_preset_by_its_number(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setitem(show.conductor._handlers, "preset/load", loaded.append)
    show.play([0xC0, 0], [0xC1, 3])
    assert wait_until(lambda: loaded == [all_names()[3]])
    show.play([0xC0, 127])
    assert wait_until(lambda: any("program 128 asks for a preset" in notice.text for notice in show.notices))
    assert loaded == [all_names()[3]]


def test_what_makes_no_sense_is_refused_in_one_line(show: Show) -> None:
    for command, path, message in [
        ("midi/learn", "gian/gain", "did you mean 'gain'"),
        ("midi/learn", "vocoder/bands", "swap the chain"),
        ("midi/forget", "gain/gain", "no controller is bound"),
    ]:
        with pytest.raises(StageError, match=message):
            show.conductor.do(command, path)
    for channel, controller, message in [(0, 7, r"1\.\.16"), (17, 7, r"1\.\.16"), (1, 120, r"0\.\.119"), (1, -1, r"0\.\.119")]:
        with pytest.raises(StageError, match=message):
            show.midi.bind("gain/gain", channel, controller)
    for name in ("input", "output", "mix", "mute", "input"):
        show.midi.bind(f"master/{name}", 1, 7)
    with pytest.raises(StageError, match=r"moves master/input, .* already"):
        show.midi.bind("gain/gain", 1, 7)
    show.conductor.do("midi/learn", "gain/gain")
    show.play([0xB0, 7, 1])
    assert show.learned()
    assert "learned nothing" in show.notices[-1].text


def test_the_monitor_has_what_came(show: Show) -> None:
    show.play([0x91, 60, 100], [0xC0, 4], [0xE2, 0, 64])
    seen = []
    assert wait_until(lambda: bool(seen.extend(show.midi.handlers()["midi/monitor"]()) or len(seen) >= 3))
    assert [(one["kind"], one["channel"], one["data"]) for one in seen[:3]] == [
        (0x9, 2, [60, 100]),
        (0xC, 1, [4, 0]),
        (0xE, 3, [0, 64]),
    ]
