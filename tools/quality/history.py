"""Reports of one converter with several weights side by side: words and likeness, on synthetic voices and on a real reader.

    python -m autovoice.tools.quality.history OUT.png 10,500=older/quality.json 20,000=now/quality.json

A report is what `python -m autovoice.tools.quality.run CORPUS --real --out FOLDER` leaves, of one converter beside baselines.
OUT.json beside the picture has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from autovoice.tools.quality.run import BASELINES

MATERIALS = {"validation": "validation voices", "real": "a real reader"}
TITLES = {"character_error": "character error, %", "similarity_target": "likeness to the target (Resemblyzer)"}


def figures(report: Path) -> dict[str, dict[str, float]]:
    """Return the means of TITLES by material. Raises ValueError where it is no report of one converter on both materials."""
    try:
        rows: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["rows"]
        judged = [row for row in rows if row["system"] not in BASELINES]
        found = {material: [row for row in judged if row["material"] == material] for material in MATERIALS}
        systems = sorted({row["system"] for row in judged})
        if len(systems) != 1 or not all(found.values()):
            heard = (
                f"of {', '.join(systems) or 'none'} on {', '.join(name for name, some in found.items() if some) or 'neither'}"
            )
            raise ValueError(f"{report} must be of one converter on {' and '.join(MATERIALS)}, it is {heard}")
        return {
            material: {name: sum(row["figures"][name] for row in some) / len(some) for name in TITLES}
            for material, some in found.items()
        }
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{report} is no report of autovoice.tools.quality.run: {error!r}") from error


def draw(told: dict[str, dict[str, dict[str, float]]], out: Path) -> None:
    """Write the picture: figures by label, material and name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        for material, label in MATERIALS.items():
            axes.plot(list(told), [one[material][name] for one in told.values()], "o-", label=label)
        axes.set(title=title, ylim=(0, None))
        axes.tick_params(axis="x", labelsize="small")
        axes.margins(x=0.1)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(out, dpi=110)


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("reports", nargs=-1, required=True, metavar="LABEL=REPORT.json ...")
def main(out: Path, reports: tuple[str, ...]) -> None:
    """Draw reports side by side."""
    told = {}
    for one in reports:
        label, equals, path = one.partition("=")
        if not equals or not Path(path).is_file():
            raise click.UsageError(f"a report is LABEL=FILE, and the file is there; got {one!r}")
        try:
            told[label] = figures(Path(path))
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    draw(told, out)
    out.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
