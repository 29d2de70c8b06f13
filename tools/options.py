"""What several commands share: options that describe a chain, and the chain made from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autovoice.rt import Chain

DEFAULT_CHAIN = "highpass,gate,pitch,shift,compressor,limiter"
SWITCH = {"on": "1", "off": "0", "true": "1", "false": "0", "yes": "1", "no": "0"}

Command = Callable[..., Any]


class CommandError(click.ClickException):
    """A request that cannot be carried out; the message is one line that says the way out."""

    exit_code = 2


def chain_options(command: Command) -> Command:
    """Add --chain, --stage and --set to a command."""
    options = (
        click.option("--chain", default=DEFAULT_CHAIN, show_default=True, help="Stages in order; a name or a file mystage.py."),
        click.option("--stage", "stages", multiple=True, metavar="FILE.py", help="Append a stage of your own. Repeatable."),
        click.option(
            "--set", "settings", multiple=True, metavar="STAGE/PARAM=VALUE", help="Set a parameter or an option. Repeatable."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


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


def build_chain(chain: str, stages: Iterable[str], settings: Iterable[str]) -> tuple[Chain, dict[str, float]]:
    """Return the chain that the options describe and the engine's own settings (`master/...`), all checked.

    Raises CommandError or StageError.
    """
    from autovoice.rt import Chain
    from autovoice.rt.image import BYPASS

    plain = Chain([*stage_names(chain), *stages])
    # A second build with the settings: only a chain knows the names in it, such as `gate_2` or a `pitch` that `shift` needs.
    specs: dict[str, dict[str, object]] = {}
    for placed in plain.placed:
        module = placed.stage.module
        user = module.__name__.startswith("autovoice_user_stage_")
        specs[placed.key] = {"stage": str(module.__file__) if user else placed.stage.name, "name": placed.key}
    master: dict[str, float] = {}
    for key, name, text in split_settings(settings):
        if key == "master":
            master[f"master/{name}"] = _check_master(name, text)
            continue
        placed = plain[key]
        rows = {row.name: row for row in (*placed.stage.parameters, *placed.stage.options, BYPASS)}
        row = rows.get(name)
        value = SWITCH.get(text.lower(), text) if row is not None and row.scale == "switch" else text
        specs[key][name] = BYPASS.check(value) if name == "bypass" else value
    return Chain(list(specs.values())), master


def _check_master(name: str, text: str) -> float:
    from autovoice.dsp.stage import StageError, suggest
    from autovoice.rt.layout import PRESENCE
    from autovoice.rt.processor import MASTER

    for parameter in MASTER[:PRESENCE]:
        if parameter.name == name:
            try:
                return parameter.check(text)
            except StageError as error:
                raise StageError(f"master/{error}") from None
    raise StageError(f"master has no parameter {name!r}{suggest(name, [p.name for p in MASTER[:PRESENCE]])}")


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


def note(message: str) -> None:
    """Print a line on stderr."""
    click.echo(f"autovoice: {message}", err=True)


def on_terminal() -> bool:
    """Say whether stderr is a terminal, where a line can be rewritten in place."""
    return sys.stderr.isatty()
