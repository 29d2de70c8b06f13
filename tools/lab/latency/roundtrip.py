"""One measurement of a round trip: look-ahead, block, lane and device, each declared and measured, over many repetitions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from autovoice.tools.lab.latency.delay import METHODS, Array, Delay, NoLoopback, judge, why_not_found
from autovoice.tools.lab.latency.signals import Probe, probe
from autovoice.tools.lab.latency.take import ServerTrouble, Take

LEAD_S = 0.15  # of silence before the first probe: the noise is measured in it
MARGIN_S = 0.02  # beyond the delay, before the next probe
ODD_FRAMES = 37  # by which probes start later in the block from one to the next: every place in it is met
ATTEMPTS = 8  # takes, until enough repetitions are whole
SCOUT_SHARE = 0.2  # of the progress
SAME_FRAMES = 0.5  # measured and declared are the same to the frame where they differ by less ...
SAME_ENVELOPE_S = 0.001  # ... and by envelopes, within a millisecond

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """How values lie: percentiles, and jitter as standard deviation and from the least to the most."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float
    std: float
    peak_to_peak: float

    @classmethod
    def of(cls, values: Array) -> Spread:
        """Describe values of shape (count,), count > 0."""
        p50, p99, p999 = (float(v) for v in np.percentile(values, (50, 99, 99.9)))
        return cls(len(values), p50, p99, p999, float(values.max()), float(values.std()), float(np.ptp(values)))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a round trip, in frames; what nobody tells, or nothing measures, is None."""

    name: str
    declared: float | None
    measured: Spread | None
    values: Array | None = None  # one for each repetition
    note: str = ""
    tolerance: float = SAME_FRAMES  # frames that the method can tell apart

    @property
    def agrees(self) -> bool | None:
        """Whether measured and declared are the same as far as the method can tell; None where one of them is missing."""
        if self.declared is None or self.measured is None:
            return None
        return abs(self.measured.p50 - self.declared) < self.tolerance


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said before anything is measured, in frames; None where nobody says it."""

    look_ahead: int | None
    stages: tuple[tuple[str, int], ...] = ()  # of the look-ahead
    lane: int = 0
    device: int | None = None  # capture and playback together, without the one block that is told apart


@dataclass(frozen=True, slots=True)
class Alone:
    """The prober's own loop, with nothing else in it: what the server takes by itself."""

    block: Array  # frames, one for each repetition
    answer_us: Array  # from the beginning of its cycle to each callback
    xruns: int


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Everything that one measurement found."""

    sample_rate: float
    block: int
    probe: str
    method: str
    parts: tuple[Part, ...]
    stages: tuple[tuple[str, int], ...]
    delays: tuple[Delay, ...]
    alone: Alone | None  # None on PortAudio, where nothing can be told from the device
    answer_us: Array  # from the beginning of a cycle to the prober's callback, which waits for the client's
    jitter_us: Array  # from one callback to the next, against the period
    spent_us: Array  # by each of the prober's callbacks
    xruns: int
    lost: int  # repetitions in which cycles were lost, left out

    def part(self, name: str) -> Part:
        """Return a part by its name: look-ahead, block, lane, device or total."""
        return next(part for part in self.parts if part.name == name)

    @property
    def snr_db(self) -> float:
        """The median of the probe over all else in its band."""
        return float(np.median([delay.snr_db for delay in self.delays]))

    @property
    def inverted(self) -> bool:
        """Whether the path turns the wave upside down."""
        return sum(delay.inverted for delay in self.delays) * 2 > len(self.delays)


class Sender(Protocol):
    """What plays a probe and records it: JackProber or DuplexProber."""

    @property
    def sample_rate(self) -> float: ...  # noqa: D102

    @property
    def block(self) -> int: ...  # noqa: D102

    def take(  # noqa: D102
        self, probe: Probe, *, period: int, repeats: int, lead: int, progress: Callable[[int], None]
    ) -> Take: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    sound: Probe
    method: str  # of autovoice.tools.lab.latency.delay
    declared: Declared
    nothing: str  # what to do when nothing comes back
    repeats: int = 20
    cycles: int = 2000  # callbacks, at least
    longest_s: float = 1.0  # of a delay that is looked for
    alone: Alone | None = None
    total_row: int = 0  # of a take: what went all the way
    device_row: int | None = None  # what went through the device only; None where the device is not in the loop


def listen_alone(prober: Sender, row: int, cycles: int, progress: Progress = lambda share: None) -> Alone:
    """Measure the block on the prober's own loop, heard in `row`, and how soon it is called, over `cycles` callbacks."""
    sound, reach = probe("chirp", prober.sample_rate), 4 * prober.block
    heard = _listen(prober, sound, reach, 1, cycles, progress)
    values = [METHODS["phase"](sound, rows[row], reach).frames for rows in heard.repetitions]
    return Alone(np.array(values), heard.answer_us, heard.xruns)


