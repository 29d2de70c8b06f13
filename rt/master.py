"""The engine's own parameters, beside those of its stages."""

from __future__ import annotations

from autovoice.dsp.stage import Param, StageError, suggest
from autovoice.rt.layout import PRESENCE

MASTER = (
    Param("input", "dB", -60.0, 24.0, 0.0, help="input trim"),
    Param("output", "dB", -60.0, 24.0, 0.0, help="output trim"),
    Param("mix", "", 0.0, 1.0, 1.0, help="0 = dry, 1 = wet; the dry voice is delayed as the wet one is"),
    Param(
        "bypass", "", 0.0, 1.0, 0.0, help="1 = the dry voice alone, whatever the mix; delayed as the wet one is", smooth_ms=10.0
    ),
    Param("mute", "", 0.0, 1.0, 0.0, help="1 = silence at the output, faded", smooth_ms=3.0),
    Param("presence", "", 0.0, 1.0, 1.0, help="the fade of start and stop; set by the engine", smooth_ms=10.0),
)
"""The engine's own parameters, addressed as `master/NAME`."""


def check_master(name: str, value: object) -> float:
    """Return a value for `master/NAME` as a checked float; raises StageError that says the way out."""
    rows = {p.name: p for p in MASTER[:PRESENCE]}
    if name not in rows:
        raise StageError(f"master has no parameter {name!r}{suggest(name, rows)}")
    try:
        return rows[name].check(value)
    except StageError as error:
        raise StageError(f"master/{error}") from None
