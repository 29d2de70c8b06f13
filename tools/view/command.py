"""`autovoice view`: a running engine in a terminal, from another shell or over ssh."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click
from autovoice.tools.options import CommandError, print_json


@click.command("view")
@click.argument("name", required=False)
@click.option("--once", is_flag=True, help="Print one reading as text and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one reading as JSON and end.")
def command(name: str | None, once: bool, as_json: bool) -> None:
    """Watch and move a running engine in this terminal: levels, pitch, latency, callbacks, the chain.

    NAME is its name or its process; without one, the newest. Keys are listed at the foot; moving things needs an engine with
    --osc-port.
    """
    from autovoice.tools.view.draw import once as as_text
    from autovoice.tools.view.reading import Link

    link = Link(name)
    if as_json:
        print_json(link.read())
        return
    if once:
        click.echo(as_text(link.read(), link.rows))
        return
    if find_spec("textual") is None:
        raise CommandError("the view needs Textual: pip install 'autovoice[view]'; --once and --json do without")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("the view needs a terminal; --once prints one reading, --json prints it for programs")
    from autovoice.tools.view.app import View

    said = View(link).run()
    if said:
        click.echo(f"autovoice: {said}", err=True)
