"""`autovoice stages`: the manual, made from the tables that the stages themselves run on."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import CommandError, print_json

if TYPE_CHECKING:
    from autovoice.dsp.stage import Param, Stage

SAMPLE_RATE = 48_000  # Hz, at which latencies are told
TITLE = "# Stages\n\nMade by `autovoice stages --pages docs` from the tables that the stages run on.\n"
COLUMNS = ("range", "default", "scale", "help")


@click.command("stages")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the tables as JSON.")
@click.option("--markdown", is_flag=True, help="Print the page of NAME, or the list of all, as Markdown.")
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw what NAME does.")
@click.option("--pages", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the whole manual.")
def command(name: str | None, as_json: bool, markdown: bool, figure: Path | None, pages: Path | None) -> None:
    """Explain the stages, or the one called NAME.

    NAME may be the file of a stage of your own, mystage.py.
    """
    if figure is not None and name is None:
        raise CommandError("--figure draws one stage: name it, such as autovoice stages shift --figure shift.png")
    with Compiling():
        from autovoice.dsp.stage import load, stage_names

        stages = [load(one) for one in ([name] if name else stage_names())]
    if pages is not None:
        write_pages(stages, pages)
    elif figure is not None:
        draw(stages[0], figure)
    elif as_json:
        print_json([as_data(stage) for stage in stages])
    elif markdown:
        click.echo(as_markdown(stages[0]) if name else as_index(stages), nl=False)
    elif name:
        click.echo(as_text(stages[0]))
    else:
        width = max(len(stage.name) for stage in stages)
        for stage in stages:
            click.echo(f"{stage.name:<{width}}  {first_line(stage)}")
        click.echo("\nautovoice stages NAME explains one.")


def write_pages(stages: Sequence[Stage], folder: Path) -> None:
    """Write the manual: `stages.md` and a page with a figure for each stage under `stages/`."""
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    _replace(folder / "stages.md", as_index(stages))
    for stage in stages:
        _replace(folder / "stages" / f"{stage.name}.md", as_markdown(stage))
        draw(stage, folder / "stages" / f"{stage.name}.png")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def draw(stage: Stage, path: Path) -> None:
    """Draw a stage's figure from its own output; raises CommandError where it has none, or no Matplotlib is installed."""
    module = f"autovoice.tools.figures.{stage.name}"
    if find_spec(module) is None:
        raise CommandError(f"{stage.name} has no figure; one is drawn for each stage that comes with AutoVoice")
    if find_spec("matplotlib") is None:
        raise CommandError("a figure needs Matplotlib: pip install 'autovoice[demo]'")
    from autovoice.tools.report import new_figure

    figure = new_figure()
    importlib.import_module(module).draw(figure)
    partial = path.with_name(path.name + ".part")
    figure.savefig(partial, format="png")
    partial.replace(path)


def first_line(stage: Stage) -> str:
    """Return a stage's help in one line."""
    return stage.help.partition("\n")[0]


def latency(stage: Stage) -> int:
    """Return a stage's delay in frames at SAMPLE_RATE with its default options."""
    _, options = stage.configure({})
    return stage.latency(SAMPLE_RATE, options)


def default_text(row: Param) -> str:
    """Say a row's default with its unit, or by its name."""
    if row.choices:
        return row.choices[int(row.default)]
    return f"{row.default:g} {row.unit}".rstrip()


def _cells(row: Param) -> tuple[str, str, str, str]:
    return row.range_text(), default_text(row), row.scale, row.help


def as_data(stage: Stage) -> dict[str, Any]:
    """Return a stage's tables as plain data."""

    def rows(table: tuple[Param, ...]) -> list[dict[str, Any]]:
        fields = ("name", "unit", "minimum", "maximum", "default", "scale", "help", "choices")
        return [{field: getattr(row, field) for field in fields} for row in table]

    return {
        "name": stage.name,
        "help": stage.help,
        "latency_frames": latency(stage),
        "sample_rate": SAMPLE_RATE,
        "parameters": rows(stage.parameters),
        "options": rows(stage.options),
    }


def _latency_text(stage: Stage) -> str:
    frames = latency(stage)
    return f"{frames} frames at 48 kHz ({frames / SAMPLE_RATE * 1e3:.2f} ms)" if frames else "none"


def as_text(stage: Stage) -> str:
    """Return a stage's page for a terminal."""
    lines = [f"{stage.name}: {stage.help}", "", f"Latency: {_latency_text(stage)}"]
    for title, table in (
        ("Parameters, moved while it runs", stage.parameters),
        ("Options, fixed while it runs", stage.options),
    ):
        if not table:
            continue
        cells = [(row.name, *_cells(row)) for row in table]
        widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]) - 1)]
        lines += ["", f"{title}:"]
        lines += ["  " + "  ".join(f"{text:<{width}}" for text, width in zip(row, [*widths, 0], strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def as_index(stages: Sequence[Stage]) -> str:
    """Return the manual's first page: a line for each stage."""
    lines = [TITLE, "| stage | what it does | delay |", "|---|---|---|"]
    lines += [f"| [{stage.name}](stages/{stage.name}.md) | {first_line(stage)} | {_latency_text(stage)} |" for stage in stages]
    return "\n".join(lines) + "\n"


def as_markdown(stage: Stage) -> str:
    """Return a stage's page of the manual."""
    summary, _, more = stage.help.partition("\n")
    lines = [f"# {stage.name}", "", summary, ""]
    if find_spec(f"autovoice.tools.figures.{stage.name}") is not None:
        lines += [f"![What {stage.name} does to a sound]({stage.name}.png)", ""]
    if more.strip():
        lines += [more.strip(), ""]
    lines += [f"Latency: {_latency_text(stage)}.", ""]
    for title, table in (("parameter", stage.parameters), ("option", stage.options)):
        if table:
            lines += [f"| {title} | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
            lines += [
                f"| `{row.name}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in _cells(row))} |" for row in table
            ]
            lines.append("")
    return "\n".join(lines)
