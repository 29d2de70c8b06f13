"""The view itself, drawn by Textual: it writes only the cells that changed, so it neither flickers nor floods an ssh line."""

from __future__ import annotations

import time
from typing import ClassVar

from autovoice.rt.control.board import Row
from autovoice.tools.view import draw
from autovoice.tools.view.hand import LEAP, STEP, Hand
from autovoice.tools.view.reading import Incident, Incidents, Link, Reading, stopped
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

LEVELS_S, FIGURES_S, END_S = 1 / 15, 0.25, 0.5  # between two drawings of the meters and of the rest, and looks for the end
HOLD_S, FALL_PER_S = 1.5, 0.5  # of a peak mark: how long it stays, and then how much of the meter it falls
LOG_LINES = 50
COSTS_S = 2.0  # between two looks at what stages cost: a median in flux would redraw the whole chain all the time
NARROW = 90  # columns below which the chain goes under the meters
SAID_S = 6.0  # an answer of the engine stays so long

GOOD, WARM, HOT, DIM, CHOSEN = "green", "yellow", "red", "grey50", "reverse"


class Peak:
    """A mark that stays at the highest level of late, then falls."""

    def __init__(self) -> None:
        """Begin at the floor."""
        self._part, self._at = 0.0, 0.0

    def of(self, part: float, now: float) -> float:
        """Return where the mark stands, given where the meter does."""
        held = self._part - max(now - self._at - HOLD_S, 0.0) * FALL_PER_S
        if part >= held:
            self._part, self._at, held = part, now, part
        return held


class Presets(ModalScreen[str | None]):
    """A list to choose a preset from."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "Back")]
    CSS = "Presets { align: center middle; } Presets OptionList { width: 40; max-height: 80%; border: round $accent; }"

    def __init__(self, names: list[str]) -> None:
        """Show these."""
        super().__init__()
        self._names = names

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        yield OptionList(*(Option(name, id=name) for name in self._names))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Give the choice back."""
        self.dismiss(event.option.id)


