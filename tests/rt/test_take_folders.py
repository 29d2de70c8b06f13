"""Takes on disk: where they go, what a full disk leaves of them, and who begins and ends them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine
from autovoice.rt.control import conductor as conducting
from autovoice.rt.control.conductor import Conductor, Notice
from autovoice.rt.record import RecordError
from autovoice.rt.take import recorder
from autovoice.rt.take.log import LOG, WET, TakeError
from autovoice.rt.take.names import make_folder, takes_folder
from autovoice.rt.take.replay import Replay
from support import Audio, played, run_program, wait_until
from taking import make_take, read_log, replay

SHORT = ["highpass", "gate", "compressor", "limiter"]
FULL_DISK = """
import json, resource, signal, sys
import numpy as np
from autovoice.rt import Chain, Engine
from autovoice.rt.record import RecordError
from support import played, wait_until
noise = np.random.default_rng(1).standard_normal(48000) * 0.1
engine = Engine(Chain(["highpass", "compressor", "limiter"]), backend="null", options={"source": noise})
engine.take(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with engine:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # bytes: what a full disk feels like
    assert wait_until(lambda: engine.recording_trouble)
    trouble, went_on = engine.recording_trouble, played(engine, 640)
    try:
        engine.stop_recording()
    except RecordError as error:
        last = str(error)
print(json.dumps({"trouble": trouble, "last": last, "went_on": went_on}))
"""


def test_a_full_disk_ends_the_take_with_one_line_and_not_the_voice(tmp_path: Path) -> None:
    take = tmp_path / "take"
    said = run_program(FULL_DISK, take)
    assert said["went_on"]
    assert said["trouble"] == said["last"]
    assert "free space" in said["last"] and "\n" not in said["last"]
    assert read_log(take)[-1]["trouble"] == said["last"]
    found = replay(take)
    assert found.same
    assert 30_000 < found.checked <= 50_000


def test_a_full_disk_takes_no_half_line_of_the_log(tmp_path: Path, speech: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        """The system's calls, on a disk with room for 20 bytes once the first move of the cutoff comes."""

        left: int | None = None

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, fd: int, data: memoryview) -> int:
            if self.left is None and b'"highpass/cutoff"' in bytes(data):
                self.left = 20
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = os.write(fd, data[: self.left])
            self.left = None if self.left is None else self.left - done
            return done

    monkeypatch.setattr(recorder, "os", FullDisk())
    take = tmp_path / "take"
    with pytest.raises(RecordError, match="No space left"):
        make_take(take, Chain(SHORT), speech[40_000:], [6_000, ("highpass/cutoff", 500.0), 6_000])
    assert (take / LOG).read_bytes().endswith(b"}\n")
    assert "highpass/cutoff" not in {line.get("path") for line in read_log(take)}
    Replay(take)  # it can be read


def test_a_fault_of_the_writer_is_told_and_the_voice_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(take: recorder.Take) -> None:
        raise ValueError("something that nobody thought of")

    engine = Engine(Chain(["gain"]), backend="null")
    engine.take(tmp_path / "take")
    with engine:
        monkeypatch.setattr(recorder.Take, "_follow", fail)
        assert wait_until(lambda: engine.recording_trouble)
        assert "ValueError: something that nobody thought of" in (engine.recording_trouble or "")
        assert played(engine, 640)
        with pytest.raises(RecordError, match="something that nobody thought of"):
            engine.stop_recording()


def test_a_take_never_touches_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "take").mkdir()
    (tmp_path / "take" / WET).write_text("mine")
    engine = Engine(Chain(["gain"]), backend="null")
    engine.take(tmp_path / "take")
    with pytest.raises(RecordError, match=r"there is a wet\.wav already"):
        engine.start()
    assert (tmp_path / "take" / WET).read_text() == "mine"
    assert not (tmp_path / "take" / LOG).exists()


@pytest.mark.parametrize("name", ["..", "../up", "/etc", "a/b", "", " a", ".hidden", "a" * 65, "a\n", "a\0", "ä", 7, "-rf"])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: Any) -> None:
    with pytest.raises(StageError, match="a take's name has 1 to 64"):
        make_folder(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_takes_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert takes_folder() == tmp_path / "autovoice" / "takes"
    first, second = make_folder(), make_folder()
    assert first != second and first.parent == second.parent == takes_folder()
    assert make_folder("Song 1") == takes_folder() / "Song 1"
    (takes_folder() / "link").symlink_to(tmp_path)
    for name in ("Song 1", "link"):
        with pytest.raises(TakeError, match="there is a take called"):
            make_folder(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(TakeError, match="choose a folder that can be written"):
        make_folder("take", tmp_path / "file")


def test_the_conductor_begins_and_ends_takes(tmp_path: Path, speech: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ("autovoice.rt.control.takes", "TakesFamily")
    monkeypatch.setattr(conducting, "FAMILIES", (("autovoice.rt.control.chains", "ChainFamily"), known))
    notices: list[Notice] = []
    with (
        Engine(Chain(SHORT), backend="null", options={"source": speech[30_000:]}) as engine,
        Conductor(engine, takes=tmp_path, told=notices.append) as conductor,
    ):

        def shown() -> Any:
            assert engine.processor.page is not None
            board = engine.processor.page.read_board()
            return board[1]["state"]["recording"] if board is not None else "being written"

        with pytest.raises(StageError, match="nothing is being recorded"):
            conductor.do("record", False)
        with pytest.raises(StageError, match="a take's name"):
            conductor.do("record", True, "../out")
        folder = conductor.do("record", True, "Song 1")
        assert folder == str(tmp_path / "Song 1") == shown()
        with pytest.raises(StageError, match="is being recorded"):
            conductor.do("record", True)
        engine.set("highpass/cutoff", 300.0)
        assert wait_until(lambda: any("bit for bit" in one.text for one in notices))
        assert conductor.do("record") == folder  # the other way round
        assert shown() is None
        with pytest.raises(StageError, match="there is a take called 'Song 1' already"):
            conductor.do("record", True, "Song 1")
        assert Path(conductor.do("record")).parent == tmp_path  # by date and time
    assert replay(tmp_path / "Song 1").same
    assert len(list(tmp_path.iterdir())) == 2
