"""`autovoice layouts`: files with which other programs drive AutoVoice, made for a chain or for an engine that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.layouts import max_for_live, open_stage_control, reaper, touchosc
from autovoice.tools.layouts.desk import HOST, PORT, Desk, desk_of_board, desk_of_chain
from autovoice.tools.options import CommandError, build_chain, chain_options, chain_specs, print_json
from autovoice.tools.values import Whole

FILES: tuple[tuple[str, str, Callable[[Desk], str | bytes]], ...] = (
    (reaper.PATTERNS_NAME, "REAPER: markers load presets, regions go to scenes, record records", reaper.patterns),
    (reaper.EFFECT_NAME, "REAPER: an effect whose sliders are the parameters", reaper.effect),
    (reaper.SCRIPT_NAME, "REAPER: the script that sends those sliders", reaper.script),
    (open_stage_control.NAME, "Open Stage Control: a session", open_stage_control.session),
    (touchosc.NAME, "TouchOSC: a layout for a tablet", touchosc.layout),
    (max_for_live.DEVICE_NAME, "Ableton Live: a Max for Live audio effect", max_for_live.device),
    (max_for_live.PATCHER_NAME, "Max: the same as a patcher", max_for_live.patcher),
)
"""Every file, with what it is for and what makes it."""


@click.command("layouts")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@chain_options
@click.option("--engine", metavar="NAME", help="Made for this running engine, as it plays now; `newest` for the newest.")
@click.option("--osc-host", metavar="ADDRESS", help=f"Where AutoVoice listens.  [default: the engine's, or {HOST}]")
@click.option("--osc-port", type=Whole(1, 65535), metavar="N", help=f"... at this port.  [default: the engine's, or {PORT}]")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(folder: Path, engine: str | None, as_json: bool, **request: Any) -> None:
    """Write files for REAPER, Ableton Live, Max, Open Stage Control and TouchOSC into FOLDER.

    They hold a fader or a button for every parameter of the chain. Make them anew when the chain is another. What to click
    in each program: docs/daw.md.
    """
    desk = _desk_of_engine(engine, request) if engine is not None else _desk(request)
    written = write(desk, folder)
    if as_json:
        print_json({"folder": folder, "target": desk.target, "parameters": len(desk.controls), "files": written})
        return
    width = max(len(path.name) for path in written)
    for path, (_, about, _) in zip(written, FILES, strict=True):
        click.echo(f"{path.name:<{width}}  {about}")
    click.echo(f"\n{len(desk.controls)} parameters of {desk.chain}; AutoVoice is to listen at {desk.target}.")


def write(desk: Desk, folder: Path) -> list[Path]:
    """Write every file into a folder, made if need be; one that exists is replaced at once. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, _, make in FILES:
        made, path = make(desk), folder / name
        partial = path.with_name(f"{name}.part")
        partial.write_bytes(made if isinstance(made, bytes) else made.encode())
        partial.replace(path)
        paths.append(path)
    return paths


def _desk(request: dict[str, Any]) -> Desk:
    """Return the desk of the chain that the options describe."""
    from autovoice.rt.presets import all_names

    with Compiling():
        specs, master, _ = chain_specs(request)
        chain, settings = build_chain(specs, request["settings"])
        names = all_names()
    return desk_of_chain(
        chain, names, {**master, **settings}, host=request["osc_host"] or HOST, port=request["osc_port"] or PORT
    )


def _desk_of_engine(name: str, request: dict[str, Any]) -> Desk:
    """Return the desk of a running engine; raises CommandError, or RegistryError where there is none."""
    from autovoice.tools.send import HERE, Remote

    if any(request[option] for option in ("chain", "preset", "stages", "settings")):
        raise CommandError("--engine brings its own chain; leave --chain, --preset, --stage and --set away, or --engine")
    remote = Remote(None if name == "newest" else name)
    board = remote.board
    port = request["osc_port"] or remote.entry.osc
    if not port:
        raise CommandError(
            f"the engine {remote.entry.name!r} listens to no OSC; start it with --osc-port, or say --osc-port here"
        )
    host = str(((board.data.get("state") or {}).get("osc") or {}).get("host", HOST))
    values = {path: remote.value(row) for path, row in board.rows.items()}
    return desk_of_board(board.data, board.rows, values, host=request["osc_host"] or HERE.get(host, host), port=port)
