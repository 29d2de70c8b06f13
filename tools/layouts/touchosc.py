"""A layout for TouchOSC (Hexler's second generation): a page for the show, one for each stage.

A `.tosc` file is XML, compressed by zlib. A `node` is a control: its `properties` are typed (b, i, f, s, c colour, r frame),
its `values` are what moves, and a `message` sends a value as OSC: a path and arguments, each in `partial`s that are constants
or values scaled into a range. All faders speak 0..1 at `/autovoice/norm/...`, since TouchOSC scales in straight lines only; a
few lines of Lua show the real value over each. The layout subscribes by itself, in the same form.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from autovoice.tools.layouts.desk import BUTTONS, METER_HZ, METERS, SWITCHES, Button, Control, Desk, Group, Meter

NAME = "autovoice.tosc"
LEXML_VERSION = "3"
WIDTH, HEIGHT, TAB = 1024, 768, 48  # of a tablet's screen, and of the bar of tabs
GAP, CELL_HEIGHT, COLUMNS = 8, 112, 4
DARK, BLUE, GREEN, RED, WHITE = (0.09, 0.1, 0.11), (0.29, 0.66, 0.85), (0.35, 0.75, 0.45), (0.85, 0.3, 0.3), (1.0, 1.0, 1.0)
LABEL_RIGHT, LABEL_CENTRE, MIDDLE = 3, 2, 2  # of textAlignH and textAlignV
MOMENTARY, TOGGLE_RELEASE = 0, 1  # buttonType
HORIZONTAL = 1  # orientation

Value = str | int | float | bool | tuple[float, ...]
Frame = tuple[int, int, int, int]  # x, y, width, height


@dataclass(slots=True)
class Node:
    """One control before it is written."""

    type: str
    name: str
    frame: Frame
    properties: dict[str, Value] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)  # with their defaults
    messages: list[ElementTree.Element] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


KINDS: Mapping[str, str] = {
    **dict.fromkeys(("background", "bar", "cursor", "grabFocus", "grid", "interactive", "locked", "outline", "press"), "b"),
    **dict.fromkeys(("release", "tabbar", "tabbarDoubleTap", "tabLabels", "textClip", "valuePosition", "visible"), "b"),
    **dict.fromkeys(("barDisplay", "buttonType", "cursorDisplay", "font", "gridSteps", "orientation", "outlineStyle"), "i"),
    **dict.fromkeys(("pointerPriority", "radioType", "response", "responseFactor", "shape", "steps", "tabbarSize"), "i"),
    **dict.fromkeys(("textAlignH", "textAlignV", "textLength", "textSize", "textSizeOff", "textSizeOn"), "i"),
    **dict.fromkeys(("color", "tabColorOff", "tabColorOn", "textColor", "textColorOff", "textColorOn"), "c"),
    **dict.fromkeys(("name", "script", "tabLabel"), "s"),
    "cornerRadius": "f",
    "frame": "r",
}
"""The type of every property that is written."""

COMMON: Mapping[str, Value] = {
    "background": True,
    "cornerRadius": 4.0,
    "grabFocus": False,
    "interactive": True,
    "locked": False,
    "orientation": 0,
    "outline": False,
    "outlineStyle": 1,
    "pointerPriority": 0,
    "shape": 1,
    "visible": True,
}
OWN: Mapping[str, Mapping[str, Value]] = {
    "GROUP": {"background": False, "interactive": False},
    "PAGER": {
        "tabbar": True,
        "tabbarDoubleTap": False,
        "tabbarSize": TAB,
        "tabLabels": True,
        "textSizeOff": 16,
        "textSizeOn": 16,
    },
    "LABEL": {
        "background": False,
        "interactive": False,
        "font": 0,
        "textAlignH": 1,
        "textAlignV": MIDDLE,
        "textClip": True,
        "textColor": WHITE,
        "textLength": 0,
        "textSize": 14,
    },
    "FADER": {
        "bar": True,
        "barDisplay": 0,
        "cursor": True,
        "cursorDisplay": 0,
        "grid": False,
        "gridSteps": 10,
        "orientation": HORIZONTAL,
        "response": 1,  # relative: a touch does not make the sound jump
        "responseFactor": 100,
    },
    "BUTTON": {"buttonType": TOGGLE_RELEASE, "press": True, "release": True, "valuePosition": False},
    "RADIO": {"radioType": 0, "orientation": HORIZONTAL},
}
"""What each type of control has beside what all have; these stand above COMMON."""


def layout(desk: Desk) -> bytes:
    """Return the compressed layout file for a desk."""
    return zlib.compress(document(desk))


def document(desk: Desk) -> bytes:
    """Return the layout as XML."""
    pages = [_show(desk), *(_page(group) for group in desk.groups)]
    tabs = {"tabColorOff": DARK, "tabColorOn": BLUE, "textColorOff": WHITE, "textColorOn": WHITE}
    for page in pages:
        page.properties.update(tabs)
    pager = Node("PAGER", "pages", (0, 0, WIDTH, HEIGHT), {"color": DARK}, {"page": "0"}, children=pages)
    root = Node("GROUP", "autovoice", (0, 0, WIDTH, HEIGHT), {"color": DARK, "background": True}, children=[pager])
    root.properties["script"] = SUBSCRIBE.format(port=desk.port + 1, hz=METER_HZ)
    lexml = ElementTree.Element("lexml", version=LEXML_VERSION)
    _write(root, lexml, desk.name)
    text: bytes = ElementTree.tostring(lexml, encoding="UTF-8", xml_declaration=True)
    return text


SUBSCRIBE = """local asked = -10000
function update()
  local now = getMillis()
  if now - asked < 10000 then return end
  sendOSC({{'/subscribe', {{{{tag = 'i', value = {port}}}, {{tag = 'f', value = {hz:g}}}, {{tag = 's', value = 'norm'}}}}}})
  if asked < 0 then sendOSC('/refresh') end
  asked = now
