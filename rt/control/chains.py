"""Commands that change the chain while it plays, and those of the moment: mute, bypass, panic, tap."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autovoice.dsp.stage import StageError, stage_names, suggest
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.control.family import Family, Handler
from autovoice.rt.presets import describe

TAPS = 5  # the newest that count
TAP_GAP_S = 2.5  # a longer pause begins anew
TAP_PARAMETER = "bpm"


class ChainFamily(Family):
    """Edits keep every stage that stays as it is set, and cross-fade."""

    def __init__(self, conductor: Any) -> None:
        """Remember which files of stages the user has chosen: a command from outside may use those and no others."""
        super().__init__(conductor)
        self._trusted = {str(describe(p)["stage"]) for p in conductor.engine.chain.placed} | set(stage_names())
        self._taps: list[float] = []

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands."""
        return {
            "mute": lambda on=None: self._switch("mute", on),
            "bypass": lambda on=None: self._switch("bypass", on),
            "panic": self._panic,
            "chain/swap": self._swap,
            "chain/add": self._add,
            "chain/remove": self._remove,
            "chain/move": self._move,
            "chain/option": self._option,
            "tap": self._tap,
        }

    def swapped(self, chain: Chain, keep_state: bool) -> None:
        """Trust the stages of every chain that plays: what could not be trusted was never let in."""
        self._trusted |= {str(describe(p)["stage"]) for p in chain.placed}

    def _switch(self, name: str, on: bool | None) -> float:
        engine = self.conductor.engine
        value = float(on) if on is not None else float(engine.processor.values[f"master/{name}"] < 0.5)
        engine.set(f"master/{name}", value)
        return value

    def _panic(self) -> None:
        self.conductor.engine.mute()
        self.conductor.swap(self.conductor.present(), keep_state=False, follow=True)

    def _specs(self) -> list[dict[str, Any]]:
        return [_keyed(p) for p in self.conductor.present().placed]

    def _play(self, specs: Sequence[Mapping[str, object]]) -> list[str]:
        for spec in specs:
            name = spec.get("stage")
            if str(name) not in self._trusted:
                raise StageError(f"no stage is called {name!r}{suggest(str(name), stage_names())}")
        chain = Chain(specs)
        self.conductor.swap(chain, follow=True)
        return [p.key for p in chain.placed]

    def _swap(self, stages: str) -> list[str]:
        """Take names separated by commas, where the name of a stage that plays means that stage as it is, or a JSON list."""
        present = {spec["name"]: spec for spec in self._specs()}
        if not stages.lstrip().startswith("["):
            wanted: list[Any] = [name.strip() for name in stages.split(",") if name.strip()]
        else:
            try:
                wanted = json.loads(stages)
            except (ValueError, RecursionError) as error:
                raise StageError(f"chain/swap takes names separated by commas or a JSON list: {error}") from None
        specs = []
        for one in wanted:
            spec = {"stage": one} if isinstance(one, str) else one
            if not isinstance(spec, dict):
                raise StageError(f"a stage is a name or an object with stage and settings, got {str(one)[:80]}")
            key = spec.get("name", spec.get("stage"))
            kept = present.pop(key, None) if isinstance(key, str) else None
            specs.append({**kept, **spec} if kept is not None and spec.get("stage") in (kept["stage"], key) else spec)
            if kept is not None:
                specs[-1]["stage"] = kept["stage"]
        if not specs:
            raise StageError("a chain holds at least one stage; /bypass lets the dry voice through")
        return self._play(specs)

    def _add(self, stage: str, index: int | None = None) -> list[str]:
        specs = self._specs()
        at = len(specs) if index is None else _position(index, len(specs))
        specs.insert(at, {"stage": stage})
        return self._play(specs)

    def _remove(self, key: str) -> list[str]:
        at = self._index(key)
        specs = self._specs()
        if len(specs) == 1:
            raise StageError(f"{key} is the only stage; a chain holds at least one: add another first, or /bypass it")
        del specs[at]
        return self._play(specs)

    def _move(self, key: str, index: int) -> list[str]:
        at = self._index(key)
        specs = self._specs()
        specs.insert(_position(index, len(specs) - 1), specs.pop(at))
        return self._play(specs)

    def _option(self, key: str, name: str, value: str) -> list[str]:
        at = self._index(key)
        stage = self.conductor.engine.chain[key].stage
        known = [option.name for option in stage.options]
        if name not in known:
            raise StageError(f"{key} has no option {name!r}{suggest(name, known)}")
        specs = self._specs()
        specs[at][name] = value
        return self._play(specs)

    def _index(self, key: str) -> int:
        placed = self.conductor.engine.chain[key]  # raises with the nearest name
        return self.conductor.engine.chain.placed.index(placed)

    def _tap(self) -> float | None:
        """Set the tempo by the median of the last intervals; returns it in beats per minute, None at the first tap."""
        now = time.monotonic()
        if self._taps and now - self._taps[-1] > TAP_GAP_S:
            self._taps.clear()
        self._taps = [*self._taps[-TAPS + 1 :], now]
        if len(self._taps) < 2:
            return None
        bpm = 60 / statistics.median(b - a for a, b in zip(self._taps, self._taps[1:], strict=False))
        moves = {}
        for placed in self.conductor.engine.chain.placed:
            for parameter in placed.stage.parameters:
                if parameter.name == TAP_PARAMETER:
                    moves[f"{placed.key}/{TAP_PARAMETER}"] = parameter.clamp(bpm)
        if moves:
            self.conductor.engine.set_many(moves)
        return bpm


def _keyed(placed: Placed) -> dict[str, Any]:
    """Describe a stage with its name in the chain, so that it keeps it wherever it goes."""
    return {**describe(placed), "name": placed.key}


def _position(index: int, count: int) -> int:
    if not 0 <= index <= count:
        raise StageError(f"the position must be in 0..{count}, got {index}")
    return index
