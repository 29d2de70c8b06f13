"""How a live voice is controlled: the options of `autovoice live` for it, checked, and the Conductor made from them.

What is wrong with the request is refused before the sound begins. What is wrong with the world, such as a port that another
program has, is one line: the voice plays without that surface, and so it does in a restart in the middle of a show.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools import logs
from autovoice.tools.options import Command, CommandError, know_voices
from autovoice.tools.values import Real, Whole

if TYPE_CHECKING:
    from autovoice.models.manager import ModelManager
    from autovoice.rt import Chain, Engine
    from autovoice.rt.chain import Spec
    from autovoice.rt.control.autosave import State
    from autovoice.rt.control.conductor import Conductor, OscSettings, WebSettings

WEB_PORT = 8080
LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 16
SUBSCRIBER = re.compile(r"[^/@\s]+:(?P<port>\d{1,5})(@\d+(\.\d+)?)?(/\w+)?")

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
OPTIONS = (
    click.option("--osc-port", type=Whole(0, 65535), metavar="N", help="Listen to OSC by UDP and TCP; 0 = any free port."),
    click.option("--osc-bind", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="... at this address."),
    click.option(
        "--osc-allow", multiple=True, metavar="NETWORK", help="... to these senders only: 192.168.1.0/24. Repeatable."
    ),
    click.option(
        "--osc-subscribe",
        multiple=True,
        metavar="HOST:PORT[@HZ]",
        help="... and tell this one of every move, with meters HZ times a second. Repeatable.",
    ),
    click.option(
        "--web/--no-web",
        default=None,
        help=f"Serve the page, OSCQuery and /metrics at port {WEB_PORT}.  [default: where an option below asks for it]",
    ),
    click.option("--web-port", type=Whole(0, 65535), metavar="N", help="... at this one; 0 = any free port."),
    click.option("--web-bind", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="... at this address."),
    click.option("--web-name", multiple=True, metavar="HOST", help="... under this name of the machine too. Repeatable."),
    click.option(
        "--token", metavar="TEXT", help="Ask it of whoever changes something there.  [default: made up, beyond loopback]"
    ),
    click.option("--announce", is_flag=True, help="Announce the page, and OSC with it, by zeroconf; beyond loopback always."),
    click.option("--midi/--no-midi", default=True, show_default=True, help="Have a JACK port midi_in."),
    click.option("--scenes", type=FILE, metavar="FILE.toml", help="A show: its scenes, gone to by scene/go and scene/next."),
    click.option(
        "--model-memory",
        type=Whole(1, 1 << 24),
        metavar="MB",
        help="Memory that models in lanes may take, with those kept for later.  [default: half of the machine's]",
    ),
    click.option(
        "--model-ttl",
        type=Real(0, 86_400),
        default=600.0,
        show_default=True,
        metavar="S",
        help="How long a model stays loaded that no chain has any more; 0 = not at all.",
    ),
    click.option(
        "--preload",
        multiple=True,
        metavar="PRESET",
        help="Load the models of this preset, as those of --scenes. Repeatable.",
    ),
    click.option("--take", metavar="NAME", help="Record a take from the start: dry, wet and the log of every move."),
    click.option(
        "--takes", type=FOLDER, metavar="DIR", help="Where takes are kept.  [default: ~/.local/share/autovoice/takes]"
    ),
    click.option("--autosave/--no-autosave", default=True, show_default=True, help="Keep what plays on disk, for --resume."),
    click.option("--resume", is_flag=True, help="Go on with what played last under this --name, where something did."),
    click.option(
        "--log-format", type=click.Choice(logs.FORMATS), default="text", show_default=True, help="json: a log for machines."
    ),
    click.option("--log-file", type=FILE, metavar="FILE", help="Where the log goes.  [default: JSON to stderr, text nowhere]"),
)


@dataclass(frozen=True, slots=True)
class Sound:
    """What is played first."""

    specs: Sequence[Spec]
    settings: tuple[str, ...]  # of --set, on top
    master: dict[str, float]  # by path
    channels: int | None  # of the output, None = not said
    preset: str | None  # its name, where it has one
    scene: str | None = None  # of the show, where that goes on
    resumed: bool = False  # it played last, and goes on


def control_options(command: Command) -> Command:
    """Add the options above to a command."""
    return functools.reduce(lambda built, option: option(built), reversed(OPTIONS), command)


def wants_surfaces(request: Mapping[str, Any]) -> bool:
    """Say whether others will control the voice, and so may ask for any preset."""
    return request["osc_port"] is not None or wants_web(request) or request["scenes"] is not None


def wants_web(request: Mapping[str, Any]) -> bool:
    """Say whether the page is to be served."""
    if request["web"] is not None:
        return bool(request["web"])
    return (
        request["web_port"] is not None or request["web_bind"] != LOOPBACK or bool(request["web_name"] or request["announce"])
    )


def osc_settings(request: Mapping[str, Any]) -> OscSettings | None:
    """Return where OSC listens, None = nowhere; raises CommandError."""
    if request["osc_port"] is None:
        if request["osc_bind"] != LOOPBACK or request["osc_allow"] or request["osc_subscribe"]:
            raise CommandError("--osc-bind, --osc-allow and --osc-subscribe say more of --osc-port N; give that too")
        return None
    import ipaddress

    from autovoice.rt.control.conductor import OscSettings

    host, allowed = _address(request["osc_bind"], "--osc-bind"), request["osc_allow"]
    for network in allowed:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise CommandError(f"--osc-allow takes a network such as 192.168.1.0/24 or an address, got {network!r}") from None
    if not _is_loopback(host) and not allowed:
        raise CommandError(
            f"--osc-bind {host} lets others send, and OSC knows no password: say who may with --osc-allow 192.168.1.0/24"
        )
    for place in request["osc_subscribe"]:
        found = SUBSCRIBER.fullmatch(place)
        if found is None or not 1 <= int(found["port"]) < 1 << 16:
            raise CommandError(f"--osc-subscribe takes HOST:PORT or HOST:PORT@HZ, such as 127.0.0.1:9001@20, got {place!r}")
    return OscSettings(request["osc_port"], host, tuple(allowed), tuple(request["osc_subscribe"]))


def web_settings(request: Mapping[str, Any]) -> WebSettings | None:
    """Return where the page is served, None = nowhere; raises CommandError."""
    if not wants_web(request):
        return None
    if find_spec("aiohttp") is None or find_spec("prometheus_client") is None:
        raise CommandError("--web needs aiohttp and prometheus-client: pip install 'autovoice[web]'")
    from autovoice.rt.control.conductor import WebSettings

    host, token = _address(request["web_bind"], "--web-bind"), request["token"]
    if token is None and not _is_loopback(host):
        import secrets

        token = secrets.token_urlsafe(TOKEN_BYTES)
    port = WEB_PORT if request["web_port"] is None else request["web_port"]
    return WebSettings(port, host, token, request["announce"], tuple(request["web_name"]))


def _address(text: str, option: str) -> str:
    """Return an address to listen at as a number; raises CommandError."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(LOOPBACK if text == "localhost" else text))
    except ValueError:
        raise CommandError(f"{option} takes an address of this machine, such as 192.168.1.5 or 0.0.0.0, got {text!r}") from None


