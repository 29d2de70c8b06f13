"""`autovoice latency`: the round trip through a live client, measured beside what is declared."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling, compile_apart
from autovoice.tools.options import (
    CommandError,
    build_chain,
    chain_options,
    chain_specs,
    note,
    on_terminal,
    print_json,
    spec_names,
)
from autovoice.tools.private_jack import PrivateJack

if TYPE_CHECKING:
    from autovoice.rt import Chain
    from autovoice.tools.lab.latency.methods import Way
    from autovoice.tools.lab.latency.prober import JackProber
    from autovoice.tools.lab.latency.roundtrip import Alone, Declared, Plan, Progress, RoundTrip

SAMPLE_RATE, BLOCK = 48_000, 64  # of a private server
FIRST = "first"
BAR_STEPS = 200
UNTOLD = ("as_json", "plot")  # options that do not change what is measured
ALONE_CYCLES = 1000  # callbacks of the prober alone, at most
ALONE_SHARE = 0.2  # of the progress bar


@click.command("latency")
@click.option("--client", metavar="NAME", help="Measure this JACK client.  [default: a chain of our own, started for it]")
@click.option("--in", "in_port", metavar="PORT", help="The client's port that the probe goes into.  [default: its first]")
@click.option("--out", "out_port", metavar="PORT", help="The client's port that it comes out of.  [default: its first]")
@chain_options
@click.option("--identity", is_flag=True, help="Set every stage of the chain to change nothing but the time.")
@click.option("--all", "everything", is_flag=True, help="Every stage and preset, each at identity.")
@click.option("--backend", type=click.Choice(["jack", "portaudio"]), default="jack", show_default=True, help="Driver.")
@click.option("--server", metavar="NAME", help="JACK server.  [default: the one that runs, or else a private one]")
@click.option("--rate", type=click.IntRange(8_000, 192_000), metavar="HZ", help="Of a private server.  [default: 48000]")
@click.option("--block", type=click.IntRange(16, 8192), metavar="FRAMES", help="Frames in a block.  [default: the server's]")
@click.option(
    "--device",
    is_flag=False,
    flag_value=FIRST,
    metavar="[PLAYBACK,CAPTURE]",
    help="Go through the sound card too, where a cable closes the loop; PortAudio: the device's name.",
)
@click.option("--signal", type=click.Choice(["chirp", "mls"]), help="The probe.  [default: what suits the chain, or chirp]")
@click.option("--method", type=click.Choice(["phase", "envelope"]), help="What is compared.  [default: what suits the chain]")
@click.option("--level", type=click.FloatRange(-60, 12), default=0.0, show_default=True, metavar="DB", help="Of the probe.")
@click.option("--repeat", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="Repetitions.")
@click.option("--cycles", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, metavar="N", help="... at least.")
@click.option(
    "--longest", type=click.FloatRange(1, 10_000), default=1000, show_default=True, metavar="MS", help="Delay to look for."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw what was found.")
@click.option("--why", is_flag=True, help="Explain the worst blocks of the engine that runs (or of --client).")
@click.option("--json", "as_json", is_flag=True, help="Print the result on stdout as JSON.")
def command(**request: Any) -> None:
    """Measure the round trip: look-ahead, block, lane, device and total, as declared and as measured."""
    _check(request)
    if request["why"]:
        from autovoice.tools.lab.why import report, tell_why

        found = report(request["client"])
        print_json(found) if request["as_json"] else tell_why(found)
    elif request["backend"] == "portaudio":
        from autovoice.tools.lab.latency.portaudio import on_portaudio

        on_portaudio(request)
    else:
        _on_jack(request)


def _check(request: dict[str, Any]) -> None:
    """Refuse what contradicts itself."""
    own = any(request[name] for name in ("chain", "preset", "stages", "settings", "identity"))
    if request["why"] and (own or request["everything"] or request["device"] or request["plot"]):
        raise CommandError("--why reads what an engine wrote down; of the other options it takes --client and --json only")
    if request["client"] is not None and (own or request["everything"]):
        raise CommandError("--client measures what runs already; leave --chain, --preset, --stage, --set and --all away")
    if request["client"] is None and (request["in_port"] or request["out_port"]):
        raise CommandError("--in and --out are ports of another client; name it with --client")
    if request["everything"] and (own or request["device"]):
        raise CommandError("--all measures every stage and preset; leave --chain, --preset, --stage, --set and --device away")
    if request["everything"] and request["plot"]:
        raise CommandError("--plot draws one measurement; leave --all or --plot away")


def _on_jack(request: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        chain = None
        with Compiling():
            if request["client"] is None and not request["everything"]:
                chain = own_chain(request)
            from autovoice.tools.lab.latency.prober import JackProber
        server = _server(request, stack)
        prober = stack.enter_context(JackProber(server))
        if request["block"] not in (None, prober.block):
            stack.enter_context(prober.at_block(request["block"]))
        if request["everything"]:
            _everything(prober, server, request)
        elif chain is not None:
            _of_chain(prober, server, chain, request)
        else:
            _of_client(prober, request)


def own_chain(request: dict[str, Any]) -> Chain:
    """Return the chain that is asked for, as it will play; with --identity, `request` then holds the settings for it."""
    specs = chain_specs(request)[0]
    compile_apart("jack", spec_names(specs))
    chain = build_chain(specs, request["settings"])[0]
    if not request["identity"]:
        return chain
    request["settings"] = (*request["settings"], *identity_settings(chain))
    return build_chain(specs, request["settings"])[0]


def identity_settings(chain: Chain) -> list[str]:
    """Return what --set takes to let every stage of a chain change nothing but the time."""
    from autovoice.tools.lab.latency.methods import IDENTITY

    return [
        f"{placed.key}/{name}={value:g}"
        for placed in chain.placed
        for name, value in IDENTITY.get(placed.stage.name, {}).items()
    ]


def _server(request: dict[str, Any], stack: contextlib.ExitStack) -> str | None:
    """Return the server to measure on, None being JACK's own that runs; start a private one where there is none."""
    named = request["server"]
    if named is None and request["client"] is None and not request["device"] and not _default_runs():
        stack.enter_context(only_run("private"))
        server = PrivateJack(
            f"autovoice-latency-{os.getpid()}", sample_rate=request["rate"] or SAMPLE_RATE, block=request["block"] or BLOCK
        )
        try:
            stack.enter_context(server)
        except OSError as error:
            raise CommandError(str(error)) from error
        note(f"no JACK server runs; measuring on a private one: dummy driver, {server.sample_rate} Hz, {server.block} frames")
        return server.name
    if request["rate"] is not None:
        raise CommandError("--rate is of a private server; one that runs keeps its own, so leave --rate away")
    stack.enter_context(only_run(named or "default"))
    return str(named) if named is not None else None


