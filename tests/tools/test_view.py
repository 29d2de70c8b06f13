"""The view in a terminal: what it reads from a real engine, what its keys do there, and how it ends."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import textual.app
import textual.pilot
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Engine
from autovoice.rt.control.conductor import Conductor, OscSettings
from autovoice.rt.layout import SUB_BUCKETS
from autovoice.rt.registry import RegistryError, publish, withdraw
from autovoice.tools.view import app, draw
from autovoice.tools.view.app import Peak, Presets, View
from autovoice.tools.view.reading import Incidents, Link, note_of, small_histogram
from support import PATIENCE_S, wait_until
from textual.pilot import Pilot

STAGES = ("gate", "shift", "limiter")
NAME = "viewed"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine on the null driver with OSC."""
    running = Engine(Chain(STAGES), backend="null", block=64, sample_rate=48_000, name=NAME)
    with running, Conductor(running, osc=OscSettings(port=0)) as conductor:
        assert wait_until(lambda: conductor.osc is not None)
        yield running


@pytest.fixture
def alone() -> Iterator[Engine]:
    """An engine without controls, as a Python program starts it."""
    with Engine(Chain(["gain"]), backend="null", name="alone") as running:
        yield running


@pytest.fixture(autouse=True)
def at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the meters seldom: these tests look at what is drawn, not at how often.

    After a key the pilot waits for the process to be idle, a second at most: one in which an engine plays never is.
    """

    async def moment(*times: float) -> None:
        await asyncio.sleep(0.02)

    monkeypatch.setattr(app, "LEVELS_S", 0.5)
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", moment)


def pressed(link: Link, script: Callable[[View, Pilot[Any]], Awaitable[None]], size: tuple[int, int] = (120, 40)) -> Any:
    """Run the view without a terminal, let a script press its keys, and return what it ends with."""

    async def run() -> Any:
        view = View(link)
        async with view.run_test(size=size) as pilot:
            await pilot.pause()
            await script(view, pilot)
        return view.return_value

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


def shown(view: View) -> str:
    """What stands in the terminal, line by line."""
    return "\n".join("".join(segment.text for segment in strip) for strip in view.screen._compositor.render_strips())


# Characters


def test_a_bar_has_its_width_and_grows_by_eighths() -> None:
    bars = [draw.bar(share, 5) for share in np.linspace(0, 1, 41)]
    assert {len(one) for one in bars} == {5}
    assert bars[0] == "     " and bars[-1] == "█████"
    assert len(set(bars)) == 41
    assert draw.bar(-3, 2) == "  " and draw.bar(7, 2) == "██"


def test_a_peak_mark_stands_above_the_bar_and_never_outside() -> None:
    assert draw.bar(0.2, 10, 0.75) == "██     ┃  "
    assert draw.bar(0.2, 10, 1.0) == "██       ┃"
    assert draw.bar(0.9, 10, 0.5) == draw.bar(0.9, 10)


def test_a_peak_holds_then_falls() -> None:
    peak = Peak()
    assert peak.of(0.8, 10.0) == 0.8
    assert peak.of(0.1, 11.4) == 0.8
    assert 0.1 < peak.of(0.1, 12.0) < 0.8
    assert peak.of(0.1, 20.0) == 0.1
    assert peak.of(0.9, 20.1) == 0.9


@pytest.mark.parametrize(("f0_hz", "note", "cents"), [(440.0, "A4", 0), (446.4, "A4", 25), (58.27, "A#1", 0)])
def test_a_pitch_has_the_nearest_note(f0_hz: float, note: str, cents: float) -> None:
    found, off = note_of(f0_hz)
    assert found == note
    assert off == pytest.approx(cents, abs=0.6)
    assert note_of(0.0) == note_of(math.nan) == (None, 0.0)


def test_the_small_histogram_counts_every_callback_once() -> None:
    rng = np.random.default_rng(5)
    edges = np.concatenate(([0.0], np.logspace(-2, 6, 300)))
    counts = rng.integers(0, 9, len(edges))
    assert sum(count for _, _, count in small_histogram(edges, counts)) == counts.sum()
    assert small_histogram(edges, np.zeros_like(counts)) == []
    one = np.zeros_like(counts)
    one[np.searchsorted(edges, 70.0)] = 3
    assert small_histogram(edges, one) == [(50.0, 100.0, 3)]


# A real engine


def test_a_reading_says_what_the_engine_says(engine: Engine) -> None:
    link = Link(NAME)
    engine.set("shift/semitones", 3.0)
    engine.bypass("gate")
    assert wait_until(lambda: link.read().chain[0].bypass)
    reading, latencies = link.read(), {p.key: p.stage.latency(48_000, p.options) for p in engine.chain.placed}
    assert [(p.key, p.latency_frames) for p in reading.chain] == list(latencies.items())
    assert reading.stats.latency_frames == sum(latencies.values())
    assert {p.key: p.parameters for p in reading.chain}["shift"]["semitones"] == 3.0
    assert (reading.backend, reading.stats.block, reading.period_us) == ("null", 64, pytest.approx(1333.3, abs=0.1))
    assert wait_until(lambda: link.read().chain[0].cost_us > 0)
    assert sum(n for _, _, n in link.read().histogram) > 100 * SUB_BUCKETS // SUB_BUCKETS
    engine.bypass("gate", False)


def test_once_and_json_print_one_reading(engine: Engine, here: Callable[..., Any]) -> None:
    text = here("view", NAME, "--once").out
    assert text.startswith(f"{NAME} · null, 48 kHz, 64 frames\n")
    for part in (
        "pitch",
        "latency",
        "callbacks",
        "xruns",
        "shift: semitones",
        "limiter: ceiling -1 dBFS",
        "master: input 0 dB",
    ):
        assert part in text
    data = json.loads(here("view", NAME, "--json").out)
    assert data["chain"][-1]["parameters"]["ceiling"] == -1.0
    assert data["stats"]["sample_rate"] == 48_000
    assert here("view", "viewd").refused().endswith("did you mean 'viewed'?")
    assert here("view", NAME).refused().startswith("autovoice: the view needs a terminal")


def test_keys_choose_and_move_parameters_on_the_audio_thread(engine: Engine) -> None:
    values = lambda: engine.processor.values  # noqa: E731

    async def script(view: View, pilot: Pilot[Any]) -> None:
        await pilot.press("d")
        assert await until(lambda: values()["gate/threshold"] == -45.0)  # the first row
        await pilot.press("right", "shift+left")
        assert await until(lambda: values()["gate/threshold"] == pytest.approx(-45.0 + 0.9 - 9.0))
        await pilot.press("end", "up", "up", "left")  # master: input, output, mix, bypass, mute
        assert await until(lambda: values()["master/mix"] == pytest.approx(0.99))
        await pilot.press("m")
        assert await until(lambda: values()["master/mute"] == 1.0)
        assert await until(lambda: "MUTED" in shown(view))
        await pilot.press("m")
        assert await until(lambda: values()["master/mute"] == 0.0)
        await pilot.press("home", "b")
        assert await until(lambda: values()["gate/bypass"] == 1.0)
        assert await until(lambda: "gate  BYPASSED" in shown(view))
        await pilot.press("b", "exclamation_mark")
        assert await until(lambda: values()["gate/bypass"] == 0.0 and values()["master/mute"] == 1.0)
        await pilot.press("m", "q")

    assert pressed(Link(NAME), script) is None


def test_only_the_name_of_the_chosen_parameter_is_marked(engine: Engine) -> None:
    async def script(view: View, pilot: Pilot[Any]) -> None:
        spans = [span for span in view._chain().spans if span.style == app.CHOSEN]
        (span,) = spans
        assert view._chain().plain[span.start : span.end].strip() == "threshold"

    pressed(Link(NAME), script)


def test_the_chosen_parameter_stays_in_sight(engine: Engine) -> None:
    async def script(view: View, pilot: Pilot[Any]) -> None:
        await pilot.press("end")
        assert await until(lambda: "mute" in shown(view))
        await pilot.press("pageup", "home")
        assert await until(lambda: "threshold" in shown(view))

    pressed(Link(NAME), script, (100, 16))


@pytest.mark.parametrize("size", [(80, 24), (12, 4)])
def test_it_fits_every_terminal(engine: Engine, size: tuple[int, int]) -> None:
    async def script(view: View, pilot: Pilot[Any]) -> None:
        def fits() -> bool:
            lines = shown(view).splitlines()
            return len(lines) == size[1] and {len(line) for line in lines} == {size[0]}

        assert await until(fits)
        await asyncio.sleep(0.1)
        assert fits()
        await pilot.resize_terminal(90, 20)
        assert await until(lambda: "latency" in shown(view) and "gate" in shown(view))

    pressed(Link(NAME), script, size)


def test_a_preset_is_chosen_from_a_list(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(NAME)
    assert link.board is not None
    asked: list[tuple[object, ...]] = []

    async def script(view: View, pilot: Pilot[Any]) -> None:
        monkeypatch.setattr(view._hand, "send", lambda *message: asked.append(message))
        link.board.data["state"] = {"presets": ["choir", "robot"]}  # type: ignore[union-attr]
        monkeypatch.setattr(link.board, "refresh", lambda: False)
        await pilot.press("o")
        assert await until(lambda: isinstance(view.screen, Presets))
        await pilot.press("down", "enter")
        assert await until(lambda: asked == [("/preset/load", "robot")])
        await pilot.press("o")
        assert await until(lambda: isinstance(view.screen, Presets))
        await pilot.press("escape")
        assert await until(lambda: not isinstance(view.screen, Presets))
        assert asked == [("/preset/load", "robot")]

    pressed(link, script)


def test_what_the_engine_refuses_is_shown(engine: Engine) -> None:
    async def script(view: View, pilot: Pilot[Any]) -> None:
        view._hand.send("/preset/load", "there-is-none")
        assert await until(lambda: "there-is-none" in view._said or "preset/load" in view._said)

    pressed(Link(NAME), script)


def test_an_engine_without_controls_is_read_only(alone: Engine, here: Callable[..., Any]) -> None:
    async def script(view: View, pilot: Pilot[Any]) -> None:
        await pilot.press("m", "right", "o", "b")
        assert await until(lambda: "read-only" in shown(view))

    link = Link("alone")
    pressed(link, script)
    assert link.read().stats.cycles > 0
    assert "gain" in here("view", "alone", "--once").out
    assert alone.processor.values.get("master/mute", 0.0) == 0.0


def test_it_ends_with_one_line_when_the_engine_ends() -> None:
    engine = Engine(Chain(["gain"]), backend="null", name="brief").start()

    async def script(view: View, pilot: Pilot[Any]) -> None:
        await asyncio.to_thread(engine.stop)
        assert await until(lambda: view._exit)

    assert pressed(Link("brief"), script) == "the engine brief ended"
    with pytest.raises(RegistryError):
        Link("brief")


def test_trouble_is_noted_with_the_time(engine: Engine) -> None:
    from dataclasses import replace

    incidents, stats = Incidents(), Link(NAME).read().stats
    assert incidents.news(stats) == []
    worse = replace(stats, xruns=stats.xruns + 2, misses=stats.misses + 1)
    found = incidents.news(worse)
    assert [one.text.split(",")[0] for one in found] == ["+2 xruns of the driver", "+1 callbacks over the period"]
    assert incidents.news(worse) == []


def test_pages_that_are_not_ours_are_refused_in_one_line(engine: Engine, tmp_path: Any) -> None:
    from dataclasses import replace

    (tmp_path / "page").write_bytes(bytes(1 << 20))
    path = publish(replace(Link(NAME).entry, name="odd", telemetry=str(tmp_path / "page")))
    try:
        with pytest.raises(Exception, match="'odd' cannot be read"):
            Link("odd")
    finally:
        withdraw(path)
    assert not issubclass(StageError, RegistryError)
