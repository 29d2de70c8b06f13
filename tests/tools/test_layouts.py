"""Files for other programs: each is read by the rules of its format, and everything in it is sent to a real engine."""

from __future__ import annotations

import json
import re
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.control.board import Board, Row
from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.conductor import Conductor, OscSettings
from autovoice.rt.journal import ControlPage
from autovoice.tools.layouts import touchosc
from autovoice.tools.layouts.command import FILES, write
from autovoice.tools.layouts.desk import BUTTONS, METERS, Desk, desk_of_board, desk_of_chain
from pythonosc.udp_client import SimpleUDPClient
from support import wait_until

STAGES = ("gate", "eq", "shift", "limiter")  # every kind of parameter: switch, choice, log, linear
ROOT, NORM = "/autovoice/", "/autovoice/norm/"
PRESETS = ("robot", "choir")


@pytest.fixture(scope="module")
def desk() -> Desk:
    return desk_of_chain(Chain(STAGES), PRESETS, {"master/output": -6.0}, host="192.168.1.5", port=9123)


@pytest.fixture(scope="module")
def folder(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts")
    write(desk, folder)
    return folder


# REAPER


def reaper_lines(text: str) -> Iterator[list[str]]:
    """Read a pattern file as REAPER does: words, and lines that begin with a # are comments."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and not words[0].startswith("#"):
            yield words


def test_reaper_would_take_every_line_of_the_pattern_file(folder: Path) -> None:
    known = {"DEVICE_TRACK_COUNT", "DEVICE_FX_COUNT", "DEVICE_TRACK_FOLLOWS", "DEVICE_FX_FOLLOWS"}
    known |= {"LAST_MARKER_NAME", "LAST_REGION_NAME", "RECORD"}  # in Default.ReaperOSC of REAPER 6 and 7
    lines = list(reaper_lines((folder / "autovoice.ReaperOSC").read_text()))
    assert {words[0] for words in lines} == known
    for key, *patterns in lines:
        for pattern in patterns:
            setting = key.startswith("DEVICE_") and (
                pattern.isdigit() or pattern in ("DEVICE", "REAPER", "LAST_TOUCHED", "FOCUSED")
            )
            assert setting or (pattern[0] in "nfbtrsi" and pattern[1] == "/" and len(pattern) <= 512), pattern


def test_what_reaper_sends_are_commands(folder: Path) -> None:
    sent = [words[1] for words in reaper_lines((folder / "autovoice.ReaperOSC").read_text()) if "/" in words[1]]
    for pattern in sent:
        assert COMMANDS[pattern[2:]].arguments[0].tag == {"s": "s", "t": "T"}[pattern[0]]


SLIDER = re.compile(r"slider(\d+):(\S+?)<(\S+?),(\S+?),(\S+?)>(\S+)( .*)?$")


def sliders(text: str) -> dict[str, tuple[int, float, float, float, str]]:
    """Read an effect's sliders: name up to the first space -> (number, value, minimum, maximum, step with shape or names)."""
    found = {}
    for line in text.splitlines():
        if line.startswith("slider"):
            match = SLIDER.match(line)
            assert match, line
            number, value, low, high, step, name, _ = match.groups()
            found[name] = (int(number), float(value), float(low), float(high), step)
    return found


def test_the_effect_has_a_slider_in_real_units_for_every_parameter(desk: Desk, folder: Path) -> None:
    text = (folder / "autovoice.jsfx").read_text()
    assert text.startswith("desc:AutoVoice\n")
    found = sliders(text)
    assert list(found) == [control.row.path for control in desk.controls]
    for number, control in enumerate(desk.controls, 1):
        row, (slot, value, low, high, step) = control.row, found[control.row.path]
        assert (slot, low, high) == (number, row.minimum, row.maximum)
        assert value == pytest.approx(control.value, rel=1e-4)
        assert step.endswith(":log") == (row.scale == "log")
        if row.choices:
            assert step == f"1{{{','.join(row.choices)}}}"
    assert found["master/output"][1] == -6.0


def test_the_script_knows_where_the_engine_listens(folder: Path) -> None:
    text = (folder / "autovoice.eel").read_text()
    assert '#host = "192.168.1.5";' in text
    assert "port = 9123;" in text
    assert text.count("(") == text.count(")")


# Open Stage Control


def widgets(widget: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield widget
    for child in (*widget.get("tabs", ()), *widget.get("widgets", ())):
        yield from widgets(child)


OWN = {  # the properties that each widget has beside those of all, from the program's own tables
    "root": {"tabs", "colorBg"},
    "tab": {"widgets", "label", "layout"},
    "panel": {"widgets", "layout", "gridTemplate", "contain"},
    "text": {"align", "wrap"},
    "fader": {"range", "logScale", "doubleTap", "design", "horizontal"},
    "input": {"numeric", "unit"},
    "button": {"label", "mode", "on", "off"},
    "switch": {"values"},
}
ALL = set("type id target ignoreDefaults address typeTags decimals default linkId expand width height html bypass".split())
ALL |= set("interaction comments onCreate colorWidget".split())


@pytest.fixture(scope="module")
def session(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "autovoice.open-stage-control.json").read_text())
    return data


def test_a_session_is_made_of_known_widgets_and_properties(session: dict[str, Any]) -> None:
    assert (session["type"], session["content"]["type"]) == ("session", "root")
    for widget in widgets(session["content"]):
        assert set(widget) <= ALL | OWN[widget["type"]], widget
        assert not ("tabs" in widget and "widgets" in widget)


def test_a_session_has_a_tab_for_each_stage_and_everything_to_move_in_it(desk: Desk, session: dict[str, Any]) -> None:
    tabs = {tab["id"]: tab for tab in session["content"]["tabs"]}
    assert list(tabs) == ["show", *(group.key for group in desk.groups)]
    for group in desk.groups:
        moved = {w["address"]: w for w in widgets(tabs[group.key]) if "address" in w}
        assert list(moved) == [control.address for control in group.controls]
        for control in group.controls:
            widget, row = moved[control.address], control.row
            assert widget["target"] == "192.168.1.5:9123"
            if widget["type"] == "fader":
                assert widget["range"] == {"min": row.minimum, "max": row.maximum}
                assert widget["logScale"] == (row.scale == "log")
            elif widget["type"] == "switch":
                assert widget["values"]["labels"] == list(row.choices)
            else:
                assert (widget["on"], widget["off"]) == (1, 0)


def test_no_two_widgets_share_a_name_unless_they_are_the_same_control(session: dict[str, Any]) -> None:
    by_id: dict[str, set[str]] = {}
    for widget in widgets(session["content"]):
        by_id.setdefault(widget["id"], set()).add(widget.get("address", ""))
    assert all(len(addresses) == 1 for addresses in by_id.values())


def test_a_session_subscribes_by_itself(session: dict[str, Any]) -> None:
    script = session["content"]["onCreate"]
    assert "send(\"192.168.1.5:9123\", '/subscribe', {type: 'f', value: 20}, {type: 's', value: 'real'})" in script


# TouchOSC


@pytest.fixture(scope="module")
def layout(folder: Path) -> ElementTree.Element:
    return ElementTree.fromstring(zlib.decompress((folder / "autovoice.tosc").read_bytes()))


COMMON = set("background color cornerRadius frame grabFocus interactive locked name orientation outline outlineStyle".split())
COMMON |= {"pointerPriority", "shape", "visible"}
TEXTED = {"font", "textAlignH", "textAlignV", "textClip", "textColor", "textLength", "textSize"}
TOSC = {  # the properties of each control in a file that TouchOSC wrote, which are all of them but `script` and those of tabs
    "GROUP": set(),
    "PAGER": {"tabLabels", "tabbar", "tabbarDoubleTap", "tabbarSize", "textSizeOff", "textSizeOn"},
    "LABEL": TEXTED,
    "FADER": {"bar", "barDisplay", "cursor", "cursorDisplay", "grid", "gridSteps", "response", "responseFactor"},
    "BUTTON": {"buttonType", "press", "release", "valuePosition"},
    "RADIO": {"radioType", "steps"},
}
TAB = {"tabColorOff", "tabColorOn", "tabLabel", "textColorOff", "textColorOn"}
VALUES = {"PAGER": {"page", "touch"}, "LABEL": {"text", "touch"}, "GROUP": {"touch"}}
BITS = re.compile(r"-?\d+(\.\d+)?")


def text_of(element: ElementTree.Element, path: str) -> str:
    return element.findtext(path) or ""


def properties(node: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {text_of(one, "key"): one for one in node.findall("properties/property")}


def test_every_control_has_exactly_the_properties_and_values_that_touchosc_writes(layout: ElementTree.Element) -> None:
    assert (layout.tag, layout.get("version")) == ("lexml", "3")
    nodes = list(layout.iter("node"))
    assert len({node.get("ID") for node in nodes}) == len(nodes)
    for node in nodes:
        kind = node.get("type", "")
        found = properties(node)
        assert set(found) - TAB - {"script"} == COMMON | TOSC[kind]
        keys = {text_of(value, "key") for value in node.findall("values/value")}
        assert keys == VALUES.get(kind, {"x", "touch"})
        for one in found.values():
            value = one.find("value")
            assert value is not None
            if one.get("type") in ("c", "r"):
                assert [part.tag for part in value] == list("rgba" if one.get("type") == "c" else "xywh")
            elif one.get("type") != "s":
                assert BITS.fullmatch(value.text or ""), one
            if one.get("type") == "b":
                assert value.text in ("0", "1")


def frame(node: ElementTree.Element) -> tuple[float, float, float, float]:
    x, y, w, h = (float(part.text or "") for part in properties(node)["frame"].findall("value/*"))
    return x, y, w, h


def test_controls_lie_within_their_parents_and_beside_each_other(layout: ElementTree.Element) -> None:
    for parent in layout.iter("node"):
        width, height = frame(parent)[2:]
        taken: list[tuple[float, float, float, float]] = []
        for child in parent.findall("children/node"):
            x, y, w, h = frame(child)
            assert w >= 20 and h >= 10, ElementTree.tostring(child)[:300]
            assert min(x, y) >= 0 and x + w <= width and y + h <= height
            if parent.get("type") != "PAGER":
                assert all(x >= a + c or a >= x + w or y >= b + d or b >= y + h for a, b, c, d in taken)
            taken.append((x, y, w, h))


def test_a_layout_gives_the_same_bytes_for_the_same_chain(desk: Desk, folder: Path, tmp_path: Path) -> None:
    for again in write(desk, tmp_path):
        assert again.read_bytes() == (folder / again.name).read_bytes()


def messages(layout: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element, ElementTree.Element]]:
    """Yield (address, message, control) for each OSC message."""
    for node in layout.iter("node"):
        for osc in node.findall("messages/osc"):
            yield "".join(text_of(partial, "value") for partial in osc.findall("path/partial")), osc, node


def test_a_layout_sends_every_parameter_and_every_command_and_hears_the_meters(desk: Desk, layout: ElementTree.Element) -> None:
    sent = [address for address, osc, _ in messages(layout) if text_of(osc, "send") == "1"]
    presets = ["/preset/load" for _ in PRESETS]
    shown = [NORM + "master/bypass", NORM + "master/mute"]
    wanted = [*shown, *(b.address for b in BUTTONS), *presets, *(c.norm_address for c in desk.controls)]
    assert sorted(sent) == sorted(wanted)
    heard = {address for address, osc, _ in messages(layout) if text_of(osc, "send") == "0"}
    assert heard == {meter.address for meter in METERS}
    assert {b.address[1:] for b in BUTTONS} <= set(COMMANDS)


def test_lua_shows_what_the_fader_means(desk: Desk, layout: ElementTree.Element) -> None:
    """Evaluate the formula in each fader's script, in Python: it is the parameter's own scale."""
    faders = {address: node for address, _, node in messages(layout) if node.get("type") == "FADER" and NORM in address}
    for control in desk.controls:
        node = faders.get(control.norm_address)
        if node is None:
            continue
        script = text_of(properties(node)["script"], "value")
        formula = re.search(r"string\.format\('.*', (.*)\)$", script, re.MULTILINE)
        assert formula
        for x in (0.0, 0.3, 1.0):
            shown = eval(formula[1].replace("^", "**").replace("self.values.x", str(x)))
            assert shown == pytest.approx(control.row.from_norm(x), rel=1e-6, abs=1e-9)


def test_a_layout_asks_to_be_told_at_the_port_after_the_engines(layout: ElementTree.Element) -> None:
    script = text_of(properties(layout[0])["script"], "value")
    assert "{'/subscribe', {{tag = 'i', value = 9124}, {tag = 'f', value = 20}, {tag = 's', value = 'norm'}}}" in script


# Max and Ableton Live


def test_the_device_is_an_audio_effect_around_the_patcher(folder: Path) -> None:
    data = (folder / "autovoice.amxd").read_bytes()
    chunks = {}
    while data:
        name, size = struct.unpack("<4sI", data[:8])
        chunks[name], data = data[8 : 8 + size], data[8 + size :]
    assert (chunks[b"ampf"], len(chunks[b"meta"])) == (b"aaaa", 4)
    assert chunks[b"ptch"].endswith(b"\n\0")
    assert json.loads(chunks[b"ptch"][:-1]) == json.loads((folder / "autovoice.maxpat").read_text())


@pytest.fixture(scope="module")
def patch(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "autovoice.maxpat").read_text())["patcher"]
    return found


