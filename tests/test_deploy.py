"""Files for operating it: unit and image say what the program takes, dashboard and alarms ask for what it serves."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from autovoice.tools import cli
from web_rig import served, tone_engine

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "autovoice.service"


def takes(arguments: list[str]) -> None:
    """Make sure that a command line names a command and options of it."""
    name, *words = arguments
    command = cli.autovoice.get_command(click.Context(cli.autovoice), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_starts_what_there_is_and_comes_back(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == "%h/.local/bin/autovoice"
    takes(arguments)
    assert "--resume" in arguments
    assert service["Restart"] == "on-failure"
    assert int(service["LimitRTPRIO"]) > 0
    assert service["LimitMEMLOCK"] == "infinity"
    assert "MemoryDenyWriteExecute" not in service  # stages are compiled while it runs
    assert "RestrictRealtime" not in service
    assert float(service["RestartSec"]) * int(unit["Unit"]["StartLimitBurst"]) < int(unit["Unit"]["StartLimitIntervalSec"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    (tmp_path / ".local/bin").mkdir(parents=True)
    program = tmp_path / ".local/bin/autovoice"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(UNIT)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_is_built_from_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    copied = [word for kind, rest in lines if kind == "COPY" and "--from" not in rest for word in rest.split()[:-1]]
    assert {"pyproject.toml", "constraints.txt", "dsp", "rt", "tools"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    for kind, rest in lines:
        if kind == "CMD":
            takes(json.loads(rest))
        if kind == "RUN" and rest.startswith("autovoice"):
            takes(shlex.split(rest)[1:])
    assert [rest for kind, rest in lines if kind == "USER"] == ["voice"]
    assert [kind for kind, _ in lines].index("USER") < [kind for kind, _ in lines].index("ENTRYPOINT")


# What is scraped


@pytest.fixture(scope="module")
def scraped() -> Iterator[str]:
    """What a server of ours answers to a scrape."""
    with tone_engine() as engine, served(engine) as rig, urllib.request.urlopen(f"{rig.url}/metrics", timeout=10) as answer:
        yield answer.read().decode()


METRIC = re.compile(r"\bautovoice_[a-z0-9_]+")
LATER = {"autovoice_osc_total"}  # served once the OSC server has counted something


def served_names(text: str) -> set[str]:
    return {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return found


def queries(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [one["expr"] for one in dashboard["annotations"]["list"] if "expr" in one]
    return [*asked, *(one["definition"] for one in dashboard["templating"]["list"])]


def test_the_dashboard_asks_only_for_what_is_served(dashboard: dict[str, Any], scraped: str) -> None:
    asked = {name for query in queries(dashboard) for name in METRIC.findall(query)}
    assert len(asked) > 15
    assert asked - LATER <= served_names(scraped)


def test_the_alarms_ask_only_for_what_is_served(scraped: str) -> None:
    expressions = re.findall(r"^\s*expr: (.*)$", (DEPLOY / "alerts.yml").read_text(), re.MULTILINE)
    asked = {name for expression in expressions for name in METRIC.findall(expression)}
    assert asked
    assert asked <= served_names(scraped)


def test_labels_of_the_dashboard_are_labels_of_the_metrics(dashboard: dict[str, Any], scraped: str) -> None:
    labels = set(re.findall(r"([a-z_]+)=\"", scraped)) | {"what"}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels
            assert set(re.findall(r"[{,](\w+)=~", target["expr"])) <= labels


def test_the_dashboard_can_be_imported(dashboard: dict[str, Any]) -> None:
    (source,) = dashboard["__inputs"]
    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    assert dashboard["id"] is None and dashboard["schemaVersion"] >= 36
    reference = f"${{{source['name']}}}"
    taken: list[tuple[int, int, int, int]] = []
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == reference
        assert all(target["datasource"]["uid"] == reference for target in panel["targets"])
        place = panel["gridPos"]
        x, y, w, h = (place[name] for name in "xywh")
        assert x + w <= 24
        assert all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in taken)
        taken.append((x, y, w, h))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    needed = {one["id"] for one in dashboard["__requires"] if one["type"] == "panel"}
    assert needed == {panel["type"] for panel in dashboard["panels"]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no Prometheus here (Debian: prometheus)")
def test_prometheus_takes_the_configuration_and_the_alarms() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(DEPLOY / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
