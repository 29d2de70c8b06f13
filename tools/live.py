"""`autovoice live`: a chain on a driver, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import click
from autovoice.tools import convert, logs
from autovoice.tools.compiling import Compiling, compile_apart
from autovoice.tools.control import (
    Sound,
    chains_ahead,
    conduct,
    control_options,
    last_state,
    model_manager,
    osc_settings,
    preload,
    reserve,
    shipped_stages,
    tell_reserve,
    wants_surfaces,
    web_settings,
)
from autovoice.tools.options import CommandError, build_chain, chain_options, chain_specs, note, print_json, spec_names
from autovoice.tools.process import started_monotonic_s
from autovoice.tools.status import StatusLine
from autovoice.tools.values import Real, Whole

if TYPE_CHECKING:
    from autovoice.models.manager import ModelManager
    from autovoice.rt import Engine
    from autovoice.rt.control.conductor import Conductor

TICK_S = 0.1
TROUBLE_S = 2.0  # how long the engine may take to say why the driver ended
WITH_VOICE = ("voice", "singer", "emotion")


class StopSignals:
    """Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.

    Until `sounding` is set there is nothing to fade out, so the first one ends the start-up.
    """

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.asked = threading.Event()
        self.sounding = False
        self.parts: tuple[Path, ...] = ()  # unfinished recordings, named when the process ends at once

    def __enter__(self) -> Self:
        """Take both signals over."""
        self._former = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give them back."""
        for number, former in self._former.items():
            signal.signal(number, former)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            kept = ", ".join(str(part) for part in self.parts if part.exists())
            os.write(2, f"\nautovoice: stopped at once{f'; recorded so far: {kept}' if kept else ''}\n".encode())
            os._exit(2)
        self.asked.set()
        if not self.sounding:
            raise KeyboardInterrupt


@click.command("live")
@click.option(
    "--backend", type=click.Choice(["jack", "portaudio", "pyaudio", "null"]), default="jack", show_default=True, help="Driver."
)
@click.option("--name", default="autovoice", show_default=True, help="Our name there; JACK ports are NAME:in_1, NAME:out_1.")
@click.option("--block", type=Whole(1, 8192), metavar="FRAMES", help="Frames in a block.  [default: the driver's own]")
@click.option("--rate", type=Real(8000, 192_000), metavar="HZ", help="Sample rate.  [default: the driver's own]")
@chain_options
@click.option("--voice", metavar="NAME", help="Become this voice, with the stage convert; see autovoice voices.")
@click.option("--singer", metavar="NAME", help="With --voice. " + convert.SINGER_HELP)
@click.option("--emotion", metavar="NAME", help="With --voice. " + convert.EMOTION_HELP)
@click.option("--server", metavar="NAME", help="JACK server.  [default: JACK's own]")
@click.option(
    "--connect", multiple=True, metavar="IN=PORT,OUT=PORT", help="Connect to these JACK ports; MIDI=PORT too. Repeatable."
)
@click.option("--in-channels", type=Whole(1, 8), default=1, show_default=True, metavar="N", help="Channels in.")
@click.option("--out-channels", type=Whole(1, 8), metavar="N", help="Channels out.  [default: the preset's, or 1]")
@click.option("--input", "input_db", type=Real(-60, 24), default=0.0, show_default=True, metavar="DB", help="Input trim.")
@click.option("--output", "output_db", type=Real(-60, 24), default=0.0, show_default=True, metavar="DB", help="Output trim.")
@click.option(
    "--latency-reserve",
    type=Whole(0, 1 << 20),
    metavar="FRAMES",
    help="Delay to reserve for chains to come.  [default: the chain's own; with OSC or the page, every preset's]",
)
@click.option("--device", help="PortAudio or PyAudio device: a name, a part of one, or a number.")
@click.option("--reconnect", is_flag=True, help="Wait for the driver when it dies.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), metavar="WET.wav", help="Record the output.")
@click.option("--record-dry", type=click.Path(path_type=Path, dir_okay=False), metavar="DRY.wav", help="... and the input.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop by itself after S seconds.")
@control_options
@click.option("--json", "as_json", is_flag=True, help="Print the final figures on stdout.")
def command(**request: Any) -> int:
    """Play your voice through a chain, live, until Ctrl-C.

    autovoice set, get and do, OSC and the page control it while it plays.
    """
    with StopSignals() as stop:
        try:
            return _live(stop, **request)
        except KeyboardInterrupt:
            note("stopped before the sound began")
            return 0


def _live(stop: StopSignals, **request: Any) -> int:
    if request["record_dry"] and not request["record"]:
        raise CommandError("--record-dry goes with --record WET.wav")
    if request["take"] is not None and request["record"]:
        raise CommandError("a take holds what --record would write, and more; leave --record away, or --take")
    osc, web = osc_settings(request), web_settings(request)
    with_status = _begin_log(request)
    with Compiling():
        sound = _sound(request)
        shipped = shipped_stages() if wants_surfaces(request) else ()
        compile_apart(request["backend"], [*spec_names(sound.specs), *shipped])
        manager, ahead = model_manager(request), chains_ahead(request)
        engine, master = _engine(request, sound, manager)
        with _armed(engine, request):
            engine.start()
    stop.sounding = True
    conductor = conduct(engine, request, osc, web, sound)
    status, readings = StatusLine(shown=with_status), logs.Readings()
    figures: dict[str, Any] | None = None
    trouble: str | None = None
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: print_json(figures) if figures is not None else None)
        stack.callback(engine.stop)
        stack.callback(conductor.stop)
        try:
            if master:
                engine.set_many(master)
            _tell_start(engine, request)
            conductor.start()
            preload(manager, ahead, conductor)
            _record(engine, request, stop)
            _play(engine, stop, status, readings, request["duration"], reconnect=request["reconnect"])
        finally:
            status.close()
            readings.look(engine.stats(), last=True)
            figures = _figures(engine, conductor, request) if request["as_json"] else None
            trouble = engine.trouble if not engine.alive else None
    logs.event("engine stopped", trouble=trouble)
    if trouble:
        raise CommandError(trouble)
    return 0


