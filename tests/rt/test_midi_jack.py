"""MIDI on a real JACK server: messages act at the frames at which others hear them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from os import environ
from pathlib import Path
from typing import Any

import jack
import numpy as np
import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.backends.base import BackendError
from autovoice.rt.journal import Journal
from autovoice.rt.layout import MIDI_PRODUCER, SCOPE, SCOPE_FRAMES
from autovoice.rt.midi_input import MidiMap, Player, Target, midi_input
from support import JackServer, played, wait_until

EVERY_CHANNEL = frozenset(range(16))


class Sender:
    """A JACK client that sends a message and, on its audio port, a click at the same frames of a block."""

    def __init__(self, server: JackServer, offsets: list[int], message: Any) -> None:
        self.client = jack.Client("sender", servername=server.name, no_start_server=True)
        self.midi, self.audio = self.client.midi_outports.register("midi"), self.client.outports.register("click")
        self.ready, self.sent = False, 0
        self._offsets, self._message = offsets, message
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames: int) -> None:
        self.midi.clear_buffer()
        click = self.audio.get_array()
        click[:] = 0
        if self.ready and self.sent < len(self._offsets):
            offset = self._offsets[self.sent]
            self.midi.write_midi_event(offset, self._message(self.sent))
            click[offset] = 0.5
            self.sent += 1

    def close(self) -> None:
        self.client.deactivate()
        self.client.close()


@pytest.fixture
def playing(jack_server: JackServer) -> Iterator[tuple[Engine, Journal]]:
    """An engine whose `tune` hears every channel, and what it does."""
    with Engine(Chain(["gain", "tune"]), backend="jack", server=jack_server.name, name="plays") as engine:
        processor = engine.processor
        uid, index, _ = processor.resolve("tune/note")
        bound = {(0, 1): [Target(*processor.resolve("gain/gain")[:2], np.linspace(-60, 24, 128))]}
        midi = midi_input(processor)
        assert midi.publish(MidiMap(bound, [Player(uid, (index,), 1, EVERY_CHANNEL)]))
        assert wait_until(lambda: midi.settled)
        assert processor.page is not None
        yield engine, Journal(processor.page)


@contextlib.contextmanager
def sequencer(server: JackServer, *score: int) -> Iterator[None]:
    """Run `jack_midiseq`: the frames of its loop, then frame, note and length of each note."""
    command = ["jack_midiseq", "sequence", *map(str, score)]
    program = subprocess.Popen(command, env={**environ, **server.environment}, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: "sequence:out" in server.tool("jack_lsp"))
    yield
    program.terminate()
    program.wait()


def dump_of(lines: list[str]) -> list[tuple[int, int]]:
    """Return (frame, note or 0) of each line of `jack_midi_dump`."""
    words = [line.replace(":", " ").split() for line in lines if line[-1:].isdigit()]
    return [(int(line[0]), int(line[2], 16) if line[1] == "90" else 0) for line in words]


def by_midi(journal: Journal) -> np.ndarray[Any, Any]:
    new = journal.read()
    return new[new["producer"] == MIDI_PRODUCER]


def test_messages_act_at_the_frames_of_clicks_that_are_sent_with_them(
    playing: tuple[Engine, Journal], jack_server: JackServer
) -> None:
    engine, journal = playing
    engine.processor.show_scope(True)
    offsets = [0, 1, 63, 64, 2047, 0, 2047, 517]
    jack_server.tool("jack_bufsize", "2048")  # time enough for a sender in Python
    sender = Sender(jack_server, offsets, lambda k: bytes([0xB0, 1, 10 + k] if k % 2 else [0x90, 60 + k, 100]))
    try:
        jack_server.tool("jack_connect", "sender:midi", "plays:midi_in")
        jack_server.tool("jack_connect", "sender:click", "plays:in_1")
        sender.ready = True
        assert wait_until(lambda: sender.sent == len(offsets))
        assert played(engine, 3 * 2048)
        engine.processor.show_scope(False)
    finally:
        sender.close()
        jack_server.tool("jack_bufsize", "64")
    moves = by_midi(journal)
    (scope,) = np.fromfile(engine.processor.scope_path, SCOPE, 1)
    clicks = np.flatnonzero(scope["input"] > 0.4)
    assert len(moves) == len(clicks) == len(offsets)
    assert sorted(int(frame) % SCOPE_FRAMES for frame in moves["frame"]) == clicks.tolist()
    assert [int(frame) % 64 for frame in moves["frame"]] == [offset % 64 for offset in offsets]
    assert engine.stats().events_late == 0


def test_a_sequencers_loop_keeps_its_frames_as_a_monitor_beside_us_hears_them(
    playing: tuple[Engine, Journal], jack_server: JackServer, tmp_path: Path
) -> None:
    _, journal = playing
    command, environment = ["stdbuf", "-oL", "jack_midi_dump", "-a"], {**environ, **jack_server.environment}
    ours: list[tuple[int, int]] = []

    def heard() -> int:
        ours.extend((int(move["frame"]), int(move["value"])) for move in by_midi(journal))
        return len(ours)

    with (tmp_path / "dump").open("w") as dump, subprocess.Popen(command, env=environment, stdout=dump) as monitor:
        try:
            assert wait_until(lambda: "midi-monitor:input" in jack_server.tool("jack_lsp"))
            with sequencer(jack_server, 2417, 0, 60, 700, 1001, 64, 333):
                jack_server.tool("jack_connect", "sequence:out", "midi-monitor:input")
                jack_server.tool("jack_connect", "sequence:out", "plays:midi_in")
                assert wait_until(lambda: heard() > 30)
            heard()
            assert wait_until(lambda: len(dump_of((tmp_path / "dump").read_text().splitlines())) >= len(ours))
        finally:
            monitor.terminate()
    dumped = dump_of((tmp_path / "dump").read_text().splitlines())
    assert any(
        all(
            value == theirs and frame - ours[0][0] == at - dumped[k][0]
            for (frame, value), (at, theirs) in zip(ours, dumped[k:], strict=False)
        )
        for k in range(len(dumped) - len(ours) + 1)
    )


def test_keys_that_were_down_when_the_connection_broke_are_let_go(
    playing: tuple[Engine, Journal], jack_server: JackServer
) -> None:
    engine, _ = playing
    with sequencer(jack_server, 4800, 0, 60, 4700):
        jack_server.tool("jack_connect", "sequence:out", "plays:midi_in")
        assert wait_until(lambda: engine.processor.values["tune/note"] == 60)
        engine.stop()
    engine.start()
    assert wait_until(lambda: engine.processor.values["tune/note"] == 0)


def test_the_midi_port_is_connected_as_asked_for(jack_server: JackServer) -> None:
    engine = Engine(Chain(["gain"]), backend="jack", server=jack_server.name, name="asked", connect=(("MIDI", "sequence:out"),))
    with pytest.raises(BackendError, match=r"cannot connect midi_in with 'sequence:out'; ports are: $"):
        engine.start()
    with sequencer(jack_server, 4800, 0, 60, 4700), engine:
        assert jack_server.tool("jack_lsp", "-c", "asked").split() == [
            "asked:in_1",
            "asked:out_1",
            "asked:midi_in",
            "sequence:out",
        ]


def test_without_midi_there_is_no_port_for_it(jack_server: JackServer) -> None:
    settings: dict[str, Any] = {"backend": "jack", "server": jack_server.name, "name": "deaf", "options": {"midi": False}}
    with Engine(Chain(["gain"]), **settings) as engine:
        assert "midi_in" not in jack_server.tool("jack_lsp")
        assert wait_until(lambda: engine.stats().cycles > 20)
    with pytest.raises(BackendError, match="no port midi_in; ports are in_1, out_1"):
        Engine(Chain(["gain"]), **settings, connect=(("midi", "sequence:out"),)).start()
