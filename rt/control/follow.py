"""Following the journal: what plays as it stands after each entry, for those who must know what was before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.rt.chain import Chain
from autovoice.rt.journal import Journal
from autovoice.rt.layout import ADOPTED, BYPASS_INDEX, MASTER_UID, MOVE, PRESENCE
from autovoice.rt.master import MASTER

if TYPE_CHECKING:
    from autovoice.rt.processor import Processor


@dataclass(slots=True)  # not frozen: thousands a second are made
class Moved:
    """Somebody moved a value."""

    path: str
    before: float
    after: float
    frame: int
    time_ns: int  # CLOCK_MONOTONIC of the callback
    producer: int
    origin: int


@dataclass(frozen=True, slots=True)
class Swapped:
    """Another chain was taken up."""

    generation: int
    chain: Chain  # before
    values: dict[str, float]  # before, by path


class Follower:
    """A reader of one processor's journal with the chain and all values as the audio thread had them. One thread at a time."""

    def __init__(self, processor: Processor) -> None:
        """Begin with what plays now."""
        assert processor.page is not None
        self.processor = processor
        self.lapped = False  # entries were lost: values are right, what was done is not known; cleared by whoever has noticed
        self._journal = Journal(processor.page)
        self._paths: dict[tuple[int, int], str] = {}
        self.resync()

    def resync(self) -> None:
        """Take chain and values as they are shown now."""
        self.chain = self.processor.chain
        self.values = self.processor.values
        uids = self.processor.image.uids
        self._paths |= {(MASTER_UID, k): f"master/{p.name}" for k, p in enumerate(MASTER[:PRESENCE])}
        for placed in self.chain.placed:
            uid = uids.get(placed.key)
            if uid is not None:
                self._paths[uid, BYPASS_INDEX] = f"{placed.key}/bypass"
                self._paths |= {(uid, k): f"{placed.key}/{p.name}" for k, p in enumerate(placed.stage.parameters)}

    def read(self) -> Iterator[Moved | Swapped]:
        """Return what happened since the last call, in order; `chain` and `values` follow along. Take all of it."""
        entries = self._journal.read()
        if self._journal.lapped:
            self._journal.lapped, self.lapped = False, True
            self.resync()
            return
        for k, (_, frame, time_ns, uid, index, value, producer, origin, kind, _) in enumerate(entries.tolist()):
            if kind == ADOPTED:
                yield self._adopt(uid, entries[k + 1 :])
            elif kind == MOVE and (path := self._paths.get((uid, index))) is not None:
                before = self.values.get(path, value)
                self.values[path] = value
                yield Moved(path, before, value, frame, time_ns, producer, origin)

    def _adopt(self, generation: int, later: np.ndarray[Any, Any]) -> Swapped:
        before = Swapped(generation, self.chain, self.values)
        self.resync()
        # What is shown is of now; what was moved after the swap gets its value of then: what it had before, where it stayed.
        kept = {p.key: p for p in before.chain.placed}
        for uid, index in zip(later["uid"].tolist(), later["index"].tolist(), strict=True):
            path = self._paths.get((uid, index), "")
            placed = next((p for p in self.chain.placed if p.key == path.partition("/")[0]), None)
            old = kept.get(placed.key) if placed is not None else None
            if path.startswith("master/") or (old is not None and placed is not None and old.stage is placed.stage):
                self.values[path] = before.values.get(path, self.values[path])
        return before