def test_every_cord_joins_an_outlet_to_an_inlet_that_exist(patch: dict[str, Any]) -> None:
    boxes = {one["box"]["id"]: one["box"] for one in patch["boxes"]}
    assert len(boxes) == len(patch["boxes"])
    for one in patch["lines"]:
        (source, outlet), (target, inlet) = one["patchline"]["source"], one["patchline"]["destination"]
        assert outlet < boxes[source]["numoutlets"] == len(boxes[source]["outlettype"]) or outlet == 0
        assert inlet < boxes[target]["numinlets"]


def test_live_gets_every_parameter_with_its_range_and_a_middle_where_it_belongs(desk: Desk, patch: dict[str, Any]) -> None:
    boxes = {one["box"]["id"]: one["box"] for one in patch["boxes"]}
    cords = {one["patchline"]["source"][0]: one["patchline"]["destination"][0] for one in patch["lines"]}
    assert boxes["send"]["text"] == "udpsend 192.168.1.5 9123"
    for number, control in enumerate(desk.controls):
        key, row = f"parameter-{number}", control.row
        value = boxes[key]["saved_attribute_attributes"]["valueof"]
        assert value["parameter_longname"] == row.path
        assert boxes[cords[key]]["text"] == f"prepend {control.address}"
        assert cords[cords[key]] == "send"
        if value["parameter_type"] == 0:
            low, high = value["parameter_mmin"], value["parameter_mmax"]
            assert (low, high) == (row.minimum, row.maximum)
            assert low + (high - low) * 0.5 ** value["parameter_exponent"] == pytest.approx(row.from_norm(0.5), rel=1e-2)


