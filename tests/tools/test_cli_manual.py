"""`autovoice stages`, `devices` and the help: made from the tables, and quick."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from autovoice.dsp.stage import load, stage_names
from autovoice.tools import cli as command_line
from autovoice.tools.status import note_name
from support import JackServer


def test_help_imports_neither_numpy_nor_numba(cli: Any) -> None:
    for arguments in ((), ("live",), ("demo",), ("stages",)):
        ran = cli(*arguments, "--help")
        assert ran.code == 0
        assert "Options:" in ran.out
    import subprocess

    code = (
        "import sys; from autovoice.tools.cli import run; run(['--help']); run(['live', '--help']); "
        "print({'numpy', 'numba', 'aiohttp', 'textual', 'pythonosc'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).endswith("set()\n")


def test_the_manual_tells_every_row_of_every_table(cli: Any) -> None:
    manual = {stage["name"]: stage for stage in cli("stages", "--json").json}
    assert list(manual) == stage_names()
    for name in stage_names():
        stage = load(name)
        assert manual[name]["help"] == stage.help
        rows = manual[name]["parameters"] + manual[name]["options"]
        table = [*stage.parameters, *stage.options]
        assert [(r["name"], r["minimum"], r["maximum"], r["default"]) for r in rows] == [
            (p.name, p.minimum, p.maximum, p.default) for p in table
        ]


def test_one_stage_is_explained_with_units_and_latency(cli: Any) -> None:
    text = cli("stages", "limiter").out
    assert "Latency: 78 frames at 48 kHz (1.62 ms)" in text
    assert "ceiling" in text and "-20..0 dBFS" in text
    assert "lookahead" in text and "fixed while it runs" in text


def test_the_markdown_manual_is_made_of_whole_tables(cli: Any) -> None:
    index = cli("stages", "--markdown").out
    assert re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE) == stage_names()
    text = cli("stages", "limiter", "--markdown").out
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 4
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}


def test_a_figure_is_drawn_of_a_stage_and_refused_without_one(cli: Any, tmp_path: Path, stage_file: Any) -> None:
    assert cli("stages", "gain", "--figure", tmp_path / "gain.png").code == 0
    assert (tmp_path / "gain.png").read_bytes().startswith(b"\x89PNG")
    assert "--figure draws one stage" in cli("stages", "--figure", tmp_path / "all.png").refused()


def test_devices_lists_the_servers_ports(cli: Any, jack_server: JackServer) -> None:
    found = cli("devices", "--server", jack_server.name, "--json").json
    assert found["jack"]["sample_rate"] == 48_000 and found["jack"]["block"] == 64
    assert {"name": "system:capture_1", "direction": "output", "physical": True} in found["jack"]["ports"]
    assert {finding["name"] for finding in found["host"]} >= {"SCHED_FIFO", "kernel"}
    text = cli("devices", "--server", "no_such_server")
    assert text.code == 0
    assert "no server 'no_such_server' is running" in text.out


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command_line.autovoice, "main", fail)
    with pytest.raises(ZeroDivisionError):
        command_line.run([])


@pytest.mark.parametrize(
    ("f0_hz", "name"), [(440.0, "A4 +0"), (261.63, "C4 +0"), (452.8, "A4 +50"), (98.0, "G2 +0"), (82.0, "E2 -9")]
)
def test_a_pitch_is_named_with_its_cents(f0_hz: float, name: str) -> None:
    assert note_name(f0_hz) == name