class View(App[str | None]):
    """One engine. Its result is the line to print when it ends by itself."""

    TITLE = "AutoVoice"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #title { height: 1; background: $panel; padding: 0 1; }
    #body { height: 1fr; }
    Static { text-wrap: nowrap; text-overflow: ellipsis; }
    #meters { width: 1fr; padding: 0 1; }
    #chain { width: 1fr; padding: 0 1; border-left: solid $panel; }
    #said { height: 1; padding: 0 1; color: $text-muted; }
    .narrow #body { layout: vertical; }
    .narrow #meters { width: 100%; height: 12; }
    .narrow #chain { width: 100%; border-left: none; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Choose", key_display="↑↓"),
        Binding("down,j", "choose(1)", show=False),
        Binding("pageup", "choose(-10)", show=False),
        Binding("pagedown", "choose(10)", show=False),
        Binding("home", "choose(-1000)", show=False),
        Binding("end", "choose(1000)", show=False),
        Binding("left,h,minus", f"move({-STEP})", "Move", key_display="←→"),
        Binding("right,l,plus", f"move({STEP})", show=False),
        Binding("shift+left,H", f"move({-LEAP})", show=False),
        Binding("shift+right,L", f"move({LEAP})", show=False),
        Binding("d,backspace", "default", "Default"),
        Binding("b", "bypass", "Bypass stage"),
        Binding("B", "switch('master/bypass')", "Bypass all"),
        Binding("m", "switch('master/mute')", "Mute"),
        Binding("exclamation_mark,p", "panic", "Panic", key_display="!"),
        Binding("o", "presets", "Preset"),
        Binding("t", "send('/tap')", "Tap"),
        Binding("u", "send('/undo')", "Undo"),
        Binding("U", "send('/redo')", show=False),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, link: Link) -> None:
        """Show an engine that is attached to."""
        super().__init__()
        self._link = link
        self._hand = Hand(link)
        self._incidents, self._happened = Incidents(), list[Incident]()
        self._peaks = {"in": Peak(), "out": Peak()}
        self._chosen: str | None = None  # path
        self._said, self._said_until = "", 0.0
        self._lines: list[str | None] = []  # the path that each line of the chain is for
        self.reading: Reading = link.read()
        # Held here, since a query would look in whatever screen is on top.
        self._title_bar, self._levels, self._figures = Static(id="title"), Static(id="levels"), Static(id="figures")
        self._rows, self._answer = Static(id="rows"), Static(id="said")
        self._drawn: dict[Static, Text] = {}
        self._costs, self._costs_at = dict[str, float](), 0.0
        self._meters = Vertical(self._levels, self._figures, id="meters")
        self._scroll = VerticalScroll(self._rows, id="chain", can_focus=False)

    def compose(self) -> ComposeResult:
        """Lay out the parts."""
        yield self._title_bar
        yield Horizontal(self._meters, self._scroll, id="body")
        yield self._answer
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._look()
        self.set_interval(LEVELS_S, self._draw_levels)
        self.set_interval(FIGURES_S, self._look)
        self.set_interval(END_S, self._look_for_end)

    def on_resize(self, event: Resize) -> None:
        """Put the chain beside the meters, or under them."""
        self.set_class(event.size.width < NARROW, "narrow")

    def on_unmount(self) -> None:
        """Close the way to the engine."""
        self._hand.close()

    def _look_for_end(self) -> None:
        if self._link.ended():
            self.exit(f"the engine {self._link.entry.name} ended")

    def _look(self) -> None:
        """Read the engine and draw what it says, but for the meters."""
        self.reading = reading = self._link.read()
        self._happened = [*self._happened, *self._incidents.news(reading.stats)][-LOG_LINES:]
        rows = self._link.rows
        if self._chosen not in rows:
            self._chosen = next((path for path in rows if _is_shown(path)), None)
        for line in self._hand.answers():
            self._say(line)
        if time.monotonic() > self._said_until:
            self._said = self._hand.reason or ""
        self._show(self._title_bar, self._title())
        self._show(self._figures, self._figures_text())
        self._show(self._rows, self._chain())
        self._show(self._answer, Text(self._said))

    def _draw_levels(self) -> None:
        telemetry = self._link.telemetry
        levels = {side: draw.dbfs(float(telemetry[f"{side}_peak"])) for side in ("in", "out")}
        self._show(self._levels, self._levels_text(levels, float(telemetry["load"])))

    def _show(self, part: Static, text: Text) -> None:
        """Put a text into a part where it is another than before; the parts are laid out anew only when it grows or shrinks."""
        before = self._drawn.get(part)
        if text != before:
            self._drawn[part] = text
            part.update(text, layout=before is None or text.plain.count("\n") != before.plain.count("\n"))

    def _say(self, line: str) -> None:
        self._said, self._said_until = line, time.monotonic() + SAID_S

    def _title(self) -> Text:
        text = Text(draw.title(self.reading), style="bold")
        why = stopped(self.reading)
        for path, word in (("mute", "MUTED"), ("bypass", "BYPASSED")):
            if self.reading.master.get(path, 0.0) >= 0.5:
                text.append(f"  {word}", HOT)
        return text.append(f"  {why}", HOT) if why else text

    def _levels_text(self, levels: dict[str, float], load: float) -> Text:
        now = time.monotonic()
        width = max(self._meters.size.width - 16, 8)
        text = Text()
        for name, dbfs in levels.items():
            part = draw.share(dbfs)
            color = HOT if dbfs > -1 else WARM if dbfs > -6 else GOOD
            text.append(f"{name:<4}{draw.level(dbfs)} ").append(draw.bar(part, width, self._peaks[name].of(part, now)), color)
            text.append("\n")
        text.append(f"load{100 * load:5.1f}% ").append(draw.bar(load, width), HOT if load > 0.7 else GOOD)
        return text

    def _figures_text(self) -> Text:
        reading = self.reading
        width = max(self._meters.size.width - 32, 4)
        text = Text()
        text.append("pitch    ", DIM).append(draw.pitch(reading)).append("\n")
        if reading.gains_db:
            text.append("gains dB ", DIM).append(draw.gains(reading)).append("\n")
        bad = reading.stats.xruns or reading.stats.misses
        text.append("trouble  ", DIM).append(draw.trouble(reading), HOT if bad else "").append("\n")
        for line in reversed(self._happened[-4:]):
            text.append(f"  {line.clock} {line.text}\n", WARM)
        text.append("latency\n", DIM).append("\n".join(draw.latency(reading))).append("\n")
        text.append(f"callbacks, of {reading.period_us:.0f} µs\n", DIM).append(f"  {draw.callbacks(reading)}\n")
        return text.append("\n".join(draw.histogram(reading, width)))

    def _chain(self) -> Text:
        """Write the chain with its parameters, a line each, and note which line is for what."""
        rows, text = self._link.rows, Text()
        lines: list[str | None] = []
        places = {place.key: place for place in self.reading.chain}
        if time.monotonic() - self._costs_at > COSTS_S or self._costs.keys() != places.keys():
            self._costs, self._costs_at = {key: place.cost_us for key, place in places.items()}, time.monotonic()
        if not rows:
            text.append("\n".join(places))
        stage = ""
        for path, row in rows.items():
            key = path.partition("/")[0]
            if key != stage:
                stage, place = key, places.get(key)
                note = f"  {self._costs[key]:.1f} µs" if self._costs.get(key) else ""
                text.append(f"{key}", "bold").append("  BYPASSED" if place is not None and place.bypass else "", HOT)
                text.append(f"{note}\n", DIM)
                lines.append(None)
            if _is_shown(path):
                lines.append(path)
                text.append_text(self._row(row, path == self._chosen)).append("\n")
        self._lines = lines
        return text

    def _row(self, row: Row, chosen: bool) -> Text:
        value = self._link.value(row)
        part = row.to_norm(value) if value == value else 0.0
        moves = row.scale not in ("switch", "choice")
        fader = draw.bar(part, 12) if moves else " " * 12
        text = Text("  ").append(f"{row.name:<20.20}", CHOSEN if chosen else "")
        return text.append(" ").append(fader, GOOD).append(f" {draw.value_text(row, value)}")

    def action_choose(self, by: int) -> None:
        """Choose another parameter."""
        paths = [path for path in self._lines if path is not None]
        if not paths:
            return
        at = paths.index(self._chosen) if self._chosen in paths else 0
        self._chosen = paths[min(max(at + by, 0), len(paths) - 1)]
        self._look()
        scroll, line = self._scroll, self._lines.index(self._chosen)
        height = scroll.size.height
        if not scroll.scroll_y + 1 <= line < scroll.scroll_y + height - 1:
            scroll.scroll_to(y=max(line - height // 2, 0), animate=False)

    def action_move(self, steps: float) -> None:
        """Move the chosen parameter along its fader."""
        row = self._may_move()
        if row is not None:
            self._hand.move(row, self._link.value(row), steps)

    def action_default(self) -> None:
        """Set the chosen parameter to its default."""
        row = self._may_move()
        if row is not None:
            self._hand.set(row, row.default)

    def action_bypass(self) -> None:
        """Bypass the stage of the chosen parameter, or bring it back."""
        if self._chosen is not None:
            self.action_switch(f"{self._chosen.partition('/')[0]}/bypass")

    def action_switch(self, path: str) -> None:
        """Turn a switch the other way."""
        row = self._link.rows.get(path)
        if row is not None and self._may_move() is not None:
            self._hand.set(row, 0.0 if self._link.value(row) >= 0.5 else 1.0)

    def action_panic(self) -> None:
        """Silence everything and forget every tail; m brings the voice back."""
        self.action_send("/panic")

    def action_send(self, address: str) -> None:
        """Send a command without arguments."""
        if self._may_move() is not None:
            self._hand.send(address)

    def action_presets(self) -> None:
        """Offer the presets."""
        board = self._link.board
        names = list((board.data.get("state") or {}).get("presets", ())) if board is not None else []
        if self._may_move() is None:
            return
        if not names:
            self._say("this engine knows no presets")
            return
        self.push_screen(Presets([str(name) for name in names]), self._load)

    def _load(self, name: str | None) -> None:
        if name is not None:
            self._hand.send("/preset/load", name)

    def _may_move(self) -> Row | None:
        """Return the chosen row where something may be moved; else say why not."""
        if self._hand.reason is not None:
            self._say(self._hand.reason)
            return None
        return self._link.rows.get(self._chosen or "")


def _is_shown(path: str) -> bool:
    """Say whether a parameter has a line of its own: a stage's bypass stands beside the stage's name."""
    return not path.endswith("/bypass") or path.startswith("master/")
