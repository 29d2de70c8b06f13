"""`autovoice presets`: the chains that come with AutoVoice, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import print_json

if TYPE_CHECKING:
    from autovoice.rt.presets import Preset

SAMPLE_RATE = 48_000  # Hz, at which latencies are told


@click.command("presets")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(name: str | None, as_json: bool) -> None:
    """List the presets, or show the one called NAME.

    NAME may be a file of your own, mine.toml.
    """
    from autovoice.rt.presets import load_preset, preset_names

    presets = [load_preset(one) for one in ([name] if name else preset_names())]
    if not (name or as_json):
        width = max(len(preset.name) for preset in presets)
        for preset in presets:
            click.echo(f"{preset.name:<{width}}  {preset.about}")
        click.echo("\nautovoice presets NAME shows one; autovoice live --preset NAME plays it.")
        return
    with Compiling():
        shown = [(preset, preset.chain().latency(SAMPLE_RATE)) for preset in presets]
    if as_json:
        print_json([{**_as_data(preset), "latency_frames": frames, "sample_rate": SAMPLE_RATE} for preset, frames in shown])
        return
    preset, frames = shown[0]
    click.echo(f"{preset.name}: {preset.about}\n")
    for stage in preset.stages:
        settings = ", ".join(f"{key} {value}" for key, value in stage.items() if key not in ("stage", "name"))
        click.echo(f"  {stage.get('name', stage['stage'])}{': ' + settings if settings else ''}")
    for path, value in preset.master.items():
        click.echo(f"  {path} {value:g}")
    click.echo(f"\nLatency: {frames} frames at 48 kHz ({frames / SAMPLE_RATE * 1e3:.2f} ms)")


def _as_data(preset: Preset) -> dict[str, object]:
    return {name: getattr(preset, name) for name in ("name", "about", "stages", "master", "channels")}