end"""
"""Ask for every change from 0 to 1, and for the meters, to be sent to where TouchOSC listens; again now and then, for an engine
that was started anew."""


def _show(desk: Desk) -> Node:
    """Return the first page: the meters, mute and bypass, the commands, the presets."""
    page = Node("GROUP", "show", _inside(), {"color": DARK, "tabLabel": "Show"})
    cells = [_meter(meter) for meter in METERS]
    cells += [_control(control) for control in desk.controls if control.row.path in SWITCHES]
    cells += [_command(button) for button in BUTTONS]
    cells += [_command(Button(name, "/preset/load", name), GREEN) for name in desk.presets]
    page.children = _laid_out(cells)
    return page


def _page(group: Group) -> Node:
    page = Node("GROUP", group.key, _inside(), {"color": DARK, "tabLabel": group.key})
    page.children = _laid_out([_control(control) for control in group.controls])
    return page


def _inside() -> Frame:
    return (0, TAB, WIDTH, HEIGHT - TAB)


def _laid_out(cells: Sequence[Node]) -> list[Node]:
    """Place cells in rows; where there are too many for the height, all get lower."""
    rows = -(-len(cells) // COLUMNS)
    width = (WIDTH - GAP * (COLUMNS + 1)) // COLUMNS
    height = min(CELL_HEIGHT, (HEIGHT - TAB - GAP * (rows + 1)) // max(rows, 1))
    for k, cell in enumerate(cells):
        cell.frame = (GAP + k % COLUMNS * (width + GAP), GAP + k // COLUMNS * (height + GAP), width, height)
        _fill(cell, width, height)
    return list(cells)


def _fill(cell: Node, width: int, height: int) -> None:
    """Put the labels of a cell on top, and under them what is touched."""
    top = min(24, height // 3)
    for child in cell.children:
        if child.type != "LABEL":
            child.frame = (0, top, width, height - top)
        elif child.name == "value":
            child.frame = (width // 2, 0, width - width // 2, top)
        else:
            child.frame = (0, 0, width // 2, top)


def _cell(name: str, *children: Node) -> Node:
    return Node("GROUP", name, (0, 0, 0, 0), {"color": DARK}, children=[_label("name", name.rpartition("/")[2]), *children])


def _label(name: str, text: str, align: int = 1) -> Node:
    return Node("LABEL", name, (0, 0, 0, 0), {"color": DARK, "textAlignH": align}, {"text": text})


def _control(control: Control) -> Node:
    """Return the cell of one parameter."""
    row = control.row
    norm = f"{row.to_norm(control.value):.6g}"
    message = _message(control.norm_address, [_partial("VALUE", "x", "FLOAT")])
    if control.is_switch:
        button = Node("BUTTON", "move", (0, 0, 0, 0), {"color": RED if row.path in SWITCHES else BLUE}, {"x": norm}, [message])
        return _cell(row.path, button)
    value = _label("value", _shown(control), LABEL_RIGHT)
    if row.choices:
        radio = Node("RADIO", "move", (0, 0, 0, 0), {"color": BLUE, "steps": len(row.choices)}, {"x": norm}, [message])
        radio.properties["script"] = CHOICE.format(
            names=", ".join(f"'{name}'" for name in row.choices), top=len(row.choices) - 1
        )
        return _cell(row.path, value, radio)
    fader = Node("FADER", "move", (0, 0, 0, 0), {"color": BLUE}, {"x": norm}, [message])
    formula = LOG if row.scale == "log" else LINEAR
    expression = formula.format(
        low=row.minimum, high=row.maximum, span=row.maximum - row.minimum, ratio=row.maximum / row.minimum if row.minimum else 0
    )
    fader.properties["script"] = NUMBER.format(form=f"%.{control.decimals}f {row.unit}".rstrip(), expression=expression)
    return _cell(row.path, value, fader)


LINEAR = "{low:.10g} + {span:.10g} * self.values.x"
LOG = "{low:.10g} * {ratio:.10g} ^ self.values.x"
NUMBER = """function onValueChanged(key)
  if key == 'x' then
    self.parent.children.value.values.text = string.format('{form}', {expression})
  end
