"""The figure of `autovoice latency --plot`: the delay over the repetitions, and how late the callbacks came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from autovoice.tools.options import CommandError

if TYPE_CHECKING:
    from autovoice.tools.lab.latency.roundtrip import RoundTrip

SIZE_IN, DPI = (8.0, 4.0), 110
LEAST_SPAN = 0.1  # frames: a delay without jitter is drawn as a line, not as the noise of its last digit


def draw(title: str, trip: RoundTrip, path: Path) -> None:
    """Draw a round trip as a PNG; raises CommandError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CommandError("--plot draws with matplotlib; pip install 'autovoice[demo]'") from error
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    total = trip.part("total")
    assert total.values is not None and total.measured is not None
    left.plot(np.arange(1, len(total.values) + 1), total.values, "o-", ms=4, lw=1, label="measured")
    if total.declared is not None:
        left.axhline(total.declared, color="C1", lw=1, ls="--", label="declared")
    reach = max(LEAST_SPAN, 1.5 * float(np.abs(total.values - (total.declared or total.measured.p50)).max()))
    middle = total.declared if total.declared is not None else total.measured.p50
    left.set_ylim(middle - reach, middle + reach)
    left.ticklabel_format(axis="y", useOffset=False)
    left.set(title=_short(title), xlabel="repetition", ylabel="round trip in frames")
    left.legend()
    for name, times_us in (("alone", trip.alone.answer_us if trip.alone is not None else None), ("behind it", trip.answer_us)):
        if times_us is not None and np.any(times_us):
            share = 100 * (1 - np.arange(len(times_us)) / len(times_us))
            right.semilogy(np.sort(times_us), share, drawstyle="steps-post", label=name)
    right.axvline(trip.block / trip.sample_rate * 1e6, color="C3", lw=1, ls=":", label="period")
    right.set(title="The prober's callbacks", xlabel="µs after the cycle began", ylabel="% that came later")
    right.legend()
    figure.savefig(path, dpi=DPI)


def _short(title: str) -> str:
    return title if len(title) <= 44 else title[:43] + "…"
