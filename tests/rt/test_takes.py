"""Takes: what was recorded live is rendered again bit for bit, and the log says where it cannot be."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jack
import numpy as np
import pytest
import soundfile
from autovoice.dsp.stage import stage_file as stage_source
from autovoice.rt import Chain, Engine, EngineError
from autovoice.rt.presets import load_preset
from autovoice.rt.take.log import DRY, LOG, WET, TakeError
from autovoice.rt.take.replay import Replay
from autovoice.rt.take.survey import Span
from support import DEMO, SAMPLE_RATE, Audio, Crank, JackServer, played, program_environment, wait_until
from taking import make_take, read_log, replay, write_log

SHORT = ["highpass", "gate", "compressor", "limiter"]
KILLED = """
import sys, time
import numpy as np
from autovoice.rt import Chain, Engine
noise = np.random.default_rng(1).standard_normal(48000) * 0.1
engine = Engine(Chain(["highpass", "compressor", "limiter"]), backend="null", options={"source": noise})
engine.take(sys.argv[1])
with engine:
    print("recording", flush=True)
    while True:
        engine.set("highpass/cutoff", 20.0 + 900 * np.random.rand())
        time.sleep(0.01)
"""


def check_whole(take: Path, moves: int, swaps: int) -> None:
    """Render a take again: all of it must be the same."""
    found = replay(take)
    assert found.exact == (Span(0, found.frames),)
    assert (found.same, found.checked, found.same_from) == (True, found.frames, 0)
    assert (found.moves, found.swaps, found.finished, found.notes) == (moves, swaps, True, ())
    wet, again = (soundfile.read(take / name, dtype="float32")[0] for name in (WET, "replay.wav"))
    assert np.array_equal(wet, again)
    assert np.abs(wet).max() > 0.01


def test_a_take_armed_before_the_start_is_rendered_again_bit_for_bit(speech: Audio, tmp_path: Path) -> None:
    engine = Engine(Chain(DEMO), backend="null", block=96, latency=1500, options={"source": speech[30_000:]})
    engine.take(tmp_path / "take")
    with engine:
        assert played(engine, 9_000)
        engine.set_many({"shift/semitones": -4.0, "master/input": 6.0})
        engine.bypass("gate")
        engine.set("compressor/threshold", -40.0, frame=engine.stats().frames + 3_001)
        assert played(engine, 6_000)
        engine.swap(Chain([*DEMO[:4], "limiter"]), follow=True)
        assert played(engine, 9_000)
        engine.set_many({"master/mix": 0.6, "master/output": -3.0})
        engine.swap(Chain(DEMO))
        assert played(engine, 12_000)
        engine.panic()
        assert played(engine, 6_000)
        engine.mute(False)
        assert played(engine, 12_000)
        assert engine.stop_recording() == tmp_path / "take"
        assert engine.stats().record_dropped == 0
    check_whole(tmp_path / "take", moves=9, swaps=3)
    dry, wet = (soundfile.info(tmp_path / "take" / name).frames for name in (DRY, WET))
    assert dry == wet + 1500  # the input lies later by the latency


def test_a_take_that_begins_while_the_voice_plays_is_exact_once_a_fresh_chain_is_heard(speech: Audio, tmp_path: Path) -> None:
    with Engine(Chain(DEMO), backend="null", options={"source": speech[30_000:]}) as engine:
        engine.set_many({"shift/semitones": 7.0, "gate/bypass": 1.0, "master/output": -2.0})
        assert played(engine, 20_000)
        engine.take(tmp_path / "take")
        with pytest.raises(EngineError, match="a recording is running"):
            engine.take(tmp_path / "other")
        assert engine.processor.values["shift/semitones"] == 7.0
        assert wait_until(lambda: engine.recorder.exact_from)  # type: ignore[union-attr]
        engine.set("shift/semitones", -3.0)
        assert played(engine, 20_000)
        exact = engine.recorder.exact_from  # type: ignore[union-attr]
    assert exact is not None and SAMPLE_RATE < exact < 1.5 * SAMPLE_RATE
    found = replay(tmp_path / "take")
    assert found.exact == (Span(exact, found.frames),)
    assert found.same and found.checked == found.frames - exact > 20_000


def test_stereo_made_of_mono_is_rendered_again(speech: Audio, tmp_path: Path) -> None:
    chain = load_preset("choir").chain()
    steps = [6_000, ("harmony/humanise", 0.1), 4_000, lambda crank: crank.begin_swap(Chain(SHORT), settle=9_600), 20_000]
    check_whole(make_take(tmp_path / "take", chain, speech[40_000:], steps, cuts=100, outs=2), moves=2, swaps=1)


def test_a_chain_of_two_channels_goes_on_after_the_stage_that_made_them(speech: Audio, tmp_path: Path) -> None:
    """The engine's channels are those of its first chain, which may be gone when a take begins."""
    with Engine(Chain(["reverb"]), backend="null", out_channels=2, options={"source": speech[30_000:]}) as engine:
        assert played(engine, 500)
        engine.swap(Chain(SHORT[:1]), keep_state=False)
        engine.take(tmp_path / "take")
        engine.swap(Chain(["highpass", "reverb"]))
        assert played(engine, 12_000)
        engine.stop_recording()  # before the fade out
    found = replay(tmp_path / "take")
    assert found.same and found.channels == 2
    assert np.ptp(soundfile.read(tmp_path / "take" / WET)[0][-2000:] @ [1, -1]) > 1e-4


