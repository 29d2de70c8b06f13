"""`autovoice bench page`: Results as one self-contained HTML page, to be read on a phone, in the dark, on paper, or aloud.

Nothing is fetched: figures are inline SVG, the style sheet and the script are part of the file, and its content security policy
allows no other.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import click
from autovoice.tools.lab.page.contents import WORDS, section
from autovoice.tools.lab.results import Result, ResultError
from autovoice.tools.options import CommandError, note
from markupsafe import Markup

MOST_BYTES = 3_000_000
SETTINGS_DRAWN = (8, 4, 2, 1)  # settings of a sweep drawn one by one; fewer where the page would grow too heavy
PAGE = "index.html"


def _policy(script: str) -> str:
    """Return a content security policy that allows this page's own style and script, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def render(results: Sequence[Result], settings_drawn: int = SETTINGS_DRAWN[0]) -> str:
    """Return the page of these results."""
    from jinja2 import Environment, StrictUndefined

    folder = resources.files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    style, script = ((folder / name).read_text(encoding="utf-8").strip() for name in ("page.css", "page.js"))
    sections = [section(result, f"r{k + 1}", settings_drawn) for k, result in enumerate(results)]
    return template.render(sections=sections, words=WORDS, style=Markup(style), script=Markup(script), policy=_policy(script))


def write_page(results: Sequence[Result], path: Path) -> Path:
    """Write the page of these results, whole or not at all, and below MOST_BYTES; returns the path. Raises ResultError."""
    if not results:
        raise ResultError("there are no results to show; make some with `autovoice bench`")
    for drawn in SETTINGS_DRAWN:
        page = render(results, drawn).encode()
        if len(page) < MOST_BYTES:
            break
    else:
        raise ResultError(f"the page would be {len(page) / 1e6:.1f} MB; give fewer results at once")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(page)
    partial.replace(path)
    return path


def write(folder: Path) -> Path:
    """Write the page of a folder of results into it; returns its path. Raises ResultError."""
    return write_page(read_folder(folder), folder / PAGE)


def read_folder(source: Path) -> list[Result]:
    """Return the results of a folder and below it, or of one file, the oldest first; raises ResultError without any."""
    if not source.exists():
        raise ResultError(f"{source} does not exist; give a folder or a file that `autovoice bench` wrote")
    files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
    if not files:
        raise ResultError(f"{source} holds no results (*.json); make some with `autovoice bench`")
    return sorted((Result.read(file) for file in files), key=lambda result: result.started)


@click.command("page")
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The page.  [default: DIR/index.html]"
)
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Also write PNGs there.")
def command(source: Path, out: Path | None, images: Path | None) -> None:
    """Show results as one HTML page.

    DIR is a folder of results, or one of its files. The page needs no other file and no network.
    """
    results = read_folder(source)
    folder = source if source.is_dir() else source.parent
    click.echo(write_page(results, out or folder / PAGE))
    if images is not None:
        from autovoice.tools.lab.page import plots

        made = plots.draw_all(results, images)
        if not made:
            raise CommandError(f"nothing in {source} can be drawn: no latencies, no callback times, no costs of stages")
        for path in made:
            click.echo(path)
    note(f"{len(results)} results shown")
