"""The command line `autovoice`: one command a module, each loaded when it is called, so that `--help` is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from autovoice.tools import logs
from autovoice.tools.configuration import VARIABLE, config_option
from autovoice.tools.lazy import LazyGroup

COMMANDS = {
    "live": "autovoice.tools.live",
    "set": "autovoice.tools.send:set_command",
    "get": "autovoice.tools.send:get_command",
    "do": "autovoice.tools.send:do_command",
    "view": "autovoice.tools.view.command",
    "render": "autovoice.tools.render",
    "convert": "autovoice.tools.convert",
    "voices": "autovoice.tools.voices",
    "replay": "autovoice.tools.replay",
    "analyse": "autovoice.tools.analyse",
    "stages": "autovoice.tools.manual",
    "presets": "autovoice.tools.presets",
    "layouts": "autovoice.tools.layouts.command",
    "devices": "autovoice.tools.devices",
    "latency": "autovoice.tools.lab.latency.command",
    "demo": "autovoice.tools.demo",
    "bench": "autovoice.tools.lab.bench.command",
    "config": "autovoice.tools.config",
}
"""Every command, with the module whose `command` it is; help lists them in this order."""

FAILED, INTERRUPTED = 2, 130


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@config_option(envvar=VARIABLE)
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
    finally:
        logs.end()
    return int(code or 0)


def _refuse(message: str) -> int:
    logs.ROOT.error(message)
    return FAILED


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run())


if __name__ == "__main__":
    main()
