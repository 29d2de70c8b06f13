"""Groups of commands that are imported when they are called, so that `--help` is instant."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click
from autovoice.tools.configuration import configured
from autovoice.tools.options import near


class LazyGroup(click.Group):
    """Commands by name, each in a module that is imported when the command is named.

    `table` holds `module` for a command that the module calls `command`, or `module:name`; help lists them in this order.
    """

    def __init__(self, *arguments: Any, table: Mapping[str, str], **settings: Any) -> None:
        """Import nothing yet."""
        super().__init__(*arguments, **settings)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one, and let it take values from the configuration; None for a name that is not in the table."""
        if name not in self.table:
            return None
        module, _, attribute = self.table[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute or "command")
        return configured(command, ctx, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the nearest name."""
        if args[0] not in self.table and not args[0].startswith("-"):
            hint = near(args[0], self.table) or f"; there are: {', '.join(self.table)}"
            raise click.UsageError(f"no command is called {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)
