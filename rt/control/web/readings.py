"""What is measured, as the page's messages tell it: read once, however many pages listen."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from autovoice.rt.control.surface import Surface
from autovoice.rt.control.web.spectrum import Spectrum
from autovoice.rt.layout import SHUTDOWN, SUB_BUCKETS, XRUNS
from autovoice.rt.telemetry import Percentiles, percentiles

GAINS = ("gate_db", "denoise_db", "deesser_db", "compressor_db", "limiter_db")
SILENCE_DBFS = -120.0
PERCENTILES_S = 0.5  # between two readings of the callback times
BUCKETS_PER_OCTAVE = 8  # of the histogram that pages draw
STALLED_S = 1.0  # without a callback, after which the engine counts as stopped

INCIDENTS: dict[str, tuple[int | str, str, str, str]] = {
    "xrun": (XRUNS, "xrun", "xruns", "reported by the driver, {total} in all"),
    "miss": ("misses", "callback", "callbacks", "took longer than a period, {total} in all; the longest {worst_us:.0f} µs"),
    "late": ("late_wakes", "callback", "callbacks", "came more than a period late, by the host's doing, {total} in all"),
}
"""What is logged when a counter moves: the counter, one of it, several of it, and what happened."""


class Readings:
    """Telemetry and scope of one engine. On the event loop's thread."""

    def __init__(self, surface: Surface) -> None:
        """Count incidents from now on."""
        self._surface = surface
        self._spectrum: Spectrum | None = None
        self._percentiles = Percentiles(0.0, 0.0, 0.0, 0.0)
        self._percentiles_at = -math.inf
        self._seen = self._counts()

    def time_s(self) -> float:
        """Return the seconds since the engine's first callback."""
        first = int(self._surface.telemetry["first_ns"])
        return round((time.monotonic_ns() - first) / 1e9, 3) if first else 0.0

    def silent_s(self) -> float:
        """Return how long ago the newest callback began, in seconds; infinite before the first."""
        newest = int(self._surface.telemetry["now_ns"])
        return (time.monotonic_ns() - newest) / 1e9 if newest else math.inf

    def trouble(self) -> str | None:
        """Say in one line why the engine is not ready; None where it is."""
        if self._surface.telemetry.driver(SHUTDOWN):
            return "the audio driver has shut down"
        silent = self.silent_s()
        if silent > STALLED_S:
            return "the audio driver has not called yet" if math.isinf(silent) else f"no callback for {silent:.1f} s"
        return None

    def meters(self) -> dict[str, Any]:
        """Return the meters message."""
        telemetry = self._surface.telemetry
        now = time.monotonic()
        if now - self._percentiles_at >= PERCENTILES_S:
            self._percentiles_at = now
            self._percentiles = percentiles(telemetry.histogram()[1], int(telemetry["worst_ns"]))
        bus, times = telemetry["bus"], self._percentiles
        return {
            "type": "meters",
            "t": self.time_s(),
            "in_dbfs": dbfs(float(telemetry["in_peak"])),
            "out_dbfs": dbfs(float(telemetry["out_peak"])),
            "level_dbfs": _level(bus["level_dbfs"]),
            "f0_hz": _number(bus["f0_hz"], 2),
            "voicing": _number(bus["voicing"], 3),
            "vad": _number(bus["vad"], 3),
            "load": _number(telemetry["load"], 5),
            "xruns": telemetry.driver(XRUNS),
            "misses": int(telemetry["misses"]),
            "late_wakes": int(telemetry["late_wakes"]),
            "frames": int(telemetry["frames"]),
            "cycles": int(telemetry["cycles"]),
            "record_dropped": int(telemetry["record_dropped"]),
            "p50_us": round(times.p50, 2),
            "p99_us": round(times.p99, 2),
            "p999_us": round(times.p999, 2),
            "max_us": round(times.max, 2),
            "gains": {name: _number(bus[name], 2) for name in GAINS},
            "noise_dbfs": _level(bus["noise_dbfs"]),
            "target_hz": _number(bus["target_hz"], 2),
        }

    def histogram(self) -> dict[str, Any]:
        """Return the histogram message: bucket edges in microseconds, one more than there are counts."""
        edges, counts = coarse(*self._surface.telemetry.histogram())
        return {"type": "histogram", "us": [round(e, 3) for e in edges.tolist()], "counts": counts.tolist()}

    def columns(self) -> list[bytes]:
        """Return the newest spectrum of input and output as binary messages."""
        rate = float(self._surface.telemetry["sample_rate"])
        if self._spectrum is None or self._spectrum.sample_rate != rate:
            self._spectrum = Spectrum(rate)
        sound = self._surface.scope.latest(self._spectrum.frames)
        return [bytes([kind]) + self._spectrum.column(row) for kind, row in enumerate(sound)]

    def incidents(self) -> list[dict[str, Any]]:
        """Return log lines for what was counted since the last call."""
        before, self._seen = self._seen, self._counts()
        worst_us = int(self._surface.telemetry["worst_ns"]) / 1e3
        lines = []
        for kind, (_, one, several, happened) in INCIDENTS.items():
            total = self._seen[kind]
            more = total - before[kind]
            if more > 0:
                text = f"{more} {one if more == 1 else several} {happened.format(total=total, worst_us=worst_us)}"
                lines.append({"kind": kind, "text": text})
        return lines

    def _counts(self) -> dict[str, int]:
        telemetry = self._surface.telemetry
        sources = {kind: row[0] for kind, row in INCIDENTS.items()}
        return {k: telemetry.driver(v) if isinstance(v, int) else int(telemetry[v]) for k, v in sources.items()}


def coarse(edges: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Merge the fine buckets of telemetry and cut the empty ends; returns (edges, one more than counts; counts)."""
    step = SUB_BUCKETS // BUCKETS_PER_OCTAVE
    edges, counts = edges[::step], counts.reshape(-1, step).sum(axis=1)
    used = np.flatnonzero(counts)
    first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
    last = min(last, len(edges) - 2)
    return edges[first : last + 2], counts[first : last + 1]


def dbfs(amplitude: float) -> float:
    """Return a peak's level."""
    return round(20 * math.log10(amplitude), 1) if amplitude > 1e-6 else SILENCE_DBFS


def _number(value: Any, digits: int) -> float:
    number = float(value)
    return round(number, digits) if math.isfinite(number) else 0.0


def _level(value: Any) -> float:
    number = float(value)
    return max(round(number, 1), SILENCE_DBFS) if math.isfinite(number) else SILENCE_DBFS
