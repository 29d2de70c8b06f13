"""Real time: ring, events, chain, engine, telemetry and the backends that carry sound in and out."""

from autovoice.rt.chain import Chain, Event, Track
from autovoice.rt.engine import Engine, EngineError
from autovoice.rt.stretching import stretch
from autovoice.rt.telemetry import Stats

__all__ = ["Chain", "Engine", "EngineError", "Event", "Stats", "Track", "stretch"]
