"""A user's own presets on disk: what is written comes back, and no name, link, version or full disk does harm."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain
from autovoice.rt import presets as module
from autovoice.rt.presets import all_names, capture, delete_preset, load_preset, preset_names, save_preset
from autovoice.rt.presets.store import user_folder, user_names
from autovoice.rt.store import check_name
from hypothesis import given
from hypothesis import strategies as st

CHAIN = Chain(
    [
        {"stage": "gate", "mode": "adaptive", "lookahead": 2.0, "bypass": True},
        {"stage": "gain", "gain": -3.3},
        {"stage": "gain", "name": "after", "gain": 6.0},
        {"stage": "shift", "semitones": 4.2, "range": "low"},
    ]
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "autovoice" / "presets"


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow, as on a disk without room."""
    former, kept = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, kept)


def saved(name: str = "mine", **values: float) -> Path:
    return save_preset(capture(CHAIN, values, name=name, about="of mine", channels=2))


def test_what_is_saved_comes_back_to_the_last_bit(folder: Path) -> None:
    values = {"gain/gain": float(np.float32(-7.1)), "shift/semitones": 1 / 3, "gate/bypass": 0.0, "master/mix": 0.1 + 0.2}
    preset = capture(CHAIN, values, name="mine", about="of mine", channels=2)
    assert save_preset(preset) == folder / "mine.toml"
    again = load_preset("mine")
    assert again == preset
    assert again.chain().placed == CHAIN.with_values(values).placed
    assert again.master == {"master/mix": 0.1 + 0.2}


@pytest.mark.parametrize("name", ["podcast", "radio"])
def test_a_shipped_preset_saved_under_another_name_is_the_same_chain(name: str) -> None:
    chain = load_preset(name).chain()
    save_preset(capture(chain, {}, name="copy"))
    assert load_preset("copy").chain().placed == chain.placed


def test_mute_and_bypass_of_the_moment_are_not_saved() -> None:
    values = {"master/mute": 1.0, "master/bypass": 1.0, "master/output": -3.0}
    assert capture(CHAIN, values, name="mine").master == {"master/output": -3.0}


def test_a_file_reads_as_one_would_write_it(folder: Path) -> None:
    text = saved().read_text()
    assert text.startswith('version = 1\nabout = "of mine"\nchannels = 2\n\n[[stages]]\nstage = "gate"\nbypass = true\n')
    assert 'mode = "adaptive"' in text
    assert 'range = "low"' in text


def test_a_stage_of_ones_own_is_saved_by_its_path(stage_file: Callable[[str, str], str]) -> None:
    path = stage_file("silent", '"""Nothing."""\n\n\ndef process(s, p, x, block):\n    """Do nothing."""\n')
    preset = capture(Chain(["gain", path]), {}, name="mine")
    save_preset(preset)
    assert load_preset("mine").stages[1] == {"stage": path}
    assert [p.key for p in load_preset("mine").chain().placed] == ["gain", "silent"]


def test_saving_again_replaces_and_deleting_removes() -> None:
    saved(**{"gain/gain": -1.0})
    saved(**{"gain/gain": -2.0})
    assert load_preset("mine").chain()["gain"].values["gain"] == -2.0
    assert all_names() == sorted([*preset_names(), "mine"])
    delete_preset("mine")
    assert user_names() == []
    with pytest.raises(StageError, match="no preset of your own is called 'mine'"):
        delete_preset("mine")


@pytest.mark.parametrize("name", preset_names())
def test_what_comes_with_autovoice_can_be_neither_overwritten_nor_deleted(name: str, folder: Path) -> None:
    before = (module.FOLDER / f"{name}.toml").read_bytes()
    with pytest.raises(StageError, match="comes with AutoVoice and cannot be overwritten; save it under another name"):
        saved(name)
    with pytest.raises(StageError, match="comes with AutoVoice and cannot be deleted"):
        delete_preset(name)
    assert (module.FOLDER / f"{name}.toml").read_bytes() == before
    assert not folder.exists()


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "a\\b",
    ".hidden",
    "a.toml",
    "x\n",
    "x\0y",
    "~",
    " x",
    "-x",
    "ä",
    "a" * 65,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_leave_the_folder_is_refused_before_any_file_is_touched(name: str, tmp_path: Path) -> None:
    for action in (saved, check_name):
        with pytest.raises(StageError, match="a preset's name has 1 to 64 letters"):
            action(name)
    with pytest.raises(StageError):
        delete_preset(name)
    assert list(tmp_path.rglob("*")) == []


