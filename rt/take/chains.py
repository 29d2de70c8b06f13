"""Chains in a log: written with every setting, and made again from what was written, with a user's own code only by consent."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import StageError
from autovoice.dsp.toolchain import cache_folder
from autovoice.rt.chain import Chain, Placed, is_lane
from autovoice.rt.lane.naming import foreign
from autovoice.rt.take.log import StageLine, TakeError


def code_of(placed: Placed) -> str:
    """Return a hash of the sources that a stage was compiled from, or those of a lane were, or of a lane's model."""
    if is_lane(placed):
        return lane_code(placed)
    return cache_folder(Path(str(placed.stage.module.__file__))).name.rpartition("-")[2]


def lane_code(placed: Placed) -> str:
    """Return a hash of what a lane runs; of a Python module that is not a file, of its name alone."""
    plan = placed.stage.plan  # type: ignore[attr-defined]
    digest = hashlib.sha256("".join(code_of(one) for one in plan.inner).encode())
    if not plan.inner:
        path = Path(plan.text.rpartition(":")[0] if plan.kind == "python" else plan.text)
        digest.update(path.read_bytes() if path.is_file() else plan.text.encode())
    return digest.hexdigest()[:16]


def own_file(placed: Placed) -> str | None:
    """Return the path of a user's own stage, None for one that comes with AutoVoice."""
    module = placed.stage.module
    return str(Path(str(module.__file__)).resolve()) if module.__name__.startswith("autovoice_user_stage_") else None


def stage_lines(chain: Chain, uids: Mapping[str, int]) -> tuple[StageLine, ...]:
    """Return a chain as the log has it; `uids` by the stages' names in the chain."""
    return tuple(
        StageLine(
            key=p.key,
            stage=own_file(p) or p.stage.name,
            uid=uids[p.key],
            values={name: float(value) for name, value in p.values.items()},
            options={name: value if isinstance(value, str) else float(value) for name, value in p.options.items()},
            bypass=p.bypass,
            code=code_of(p),
        )
        for p in chain.placed
    )


def build(stages: tuple[StageLine, ...], allowed: Collection[str] = ()) -> Chain:
    """Make the chain of these lines; raises TakeError for what does not exist, is out of range, or is code nobody allowed.

    `allowed` are the paths of users' own stages: one of these runs in place of the file of that name in the log, which may
    have been made on another machine, and no other file ever does.
    """
    own = {Path(path).name: path for path in allowed}
    specs: list[dict[str, Any]] = []
    for one in stages:
        stage = one.stage
        if stage.startswith("lane:"):
            for path in foreign(stage):
                if path not in allowed:
                    raise TakeError(f"the take runs somebody's own code: read {path}, then allow it with --allow-stage {path}")
        elif stage.endswith(".py"):
            if Path(stage).name not in own:
                raise TakeError(f"the take runs code of somebody's own: read {stage}, then allow it with --allow-stage {stage}")
            stage = own[Path(stage).name]
        if both := one.values.keys() & one.options.keys():
            raise TakeError(f"{one.key}/{min(both)} is given twice")
        specs.append({**one.values, **one.options, "stage": stage, "name": one.key, "bypass": one.bypass})
    try:
        chain = Chain(specs)
    except StageError as error:
        raise TakeError(f"the take's chain cannot be made: {error}") from error
    if [p.key for p in chain.placed] != [one.key for one in stages]:
        raise TakeError("the take's chain lacks an analysis stage that one of its stages needs")
    return chain


def changed(stages: tuple[StageLine, ...], chain: Chain) -> list[str]:
    """Return the names of stages whose code is no longer that of the take."""
    return [one.key for one, placed in zip(stages, chain.placed, strict=True) if one.code != code_of(placed)]
