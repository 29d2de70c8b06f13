"""A Max for Live device for Ableton Live, and the same as a patcher for Max alone: a dial for every parameter, in real units.

A device (`.amxd`) is chunks of a four-letter name, a little-endian length and data: `ampf` says what it is (`aaaa` = audio
effect), `ptch` holds the patcher as JSON, ended by a zero (Ableton, maxdevtools). Its parameters are Live's: automated,
mapped and saved with the set. Each goes through `prepend ADDRESS` to one `udpsend`; the sound passes through untouched.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from autovoice.tools.layouts.desk import Control, Desk

DEVICE_NAME, PATCHER_NAME = "autovoice.amxd", "autovoice.maxpat"
AUDIO_EFFECT = b"aaaa"
ROWS, ROW_HEIGHT, COLUMN_WIDTH, MARGIN = 3, 54, 88, 6  # pixels; Live shows 169 of them
FLOAT, ENUM = 0, 2  # parameter_type
CUSTOM_UNIT = 9  # parameter_unitstyle
MAJOR, MINOR = 8, 5  # of the Max that the patcher asks for

Box = dict[str, Any]


def device(desk: Desk) -> bytes:
    """Return the Max for Live device."""
    patch = patcher(desk).encode() + b"\0"
    return b"".join((_chunk(b"ampf", AUDIO_EFFECT), _chunk(b"meta", struct.pack("<I", 0)), _chunk(b"ptch", patch)))


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def patcher(desk: Desk) -> str:
    """Return the patcher as JSON."""
    boxes: list[Box] = [
        _object("in", "plugin~", 20, 20, inlets=2, outlets=["signal", "signal"]),
        _object("out", "plugout~", 20, 60, inlets=2, outlets=["signal", "signal"]),
        _object("send", f"udpsend {desk.host} {desk.port}", 20, 900, inlets=1, outlets=[]),
    ]
    lines = [_line("in", 0, "out", 0), _line("in", 1, "out", 1)]
    for number, control in enumerate(desk.controls):
        column, row = divmod(number, ROWS)
        key = f"parameter-{number}"
        place = (MARGIN + column * COLUMN_WIDTH, MARGIN + row * ROW_HEIGHT)
        boxes.append(_moved(key, control, place, 140 + number * 100))
        boxes.append(_object(f"{key}-address", f"prepend {control.address}", 140 + number * 100, 480, inlets=1, outlets=[""]))
        lines += [_line(key, 0, f"{key}-address", 0), _line(f"{key}-address", 0, "send", 0)]
    patch = {
        "fileversion": 1,
        "appversion": {"major": MAJOR, "minor": MINOR, "revision": 0, "architecture": "x64", "modernui": 1},
        "classnamespace": "box",
        "rect": [60.0, 60.0, 1200.0, 800.0],
        "openinpresentation": 1,
        "boxes": [{"box": box} for box in boxes],
        "lines": [{"patchline": line} for line in lines],
    }
    return json.dumps({"patcher": patch}, indent=1) + "\n"


def _object(key: str, text: str, x: int, y: int, *, inlets: int, outlets: list[str]) -> Box:
    box = {"id": key, "maxclass": "newobj", "text": text, "numinlets": inlets, "numoutlets": len(outlets)}
    return {**box, "outlettype": outlets, "patching_rect": [float(x), float(y), 130.0, 22.0]}


def _moved(key: str, control: Control, place: tuple[int, int], x: int) -> Box:
    """Return what a hand moves: a dial, a switch or a menu, as one of Live's parameters."""
    row = control.row
    value: dict[str, Any] = {
        "parameter_longname": row.path,
        "parameter_shortname": row.name,
        "parameter_initial": [control.value],
        "parameter_initial_enable": 1,
    }
    if control.is_switch or row.choices:
        names = list(row.choices) or ["off", "on"]
        value |= {"parameter_type": ENUM, "parameter_enum": names, "parameter_mmax": len(names) - 1}
    else:
        value |= {"parameter_type": FLOAT, "parameter_mmin": row.minimum, "parameter_mmax": row.maximum}
        value |= {"parameter_unitstyle": CUSTOM_UNIT, "parameter_units": f"%.{control.decimals}f {row.unit}".rstrip()}
        value["parameter_exponent"] = _exponent(control)
    kind = "live.toggle" if control.is_switch else "live.menu" if row.choices else "live.dial"
    outlets = ["", "", "float"] if kind == "live.menu" else ["", "float"] if kind == "live.dial" else [""]
    size = {"live.dial": (COLUMN_WIDTH - 8, 48), "live.menu": (COLUMN_WIDTH - 8, 15), "live.toggle": (20, 20)}[kind]
    return {
        "id": key,
        "maxclass": kind,
        "numinlets": 1,
        "numoutlets": len(outlets),
        "outlettype": outlets,
        "parameter_enable": 1,
        "patching_rect": [float(x), 400.0, *map(float, size)],
        "presentation": 1,
        "presentation_rect": [*map(float, place), *map(float, size)],
        "annotation_name": row.path,
        "annotation": row.help,
        "saved_attribute_attributes": {"valueof": value},
        "varname": row.path,
    }


def _exponent(control: Control) -> float:
    """Return the bend of a dial that puts a logarithmic parameter's middle, the geometric mean, in the middle."""
    row = control.row
    if row.scale != "log":
        return 1.0
    middle = (math.sqrt(row.minimum * row.maximum) - row.minimum) / (row.maximum - row.minimum)
    return round(math.log(middle) / math.log(0.5), 4)


def _line(source: str, outlet: int, target: str, inlet: int) -> dict[str, Any]:
    return {"source": [source, outlet], "destination": [target, inlet]}
