"""One TOML file, and an environment variable for each value, for everything the command line takes.

An option's name, type, range and help are said once, where click declares it; this module reads them there. A value comes from
the command line, else from `AUTOVOICE_<COMMAND>_<OPTION>`, else from the option's key in the file's table `[command]`, else
from the option's default: click's own order (`Option.envvar`, `Context.default_map`), and click knows which it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from autovoice.tools.options import CommandError, near
from autovoice.tools.values import checked, key_of, refusal

VARIABLE = "AUTOVOICE_CONFIG"
OURS = "config"  # the command that tells of all this, and has no table itself
Names = tuple[str, ...]  # that lead from the root to a command: ("bench", "run")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was read, and from which file; None where there is none and nobody asked for one."""

    path: Path | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file: the value of an option (by click's name for it), or what is wrong with it."""

    name: str
    value: Any = None
    problem: str | None = None


def config_option(**settings: Any) -> Callable[[Any], Any]:
    """Add `--config FILE` to a command; behind a command's name it counts more than in front of it."""
    return click.option(
        "--config",
        "_config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_configure,
        help="Take defaults from this file; see autovoice config.",
        **settings,
    )


def _configure(ctx: click.Context, option: click.Parameter, chosen: Path | None) -> None:
    """Remember what was chosen, and give a command the values of its table."""
    if chosen is not None:
        ctx.meta[VARIABLE] = chosen
    if not (isinstance(ctx.command, click.Group) or ctx.resilient_parsing or names_of(ctx) == (OURS,)):
        ctx.default_map = defaults(ctx, read(ctx.meta.get(VARIABLE)))
        check_environment(ctx)


def configured(command: click.Command, ctx: click.Context, name: str) -> click.Command:
    """Let a command, found as `name` in the group of `ctx`, take values from file and environment."""
    if isinstance(command, click.Group) or any(one.name == "_config" for one in command.params):
        return command
    for key, option in options_of(command).items():
        option.envvar = variable((*names_of(ctx), name), key)
    return config_option()(command)  # type: ignore[no-any-return]


def names_of(ctx: click.Context) -> Names:
    """Return the names that lead from the root to a context's command."""
    return () if ctx.parent is None else (*names_of(ctx.parent), str(ctx.info_name))


def variable(names: Names, key: str) -> str:
    """Return an option's environment variable, such as `AUTOVOICE_LIVE_IN_CHANNELS`."""
    return "_".join(("autovoice", *names, key)).replace("-", "_").upper()


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set, by their names without the dashes."""
    return {key_of(one): one for one in command.params if isinstance(one, click.Option) and one.expose_value}


def contexts(ctx: click.Context) -> Iterator[click.Context]:
    """Yield a context for every command below a group's, in the order of help, but for `autovoice config`."""
    if isinstance(ctx.command, click.Group):
        for name in tables(ctx):
            yield from contexts(below(ctx, name))
    else:
        yield ctx


def below(ctx: click.Context, name: str) -> click.Context:
    """Return a context for one command of a group."""
    assert isinstance(ctx.command, click.Group)
    command = ctx.command.get_command(ctx, name)
    assert command is not None
    return click.Context(command, parent=ctx, info_name=name)


def tables(ctx: click.Context) -> list[str]:
    """Return the names of a group's commands, which may be tables of a file."""
    assert isinstance(ctx.command, click.Group)
    return [name for name in ctx.command.list_commands(ctx) if (*names_of(ctx), name) != (OURS,)]


def default_path() -> Path:
    """Return where the file is looked for."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "autovoice" / "config.toml"


def read(chosen: Path | None) -> Configuration:
    """Read the chosen file, or the one at the usual place where there is one; raises CommandError."""
    import tomllib

    path = default_path() if chosen is None else chosen.expanduser()
    try:
        return Configuration(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if chosen is None:
            return Configuration(None, {})
        raise CommandError(f"there is no configuration file {path}; autovoice config --example prints one") from None
    except OSError as error:
        raise CommandError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is not TOML: {error}") from None


def defaults(ctx: click.Context, found: Configuration) -> dict[str, Any]:
    """Return a file's values for the command of `ctx`, by click's names; raises CommandError.

    Other commands' tables are not looked into: what is wrong there must not keep a voice from the stage.
    """
    values = {}
    for entry in entries(ctx.find_root(), found.data, only=names_of(ctx)):
        if entry.problem is not None:
            raise CommandError(f"{found.path}: {entry.problem}")
        values[entry.name] = entry.value
    return values


def entries(ctx: click.Context, table: Mapping[str, Any], only: Names | None = None) -> Iterator[Entry]:
    """Yield what a file says: of the one command that the names `only` lead to, or of all."""
    names = names_of(ctx)
    if not isinstance(ctx.command, click.Group):
        options = options_of(ctx.command)
        for key, value in table.items():
            yield _entry(names, options, key, value)
        return
    for name, part in table.items():
        if (wrong := _no_table(ctx, name, part)) is not None:
            yield Entry(name, problem=wrong)
        elif only is None or only[len(names)] == name:
            yield from entries(below(ctx, name), part, only)


def _entry(names: Names, options: Mapping[str, click.Option], key: str, value: Any) -> Entry:
    where = f"[{'.'.join(names)}]"
    if key not in options:
        hint = near(key, options) or f"; autovoice config --example {' '.join(names)} lists its keys"
        return Entry(key, problem=f"{where} has no key {key!r}{hint}")
    try:
        return Entry(str(options[key].name), checked(options[key], value))
    except CommandError as error:
        return Entry(key, problem=f"{where} {key} {error.message}")


def _no_table(ctx: click.Context, name: str, part: Any) -> str | None:
    """Say why an entry of a table is not the table of a command; None where it is."""
    names, known = names_of(ctx), tables(ctx)
    if name in known:
        return None if isinstance(part, dict) else f"[{'.'.join((*names, name))}] must be a table, got {part!r}"
    if not isinstance(part, dict):
        home = next((one for one in contexts(ctx) if name in options_of(one.command)), None)
        if home is not None:
            return f"{name} stands in no command's table; put it below [{'.'.join(names_of(home))}]"
    where = f"[{'.'.join(names)}] has no command" if names else "there is no command"
    return f"{where} {name!r}{near(name, known) or '; there are: ' + ', '.join(known)}"


def check_environment(ctx: click.Context) -> None:
    """Refuse a variable whose value its option cannot have, by the variable's name; raises CommandError."""
    for option in options_of(ctx.command).values():
        text = option.resolve_envvar_value(ctx)
        if text is None:
            continue
        try:
            option.type_cast_value(ctx, option.value_from_envvar(ctx))
        except click.ClickException:
            raise CommandError(f"{option.envvar} {refusal(option, text)}") from None


def unknown_variables(root: click.Context) -> list[str]:
    """Return a line for each variable that begins like one of a command's and is none of its options'."""
    known = {variable(names_of(ctx), key) for ctx in contexts(root) for key in options_of(ctx.command)}
    starts = tuple(variable((name,), "") for name in tables(root))
    strange = sorted(name for name in os.environ if name.startswith(starts) and name not in known)
    return [f"{name} belongs to no option{near(name, known)}" for name in strange]
