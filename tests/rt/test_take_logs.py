"""A take's log may come from anybody: whatever is wrong with it is one clear line, and nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain
from autovoice.rt.backends.base import BackendError
from autovoice.rt.take.log import (
    DRY,
    LOG,
    MAX_LINE,
    WET,
    Adopted,
    Broken,
    End,
    Heard,
    Move,
    Restarted,
    Sync,
    TakeError,
    line_text,
)
from autovoice.rt.take.reader import TakeLog
from autovoice.rt.take.replay import Replay
from support import Audio
from taking import make_take, read_log, replay, write_log

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def original(speech: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short take of a compressor, with one move and a swap."""
    other = Chain(["compressor", "gain"])
    steps = [1_000, ("compressor/threshold", -30.0), 1_000, lambda crank: crank.begin_swap(other), 9_000]
    return make_take(tmp_path_factory.mktemp("takes") / "take", Chain(["compressor"]), speech[40_000:], steps)


@pytest.fixture
def take(original: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    for name in (DRY, WET, LOG):
        (tmp_path / name).write_bytes((original / name).read_bytes())
    return tmp_path


def header(**fields: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[0].update(fields)


def stage(**fields: Any) -> Callable[[Lines], None]:
    return lambda lines: lines[0]["chain"][0].update(fields)


def move(**fields: Any) -> Callable[[Lines], None]:
    return lambda lines: next(line for line in lines if line.get("uid") == 1).update(fields)


def swap(**fields: Any) -> Callable[[Lines], None]:
    return lambda lines: next(line for line in lines if line.get("kind") == "adopted").update(fields)


def again(lines: Lines) -> None:
    """Adopt the same chain once more, while it is faded in."""
    k = next(k for k, line in enumerate(lines) if line.get("kind") == "adopted")
    lines.insert(k + 1, {**lines[k], "frame": lines[k]["frame"] + 64, "generation": 3})


GAIN = {"key": "gain", "stage": "gain", "uid": 1, "values": {}, "options": {}, "bypass": False, "code": ""}
SPOILED = {
    "another format": (header(format="wav"), "no take's log: the first line says format 'wav'"),
    "a later version": (header(version=2), "reads takes of version 1, this one has 2"),
    "an unknown field": (header(extra=1), "there is no field 'extra' here"),
    "a missing field": (lambda lines: lines[0].pop("latency"), "latency is missing"),
    "no object": (lambda lines: lines.insert(1, [1]), "line 2: an object was expected"),  # type: ignore[arg-type]
    "a rate of nought": (header(sample_rate=0), "sample_rate must be a number in 8000..192000, got 0"),
    "another rate": (header(sample_rate=44_100), "has 1 channels at 48000 Hz, the log says 1 at 44100 Hz"),
    "a rate of text": (header(sample_rate="48000"), "sample_rate must be a number in 8000..192000, got '48000'"),
    "a huge number": (header(first_frame=10**400), "first_frame must be a whole number in 0.."),
    "too many channels": (header(in_channels=9), "in_channels must be a whole number in 1..8, got 9"),
    "other channels": (header(channels=7), "channels must be 1 as the input's, or the output's, got 7"),
    "a latency for all memory": (header(latency=1 << 40), "latency must be a whole number in 0..1048576"),
    "a latency below the chain's": (stage(stage="limiter", values={}), "a chain has 78 frames of latency, and the take 0"),
    "a truth as a number": (header(latency=True), "latency must be a whole number in 0..1048576, got True"),
    "a master that is none": (header(master={"gain": 1.0}), "the engine has no parameter 'gain'"),
    "a master out of range": (header(master={"mix": 2.0}), "master/mix must be in 0..1, got 2"),
    "a stage that is none": (stage(stage="compresor"), "no stage is called 'compresor'; did you mean 'compressor'?"),
    "a stage by a path": (stage(stage="../../x"), "no stage is called '../../x'"),
    "a user's code": (stage(stage="/tmp/x.py"), "read /tmp/x.py, then allow it with --allow-stage /tmp/x.py"),
    "a value out of range": (stage(values={"ratio": -1.0}), "compressor/ratio must be in"),
    "a value of text": (stage(values={"ratio": "much"}), "ratio must be a number in"),
    "an option that is none": (stage(options={"address": 5.0}), "compressor has no parameter 'address'"),
    "a chain of everything": (header(chain=[{}] * 40), "chain must be a list of at most 32 stages"),
    "two of one name": (lambda lines: lines[0]["chain"].append(lines[0]["chain"][0]), "two stages have the same key"),
    "a line of unknown kind": (move(kind="jump"), "kind must be one of voice, move, adopted,"),
    "a frame below 0": (move(frame=-5), "frame must be a whole number in 0.."),
    "a frame of the past": (swap(frame=64), "comes after"),
    "a move of nobody": (move(uid=9), "compressor/threshold with uid 9 is nothing that ever played"),
    "a move of another": (move(path="gain/gain"), "gain/gain with uid 1 is nothing that ever played"),
    "a move of nothing": (move(path="compressor/gane"), "compressor has no parameter 'gane'"),
    "a move out of range": (move(value=1e9), "compressor/threshold must be in -60..0 dBFS, got 1e+09"),
    "a swap off the grid": (swap(frame=2_001), "a chain is adopted, and settles, in multiples of 64 frames, got 2001"),
    "a swap to more latency": (
        lambda lines: [line["chain"][1].update(stage="limiter", values={}) for line in lines if line.get("kind") == "adopted"],
        "a chain has 78 frames of latency, and the take 0",
    ),
    "a swap that never ends": (swap(settle=1 << 30), "settle must be a whole number in 0..1048576"),
    "a number with two meanings": (swap(chain=[GAIN]), "uid 1 is compressor and gain"),
    "a swap within a swap": (again, "a chain is adopted at frame 2112, while another is faded in"),
    "moves without end": (lambda lines: lines.__setitem__(slice(2, 3), [lines[2]] * 1_100), "more than 1024 moves at frame"),
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_log_is_refused_with_one_line(take: Path, fault: str) -> None:
    spoil, says = SPOILED[fault]
    lines = read_log(take)
    spoil(lines)
    write_log(take, lines)
    with pytest.raises((TakeError, BackendError)) as refused:
        replay(take)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert not list(take.glob("replay*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b"{}\n", "no take's log"),
        (b"\xff\xfe\n", "line 1: no JSON object"),
        (b"RIFF....WAVE\n", "line 1: no JSON object"),
        (b"[" * 100_000 + b"\n", "line 1: no JSON object"),
        (b'{"format": "autovoice take", "version": NaN}\n', "line 1: no JSON object"),
        (b'{"version": ' + b"9" * 10_000 + b"}\n", "line 1: no JSON object"),
        (b" " * (MAX_LINE + 2), f"line 1: longer than {MAX_LINE} bytes"),
    ],
)
def test_what_is_no_log_is_refused_with_one_line(take: Path, text: bytes, says: str) -> None:
    (take / LOG).write_bytes(text)
    with pytest.raises(TakeError) as refused:
        Replay(take)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_do_not_fit_the_log_are_refused(take: Path) -> None:
    sound = soundfile.read(take / WET, dtype="float32")[0]
    soundfile.write(take / WET, np.stack([sound, sound], 1), 48_000, subtype="FLOAT")
    with pytest.raises(TakeError, match=r"wet\.wav has 2 channels at 48000 Hz, the log says 1 at 48000 Hz"):
        Replay(take)
    (take / WET).unlink()
    with pytest.raises(BackendError, match="no sound file"):
        Replay(take)
    (take / WET).mkdir()
    with pytest.raises(BackendError, match="no sound file"):
        Replay(take)
    with pytest.raises(TakeError, match="no take's log"):
        Replay(take / "nowhere")


def test_a_take_is_not_written_to_and_links_are_not_followed(take: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (take / "replay.wav.part").symlink_to(victim)
    (take / "replay.wav").symlink_to(victim)
    for name in (DRY, WET, LOG):
        with pytest.raises(TakeError, match="belongs to the take itself"):
            Replay(take).run(take / name)
    assert replay(take).same
    assert victim.read_text() == "mine"
    assert not (take / "replay.wav").is_symlink()


def test_samples_that_are_no_numbers_do_no_harm(take: Path) -> None:
    sound = soundfile.read(take / DRY, dtype="float32")[0]
    sound[100:110] = np.nan
    soundfile.write(take / DRY, sound, 48_000, subtype="FLOAT")
    assert not replay(take).same
    assert np.isfinite(soundfile.read(take / "replay.wav")[0]).all()


def test_every_line_reads_back_as_it_was_written(original: Path, tmp_path: Path) -> None:
    chain = TakeLog(original / LOG).header.chain
    lines = [
        Move(64, "compressor/threshold", 1, -1 / 3, "osc"),
        Adopted(128, 2, 640, "fresh", True, chain),
        Heard(1_000, 2),
        Sync(900),
        Restarted(1_001, None),
        Restarted(1_001, chain),
        Broken(500, 700, "lost"),
        Move(1_500, "master/mix", 0, 5e-324, ""),
        End(2_000, 3, None),
    ]
    first = (original / LOG).read_text().splitlines(keepends=True)[0]
    (tmp_path / LOG).write_text(first + "".join(map(line_text, lines)))
    assert list(TakeLog(tmp_path / LOG)) == lines
    assert all(json.loads(line_text(line))["frame"] == line.frame for line in lines)