end"""
CHOICE = """local names = {{{names}}}
function onValueChanged(key)
  if key == 'x' then
    self.parent.children.value.values.text = names[math.floor(self.values.x * {top} + 0.5) + 1]
  end
end"""


def _shown(control: Control) -> str:
    row = control.row
    return row.choices[round(control.value)] if row.choices else f"{control.value:.{control.decimals}f} {row.unit}".rstrip()


def _command(button: Button, color: tuple[float, ...] = BLUE) -> Node:
    """Return the cell of a command: sent when the finger comes down, not again when it leaves."""
    arguments = [] if button.argument is None else [_partial("CONSTANT", button.argument, "STRING")]
    message = _message(button.address, arguments, when="RISE", receive=False)
    properties: dict[str, Value] = {"color": color, "buttonType": MOMENTARY}
    return _cell(button.label, Node("BUTTON", "press", (0, 0, 0, 0), properties, {"x": "0"}, [message]))


def _meter(meter: Meter) -> Node:
    """Return the cell of a meter, which only listens."""
    message = _message(meter.address, [_partial("VALUE", "x", "FLOAT", meter.minimum, meter.maximum)], send=False)
    properties: dict[str, Value] = {"color": GREEN, "interactive": False, "cursor": False}
    return _cell(
        f"{meter.label} {meter.unit}".rstrip(), Node("FADER", "meter", (0, 0, 0, 0), properties, {"x": "0"}, [message])
    )


def _message(
    address: str, arguments: Iterable[ElementTree.Element], *, when: str = "ANY", send: bool = True, receive: bool = True
) -> ElementTree.Element:
    """Return an OSC message, sent to and received from connection 1 when x changes so (ANY, RISE, FALL)."""
    osc = ElementTree.Element("osc")
    flags = {"enabled": "1", "send": str(int(send)), "receive": str(int(receive)), "feedback": "0", "connections": "00001"}
    for name, text in flags.items():
        _text(osc, name, text)
    trigger = ElementTree.SubElement(ElementTree.SubElement(osc, "triggers"), "trigger")
    _text(trigger, "var", "x")
    _text(trigger, "condition", when)
    ElementTree.SubElement(osc, "path").append(_partial("CONSTANT", address, "STRING"))
    ElementTree.SubElement(osc, "arguments").extend(arguments)
    return osc


def _partial(kind: str, value: str, conversion: str, low: float = 0.0, high: float = 1.0) -> ElementTree.Element:
    partial = ElementTree.Element("partial")
    texts = {"type": kind, "conversion": conversion, "value": value, "scaleMin": f"{low:g}", "scaleMax": f"{high:g}"}
    for name, text in texts.items():
        _text(partial, name, text)
    return partial


def _write(node: Node, parent: ElementTree.Element, path: str) -> None:
    """Write a node and its children; an identity is made from the path, so that the same desk gives the same file."""
    element = ElementTree.SubElement(parent, "node", ID=str(uuid.uuid5(uuid.NAMESPACE_URL, path)), type=node.type)
    properties = ElementTree.SubElement(element, "properties")
    table = {**COMMON, **OWN[node.type], **node.properties, "name": node.name, "frame": node.frame}
    for name in sorted(table):
        _property(properties, name, table[name])
    values = ElementTree.SubElement(element, "values")
    for name, default in {**node.values, "touch": "false"}.items():
        value = ElementTree.SubElement(values, "value")
        for tag, text in (
            ("key", name),
            ("locked", "0"),
            ("lockedDefaultCurrent", "0"),
            ("default", default),
            ("defaultPull", "0"),
        ):
            _text(value, tag, text)
    if node.messages:
        ElementTree.SubElement(element, "messages").extend(node.messages)
    if node.children:
        children = ElementTree.SubElement(element, "children")
        for k, child in enumerate(node.children):
            _write(child, children, f"{path}/{k}/{child.name}")


def _property(parent: ElementTree.Element, name: str, value: Value) -> None:
    element = ElementTree.SubElement(parent, "property", type=KINDS[name])
    _text(element, "key", name)
    if isinstance(value, tuple):
        holder = ElementTree.SubElement(element, "value")
        names = "rgba" if KINDS[name] == "c" else "xywh"
        for letter, number in zip(names, (*value, 1.0), strict=False):
            _text(holder, letter, f"{number:g}")
    else:
        _text(element, "value", str(int(value)) if isinstance(value, bool) else str(value))


def _text(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
