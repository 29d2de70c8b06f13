"""The command line `autovoice`: one command a module, each loaded when it is called, so that `--help` is instant."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

COMMANDS = {
    "live": "autovoice.tools.live",
    "render": "autovoice.tools.render",
    "analyse": "autovoice.tools.analyse",
    "stages": "autovoice.tools.manual",
    "presets": "autovoice.tools.presets",
    "devices": "autovoice.tools.devices",
    "latency": "autovoice.tools.lab.latency.command",
    "demo": "autovoice.tools.demo",
    "bench": "autovoice.tools.lab.bench.command",
}
"""Every command, with the module whose `command` it is; help lists them in this order."""

FAILED, INTERRUPTED = 2, 130


class LazyGroup(click.Group):
    """Commands that are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one; None for a name that is not in the table."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[name]).command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the nearest name."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command is called {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="autovoice")
def autovoice() -> None:
    """Process a voice live, a few milliseconds behind the singer."""


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; what a person can put right is one line on stderr and code 2."""
    try:
        code = autovoice.main(args, prog_name="autovoice", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return FAILED
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo("autovoice: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Errors of our own floors, of files and of memory say what to put right; anything else is a fault of the program.
        if type(error).__module__.startswith(("autovoice.", "soundfile")) or isinstance(error, (OSError, MemoryError)):
            return _refuse(str(error) or type(error).__name__)
        raise
    return int(code or 0)


def _refuse(message: str) -> int:
    click.echo(f"autovoice: {' '.join(message.split())}", err=True)
    return FAILED


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run())


if __name__ == "__main__":
    main()
