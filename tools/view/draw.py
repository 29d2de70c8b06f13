"""A reading in characters: bars, a small histogram, the lines of the view and of `autovoice view --once`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autovoice.rt.control.board import Row
from autovoice.tools.layouts.desk import SWITCHES
from autovoice.tools.view.reading import Reading, stopped

FLOOR_DBFS = -60.0  # of the meters
SILENCE_DBFS, SILENT_DBFS = -120.0, -119.0  # what stands for nothing, and what is shown as it
EIGHTHS = " ▏▎▍▌▋▊▉█"
NUDGE = "┃"


def share(dbfs: float) -> float:
    """Return where a level stands on a meter, 0..1."""
    return min(max(1.0 - dbfs / FLOOR_DBFS, 0.0), 1.0)


def bar(part: float, width: int, peak: float | None = None) -> str:
    """Draw a share of 0..1 in exactly `width` characters, to an eighth of one; `peak` is marked where it stands above it."""
    eighths = round(min(max(part, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    text = "█" * whole + (EIGHTHS[rest] if rest else "")
    text = text.ljust(width)[:width]
    if peak is not None and width:
        at = min(int(min(max(peak, 0.0), 1.0) * width), width - 1)
        if at > whole:
            text = text[:at] + NUDGE + text[at + 1 :]
    return text


def dbfs(amplitude: float) -> float:
    """Return an amplitude in dBFS."""
    return 20 * math.log10(amplitude) if amplitude > 1e-6 else SILENCE_DBFS


def level(dbfs: float) -> str:
    """Write a level in six characters."""
    return f"{dbfs:6.1f}" if dbfs > SILENT_DBFS else "  -inf"


def value_text(row: Row, value: float) -> str:
    """Write a parameter's value as its table means it."""
    if row.scale == "switch" or row.path in SWITCHES:
        return "on" if value >= 0.5 else "off"
    if row.choices and value == value:
        return row.choices[min(max(round(value), 0), len(row.choices) - 1)]
    return f"{value:.4g} {row.unit}".rstrip()


def title(reading: Reading) -> str:
    """Write who plays, and how."""
    stats = reading.stats
    parts = [
        reading.name,
        f"{reading.backend}, {stats.sample_rate / 1e3:g} kHz, {stats.block} frames",
        *([f"preset {reading.preset}"] if reading.preset else []),
        *([f"recording {reading.recording}"] if reading.recording else []),
    ]
    return " · ".join(parts)


def pitch(reading: Reading) -> str:
    """Write the pitch with its note and the deviation in cents."""
    stats = reading.stats
    if reading.note is None:
        return "unvoiced"
    return f"{reading.note:<4}{reading.cents:+4.0f} cents  {stats.f0_hz:6.1f} Hz  voicing {stats.voicing:.2f}"


def latency(reading: Reading) -> list[str]:
    """Write the budget: what is declared in all, then where it goes."""
    ms, stages = reading.ms_per_frame, sum(place.latency_frames for place in reading.chain)
    device = reading.device_latency_frames
    total = reading.stats.latency_frames + (device or 0)
    lines = [f"{total * ms:6.1f} ms in all" if device is not None else f"{total * ms:6.1f} ms without the device's own"]
    lines += [f"{place.latency_frames * ms:6.1f} ms {place.key}" for place in reading.chain if place.latency_frames]
    if stages and reading.stats.latency_frames > stages:
        lines.append(f"{(reading.stats.latency_frames - stages) * ms:6.1f} ms reserved")
    if device:
        lines.append(f"{device * ms:6.1f} ms device")
    return lines


def callbacks(reading: Reading) -> str:
    """Write the times of the callbacks."""
    t = reading.stats.callback_us
    return f"p50 {t.p50:.1f}  p99 {t.p99:.1f}  p99.9 {t.p999:.1f}  longest {t.max:.0f} µs"


def histogram(reading: Reading, width: int) -> Iterator[str]:
    """Draw the callback times, a row for each bucket; bars are logarithmic, so that one slow callback in a million shows."""
    most = max((count for _, _, count in reading.histogram), default=0)
    for low, high, count in reading.histogram:
        part = count.bit_length() / most.bit_length() if most else 0.0
        yield f"{low:>6g}-{high:<6g}µs {bar(part, width)} {count}"


def trouble(reading: Reading) -> str:
    """Write the counters of trouble."""
    stats = reading.stats
    return f"xruns {stats.xruns}  misses {stats.misses}  late wakes {stats.late_wakes}"


def gains(reading: Reading) -> str:
    """Write what dynamics do to the level."""
    return "  ".join(f"{name.removesuffix('_db')} {db:+.1f}" for name, db in reading.gains_db.items())


def once(reading: Reading, rows: dict[str, Row]) -> str:
    """Write one reading as text, for a log or a script that looks at it with the eyes of a person."""
    stats = reading.stats
    lines = [title(reading)]
    if (why := stopped(reading)) is not None:
        lines.append(f"  {why}")
    lines += [
        f"  in  {level(stats.in_peak_dbfs)} dBFS  [{bar(share(stats.in_peak_dbfs), 30)}]",
        f"  out {level(stats.out_peak_dbfs)} dBFS  [{bar(share(stats.out_peak_dbfs), 30)}]",
        f"  pitch      {pitch(reading)}",
        f"  latency    {'; '.join(' '.join(line.split()) for line in latency(reading))}",
        f"  load       {100 * stats.load:.1f} %",
        f"  callbacks  {callbacks(reading)}, of {reading.period_us:.0f} µs",
        f"  trouble    {trouble(reading)}",
    ]
    if reading.gains_db:
        lines.append(f"  gains      {gains(reading)} dB")
    for place in reading.chain:
        texts = [f"{name} {value_text(rows[f'{place.key}/{name}'], value)}" for name, value in place.parameters.items()]
        lines.append(f"  {place.key}{' (bypassed)' if place.bypass else ''}{': ' if texts else ''}{', '.join(texts)}")
    if reading.master:
        texts = [f"{name} {value_text(rows[f'master/{name}'], value)}" for name, value in reading.master.items()]
        lines.append(f"  master: {', '.join(texts)}")
    return "\n".join(lines)
