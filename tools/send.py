"""`autovoice set`, `get` and `do`: a running engine from the command line, over OSC, as any other controller moves it.

What plays, and which values it takes, is read from the page that the engine shares with this user's processes. `set` checks
against it, moves all its parameters in one bundle, thus at one frame, and comes back when the audio thread has applied them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from autovoice.rt.control.commands import COMMANDS, Command
from autovoice.tools.options import SWITCH, CommandError, near, print_json

if TYPE_CHECKING:
    from autovoice.rt.control.board import Board, Row
    from autovoice.rt.registry import Entry
    from pythonosc.osc_message import OscMessage
    from pythonosc.udp_client import SimpleUDPClient, UDPClient

ROOT = "/autovoice/"
SWITCHES = {"mute": "master/mute", "bypass": "master/bypass"}
"""Commands that are parameters: nothing but their value tells that they were carried out."""
APPLIED_S = 2.0  # from a packet to the audio thread, at most: it is there within a block
DONE_S = 120.0  # for a command: a stage that was never used compiles first
LOOK_S = 0.002
HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # an engine that listens everywhere is spoken to here

engine_option = click.option("--engine", metavar="NAME", help="Which engine, by its name or process.  [default: the newest]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")


class Remote:
    """A running engine: what it plays, and the way to it."""

    def __init__(self, name: str | None) -> None:
        """Find it; raises RegistryError, or CommandError for one whose page cannot be read."""
        from autovoice.rt.control.board import Board
        from autovoice.rt.journal import ControlPage
        from autovoice.rt.registry import find

        self.entry: Entry = find(name)
        try:
            self.page = ControlPage.attach(self.entry.control)
            self.board: Board = Board(self.page)
        except (OSError, ValueError, TimeoutError) as error:
            raise CommandError(f"the engine {self.entry.name!r} cannot be read: {error}") from None

    def row(self, path: str) -> Row:
        """Return a parameter; raises CommandError that offers the nearest path."""
        if path not in self.board.rows:
            key, _, name = path.partition("/")
            for stage in self.board.data["chain"]:
                if stage["key"] == key and name in [option["name"] for option in stage["option_table"]]:
                    way = f"autovoice do chain/option {key} {name} VALUE"
                    raise CommandError(f"{path} is fixed while it sounds; {way} fades to a chain that has it so")
            hint = near(path, self.board.rows) or "; autovoice get lists all"
            raise CommandError(f"{self.entry.name} plays nothing called {path!r}{hint}")
        return self.board.rows[path]

    def value(self, row: Row) -> float:
        """Return a value as last applied."""
        return self.page.value(row.uid, row.index)

    def client(self) -> SimpleUDPClient:
        """Open the way there; raises CommandError where the engine does not listen."""
        from pythonosc.udp_client import SimpleUDPClient

        if not self.entry.osc:
            raise CommandError(f"the engine {self.entry.name!r} listens to no OSC; start it with --osc-port 0, or another port")
        host = ((self.board.data.get("state") or {}).get("osc") or {}).get("host", "127.0.0.1")
        return SimpleUDPClient(HERE.get(host, host), self.entry.osc)

    def until(self, client: UDPClient, seconds: float, done: Callable[[OscMessage | None], bool]) -> None:
        """Wait until `done`, asked with every answer and every LOOK_S, says so; raises CommandError for an error or silence."""
        end = time.monotonic() + seconds
        while True:
            for message in _messages(client.receive(LOOK_S)) or (None,):
                if message is not None and message.address == "/error":
                    raise CommandError(str(message.params[0]))
                if done(message):
                    return
            if time.monotonic() > end:
                raise CommandError(
                    f"the engine {self.entry.name!r} did not answer within {seconds:g} s on OSC port {self.entry.osc}"
                )


def _messages(packet: bytes) -> list[OscMessage]:
    """Return the messages of a packet."""
    from pythonosc.osc_packet import OscPacket

    return [timed.message for timed in OscPacket(packet).messages] if packet else []


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("settings", nargs=-1, required=True, metavar="PATH=VALUE...")
@engine_option
@json_option
def set_command(settings: Sequence[str], engine: str | None, as_json: bool) -> None:
    """Move parameters of a running engine, all at one frame.

    PATH is shift/semitones, gate/bypass or master/output; autovoice get lists all. The engine needs --osc-port.
    """
    remote = Remote(engine)
    wanted = dict(_wanted(remote, text) for text in settings)
    client = remote.client()
    with client:
        client.send(_bundle((ROOT + row.path, _argument(row, value)) for row, value in wanted.items()))
        remote.until(
            client,
            APPLIED_S,
            lambda _: all(math.isclose(remote.value(row), value, rel_tol=1e-6, abs_tol=1e-9) for row, value in wanted.items()),
        )
    if as_json:
        print_json({"engine": remote.entry.name, "values": {row.path: value for row, value in wanted.items()}})


def _wanted(remote: Remote, text: str) -> tuple[Row, float]:
    """Return the parameter and the value that `path=value` asks for; raises CommandError."""
    path, equals, value = (part.strip() for part in text.partition("="))
    if not (path and equals and value):
        raise CommandError(f"write PATH=VALUE, such as shift/semitones=4; got {text!r}")
    row = remote.row(path)
    return row, _number(row, value)


def _number(row: Row, text: str) -> float:
    """Return the value that a text means; raises CommandError that says the range."""
    if row.scale == "choice" and text in row.choices:
        return float(row.choices.index(text))
    try:
        number = float(SWITCH.get(text.lower(), text) if row.scale == "switch" else text)
    except ValueError:
        kinds = {"choice": f"one of {', '.join(row.choices)}", "switch": "on or off"}
        hint = near(text, row.choices)
        raise CommandError(
            f"{row.path} must be {kinds.get(row.scale, f'a number in {_range(row)}')}, got {text!r}{hint}"
        ) from None
    if not row.minimum <= number <= row.maximum or (row.scale in ("switch", "choice") and number != int(number)):
        raise CommandError(f"{row.path} must be in {_range(row)}, got {number:g}")
    return number


def _range(row: Row) -> str:
    return f"{row.minimum:g}..{row.maximum:g} {row.unit}".rstrip()


def _argument(row: Row, value: float) -> float | int:
    return int(value) if row.scale in ("switch", "choice") else value


def _bundle(messages: Iterable[tuple[str, Any]]) -> Any:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder

    bundle = OscBundleBuilder(IMMEDIATELY)
    for address, argument in messages:
        message = OscMessageBuilder(address)
        message.add_arg(argument)
        bundle.add_content(message.build())
    return bundle.build()


@click.command("get")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@engine_option
@json_option
def get_command(paths: Sequence[str], engine: str | None, as_json: bool) -> None:
    """Say what a running engine plays: values as the audio thread last applied them, with range and unit.

    PATH is a parameter (shift/semitones) or a stage (shift); without one, all are told.
    """
    remote = Remote(engine)
    rows = list(remote.board.rows.values()) if not paths else [row for path in paths for row in _rows(remote, path)]
    board = remote.board.data
    if as_json:
        described = {
            row.path: {
                "value": remote.value(row),
                "unit": row.unit,
                "minimum": row.minimum,
                "maximum": row.maximum,
                "text": _text(row, remote.value(row)),
            }
            for row in rows
        }
        told = {name: board.get(name) for name in ("session", "pid", "backend", "sample_rate", "block", "latency", "state")}
        print_json(
            {"engine": remote.entry.name, **told, "chain": [stage["key"] for stage in board["chain"]], "values": described}
        )
        return
    width = max(len(row.path) for row in rows)
    for row in rows:
        click.echo(f"{row.path:<{width}}  {_text(row, remote.value(row))}")


def _rows(remote: Remote, path: str) -> Iterator[Row]:
    """Yield the parameter of a path, or all of a stage; raises CommandError."""
    of_stage = [row for row in remote.board.rows.values() if row.path.startswith(f"{path.rstrip('/')}/")]
    yield from of_stage or [remote.row(path)]


def _text(row: Row, value: float) -> str:
    """Return a value as people write it."""
    if row.scale == "switch":
        return "on" if value else "off"
    if row.choices:
        return row.choices[int(value)]
    return f"{value:.6g} {row.unit}".rstrip()


class DoCommand(click.Command):
    """Its help ends with what can be asked."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.usage, command.help) for command in COMMANDS.values()])


