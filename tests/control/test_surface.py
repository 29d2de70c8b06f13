"""What surfaces share with the audio thread: the journal, the values, the board, the ring, the scope."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Engine, atomics
from autovoice.rt.callback import SCOPE_PAGE
from autovoice.rt.control.conductor import Conductor
from autovoice.rt.control.surface import PACKED, EventRing, Row, Surface
from autovoice.rt.journal import ControlPage, Journal
from autovoice.rt.layout import ADOPTED, CONTROL, ENTRIES, EVENT, HEARD, MOVE, OSC_PRODUCER, UNKNOWN, VALUE_UIDS
from autovoice.rt.ring import Ring
from support import DEMO, SAMPLE_RATE, Crank, program_environment, wait_until


def row(name: str, minimum: float, maximum: float, scale: str = "linear", default: float = 0.0) -> Row:
    return Row(f"a/{name}", 1, 0, name, "", minimum, maximum, default, scale, (), "")


def test_rows_clamp_and_move_along_their_scale() -> None:
    cutoff = row("cutoff", 20.0, 2000.0, "log", 80.0)
    assert cutoff.from_norm(0.5) == pytest.approx(200.0)
    assert cutoff.to_norm(200.0) == pytest.approx(0.5)
    assert (cutoff.from_norm(0.0), cutoff.from_norm(1.0), cutoff.from_norm(7.0)) == (20.0, 2000.0, 2000.0)
    assert cutoff.clamp(float("nan")) == 80.0
    assert cutoff.clamp(float("inf")) == 2000.0
    switch = row("switch", 0.0, 1.0, "switch")
    assert [switch.clamp(v) for v in (0.49, 0.5, 3.0, -1.0)] == [0.0, 1.0, 1.0, 0.0]


def controlled(stages: list[Any]) -> Crank:
    crank = Crank(Chain(stages))
    crank.processor.open_control()
    return crank


def entries(crank: Crank) -> list[tuple[int, int, int, float]]:
    assert crank.processor.page is not None
    found = Journal(crank.processor.page, since=0).read()
    return [(int(e["kind"]), int(e["frame"]), int(e["index"]), float(e["value"])) for e in found]


def test_the_journal_tells_each_event_at_its_frame_and_from_whom() -> None:
    crank = controlled(["gain"])
    uid, index, _ = crank.processor.resolve("gain/gain")
    osc = crank.processor.rings[OSC_PRODUCER]
    osc.push(np.array([(100, uid, index, -6.0, 1, 0, 7), (100, uid, -1, 1.0, 0, 0, 7)], EVENT))
    osc.push(np.array([(130, 99, 0, 1.0, 0, 0, 8)], EVENT))
    crank.run(np.zeros(256, np.float32), 50)
    assert crank.processor.page is not None
    found = Journal(crank.processor.page, since=0).read()
    assert found["number"].tolist() == [0, 1, 2]
    assert found["kind"].tolist() == [MOVE, MOVE, UNKNOWN]
    assert found["frame"].tolist() == [100, 100, 130]
    assert found["producer"].tolist() == [OSC_PRODUCER] * 3
    assert found["origin"].tolist() == [7, 7, 8]
    assert crank.processor.values["gain/gain"] == -6.0
    assert crank.processor.values["gain/bypass"] == 1.0


def test_a_swap_is_in_the_journal_and_its_values_are_shown() -> None:
    crank = controlled(["gain"])
    crank.run(np.zeros(64, np.float32))
    crank.processor.send([("gain/gain", -3.0)])
    thread = crank.begin_swap(Chain([{"stage": "gain", "gain": 4.0}, {"stage": "highpass", "cutoff": 300.0}]))
    crank.run(np.zeros(64 * 64, np.float32))
    thread.join()
    kinds = [(kind, frame) for kind, frame, _, _ in entries(crank) if kind in (ADOPTED, HEARD)]
    assert kinds[0] == (ADOPTED, 64)
    assert kinds[1][0] == HEARD
    assert kinds[1][1] > 64 + 960 - 64  # the fade lasts 20 ms
    assert crank.processor.values["gain/gain"] == 4.0
    assert crank.processor.values["highpass/cutoff"] == 300.0


def test_a_swap_that_follows_takes_what_others_set_meanwhile() -> None:
    crank = controlled(["gain"])
    crank.run(np.zeros(64, np.float32))
    thread = crank.begin_swap(Chain(["gain", "highpass"]), follow=True)
    uid, index, _ = crank.processor.resolve("gain/gain")
    crank.processor.rings[OSC_PRODUCER].push(np.array([(-1, uid, index, -9.0, 0, 0, 0)], EVENT))  # after the chain was laid out
    crank.run(np.zeros(64 * 64, np.float32))
    thread.join()
    assert crank.processor.values["gain/gain"] == -9.0
    ones = np.ones(6400, np.float32)
    assert crank.run(ones)[-1] == pytest.approx(0.0, abs=1e-3)  # the high-pass is heard
    crank.processor.send([("highpass/bypass", 1.0)])
    assert crank.run(ones)[-1] == pytest.approx(10 ** (-9 / 20), rel=1e-5)


def test_a_reader_that_was_lapped_knows_it() -> None:
    page = ControlPage(np.zeros(1, CONTROL))
    page.prepare()
    journal = Journal(page, since=0)
    words = page.array.view(np.int64)
    at = CONTROL.fields["written"][1] // 8  # type: ignore[index]
    page.entries["number"] = np.arange(ENTRIES)
    words[at] = ENTRIES - 1
    assert journal.read()["number"].tolist() == list(range(ENTRIES - 1))
    assert not journal.lapped
    journal = Journal(page, since=0)
    page.entries["number"][:100] += ENTRIES
    words[at] = ENTRIES + 100
    found = journal.read()
    assert journal.lapped
    assert found["number"].tolist() == list(range(101, ENTRIES + 100))  # the oldest might be overwritten right now
    assert len(journal.read()) == 0


def test_the_scope_holds_the_newest_frames() -> None:
    crank = controlled(["gain"])
    crank.processor.show_scope(True)
    crank.processor.send([("gain/gain", -6.0)], 0)
    sound = np.linspace(-0.5, 0.5, 40_000, dtype=np.float32)
    wet = crank.run(sound, [64, 31, 200])
    crank.processor.show_scope(False)
    crank.run(np.zeros(100, np.float32))
    from autovoice.rt.control.surface import Scope

    scope = Scope(crank.processor.scope_path)
    assert scope.written == 40_000
    heard, played = scope.latest(10_000)
    assert np.array_equal(heard, sound[-10_000:])
    assert np.array_equal(played, wet[-10_000:])
    assert atomics.load(crank.processor.address + SCOPE_PAGE) == 0


def test_the_light_ring_and_the_compiled_one_are_the_same_ring() -> None:
    assert PACKED.size == EVENT.itemsize
    ring = Ring(EVENT, 8, shared="autovoice-test")
    light = EventRing(ring.path)
    sent = 0
    for count in (3, 5, 1, 7, 8, 2):
        group = [(sent + k, 2, 3, 0.5 * k, count - 1 - k, 1, 9) for k in range(count)]
        assert light.push(group)
        assert not light.push([(0, 0, 0, 0.0, 0, 0, 0)] * 8)  # all or none
        got = ring.pop(100)
        assert got["frame"].tolist() == list(range(sent, sent + count))
        assert got["value"].tolist() == [0.5 * k for k in range(count)]
        assert got["following"].tolist() == list(range(count - 1, -1, -1))
        sent += count


def test_a_surface_needs_no_compiler() -> None:
    import subprocess

    code = "import sys, autovoice.rt.control.surface as s; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=program_environment())
    assert done.stdout.split() == ["False", "False"], done.stderr


@dataclass
class Desk:
    engine: Engine
    conductor: Conductor
    surface: Surface
    ours: socket.socket


@pytest.fixture
def desk() -> Iterator[Desk]:
    """An engine on the null driver, its Conductor, and a surface in this process."""
    engine = Engine(Chain(DEMO), backend="null", latency=4800)
    with engine, Conductor(engine) as conductor:
        ours, theirs = socket.socketpair()
        p = engine.processor
        where = {"telemetry": p.telemetry_path, "control": p.control_path, "ring": p.rings[1].path, "scope": p.scope_path}
        ours.sendall(json.dumps({"attach": where}).encode() + b"\n")
        yield Desk(engine, conductor, Surface(theirs, OSC_PRODUCER), ours)
        ours.close()
        theirs.close()


def test_a_surface_moves_parameters_past_the_interpreter(desk: Desk) -> None:
    rows = desk.surface.board.rows
    assert desk.surface.send([(rows["shift/semitones"], -3.0), (rows["gate/bypass"], 1.0)], origin=4)
    assert wait_until(lambda: desk.surface.value(rows["gate/bypass"]) == 1.0)
    found = desk.surface.read_journal()
    assert found["frame"][0] == found["frame"][1]
    assert [desk.surface.path_of(int(e["uid"]), int(e["index"])) for e in found] == ["shift/semitones", "gate/bypass"]
    assert desk.engine.processor.values["shift/semitones"] == -3.0
    assert desk.surface.values()["shift/semitones"] == -3.0
    desk.engine.set("shift/semitones", 5.0)  # control and surface see one truth
    assert wait_until(lambda: desk.surface.values()["shift/semitones"] == 5.0)


def test_the_board_says_what_plays_and_follows_a_swap(desk: Desk) -> None:
    board = desk.surface.board
    assert wait_until(lambda: not board.refresh())  # all that the start had to say has been read
    assert [stage["key"] for stage in board.data["chain"]] == [p.key for p in desk.engine.chain.placed]
    assert board.data["latency"] == 4800
    assert board.rows["master/mute"].scale == "linear"
    desk.conductor.do("chain/add", "eq", 0)
    assert wait_until(board.refresh)  # not yet, where the conductor is just writing it once more
    assert board.data["chain"][0]["key"] == "eq"
    assert "eq/bypass" in board.rows
    desk.conductor.do("chain/remove", "eq")
    assert wait_until(lambda: board.refresh() and "eq/bypass" not in board.rows)


def test_a_whole_board_is_read_while_it_is_being_written(desk: Desk) -> None:
    page = ControlPage.attach(desk.engine.processor.control_path)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            desk.conductor.changed()
            desk.conductor._write_board()

    thread = threading.Thread(target=rewrite)
    thread.start()
    end, seen = time.monotonic() + 60, set()
    while len(seen) < 4 and time.monotonic() < end:
        found = page.read_board()
        if found is not None:
            seen.add(found[0])
            assert found[1]["session"] == desk.conductor.session
    stop.set()
    thread.join()
    assert len(seen) > 3


def test_more_names_than_can_be_shown_are_refused() -> None:
    crank = controlled(["gain"])
    for k in range(VALUE_UIDS - 2):
        crank.processor._uid(f"name_{k}", "gain")
    with pytest.raises(ValueError, match="at most 255 names of stages"):
        crank.processor._uid("one_more", "gain")


def test_bypass_of_the_whole_chain_is_the_delayed_dry_voice() -> None:
    crank = controlled([*DEMO])
    sound = np.random.default_rng(1).standard_normal(SAMPLE_RATE // 4).astype(np.float32) * 0.1
    crank.processor.send([("master/bypass", 1.0)], 0)
    wet = crank.run(sound)
    latency = crank.processor.latency
    assert np.array_equal(wet[2000:], sound[2000 - latency : -latency])
