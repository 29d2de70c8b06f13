"""`autovoice latency --backend portaudio`: through a duplex stream and a cable, the device alone and with a chain behind it."""

from __future__ import annotations

from typing import Any

from autovoice.tools.compiling import Compiling
from autovoice.tools.lab.latency.command import FIRST, chain_title, make_plan, only_run, own_chain, progress_bar, tell
from autovoice.tools.options import CommandError


def on_portaudio(request: dict[str, Any]) -> None:
    """Measure a device, and our chain on it; the loop must be closed by a cable or through the air."""
    if request["client"] or request["everything"] or request["server"]:
        raise CommandError("--client, --all and --server belong to JACK; leave them away, or --backend portaudio")
    with Compiling():
        chain = own_chain(request)
        from autovoice.tools.lab.latency.duplex import CHAIN_ROW, DEVICE_ROW, DuplexProber
    from autovoice.tools.lab.latency.methods import way_for
    from autovoice.tools.lab.latency.roundtrip import Declared, measure

    device = None if request["device"] == FIRST else request["device"]
    with (
        only_run("portaudio"),
        DuplexProber(chain, device=device, block=request["block"], sample_rate=request["rate"]) as prober,
    ):
        stages = tuple((p.key, p.stage.latency(prober.sample_rate, p.options)) for p in chain.placed)
        declared = Declared(chain.latency(prober.sample_rate), stages, device=max(prober.declared - prober.block, 0))
        nothing = (
            f"connect the output of {prober.name} with its input by a cable, or hold the microphone to the loudspeaker, and "
            f"turn both gains up"
        )
        rows = {"total_row": CHAIN_ROW, "device_row": DEVICE_ROW}
        plan = make_plan(way_for(chain), prober.sample_rate, declared, nothing, request, None, **rows)
        with progress_bar() as progress:
            trip = measure(prober, plan, progress)
    tell(f"{chain_title(chain, request)}, on {prober.name}", trip, {}, request)
