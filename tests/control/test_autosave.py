"""Autosave and recovery: a crash, a full disk and a broken file cost nobody the show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from autovoice.rt import Chain
from autovoice.rt.control import autosave
from autovoice.rt.control.autosave import Autosave, State, recover, set_crashed_aside, state_file, write_state
from autovoice.rt.presets import capture
from conducted import conducted
from support import program_environment, wait_until

CHAIN = Chain([{"stage": "gain", "gain": -3.0}, "limiter"])
LIVE = """
import time
from autovoice.rt.control import library
from conducted import conducted
library.PERIOD_S = 0.05
with conducted(["gain", "limiter"], name="stage", autosave=True) as stand:
    stand.hand("limiter/ceiling", -4.5)
    stand.engine.mute()
    assert stand.reaches("limiter/ceiling", -4.5)
    print("{}", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own for each test, and no waiting for seconds."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(autosave, "PERIOD_S", 0.05)
    yield tmp_path / "state" / "autovoice"


def state(gain: float = -3.0) -> State:
    sound = capture(CHAIN, {"gain/gain": gain, "master/mute": 1.0, "master/mix": 0.5}, name="", master=("mute", "mix"))
    return State(sound, "podcast", "Verse")


def test_a_state_comes_back_with_all_that_it_was(folder: Path) -> None:
    write_state(state_file("stage"), state(-3.25))
    found = recover("stage")
    assert found is not None
    assert found.sound.chain().placed == CHAIN.with_values({"gain/gain": -3.25}).placed
    assert found.sound.master == {"master/mute": 1.0, "master/mix": 0.5}
    assert (found.preset, found.scene, found.clean) == ("podcast", "Verse", False)
    assert found.saved is not None
    assert recover("nobody") is None


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "x\0"])
def test_an_engines_name_never_leads_out_of_the_folder(name: str, folder: Path) -> None:
    assert state_file(name).parent == folder


def test_a_killed_process_leaves_its_state_and_an_orderly_one_says_so(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE], env=program_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert json.loads(line or "null") == {}, process.stderr.read() if process.stderr else ""
    path = state_file("stage")
    assert wait_until(lambda: path.exists() and "ceiling = -4.5" in path.read_text())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = recover("stage")
    assert found is not None
    assert not found.clean
    assert found.sound.chain()["limiter"].values["ceiling"] == -4.5
    assert found.sound.master["master/mute"] == 1.0
    with conducted(list(found.sound.stages), name="stage", autosave=True, preset=found.preset) as stand:
        assert stand.values["limiter/ceiling"] == -4.5
    ended = recover("stage")
    assert ended is not None
    assert ended.clean
    assert sorted(one.name for one in folder.iterdir()) == ["stage.crashed.toml", "stage.toml"]


BROKEN = {
    "cut off": 'version = 1\n[[stages]]\nstage = "ga',
    "empty": "",
    "noise": "\x00\x01\x02",
    "stage gone": 'version = 1\n[[stages]]\nstage = "no_such_stage"\n',
    "out of range": 'version = 1\n[[stages]]\nstage = "gain"\ngain = 99.0\n',
    "newer": 'version = 7\n[[stages]]\nstage = "gain"\n',
    "kind": 'version = 1\nscene = 3\n[[stages]]\nstage = "gain"\n',
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_set_aside_with_one_notice(fault: str) -> None:
    path = state_file("stage")
    path.parent.mkdir(parents=True)
    path.write_text(BROKEN[fault])
    notices: list[str] = []
    assert recover("stage", notice=notices.append) is None
    assert len(notices) == 1
    assert "set aside as" in notices[0]
    assert "\n" not in notices[0]
    assert path.with_name("stage.toml.broken").read_text() == BROKEN[fault]
    assert recover("stage", notice=notices.append) is None
    assert len(notices) == 1


def test_a_disk_without_room_is_told_once_retried_and_told_when_it_is_over(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")  # no folder can be made here
    saving = Autosave(state_file("stage"))
    for k in range(5):
        saving.offer(state(float(-k)))
        assert wait_until(lambda: len(saving.notices) == 1)
    assert "the state is not saved" in saving.notices[0]
    folder.unlink()
    assert wait_until(lambda: len(saving.notices) == 2)
    assert saving.notices[1] == "the state is saved again"
    found = recover("stage")
    assert found is not None
    assert found.sound.chain()["gain"].values["gain"] == -4.0  # the newest, though nothing changed since
    saving.close(state(-9.0))
    assert len(saving.notices) == 2


def test_the_show_goes_on_where_nothing_can_be_saved(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    with conducted(["gain"], name="stage", autosave=True) as stand:
        assert wait_until(lambda: any("not saved" in notice.text for notice in stand.notices))
        stand.hand("gain/gain", -2.0)
        assert stand.reaches("gain/gain", -2.0)
        assert stand.engine.alive
    assert sum("not saved" in notice.text for notice in stand.notices) == 1


def test_a_writer_that_dies_midway_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(state_file("stage"), state(-1.0))

    def torn(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(KeyboardInterrupt):
        write_state(state_file("stage"), state(-2.0))
    found = recover("stage")
    assert found is not None
    assert found.sound.chain()["gain"].values["gain"] == -1.0
    assert [one.name for one in folder.iterdir()] == ["stage.toml"]


def test_what_a_crashed_session_played_is_not_overwritten(tmp_path: Path) -> None:
    path = state_file("stage", tmp_path)
    write_state(path, State(capture(Chain(["gain"]), {"gain/gain": -3.0}, name="")))
    kept = set_crashed_aside(path)
    assert kept is not None and kept.name == "stage.crashed.toml"
    assert not path.exists()
    kept.replace(path)
    state = recover("stage", tmp_path)
    assert state is not None and state.sound.stages[0]["gain"] == -3.0
    write_state(path, replace(state, clean=True))
    assert set_crashed_aside(path) is None
    assert path.exists()
    assert set_crashed_aside(tmp_path / "none.toml") is None
