"""Assess clips: every measure that applies, on every clip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from autovoice.tools.quality import judges, pitch
from autovoice.tools.quality.clips import Clip, QualityError
from autovoice.tools.quality.measures import MEASURES, Heard, NotApplicable
from autovoice.tools.quality.report import Failure, Report, Row

WHISPERS = ("base", "tiny")


def assess(
    clips: Iterable[Clip],
    measures: Sequence[str] = tuple(MEASURES),
    whisper: str = "base",
    failures: list[Failure] | None = None,
) -> Report:
    """Return the report of all clips, which are taken one by one and not kept.

    `measures` are names of MEASURES; `whisper` is the size of the listener, "base" or the quicker "tiny". Measures whose judge
    is not installed are left out and named in the report. Raises QualityError where there is no clip, or one cannot be judged;
    with a list of `failures`, such clips go there instead, and into the report, and are a miss of every bar of their converter.
    """
    if unknown := set(measures) - set(MEASURES):
        raise QualityError(f"no measure is called {', '.join(sorted(unknown))}; there are: {', '.join(MEASURES)}")
    if whisper not in WHISPERS:
        raise QualityError(f"whisper must be one of {', '.join(WHISPERS)}, got {whisper!r}")
    left_out, possible = {}, []
    for name in measures:
        judge = MEASURES[name].judge
        line = judges.missing(whisper if judge == "whisper" else judge) if judge else ""
        if line:
            left_out[name] = line
        else:
            possible.append(name)
    rows = []
    for clip in clips:
        try:
            rows.append(_row(clip, possible, whisper))
        except QualityError as error:
            if failures is None:
                raise
            failures.append(Failure(clip.name, clip.system, clip.material, str(error)))
    if not rows:
        raise QualityError("there is no clip to assess")
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(rows, judges.versions(), pitch.tracker(), whisper, left_out, made, failures or [])


def _row(clip: Clip, measures: Sequence[str], whisper: str) -> Row:
    heard = Heard(clip, whisper)
    figures = {}
    for name in measures:
        try:
            figures[name] = float(MEASURES[name].of(heard))
        except NotApplicable:
            continue
        if not math.isfinite(figures[name]):
            raise QualityError(f"{clip.name}: {MEASURES[name].title} cannot be found: it came out as {figures[name]}")
    transcript = heard.transcript if "character_error" in measures else ""
    return Row(clip.name, clip.system, clip.material, clip.said or clip.name, clip.target, figures, transcript)
