"""The calm line under a live voice: rewritten in place on a terminal, repeated now and then elsewhere."""

from __future__ import annotations

import math
import shutil
import time
from typing import TYPE_CHECKING

import click
from autovoice.tools.options import note, on_terminal

if TYPE_CHECKING:
    from autovoice.rt import Stats

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
REWRITE_S, REPEAT_S = 0.25, 5.0
A4_HZ, A4_MIDI = 440.0, 69
SILENT_DBFS = -119.0


def note_name(f0_hz: float) -> str:
    """Return the nearest note of the equal-tempered scale with its deviation in cents, `A4 +3`."""
    pitch = A4_MIDI + 12 * math.log2(f0_hz / A4_HZ)
    nearest = round(pitch)
    return f"{NOTES[nearest % 12]}{nearest // 12 - 1} {round(100 * (pitch - nearest)):+d}"


def describe(stats: Stats, device_latency: int) -> str:
    """Say in one line of constant width what a performer wants to know, the most wanted first."""
    ms = 1e3 / stats.sample_rate
    chain, device = stats.latency_frames * ms, device_latency * ms
    pitch = f"{stats.f0_hz:6.1f} Hz {note_name(stats.f0_hz):<7}" if stats.f0_hz > 0 else f"{'-':>6}    {'':<7}"
    return "  ".join(
        (
            f"in {_level(stats.in_peak_dbfs)} out {_level(stats.out_peak_dbfs)} dBFS",
            pitch,
            f"load {100 * stats.load:4.1f} %",
            f"latency {chain + device:.1f} ms ({chain:.1f} chain + {device:.1f} device)",
            f"xruns {stats.xruns}",
            f"misses {stats.misses}",
        )
    )


def _level(dbfs: float) -> str:
    return f"{dbfs:5.1f}" if dbfs > SILENT_DBFS else " -inf"


class StatusLine:
    """Shows readings on stderr at the pace that suits it."""

    def __init__(self, *, shown: bool = True) -> None:
        """Find out where stderr goes; a line that is not `shown` leaves it to others."""
        self._rewrites = shown and on_terminal()
        self._shown = shown
        self._due = time.monotonic()

    def show(self, stats: Stats, device_latency: int) -> None:
        """Show a reading when it is time for one; call it often."""
        if not self._shown or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + (REWRITE_S if self._rewrites else REPEAT_S)
        text = describe(stats, device_latency)
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1  # a full line would scroll
            click.echo(f"\r\x1b[K{text[:width]}", err=True, nl=False)
        else:
            click.echo(text, err=True)

    def say(self, message: str) -> None:
        """Print a line that stays, above the status."""
        note(message)
        self._due = time.monotonic()

    def close(self) -> None:
        """Leave the cursor on a new line."""
        if self._rewrites:
            click.echo(err=True)
