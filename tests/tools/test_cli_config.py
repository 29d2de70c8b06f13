"""One file and the environment for everything the command line takes: who wins, what is refused, what is shown."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import soundfile
from autovoice.tools import logs
from autovoice.tools.cli import autovoice
from autovoice.tools.configuration import contexts, default_path, names_of, options_of, variable


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a configuration file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def value(here: Any, option: str, *arguments: object, command: str = "live") -> tuple[Any, str, str | None]:
    """Return an option's value, its source and where exactly that is."""
    name, line = command.split(), list(arguments)
    shown = here("config", "--show", "--json", *line[:2], *name, "--", *line[2:]).json["values"]
    (found,) = [one for one in shown if one["option"] == option]
    return found["value"], found["source"], found["origin"]


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(
    here: Any, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file("[live]\nin-channels = 2\nset = ['gate/threshold=-50', 'gate/range=20']\n")
    assert value(here, "in-channels") == (1, "default", None)
    assert value(here, "in-channels", "--config", path) == (2, "file", str(path))
    assert value(here, "set", "--config", path) == (["gate/threshold=-50", "gate/range=20"], "file", str(path))
    monkeypatch.setenv("AUTOVOICE_LIVE_IN_CHANNELS", "3")
    monkeypatch.setenv("AUTOVOICE_LIVE_SET", "gate/threshold=-40 gate/range=10")
    assert value(here, "in-channels", "--config", path) == (3, "environment", "AUTOVOICE_LIVE_IN_CHANNELS")
    assert value(here, "set", "--config", path)[0] == ["gate/threshold=-40", "gate/range=10"]
    assert value(here, "in-channels", "--config", path, "--in-channels", 4) == (4, "command line", None)


def test_the_file_is_found_at_its_usual_place_and_by_its_variable(
    here: Any, file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "autovoice").mkdir()
    default_path().write_text("[bench.run]\nblock = 128\n", encoding="utf-8")
    assert value(here, "block", command="bench run") == (128, "file", str(tmp_path / "autovoice" / "config.toml"))
    other = file("[bench.run]\nblock = 256\n")
    monkeypatch.setenv("AUTOVOICE_CONFIG", str(other))
    assert value(here, "block", command="bench run") == (256, "file", str(other))


def test_a_command_runs_on_what_the_file_says(here: Any, file: Any, voice: Path, tmp_path: Path) -> None:
    path = file("[render]\nchain = 'gain'\nset = ['gain/gain=-6']\nchannels = 1\njson = true\n")
    done = here("render", voice, tmp_path / "wet.wav", "--config", path)
    assert done.json["peak"] > 0
    louder = here("--config", path, "render", voice, tmp_path / "wet.wav", "--set", "gain/gain=0")
    assert louder.json["peak"] == pytest.approx(done.json["peak"] * 10 ** (6 / 20), rel=1e-4)


def test_a_preset_named_nearer_replaces_the_files_whole_chain(here: Any, file: Any, voice: Path, tmp_path: Path) -> None:
    path = file("[render]\nchain = 'gain'\nset = ['gain/gain=-6', 'master/output=-60']\njson = true\n")
    done = here("render", voice, tmp_path / "wet.wav", "--config", path, "--preset", "radio")
    assert done.code == 0, done.err  # radio has no stage called gain
    wet = soundfile.read(tmp_path / "wet.wav")[0]
    assert 0 < np.abs(wet[len(wet) // 2 :]).max() < 1e-3  # the engine's own settings stay
    both = here("render", voice, tmp_path / "wet.wav", "--chain", "gain", "--preset", "radio")
    assert "leave --chain away, or --preset" in both.refused()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[live]\nblokc = 64", ("[live] has no key 'blokc'", "did you mean 'block'?")),
        ("[live]\nin_channels = 2", ("[live] has no key 'in_channels'", "did you mean 'in-channels'?")),
        ("[liev]\nblock = 64", ("there is no command 'liev'", "did you mean 'live'?")),
        ("live = 3", ("[live] must be a table, got 3",)),
        ("block = 64", ("block stands in no command's table", "below [live]")),
        ("[live]\nblock = 0", ("[live] block must be in 1..8192 frames, got 0",)),
        ("[live]\nblock = '64'", ("[live] block must be a whole number in 1..8192 frames, got '64'",)),
        ("[live]\nblock = true", ("[live] block must be a whole number in 1..8192 frames, got True",)),
        ("[live]\nrate = 7999.5", ("[live] rate must be in 8000..192000 Hz, got 7999.5",)),
        ("[live]\nduration = nan", ("[live] duration must be more than 0 s, got nan",)),
        ("[live]\nbackend = 'jak'", ("[live] backend must be one of jack, portaudio", "got 'jak'", "did you mean 'jack'?")),
        ("[live]\nreconnect = 1", ("[live] reconnect must be true or false, got 1",)),
        ("[live]\nset = 'a/b=1'", ("[live] set must be an array", "got 'a/b=1'")),
        ("[live]\nconnect = [1]", ("[live] connect must be a text, got 1",)),
        ("[live]\nblock = = 64", ("is not TOML", "line 2")),
    ],
)
def test_what_cannot_be_is_refused_with_file_key_and_range(here: Any, file: Any, text: str, parts: tuple[str, ...]) -> None:
    path = file(text)
    line = here("live", "--backend", "null", "--duration", 0.1, "--config", path).refused()
    for part in (str(path), *parts):
        assert part in line
    assert here("config", "--check", path).refused() == line


def test_another_commands_table_keeps_no_voice_from_the_stage(here: Any, file: Any) -> None:
    path = file("[bench.run]\nblock = 0\n[live]\nname = 'x'\n")
    assert value(here, "name", "--config", path)[0] == "x"
    assert "[bench.run] block must be in 16..8192 frames, got 0" in here("bench", "nothing", "--config", path).refused()
    assert "[bench.run] block" in here("config", "--check", path).refused()


def test_a_file_that_was_asked_for_must_be_there(here: Any, tmp_path: Path) -> None:
    assert f"no configuration file {tmp_path / 'gone.toml'}" in here("--config", tmp_path / "gone.toml", "stages").refused()
    assert "cannot be read" in here("--config", tmp_path, "stages").refused()


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("AUTOVOICE_LIVE_BLOCK", "64k", "AUTOVOICE_LIVE_BLOCK must be a whole number in 1..8192 frames, got '64k'"),
        ("AUTOVOICE_LIVE_BACKEND", "jak", "AUTOVOICE_LIVE_BACKEND must be one of jack, portaudio, pyaudio, null, got 'jak'"),
        ("AUTOVOICE_LIVE_RECONNECT", "maybe", "AUTOVOICE_LIVE_RECONNECT must be true or false, got 'maybe'"),
    ],
)
def test_a_wrong_variable_is_named(here: Any, monkeypatch: pytest.MonkeyPatch, name: str, text: str, part: str) -> None:
    monkeypatch.setenv(name, text)
    assert part in here("live", "--backend", "null", "--duration", 0.1).refused()