@click.command("do", cls=DoCommand, context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="COMMAND")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@engine_option
@json_option
def do_command(name: str, arguments: Sequence[str], engine: str | None, as_json: bool) -> None:
    """Have a running engine do something: preset/load robot, chain/add reverb, record, undo.

    Comes back when it is done. The engine needs --osc-port.
    """
    wanted = COMMANDS.get(name.strip("/"))
    if wanted is None:
        raise CommandError(f"no command is called {name!r}{near(name, COMMANDS) or '; autovoice do --help lists them'}")
    values = _arguments(wanted, arguments)
    remote = Remote(engine)
    client = remote.client()
    with client:
        result = (
            _switch(remote, client, wanted.name, values)
            if wanted.name in SWITCHES
            else _ask(remote, client, wanted.name, values)
        )
    if as_json:
        print_json({"engine": remote.entry.name, "command": wanted.name, "arguments": values, "result": result})
    elif result is not None:
        click.echo(result)


def _arguments(command: Command, texts: Sequence[str]) -> list[Any]:
    """Return a command's arguments as its table types them; raises CommandError that shows how it is written."""
    required = sum(not one.optional for one in command.arguments)
    if not required <= len(texts) <= len(command.arguments):
        raise CommandError(f"write autovoice do {command.usage}; got {len(texts)} argument{'s' * (len(texts) != 1)}")
    return [_typed(command, one.name, one.tag, text) for one, text in zip(command.arguments, texts, strict=False)]


def _typed(command: Command, name: str, tag: str, text: str) -> Any:
    kinds: Mapping[str, tuple[Callable[[str], Any], str]] = {
        "s": (str, "a text"),
        "i": (int, "a whole number"),
        "f": (float, "a number"),
        "T": (lambda word: {"1": True, "0": False}[SWITCH.get(word.lower(), word)], "on or off"),
    }
    convert, noun = kinds[tag]
    try:
        return convert(text)
    except (ValueError, KeyError):
        raise CommandError(f"{command.name}: {name.upper()} must be {noun}, got {text!r}") from None


def _ask(remote: Remote, client: SimpleUDPClient, name: str, arguments: Sequence[Any]) -> Any:
    """Send a command and return what its answer says; raises CommandError."""
    answers: list[Any] = []

    def done(message: OscMessage | None) -> bool:
        if message is not None and message.address == "/done" and message.params[:1] == [name]:
            answers.extend(message.params[1:])
            return True
        return False

    client.send_message(f"/{name}", list(arguments))
    remote.until(client, DONE_S, done)
    return answers[0] if answers else None


def _switch(remote: Remote, client: SimpleUDPClient, name: str, arguments: Sequence[Any]) -> str:
    """Move a switch that is a command too, or the other way round; returns where it stands then."""
    row = remote.row(SWITCHES[name])
    wanted = float(arguments[0]) if arguments else 1.0 - remote.value(row)
    client.send_message(f"/{name}", int(wanted))
    remote.until(client, APPLIED_S, lambda _: remote.value(row) == wanted)
    return "on" if wanted else "off"