@given(st.text(max_size=80))
def test_whatever_passes_as_a_name_is_a_plain_files_name(name: str) -> None:
    try:
        check_name(name)
    except StageError as error:
        assert "\n" not in str(error)
        return
    assert os.path.basename(name) == name and name not in (".", "..") and name.isascii() and len(name) <= 64


def test_a_link_out_of_the_folder_is_neither_read_nor_written(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    outside = tmp_path / "outside.toml"
    outside.write_text('version = 1\n[[stages]]\nstage = "gain"\n')
    (folder / "way out.toml").symlink_to(outside)
    for action in (load_preset, saved, delete_preset):
        with pytest.raises(StageError, match="is a link that leads out of its folder"):
            action("way out")
    assert outside.read_text().startswith("version = 1\n[[")
    (folder / "inside.toml").symlink_to(saved("mine"))
    assert load_preset("inside").stages == load_preset("mine").stages


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "kept")
    saved()
    assert (tmp_path / "kept" / "mine.toml").is_file()
    assert user_names() == ["mine"]


def test_a_base_folder_that_is_not_absolute_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".local/share/autovoice/presets"


BROKEN = {
    "newer": ('version = 2\n[[stages]]\nstage = "gain"', "of version 2 and this AutoVoice reads up to 1; update AutoVoice"),
    "true": ('version = true\n[[stages]]\nstage = "gain"', "says version = 1, got True"),
    "deep": ("version = 1\nx = " + "[" * 5000, "is not a preset"),
    "digits": ("version = " + "1" * 5000, "is not a preset"),
    "long": ("#" * (1 << 18) + "\n", "has at most 262144 bytes"),
    "latin": ("version = 1 # \udce4", "is not a preset"),
    "bypass": (
        'version = 1\n[[stages]]\nstage = "gain"\nbypass = "false"',
        "bypass of gain must be true or false, got 'f",
    ),
    "huge": ('version = 1\n[[stages]]\nstage = "gain"\ngain = 1' + "0" * 400, "gain|large"),
    "table": ('version = 1\n[[stages]]\nstage = "gain"\ngain = [1]', "gain must be a number"),
    "master": ('version = 1\n[[stages]]\nstage = "gain"\n[master]\nmix = 1' + "0" * 400, "mix|large"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_in_the_folder_is_refused_in_one_line(fault: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    text, message = BROKEN[fault]
    (folder / "mine.toml").write_text(text, errors="surrogateescape")
    with pytest.raises(StageError, match=message) as caught:
        load_preset("mine").chain()
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_the_folder_keeps_nobody_waiting(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.toml")
    with pytest.raises(StageError, match="no preset is called 'pipe'"):
        load_preset("pipe")
    with pytest.raises(StageError, match=r"pipe\.toml is not a file"):
        load_preset(str(folder / "pipe.toml"))


def test_an_older_version_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(module.MIGRATIONS, 0, lambda data: {"version": 1, "stages": [{"stage": s} for s in data["chain"]]})
    folder.mkdir(parents=True)
    (folder / "old.toml").write_text('version = 0\nchain = ["gain", "limiter"]')
    assert load_preset("old").stages == ({"stage": "gain"}, {"stage": "limiter"})


def test_a_full_disk_costs_one_line_and_leaves_what_was_there() -> None:
    before = saved().read_bytes()
    with full_disk(), pytest.raises(StageError, match=r"preset mine was not saved: File too large"):
        saved(**{"gain/gain": -9.0})
    assert [path.name for path in user_folder().iterdir()] == ["mine.toml"]
    assert (user_folder() / "mine.toml").read_bytes() == before


def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "autovoice").write_text("in the way")
    with pytest.raises(StageError, match="was not saved: Not a directory"):
        saved()
    assert user_names() == []
