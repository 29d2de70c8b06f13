"""The report as one HTML file: bars, measures with intervals, players with pictures, every clip; nothing is fetched.

Sounds are FLAC and pictures PNG inside the file, so it opens from disk anywhere.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
from autovoice.tools.quality.bars import Verdict
from autovoice.tools.quality.clips import Clip
from autovoice.tools.quality.measures import MEASURES
from autovoice.tools.quality.report import Report, Spread
from autovoice.tools.quality.signal import Array
from markupsafe import Markup

JSON, PAGE = "quality.json", "quality.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
OWN_STYLE = "audio { width: 100%; height: 2.2rem; } .sound img { width: 100%; height: auto; margin-top: .3rem; }"


@dataclass(frozen=True, slots=True)
class Sound:
    """One player."""

    title: str
    sound: str  # as data: URI, and the next too
    picture: str
    remark: str = ""


@dataclass(slots=True)
class Group:
    """The players of one sentence and one target."""

    title: str
    text: str
    sounds: list[Sound] = field(default_factory=list)


def publish(folder: Path, report: Report, clips: Iterable[Clip] = (), verdicts: Sequence[Verdict] = ()) -> Path:
    """Write quality.json and quality.html into a folder; returns the page. `clips` are those that can be listened to."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / JSON, report.json(verdicts))
    _write(folder / PAGE, render(report, clips, verdicts))
    return folder / PAGE


def render(report: Report, clips: Iterable[Clip] = (), verdicts: Sequence[Verdict] = ()) -> str:
    """Return the page."""
    from autovoice.tools.lab.page.svg import number
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath("page.html.j2").read_text("utf-8"))
    style = resources.files("autovoice.tools.lab.page").joinpath("page.css").read_text("utf-8")
    return template.render(
        report=report,
        verdicts=verdicts,
        heard=_groups(report, clips),
        charts={material: _chart(material, systems) for material, systems in report.summary.items()},
        measures=MEASURES,
        measured=lambda systems, name: any(name in figures for figures in systems.values()),
        number=number,
        css={True: "met", False: "missed", None: "unheld"},
        word={True: "met", False: "missed", None: "not measured"},
        sense={"<=": "≤", ">=": "≥"},
        policy=POLICY,
        style=Markup(style.strip() + "\n" + OWN_STYLE),
    )


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _groups(report: Report, clips: Iterable[Clip]) -> list[Group]:
    """Return players by material and clip: source, the target's own speech, the teacher's rendering, then each converter."""
    groups: dict[tuple[str, str], Group] = {}
    figures = {(row.material, row.name, row.system): row.figures for row in report.rows}
    for clip in clips:
        key = (clip.material, clip.name)
        if key not in groups:
            groups[key] = Group(clip.name.replace("__", " to "), clip.text or "", [_sound("source", clip.source, clip.rate)])
            if clip.references:
                groups[key].sounds.append(_sound("the target's own speech", clip.references[0], clip.rate))
        own = figures.get((*key, clip.system), {})
        said = (f"{MEASURES[name].title} {own[name]:.2f}" for name in ("similarity_target", "dnsmos_ovrl") if name in own)
        groups[key].sounds.append(_sound(clip.system, clip.converted, clip.rate, ", ".join(said)))
    return list(groups.values())


def _sound(title: str, sound: Array, rate: int, remark: str = "") -> Sound:
    from autovoice.tools.quality.pictures import picture

    file = io.BytesIO()
    soundfile.write(file, np.clip(sound, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return Sound(title, _data("audio/flac", file.getvalue()), _data("image/png", picture(sound, rate)), remark)


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _chart(material: str, systems: Mapping[str, Mapping[str, Spread]]) -> Markup | None:
    """Draw DNSMOS OVRL over similarity to the target, a cross of intervals for each converter; None where one is missing."""
    from autovoice.tools.lab.page.svg import plot

    points = {
        system: (figures["similarity_target"], figures["dnsmos_ovrl"])
        for system, figures in systems.items()
        if {"similarity_target", "dnsmos_ovrl"} <= set(figures)
    }
    if not points:
        return None
    draft = plot((0.4, 1.0), (1.5, 4.0), x_log=False, y_log=False)
    draft.axes("similarity to the target", "DNSMOS OVRL")
    for k, (system, (x, y)) in enumerate(points.items()):
        colour = f"k{k % 13}"
        for one, other, flat in ((x, y, True), (y, x, False)):
            if one.low is not None and one.high is not None:
                ends = [(end, other.mean) if flat else (other.mean, end) for end in (one.low, one.high)]
                draft.line(ends, colour)
        draft.dot(x.mean, y.mean, colour, f"{system}: similarity {x.text()}, OVRL {y.text()}")
        draft.text(draft.x(x.mean) + 6, draft.y(y.mean) + (16 if k % 2 else -7), system, css="note")
    told = "; ".join(f"{system}: similarity {x.mean:.2f}, OVRL {y.mean:.2f}" for system, (x, y) in points.items())
    return draft.draw(f"chart-{material}", f"Quality against similarity: {material}", told)
