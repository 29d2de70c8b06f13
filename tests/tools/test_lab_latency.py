"""`autovoice latency`, live: what it says of clients whose delay is known, of ours, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Engine
from autovoice.tools.lab.latency.command import only_run
from autovoice.tools.lab.latency.prober import JackProber
from autovoice.tools.lab.latency.take import ServerTrouble
from iodelay import Meter
from support import JackServer, until_valid, wait_until

CABLE = str(Path(__file__).with_name("cable.py"))


@contextlib.contextmanager
def cable(server: JackServer, name: str = "cable", **settings: Any) -> Iterator[Engine]:
    """A client with known delay, gain, noise and clipping, connected to nothing."""
    chain = Chain([{"stage": CABLE, **settings}])
    with Engine(chain, backend="jack", server=server.name, name=name, auto_connect=False) as engine:
        time.sleep(0.05)  # it fades in
        yield engine


def summary(result: dict[str, Any]) -> dict[str, float]:
    """Return the figures of the one that was measured."""
    return next(series for series in result["series"] if series["name"].endswith(": summary"))["runs"][0]["metrics"]


QUICK = ("--repeat", "3", "--cycles", "1", "--longest", "50")


def calmly(measure: Callable[[], Any]) -> Any:
    """Measure again where the server lost cycles: of a machine that stands still nothing can be told."""
    return until_valid(measure, lambda ran: "lost cycles" not in ran.err)


def measured(here: Any, server: JackServer, *request: object) -> Any:
    """Measure on a server."""
    return calmly(lambda: here("latency", "--server", server.name, *request))


def test_a_cable_is_measured_to_the_frame_and_its_declaration_told_apart(here: Any, jack_server: JackServer) -> None:
    for delay, declared in ((777, 777), (1_000, 990)):
        with cable(jack_server, delay=delay, declared=declared):
            found = summary(measured(here, jack_server, "--client", "cable", *QUICK, "--json").json)
        assert found["total_measured_p50_frames"] == pytest.approx(delay + 64, abs=0.001)
        assert found["lookahead_measured_p50_frames"] == pytest.approx(delay, abs=0.001)
        assert found["block_measured_p50_frames"] == pytest.approx(64, abs=0.001)
        assert found["lookahead_declared_frames"] == declared
        assert found["lookahead_measured_spread_frames"] < 0.1


def test_both_probes_and_an_inverted_path_agree(here: Any, jack_server: JackServer) -> None:
    with cable(jack_server, delay=313, gain=-0.4, noise=0.003):
        for signal in ("chirp", "mls"):
            ran = measured(here, jack_server, "--client", "cable", "--signal", signal, *QUICK)
            assert ran.code == 0, ran
            assert re.search(r"^look-ahead +0 +313\.\d\d .*not as declared$", ran.out, re.MULTILINE), ran.out
            assert "upside down" in ran.out


def test_it_agrees_with_jack_iodelay_to_the_frame(here: Any, jack_server: JackServer) -> None:
    with cable(jack_server, delay=431) as engine:
        with Meter(jack_server, "cable", engine) as meter:
            theirs = meter.frames()
        found = summary(measured(here, jack_server, "--client", "cable", *QUICK, "--json").json)
    assert found["total_measured_p50_frames"] == pytest.approx(theirs, abs=0.1)


def test_our_own_engine_is_taken_apart(here: Any, jack_server: JackServer, tmp_path: Path) -> None:
    png = tmp_path / "latency.png"
    request = ("--chain", "limiter,gate", "--set", "gate/lookahead=2", "--block", "128", "--plot", png)
    ran = measured(here, jack_server, *request, *QUICK, "--json")
    assert ran.code == 0, ran
    found = summary(ran.json)
    assert found["lookahead_limiter_declared_frames"] == 78
    assert found["lookahead_gate_declared_frames"] == 96
    assert found["lookahead_declared_frames"] == 78 + 96
    assert found["lookahead_measured_p50_frames"] == pytest.approx(78 + 96, abs=0.01)
    assert found["block_measured_p50_frames"] == 128
    assert found["lane_declared_frames"] == 0
    assert found["device_declared_frames"] > 0
    assert found["total_measured_p50_frames"] == pytest.approx(78 + 96 + 128, abs=0.01)
    own = next(series for series in ran.json["series"] if series["name"].endswith("its own account"))
    assert own["runs"][0]["metrics"]["latency_declared_frames"] == 78 + 96
    assert all(bar["measured"] <= bar["limit"] for bar in ran.json["bars"])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert jack_server.tool("jack_bufsize").strip() == "64"  # the block is what it was before


def test_a_shifted_voice_is_measured_all_the_same(here: Any, jack_server: JackServer) -> None:
    request = ("--chain", "shift", "--set", "shift/semitones=7")
    found = measured(here, jack_server, *request, *QUICK, "--json").json
    figures = summary(found)
    assert figures["lookahead_measured_p50_frames"] == pytest.approx(figures["lookahead_declared_frames"], abs=0.1)


def test_a_device_is_measured_through_a_cable(here: Any, jack_server: JackServer) -> None:
    with cable(jack_server, delay=500, declared=500):
        request = ("--chain", "limiter", "--device", "cable:in_1,cable:out_1")
        found = summary(measured(here, jack_server, *request, *QUICK, "--json").json)
    assert found["device_measured_p50_frames"] == pytest.approx(500, abs=0.01)
    assert found["device_declared_frames"] == 500
    assert found["lookahead_measured_p50_frames"] == pytest.approx(78, abs=0.01)
    assert found["total_measured_p50_frames"] == pytest.approx(500 + 78 + 64, abs=0.01)


def test_paths_that_cannot_be_measured_are_refused_in_one_line(here: Any, jack_server: JackServer) -> None:
    for settings, said in (
        ({"gain": 0.0}, r"no loopback found: .*nothing that goes into cable:in_1 comes out of cable:out_1"),
        ({"gain": 0.05, "noise": 0.5}, r"too noisy: .*--level"),
        ({"gain": 4.0, "clip": 0.5}, r"clips: .*-6\.0 dBFS; turn its gain down"),
    ):
        with cable(jack_server, delay=100, **settings):
            line = measured(here, jack_server, "--client", "cable", *QUICK).refused()
        assert re.search(said, line), line


def test_an_open_device_says_what_to_connect(here: Any, jack_server: JackServer) -> None:
    line = measured(here, jack_server, "--chain", "gain", "--device", *QUICK).refused()
    assert "no loopback found" in line
    assert "connect the jack of system:playback_1 with that of system:capture_1 by a cable" in line


def test_clients_and_ports_that_are_not_there_are_refused_with_the_nearest(here: Any, jack_server: JackServer) -> None:
    empty = Engine(Chain([]), backend="jack", server=jack_server.name, name="deaf", options={"source": np.zeros(64)})
    with cable(jack_server), empty:
        for request, said in (
            (("--client", "kable"), "did you mean 'cable'?"),
            (("--client", "cable", "--in", "in_7"), "no in port 'in_7'; did you mean 'in_1'?"),
            (("--client", "deaf"), "'deaf' has no audio in port"),
            (("--chain", "gain", "--device", "cable:in_1,cable:out_9"), "did you mean 'cable:out_1'?"),
            (("--chain", "gain", "--device", "cable:in_1"), "takes two ports"),
        ):
            assert said in measured(here, jack_server, *request).refused()
    assert "no JACK server 'nowhere' is running" in here("latency", "--server", "nowhere", "--client", "x").refused()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (("--client", "x", "--chain", "gain"), "leave --chain"),
        (("--in", "in_1"), "name it with --client"),
        (("--all", "--preset", "robot"), "--all measures every stage and preset"),
        (("--chain", "gian"), "did you mean 'gain'?"),
        (("--backend", "portaudio", "--client", "x"), "belong to JACK"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(here: Any, request_: tuple[str, ...], said: str) -> None:
    assert said in here("latency", *request_).refused()


def test_a_second_run_on_the_same_server_is_refused(here: Any, jack_server: JackServer) -> None:
    request = ("--client", "cable", *QUICK)
    with cable(jack_server):
        with only_run(jack_server.name):
            line = measured(here, jack_server, *request).refused()
        assert f"process {os.getpid()}" in line and "wait until it ends" in line
        assert measured(here, jack_server, *request).code == 0


@contextlib.contextmanager
def meanwhile(server: JackServer, act: Callable[[], Any]) -> Iterator[None]:
    """Do something once a measurement of the cable is under way."""

    def wait_and_act() -> None:
        assert wait_until(lambda: "autovoice-lab" in server.tool("jack_lsp", "-c", "cable:in_1"), 30)
        time.sleep(0.5)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def test_a_server_that_changes_its_block_meanwhile_ends_the_measurement(here: Any, jack_server: JackServer) -> None:
    request = ("latency", "--server", jack_server.name, "--client", "cable", "--repeat", "20")
    with cable(jack_server), meanwhile(jack_server, lambda: jack_server.tool("jack_bufsize", "256")):
        line = here(*request).refused()
    assert "changed its block from 64 to 256 frames" in line
    jack_server.tool("jack_bufsize", "64")


def test_a_server_that_dies_meanwhile_ends_the_measurement(here: Any, own_server: JackServer) -> None:
    request = ("latency", "--server", own_server.name, "--client", "cable", "--repeat", "20")
    with cable(own_server), meanwhile(own_server, own_server.stop):
        assert "went away" in here(*request).refused()


def test_a_server_that_stands_still_for_a_moment_is_waited_for(own_server: JackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own_server.tool("jack_bufsize", "8192")  # it shows a connection when its cycle ends, every 171 ms
    with cable(own_server), JackProber(own_server.name) as prober:
        connect = prober._client.connect

        def connect_and_stall(*ports: str) -> None:
            connect(*ports)
            own_server.send(signal.SIGSTOP)
            threading.Timer(0.5, own_server.send, (signal.SIGCONT,)).start()

        with monkeypatch.context() as patch:
            patch.setattr(prober._client, "connect", connect_and_stall)
            prober.connect(prober.out, "cable:in_1")
        assert prober.connections(prober.out) == ["cable:in_1"]
        prober.connect(prober.out, "cable:in_1")  # it is there already
        with pytest.raises(ServerTrouble, match=r"cannot connect .* to cable:in_7; is one of them gone"):
            prober.connect(prober.out, "cable:in_7")


def test_a_python_callback_is_measured_like_any_client(here: Any, jack_server: JackServer) -> None:
    jack = pytest.importorskip("jack")
    client = jack.Client("snake", servername=jack_server.name, no_start_server=True)
    heard, plays = client.inports.register("input"), client.outports.register("output")
    held = [np.zeros(64, np.float32)]  # one block late, and says nothing of it

    @client.set_process_callback
    def process(frames: int) -> None:
        plays.get_array()[:] = held[0]
        held[0] = heard.get_array().copy()

    with client:
        found = summary(measured(here, jack_server, "--client", "snake", *QUICK, "--json").json)
    assert found["lookahead_measured_p50_frames"] == pytest.approx(64, abs=0.01)
    assert found["lookahead_declared_frames"] == 0


def test_without_a_server_a_private_one_is_started(cli: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "JACK_DEFAULT_SERVER": f"nobody_{os.getpid()}", "XDG_RUNTIME_DIR": str(tmp_path)}
    ran = calmly(lambda: cli("latency", "--chain", "gain", "--rate", "44100", "--block", "32", *QUICK, env=environment))
    assert ran.code == 0, ran
    assert "measuring on a private one: dummy driver, 44100 Hz, 32 frames" in ran.err
    assert re.search(r"^total +32 +32\.00 ", ran.out, re.MULTILINE), ran.out


def test_portaudio_is_measured_through_a_cable(cli: Any, jack_server: JackServer, tmp_path: Path) -> None:
    with cable(jack_server, delay=600):
        request = ("latency", "--backend", "portaudio", "--device", "cable", "--chain", "limiter", *QUICK)
        environment = {**os.environ, **jack_server.environment, "XDG_RUNTIME_DIR": str(tmp_path)}
        ran = calmly(lambda: cli(*request, "--json", env=environment))
        assert ran.code == 0, ran
        found = summary(ran.json)
    assert found["lookahead_measured_p50_frames"] == pytest.approx(78, abs=0.01)
    assert found["total_measured_p50_frames"] >= 600 + 78 + 64


def test_repetitions_in_noise_lie_within_a_tenth_of_a_frame(here: Any, jack_server: JackServer) -> None:
    with cable(jack_server, delay=900, noise=0.01):
        request = ("--client", "cable", "--repeat", "25", "--cycles", "1", "--longest", "50", "--json")
        found = summary(measured(here, jack_server, *request).json)
    assert found["repetitions_number"] >= 25
    assert found["total_measured_spread_frames"] <= 0.2
    assert found["total_measured_p50_frames"] == pytest.approx(964, abs=0.02)
