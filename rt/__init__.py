"""Real time: ring, events, chain, engine, telemetry and the backends that carry sound in and out.

The names below are imported when they are first asked for, so that a process that only controls an engine needs no compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autovoice.rt.chain import Chain, Event, Track
    from autovoice.rt.engine import Engine, EngineError
    from autovoice.rt.stretching import stretch
    from autovoice.rt.telemetry import Stats

_HOMES = {
    "Chain": "chain",
    "Engine": "engine",
    "EngineError": "engine",
    "Event": "chain",
    "Stats": "telemetry",
    "Track": "chain",
    "stretch": "stretching",
}

__all__ = ["Chain", "Engine", "EngineError", "Event", "Stats", "Track", "stretch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