def _is_loopback(host: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(host).is_loopback


def reserve(request: Mapping[str, Any], chain: Chain) -> Callable[[float], int] | int | None:
    """Return the frames of delay to reserve, or what gives them for a sample rate in Hz; None = the chain's own.

    Whoever may ask for a preset gets any of them: the longest delay of all is reserved from the start, since it cannot grow
    while the voice plays.
    """
    chosen: int | None = request["latency_reserve"]
    if chosen is not None or not wants_surfaces(request):
        return chosen
    from autovoice.dsp.stage import StageError
    from autovoice.rt.control.scenes import Show
    from autovoice.rt.presets import all_names, load_preset

    chains = [chain]
    for name in all_names():
        try:
            chains.append(load_preset(name).chain())
        except StageError as error:
            logs.event("preset passed over", logging.WARNING, preset=name, reason=str(error))
    if request["scenes"] is not None:
        chains += [scene.chain for scene in Show(request["scenes"]).scenes]
    return lambda sample_rate: max(one.latency(sample_rate) for one in chains)


def model_manager(request: Mapping[str, Any]) -> ModelManager:
    """Return what keeps models resident."""
    from autovoice.models.manager import MEGABYTE, ModelManager

    megabytes = request["model_memory"]
    return ModelManager(megabytes * MEGABYTE if megabytes is not None else None, ttl_s=request["model_ttl"])


def chains_ahead(request: Mapping[str, Any]) -> list[Chain]:
    """Return the chains that are known to come, by --preload and --scenes; raises StageError."""
    from autovoice.rt.control.scenes import Show
    from autovoice.rt.presets import load_preset

    know_voices()
    chains = [load_preset(name).chain() for name in request["preload"]]
    return chains + [scene.chain for scene in Show(request["scenes"]).scenes] if request["scenes"] is not None else chains


def preload(manager: ModelManager, chains: Sequence[Chain], conductor: Conductor) -> None:
    """Load the models of chains, beside what plays; what cannot be loaded is told in one line each."""

    def work() -> None:
        for line in manager.preload(chains, conductor.engine.sample_rate):
            conductor.notice(line, "error")

    if chains:
        threading.Thread(target=work, name="autovoice-preload", daemon=True).start()


def shipped_stages() -> list[str]:
    """Return the stages of the presets that come with AutoVoice."""
    from autovoice.rt.presets import load_preset, preset_names

    return sorted({str(stage["stage"]) for name in preset_names() for stage in load_preset(name).stages})


def tell_reserve(request: Mapping[str, Any], engine: Engine) -> None:
    """Say what the reserve costs, where we chose it."""
    own, held = engine.chain.latency(engine.sample_rate), engine.processor.latency
    if request["latency_reserve"] is None and held > own:
        ms = 1e3 / engine.sample_rate
        logs.note(
            f"{held * ms:.1f} ms of delay are kept, so that every preset can be swapped to; "
            f"--latency-reserve {own} keeps this chain's own {own * ms:.1f} ms"
        )


def last_state(request: Mapping[str, Any]) -> State | None:
    """Return what played last, where --resume asks for it and there is something."""
    if not request["resume"]:
        return None
    from autovoice.rt.control.autosave import recover

    know_voices()
    state = recover(request["name"], notice=logs.note)
    if state is None:
        logs.note(f"nothing was kept of a session called {request['name']!r}; starting afresh")
    else:
        when = f" of {state.saved:%Y-%m-%d %H:%M:%S} UTC" if state.saved is not None else ""
        logs.note(f"going on with what played last{when}{'' if state.clean else ', which ended unexpectedly'}")
    return state


def conduct(
    engine: Engine, request: Mapping[str, Any], osc: OscSettings | None, web: WebSettings | None, sound: Sound
) -> Conductor:
    """Return the Conductor that a request asks for, not yet started."""
    from autovoice.rt.control.conductor import Conductor

    conductor = Conductor(
        engine,
        osc=osc,
        web=web,
        told=lambda notice: logs.show(notice.text),  # the Conductor has told the log
        scenes=request["scenes"],
        takes=request["takes"],
        autosave=request["autosave"],
        preset=sound.preset,
        scene=sound.scene,
        resumed=sound.resumed,
    )
    logs.bind(session=conductor.session)
    if web is not None and web.token is not None:
        logs.hide(web.token)
    return conductor