def test_moves_by_the_thousand_and_of_one_frame_come_in_their_order(speech: Audio, tmp_path: Path) -> None:
    random = np.random.default_rng(3)

    def storm(crank: Crank) -> None:
        for frame in np.sort(random.integers(1_000, 9_000, 900)):
            crank.processor.send([("compressor/threshold", random.uniform(-60, 0)), ("master/output", 0.0)], int(frame))
        for cutoff in random.uniform(20, 900, 700):
            crank.processor.send([("highpass/cutoff", cutoff)], 9_500)

    take = make_take(tmp_path / "take", Chain(SHORT), speech[40_000:], [storm, 12_000], cuts=33)
    check_whole(take, moves=1 + 2 * 900 + 700, swaps=0)


def test_on_jack_a_take_goes_on_through_block_size_changes(tmp_path: Path, jack_server: JackServer, speech: Audio) -> None:
    voice = jack.Client("voice", servername=jack_server.name, no_start_server=True)
    port = voice.outports.register("out")
    at = 0

    @voice.set_process_callback
    def speak(frames: int) -> None:
        nonlocal at
        port.get_array()[:frames] = speech[30_000 + at :][:frames]
        at = (at + frames) % 60_000

    to_us = (("IN", "voice:out"),)
    engine = Engine(Chain(SHORT), backend="jack", server=jack_server.name, name="take", auto_connect=False, connect=to_us)
    engine.take(tmp_path / "take")
    with voice, engine:
        for block in (256, 32, 480, 64):
            jack_server.tool("jack_bufsize", str(block))
            engine.set("compressor/threshold", -10.0 - block / 16)
            assert played(engine, 4_800)
    found = replay(tmp_path / "take")
    assert found.same and found.exact == (Span(0, found.frames),)
    assert np.abs(soundfile.read(tmp_path / "take" / WET)[0]).max() > 0.01


def test_code_of_ones_own_runs_only_where_it_is_allowed(
    speech: Audio, tmp_path: Path, stage_file: Callable[[str, str], str]
) -> None:
    take = make_take(tmp_path / "take", Chain(["gain"]), speech[40_000:], [("gain/gain", -6.0), 3_000])
    own = stage_file("own", stage_source("gain").read_text())
    lines = read_log(take)
    lines[0]["chain"][0]["stage"] = "/elsewhere/own.py"
    write_log(take, lines)
    for allowed in ((), ("/elsewhere/other.py",)):
        with pytest.raises(TakeError, match=r"read /elsewhere/own\.py, then allow it with --allow-stage"):
            Replay(take, allowed)
    found = replay(take, own)  # what runs is the file that was given, wherever the log has it
    assert found.same
    assert found.notes == ("the code of gain has changed since",)  # it has another name


def test_a_driver_that_comes_back_goes_on_with_the_take(speech: Audio, tmp_path: Path) -> None:
    engine = Engine(Chain(SHORT), backend="null", options={"source": speech[30_000:]})
    engine.take(tmp_path / "take")
    with engine:
        for chain in (None, Chain(["limiter", "highpass"])):
            assert played(engine, 6_000)
            assert engine._backend is not None
            engine._backend.close()  # as when the server dies
            engine._running = False
            if chain is not None:
                engine.swap(chain)
            engine.start()
        assert played(engine, 6_000)
    lines = [line for line in read_log(tmp_path / "take") if line.get("kind") == "restarted"]
    assert [line["chain"] is None for line in lines] == [True, False]
    found = replay(tmp_path / "take")
    assert found.same and found.exact == (Span(0, found.frames),)


def test_a_second_start_begins_a_take_afresh(speech: Audio, tmp_path: Path) -> None:
    engine = Engine(Chain(DEMO), backend="null", block=37, options={"source": speech[30_000:]})
    with engine:
        engine.set_many({"shift/semitones": -7.0, "master/mix": 0.5})
        assert played(engine, 6_000)
    engine.take(tmp_path / "take")
    with engine:
        assert played(engine, 9_000)
    found = replay(tmp_path / "take")
    assert read_log(tmp_path / "take")[0]["first_frame"] > 6_000
    assert found.same and found.exact == (Span(0, found.frames),)


