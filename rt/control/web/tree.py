"""The OSC address space as OSCQuery describes it (Vidvox, OSCQuery Proposal, third revision), made from the board."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autovoice.rt.control.commands import COMMANDS, Command
from autovoice.rt.control.osc.outputs import METERS, PLAYING
from autovoice.rt.control.surface import Board, Row
from autovoice.rt.telemetry import Telemetry

ROOT = "/autovoice"
TIMES = {"Hz": "time.hz", "ms": "time.ms", "s": "time.second", "cents": "time.cents", "bpm": "time.bpm"}
UNITS = {"dB": "gain.db", "dBFS": "gain.db", **TIMES}
"""Our units in the proposal's list; the others stand as they are."""

NOTHING, READ, WRITE, READ_WRITE = range(4)  # ACCESS
ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "CLIPMODE", "OVERLOADS")
UNSUPPORTED = ("TAGS", "EXTENDED_TYPE", "CRITICAL", "HTML")  # in the proposal, and nothing that we have

UNIT_RANGE = {"MIN": 0.0, "MAX": 1.0}

Values = Mapping[str, tuple[Any, ...]]  # what nodes read now, by address


@dataclass(slots=True)
class Node:
    """One container or method."""

    path: str
    description: str = ""
    type: str = ""  # OSC type tags; "" = a container
    access: int = NOTHING
    range: list[Any] | None = None
    unit: list[str] | None = None
    clipmode: list[str] | None = None
    overloads: list[dict[str, Any]] | None = None
    contents: dict[str, Node] = field(default_factory=dict)
    row: Row | None = None  # the parameter behind it
    norm: bool = False  # 0..1 of that parameter

    def attribute(self, name: str, values: Values) -> Any:
        """Return one attribute as JSON, None where this node has none."""
        if name == "CONTENTS":
            return {k: node.describe(values) for k, node in self.contents.items()} if self.contents else None
        if name == "VALUE":
            found = values.get(self.path) if self.access & READ else None
            return None if found is None else list(found)
        if name == "ACCESS":
            return self.access
        return getattr(self, "path" if name == "FULL_PATH" else name.lower()) or None

    def describe(self, values: Values) -> dict[str, Any]:
        """Return the node and all it contains as JSON."""
        found = ((name, self.attribute(name, values)) for name in ATTRIBUTES)
        return {name: value for name, value in found if value is not None}

    def shape(self) -> tuple[Any, ...]:
        """Return what a client has to reload when it changes."""
        return (self.type, self.access, self.range, self.unit, self.description)

    def read(self, value: float) -> Any:
        """Return a parameter's value as this node's type gives it."""
        if self.row is None:
            return value
        if self.norm:
            return self.row.to_norm(value)
        if self.type == "s":
            return self.row.choices[min(max(round(value), 0), len(self.row.choices) - 1)]
        return value >= 0.5 if self.type == "T" else value


class Tree:
    """All nodes of one board."""

    def __init__(self, board: Board) -> None:
        """Lay the nodes out: parameters in real units and 0..1, meters, commands."""
        self.root = Node("/", "AutoVoice")
        self.nodes: dict[str, Node] = {"/": self.root}
        self.by_row: dict[str, tuple[Node, ...]] = {}
        self.readings: dict[str, Node] = {}
        helps = {stage["key"]: str(stage.get("help", "")).partition("\n")[0] for stage in board.data.get("chain", ())}
        self._add(Node(ROOT, "the chain that plays, its parameters in real units"))
        for path, row in board.rows.items():
            key = path.partition("/")[0]
            if f"{ROOT}/{key}" not in self.nodes:
                self._add(Node(f"{ROOT}/{key}", helps.get(key, "the whole engine" if key == "master" else "")))
            self._add(_parameter(row))
        self._add(Node(f"{ROOT}/norm", "the same parameters from 0 to 1, along each one's scale"))
        for path, row in board.rows.items():
            place = Node(f"{ROOT}/norm/{path}", row.help, "f", READ_WRITE, [UNIT_RANGE], None, ["both"], row=row, norm=True)
            self._add(place)
            self.by_row[path] = (self.nodes[f"{ROOT}/{path}"], self.nodes[f"{ROOT}/norm/{path}"])
        for address, (_, help_) in (METERS | PLAYING).items():
            types, _, help_ = help_.partition(": ")
            node = Node(address, help_, types.split()[0], READ, unit=["gain.db"] if "dBFS" in help_ else None)
            self.readings[address] = node
            self._add(node)
        for command in COMMANDS.values():
            self._add(_command(command))

    def _add(self, node: Node) -> None:
        above, _, name = node.path.rpartition("/")
        if (above or "/") not in self.nodes:
            self._add(Node(above))
        self.nodes[above or "/"].contents[name] = node
        self.nodes[node.path] = node

    def methods(self) -> Iterator[Node]:
        """Return the nodes that take or give values."""
        return (node for node in self.nodes.values() if node.type)

    def values(self, parameters: Mapping[str, float]) -> Values:
        """Return what the nodes of parameters read, given the values by path."""
        found: dict[str, tuple[Any, ...]] = {}
        for path, nodes in self.by_row.items():
            value = parameters.get(path, math.nan)
            if math.isfinite(value):
                found |= {node.path: (node.read(value),) for node in nodes}
        return found

    def read(self, telemetry: Telemetry, board: Mapping[str, Any]) -> Values:
        """Return what meters and what plays read now."""
        found = {address: read(telemetry) for address, (read, _) in METERS.items()}
        for address, (look, _) in PLAYING.items():
            value = look(board)
            found[address] = (value if isinstance(value, (bool, int, float)) else str(value or ""),)
        return found


def _parameter(row: Row) -> Node:
    node = Node(f"{ROOT}/{row.path}", row.help, "f", READ_WRITE, [{"MIN": row.minimum, "MAX": row.maximum}], row=row)
    node.clipmode = ["both"]
    if row.unit:
        node.unit = [UNITS.get(row.unit, row.unit)]
    if row.scale == "switch":
        node.type, node.range, node.clipmode = "T", None, None
    elif row.choices:
        node.type, node.range, node.clipmode = "s", [{"VALS": list(row.choices)}], None
        node.overloads = [{"TYPE": "i", "RANGE": [{"MIN": 0, "MAX": len(row.choices) - 1}], "CLIPMODE": ["both"]}]
    return node


def _command(command: Command) -> Node:
    """Return a command's method; one without arguments takes a nil, the proposal's momentary button."""
    tags = "".join(argument.tag for argument in command.arguments)
    required = command.kinds.partition("[")[0]
    node = Node(f"/{command.name}", command.help, tags or "N", WRITE)
    if required != tags:
        node.overloads = [{"TYPE": tags[:k] or "N"} for k in range(len(required), len(tags))]
    return node