# All of it, against a real engine


@pytest.fixture(scope="module")
def playing() -> Iterator[tuple[Desk, SimpleUDPClient, Callable[[Row], float]]]:
    """An engine on the null driver with its OSC server, its desk, a client, and a way to read values as applied."""
    engine = Engine(Chain(STAGES), backend="null", block=64, sample_rate=48_000, name="layouts")
    with engine, Conductor(engine, osc=OscSettings(port=0)) as conductor:
        assert wait_until(lambda: conductor.osc is not None, 20)
        page = ControlPage.attach(engine.processor.control_path)
        board = Board(page)
        values = {path: page.value(row.uid, row.index) for path, row in board.rows.items()}
        desk = desk_of_board(board.data, board.rows, values, port=(conductor.osc or {})["port"])
        with SimpleUDPClient(desk.host, desk.port) as client:
            yield desk, client, lambda row: page.value(row.uid, row.index)


Playing = tuple[Desk, SimpleUDPClient, Callable[[Row], float]]


def arrives(read: Callable[[Row], float], wanted: dict[Row, float]) -> None:
    def there() -> bool:
        return all(read(row) == pytest.approx(value, rel=1e-5, abs=1e-6) for row, value in wanted.items())

    assert wait_until(there), {row.path: (value, read(row)) for row, value in wanted.items()}