def _begin_log(request: dict[str, Any]) -> bool:
    """Begin the log; says whether the terminal is left to the status line."""
    try:
        with_status = logs.configure(request["log_format"], request["log_file"])
    except OSError as error:
        raise CommandError(f"the log {request['log_file']} cannot be written: {error.strerror}") from None
    logs.bind(engine=request["name"])
    return with_status


def _sound(request: dict[str, Any]) -> Sound:
    """Return what --chain, --preset and --set describe, or with --resume what played last."""
    if (state := last_state(request)) is not None:
        return Sound(state.sound.stages, (), dict(state.sound.master), state.sound.channels, state.preset, state.scene, True)
    specs, master, channels = chain_specs(request)
    settings = request["settings"]
    if request["voice"] is not None:
        if request["chain"] is None and request["preset"] is None:
            specs = [*convert.STAGES, *request["stages"]]
        settings = (*convert.settings_of(specs, {name: request[name] for name in WITH_VOICE}), *settings)
    elif alone := [name for name in WITH_VOICE if request[name] is not None]:
        raise CommandError(f"--{alone[0]} goes with --voice NAME")
    preset = Path(request["preset"]).stem if request["preset"] is not None else None
    return Sound(specs, settings, master, channels, preset)


def _engine(request: dict[str, Any], sound: Sound, manager: ModelManager) -> tuple[Engine, dict[str, float]]:
    """Check the whole request and return the engine, not yet started, with its trims and other `master` settings."""
    from autovoice.rt import Engine

    trims = [f"master/{name}={request[f'{name}_db']}" for name in ("input", "output") if request[f"{name}_db"]]
    chain, master = build_chain(sound.specs, [*trims, *sound.settings])
    engine = Engine(
        chain,
        backend=request["backend"],
        block=request["block"],
        sample_rate=request["rate"],
        latency=reserve(request, chain),
        reconnect=request["reconnect"],
        workers=manager,
        name=request["name"],
        in_channels=request["in_channels"],
        out_channels=(sound.channels or 1) if request["out_channels"] is None else request["out_channels"],
        server=request["server"],
        connect=_connections(request["connect"]),
        device=request["device"],
        options={} if request["midi"] else {"midi": False},
    )
    return engine, {**sound.master, **master}


