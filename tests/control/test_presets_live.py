"""Presets and undo while it plays: load, save, delete, and what can be taken back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, store
from autovoice.rt.presets import capture, load_preset, save_preset
from autovoice.rt.presets.store import user_folder, user_names
from conducted import STEP, conducted
from support import PATIENCE_S, wait_until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def preset(name: str, *stages: Any, **master: float) -> None:
    save_preset(capture(Chain(list(stages)), {f"master/{key}": value for key, value in master.items()}, name=name))


def test_a_preset_is_loaded_without_a_click_and_with_its_master_values() -> None:
    preset("dark", {"stage": "highpass", "cutoff": 30.0}, {"stage": "gain", "gain": -9.0}, output=-3.0, mix=0.5)
    with conducted(["gain"]) as stand:
        assert stand.reaches("gain/gain", 0.0)
        assert stand.plays(4800)
        stand.hand("master/input", -2.0)
        assert stand.do("preset/load", "dark") == "dark"
        assert [p.key for p in stand.engine.chain.placed] == ["highpass", "gain"]
        assert stand.reaches("master/mix", 0.5)
        assert stand.rests()
        assert stand.plays(4800)
        assert {path: stand.values[path] for path in ("gain/gain", "master/output", "master/input")} == {
            "gain/gain": -9.0,
            "master/output": -3.0,
            "master/input": -2.0,  # the preset does not name it
        }
        heard = stand.so_far()
        assert np.abs(np.diff(heard)).max() <= 1.02 * STEP
        wet = 10 ** (-9 / 20)
        assert np.abs(heard[-480:]).max() == pytest.approx(0.25 * 10 ** (-5 / 20) * (wet + 1) / 2, rel=0.05)
        assert stand.conductor.preset == "dark"


def test_what_plays_is_saved_whoever_set_it_and_comes_back() -> None:
    with conducted(["highpass", {"stage": "gain", "name": "trim"}]) as stand:
        stand.hand("trim/gain", -4.5)
        stand.hand("highpass/bypass", 1.0)
        stand.engine.set_many({"master/output": -1.5, "master/mute": 1.0, "highpass/cutoff": 123.0})
        assert stand.reaches("highpass/cutoff", 123.0)
        assert stand.reaches("trim/gain", -4.5)
        assert stand.do("preset/save", "of tonight") == "of tonight"
        stand.do("preset/load", "robot")
        stand.do("preset/load", "of tonight")
        assert {path: value for path, value in stand.values.items() if "master" not in path} == {
            "highpass/bypass": 1.0,
            "highpass/cutoff": 123.0,
            "trim/bypass": 0.0,
            "trim/gain": -4.5,
        }
        assert load_preset("of tonight").master == {"master/input": 0.0, "master/output": -1.5, "master/mix": 1.0}
        assert stand.values["master/mute"] == 1.0  # it was no part of it, and stays
        assert "of tonight" in stand.state["presets"]


def test_a_fader_that_moved_just_before_a_preset_is_saved_is_in_it() -> None:
    with conducted([{"stage": "gain", "name": "trim"}, {"stage": "gain", "name": "late"}]) as stand:
        for gain in np.arange(-10.0, 0.0, 0.25):
            stand.engine.set("trim/gain", float(gain))
            stand.hand("late/gain", float(-gain))
            stand.do("preset/save", "quick")
            assert [stage["gain"] for stage in load_preset("quick").stages] == [gain, -gain]


def test_saving_over_a_preset_keeps_what_it_says_of_itself() -> None:
    save_preset(capture(Chain(["gain"]), {}, name="mine", about="For the second verse."))
    with conducted(["gain"]) as stand:
        stand.do("preset/save", "mine")
    assert load_preset("mine").about == "For the second verse."


def test_surfaces_learn_when_a_preset_is_no_longer_what_it_was() -> None:
    preset("plain", {"stage": "gain", "gain": -6.0})
    with conducted(["gain"]) as stand:
        stand.do("preset/load", "plain")
        assert not stand.state["edited"]
        stand.hand("gain/gain", -5.0)
        assert wait_until(lambda: stand.state["edited"])
        stand.do("undo")
        assert wait_until(lambda: not stand.state["edited"])
        stand.do("preset/load", "robot")
        stand.do("undo")
        assert stand.conductor.preset == "plain"
        assert not stand.state["edited"]
        stand.hand("gain/gain", -5.0)
        assert wait_until(lambda: stand.state["edited"])
        stand.do("preset/save", "plain")
        assert not stand.state["edited"]
        stand.do("preset/delete", "plain")
        assert stand.conductor.preset is None
        assert user_names() == []


def test_commands_take_names_and_no_paths(tmp_path: Path) -> None:
    with conducted(["gain"]) as stand:
        for command in ("preset/load", "preset/save", "preset/delete"):
            for name in ("../robot", "robot.toml", "/tmp/x.toml", "robot\n"):
                with pytest.raises(StageError, match=r"a preset's name has 1 to 64 letters"):
                    stand.do(command, name)
    assert not list(tmp_path.rglob("*.toml"))


def test_refusals_are_one_line_and_change_nothing() -> None:
    preset("late", {"stage": "limiter", "lookahead": 5.0})
    user_folder().mkdir(parents=True, exist_ok=True)
    (user_folder() / "newer.toml").write_text('version = 2\n[[stages]]\nstage = "gain"')
    (user_folder() / "broken.toml").write_text("version = 1\n[[stages")
    (user_folder() / "gone.toml").write_text('version = 1\n[[stages]]\nstage = "gane"')
    refused = {
        ("preset/load", "late"): "frames of latency and the engine was started with 100",
        ("preset/load", "newer"): "update AutoVoice",
        ("preset/load", "broken"): "is not a preset",
        ("preset/load", "gone"): "preset gone: no stage is called 'gane'; did you mean 'gate'",
        ("preset/load", "robbot"): "no preset is called 'robbot'; did you mean 'robot'",
        ("preset/load", "robot", -1.0): "a morph takes 0..600 s, got -1",
        ("preset/save", "robot"): "comes with AutoVoice and cannot be overwritten",
        ("preset/delete", "robot"): "comes with AutoVoice and cannot be deleted",
        ("scene/next",): "there are no scenes",
        ("undo",): "there is nothing to undo",
        ("redo",): "there is nothing to redo",
    }
    with conducted(["gain"], latency=100) as stand:
        for command, message in refused.items():
            with pytest.raises(StageError) as caught:
                stand.do(*command)
            assert message in str(caught.value)
            assert "\n" not in str(caught.value)
        assert [p.key for p in stand.engine.chain.placed] == ["gain"]
        assert stand.conductor.preset is None
        assert stand.state["undo"] == 0


def test_undo_goes_back_through_moves_edits_and_presets_and_redo_forth() -> None:
    preset("other", {"stage": "gain", "gain": -20.0}, "limiter", output=-4.0)
    with conducted(["gain"]) as stand:
        seen = []

        def look() -> tuple[Any, ...]:
            values = stand.values
            return tuple(p.key for p in stand.engine.chain.placed), values["gain/gain"], values["master/output"]

        seen.append(look())
        stand.hand("gain/gain", -3.0)
        assert stand.reaches("gain/gain", -3.0)
        seen.append(look())
        stand.do("chain/add", "highpass")
        seen.append(look())
        stand.do("preset/load", "other")
        assert stand.reaches("master/output", -4.0)
        seen.append(look())
        stand.hand("master/output", 1.0)
        assert stand.reaches("master/output", 1.0)
        seen.append(look())
        for left, expected in zip((3, 2, 1, 0), reversed(seen[:-1]), strict=True):
            assert stand.do("undo") == {"undo": left, "redo": 4 - left}
            assert wait_until(lambda: look() == expected)  # noqa: B023
        assert stand.conductor.preset is None
        assert not stand.state["edited"]
        for expected in seen[1:]:
            stand.do("redo")
            assert wait_until(lambda: look() == expected)  # noqa: B023
        assert stand.conductor.preset == "other"
        assert stand.state["undo"] == 4
        stand.do("undo")
        stand.hand("gain/gain", 5.0)
        assert stand.reaches("gain/gain", 5.0)
        with pytest.raises(StageError, match="nothing to redo"):
            stand.do("redo")


def test_mute_bypass_and_panic_are_no_steps() -> None:
    with conducted(["gain"]) as stand:
        stand.do("mute", True)
        stand.do("bypass", True)
        stand.do("panic")
        assert stand.rests()
        assert stand.state["undo"] == 0


def test_a_swap_by_a_python_program_is_a_step_too() -> None:
    with conducted(["gain"]) as stand:
        stand.engine.swap(Chain([{"stage": "gain", "gain": -7.0}, "limiter"]))
        assert wait_until(lambda: stand.state["undo"] == 1)
        stand.do("undo")
        assert [p.key for p in stand.engine.chain.placed] == ["gain"]
        assert stand.values["gain/gain"] == 0.0


def test_moves_just_before_and_just_after_a_swap_are_steps_of_their_own() -> None:
    with conducted(["gain"]) as stand:
        with stand.conductor.lock:  # nobody reads the journal meanwhile
            stand.hand("gain/gain", -3.0)
            assert stand.reaches("gain/gain", -3.0)
            stand.engine.swap(Chain(["highpass", "gain"]), follow=True)
            stand.hand("gain/gain", -5.0)
            stand.hand("highpass/cutoff", 99.0)
            assert stand.reaches("highpass/cutoff", 99.0)
            assert stand.values["gain/gain"] == -5.0
        seen = []
        for _ in range(5):
            left = stand.do("undo")["undo"]
            assert stand.rests()
            seen.append(([p.key for p in stand.engine.chain.placed], stand.values["gain/gain"]))
            if left == 0:
                break
        assert (["highpass", "gain"], -3.0) in seen
        assert seen[-2:] == [(["gain"], -3.0), (["gain"], 0.0)]


def test_what_is_loaded_while_the_driver_is_gone_is_what_is_saved_and_undone() -> None:
    from autovoice.rt.layout import SHUTDOWN

    preset("dark", {"stage": "gain", "gain": -9.0}, "highpass")
    with conducted(["gain"]) as stand:
        stand.engine.processor.telemetry.array[0]["driver"][SHUTDOWN] = 1
        assert wait_until(lambda: stand.engine.trouble is not None)
        stand.do("preset/load", "dark")
        stand.do("preset/save", "copy")
        assert load_preset("copy").chain().placed == load_preset("dark").chain().placed
        stand.do("undo")
        assert [p.key for p in stand.engine.chain.placed] == ["gain"]


def test_an_undo_that_the_engine_refuses_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with conducted(["gain"]) as stand:
        stand.do("chain/add", "limiter")
        with monkeypatch.context() as patch:
            patch.setattr(stand.engine.processor, "latency", -1)
            with pytest.raises(StageError, match="frames of latency"):
                stand.do("undo")
        assert stand.state["undo"] == 1
        stand.do("undo")
        assert [p.key for p in stand.engine.chain.placed] == ["gain"]


def test_a_slow_disk_holds_up_no_fader(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a preset is being written, a value set from Python is applied all the same."""
    writing, go_on = threading.Event(), threading.Event()
    write = store.write_file

    def slow(path: Path, data: bytes, mode: int) -> None:
        writing.set()
        assert go_on.wait(PATIENCE_S)
        write(path, data, mode)

    monkeypatch.setattr(store, "write_file", slow)
    with conducted(["gain"]) as stand:
        saving = threading.Thread(target=stand.do, args=("preset/save", "mine"))
        saving.start()
        assert writing.wait(PATIENCE_S)
        stand.engine.set("gain/gain", -2.0)
        stand.hand("master/output", -1.0)
        assert stand.reaches("master/output", -1.0)
        assert stand.reaches("gain/gain", -2.0)
        assert user_names() == []
        go_on.set()
        saving.join()
    assert load_preset("mine").chain()["gain"].values["gain"] == 0.0
