"""PortAudio and PyAudio, on a JACK server as their host; in processes of their own, as PortAudio reads its server once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.backends.base import BackendError
from support import JackServer, run_program

PLAY = """
import json, sys, time
import soundfile
from autovoice.rt import Chain, Engine
from support import played, until_valid
backend, device, wet, block = sys.argv[1:5]
engine = Engine(Chain(["highpass", "limiter"]), backend=backend, device=device or None, block=int(block), out_channels=2)
def per_second():
    begin, frames = time.monotonic(), engine.stats().frames
    time.sleep(0.3)
    return (engine.stats().frames - frames) / (time.monotonic() - begin)
with engine:
    played(engine, 10_000)
    before = engine.stats()
    engine.set("highpass/cutoff", 200.0)
    engine.record(wet)
    frames_per_s = until_valid(per_second, lambda found: found > 40_000)  # a host that stands still only loses frames
    played(engine, 10_000)
    after = engine.stats()
    engine.stop_recording()
    alive = engine.alive
print(json.dumps({
    "rate": after.sample_rate, "frames_per_s": frames_per_s, "events": after.events_applied - before.events_applied,
    "misses": after.misses, "alive": alive, "dead": not engine.alive, "device_latency": engine.device_latency,
    "played": after.frames - before.frames, "recorded": soundfile.info(wet).frames, "shape": soundfile.info(wet).channels,
}))
"""


@pytest.mark.parametrize("block", [64, 256, 3000])
def test_portaudio_plays_a_chain_through_the_compiled_callback(block: int, jack_server: JackServer, tmp_path: Path) -> None:
    said = run_program(PLAY, "portaudio", "", tmp_path / "wet.wav", block, environment=jack_server.environment)
    assert said["rate"] == 48_000
    assert said["frames_per_s"] == pytest.approx(48_000, rel=0.25)
    assert said["events"] == 1
    assert said["alive"] and said["dead"]
    assert said["recorded"] > 0.6 * said["played"] > 10_000 and said["shape"] == 2


def test_portaudio_names_its_devices_when_it_does_not_know_one(jack_server: JackServer) -> None:
    program = """
import json
from autovoice.rt import Chain, Engine
from autovoice.rt.backends.base import BackendError
said = []
for settings in ({"device": "theremin"}, {"sample_rate": 44100}, {"in_channels": 8}):
    try:
        Engine(Chain(["gain"]), backend="portaudio", **settings).start()
    except BackendError as error:
        said.append(str(error))
print(json.dumps({"said": said}))
"""
    unknown, rate, channels = run_program(program, environment=jack_server.environment)["said"]
    assert "no PortAudio device theremin; devices are:" in unknown and "system" in unknown
    assert "44100 Hz" in rate and "48000 Hz" in rate
    assert "8 channels" in channels


@pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio, an extra, is not installed")
def test_pyaudio_plays_a_chain(jack_server: JackServer, tmp_path: Path) -> None:
    # One period of the server: with more, PortAudio 19.6 itself overruns its heap on JACK, with or without us.
    said = run_program(PLAY, "pyaudio", "system", tmp_path / "wet.wav", 64, environment=jack_server.environment)
    assert said["rate"] == 48_000
    assert said["frames_per_s"] == pytest.approx(48_000, rel=0.25)
    assert said["events"] == 1
    assert said["alive"] and said["dead"]


@pytest.mark.skipif(importlib.util.find_spec("pyaudio") is not None, reason="PyAudio is installed")
def test_without_pyaudio_the_backend_says_what_to_install() -> None:
    with pytest.raises(BackendError, match=r"autovoice\[pyaudio\]"):
        Engine(Chain(["gain"]), backend="pyaudio").start()
