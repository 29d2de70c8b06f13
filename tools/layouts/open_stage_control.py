"""A session for Open Stage Control 1.25 and later: a tab for the show, one for each stage, in real units.

A session is JSON: `content` is the root widget, tabs hold widgets, and a widget is its properties by name (Open Stage
Control, widget reference, https://openstagecontrol.ammd.net). The session subscribes by itself as soon as it is opened, so
that its faders follow whatever else moves a parameter.
"""

from __future__ import annotations

import json
from typing import Any

from autovoice.tools.layouts.desk import BUTTONS, METER_HZ, METERS, SWITCHES, Button, Control, Desk, Group, Meter

NAME = "autovoice.open-stage-control.json"
VERSION = "1.25.0"  # of the format; an older program converts nothing and says so
SUBSCRIBE_MS = 10_000  # an engine that was started again hears of us within this time
STRIP_WIDTH = 110  # pixels

Widget = dict[str, Any]


def session(desk: Desk) -> str:
    """Return the session file for a desk."""
    root: Widget = {
        "type": "root",
        "id": "root",
        "colorBg": "#16181c",
        "colorWidget": "#4aa8d8",
        "onCreate": _subscription(desk),
        "tabs": [_show(desk), *(_tab(group, desk) for group in desk.groups)],
    }
    data = {"createdWith": "Open Stage Control", "version": VERSION, "type": "session", "content": root}
    return json.dumps(data, indent=2) + "\n"


def _subscription(desk: Desk) -> str:
    """Return the script that asks for every change in real units and for the meters: at once, and again now and then."""
    target = json.dumps(desk.target)
    ask = f"send({target}, '/subscribe', {{type: 'f', value: {METER_HZ:g}}}, {{type: 's', value: 'real'}})"
    return f"const ask = () => {{ {ask} }}\nask()\nsend({target}, '/refresh')\nsetInterval('autovoice', ask, {SUBSCRIBE_MS})"


def _show(desk: Desk) -> Widget:
    """Return the first tab: what a performer reaches for, and the meters."""
    switches = [_button(control, desk, control.name) for control in desk.controls if control.row.path in SWITCHES]
    widgets = [_meter(meter, desk) for meter in METERS]
    widgets.append(_row("show/buttons", [*switches, *(_command(button, desk) for button in BUTTONS)]))
    if desk.presets:
        presets = [_command(Button(name, "/preset/load", name), desk) for name in desk.presets]
        widgets.append({**_row("show/presets", presets), "layout": "grid", "gridTemplate": 4})
    widgets.append({**_base("show/pitch", "text", desk), "address": "/autovoice/pitch", "height": 60, "default": "pitch"})
    return {"type": "tab", "id": "show", "label": "Show", "layout": "vertical", "widgets": widgets}


def _tab(group: Group, desk: Desk) -> Widget:
    strips = [_strip(control, desk) for control in group.controls]
    panel = {"type": "panel", "id": f"{group.key}/strips", "layout": "horizontal", "contain": False, "expand": True}
    about = {"type": "text", "id": f"{group.key}/about", "default": group.about, "align": "left", "height": 40}
    return {
        "type": "tab",
        "id": group.key,
        "label": group.key,
        "layout": "vertical",
        "widgets": [about, {**panel, "widgets": strips}],
    }


def _strip(control: Control, desk: Desk) -> Widget:
    """Return the column of one parameter: its name, what moves it and, for a fader, its value to read and to type."""
    path = control.row.path
    label = {"type": "text", "id": f"{path}/label", "default": control.title, "height": 40, "wrap": True}
    if control.is_switch:
        parts = [_button(control, desk, "on")]
    elif control.row.choices:
        parts = [_switch(control, desk)]
    else:
        parts = [_fader(control, desk), _input(control)]
    column = {"type": "panel", "id": f"{path}/strip", "layout": "vertical", "width": STRIP_WIDTH, "comments": control.row.help}
    return {**column, "widgets": [label, *parts]}


def _base(id_: str, type_: str, desk: Desk) -> Widget:
    """Return what every widget that talks to the engine has: to it alone, whatever the program's own targets are."""
    return {"type": type_, "id": id_, "target": desk.target, "ignoreDefaults": True}


def _fader(control: Control, desk: Desk) -> Widget:
    row = control.row
    return {
        **_base(row.path, "fader", desk),
        "address": control.address,
        "typeTags": "f",
        "range": {"min": row.minimum, "max": row.maximum},
        "logScale": row.scale == "log",
        "decimals": control.decimals,
        "default": row.default,
        "doubleTap": True,
        "linkId": row.path,
        "expand": True,
    }


def _input(control: Control) -> Widget:
    """Return the number under a fader; it moves the fader, which alone talks to the engine."""
    path = control.row.path
    return {
        "type": "input",
        "id": f"{path}/value",
        "linkId": path,
        "numeric": True,
        "decimals": control.decimals,
        "bypass": True,
        "height": 40,
        "unit": f" {control.row.unit}".rstrip(),
    }


def _button(control: Control, desk: Desk, label: str) -> Widget:
    button = {**_base(control.row.path, "button", desk), "address": control.address, "typeTags": "f", "label": label}
    return {**button, "mode": "toggle", "on": 1, "off": 0, "height": 60}


def _switch(control: Control, desk: Desk) -> Widget:
    values = {"labels": list(control.row.choices), "values": list(range(len(control.row.choices)))}
    return {
        **_base(control.row.path, "switch", desk),
        "address": control.address,
        "typeTags": "f",
        "values": values,
        "default": control.row.default,
        "expand": True,
    }


def _command(button: Button, desk: Desk) -> Widget:
    """Return a button that sends its address, with its argument where it has one."""
    widget = {**_base(f"{button.address[1:]}/{button.label}", "button", desk), "address": button.address, "label": button.label}
    if button.argument is None:
        return {**widget, "mode": "momentary"}
    return {**widget, "mode": "tap", "on": button.argument, "typeTags": "s"}


def _meter(meter: Meter, desk: Desk) -> Widget:
    return {
        **_base(f"show/{meter.label}", "fader", desk),
        "address": meter.address,
        "html": f"{meter.label} {meter.unit}".rstrip(),
        "range": {"min": meter.minimum, "max": meter.maximum},
        "design": "compact",
        "horizontal": True,
        "interaction": False,
        "bypass": True,
        "height": 40,
    }


def _row(id_: str, widgets: list[Widget]) -> Widget:
    return {
        "type": "panel",
        "id": id_,
        "layout": "horizontal",
        "height": 160,
        "widgets": [{**w, "expand": True} for w in widgets],
    }
