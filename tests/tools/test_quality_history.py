"""Reports of several weights, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autovoice.tools.quality import history
from click.testing import CliRunner


def row(system: str, material: str, error: float, likeness: float) -> dict[str, Any]:
    """Return a clip's figures as a report has them."""
    figures = {"character_error": error, "similarity_target": likeness}
    return {"system": system, "material": material, "figures": figures}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    rows = [
        row("balanced", "validation", 1.0, 0.8),
        row("balanced", "validation", 3.0, 0.9),
        row("balanced", "real", 12.0, 0.7),
        row("teacher", "validation", 0.0, 0.95),
        row("balanced", "sung", 50.0, 0.1),
    ]
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({"rows": rows}))
    return path


def test_figures_are_the_means_of_what_is_judged(report: Path, tmp_path: Path) -> None:
    out = tmp_path / "words.png"
    done = CliRunner().invoke(history.main, [str(out), f"old={report}", f"new={report}"])
    assert done.exit_code == 0, done.output
    told = json.loads(out.with_suffix(".json").read_text())
    assert list(told) == ["old", "new"]
    assert told["old"]["validation"] == pytest.approx({"character_error": 2.0, "similarity_target": 0.85})
    assert told["old"]["real"] == {"character_error": 12.0, "similarity_target": 0.7}
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            [row("balanced", "validation", 1, 1)],
            "must be of one converter on validation and real, it is of balanced on validation",
        ),
        ([row(name, kind, 1, 1) for name in ("low", "quality") for kind in history.MATERIALS], "it is of low, quality on"),
        ([{"system": "balanced"}], "is no report of autovoice.tools.quality.run"),
    ],
    ids=["one material", "two converters", "no report"],
)
def test_what_is_no_such_report_is_refused(tmp_path: Path, rows: list[dict[str, Any]], line: str) -> None:
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({"rows": rows}))
    done = CliRunner().invoke(history.main, [str(tmp_path / "out.png"), f"x={path}"])
    assert done.exit_code == 2
    assert line in done.output.replace("\n", " ")
    assert not (tmp_path / "out.png").exists()


def test_a_report_has_a_label_and_is_there(tmp_path: Path) -> None:
    for one in ("quality.json", f"x={tmp_path / 'none.json'}"):
        done = CliRunner().invoke(history.main, [str(tmp_path / "out.png"), one])
        assert done.exit_code == 2
        assert "a report is LABEL=FILE" in done.output
