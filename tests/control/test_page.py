"""The page, in Chromium, on a running engine that hears a sine."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Engine
from autovoice.rt.control.board import Board
from autovoice.rt.control.conductor import Conductor, WebSettings
from page_driver import (
    AT_HOME,
    BRIGHTEST_AT,
    CONTRAST,
    CONTROLS,
    DESK,
    F0_HZ,
    HORIZONTAL,
    ORDER,
    PATIENCE_S,
    PHONE,
    STAGES,
    TOKEN,
    Show,
    cards,
    fader,
    free_port,
    is_pressed,
    sine,
    stroke,
    until,
)
from support import wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    port = free_port()
    engine = Engine(Chain(STAGES), backend="null", block=64, options={"source": sine()})
    conductor = Conductor(engine, web=WebSettings(port=port, token=TOKEN), takes=tmp_path_factory.mktemp("takes"))
    with engine, conductor:
        assert wait_until(lambda: conductor.web is not None, PATIENCE_S)
        yield Show(engine, conductor, port)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def page_of(show: Show, browser: Any) -> Open:
    """Open a page in a browser profile of its own; its `complaints` are what it wrote as errors."""

    def opened(url: str = show.url, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, "color_scheme": "dark", "reduced_motion": "reduce", **options})
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(url)
        until(page, "performance.getEntriesByName('autovoice:ready').length")
        return page

    return opened


@pytest.fixture(scope="module")
def first(page_of: Open) -> Any:
    return page_of()


@pytest.fixture(scope="module")
def second(page_of: Open) -> Any:
    return page_of(viewport={"width": 640, "height": 480})  # its drawings are out of sight, and so not drawn


@pytest.fixture
def page(show: Show, first: Any) -> Iterator[Any]:
    """The page of a chain that is set as in the tables; in the end it may not have complained."""
    show.reset()
    until(first, AT_HOME, STAGES)
    first.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    yield first
    assert not first.complaints


@pytest.fixture
def other(page: Any, second: Any) -> Any:
    """Another page of the same engine."""
    until(second, AT_HOME, STAGES)
    return second


@pytest.fixture(scope="module")
def phone(page_of: Open, show: Show) -> Any:
    show.reset()
    return page_of(viewport=PHONE, has_touch=True, is_mobile=True)


@pytest.fixture
def opened(show: Show, page_of: Open) -> Iterator[Open]:
    """Open one more page, of a chain that is set as in the tables."""
    show.reset()
    pages = []
    yield lambda *url, **options: pages.append(page_of(*url, **options)) or pages[-1]
    for page in pages:
        page.context.close()


def test_everything_comes_from_the_engine_itself(page: Any, show: Show) -> None:
    assert cards(page) == STAGES
    assert "token" not in page.url
    sources = page.evaluate("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)")
    assert set(sources) == {show.bare_url.rstrip("/")}


def test_a_fader_moves_the_engine_and_every_other_page(page: Any, other: Any, show: Show) -> None:
    fader(page, "compressor/threshold").scroll_into_view_if_needed()
    box = fader(page, "compressor/threshold").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=4)
    page.mouse.up()
    assert wait_until(lambda: abs(show.value("compressor/threshold") + 45.0) < 2.0)  # a quarter of -60..0 dBFS

    def say_what_plays() -> bool:
        value = f"\N{MINUS SIGN}{-show.value('compressor/threshold'):.1f} dBFS"
        return all(fader(one, "compressor/threshold").get_attribute("aria-valuetext") == value for one in (page, other))

    assert wait_until(say_what_plays)  # the last of the moves may still be under way


def test_values_are_typed_with_units_and_kept_in_range(page: Any, show: Show) -> None:
    for text, value, shown in (("0,5k", 500.0, "500 Hz"), ("9999", 1000.0, "1.00 kHz"), ("31.5 Hz", 31.5, "31.5 Hz")):
        field = page.get_by_label("highpass cutoff, typed")
        field.fill(text)
        field.press("Enter")
        assert field.input_value() == shown
        assert wait_until(lambda value=value: show.value("highpass/cutoff") == pytest.approx(value))
    field.fill("loud")
    field.press("Enter")
    assert field.get_attribute("aria-invalid") == "true"
    field.press("Escape")
    assert field.input_value() == "31.5 Hz"
    fader(page, "highpass/cutoff").press("Delete")
    assert wait_until(lambda: show.value("highpass/cutoff") == 80.0)


def test_the_keyboard_moves_a_fader_by_steps(page: Any, show: Show) -> None:
    slider = fader(page, "compressor/threshold")
    slider.press("ArrowUp")
    assert wait_until(lambda: show.value("compressor/threshold") == pytest.approx(-19.4))  # a hundredth of 60 dB
    slider.press("Shift+ArrowDown")
    assert wait_until(lambda: show.value("compressor/threshold") == pytest.approx(-19.46))
    slider.press("End")
    assert wait_until(lambda: show.value("compressor/threshold") == 0.0)


def test_faders_move_as_the_engine_scales_them(page: Any, show: Show) -> None:
    rows = [row for row in Board(show.engine.processor.page).rows.values() if row.scale in ("linear", "log")]
    norms = [0.0, 0.1, 0.37, 0.5, 0.99, 1.0]
    params = [{k: getattr(r, k) for k in ("unit", "minimum", "maximum", "default", "scale")} for r in rows]
    answer = page.evaluate(
        "async ([params, norms]) => { const { fromNorm, toNorm } = await import('/static/scale.js');"
        " return params.map((p) => norms.map((n) => [fromNorm(p, n), toNorm(p, fromNorm(p, n))])); }",
        [params, norms],
    )
    expected = [[[row.from_norm(n), n] for n in norms] for row in rows]
    np.testing.assert_allclose(np.array(answer), np.array(expected), rtol=1e-9, atol=1e-9)


def test_a_card_is_dragged_to_another_place(page: Any, show: Show) -> None:
    handle = page.get_by_role("button", name="Move gate,")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 12)
    page.mouse.move(x, y + 2 * 54, steps=4)  # a folded card is 54 px with the gap
    page.mouse.up()
    wanted = ["highpass", "pitch", "compressor", "gate", "limiter"]
    assert cards(page) == wanted  # at once
    assert wait_until(lambda: show.keys() == wanted)


def test_the_keyboard_moves_a_card_and_says_so(page: Any, other: Any, show: Show) -> None:
    handle = page.get_by_role("button", name="Move limiter,")
    handle.press("ArrowUp")
    handle.press("ArrowUp")
    assert page.inner_text("#announcer") == "limiter is 3 of 5"
    wanted = ["highpass", "gate", "limiter", "pitch", "compressor"]
    assert wait_until(lambda: show.keys() == wanted)
    until(other, ORDER, ",".join(wanted))
    assert page.evaluate("document.activeElement.ariaLabel") == "Move limiter, 3 of 5"


def test_a_stage_is_found_added_and_removed(page: Any, show: Show) -> None:
    page.get_by_role("button", name="Add stage").click()
    page.get_by_role("searchbox").fill("gai")
    page.keyboard.press("Enter")
    until(page, ORDER, "highpass,gate,pitch,compressor,gain,limiter")  # a new stage goes before a limiter at the end
    assert show.keys()[4] == "gain"
    page.get_by_role("button", name="Remove gain").click()
    until(page, ORDER, ",".join(STAGES))
    assert show.keys() == STAGES


def test_an_option_swaps_the_chain(page: Any, show: Show) -> None:
    page.get_by_label("highpass slope").select_option(label="24dB")
    assert wait_until(lambda: show.engine.chain["highpass"].options["slope"] == "24dB")
    lookahead = page.get_by_label("limiter lookahead")
    lookahead.fill("1 ms")
    show.conductor.do("chain/option", "highpass", "slope", "12dB")  # by someone else, meanwhile
    until(page, "document.querySelector('[aria-label=\"highpass slope\"]').value === '0'")
    lookahead.press("Enter")
    assert wait_until(lambda: show.engine.chain["limiter"].options["lookahead"] == 1.0)
    until(page, "document.querySelector('#budget-rows').textContent.includes('1.13')")  # ms: 1 ms and the true peak's filter


def test_a_stage_is_bypassed(page: Any, show: Show) -> None:
    page.get_by_role("button", name="Bypass gate").click()
    assert wait_until(lambda: show.value("gate/bypass") == 1.0)
    assert is_pressed(page, "Bypass gate")
    show.engine.set("gate/bypass", 0.0)
    until(page, "document.querySelector('[data-path=\"gate/bypass\"]').ariaPressed === 'false'")


def test_space_mutes_but_not_while_typing(page: Any, show: Show) -> None:
    for _ in range(2):
        page.get_by_role("button", name="Controls of gate").click()  # gives the keyboard back
    page.keyboard.press(" ")
    assert wait_until(lambda: show.value("master/mute") == 1.0)
    assert is_pressed(page, "Mute")
    page.get_by_label("highpass cutoff, typed").press(" ")
    page.get_by_role("button", name="Bypass gate").press(" ")  # presses the button that is focused
    assert wait_until(lambda: show.value("gate/bypass") == 1.0)
    assert show.value("master/mute") == 1.0
    fader(page, "highpass/cutoff").press(" ")
    assert wait_until(lambda: show.value("master/mute") == 0.0)


def test_panic_silences_and_says_so(page: Any, show: Show) -> None:
    page.get_by_role("button", name="Panic").click()
    assert wait_until(lambda: show.value("master/mute") == 1.0)
    until(page, "document.querySelector('[data-path=\"master/mute\"]').ariaPressed === 'true'")


def test_r_records_and_shows_the_time(page: Any, show: Show) -> None:
    page.keyboard.press("r")
    until(page, "document.querySelector('#record-time').textContent === '0:00'")
    assert show.engine.recorder is not None
    page.keyboard.press("r")
    assert wait_until(lambda: show.engine.recorder is None)


def test_a_controller_is_learned_for_a_parameter(page: Any, show: Show) -> None:
    def learning() -> str | None:
        return Board(show.engine.processor.page).data["state"]["midi"]["learning"]

    page.get_by_role("button", name="MIDI", exact=True).click()
    page.get_by_role("button", name="Learn a controller for gate hold").click()
    assert wait_until(lambda: learning() == "gate/hold")
    page.get_by_role("button", name="Stop learning gate hold").click()
    assert wait_until(lambda: learning() is None)
    page.get_by_role("button", name="MIDI", exact=True).click()
    assert page.locator("button.midi").count() == 0


def test_undo_takes_a_change_back(page: Any, show: Show) -> None:
    page.get_by_role("button", name="Remove gate").click()
    until(page, ORDER, "highpass,pitch,compressor,limiter")
    page.keyboard.press("z")
    until(page, ORDER, ",".join(STAGES))
    page.keyboard.press("y")
    until(page, ORDER, "highpass,pitch,compressor,limiter")
    assert len(show.keys()) == 4


def test_a_preset_is_loaded(page: Any, show: Show) -> None:
    page.get_by_label("Preset", exact=True).select_option("radio")
    page.get_by_role("button", name="Load", exact=True).click()
    until(page, "document.querySelector('#chain-about').textContent.includes('radio')")
    assert cards(page) == show.keys() != STAGES


def test_what_is_refused_is_said_in_one_line(page: Any, show: Show) -> None:
    for key in STAGES[:-1]:
        page.get_by_role("button", name=f"Remove {key}").click()
        until(page, "key => !document.querySelector(`[data-key=${key}]`)", key)
    page.get_by_role("button", name="Remove limiter").click()
    page.get_by_role("alert").filter(has_text="a chain holds at least one").wait_for()
    assert show.keys() == ["limiter"]


def test_the_instruments_read_what_is_heard(page: Any) -> None:
    until(page, "document.querySelector('#pitch-note').textContent === 'A3'")
    until(page, "Math.abs(Number(document.querySelector('#meter-in').ariaValueNow) + 6.02) < 0.11")
    until(page, "document.querySelector('#pitch-hz').textContent.startsWith('220.')")
    until(page, "document.querySelector('#callback-p50').textContent.includes('s')")
    until(page, BRIGHTEST_AT, F0_HZ)


def test_equal_steps_of_the_colour_map_are_equal_steps_of_lightness(page: Any) -> None:
    pixels = page.evaluate("import('/static/colours.js').then(({ colourMap }) => [...new Uint8Array(colourMap().buffer)])")
    rgb = np.array(pixels).reshape(256, 4)[:, :3] / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
    lightness = np.cbrt(cones) @ [0.2105, 0.7936, -0.0041]  # Oklab
    assert np.abs(np.diff(lightness, 2)).max() < 0.01
    assert lightness[-1] - lightness[0] > 0.75
    assert np.diff(lightness[::8]).min() > 0.02


def test_a_lost_server_shows_and_comes_back(page: Any, show: Show) -> None:
    fader(page, "gate/hold").focus()
    os.kill(show.conductor._hosts[0].pid or 0, signal.SIGKILL)
    page.get_by_text("Connection lost, trying again", exact=True).first.wait_for()
    assert fader(page, "gate/hold").is_disabled()
    page.get_by_text("Connected", exact=True).wait_for()
    fader(page, "gate/hold").press("End")
    assert wait_until(lambda: show.value("gate/hold") == 1000.0)
    page.complaints.clear()  # Chromium logs every try


def test_without_the_token_the_page_only_looks(opened: Open, show: Show) -> None:
    page = opened(show.bare_url)
    assert fader(page, "gate/hold").is_disabled()
    assert page.get_by_role("button", name="Mute", exact=True).is_disabled()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Unlock").click()
    page.get_by_text("this token is wrong").wait_for()
    page.complaints.clear()  # of the refusal
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Unlock").click()
    page.locator("#token").wait_for(state="hidden")
    fader(page, "gate/hold").press("Home")
    assert wait_until(lambda: show.value("gate/hold") == 10.0)


def test_it_fits_a_phone(phone: Any) -> None:
    assert phone.evaluate(HORIZONTAL) == 0
    for button in phone.query_selector_all(".fold[aria-expanded=false]"):
        button.evaluate("button => button.click()")
    assert phone.evaluate(HORIZONTAL) == 0
    assert phone.get_by_role("button", name="Mute", exact=True).is_visible()


def test_a_finger_moves_a_fader_sideways_and_scrolls_over_it(phone: Any, show: Show) -> None:
    slider = fader(phone, "highpass/cutoff")
    slider.scroll_into_view_if_needed()
    before = phone.evaluate("scrollY")
    stroke(phone, slider, 0, -160)
    until(phone, "before => scrollY > before + 40", before)
    assert show.value("highpass/cutoff") == 80.0
    slider.scroll_into_view_if_needed()
    stroke(phone, slider, -40, 0)
    width = slider.bounding_box()["width"]
    assert wait_until(lambda: show.value("highpass/cutoff") == pytest.approx(80.0 * 50 ** (-40 / width), rel=1e-3))


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_text_stands_out_from_its_ground(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="Bypass", exact=True).click()
    page.get_by_role("button", name="Mute", exact=True).click()
    page.mouse.move(0, 0)
    assert page.evaluate(CONTRAST) == []


def test_every_control_has_a_name_of_its_own(page: Any) -> None:
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"].lower(), node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"].lower() in CONTROLS
    ]
    assert len(named) > 80
    assert [role for role, name in named if not name.strip()] == []
    assert {pair for pair in named if named.count(pair) > 1} == set()
    units = page.eval_on_selector_all("input[type=range]", "all => all.map((slider) => slider.ariaValueText)")
    assert all(units) and "150 ms" in units
