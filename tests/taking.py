"""Takes for tests: made with a driver turned by hand, so that every move has its frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autovoice.rt import Chain
from autovoice.rt.take import recorder
from autovoice.rt.take.log import LOG
from autovoice.rt.take.recorder import Take
from autovoice.rt.take.replay import Replay, Replayed
from support import Audio, Crank

Step = int | tuple[str, float] | Callable[[Crank], None]
"""Frames to play, a move, or anything else to do."""


def make_take(folder: Path, chain: Chain, sound: Audio, steps: Sequence[Step], cuts: int = 64, **settings: Any) -> Path:
    """Record a take from the first frame on, and return its folder. The driver is dead when it ends."""
    crank = Crank(chain, **settings)
    crank.processor.open_control()
    crank.processor.silence_now()
    crank.processor.presence(1.0)
    take = Take(crank.processor, folder)
    take.arm()
    at = 0
    for step in steps:
        if isinstance(step, int):
            crank.run(sound[at : at + step], cuts)
            at += step
        elif isinstance(step, tuple):
            crank.processor.send([step])
        else:
            step(crank)
    before, recorder.TAIL_S = recorder.TAIL_S, 0.02
    try:
        return take.close()
    finally:
        recorder.TAIL_S = before


def replay(take: Path, *allowed: str) -> Replayed:
    return Replay(take, allowed).run(take / "replay.wav")


def read_log(take: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (take / LOG).read_text().splitlines()]


def write_log(take: Path, lines: list[dict[str, Any]]) -> None:
    (take / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
