"""The JACK backend against a real server: ports, connections, changes while running, and its death."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import jack
import pytest
import soundfile
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine, EngineError
from autovoice.rt.backends.base import BackendError
from autovoice.rt.layout import FREEWHEEL
from support import DEMO, JackServer, wait_until


def engine_on(server: JackServer, name: str, **settings: object) -> Engine:
    return Engine(Chain(["gain"]), backend="jack", server=server.name, name=name, **settings)  # type: ignore[arg-type]


def advances(engine: Engine) -> bool:
    cycles = engine.stats().cycles
    return wait_until(lambda: engine.stats().cycles > cycles + 20)


def test_ports_are_named_and_mono_goes_to_both_speakers(jack_server: JackServer) -> None:
    with engine_on(jack_server, "ports", in_channels=1, out_channels=1) as engine:
        wires = jack_server.tool("jack_lsp", "-c", "ports").split()
        audio = ["ports:in_1", "system:capture_1", "ports:out_1", "system:playback_1", "system:playback_2"]
        assert wires == [*audio, "ports:midi_in"]
        assert engine.realtime == jack_is_realtime(jack_server)
    assert "ports" not in jack_server.tool("jack_lsp")


def jack_is_realtime(server: JackServer) -> bool:
    client = jack.Client("asks", servername=server.name, no_start_server=True)
    try:
        return bool(client.realtime)
    finally:
        client.close()


def test_connect_wires_what_was_asked_for_and_nothing_else(jack_server: JackServer) -> None:
    wanted = (("in_2", "system:capture_1"), ("OUT", "system:playback_2"))
    with engine_on(jack_server, "wired", in_channels=2, out_channels=2, connect=wanted):
        wires = jack_server.tool("jack_lsp", "-c", "wired").split()
    expected = ["wired:in_1", "wired:in_2", "system:capture_1"]
    assert wires == [*expected, "wired:out_1", "system:playback_2", "wired:out_2", "system:playback_2", "wired:midi_in"]


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        ((("in_1", "system:no_such_port"),), "ports are: system:capture_1"),
        ((("in_3", "system:capture_1"),), "no port in_3"),
        ((("sideways", "system:capture_1"),), "IN=PORT"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_what_there_is(
    connect: tuple[tuple[str, str], ...], message: str, jack_server: JackServer
) -> None:
    with pytest.raises(BackendError, match=message):
        engine_on(jack_server, "miswired", connect=connect).start()
    assert "miswired" not in jack_server.tool("jack_lsp")


def test_a_name_that_is_taken_a_rate_that_differs_and_a_missing_server_are_one_clear_line(jack_server: JackServer) -> None:
    with engine_on(jack_server, "twin"), pytest.raises(BackendError, match="already has a client called 'twin'"):
        engine_on(jack_server, "twin").start()
    with pytest.raises(BackendError, match="runs at 48000 Hz, not 44100"):
        engine_on(jack_server, "slow", sample_rate=44_100).start()
    with pytest.raises(BackendError, match="no JACK server 'nobody' is running") as refused:
        Engine(Chain(["gain"]), backend="jack", server="nobody").start()
    assert "\n" not in str(refused.value)


def test_a_block_is_asked_of_the_server(jack_server: JackServer) -> None:
    with engine_on(jack_server, "asks_block", block=128) as engine:
        assert engine.block == 128
        assert advances(engine)
    jack_server.tool("jack_bufsize", "64")


def test_buffer_size_changes_while_running_are_taken(jack_server: JackServer) -> None:
    with Engine(Chain(DEMO), backend="jack", server=jack_server.name, name="resized") as engine:
        for block in (256, 32, 441, 2048, 64):
            jack_server.tool("jack_bufsize", str(block))
            assert wait_until(lambda: engine.block == block)  # noqa: B023
            assert engine.stats().block == block
            assert advances(engine)
        assert engine.alive


def test_freewheeling_runs_ahead_of_the_clock_and_counts_no_misses(jack_server: JackServer) -> None:
    other = jack.Client("wheel", servername=jack_server.name, no_start_server=True)
    with Engine(Chain(DEMO), backend="jack", server=jack_server.name, name="wheeled") as engine:
        assert advances(engine)
        other.activate()
        other.set_freewheel(True)
        assert wait_until(lambda: engine.processor.telemetry.driver(FREEWHEEL) == 1)
        assert advances(engine)  # past the cycle in which it changes
        misses = engine.stats().misses
        assert wait_until(lambda: engine.stats().frames > 2 * engine.stats().expected_frames)
        assert engine.stats().misses == misses
        other.set_freewheel(False)
        assert wait_until(lambda: engine.processor.telemetry.driver(FREEWHEEL) == 0)
        assert advances(engine)
    other.close()


def test_a_stage_that_is_too_slow_is_counted_as_our_miss_and_as_the_servers_xrun(
    jack_server: JackServer, stage_file: Callable[[str, str], str]
) -> None:
    path = stage_file(
        "dawdles",
        '''
        """Sleep for three periods when told to: a call by an address, which no gate can see."""
        import ctypes

        from autovoice.dsp.native import call_five
        from autovoice.dsp.stage import Param

        PARAMETERS = (Param("sleep", "us", 0, 100000, 0, smooth_ms=0),)
        STATE = [("usleep", "i8")]


        def prepare(state, sample_rate):
            state["usleep"] = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value


        def process(s, p, x, block):
            if p.sleep[0] > 0 and block.frame % 4096 == 0:
                call_five(s[0].usleep, int(p.sleep[0]), 0, 0, 0, 0)
        ''',
    )
    with Engine(Chain([path]), backend="jack", server=jack_server.name, name="dawdler") as engine:
        assert advances(engine)
        before = engine.stats()
        engine.set("dawdles/sleep", 20_000)
        assert wait_until(lambda: engine.stats().misses >= before.misses + 3)
        assert wait_until(lambda: engine.stats().xruns > before.xruns)
        after = engine.stats()
        assert after.callback_us.max > 20_000
        assert after.misses - before.misses <= (after.frames - before.frames) / 4096 + 2


def test_an_engine_can_be_stopped_and_started_again(jack_server: JackServer) -> None:
    engine = engine_on(jack_server, "again")
    with pytest.raises(EngineError, match="never started"):
        engine.stats()
    for _ in range(3):
        engine.start()
        with pytest.raises(EngineError, match="already running"):
            engine.start()
        assert advances(engine)
        engine.stop()
        engine.stop()
        assert not engine.alive


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_the_server_ends_the_engine_calmly(how: signal.Signals, own_server: JackServer, tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    engine = engine_on(own_server, "orphan").start()
    engine.record(wet)
    assert advances(engine)
    own_server.stop(how)
    assert wait_until(lambda: engine.trouble is not None)
    assert not engine.alive
    assert "start the server again" in str(engine.trouble)
    assert not engine.wait(10)  # returns at once
    engine.set("gain/gain", -3.0)  # nobody hears it, nothing breaks
    engine.stop()
    assert engine.stop_recording() is None
    assert soundfile.info(wet).frames > 1000


def test_after_the_servers_death_the_engine_can_be_started_on_the_next_one(own_server: JackServer) -> None:
    engine = engine_on(own_server, "phoenix").start()
    own_server.stop()
    assert wait_until(lambda: engine.trouble is not None)
    own_server.start()
    engine.start()
    assert engine.trouble is None
    assert advances(engine)
    own_server.stop()
    assert wait_until(lambda: engine.trouble is not None)  # and is watched over as before
    engine.stop()


def test_with_reconnect_the_voice_comes_back_with_the_server_and_the_recording_goes_on(
    own_server: JackServer, tmp_path: Path
) -> None:
    engine = engine_on(own_server, "patient", reconnect=True).start()
    engine.set("gain/gain", -6.0)
    engine.record(tmp_path / "wet.wav")
    assert advances(engine)
    frames = engine.stats().frames
    own_server.stop(signal.SIGKILL)
    assert wait_until(lambda: not engine.alive)
    time.sleep(0.3)
    own_server.start()
    assert wait_until(lambda: engine.alive)
    assert advances(engine)
    assert engine.stats().frames > frames
    assert engine.processor.engine["current"] == engine.processor.image.address
    assert "patient:out_1" in own_server.tool("jack_lsp")
    recorded = engine.stop_recording()
    engine.stop()
    assert soundfile.info(recorded).frames > frames * 0.5


def test_requests_out_of_range_are_refused_before_anything_is_opened() -> None:
    with pytest.raises(StageError, match="did you mean 'jack'"):
        Engine(Chain(["gain"]), backend="jak")
    with pytest.raises(StageError, match=r"1\.\.8192"):
        Engine(Chain(["gain"]), block=0)
    with pytest.raises(StageError, match=r"channels must be in 1\.\.8, got 300"):
        Engine(Chain(["gain"]), in_channels=300).start()
    with pytest.raises(StageError, match=r"8000\.\.192000 Hz"):
        Engine(Chain(["gain"]), sample_rate=10_000_000).start()
    with pytest.raises(StageError, match="at least the chain's own 78"):
        Engine(Chain(["limiter"]), latency=10).start()
