"""Recordings: complete, aligned, readable whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain, Engine, EngineError
from autovoice.rt.record import RecordError
from autovoice.rt.ring import Ring
from support import Audio, Crank, program_environment, run_program, wait_until

RECORDER = """
import sys, time
import numpy as np
from autovoice.rt import Chain, Engine
noise = np.random.default_rng(1).standard_normal(48000) * 0.1
with Engine(Chain(["gain"]), backend="null", options={"source": noise}) as engine:
    engine.record(sys.argv[1])
    print("recording", flush=True)
    time.sleep(60)
"""
FULL_DISK = """
import json, resource, signal, sys
import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.record import RecordError
from support import played, wait_until
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(1).standard_normal(48000) * 0.1
trouble = ""
with Engine(Chain(["gain"]), backend="null", options={"source": noise}) as engine:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # bytes: what a full disk feels like
    engine.record(sys.argv[1])
    assert wait_until(lambda: engine.recording_trouble)
    went_on = played(engine, 640)
    try:
        engine.stop_recording()
    except RecordError as error:
        trouble = str(error)
print(json.dumps({"trouble": trouble, "went_on": went_on}))
"""


def test_a_recording_holds_every_frame_and_no_gap(tmp_path: Path) -> None:
    count = np.arange(192_000, dtype=np.float32) / (1 << 18)  # every sample tells its frame
    with Engine(Chain(["gain"]), backend="null", out_channels=2, options={"source": count, "loop": False}) as engine:
        assert wait_until(lambda: engine.stats().frames > 4800)
        engine.record(tmp_path / "deep" / "wet.wav", dry=tmp_path / "dry.wav")
        begin = engine.stats().frames
        assert wait_until(lambda: engine.stats().frames > begin + 60_000)
        assert engine.stop_recording() == tmp_path / "deep" / "wet.wav"
        assert engine.stats().record_dropped == 0
    wet, rate = soundfile.read(tmp_path / "deep" / "wet.wav", dtype="float32")
    dry = soundfile.read(tmp_path / "dry.wav", dtype="float32")[0]
    assert rate == 48_000
    assert wet.shape == (len(dry), 2)
    assert len(dry) > 60_000
    assert np.all(np.diff(dry) == dry[1] - dry[0])
    assert np.array_equal(wet[:, 0], dry)
    assert np.array_equal(wet[:, 0], wet[:, 1])
    assert not list(tmp_path.rglob("*.part"))


def test_a_killed_process_leaves_readable_sound(tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    command = [sys.executable, "-c", RECORDER, str(wet)]
    process = subprocess.Popen(command, env=program_environment(), stdout=subprocess.PIPE)
    part = tmp_path / "wet.wav.part"
    assert process.stdout is not None and process.stdout.readline() == b"recording\n"
    assert wait_until(lambda: part.stat().st_size > 200_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sound, rate = soundfile.read(part, dtype="float32")
    assert rate == 48_000
    assert len(sound) > 20_000
    assert np.abs(sound[2000:]).std() > 0.05


def test_a_full_disk_ends_the_recording_with_one_line_and_not_the_voice(tmp_path: Path) -> None:
    wet = tmp_path / "wet.wav"
    said = run_program(FULL_DISK, wet)
    assert said["went_on"]
    assert "free space" in said["trouble"] and "\n" not in said["trouble"]
    sound = soundfile.read(wet, dtype="float32")[0]
    assert 10_000 < len(sound) <= 25_000


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with Engine(Chain(["gain"]), backend="null") as engine:
        with pytest.raises(RecordError, match="cannot record to"):
            engine.record(tmp_path / "file" / "wet.wav")
        engine.record(tmp_path / "wet.wav")
        with pytest.raises(EngineError, match="a recording is running"):
            engine.record(tmp_path / "other.wav")
        assert wait_until(lambda: engine.stats().frames > 10_000)
    assert soundfile.info(tmp_path / "wet.wav").frames > 5000  # leaving the engine ended it


def test_a_recorder_that_cannot_keep_up_drops_whole_blocks_and_counts_them(speech: Audio) -> None:
    crank = Crank(Chain(["gain"]))
    ring = Ring([("row", "f4", (2,))], 256)
    crank.processor.attach_recorder(ring.address)
    crank.run(speech[30_000:30_640])
    assert len(ring) == 256
    assert crank.counter("record_dropped") == 640 - 256
    assert np.array_equal(ring.pop(256)["row"][:, 1], speech[30_000:30_256])
