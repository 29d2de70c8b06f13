"""What a surface shows, before it is drawn for any program: parameters in groups, the commands on buttons, the meters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovoice.dsp.stage import Param
    from autovoice.rt.chain import Chain
    from autovoice.rt.control.board import Row

ADDRESS, NORM = "/autovoice/", "/autovoice/norm/"
HOST, PORT = "127.0.0.1", 9000
METER_HZ = 20.0  # how often a surface wants the meters
SWITCHES = ("master/mute", "master/bypass")  # they fade, so their scale is no switch's; a performer presses them all the same


@dataclass(frozen=True, slots=True)
class Control:
    """One parameter with the value it has now."""

    row: Row
    value: float

    @property
    def name(self) -> str:
        """The parameter's own name, without its stage's."""
        return self.row.name

    @property
    def address(self) -> str:
        """Where it listens in real units."""
        return ADDRESS + self.row.path

    @property
    def norm_address(self) -> str:
        """Where it listens from 0 to 1."""
        return NORM + self.row.path

    @property
    def title(self) -> str:
        """Its name with its unit, `threshold dB`."""
        return f"{self.row.name} {self.row.unit}".rstrip()

    @property
    def is_switch(self) -> bool:
        """Whether a button fits it better than a fader."""
        return self.row.scale == "switch" or self.row.path in SWITCHES

    @property
    def decimals(self) -> int:
        """How many decimals show a thousandth of its range, or of its smallest value where it is logarithmic."""
        row = self.row
        step = (row.minimum if row.scale == "log" else row.maximum - row.minimum) / 1000
        return 0 if row.choices or self.is_switch else next((d for d in range(5) if 10.0**-d <= step), 5)


@dataclass(frozen=True, slots=True)
class Group:
    """The controls of one stage, or of the engine."""

    key: str  # `shift`, `master`
    about: str  # one line
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Button:
    """A command at the root; `argument` goes with it where it takes one."""

    label: str
    address: str
    argument: str | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """A reading that a subscriber gets."""

    label: str
    address: str
    minimum: float
    maximum: float
    unit: str


BUTTONS = (
    Button("panic", "/panic"),
    Button("tap", "/tap"),
    Button("undo", "/undo"),
    Button("redo", "/redo"),
    Button("scene back", "/scene/previous"),
    Button("scene next", "/scene/next"),
    Button("record", "/record"),
)
METERS = (
    Meter("in", "/autovoice/meter/in", -60.0, 0.0, "dBFS"),
    Meter("out", "/autovoice/meter/out", -60.0, 0.0, "dBFS"),
    Meter("load", "/autovoice/load", 0.0, 1.0, ""),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that a surface for one chain shows, and where the engine listens."""

    name: str
    groups: tuple[Group, ...]
    presets: tuple[str, ...]
    host: str = HOST
    port: int = PORT

    @property
    def controls(self) -> tuple[Control, ...]:
        """Every control, in chain order, the engine's own last."""
        return tuple(control for group in self.groups for control in group.controls)

    @property
    def target(self) -> str:
        """The engine's address, `127.0.0.1:9000`."""
        return f"{self.host}:{self.port}"

    @property
    def chain(self) -> str:
        """The chain in one line."""
        return ", ".join(group.key for group in self.groups if group.key != "master")


def desk_of_chain(
    chain: Chain, presets: Iterable[str], master: Mapping[str, float] | None = None, *, host: str = HOST, port: int = PORT
) -> Desk:
    """Return the desk of a chain that nobody plays yet; `master` holds the engine's own settings by path."""
    from autovoice.rt.image import BYPASS
    from autovoice.rt.layout import PRESENCE
    from autovoice.rt.master import MASTER

    groups = []
    for placed in chain.placed:
        values = {**placed.values, "bypass": float(placed.bypass)}
        about = placed.stage.help.partition("\n")[0]
        groups.append(_group(placed.key, about, (BYPASS, *placed.stage.parameters), values))
    groups.append(
        _group("master", MASTER_ABOUT, MASTER[:PRESENCE], {p.partition("/")[2]: v for p, v in (master or {}).items()})
    )
    return Desk("autovoice", tuple(groups), tuple(presets), host, port)


MASTER_ABOUT = "the engine: trims, mix, bypass, mute"


def _group(key: str, about: str, table: Sequence[Param], values: Mapping[str, float]) -> Group:
    from autovoice.rt.control.board import Row

    fields = ("name", "unit", "minimum", "maximum", "default", "scale", "choices", "help")
    rows = [Row(path=f"{key}/{p.name}", uid=0, index=k, **{f: getattr(p, f) for f in fields}) for k, p in enumerate(table)]
    return Group(key, about, tuple(Control(row, values.get(row.name, row.default)) for row in rows))


def desk_of_board(
    data: Mapping[str, Any], rows: Mapping[str, Row], values: Mapping[str, float], *, host: str = HOST, port: int = PORT
) -> Desk:
    """Return the desk of an engine that runs, from its board, its rows and its values by path."""
    abouts = {str(stage["key"]): str(stage.get("help", "")).partition("\n")[0] for stage in data["chain"]}
    groups: dict[str, list[Control]] = {}
    for path, row in rows.items():
        groups.setdefault(path.partition("/")[0], []).append(Control(row, values.get(path, row.default)))
    return Desk(
        str(data.get("name", "autovoice")),
        tuple(Group(key, abouts.get(key, MASTER_ABOUT), tuple(controls)) for key, controls in groups.items()),
        tuple(data.get("state", {}).get("presets", ())),
        host,
        port,
    )
