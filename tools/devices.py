"""`autovoice devices`: what a voice can be played through, and what the host grants a live program."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import click
from autovoice.tools.options import print_json


@click.command("devices")
@click.option("--server", metavar="NAME", help="JACK server.  [default: JACK's own]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(server: str | None, as_json: bool) -> None:
    """List ports, devices and what the host grants."""
    from autovoice.rt.realtime import host_report

    jack, portaudio = jack_ports(server), portaudio_devices()
    if as_json:
        print_json({"jack": jack, "portaudio": portaudio, "host": host_report()})
        return
    if "error" in jack:
        click.echo(f"JACK: {jack['error']}")
    else:
        way = "real-time" if jack["realtime"] else "not real-time"
        click.echo(f"JACK: {jack['sample_rate']} Hz, {jack['block']} frames, {way}")
        for port in jack["ports"]:
            click.echo(f"  {port['name']:<40} {port['direction']}{', hardware' if port['physical'] else ''}")
    if "error" in portaudio:
        click.echo(f"\nPortAudio: {portaudio['error']}")
    else:
        click.echo(f"\nPortAudio: {len(portaudio['devices'])} devices")
        for d in portaudio["devices"]:
            form = f"{d['inputs']} in, {d['outputs']} out, {d['sample_rate']:g} Hz"
            click.echo(f"  {d['index']:>3}  {d['name']} ({d['host_api']}): {form}")
    click.echo("\nHost:")
    for finding in host_report():
        advice = "" if finding.good else f"; {finding.advice}"
        click.echo(f"  {'ok ' if finding.good else '-- '} {finding.name}: {finding.value}{advice}")


def jack_ports(server: str | None) -> dict[str, Any]:
    """Return the server's rate, block and audio ports, or `error` with the reason why there is none."""
    where = f"server {server!r}" if server else "server"
    try:
        import jack
    except (ImportError, OSError) as error:
        return {"error": f"its library is not installed ({error})"}
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    try:
        client = jack.Client("autovoice-devices", servername=server, no_start_server=True)
    except jack.JackOpenError:
        return {"error": f"no {where} is running"}
    with contextlib.closing(client):
        ports = [
            {"name": p.name, "direction": "output" if p.is_output else "input", "physical": p.is_physical}
            for p in client.get_ports(is_audio=True)
        ]
        return {
            "server": server or "default",
            "sample_rate": client.samplerate,
            "block": client.blocksize,
            "realtime": bool(client.realtime),
            "ports": ports,
        }


def portaudio_devices() -> dict[str, Any]:
    """Return PortAudio's devices, or `error` where it is not installed."""
    with _quiet_stderr():
        try:
            import sounddevice
        except OSError as error:
            return {"error": f"not installed ({error})"}
        apis = [api["name"] for api in sounddevice.query_hostapis()]
        return {
            "version": sounddevice.get_portaudio_version()[1],
            "devices": [
                {
                    "index": d["index"],
                    "name": d["name"],
                    "host_api": apis[d["hostapi"]],
                    "inputs": d["max_input_channels"],
                    "outputs": d["max_output_channels"],
                    "sample_rate": d["default_samplerate"],
                }
                for d in sounddevice.query_devices()
            ],
        }


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence what ALSA and JACK print from C about every device that is not there."""
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(silence)
        os.close(kept)
