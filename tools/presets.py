"""`autovoice presets`: the chains that come with AutoVoice, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import know_voices, note, print_json

if TYPE_CHECKING:
    from autovoice.rt.presets import Preset

USE = """`autovoice live --preset NAME` plays one, `autovoice render IN OUT --preset NAME` renders it, and `--set` changes what
is in it. A file of your own, `mine.toml`, is written like those in `rt/presets/`."""
SAMPLE_RATE = 48_000  # Hz, at which latencies are told


@click.command("presets")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--pages", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the manual's page of them."
)
def command(name: str | None, as_json: bool, pages: Path | None) -> None:
    """List the presets, or show the one called NAME.

    NAME may be a file of your own, mine.toml.
    """
    from autovoice.rt.presets import load_preset, preset_names
    from autovoice.rt.presets.store import user_names

    if pages is not None:
        write_page([load_preset(one) for one in preset_names()], pages)
        return
    know_voices()
    presets = [load_preset(name)] if name else [load_preset(one) for one in preset_names()] + _own()
    if not (name or as_json):
        width, own = max(len(preset.name) for preset in presets), user_names()
        for preset in presets:
            click.echo(f"{preset.name:<{width}}  {preset.about or ('yours' if preset.name in own else '')}")
        click.echo("\nautovoice presets NAME shows one; autovoice live --preset NAME plays it.")
        return
    for line in (line for preset in presets for line in preset.absent):
        note(line)
    with Compiling():
        shown = [(preset, preset.chain().latency(SAMPLE_RATE)) for preset in presets]
    if as_json:
        print_json([{**_as_data(preset), "latency_frames": frames, "sample_rate": SAMPLE_RATE} for preset, frames in shown])
        return
    preset, frames = shown[0]
    click.echo(f"{preset.name}: {preset.about}\n")
    for key, settings in _settings(preset):
        click.echo(f"  {key}{': ' + settings if settings else ''}")
    for path, value in preset.master.items():
        click.echo(f"  {path} {value:g}")
    click.echo(f"\nLatency: {frames} frames at 48 kHz ({frames / SAMPLE_RATE * 1e3:.2f} ms)")


def _own() -> list[Preset]:
    """Return the user's own presets; a file that is none is told and passed over."""
    from autovoice.dsp.stage import StageError
    from autovoice.rt.presets import load_preset, preset_names
    from autovoice.rt.presets.store import user_names

    found = []
    for name in user_names():
        if name in preset_names():  # what comes with AutoVoice goes before it
            continue
        try:
            found.append(load_preset(name))
        except StageError as error:
            note(str(error))
    return found


def _settings(preset: Preset) -> list[tuple[str, str]]:
    """Return each stage's name in the chain and its settings as a line of text."""
    rows = []
    for stage in preset.stages:
        settings = ", ".join(f"{key} {value}" for key, value in stage.items() if key not in ("stage", "name"))
        rows.append((str(stage.get("name", stage["stage"])), settings))
    return rows


def as_markdown(presets: Sequence[Preset]) -> str:
    """Return the manual's page of the presets."""
    lines = ["# Presets", "", "Made by `autovoice presets --pages docs` from the files that are played.", ""]
    lines += ["![One sentence through every preset, as spectrograms](images/presets.png)", ""]
    lines += [USE, ""]
    for preset in presets:
        frames = preset.chain().latency(SAMPLE_RATE)
        lines += [f"## {preset.name}", "", preset.about, "", "| stage | settings |", "|---|---|"]
        lines += [f"| [{key}](stages/{key}.md) | {settings} |" for key, settings in _settings(preset)]
        output = {None: "as many channels as go in", 1: "mono", 2: "stereo"}[preset.channels]
        lines += ["", f"Delay: {frames / SAMPLE_RATE * 1e3:.1f} ms at 48 kHz. Output: {output}.", ""]
    return "\n".join(lines)


def write_page(presets: Sequence[Preset], folder: Path) -> None:
    """Write `presets.md` and its picture."""
    from autovoice.tools.report import draw_presets

    (folder / "images").mkdir(parents=True, exist_ok=True)
    with Compiling():
        text = as_markdown(presets)
    draw_presets(presets, folder / "images" / "presets.png")
    partial = folder / "presets.md.part"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / "presets.md")


def _as_data(preset: Preset) -> dict[str, object]:
    return {name: getattr(preset, name) for name in ("name", "about", "stages", "master", "channels")}
