"""What Prometheus scrapes: the telemetry's counters at that moment, with what the Conductor and this server add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from autovoice.rt.control.surface import Surface
from autovoice.rt.control.web.readings import Readings, dbfs
from autovoice.rt.layout import SHUTDOWN, XRUNS
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_US = (2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000, 50_000)
"""Upper edges of the callback histogram: closest where periods lie, since a quantile is read off between them."""

NOW = ("clients", "subscribers", "streams")  # counts of surfaces that fall as well as rise
LABELS = ("name", "session")
COUNTERS = (
    ("frames", "frames processed", "frames"),
    ("cycles", "callbacks run", "cycles"),
    ("deadline_misses", "callbacks of ours that took longer than their period", "misses"),
    ("late_wakes", "callbacks that the driver began more than a period late", "late_wakes"),
    ("swaps", "chains taken up while playing", "swaps"),
    ("record_dropped_frames", "frames that a recording lost", "record_dropped"),
)
"""Counters with the telemetry field that each shows."""


class Metrics(Collector):
    """The registry of one engine. On the event loop's thread."""

    def __init__(self, surface: Surface, readings: Readings, web: Callable[[], Mapping[str, int]]) -> None:
        """Show a surface's telemetry and, by `web`, how many clients this server has, by kind."""
        self._surface = surface
        self._readings = readings
        self._web = web
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(namespace="autovoice_web", registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the engine."""
        board, telemetry = self._surface.board.data, self._surface.telemetry
        labels = [str(board.get("name", "")), str(board.get("session", ""))]
        for name, help_, source in COUNTERS:
            yield _one(CounterMetricFamily, name, help_, labels, int(telemetry[source]))
        yield _one(CounterMetricFamily, "xruns", "xruns that the driver reported", labels, telemetry.driver(XRUNS))
        events = {k: int(telemetry[f"events_{k}"]) for k in ("applied", "late", "unknown")}
        yield _by("events", "parameter changes", "result", labels, events)
        samples = {k: int(telemetry[f"nonfinite_{k}"]) for k in ("in", "out")}
        yield _by("nonfinite_samples", "samples that were not numbers, replaced by 0", "point", labels, samples)
        yield self._histogram(labels)
        yield from self._lanes(labels)
        rate = float(telemetry["sample_rate"])
        running = int(not telemetry.driver(SHUTDOWN) and self._readings.trouble() is None)
        gauges = (
            ("up", "1 while the driver calls", running),
            ("load_ratio", "share of the period that callbacks take, smoothed over a second", float(telemetry["load"])),
            ("latency_seconds", "declared delay from input port to output port", int(telemetry["latency"]) / rate),
            ("latency_frames", "the same in frames", int(telemetry["latency"])),
            ("device_latency_frames", "what the driver adds, as far as it says", int(board.get("device_latency") or 0)),
            ("block_frames", "frames of one callback", int(board.get("block") or telemetry["block"])),
            ("sample_rate_hertz", "sample rate", rate),
            ("worst_callback_seconds", "the longest callback", int(telemetry["worst_ns"]) / 1e9),
            ("voice_active", "1 while the stage vad hears a voice", float(telemetry["bus"]["vad"])),
            ("pitch_hertz", "f0, 0 = unvoiced", float(telemetry["bus"]["f0_hz"])),
            ("recording", "1 while a take is recorded", int(bool(board.get("state", {}).get("recording")))),
        )
        for name, help_, value in gauges:
            yield _one(GaugeMetricFamily, name, help_, labels, value)
        levels = {
            "in": dbfs(float(telemetry["in_peak"])),
            "out": dbfs(float(telemetry["out_peak"])),
            "rms": float(telemetry["bus"]["level_dbfs"]),
        }
        yield _by("level_dbfs", "peaks at input and output, RMS at the input", "point", labels, levels, GaugeMetricFamily)
        yield _by("web_clients", "open WebSockets", "kind", labels, self._web(), GaugeMetricFamily)
        yield from self._surfaces(board, labels)
        about = {k: str(board.get(k, "")) for k in ("backend", "pid", "in_channels", "out_channels")}
        about["chain"] = ",".join(str(stage["key"]) for stage in board.get("chain", ()))
        info = InfoMetricFamily("autovoice_engine", "what plays", labels=LABELS)
        info.add_metric(labels, about)
        yield info

    def _lanes(self, labels: list[str]) -> Iterator[Metric]:
        """Yield what is counted of all lanes, and the state of each."""
        counts = self._surface.telemetry["lanes"]
        yield _one(CounterMetricFamily, "lane_hops", "hops handed to lanes", labels, int(counts["hops"]))
        yield _one(CounterMetricFamily, "lane_misses", "hops that were not there at their time", labels, int(counts["misses"]))
        yield _one(CounterMetricFamily, "lane_dry_frames", "frames not wholly a worker's", labels, int(counts["dry_frames"]))
        lanes = self._surface.telemetry.lanes()
        restarts = {key: lane.restarts for key, lane in lanes.items()}
        playing = {key: int(lane.state == "playing") for key, lane in lanes.items()}
        yield _by("lane_restarts", "workers that ended", "lane", labels, restarts)
        yield _by("lane_up", "1 while a worker plays", "lane", labels, playing, GaugeMetricFamily)

    def _histogram(self, labels: list[str]) -> Metric:
        """Return the callback times; an upper edge counts the fine buckets, 3 % wide, whose middle lies below it."""
        edges_us, counts = self._surface.telemetry.histogram()
        middles = np.append((edges_us[:-1] + edges_us[1:]) / 2, np.inf)
        cumulative = np.concatenate(([0], np.cumsum(counts)))
        below = cumulative[np.searchsorted(middles, BUCKETS_US)]
        buckets = [(repr(us / 1e6), float(n)) for us, n in zip(BUCKETS_US, below, strict=True)]
        buckets.append(("+Inf", float(cumulative[-1])))
        family = HistogramMetricFamily("autovoice_callback_seconds", "time that a callback took", labels=LABELS)
        family.add_metric(labels, buckets, int(self._surface.telemetry["busy_ns"]) / 1e9)
        return family

    @staticmethod
    def _surfaces(board: Mapping[str, Any], labels: list[str]) -> Iterator[Metric]:
        """Yield what the other surfaces count, as they told the Conductor."""
        for surface, counts in sorted(board.get("state", {}).get("counts", {}).items()):
            numbers = {what: count for what, count in counts.items() if what not in NOW}
            yield _by(surface, f"what the {surface} server counted", "what", labels, numbers)
            present = {what: counts[what] for what in NOW if what in counts}
            yield _by(f"{surface}_now", f"whom the {surface} server talks to", "what", labels, present, GaugeMetricFamily)


Family = Callable[..., Any]  # the class of a metric


def _one(family: Family, name: str, help_: str, labels: list[str], value: float) -> Metric:
    made: Any = family(f"autovoice_{name}", help_, labels=LABELS)
    made.add_metric(labels, value)
    return cast(Metric, made)


def _by(
    name: str, help_: str, label: str, labels: list[str], values: Mapping[str, float], family: Family = CounterMetricFamily
) -> Metric:
    made: Any = family(f"autovoice_{name}", help_, labels=(*LABELS, label))
    for key, value in values.items():
        made.add_metric([*labels, key], value)
    return cast(Metric, made)