def look(prober: Sender, sound: Probe, method: str, reach: int, repeats: int, row: int = 0) -> list[Delay]:
    """Return delays in 0..reach from one short take, without any judgement; raises NoLoopback where there is none."""
    return [METHODS[method](sound, rows[row], reach) for rows in _listen(prober, sound, reach, repeats, 1).repetitions]


def measure(prober: Sender, plan: Plan, progress: Progress = lambda share: None) -> RoundTrip:
    """Measure what the prober is attached to.

    A first look finds the delay anywhere up to `plan.longest_s`; the repetitions then follow each other as closely as it
    allows. Raises LabError where the path is open, noisy, clipped, or gives back another sound.
    """
    sound, row = plan.sound, plan.total_row
    longest = round(plan.longest_s * prober.sample_rate)
    scout = _listen(prober, sound, longest, 2, 1, lambda share: progress(SCOUT_SHARE * share))
    about = _first_look(plan, scout.repetitions[-1][row], scout.silence[row], longest)
    reach = round(about.frames) + round(MARGIN_S * prober.sample_rate)
    then = _listen(
        prober, sound, reach, plan.repeats, plan.cycles, lambda share: progress(SCOUT_SHARE + (1 - SCOUT_SHARE) * share)
    )
    found: list[tuple[Delay, float, Array]] = []
    for rows in then.repetitions:
        with contextlib.suppress(NoLoopback):
            delay = METHODS[plan.method](sound, rows[row], reach)
            through = 0.0 if plan.device_row is None else METHODS["phase"](sound, rows[plan.device_row], reach).frames
            found.append((delay, through, rows[row]))
    if 2 * len(found) < len(then.repetitions):
        lost = len(then.repetitions) - len(found)
        raise NoLoopback(f"the probe came back in {len(found)} repetitions and was lost in {lost}; {plan.nothing}")
    delays, device, heard = zip(*found, strict=True)
    middle = int(np.argsort([delay.likeness for delay in delays])[len(delays) // 2])
    judge(sound, delays[middle], heard[middle], then.silence[row], plan.method)
    return RoundTrip(
        sample_rate=prober.sample_rate,
        block=prober.block,
        probe=sound.name,
        method=plan.method,
        parts=_parts(plan, np.array([delay.frames for delay in delays]), np.array(device), prober.sample_rate, prober.block),
        stages=plan.declared.stages,
        delays=delays,
        alone=plan.alone,
        answer_us=then.answer_us,
        jitter_us=then.jitter_us,
        spent_us=then.spent_us,
        xruns=scout.xruns + then.xruns,
        lost=then.lost + len(then.repetitions) - len(found),
    )


@dataclass(frozen=True, slots=True)
class Heard:
    """Whole repetitions, from as many takes as they needed."""

    repetitions: list[Array]  # each of shape (rows, frames)
    silence: Array  # shape (rows, frames)
    answer_us: Array
    jitter_us: Array
    spent_us: Array
    xruns: int
    lost: int  # repetitions in which the driver lost cycles


def _listen(
    prober: Sender, sound: Probe, reach: int, repeats: int, cycles: int, progress: Progress = lambda share: None
) -> Heard:
    """Send a probe until at least `repeats` repetitions came back whole, and at least `cycles` callbacks have passed.

    Raises ServerTrouble where the driver loses cycles all the time.
    """
    block, lead = prober.block, round(LEAD_S * prober.sample_rate)
    period = -(-(len(sound.sound) + reach) // block) * block + ODD_FRAMES
    wanted = max(repeats, -(-(cycles * block - lead) // period))
    takes: list[Take] = []
    whole: list[Array] = []
    for attempt in range(ATTEMPTS):
        count = wanted - len(whole)
        frames = lead + period * count
        begun = len(whole) / wanted

        def show(at: int, begun: float = begun, frames: int = frames) -> None:
            progress(begun + (1 - begun) * at / frames)

        takes.append(prober.take(sound, period=period, repeats=count, lead=lead, progress=show))
        whole += [takes[-1].heard[:, k] for k in np.flatnonzero(takes[-1].whole)]
        if len(whole) == wanted or (attempt > 0 and len(whole) >= repeats):
            break
    if 2 * len(whole) < wanted:
        raise ServerTrouble(
            f"the audio server lost cycles in {wanted - len(whole)} of {wanted} repetitions: end what keeps the machine busy, "
            f"or give it a larger block"
        )
    return Heard(
        whole,
        takes[-1].silence,
        np.concatenate([take.answer_us for take in takes]),
        np.concatenate([take.jitter_us for take in takes]),
        np.concatenate([take.spent_us for take in takes]),
        sum(take.xruns for take in takes),
        sum(int(np.count_nonzero(~take.whole)) for take in takes),
    )


def _parts(plan: Plan, totals: Array, through: Array, sample_rate: float, block: int) -> tuple[Part, ...]:
    """Tell a total apart. The prober cannot hear between look-ahead and lane: what a lane declares is taken off."""
    declared, looped = plan.declared, plan.device_row is not None
    own = Spread.of(plan.alone.block).p50 if plan.alone is not None else float(block)
    ahead = totals - (through if looped else own) - declared.lane
    known = None not in (declared.look_ahead, declared.device if looped else 0)
    whole = (declared.look_ahead or 0) + block + declared.lane + (declared.device or 0 if looped else 0)
    same = SAME_FRAMES if plan.method == "phase" else SAME_ENVELOPE_S * sample_rate
    note = "" if looped else "without the device"
    return (
        Part("look-ahead", declared.look_ahead, Spread.of(ahead), ahead, tolerance=same),
        _block_part(plan.alone, block),
        Part("lane", declared.lane, None, note="" if declared.lane else "no stage runs in a lane"),
        _device_part(declared.device, through - own if looped else None),
        Part("total", whole if known else None, Spread.of(totals), totals, note, tolerance=same),
    )


def _block_part(alone: Alone | None, block: int) -> Part:
    if alone is None:
        return Part("block", block, None, note="cannot be told from the device here")
    return Part("block", block, Spread.of(alone.block), alone.block)


def _device_part(declared: int | None, measured: Array | None) -> Part:
    if measured is None:
        return Part("device", declared, None, note="not in the loop; close it with a cable and --device")
    return Part("device", declared, Spread.of(measured), measured)


def _first_look(plan: Plan, received: Array, silence: Array, longest: int) -> Delay:
    """Return the delay as first seen; raises LabError where there is none or it is not to be trusted."""
    try:
        delay = METHODS[plan.method](plan.sound, received, longest)
    except NoLoopback:
        trouble = why_not_found(plan.sound, received, silence, plan.method)
        if isinstance(trouble, NoLoopback):
            trouble = NoLoopback(f"no loopback found: {trouble.message}; {plan.nothing}")
        raise trouble from None
    judge(plan.sound, delay, received, silence, plan.method)
    return delay