def _default_runs() -> bool:
    """Say whether JACK's own server runs."""
    try:
        import jack
    except (ImportError, OSError) as error:
        raise CommandError(f"JACK's library is not installed ({error}); install jackd2, or use --backend portaudio") from error
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    try:
        jack.Client("autovoice-latency", no_start_server=True).close()
    except jack.JackOpenError:
        return False
    return True


@contextlib.contextmanager
def only_run(server: str) -> Iterator[None]:
    """Keep a second measurement off the same server; raises CommandError where one is under way."""
    from autovoice.rt.registry import folder

    path = folder() / f"latency-{re.sub(r'[^A-Za-z0-9_.-]', '_', server)}.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise CommandError(
                f"another measurement runs on this server (process {file.read().strip() or 'unknown'}), and the two would "
                f"disturb each other; wait until it ends"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _of_chain(prober: JackProber, server: str | None, chain: Chain, request: dict[str, Any]) -> None:
    """Measure our own engine, in a process of its own."""
    device = _device(prober, request)
    with progress_bar() as progress:
        plan = plan_for(prober, chain, request, _alone(prober, request, progress), device)
        trip, figures = measure_live(prober, server, request, plan, device, _after_alone(progress))
    tell(chain_title(chain, request), trip, figures, request)


def plan_for(
    prober: JackProber, chain: Chain, request: dict[str, Any], alone: Alone, device: tuple[str, str] | None = None
) -> Plan:
    """Return how a chain of ours is measured."""
    from autovoice.tools.lab.latency.methods import way_for
    from autovoice.tools.lab.latency.roundtrip import Declared

    rate = prober.sample_rate
    stages = tuple((p.key, p.stage.latency(rate, p.options)) for p in chain.placed)
    declared = Declared(chain.latency(rate), stages, device=prober.device_declared(device))
    nothing = _cable(device) if device else "is the chain muted, or its gate closed? Hear it with `autovoice live`"
    return make_plan(way_for(chain), rate, declared, nothing, request, alone, device_row=None if device is None else 1)


def make_plan(
    suits: Way,
    sample_rate: float,
    declared: Declared,
    nothing: str,
    request: dict[str, Any],
    alone: Alone | None,
    *,
    total_row: int = 0,
    device_row: int | None = None,
) -> Plan:
    """Return the plan of a measurement by method and probe that were asked for, or that suit what is measured."""
    from autovoice.tools.lab.latency.roundtrip import Plan
    from autovoice.tools.lab.latency.signals import probe

    way = _way(suits, request)
    return Plan(
        sound=probe(way.probe, sample_rate, request["level"]),
        method=way.method,
        declared=declared,
        nothing=nothing,
        repeats=request["repeat"],
        cycles=request["cycles"],
        longest_s=request["longest"] / 1000,
        alone=alone,
        total_row=total_row,
        device_row=device_row,
    )


def _way(suits: Way, request: dict[str, Any]) -> Way:
    from autovoice.tools.lab.latency.methods import MANY_DELAYS, PLAIN, Way

    method = request["method"] or ("phase" if request["signal"] else suits.method)
    if request["signal"] or method == suits.method:
        return Way(method, request["signal"] or suits.probe)
    return MANY_DELAYS if method == "envelope" else PLAIN