def test_the_desk_of_an_engine_is_that_of_its_chain(playing: Playing) -> None:
    desk, _, _ = playing
    other = desk_of_chain(Chain(STAGES), desk.presets)
    assert [(g.key, g.about) for g in desk.groups] == [(g.key, g.about) for g in other.groups]
    assert [(c.row.path, c.row.scale, c.value) for c in desk.controls] == [
        (c.row.path, c.row.scale, c.value) for c in other.controls
    ]
    assert "robot" in desk.presets


def test_every_fader_of_touchosc_moves_its_parameter(playing: Playing) -> None:
    desk, client, read = playing
    layout = ElementTree.fromstring(zlib.decompress(touchosc.layout(desk)))
    rows, wanted = {control.row.path: control.row for control in desk.controls}, {}
    for address, _, node in messages(layout):
        if not address.startswith(NORM):
            continue
        x = 1.0 if node.get("type") == "BUTTON" else 0.25
        client.send_message(address, x)
        row = rows[address.removeprefix(NORM)]
        wanted[row] = row.from_norm(x)
    assert len(wanted) == len(desk.controls)
    arrives(read, wanted)


def test_every_slider_and_widget_and_dial_in_real_units_moves_its_parameter(playing: Playing) -> None:
    desk, client, read = playing
    files = {name: make(desk) for name, _, make in FILES}
    rows = {control.row.path: control.row for control in desk.controls}
    session = json.loads(files["autovoice.open-stage-control.json"])
    patch = json.loads(files["autovoice.maxpat"])["patcher"]
    moved = (w for tab in session["content"]["tabs"][1:] for w in widgets(tab) if "address" in w)
    prepends = [text for box in patch["boxes"] if (text := box["box"].get("text", "")).startswith("prepend ")]
    named = (
        list(sliders(str(files["autovoice.jsfx"]))),
        [widget["address"].removeprefix(ROOT) for widget in moved],
        [text.removeprefix(f"prepend {ROOT}") for text in prepends],
    )
    for step, paths in enumerate(named):
        assert sorted(paths) == sorted(rows)
        wanted = {}
        for path in paths:
            row = rows[path]
            wanted[row] = row.from_norm((step + 1) / 4)
            client.send_message(ROOT + path, wanted[row])
        arrives(read, wanted)


