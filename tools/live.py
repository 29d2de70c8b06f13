"""`autovoice live`: a chain on a driver, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import click
from autovoice.tools.compiling import Compiling, compile_apart
from autovoice.tools.options import CommandError, build_chain, chain_options, chain_specs, note, print_json, spec_names
from autovoice.tools.process import started_monotonic_s
from autovoice.tools.status import StatusLine

if TYPE_CHECKING:
    from autovoice.rt import Engine

TICK_S = 0.1
TROUBLE_S = 2.0  # how long the engine may take to say why the driver ended


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
@click.option("--block", type=int, metavar="FRAMES", help="Frames in a block.  [default: the driver's own]")
@click.option("--rate", type=float, metavar="HZ", help="Sample rate.  [default: the driver's own]")
@chain_options
@click.option("--server", metavar="NAME", help="JACK server.  [default: JACK's own]")
@click.option("--connect", multiple=True, metavar="IN=PORT,OUT=PORT", help="Connect to these JACK ports. Repeatable.")
@click.option("--in-channels", type=int, default=1, show_default=True, help="Channels in, 1 to 8.")
@click.option("--out-channels", type=int, help="Channels out, 1 to 8.  [default: the preset's, or 1]")
@click.option("--input", "input_db", default="0", metavar="DB", help="Input trim, -60 to 24 dB.")
@click.option("--output", "output_db", default="0", metavar="DB", help="Output trim, -60 to 24 dB.")
@click.option("--latency-reserve", type=int, metavar="FRAMES", help="Delay to reserve for chains to come.")
@click.option("--device", help="PortAudio or PyAudio device: a name, a part of one, or a number.")
@click.option("--reconnect", is_flag=True, help="Wait for the driver when it dies.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), metavar="WET.wav", help="Record the output.")
@click.option("--record-dry", type=click.Path(path_type=Path, dir_okay=False), metavar="DRY.wav", help="... and the input.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop by itself after S seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the final figures on stdout.")
def command(**request: Any) -> int:
    """Play your voice through a chain, live, until Ctrl-C."""
    with StopSignals() as stop:
        try:
            return _live(stop, **request)
        except KeyboardInterrupt:
            note("stopped before the sound began")
            return 0


def _live(stop: StopSignals, **request: Any) -> int:
    if request["record_dry"] and not request["record"]:
        raise CommandError("--record-dry goes with --record WET.wav")
    with Compiling():
        compile_apart(request["backend"], spec_names(chain_specs(request)[0]))
        engine, master = _engine(request)
        engine.start()
    stop.sounding = True
    status = StatusLine()
    try:
        if master:
            engine.set_many(master)
        if request["record"]:
            engine.record(request["record"], dry=request["record_dry"])
            stop.parts = tuple(p.with_name(p.name + ".part") for p in (request["record"], request["record_dry"]) if p)
        _play(engine, stop, status, request["duration"], reconnect=request["reconnect"])
    finally:
        status.close()
        figures = _figures(engine, request) if request["as_json"] else None
        trouble = engine.trouble if not engine.alive else None
        try:
            engine.stop()
        finally:
            if figures is not None:
                print_json(figures)
    if trouble:
        raise CommandError(trouble)
    return 0


def _engine(request: dict[str, Any]) -> tuple[Engine, dict[str, float]]:
    """Check the whole request and return the engine, not yet started, with its trims and other `master` settings."""
    from autovoice.dsp.stage import check_sample_rate
    from autovoice.rt import Engine
    from autovoice.rt.chain import check_channels

    trims = [f"master/{name}={request[f'{name}_db']}" for name in ("input", "output") if request[f"{name}_db"] != "0"]
    specs, changes, wanted = chain_specs(request)
    chain, master = build_chain(specs, [*trims, *request["settings"]])
    out_channels = (wanted or 1) if request["out_channels"] is None else request["out_channels"]
    for count in (request["in_channels"], out_channels):
        check_channels(count)
    if request["rate"] is not None:
        check_sample_rate(request["rate"])
    engine = Engine(
        chain,
        backend=request["backend"],
        block=request["block"],
        sample_rate=request["rate"],
        latency=request["latency_reserve"],
        reconnect=request["reconnect"],
        name=request["name"],
        in_channels=request["in_channels"],
        out_channels=out_channels,
        server=request["server"],
        connect=_connections(request["connect"]),
        device=request["device"],
    )
    return engine, {**changes, **master}


def _connections(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Split `IN=PORT,OUT=PORT` into pairs (side, port)."""
    pairs = []
    for text in (part for whole in texts for part in whole.split(",")):
        side, equals, port = text.partition("=")
        if not (side and equals and port):
            raise CommandError(f"--connect takes IN=PORT,OUT=PORT, such as IN=system:capture_1, got {text!r}")
        pairs.append((side.strip(), port.strip()))
    return tuple(pairs)


def _play(engine: Engine, stop: StopSignals, status: StatusLine, duration: float | None, *, reconnect: bool) -> None:
    """Show the status until it is time to stop, or until the driver has died and nobody wants it back."""
    end = None if duration is None else time.monotonic() + duration
    was_alive, warned = True, False
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
        if engine.recording_trouble and not warned:
            status.say(f"{engine.recording_trouble}; the voice plays on")
            warned = True
        if alive:
            status.show(engine.stats(), engine.device_latency)


def _await_trouble(engine: Engine) -> None:
    """Give the engine's keeper the moment it needs to say why the driver ended."""
    deadline = time.monotonic() + TROUBLE_S
    while engine.trouble is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _figures(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """Return every statistic, and what only this process knows: its start-up time and what the host granted."""
    from autovoice.rt.realtime import host_report

    first_s = engine.processor.telemetry["first_ns"] * 1e-9
    start_s = None
    with contextlib.suppress(OSError):
        start_s = round(first_s - started_monotonic_s(), 3) if first_s else None
    return {
        **asdict(engine.stats()),
        "backend": request["backend"],
        "start_s": start_s,
        "realtime": engine.realtime,
        "device_latency_frames": engine.device_latency,
        "recording": request["record"],
        "trouble": engine.trouble,
        "host": host_report(),
    }
