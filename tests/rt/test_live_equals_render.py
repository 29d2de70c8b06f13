"""What is rendered from a file is what was heard live, bit for bit, given the same moves at the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain, Engine, Event
from support import DEMO, Audio, JackServer, found_at, wait_until

# Live input of known frames without a second program: a stage that plays a recording into the chain.
PLAYER = '''
"""Play a recording, from absolute frame 0, over whatever comes in."""
import numpy as np
from autovoice.dsp.stage import Param

PARAMETERS = (Param("level", "", 0.0, 2.0, 1.0, help="amplitude"),)
STATE = [("sound", "f4", ({frames},))]


def prepare(state, sample_rate):
    state["sound"][:] = np.load({path!r})


def process(s, p, x, block):
    for c in range(block.channels):
        for i in range(block.frames):
            k = block.frame + i
            x[c, i] = s[c].sound[k] * p.level[i] if k < {frames} else 0.0
'''
MOVES = [
    ("shift/semitones", -5.0),
    ("gate/threshold", -30.0),
    ("shift/semitones", 7.0),
    ("limiter/ceiling", -12.0),
    ("compressor/bypass", 1.0),
    ("compressor/threshold", -40.0),
    ("compressor/bypass", 0.0),
    ("highpass/cutoff", 300.0),
    ("master/input", 6.0),
]


def events(first: int, apart: int) -> list[Event]:
    return [Event(first + apart * k, path, value) for k, (path, value) in enumerate(MOVES)]


def send(engine: Engine, log: list[Event]) -> None:
    for event in log:
        engine.set(event.path, event.value, frame=event.frame)


def check(wet: Path, offline: Audio, log: list[Event]) -> None:
    """Find where the recording begins, then hold every frame of it against the render."""
    live = soundfile.read(wet, dtype="float32")[0]
    found = found_at(live[2000:], offline)  # the first frames may still fade in
    assert found is not None, "no part of the render is what was heard"
    at = found - 2000
    length = min(len(live), len(offline) - at)
    assert length > log[-1].frame - at > 0, "the recording ends before the last move"
    assert np.array_equal(live[2000:length], offline[at + 2000 : at + length])


@pytest.mark.parametrize("block", [32, 64, 441, 1024])
def test_live_on_the_null_driver_equals_the_render(block: int, speech: Audio, tmp_path: Path) -> None:
    sound, log = speech[:100_000], events(20_000, 5_003)
    chain = Chain(DEMO)
    with Engine(chain, backend="null", block=block, options={"source": sound, "loop": False}) as engine:
        send(engine, log)
        engine.record(tmp_path / "wet.wav", dry=tmp_path / "dry.wav")
        assert wait_until(lambda: engine.stats().frames > 80_000)
        engine.stop_recording()  # before the fade out
        assert engine.stats().events_late == 0
    offline = chain.render(sound, sample_rate=48_000, block=block, events=log, compensate=False)
    check(tmp_path / "wet.wav", offline, log)
    dry = soundfile.read(tmp_path / "dry.wav", dtype="float32")[0]
    wet = soundfile.read(tmp_path / "wet.wav", dtype="float32")[0]
    assert len(dry) == len(wet)
    begins, heard = found_at(dry[:20_000], sound), found_at(wet[2000:], offline)
    assert begins is not None and heard is not None
    assert heard - 2000 == begins + chain.latency(48_000)  # dry and wet lie side by side


def test_live_on_jack_through_block_size_changes_equals_the_render(
    speech: Audio, tmp_path: Path, jack_server: JackServer, stage_file: Callable[[str, str], str]
) -> None:
    sound = speech[:140_000]
    np.save(tmp_path / "sound.npy", sound)
    player = stage_file("player", PLAYER.format(frames=len(sound), path=str(tmp_path / "sound.npy")))
    log = events(48_000, 5_003)
    chain = Chain([player, *DEMO])
    with Engine(chain, backend="jack", server=jack_server.name, name="bits", auto_connect=False) as engine:
        send(engine, log)
        engine.record(tmp_path / "wet.wav")
        for frames, block in ((60_000, 256), (75_000, 32), (85_000, 480), (120_000, 64)):
            assert wait_until(lambda: engine.stats().frames > frames)  # noqa: B023
            jack_server.tool("jack_bufsize", str(block))
        engine.stop_recording()  # before the fade out
        assert engine.stats().events_late == 0
    offline = chain.render(np.zeros_like(sound), sample_rate=48_000, events=log, compensate=False)
    check(tmp_path / "wet.wav", offline, log)


def test_a_move_that_is_left_out_of_the_log_would_be_noticed(speech: Audio) -> None:
    log = events(20_000, 5_003)
    sound = speech[:80_000]
    whole = Chain(DEMO).render(sound, sample_rate=48_000, events=log)
    less = Chain(DEMO).render(sound, sample_rate=48_000, events=[e for e in log if e.path != "gate/threshold"])
    assert np.array_equal(whole[:20_000], less[:20_000])
    assert not np.array_equal(whole, less)
