"""`autovoice config`: where every value comes from, an example of the file, and whether a file is right."""

from __future__ import annotations

import contextlib
import enum
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from autovoice.tools.configuration import (
    VARIABLE,
    Configuration,
    below,
    check_environment,
    contexts,
    default_path,
    defaults,
    entries,
    names_of,
    options_of,
    read,
    unknown_variables,
    variable,
)
from autovoice.tools.options import CommandError, note, plain_data, print_json
from autovoice.tools.values import checked, takes

SOURCES = {
    "PROMPT": "command line",
    "COMMANDLINE": "command line",
    "ENVIRONMENT": "environment",
    "DEFAULT_MAP": "file",
    "DEFAULT": "default",
}
SECRET = "token"  # an option whose value is not shown
WIDTH = 110
HEAD = f"""\
AutoVoice's configuration: what the command line takes, with its defaults. It is read from {{path}}, or from the file that
--config FILE or ${VARIABLE} names. Remove a # to change a value. Nearer wins: the command line, then a variable such as
$AUTOVOICE_LIVE_BLOCK, then this file. Paths count from the folder a command is started in; ~ is your home."""


@dataclass(frozen=True, slots=True)
class Value:
    """What an option is, and where that comes from."""

    command: str
    option: str
    value: Any
    source: str  # of SOURCES
    origin: str | None  # the file or the variable


@click.command("config")
@click.argument("line", nargs=-1, metavar="[COMMAND] [-- ARGUMENT...]", type=click.UNPROCESSED)
@click.option("--show", is_flag=True, help="Say every value and where it comes from; this is also done where nothing is asked.")
@click.option("--example", is_flag=True, help="Print a file with every option and its default, commented out.")
@click.option("--check", type=click.Path(path_type=Path), metavar="FILE", help="Say everything that is wrong with a file.")
@click.option("--json", "as_json", is_flag=True, help="Print what --show or --check finds as JSON.")
@click.pass_context
def command(ctx: click.Context, line: Sequence[str], show: bool, example: bool, check: Path | None, as_json: bool) -> int:
    """Show what the commands take from the configuration file, the environment and their defaults.

    Options of COMMAND behind `--` count as they would on its own command line.
    """
    if show + example + (check is not None) > 1:
        raise CommandError("--show, --example and --check are three questions; ask one")
    root = ctx.find_root()
    if check is not None:
        return _check(root, check, as_json=as_json)
    chosen, arguments = _command(root, line)
    if example:
        click.echo(_example(chosen), nl=False)
        return 0
    found = read(ctx.meta.get(VARIABLE))
    values = [value for one in chosen for value in _values(one, found, arguments)]
    if as_json:
        print_json({"file": found.path, "usual_file": default_path(), "values": values})
    else:
        _tell(found, values)
    for warning in unknown_variables(root):
        note(warning)
    return 0


def _command(root: click.Context, line: Sequence[str]) -> tuple[list[click.Context], list[str]]:
    """Return the commands that a line names (all for an empty one) and the arguments behind the names."""
    rest, at = list(line), root
    while rest and isinstance(at.command, click.Group):
        at.command.resolve_command(at, rest[:1])  # refuses an unknown name
        at = below(at, rest.pop(0))
    return list(contexts(at)), rest


def _check(root: click.Context, path: Path, *, as_json: bool) -> int:
    """Check a whole file; 2 where something is wrong."""
    found = read(path)
    every = list(entries(root, found.data))
    wrong = [one.problem for one in every if one.problem is not None]
    if as_json:
        print_json({"file": path, "good": not wrong, "values": len(every) - len(wrong), "problems": wrong})
    else:
        for problem in wrong:
            note(f"{path}: {problem}")
        if not wrong:
            click.echo(f"{path}: good, {len(every)} value{'s' * (len(every) != 1)}")
    return 2 if wrong else 0


def _values(ctx: click.Context, found: Configuration, arguments: Sequence[str]) -> Iterator[Value]:
    """Yield the value of every option of a command, found by click's own steps."""
    ctx.default_map = defaults(ctx, found)
    check_environment(ctx)
    given, rest, _ = ctx.command.make_parser(ctx).parse_args(list(arguments))
    for key, option in options_of(ctx.command).items():
        name = str(option.name)
        option.handle_parse_result(ctx, given, rest)
        value, source = ctx.params[name], ctx.get_parameter_source(name)
        assert source is not None
        if isinstance(value, enum.Enum):  # click's mark for an option that nobody gave
            value = None
        origin = {"ENVIRONMENT": str(option.envvar), "DEFAULT_MAP": str(found.path)}.get(source.name)
        shown = "hidden" if key == SECRET and value is not None else value
        yield Value(" ".join(names_of(ctx)), key, plain_data(shown), SOURCES[source.name], origin)


def _tell(found: Configuration, values: Sequence[Value]) -> None:
    """Print values as a table for each command."""
    click.echo(f"file: {found.path or f'none; {default_path()} would be read'}")
    width = max(len(value.option) for value in values)
    command = None
    for value in values:
        if value.command != command:
            command = value.command
            click.echo(f"\n[{command.replace(' ', '.')}]")
        text = "-" if value.value is None else _toml(value.value)
        source = {"environment": f"from ${value.origin}", "file": "from the file"}.get(value.source, value.source)
        click.echo(f"  {value.option:<{width}}  {text:<24}  {source}")


def _toml(value: Any) -> str:
    """Return a value as a TOML file holds it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    import tomli_w

    return tomli_w.dumps({"": value}).partition("=")[2].strip()


def _example(chosen: Sequence[click.Context]) -> str:
    """Return a file with every option of some commands, each under its help, its range and its variable."""
    lines = [*_comment(HEAD.format(path=default_path()))]
    for ctx in chosen:
        names = names_of(ctx)
        lines += ["", f"[{'.'.join(names)}]", *_comment(ctx.command.get_short_help_str(WIDTH))]
        for key, option in options_of(ctx.command).items():
            help_text = re.sub(r"\s+", " ", option.help or "")
            lines += ["", *_comment(f"{help_text} {_takes(option)} ${variable(names, key)}")]
            lines.append(f"# {key} = {_toml(_sample(ctx, option))}")
    return "\n".join(lines) + "\n"


def _takes(option: click.Option) -> str:
    text = takes(option)
    return f"An array, each {text}." if option.multiple else f"{text[0].upper()}{text[1:]}."


def _sample(ctx: click.Context, option: click.Option) -> Any:
    """Return an option's default, or the plainest value that it takes."""
    if option.multiple:
        return []
    default = plain_data(option.get_default(ctx))
    kind = option.type
    for value in (default, False, getattr(kind, "min", None), 1, *getattr(kind, "choices", ()), ""):
        with contextlib.suppress(CommandError):
            checked(option, value)
            return value
    return default


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
