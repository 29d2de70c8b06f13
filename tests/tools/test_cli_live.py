"""`autovoice live` in a process of its own: what it plays, what it reports, how it stops."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support import JackServer, wait_until

CHAIN = ("--chain", "highpass,gate,limiter")
NULL = ("live", "--backend", "null", *CHAIN)

HUM = '''
"""A constant hum."""
from autovoice.dsp.stage import Param
PARAMETERS = (Param("level", "", 0.0, 1.0, 0.25),)
def process(s, p, x, block):
    for c in range(block.channels):
        for i in range(block.frames):
            x[c, i] = p.level[i]
'''


def records(wet: Path) -> bool:
    """Wait until the recorder has written its first sound."""
    part = wet.with_name(f"{wet.name}.part")
    return wait_until(lambda: part.exists() and part.stat().st_size > 10_000)


def test_figures_tell_the_whole_run(here: Any) -> None:
    figures = here(*NULL, "--duration", 0.5, "--json").json
    assert figures["frames"] + figures["xruns"] * figures["block"] >= 0.5 * 48_000  # a host that stands still loses blocks
    assert figures["frames"] == figures["cycles"] * figures["block"]
    assert figures["sample_rate"] == 48_000
    assert figures["latency_frames"] == 78  # the limiter's 1.5 ms, and 6 frames to see between samples
    assert set(figures["stage_us"]) == {"highpass", "gate", "limiter"}
    assert figures["start_s"] > 0
    assert isinstance(figures["realtime"], bool)
    assert {finding["name"] for finding in figures["host"]} >= {"SCHED_FIFO", "locked memory"}
    assert figures["alive"] and figures["trouble"] is None


def test_settings_and_options_reach_the_chain(here: Any, tmp_path: Path, stage_file: Callable[[str, str], str]) -> None:
    wet = tmp_path / "wet.wav"
    settings = ("--stage", stage_file("hum", HUM), "--set", "hum/level=0.5", "--set", "limiter/lookahead=2", "--output", -6)
    figures = here(*NULL, *settings, "--duration", 0.4, "--record", wet, "--json").json
    assert figures["latency_frames"] == 102
    sound, rate = soundfile.read(wet)
    assert rate == 48_000
    assert sound[-24_00 - 4_800 : -2_400] == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-4)  # before the fade out


def test_bypass_hears_the_stage_before(here: Any, tmp_path: Path, stage_file: Callable[[str, str], str]) -> None:
    wet = tmp_path / "wet.wav"
    here(*NULL, "--stage", stage_file("hum", HUM), "--set", "hum/bypass=on", "--duration", 0.3, "--record", wet)
    assert not soundfile.read(wet)[0].any()


def test_channels_are_recorded_as_they_are(cli: Any, tmp_path: Path, stage_file: Callable[[str, str], str]) -> None:
    wet, dry = tmp_path / "wet.wav", tmp_path / "dry.wav"
    channels = ("--in-channels", 1, "--out-channels", 2)
    ran = cli(*NULL, "--stage", stage_file("hum", HUM), *channels, "--duration", 0.3, "--record", wet, "--record-dry", dry)
    assert ran.code == 0, ran
    assert (soundfile.info(wet).channels, soundfile.info(dry).channels) == (2, 1)
    assert soundfile.info(wet).frames == soundfile.info(dry).frames > 0
    left, right = soundfile.read(wet)[0].T
    assert np.array_equal(left, right) and left.max() == pytest.approx(0.25)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_fade_and_a_closed_recording(
    start: Any, tmp_path: Path, stage_file: Callable[[str, str], str], number: signal.Signals
) -> None:
    wet = tmp_path / "wet.wav"
    live = start(*NULL, "--stage", stage_file("hum", HUM), "--record", wet, "--json")
    live.sounds()
    time.sleep(0.3)
    live.signal(number)
    ran = live.end()
    assert ran.code == 0, ran
    assert ran.json["frames"] > 0
    sound, _ = soundfile.read(wet)
    assert sound.max() == pytest.approx(0.25)
    assert abs(sound[-1]) < 1e-3
    assert np.abs(np.diff(sound[len(sound) // 2 :])).max() < 0.25 / 400  # 10 ms are 480 frames: no step, a ramp
    assert not wet.with_name("wet.wav.part").exists()


def test_a_second_ctrl_c_ends_at_once_and_keeps_the_recording(start: Any, tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    live = start(*NULL, "--record", wet)
    live.sounds()
    assert records(wet)
    while live.process.poll() is None:
        live.signal(signal.SIGINT)
        time.sleep(0.008)
    ran = live.end()
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err
    kept = wet if wet.exists() else wet.with_name("wet.wav.part")
    sound, rate = soundfile.read(kept)
    assert rate == 48_000 and len(sound) > 0


def test_a_full_disk_ends_the_recording_and_not_the_voice(start: Any, tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    live = start(*NULL, "--record", wet, "--json")
    live.sounds()
    limit = 150_000  # bytes, less than a second of float32: the kernel refuses what goes beyond, as a full disk does
    resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    live.await_line("the voice plays on")
    time.sleep(0.2)
    live.signal(signal.SIGINT)
    ran = live.end()
    assert ran.code == 2, ran
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("autovoice: recording to ") and "kept and readable" in last
    assert ran.json["alive"]
    sound, rate = soundfile.read(wet)
    assert rate == 48_000 and 0.5 * limit / 4 < len(sound) <= limit / 4


def test_it_plays_on_jack_and_gives_its_name_back(cli: Any, start: Any, jack_server: JackServer) -> None:
    server = ("--server", jack_server.name)
    first = start("live", *CHAIN, *server, "--name", "singer")
    first.sounds()
    assert "a client called 'singer'" in cli("live", *CHAIN, *server, "--name", "singer", "--duration", 0.1).refused()
    ports = {port["name"] for port in cli("devices", *server, "--json").json["jack"]["ports"]}
    assert {"singer:in_1", "singer:out_1"} <= ports
    first.signal(signal.SIGINT)
    assert first.end().code == 0
    again = cli("live", *CHAIN, *server, "--name", "singer", "--duration", 0.3, "--json")
    assert again.json["frames"] > 0


def test_a_server_that_dies_ends_it_with_one_line(start: Any, own_server: JackServer, tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    live = start("live", *CHAIN, "--server", own_server.name, "--record", wet, "--json")
    live.sounds()
    assert records(wet)
    own_server.stop(signal.SIGKILL)
    ran = live.end()
    assert ran.code == 2, ran
    assert ran.err.strip().splitlines()[-1].endswith("start the server again, or use --reconnect to wait for it")
    assert json.loads(ran.out)["frames"] > 0
    assert soundfile.info(wet).frames > 0


def test_with_reconnect_it_waits_for_the_server(start: Any, own_server: JackServer) -> None:
    live = start("live", *CHAIN, "--server", own_server.name, "--reconnect", "--json")
    live.sounds()
    own_server.stop()
    live.await_line("waiting for it to come back")
    own_server.start()
    live.await_line("connected again")
    live.signal(signal.SIGTERM)
    ran = live.end()
    assert ran.code == 0, ran
    assert ran.json["alive"]