def test_a_misspelt_variable_is_pointed_out(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOVOICE_LIVE_BLOKC", "64")
    shown = here("config", "live")
    assert shown.code == 0
    assert "AUTOVOICE_LIVE_BLOKC belongs to no option; did you mean 'AUTOVOICE_LIVE_BLOCK'?" in shown.err


def test_the_example_holds_every_option_and_is_right_as_it_stands(here: Any, file: Any) -> None:
    text = here("config", "--example").out
    assert tomllib.loads(text).keys() == {names_of(ctx)[0] for ctx in contexts(root())}
    every = re.sub(r"^# ([a-z-]+ = )", r"\1", text, flags=re.MULTILINE)
    values = tomllib.loads(every)
    for ctx in contexts(root()):
        table = values
        for name in names_of(ctx):
            table = table[name]
        assert list(table) == list(options_of(ctx.command))
    checked = here("config", "--check", file(every), "--json")
    assert checked.json["good"], checked.json["problems"]
    assert checked.json["values"] == sum(len(options_of(ctx.command)) for ctx in contexts(root()))


def test_the_manuals_example_is_right(here: Any, file: Any) -> None:
    manual = Path(__file__).parents[2] / "docs" / "configuration.md"
    (example,) = re.findall(r"```toml\n(.*?)```", manual.read_text(encoding="utf-8"), re.DOTALL)
    assert here("config", "--check", file(example)).out.endswith(": good, 9 values\n")


def test_an_unchanged_example_changes_nothing(here: Any, file: Any) -> None:
    path = file(here("config", "--example").out)
    assert {one["source"] for one in here("config", "--json", "--config", path).json["values"]} == {"default"}


def test_show_tells_every_option_of_every_command(here: Any) -> None:
    shown = here("config", "--json").json["values"]
    wanted = [(" ".join(names_of(ctx)), key) for ctx in contexts(root()) for key in options_of(ctx.command)]
    assert [(one["command"], one["option"]) for one in shown] == wanted
    text = here("config").out
    for ctx in contexts(root()):
        assert f"[{'.'.join(names_of(ctx))}]" in text
    assert "no command is called 'lve'" in here("config", "lve").refused()


def root() -> click.Context:
    return click.Context(autovoice)


def test_a_variable_is_named_after_its_option() -> None:
    assert variable(("bench", "run"), "no-page") == "AUTOVOICE_BENCH_RUN_NO_PAGE"


def test_home_is_meant_by_a_tilde(here: Any, file: Any) -> None:
    path = file("[live]\nrecord = '~/wet.wav'\n")
    assert value(here, "record", "--config", path)[0] == os.path.expanduser("~/wet.wav")


def test_a_log_holds_time_level_event_session_and_fields(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    assert logs.configure("json", path)
    logs.bind(session="s1", engine="voice")
    logs.event("recording started", path=tmp_path)
    logs.note("the page is at http://127.0.0.1")
    logging.getLogger("autovoice.rt.engine").warning("late by %d frames", 3)
    logs.end()
    first, second, third = (json.loads(line) for line in path.read_text().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info", "event": "recording started", "session": "s1", "engine": "voice", "path": str(tmp_path)
    }  # fmt: skip
    assert second["event"] == "the page is at http://127.0.0.1"
    assert (third["level"], third["event"]) == ("warning", "late by 3 frames")
    assert capfd.readouterr().err == "autovoice: the page is at http://127.0.0.1\n"  # the terminal shows what is for people


def test_a_log_as_json_on_stderr_leaves_no_other_lines_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert not logs.configure("json")
    logs.note("one")
    logs.ROOT.error("two")
    logs.end()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [("info", "one"), ("error", "two")]
    logs.note("three")
    assert capfd.readouterr().err == "autovoice: three\n"


def test_a_full_disk_ends_the_log_with_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", Path("/dev/full"))
    logs.event("one")
    logs.event("two")
    logs.end()
    (line,) = capfd.readouterr().err.splitlines()
    assert "the log /dev/full cannot be written" in line and "No space left" in line


def test_a_text_log_reads_as_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    logs.configure("text", path)
    logs.bind(engine="voice")
    logs.event("xruns", logging.WARNING, count=2)
    path.rename(tmp_path / "log.txt.1")  # as logrotate does
    logs.event("after")
    logs.end()
    assert (tmp_path / "log.txt.1").read_text().endswith('warning xruns  engine="voice" count=2\n')
    assert "after" in path.read_text()
