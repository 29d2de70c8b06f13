"""What we say unasked: values that moved, what plays, and meters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autovoice.rt.control.osc.packet import write
from autovoice.rt.control.osc.table import NORM, ROOT
from autovoice.rt.layout import XRUNS

if TYPE_CHECKING:
    from autovoice.rt.control.surface import Row
    from autovoice.rt.telemetry import Telemetry

SILENT_DBFS = -120.0
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
CONCERT_A_HZ, CONCERT_A = 440.0, 69  # its MIDI number

Argument = float | int | str | bool


def value_messages(row: Row, value: float, form: str) -> list[bytes]:
    """Return how a subscriber is told a value: f in real units, i for what steps, f 0..1 at the address for that."""
    messages = []
    if form != "norm":
        messages.append(write(ROOT + row.path, round(value) if row.scale in ("switch", "choice") else float(value)))
    if form != "real":
        messages.append(write(NORM + row.path, float(row.to_norm(value))))
    return messages


def note_name(hz: float) -> str:
    """Return the nearest note of equal temperament with its distance, `A3 -12`; empty where there is no pitch."""
    if hz <= 0:
        return ""
    exact = CONCERT_A + 12 * math.log2(hz / CONCERT_A_HZ)
    note = round(exact)
    return f"{NOTES[note % 12]}{note // 12 - 1} {round(100 * (exact - note)):+d}"


def dbfs(amplitude: float) -> float:
    """Return an amplitude in dBFS, SILENT_DBFS at least."""
    return max(20 * math.log10(amplitude), SILENT_DBFS) if amplitude > 0 else SILENT_DBFS


def _pitch(t: Telemetry) -> tuple[Argument, ...]:
    hz = float(t["bus"]["f0_hz"])
    return hz, float(t["bus"]["voicing"]), note_name(hz)


METERS: dict[str, tuple[Callable[[Telemetry], tuple[Argument, ...]], str]] = {
    "/autovoice/meter/in": (lambda t: (dbfs(float(t["in_peak"])),), "f: peak at the input, dBFS"),
    "/autovoice/meter/out": (lambda t: (dbfs(float(t["out_peak"])),), "f: peak at the output, dBFS"),
    "/autovoice/meter/level": (lambda t: (float(t["bus"]["level_dbfs"]),), "f: RMS at the input, dBFS"),
    "/autovoice/pitch": (_pitch, "ffs: Hz (0 = unvoiced), voicing 0..1, nearest note and its distance in cents"),
    "/autovoice/vad": (lambda t: (float(t["bus"]["vad"]),), "f: 1 = a voice is heard"),
    "/autovoice/load": (lambda t: (float(t["load"]),), "f: share of the period that processing takes"),
    "/autovoice/xruns": (lambda t: (t.driver(XRUNS),), "i: dropouts that the driver reported"),
    "/autovoice/misses": (lambda t: (int(t["misses"]),), "i: blocks of ours that took longer than the period"),
}
"""What subscribers that gave a rate are told, by address: how to read it, and what it is."""


def meter_messages(telemetry: Telemetry) -> list[bytes]:
    """Return all meters."""
    return [write(address, *read(telemetry)) for address, (read, _) in METERS.items()]


def _state(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda board: (board.get("state") or {}).get(key)


PLAYING: dict[str, tuple[Callable[[Mapping[str, Any]], Any], str]] = {
    "/autovoice/chain": (lambda b: ",".join(s["key"] for s in b.get("chain", ())), "s: the stages that play, by their keys"),
    "/autovoice/latency": (lambda b: int(b.get("latency", 0)), "i: delay in frames, as declared"),
    "/autovoice/preset": (_state("preset"), "s: the preset that was loaded last, empty where none"),
    "/autovoice/scene": (_state("scene"), "s: the scene that was last gone to, empty where none"),
    "/autovoice/recording": (lambda b: bool(_state("recording")(b)), "T or F"),
}
"""What every subscriber is told when it changes, by address: how to read it from the board, and what it is."""


def heartbeat(board: Mapping[str, Any]) -> bytes:
    """Return the sign of life: the session, and a number that changes with the chain."""
    return write("/heartbeat", str(board.get("session", "")), int(board.get("generation", 0)))


def playing(board: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what plays, each as the message that says it."""
    said = {}
    for address, (read, _) in PLAYING.items():
        found = read(board)
        said[address] = write(address, found if isinstance(found, (bool, int, float)) else str(found or ""))
    return said
