"""Addresses, made from what plays: one for each parameter in real units, one for it in 0..1, and the switches at the root."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from autovoice.rt.control.osc.pattern import BadPattern, compile_pattern, expand, is_pattern

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row

ROOT, NORM = "/autovoice/", "/autovoice/norm/"
SWITCHES = {"/mute": "master/mute", "/bypass": "master/bypass"}
"""Parameters with an address at the root as well."""
MAX_CACHED = 256  # patterns
MAX_SHOWN = 64  # characters of an unknown address in an error


class Target(NamedTuple):
    """One parameter, as an address names it."""

    row: Row
    normal: bool  # its numbers are 0..1


class UnknownAddress(LookupError):
    """An address that nothing answers to, with the reason where it is not simply that; `Table.explain` makes a line of it."""

    def __init__(self, address: str, reason: str = "") -> None:
        """Note what was asked for."""
        super().__init__(address, reason)
        self.address, self.reason = address, reason


class Table:
    """The addresses of one version of the board."""

    def __init__(self, rows: Mapping[str, Row], others: tuple[str, ...]) -> None:
        """Lay out the addresses of the rows; `others` are answered elsewhere, and known here for suggestions only."""
        self.targets = {ROOT + path: Target(row, False) for path, row in rows.items()}
        self.targets.update({NORM + path: Target(row, True) for path, row in rows.items()})
        self.targets.update({at: Target(rows[path], False) for at, path in SWITCHES.items() if path in rows})
        self._others = others
        self._expanded: dict[str, list[Target]] = {}

    def is_new_pattern(self, address: str) -> bool:
        """Say whether to find this address takes a comparison with every other."""
        return address not in self.targets and address not in self._expanded and is_pattern(address)

    def find(self, address: str) -> list[Target]:
        """Return the parameters that an address or a pattern names; raises UnknownAddress."""
        target = self.targets.get(address)
        if target is not None:
            return [target]
        if not is_pattern(address):
            raise UnknownAddress(address)
        found = self._expanded.get(address)
        if found is None:
            try:
                matched = [self.targets[at] for at in expand(compile_pattern(address), self.targets)]
            except BadPattern as error:
                raise UnknownAddress(address, str(error)) from None
            found = list({target.row.path: target for target in reversed(matched)}.values())[::-1]  # each row once
            if len(self._expanded) >= MAX_CACHED:
                self._expanded.clear()
            self._expanded[address] = found
        if not found:
            raise UnknownAddress(address, f"no parameter matches {address[:MAX_SHOWN]}")
        return found

    def under(self, text: str) -> list[Target]:
        """Return the parameters that a query means: by path, address, pattern, or by the stage they belong to.

        Raises UnknownAddress.
        """
        address = text if text.startswith("/") else ROOT + text
        if address.rstrip("/") in ("", "/autovoice"):
            address = ROOT
        if address.endswith("/") or address not in self.targets:
            prefix = address.rstrip("/") + "/"
            found = [target for at, target in self.targets.items() if at.startswith(prefix) and not target.normal]
            if found:
                return found
        return self.find(address)

    def explain(self, error: UnknownAddress) -> str:
        """Say what is wrong, and offer the nearest address. Takes milliseconds."""
        if error.reason:
            return error.reason
        asked = error.address[:MAX_SHOWN]
        near = difflib.get_close_matches(asked, [*self.targets, *self._others], n=1, cutoff=0.6)
        return f"nothing answers to {asked}" + (f"; did you mean {near[0]}?" if near else "; /query ,s / lists what there is")