@pytest.mark.parametrize("arguments", [[20.0, "real"], ["PORT", 20.0, "norm"]], ids=["session", "layout"])
def test_the_engine_takes_the_subscriptions_that_the_files_ask_for(playing: Playing, arguments: list[Any]) -> None:
    client = playing[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        client.send_message("/subscribe", [listener.getsockname()[1] if one == "PORT" else one for one in arguments])
        packet = listener.recv(4096) if "PORT" in arguments else client.receive(5)
    assert b"/subscribed" in packet
    client.send_message("/unsubscribe", [])


# The command


def test_the_command_writes_all_files_and_says_what_each_is_for(here: Callable[..., Any], tmp_path: Path) -> None:
    ran = here("layouts", tmp_path / "new", "--chain", "gate,limiter", "--set", "gate/threshold=-30", "--osc-port", "9001")
    assert ran.code == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {name for name, _, _ in FILES}
    assert "gate, limiter; AutoVoice is to listen at 127.0.0.1:9001" in ran.out
    assert ">gate/threshold" in (tmp_path / "new/autovoice.jsfx").read_text()
    assert sliders((tmp_path / "new/autovoice.jsfx").read_text())["gate/threshold"][1] == -30
    assert here("layouts", tmp_path, "--chain", "gat").refused().endswith("did you mean 'gate'?")
    assert "no AutoVoice engine" in here("layouts", tmp_path, "--engine", "nobody-is-called-so").refused()
    assert "leave --chain" in here("layouts", tmp_path, "--engine", "newest", "--chain", "gate").refused()
