"""Looks through a take's log before anything is rendered: whether all of it is sound, and which frames it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autovoice.dsp.stage import SEGMENT, Param
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.image import BYPASS
from autovoice.rt.layout import BYPASS_INDEX, MASTER_UID
from autovoice.rt.master import MASTER
from autovoice.rt.take.log import (
    MAX_FRAME,
    Adopted,
    Broken,
    End,
    Header,
    Heard,
    Line,
    Move,
    Restarted,
    StageLine,
    Sync,
    TakeError,
)
from autovoice.rt.take.reader import TakeLog

MASTER_ROWS = {f"master/{row.name}": (index, row) for index, row in enumerate(MASTER)}
MOST_CHANGES = 100_000  # chains and breaks of one take


@dataclass(frozen=True, slots=True)
class Span:
    """Frames of a take's files, from `begin` up to but without `end`."""

    begin: int
    end: int


class Names:
    """What the numbers in a log mean: each is one stage, under one name, for the whole take."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._placed: dict[int, Placed] = {}

    def learn(self, stages: tuple[StageLine, ...], chain: Chain) -> None:
        """Take a chain's numbers in; raises TakeError where one had another meaning."""
        for line, placed in zip(stages, chain.placed, strict=True):
            before = self._placed.setdefault(line.uid, placed)
            if (before.key, before.stage.name) != (placed.key, placed.stage.name):
                raise TakeError(f"uid {line.uid} is {before.key} and {placed.key}")

    def resolve(self, move: Move) -> tuple[tuple[str, str] | None, int]:
        """Return ((stage's name in the chain, stage) or None for the engine itself, parameter index); raises TakeError."""
        if move.uid == MASTER_UID:
            if move.path not in MASTER_ROWS:
                raise TakeError(f"the engine has no parameter {move.path!r}")
            index, row = MASTER_ROWS[move.path]
            check_value(move.path, row, move.value)
            return None, index
        placed = self._placed.get(move.uid)
        key, _, name = move.path.rpartition("/")
        if placed is None or placed.key != key:
            raise TakeError(f"{move.path} with uid {move.uid} is nothing that ever played")
        rows = {row.name: (index, row) for index, row in enumerate(placed.stage.parameters)} | {
            "bypass": (BYPASS_INDEX, BYPASS)
        }
        if name not in rows:
            raise TakeError(f"{placed.stage.name} has no parameter {name!r}")
        index, row = rows[name]
        check_value(move.path, row, move.value)
        return (placed.key, placed.stage.name), index


def check_value(path: str, row: Param, value: float) -> float:
    """Return a value that lies in its parameter's range; raises TakeError."""
    if not row.minimum <= value <= row.maximum:
        raise TakeError(f"{path} must be in {row.range_text()}, got {value:g}")
    return value


@dataclass(slots=True)
class Survey:
    """What a log holds."""

    header: Header
    moves: int = 0
    swaps: int = 0
    finished: bool = False
    trouble: str | None = None
    reasons: list[str] = field(default_factory=list)  # why some of it is not exact
    _fresh: list[tuple[int, int]] = field(default_factory=list)  # frames at which a chain began afresh, and was all there was
    _broken: list[tuple[int, int]] = field(default_factory=list)  # first frame that is not known, and the first that is again

    def exact(self, frames: int) -> tuple[Span, ...]:
        """Return where the same bits must come out, as spans of files that are `frames` long.

        From the frame where a chain that began afresh is all that is heard, up to the first thing that is missing, if nothing
        was missing while it settled or just before: the level is that of the segment before.
        """
        first = self.header.first_frame
        spans: list[Span] = []
        for adopted, heard in self._fresh:
            since = first if adopted == first else adopted - SEGMENT
            if since < first:
                continue
            end = min((begin for begin, until in self._broken if until > since), default=first + frames)
            begin, end = heard - first, min(end - first, frames)
            if spans and begin <= spans[-1].end:
                spans[-1] = Span(spans[-1].begin, max(end, spans[-1].end))
            elif begin < end:
                spans.append(Span(begin, end))
        return tuple(spans)


def survey(log: TakeLog, chain_of: Callable[[tuple[StageLine, ...]], Chain]) -> Survey:
    """Read a whole log; raises TakeError for the first thing in it that cannot be."""
    found, names = Survey(log.header), Names()
    first = log.header.first_frame
    try:
        names.learn(log.header.chain, chain_of(log.header.chain))
        for name in log.header.master:
            if f"master/{name}" not in MASTER_ROWS:
                raise TakeError(f"the engine has no parameter {name!r}")
    except TakeError as error:
        raise TakeError(f"{log.path}, line 1: {error}") from None
    if log.header.fresh:
        found._fresh.append((first, first))
    fading: dict[int, int] = {}  # frame of adoption by generation, of chains that began afresh
    synced = first
    for line in log:
        try:
            _note(line, found, names, fading, chain_of)
        except TakeError as error:
            raise TakeError(f"{log.path}, frame {line.frame}: {error}") from None
        if isinstance(line, Sync):
            synced = max(synced, line.frame)
        if len(found._broken) + found.swaps > MOST_CHANGES:
            raise TakeError(f"{log.path} holds more than {MOST_CHANGES} changes of chain")
    if not found.finished:
        found._broken.append((synced, 2 * MAX_FRAME))
        found.reasons.append("the take was cut short: what is known ends with its last entries")
    return found


def _note(
    line: Line,
    found: Survey,
    names: Names,
    fading: dict[int, int],
    chain_of: Callable[[tuple[StageLine, ...]], Chain],
) -> None:
    if isinstance(line, Move):
        names.resolve(line)
        found.moves += 1
    elif isinstance(line, Adopted):
        names.learn(line.chain, chain_of(line.chain))
        found.swaps += 1
        if line.state == "fresh":
            fading[line.generation] = line.frame
    elif isinstance(line, Heard):
        if line.generation in fading:
            found._fresh.append((fading.pop(line.generation), line.frame))
    elif isinstance(line, Restarted):
        if line.chain is not None:
            names.learn(line.chain, chain_of(line.chain))
            found.swaps += 1
    elif isinstance(line, Broken):
        found._broken.append((line.frame, line.until))
        if line.reason not in found.reasons:
            found.reasons.append(line.reason)
    elif isinstance(line, End):
        found.finished, found.trouble = True, line.trouble