def measure_live(
    prober: JackProber,
    server: str | None,
    request: dict[str, Any],
    plan: Plan,
    device: tuple[str, str] | None,
    progress: Progress,
) -> tuple[RoundTrip, dict[str, Any]]:
    """Start `autovoice live`, measure it, end it; returns the round trip and what it said of itself."""
    from autovoice.tools.lab.latency.roundtrip import measure
    from autovoice.tools.lab.latency.subject import LiveSubject

    with LiveSubject(server, request, target=prober.back) as subject:
        subject.await_sound(prober)
        prober.wire(f"{subject.name}:in_1", f"{subject.name}:out_1", device)
        trip = measure(prober, plan, progress)
    return trip, subject.figures


def _of_client(prober: JackProber, request: dict[str, Any]) -> None:
    """Measure another client, by its ports."""
    from autovoice.tools.lab.latency.methods import PLAIN
    from autovoice.tools.lab.latency.roundtrip import Declared, measure

    client, device = request["client"], _device(prober, request)
    into = prober.port(client, request["in_port"], into=True)
    out_of = prober.port(client, request["out_port"], into=False)
    nothing = (
        f"nothing that goes into {into} comes out of {out_of}: unmute {client!r}, connect what is inside it, or choose its "
        f"ports with --in and --out"
    )
    if others := prober.connections(into):
        note(f"{into} also hears {', '.join(others)}; disconnect that if it disturbs")
    with progress_bar() as progress:
        alone = _alone(prober, request, progress)
        prober.wire(into, out_of, device)
        declared = Declared(prober.client_declared(into, out_of), device=prober.device_declared(device))
        hint = _cable(device) if device else nothing
        plan = make_plan(PLAIN, prober.sample_rate, declared, hint, request, alone, device_row=None if device is None else 1)
        trip = measure(prober, plan, _after_alone(progress))
    tell(client, trip, {}, request)


def _everything(prober: JackProber, server: str | None, request: dict[str, Any]) -> None:
    """Measure every stage and every preset, each set to change nothing but the time."""
    from autovoice.dsp.stage import stage_names
    from autovoice.rt.presets import preset_names
    from autovoice.tools.lab.latency.tables import print_all, result_of

    wanted = [("chain", name) for name in stage_names()] + [("preset", name) for name in preset_names()]
    trips: list[tuple[str, RoundTrip]] = []
    with progress_bar() as progress:
        alone = _alone(prober, request, lambda share: None)
        for k, (kind, name) in enumerate(wanted):
            one = {**request, kind: name, "identity": True}
            plan = plan_for(prober, own_chain(one), one, alone)
            trips.append((name, measure_live(prober, server, one, plan, None, lambda share: None)[0]))
            progress((k + 1) / len(wanted))
    if request["as_json"]:
        print_json(result_of("every stage and preset, at identity", settings_of(request), trips))
    else:
        print_all(trips)


def _device(prober: JackProber, request: dict[str, Any]) -> tuple[str, str] | None:
    wanted = request["device"]
    return None if wanted is None else prober.device(None if wanted == FIRST else wanted)


def _cable(device: tuple[str, str]) -> str:
    playback, capture = device
    return (
        f"connect the jack of {playback} with that of {capture} by a cable, or hold the microphone to the loudspeaker; turn "
        f"both gains up, and look whether another program holds them"
    )


def _alone(prober: JackProber, request: dict[str, Any], progress: Progress) -> Alone:
    from autovoice.tools.lab.latency.prober import LOOP
    from autovoice.tools.lab.latency.roundtrip import listen_alone

    return listen_alone(prober, LOOP, min(request["cycles"], ALONE_CYCLES), lambda share: progress(ALONE_SHARE * share))


def _after_alone(progress: Progress) -> Progress:
    return lambda share: progress(ALONE_SHARE + (1 - ALONE_SHARE) * share)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar on stderr where that is a terminal; yields what takes the share that is done, 0..1."""
    if not on_terminal():
        yield lambda share: None
        return
    with click.progressbar(length=BAR_STEPS, label="measuring", file=sys.stderr) as bar:
        yield lambda share: bar.update(max(0, round(BAR_STEPS * share) - bar.pos))


def chain_title(chain: Chain, request: dict[str, Any]) -> str:
    """Name what plays."""
    return str(request["preset"] or " -> ".join(placed.key for placed in chain.placed) or "an empty chain")


def settings_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for, without what was left at nothing."""
    return {name: value for name, value in request.items() if value not in (None, (), False) and name not in UNTOLD}


def tell(title: str, trip: RoundTrip, figures: dict[str, Any], request: dict[str, Any]) -> None:
    """Print what was found, and draw it."""
    from autovoice.tools.lab.latency.tables import print_round_trip, result_of

    if request["plot"]:
        from autovoice.tools.lab.latency.plot import draw

        draw(title, trip, request["plot"])
    if request["as_json"]:
        print_json(result_of(title, settings_of(request), [(title, trip)], engine=figures))
    else:
        click.echo(title)
        print_round_trip(trip, figures)
