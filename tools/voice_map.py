"""The picture and the page of `autovoice voices map`."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from autovoice.models.voice_map import Place
from autovoice.models.voices import write as write_whole
from matplotlib import colormaps
from matplotlib.figure import Figure

COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]
MARKERS = {"shipped": "o", "enrolled": "s", "mixed": "D", "imported": "^"}
ALONE = "#9ca3af"  # the colour of a group of one
LABEL_PT = 7  # from a mark to its name
CLOSE = 0.15  # share of the map's width: who has a neighbour on the right so close has its name on the left
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Voices</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #ddd }}
img {{ max-width: 100% }}
</style>
<h1>Voices</h1>
<p>Voices that sound alike stand close together; two coordinates show {shown:.0%} of the squared distances.</p>
<img src="voices.png" alt="map of {count} voices">
<table><tr><th>voice<th>kind<th>median pitch<th>group<th>most like<th>similarity</tr>
{rows}
</table>
<script type="application/json" id="voices">{data}</script>
</html>
"""


def write(places: Sequence[Place], shown: float, folder: Path) -> list[Path]:
    """Write voices.png and voices.html into a folder, made if need be; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(9, 7), layout="constrained")
    draw(figure, places, shown)
    picture = folder / "voices.png"
    figure.savefig(picture.with_suffix(".part"), dpi=110, format="png")
    picture.with_suffix(".part").replace(picture)
    page = folder / "voices.html"
    write_whole(page, as_page(places, shown).encode())
    return [picture, page]


def draw(figure: Figure, places: Sequence[Place], shown: float) -> None:
    """Draw the map: colours are groups, marks are kinds."""
    axes = figure.subplots()
    sizes = Counter(place.group for place in places)
    together = [group for group in sorted(sizes) if sizes[group] > 1]
    colour = {group: COLOURS[together.index(group) % len(COLOURS)] if group in together else ALONE for group in sizes}
    for kind, marker in MARKERS.items():
        some = [place for place in places if place.kind == kind]
        if some:
            colours = [colour[place.group] for place in some]
            axes.scatter(
                [p.x for p in some], [p.y for p in some], s=70, c=colours, marker=marker, label=kind, edgecolors="white"
            )
    for group in together:
        members = np.array([(p.x, p.y) for p in places if p.group == group])
        centre = members.mean(0)
        for x, y in members:
            axes.plot([centre[0], x], [centre[1], y], color=colour[group], alpha=0.4, linewidth=1.2, zorder=0)
    span = max(np.ptp([place.x for place in places]), np.ptp([place.y for place in places]))
    for place in places:
        crowded = any(0 < p.x - place.x < CLOSE * span and abs(p.y - place.y) < CLOSE * span / 3 for p in places)
        axes.annotate(
            f"{place.name}, {place.median_hz:.0f} Hz",
            (place.x, place.y),
            xytext=(-LABEL_PT if crowded else LABEL_PT, 0),
            textcoords="offset points",
            ha="right" if crowded else "left",
            va="center",
            fontsize=8,
        )
    axes.set(xlabel="first coordinate, in units of 1 - cosine", ylabel="second coordinate, in units of 1 - cosine")
    axes.set_title(
        f"Voices: {shown:.0%} of the squared distances shown; colours and spokes are groups", loc="left", fontsize=11
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(x=0.3, y=0.15)
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize=8, frameon=False)
    for handle in axes.get_legend().legend_handles:  # type: ignore[union-attr]
        handle.set_color("#6b7280")  # type: ignore[union-attr]


def as_page(places: Sequence[Place], shown: float) -> str:
    """Return the page, which has the points as JSON in it too."""
    rows = "\n".join(
        f"<tr><td>{html.escape(p.name)}<td>{p.kind}<td>{p.median_hz:.0f} Hz<td>{p.group + 1}<td>{html.escape(p.nearest)}"
        f"<td>{p.similarity:.2f}</tr>"
        for p in places
    )
    data = json.dumps([asdict(place) for place in places]).replace("<", "\\u003c")
    return PAGE.format(shown=shown, count=len(places), rows=rows, data=data)
