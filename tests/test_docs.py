"""What the documents show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from autovoice.dsp.stage import load, stage_names
from autovoice.rt import Chain, Event
from autovoice.rt.presets import load_preset, preset_names
from autovoice.tools.manual import as_index, as_markdown, draw
from autovoice.tools.presets import as_markdown as presets_page

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RATE = 48_000  # Hz


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def tremolo(stage_file: Callable[[str, str], str]) -> str:
    return stage_file("tremolo", blocks("docs/writing-a-stage.md", "python")[0])


def test_the_documented_stage_dips_as_often_and_as_deep_as_it_says(tremolo: str) -> None:
    chain = Chain([{"stage": tremolo, "rate": 6.0, "depth": 0.75}])
    loudness = chain.render(np.ones(RATE, np.float32), sample_rate=RATE)
    dips = np.flatnonzero((loudness[1:-1] <= loudness[:-2]) & (loudness[1:-1] < loudness[2:])) + 1
    assert np.diff(dips) == pytest.approx(RATE / 6, abs=1)
    assert loudness.min() == pytest.approx(0.25, abs=1e-3)
    assert loudness.max() == pytest.approx(1.0, abs=1e-3)


def test_the_documented_stage_keeps_the_laws(tremolo: str) -> None:
    chain = Chain([tremolo])
    assert chain.latency(RATE) == 0
    noise = np.random.default_rng(1).uniform(-1, 1, (2, RATE // 4)).astype(np.float32)
    moves = [Event(1001, "tremolo/depth", 1.0), Event(5003, "tremolo/rate", 17.0)]
    once = chain.render(noise, sample_rate=RATE, block=8192, events=moves)
    for block in (1, 37, 64):
        assert np.array_equal(once, chain.render(noise, sample_rate=RATE, block=block, events=moves))
    assert not chain.render(np.zeros(RATE // 4, np.float32), sample_rate=RATE).any()


def test_the_readme_shows_the_same_stage() -> None:
    assert blocks("docs/writing-a-stage.md", "python")[0] in blocks("README.md", "python")


def test_the_readme_plays_and_renders(tremolo: str, tmp_path: Path) -> None:
    shown = [code for code in blocks("README.md", "python") if "Chain(" in code]
    assert shown
    for code in shown:
        # No sound card, and no more time than the sound needs: the rest runs as it stands.
        script = code.replace('backend="jack"', 'backend="null"').replace("input()", "pass")
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    lost = [t for t in targets if not t.startswith(("http://", "https://")) and not (page.parent / t).exists()]
    assert not lost


def test_the_manual_of_stages_is_what_the_tables_say() -> None:
    stages = [load(name) for name in stage_names()]
    pages = {"stages.md": as_index(stages)} | {f"stages/{s.name}.md": as_markdown(s) for s in stages}
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs" / "stages").glob("*.md")}
    assert written == set(pages) - {"stages.md"}
    stale = [page for page, text in pages.items() if (ROOT / "docs" / page).read_text(encoding="utf-8") != text]
    assert not stale, "autovoice stages --pages docs brings them up to date"


def test_the_page_of_presets_is_what_their_files_say() -> None:
    page = presets_page([load_preset(name) for name in preset_names()])
    assert (ROOT / "docs" / "presets.md").read_text(encoding="utf-8") == page, "autovoice presets --pages docs renews it"


@pytest.mark.parametrize("name", stage_names())
def test_every_stage_has_a_figure_made_from_its_own_output(name: str, tmp_path: Path) -> None:
    draw(load(name), tmp_path / "figure.png")
    picture = plt.imread(tmp_path / "figure.png")
    assert picture.shape[0] > 300 and picture[..., :3].std() > 0.02  # something is drawn
    assert (ROOT / "docs" / "stages" / f"{name}.png").is_file()