def _connections(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Split `IN=PORT,OUT=PORT` into pairs (side, port)."""
    pairs = []
    for text in (part for whole in texts for part in whole.split(",")):
        side, equals, port = text.partition("=")
        if not (side and equals and port):
            raise CommandError(f"--connect takes IN=PORT,OUT=PORT, such as IN=system:capture_1, got {text!r}")
        pairs.append((side.strip(), port.strip()))
    return tuple(pairs)


def _tell_start(engine: Engine, request: dict[str, Any]) -> None:
    """Say what a start decides by itself, and begin the log of the run."""
    tell_reserve(request, engine)
    logs.event(
        "engine started",
        backend=request["backend"],
        sample_rate=engine.sample_rate,
        block=engine.block,
        latency_frames=engine.processor.latency,
        realtime=engine.realtime,
        chain=[placed.key for placed in engine.chain.placed],
    )


@contextlib.contextmanager
def _armed(engine: Engine, request: dict[str, Any]) -> Iterator[None]:
    """Have the take that is asked for begin with the very first frame; an engine that does not start leaves no empty folder."""
    if request["take"] is None:
        yield
        return
    from autovoice.rt.take.names import make_folder

    folder = make_folder(request["take"], request["takes"])
    engine.take(folder)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    note(f"the take goes to {folder}")


def _record(engine: Engine, request: dict[str, Any], stop: StopSignals) -> None:
    """Begin the recording that is asked for."""
    if request["record"]:
        engine.record(request["record"], dry=request["record_dry"])
        stop.parts = tuple(p.with_name(p.name + ".part") for p in (request["record"], request["record_dry"]) if p)
        logs.event("recording started", path=request["record"])


def _play(
    engine: Engine, stop: StopSignals, status: StatusLine, readings: logs.Readings, duration: float | None, *, reconnect: bool
) -> None:
    """Show the status until it is time to stop, or until the driver has died and nobody wants it back."""
    end = None if duration is None else time.monotonic() + duration
    was_alive = True
    while not stop.asked.wait(TICK_S if end is None else max(0.0, min(TICK_S, end - time.monotonic()))):
        if end is not None and time.monotonic() >= end:
            return
        alive = engine.alive
        if was_alive and not alive:
            if not reconnect:
                _await_trouble(engine)
                return
            status.say("the driver ended the connection; waiting for it to come back (Ctrl-C stops)")
        elif alive and not was_alive:
            status.say("connected again")
        was_alive = alive
        if alive:
            stats = engine.stats()
            readings.look(stats)
            status.show(stats, engine.device_latency)


def _await_trouble(engine: Engine) -> None:
    """Give the engine's keeper the moment it needs to say why the driver ended."""
    deadline = time.monotonic() + TROUBLE_S
    while engine.trouble is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _figures(engine: Engine, conductor: Conductor, request: dict[str, Any]) -> dict[str, Any]:
    """Return every statistic, and what only this process knows: its start-up time, its ports and what the host granted."""
    from autovoice.rt.realtime import host_report

    first_s = engine.processor.telemetry["first_ns"] * 1e-9
    start_s = None
    with contextlib.suppress(OSError):
        start_s = round(first_s - started_monotonic_s(), 3) if first_s else None
    return {
        **asdict(engine.stats()),
        "session": conductor.session,
        "osc": conductor.osc,
        "web": conductor.web,
        "backend": request["backend"],
        "start_s": start_s,
        "realtime": engine.realtime,
        "device_latency_frames": engine.device_latency,
        "recording": request["record"],
        "trouble": engine.trouble,
        "host": host_report(),
    }
