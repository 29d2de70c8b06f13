"""A round trip as people read it, and as a Result of the laboratory's JSON family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import numpy as np
from autovoice.tools.lab.latency.roundtrip import Part, RoundTrip, Spread
from autovoice.tools.lab.results import Bar, Histogram, Result, Run, Series

HEAD = f"{'':<12}{'declared':>10}{'measured':>12}{'p99':>10}{'p99.9':>10}{'max':>10}{'std':>9}{'spread':>9}   ms"
BUCKET_US = 5


def print_round_trip(trip: RoundTrip, figures: dict[str, Any]) -> None:
    """Print the table of one measurement; `figures` is what our own engine said of itself, if it was one."""
    quality = f"{len(trip.delays)} repetitions of the {trip.probe} by {trip.method}, {trip.snr_db:.0f} dB over all else"
    click.echo(f"{trip.sample_rate:g} Hz, blocks of {trip.block} frames; {quality}{', upside down' if trip.inverted else ''}")
    click.echo(HEAD)
    for part in trip.parts:
        click.echo(_row(part, trip.sample_rate))
        if part.name == "look-ahead":
            for name, frames in trip.stages:
                if frames:
                    click.echo(f"  {name:<10}{frames:>10}")
    device, total = trip.part("device"), trip.part("total")
    if device.measured is None and device.declared is not None and total.measured is not None:
        whole = total.measured.p50 + device.declared
        ms = whole / trip.sample_rate * 1e3
        click.echo(f"with the device, as its ports declare it: {whole:.0f} frames, {ms:.2f} ms from microphone to loudspeaker")
    alone = trip.alone.answer_us if trip.alone is not None else None
    rows = {
        "prober called": alone,
        "... behind it": trip.answer_us,
        "cycle jitter": trip.jitter_us,
        "prober's own": trip.spent_us,
    }
    for name, times in rows.items():
        if times is not None and np.any(times):
            us = Spread.of(times)
            click.echo(
                f"{name:<15}{us.p50:>9.1f} us p50{us.p99:>8.1f} p99{us.p999:>8.1f} p99.9{us.max:>8.1f} max, {us.count} cycles"
            )
    if figures:
        us_ = figures["callback_us"]
        click.echo(
            f"its callback   {us_['p50']:>9.1f} us p50{us_['p99']:>8.1f} p99{us_['p999']:>8.1f} p99.9{us_['max']:>8.1f} max,"
            f" of {figures['cycles']} cycles; {figures['misses']} deadline misses"
        )
    lost = f"; {trip.lost} repetitions left out, since cycles were lost in them" if trip.lost else ""
    before = (
        f"{trip.alone.xruns} xruns in {len(trip.alone.answer_us)} cycles of the server alone, "
        if trip.alone is not None
        else ""
    )
    click.echo(f"drop-outs      {before}{trip.xruns} in {len(trip.answer_us)} while measuring{lost}")


def _row(part: Part, rate: float) -> str:
    told = "-" if part.declared is None else f"{part.declared:g}"
    if part.measured is None:
        ms = "" if part.declared is None else f"{part.declared / rate * 1e3:.2f}"
        return f"{part.name:<12}{told:>10}{'-':>12}{'':>48}   {ms}  {part.note}".rstrip()
    m = part.measured
    sign = "" if part.agrees is not False else "  <- not as declared"
    return (
        f"{part.name:<12}{told:>10}{m.p50:>12.2f}{m.p99:>10.2f}{m.p999:>10.2f}{m.max:>10.2f}{m.std:>9.3f}{m.peak_to_peak:>9.3f}"
        f"   {m.p50 / rate * 1e3:.2f}  {part.note}".rstrip()
        + sign
    )


def print_all(trips: Sequence[tuple[str, RoundTrip]]) -> None:
    """Print one line for each chain: declared and measured look-ahead."""
    click.echo(f"{'':<22}{'block':>6}{'declared':>10}{'measured':>11}{'jitter':>9}   by")
    for name, trip in trips:
        part = trip.part("look-ahead")
        assert part.measured is not None
        sign = "" if part.agrees else "   <- not as declared"
        click.echo(
            f"{name:<22}{trip.block:>6}{part.declared:>10g}{part.measured.p50:>11.2f}{part.measured.peak_to_peak:>9.3f}   "
            f"{trip.method}, {trip.probe}{sign}"
        )


def result_of(
    title: str,
    settings: dict[str, Any],
    trips: Sequence[tuple[str, RoundTrip]],
    *,
    engine: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """Return measurements as a Result: a series of repetitions and a summary for each chain or client, and its bars."""
    series: list[Series] = []
    bars: list[Bar] = []
    for name, trip in trips:
        at: dict[str, float | str] = {"block": trip.block, "sample_rate": trip.sample_rate}
        series.append(Series(name, "subject", _repetitions(trip), at))
        series.append(Series(f"{name}: summary", "subject", [_summary(trip)], at))
        for part in trip.parts:
            if part.agrees is not None:
                assert part.measured is not None and part.declared is not None
                off = abs(part.measured.p50 - part.declared)
                bars.append(Bar(f"{name}, {trip.block} frames: {part.name} as declared", off, part.tolerance, "frames"))
    if engine:
        us = engine["callback_us"]
        metrics = {f"callback_{name}_us": float(us[name]) for name in ("p50", "p99", "p999", "max")}
        metrics |= {f"{name}_count": float(engine[name]) for name in ("xruns", "misses", "late_wakes")}
        metrics["latency_declared_frames"] = float(engine["latency_frames"])
        series.append(Series(f"{title}: its own account", "subject", [Run(metrics)], {"block": trips[0][1].block}))
    for alone in {id(trip.alone): trip.alone for _, trip in trips}.values():
        if alone is not None:
            metrics = {"xruns_count": float(alone.xruns), "block_measured_frames": Spread.of(alone.block).p50}
            series.append(Series("prober alone", "baseline", [Run(metrics, {"answer": histogram(alone.answer_us)})]))
    return Result("latency", title, settings, series, bars, list(notes))


def _repetitions(trip: RoundTrip) -> list[Run]:
    total, ahead = trip.part("total").values, trip.part("look-ahead").values
    assert total is not None and ahead is not None
    return [
        Run({"total_frames": float(t), "lookahead_frames": float(a), "snr_db": d.snr_db, "likeness_share": d.likeness})
        for t, a, d in zip(total, ahead, trip.delays, strict=True)
    ]


def _summary(trip: RoundTrip) -> Run:
    metrics: dict[str, float] = {}
    for part in trip.parts:
        name = part.name.replace("-", "")
        if part.declared is not None:
            metrics[f"{name}_declared_frames"] = float(part.declared)
        if part.measured is not None:
            m = part.measured
            shown = {"p50": m.p50, "p99": m.p99, "p999": m.p999, "max": m.max, "std": m.std, "spread": m.peak_to_peak}
            metrics |= {f"{name}_measured_{what}_frames": value for what, value in shown.items()}
    for stage, frames in trip.stages:
        metrics[f"lookahead_{stage}_declared_frames"] = float(frames)
    total = trip.part("total").measured
    assert total is not None
    metrics["total_measured_ms"] = total.p50 / trip.sample_rate * 1e3
    histograms = {}
    for name, times in (("answer", trip.answer_us), ("jitter", trip.jitter_us), ("spent", trip.spent_us)):
        us = Spread.of(times)
        metrics |= {f"{name}_p50_us": us.p50, f"{name}_p99_us": us.p99, f"{name}_p999_us": us.p999, f"{name}_max_us": us.max}
        histograms[name] = histogram(times)
    metrics |= {"xruns_count": trip.xruns, "repetitions_lost_count": trip.lost, "repetitions_number": len(trip.delays)}
    return Run(metrics, histograms)


def histogram(times_us: np.ndarray[Any, Any]) -> Histogram:
    """Return times in microseconds as a histogram of equal buckets."""
    edges = np.arange(0, max(float(times_us.max()), 1.0) + 2 * BUCKET_US, BUCKET_US)
    return Histogram.of(edges, np.histogram(times_us, edges)[0])