def test_a_fresh_chain_has_what_was_set_while_it_was_laid_out(speech: Audio, tmp_path: Path) -> None:
    """Between the look at what plays and the frame of the swap, a fader may move."""
    cells: list[tuple[float, float]] = []

    def swap(crank: Crank) -> None:
        crank.processor.send([("highpass/cutoff", 300.0)])
        crank.begin_swap(crank.processor.image.present(), keep_state=False, follow=True)
        crank.run(speech[40_000:40_640])
        cell = crank.processor.image._cells[0][0]
        cells.append((float(cell["value"]), float(cell["target"])))

    steps = [("highpass/cutoff", 100.0), 6_000, swap, 20_000]
    check_whole(make_take(tmp_path / "take", Chain(SHORT), speech[40_000:], steps), moves=3, swaps=1)
    assert cells == [(300.0, 300.0)]


def test_a_fresh_chain_knows_nothing_of_the_analysis_before_it(speech: Audio, tmp_path: Path) -> None:
    """What the bus says at the swap would be a past that no log holds."""
    crank = Crank(Chain(["pitch"]))
    crank.run(speech[30_000:50_048])
    assert crank.processor.image.record[0]["block"]["bus"]["f0_hz"] > 50
    crank.begin_swap(Chain(["pitch"]), keep_state=False)
    crank.run(speech[50_048:50_112])
    assert crank.processor.image.record[0]["block"]["bus"]["f0_frame"] == -1


def test_a_changed_move_is_noticed(speech: Audio, tmp_path: Path) -> None:
    steps = [6_000, ("highpass/cutoff", 500.0), 6_000]
    take = make_take(tmp_path / "take", Chain(SHORT), speech[40_000:], steps)
    lines = read_log(take)
    for line in lines:
        if line.get("path") == "highpass/cutoff":
            line["value"] = 500.001
    write_log(take, lines)
    found = replay(take)
    assert not found.same
    assert found.first_different is not None and 6_000 <= found.first_different < 6_200
    assert 0 < found.largest < 1e-3


def test_a_log_that_was_cut_short_is_rendered_as_far_as_it_speaks(speech: Audio, tmp_path: Path) -> None:
    steps = [6_000, ("highpass/cutoff", 500.0), 6_000, ("highpass/cutoff", 50.0), 6_000]
    take = make_take(tmp_path / "take", Chain(SHORT), speech[40_000:], steps)
    lines = read_log(take)
    cut = next(k for k, line in enumerate(lines) if line.get("path") == "highpass/cutoff" and line["value"] == 50.0)
    write_log(take, [line for line in lines[:cut] if line.get("kind") != "sync"] + [{"frame": 11_000, "kind": "sync"}])
    with (take / LOG).open("a") as file:
        file.write('{"frame":12000,"kind":"mo')
    found = replay(take)
    assert not found.finished
    assert found.exact == (Span(0, 11_000),)
    assert found.same
    assert found.same_from is None  # after the move that is missing, it is another sound


def test_frames_that_were_lost_are_silent_and_exactness_returns_with_a_fresh_chain(speech: Audio, tmp_path: Path) -> None:
    def lose(crank: Crank) -> None:
        ring = int(crank.processor.engine["recorder"])
        crank.processor.attach_recorder(0)  # as when the ring is full
        crank.run(np.full(700, 0.1, np.float32))
        crank.processor.attach_recorder(ring)

    chain = Chain(DEMO)
    latency = chain.latency(SAMPLE_RATE)
    fresh = [lambda crank: crank.begin_swap(crank.processor.image.present(), keep_state=False, follow=True, settle=9_600)]
    take = make_take(tmp_path / "take", chain, speech[40_000:], [6_000, lose, 4_000, *fresh, 20_000])
    lines = read_log(take)
    broken = next(line for line in lines if line.get("kind") == "broken")
    heard = next(line["frame"] for line in lines if line.get("kind") == "heard")
    assert (broken["frame"], broken["until"]) == (6_000 - latency, 6_700)
    assert lines[-1]["dropped"] == 700
    wet = soundfile.read(take / WET, dtype="float32")[0]
    assert len(wet) == 30_700
    assert not wet[6_000:6_700].any()
    found = replay(take)
    assert found.exact == (Span(0, 6_000 - latency), Span(heard, 30_700))
    assert found.same
    assert found.same_from is not None and found.same_from > 6_700


def test_a_killed_process_leaves_a_take_that_is_rendered_as_far_as_it_goes(tmp_path: Path) -> None:
    take = tmp_path / "take"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(take)], env=program_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "recording\n"
    assert wait_until(lambda: (take / WET).stat().st_size > 300_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = replay(take)
    assert found.same and not found.finished
    assert found.checked > 40_000
    assert found.moves > 20
