"""The converter beside what could be done without a model, and beside the teacher: similarity, words, quality, melody, delay.

The judges are those of docs/quality.md. Sources are validation voices, targets the ten voices that ship; the real speaker of
Debian's pocketsphinx-testdata, on whom nobody tuned anything, goes through the same converters. AUTOVOICE_CORPUS is the folder
of `python -m autovoice.tools.corpus`; its validation utterances are made where they are missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy.stats")
pytest.importorskip("faster_whisper")

from autovoice.tools.quality import assess, judges, material, publish, run
from autovoice.tools.quality.bars import judge
from autovoice.tools.quality.own import MODES, converter
from autovoice.tools.quality.sung import sung

CORPUS = Path(os.environ.get("AUTOVOICE_CORPUS", judges.FOLDER / "corpus"))
UTTERANCES = 16
PAGE = Path(os.environ.get("AUTOVOICE_QUALITY", judges.FOLDER / "bench"))  # where the page with its players is left


@pytest.mark.long
def test_conversion_quality(report: Callable[[dict[str, Any]], None]) -> None:
    """Three modes, three baselines and the ceiling, every measure, and the bars of the modes that have some."""
    if missing := [line for name in judges.JUDGES if name != "tiny" and (line := judges.missing(name))]:
        pytest.skip(f"a judge is missing: {missing[0]}")
    make = ("--split", "validate", "--utterances", str(UTTERANCES))
    subprocess.run([sys.executable, "-m", "autovoice.tools.corpus", str(CORPUS), *make], check=True)
    sources = material.validation(CORPUS, UTTERANCES)
    spoken = run.pairs(sources)
    chosen = [*spoken, *run.pairs([sung(one) for one in sources], 2 * len(sources)), *run.enrolled(sources)]
    chosen += run.pairs(material.real())
    systems = {**run.BASELINES, **{mode: converter(mode) for mode in MODES}}
    failures: list[Any] = []
    found = assess(run.clips(chosen, systems, failures), failures=failures)
    verdicts = judge(found, MODES)
    publish(PAGE, found, run.clips(run.spread(spoken, run.LISTENED), systems, []), verdicts)
    means = {
        material_name: {system: {name: one.mean for name, one in figures.items()} for system, figures in of.items()}
        for material_name, of in found.summary.items()
    }
    report({"judges": [f"{name} {version}" for name, version in found.judges.items()], **means})
    print(found.text(verdicts))
    assert not [one.text() for one in verdicts if one.passed is False]
