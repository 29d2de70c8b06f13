"""What several commands share: options that describe a chain, and the chain made from them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.logs import note as note

if TYPE_CHECKING:
    from autovoice.rt import Chain
    from autovoice.rt.chain import Spec

DEFAULT_CHAIN = "highpass,gate,pitch,shift,compressor,limiter"
CHAIN: dict[str, Any] = {"chain": None, "preset": None, "stages": (), "settings": ()}
"""The options that describe a chain, by click's names, and what they are where nobody gave them."""
SWITCH = {"on": "1", "off": "0", "true": "1", "false": "0", "yes": "1", "no": "0"}

Command = Callable[..., Any]


class CommandError(click.ClickException):
    """A request that cannot be carried out; the message is one line that says the way out."""

    exit_code = 2


def near(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'gate'?` for a name that is close to one of `names`, else nothing."""
    import difflib

    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def chain_options(command: Command) -> Command:
    """Add --chain, --preset, --stage and --set to a command.

    What a nearer source says of the chain replaces what a farther one says, all of it: `--preset robot` on the command line
    leaves no chain, stages or settings of the configuration file, which were meant for another chain.
    """
    options = (
        click.option("--chain", help=f"Stages in order; a name or a file mystage.py.  [default: {DEFAULT_CHAIN}]"),
        click.option(
            "--preset", metavar="NAME", help="A chain with its settings, by name or file.toml; see autovoice presets."
        ),
        click.option("--stage", "stages", multiple=True, metavar="FILE.py", help="Append a stage of your own. Repeatable."),
        click.option(
            "--set", "settings", multiple=True, metavar="STAGE/PARAM=VALUE", help="Set a parameter or an option. Repeatable."
        ),
    )

    @functools.wraps(command)
    def with_one_chain(*arguments: Any, **request: Any) -> Any:
        return command(*arguments, **(request | _nearest_chain(request)))

    wrapped: Command = with_one_chain
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _nearest_chain(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a chain without those that come from farther away than --chain or --preset do."""
    ctx = click.get_current_context()
    far = {name: _distance(ctx, name) for name in CHAIN}
    nearest = min(far["chain"], far["preset"])
    kept = {name: request[name] if far[name] <= nearest else empty for name, empty in CHAIN.items()}
    if far["settings"] > nearest:  # the engine's own settings are not the chain's
        kept["settings"] = tuple(text for text in request["settings"] if text.strip().startswith("master/"))
    return kept


def _distance(ctx: click.Context, name: str) -> int:
    """Return how far away a value comes from: 0 the command line, 1 the environment, 2 the file, 3 its default."""
    source = ctx.get_parameter_source(name)
    near_first = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")
    return near_first.index(source.name) if source is not None and source.name in near_first else 0


def split_settings(settings: Iterable[str]) -> list[tuple[str, str, str]]:
    """Split `stage/param=value` texts into (stage, param, value)."""
    found = []
    for text in settings:
        path, equals, value = text.partition("=")
        key, slash, name = path.strip().partition("/")
        if not (equals and slash and key and name and value.strip()):
            raise CommandError(f"--set takes STAGE/PARAM=VALUE, such as gate/threshold=-40, got {text!r}")
        found.append((key, name, value.strip()))
    return found


def stage_names(chain: str) -> list[str]:
    """Split what --chain takes."""
    return [name.strip() for name in chain.split(",") if name.strip()]


def know_voices() -> None:
    """Let chains and presets name voices of the user's own."""
    import autovoice.models  # noqa: F401 - which says to the engine's floor where they are found


def chain_specs(request: Mapping[str, Any]) -> tuple[list[Spec], dict[str, float], int | None]:
    """Return what --chain, --preset and --stage ask for, the preset's own `master/...` and its output channels.

    Raises CommandError or StageError.
    """
    if request["preset"] is None:
        return [*stage_names(request["chain"] or DEFAULT_CHAIN), *request["stages"]], {}, None
    if request["chain"] is not None:
        raise CommandError("--preset brings its own chain; leave --chain away, or --preset")
    from autovoice.rt.presets import load_preset

    know_voices()
    preset = load_preset(request["preset"])
    for line in preset.absent:
        note(line)
    return [*preset.stages, *request["stages"]], dict(preset.master), preset.channels


def spec_names(specs: Iterable[Spec]) -> list[str]:
    """Return the stage names or files of chain specs."""
    return [one if isinstance(one, str) else str(one.get("stage")) for one in specs]


def build_chain(specs: Sequence[Spec], settings: Iterable[str]) -> tuple[Chain, dict[str, float]]:
    """Return the chain of these specs with --set on top, and the engine's own settings (`master/...`), all checked.

    Raises CommandError or StageError.
    """
    from autovoice.rt import Chain
    from autovoice.rt.image import BYPASS
    from autovoice.rt.master import check_master

    know_voices()
    plain = Chain(specs)
    # A second build with the settings: only a chain knows the names in it, such as `gate_2` or a `pitch` that `shift` needs.
    whole: dict[str, dict[str, object]] = {}
    for placed in plain.placed:
        module = placed.stage.module
        user = module.__name__.startswith("autovoice_user_stage_")
        name = str(module.__file__) if user else placed.stage.name
        kept = {**placed.values, **placed.options, "bypass": placed.bypass}
        whole[placed.key] = {"stage": name, "name": placed.key, **kept}
    master: dict[str, float] = {}
    for key, name, text in split_settings(settings):
        if key == "master":
            master[f"master/{name}"] = check_master(name, text)
            continue
        placed = plain[key]
        rows = {row.name: row for row in (*placed.stage.parameters, *placed.stage.options, BYPASS)}
        row = rows.get(name)
        value = SWITCH.get(text.lower(), text) if row is not None and row.scale == "switch" else text
        whole[key][name] = BYPASS.check(value) if name == "bypass" else value
    return Chain(list(whole.values())), master


def plain_data(value: Any) -> Any:
    """Turn dataclasses and NumPy values into what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_data(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    import json

    click.echo(json.dumps(plain_data(value), indent=2))


def on_terminal() -> bool:
    """Say whether stderr is a terminal, where a line can be rewritten in place."""
    return sys.stderr.isatty()
