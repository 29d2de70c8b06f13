"""The board: what plays and what can be moved, as every surface of control sees it, from one shared page."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from autovoice.rt.journal import ControlPage
from autovoice.rt.layout import BYPASS_INDEX, MASTER_UID, VALUE_STRIDE

READ_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter that can be moved, with its range in real units."""

    path: str  # `shift/semitones`, `gate/bypass`, `master/mix`
    uid: int
    index: int
    name: str
    unit: str
    minimum: float
    maximum: float
    default: float
    scale: str  # linear, log, switch or choice
    choices: tuple[str, ...]
    help: str

    def clamp(self, value: float) -> float:
        """Return the nearest value that the parameter takes; the default for NaN."""
        if value != value:
            return self.default
        if value < self.minimum:
            value = self.minimum
        elif value > self.maximum:
            value = self.maximum
        return float(math.floor(value + 0.5)) if self.scale in ("switch", "choice") else value

    def to_norm(self, value: float) -> float:
        """Return where a value stands along the fader, 0..1."""
        if self.maximum == self.minimum:
            return 0.0
        if self.scale == "log":
            return math.log(max(value, self.minimum) / self.minimum) / math.log(self.maximum / self.minimum)
        return (value - self.minimum) / (self.maximum - self.minimum)

    def from_norm(self, norm: float) -> float:
        """Return the value at a place of the fader, 0..1."""
        norm = min(max(norm, 0.0), 1.0)
        if self.scale == "log" and 0 < norm < 1:
            return float(self.minimum * (self.maximum / self.minimum) ** norm)
        return self.clamp(self.minimum + norm * (self.maximum - self.minimum))


def _row(key: str, uid: int, index: int, parameter: dict[str, Any]) -> Row:
    choices = tuple(parameter["choices"])
    more = {name: parameter[name] for name in ("name", "unit", "minimum", "maximum", "default", "scale", "help")}
    return Row(path=f"{key}/{parameter['name']}", uid=uid, index=index, choices=choices, **more)


BYPASS_ROW: dict[str, Any] = {
    "name": "bypass",
    "unit": "",
    "minimum": 0.0,
    "maximum": 1.0,
    "default": 0.0,
    "scale": "switch",
    "choices": (),
    "help": "1 = hear the stage's input, delayed as the stage delays",
}


class Board:
    """One reader of the page. One thread at a time."""

    def __init__(self, page: ControlPage) -> None:
        """Read the board; raises TimeoutError where none is written within two seconds."""
        self._page = page
        self.version = 0
        self.data: dict[str, Any] = {}
        self.rows: dict[str, Row] = {}
        self._paths: dict[tuple[int, int], str] = {}
        end = time.monotonic() + READ_WITHIN_S
        while not self.refresh():
            if time.monotonic() > end:
                raise TimeoutError("the engine has not said what it plays")
            time.sleep(0.001)

    def refresh(self) -> bool:
        """Read the board again where it has changed; says whether it had. Costs half a microsecond where not.

        `rows` stays the same object where what can be moved does.
        """
        if self._page.board_version == self.version:
            return False
        found = self._page.read_board()
        if found is None:  # it is being written: what was read before stays until it is whole
            return False
        before = self.data
        self.version, self.data = found
        if all(before.get(part) == self.data[part] for part in ("chain", "master")):  # most boards differ in what else they say
            return True
        self.rows = {}
        for stage in self.data["chain"]:
            uid, key = stage["uid"], stage["key"]
            table = [(BYPASS_INDEX, BYPASS_ROW), *enumerate(stage["parameters"])]
            self.rows |= {row.path: row for row in (_row(key, uid, k, p) for k, p in table) if row.index + 1 < VALUE_STRIDE}
        self.rows |= {row.path: row for row in (_row("master", MASTER_UID, k, p) for k, p in enumerate(self.data["master"]))}
        self._paths = {(row.uid, row.index): path for path, row in self.rows.items()}
        return True

    def path_of(self, uid: int, index: int) -> str | None:
        """Return the path of what an event moves, None where it plays no more."""
        return self._paths.get((uid, index))
