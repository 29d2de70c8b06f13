"""The processor: one chain behind one compiled entry point, for a driver's callback or for a whole file."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from autovoice.dsp.stage import MAX_CHANNELS, SEGMENT, Param, StageError, check_sample_rate, suggest
from autovoice.rt import atomics
from autovoice.rt.callback import RECORDER, RETIRED, RUN, SCOPE_PAGE
from autovoice.rt.chain import Chain, check_channels
from autovoice.rt.image import BYPASS, ROW_BYTES, ChainImage, delay_length, glide_frames, lay_cell
from autovoice.rt.journal import ControlPage
from autovoice.rt.lane.process import Workers
from autovoice.rt.lane.rack import NO_LANES, Lanes, Rack
from autovoice.rt.layout import (
    BYPASS_INDEX,
    CONTROL,
    ENGINE,
    EVENT,
    IMMEDIATELY,
    MASTER_UID,
    MAX_PENDING,
    MIDI_PRODUCER,
    PRESENCE,
    PRODUCERS,
    SCOPE,
    TELEMETRY,
    VALUE_STRIDE,
    VALUE_UIDS,
)
from autovoice.rt.master import MASTER
from autovoice.rt.memory import Arena, address_of, aligned
from autovoice.rt.ring import Ring
from autovoice.rt.swap import NEXT
from autovoice.rt.telemetry import MAGIC, Telemetry
from autovoice.rt.worst import BUDGET_SHARE, PAGE, WorstPage

SWAP_FADE_MS = 20.0
EVENTS_CAPACITY = 8192
RECORD_VALUES = 2 * MAX_CHANNELS + 1  # of a frame that is recorded, at most: dry, wet and the frame's number
SENT_S = 0.4  # more than two of the longest blocks
REMEMBERED = 64  # chains that were published


@dataclass(frozen=True, slots=True)
class Published:
    """A chain that was handed to the audio thread, and how."""

    chain: Chain
    uids: dict[str, int]  # by the stages' names in the chain
    keep_state: bool
    follow: bool


class SwapRefused(StageError):
    """A chain that does not fit the running engine; the message says the way out."""


class Processor:
    """Memory, chain and events of one engine, with the address of what a driver calls.

    Methods are for control threads; a lock keeps them apart. `latency` reserves frames of delay for chains to come; it is the
    first chain's own where it is None. A chain that makes stereo of mono runs with as many channels as there are outputs; that
    too is settled by the first chain, unless `channels` says how many. Lanes have their workers from `workers`.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        sample_rate: float,
        in_channels: int,
        out_channels: int,
        block: int,
        latency: int | None = None,
        channels: int | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Lay everything out; raises StageError for what is out of range."""
        self.sample_rate = check_sample_rate(sample_rate)
        self.in_channels, self.out_channels = check_channels(in_channels), check_channels(out_channels)
        own = chain.latency(self.sample_rate)
        if latency is not None and latency < own:
            raise StageError(f"latency must be at least the chain's own {own} frames, got {latency}")
        self.latency = own if latency is None else latency
        self._lock = threading.RLock()
        self._uids: dict[tuple[str, str], int] = {}
        self._sent: dict[str, float] = {}
        line = delay_length(self.latency)
        if channels is None:
            spreads = any(p.stage.spreads for p in chain.placed)
            channels = max(self.in_channels, self.out_channels) if spreads else self.in_channels
        self.channels = channels
        size = aligned(ENGINE.itemsize) + aligned(channels * line * 4) + aligned(channels * ROW_BYTES)
        size += aligned(SEGMENT * RECORD_VALUES * 4) + aligned(MAX_PENDING * EVENT.itemsize)
        self._arena = Arena(size)
        shared = Arena(TELEMETRY.itemsize, shared="autovoice-telemetry")
        self._shared = shared
        self.telemetry = Telemetry(shared.take(TELEMETRY))
        self.telemetry_path = shared.path
        self._worst = Arena(PAGE.itemsize, shared="autovoice-worst")
        self.worst = WorstPage(self._worst.take(PAGE))
        self.worst.prepare(self.sample_rate)
        self.worst_path = self._worst.path
        self._generation = 0
        self.published: dict[int, Published] = {}  # the newest, by generation
        self.rings = [Ring(EVENT, EVENTS_CAPACITY)]  # by producer
        self.page: ControlPage | None = None  # what surfaces of control share, once `open_control` was called
        self._control: Arena | None = None
        self._scope: Arena | None = None
        self.rack = Rack(self.telemetry.array, self.sample_rate, channels, workers)
        weakref.finalize(self, self.rack.rest)
        self._record = self._arena.take(ENGINE)
        self.engine = self._record[0]
        self._lay_out(line, block)
        self.image = self._image(chain, self.rack.lay(chain))
        self.rack.keep(self.image)
        self.engine["current"] = self.image.address
        self.telemetry.array[0]["stages"] = len(chain.placed)
        self._retired: ChainImage | None = None

    @property
    def address(self) -> int:
        """Where the ENGINE record lies: the first argument of `run`."""
        return address_of(self._record)

    @property
    def run(self) -> int:
        """The address of `void run(engine, float** inputs, float** outputs, int64 frames, int64 late_ns)`."""
        return cast(int, RUN.address)

    @property
    def chain(self) -> Chain:
        """The chain that plays, or is being faded in."""
        return self.image.chain

    @property
    def generation(self) -> int:
        """A number that each chain gets when it is laid out: 1, 2, ..."""
        return self._generation

    @property
    def locked(self) -> bool:
        """Whether the host let us lock this memory against paging."""
        return self._arena.locked and self._shared.locked and self.image.arena.locked

    def _lay_out(self, line: int, block: int) -> None:
        e = self.engine
        e["self_address"], e["telemetry"] = self.address, address_of(self.telemetry.array)
        e["sample_rate"], e["period_ns_per_frame"] = self.sample_rate, 1e9 / self.sample_rate
        e["in_channels"], e["channels"] = self.in_channels, self.channels
        e["per_square"] = 1 / (SEGMENT * self.in_channels)
        e["out_channels"], e["latency"] = self.out_channels, self.latency
        e["fade_frames"] = max(1, round(SWAP_FADE_MS * 1e-3 * self.sample_rate))
        e["dry_line"], e["dry_mask"] = address_of(self._arena.take("f4", self.channels * line)), line - 1
        e["dry"] = address_of(self._arena.take("f4", self.channels * SEGMENT))
        e["record_scratch"] = address_of(self._arena.take("f4", SEGMENT * RECORD_VALUES))
        e["pending"] = address_of(self._arena.take(EVENT, MAX_PENDING))
        e["producers"], e["rings"][0] = 1, self.rings[0].address
        for k, parameter in enumerate(MASTER):
            lay_cell(e["master"][k], e["rows"][k], parameter.default, glide_frames(parameter, self.sample_rate))
        e["moving"], e["gain_in"], e["gain_out"], e["unity"] = 1, 1.0, 1.0, 1
        t = self.telemetry.array[0]
        t["magic"], t["sample_rate"], t["block"], t["latency"] = MAGIC, self.sample_rate, block, self.latency
        t["in_channels"], t["out_channels"] = self.in_channels, self.out_channels

    def _uid(self, key: str, stage: str) -> int:
        if (key, stage) not in self._uids and self.page is not None and len(self._uids) + 1 >= VALUE_UIDS:
            raise StageError(
                f"one session knows at most {VALUE_UIDS - 1} names of stages, {key!r} is one more; use a name again, or restart"
            )
        return self._uids.setdefault((key, stage), MASTER_UID + 1 + len(self._uids))

    def _image(
        self, chain: Chain, lanes: Lanes = NO_LANES, *, keep_state: bool = False, follow: bool = False, settle: int = 0
    ) -> ChainImage:
        uids = {p.key: self._uid(p.key, p.stage.name) for p in chain.placed}
        self._generation += 1
        self.worst.name_stages(self._generation, [p.key for p in chain.placed])
        image = ChainImage(chain, uids, self.sample_rate, self.channels, self.latency, settle, lanes)
        image.record[0]["generation"] = self._generation
        self.published[self._generation] = Published(chain, uids, keep_state, follow)
        self.published.pop(self._generation - REMEMBERED, None)
        return image

    def open_control(self) -> None:
        """Keep a journal, show values, take events of other producers through rings they attach. Before the driver starts."""
        if self.page is not None:
            return
        self._control = Arena(CONTROL.itemsize, shared="autovoice-control")
        self.page = ControlPage(self._control.take(CONTROL))
        self.page.prepare()
        self._scope = Arena(SCOPE.itemsize, shared="autovoice-scope")
        for producer in PRODUCERS[1:]:
            shared = f"autovoice-events-{producer}" if producer != MIDI_PRODUCER else None
            self.rings.append(Ring(EVENT, EVENTS_CAPACITY, shared=shared))
            self.engine["rings"][producer] = self.rings[producer].address
        self.engine["producers"] = len(self.rings)
        self._show_all()
        self.engine["control"] = address_of(self.page.array)

    @property
    def control_path(self) -> str:
        """Where other processes find the page of control; raises ValueError before there is one."""
        if self._control is None:
            raise ValueError("no page of control was opened")
        return self._control.path

    def _show_all(self) -> None:
        """Show what the chain is laid out with, over it what was sent, while no audio thread runs."""
        if self.page is None:
            return
        values = {f"{p.key}/{name}": value for p in self.chain.placed for name, value in p.values.items()}
        values |= {f"{p.key}/bypass": float(p.bypass) for p in self.chain.placed}
        values |= {f"master/{p.name}": p.default for p in MASTER[:PRESENCE]}
        for path, value in (values | self._sent).items():
            self.page.show(*self.resolve(path)[:2], value)

    @property
    def scope_path(self) -> str:
        """Where other processes find the newest frames; raises ValueError before `open_control`."""
        if self._scope is None:
            raise ValueError("no page of control was opened")
        return self._scope.path

    def show_scope(self, on: bool) -> None:
        """Let the audio thread copy what it hears and plays to the scope, or no more."""
        if self._scope is not None:
            atomics.store(self.address + SCOPE_PAGE, self._scope.address if on else 0)

    @property
    def values(self) -> dict[str, float]:
        """By path, what every parameter was last set to by anybody; before `open_control`, what was sent since the swap."""
        page = self.page
        if page is None:
            return dict(self._sent)
        with self._lock:
            rows = [(f"master/{p.name}", MASTER_UID, k) for k, p in enumerate(MASTER[:PRESENCE])]
            for placed in self.chain.placed:
                uid = self.image.uids[placed.key]
                rows.append((f"{placed.key}/bypass", uid, BYPASS_INDEX))
                rows += [(f"{placed.key}/{p.name}", uid, k) for k, p in enumerate(placed.stage.parameters)]
            return {path: page.value(uid, index) for path, uid, index in rows if index + 1 < VALUE_STRIDE}

    def keep_worst(self, budget_share: float = BUDGET_SHARE) -> None:
        """Keep records of the worst blocks, and of those over a share of the period. Before the driver starts."""
        self.worst.prepare(self.sample_rate, budget_share)
        self.engine["worst"] = address_of(self.worst.array)

    def resolve(self, path: str) -> tuple[int, int, Param]:
        """Return (uid, parameter index, table row) of `stage/parameter`; raises StageError that offers the nearest name."""
        key, _, name = path.partition("/")
        if key == "master":
            names = [p.name for p in MASTER[:PRESENCE]]
            if name not in names:
                raise StageError(f"master has no parameter {name!r}{suggest(name, names)}")
            return MASTER_UID, names.index(name), MASTER[names.index(name)]
        placed = self.chain[key]
        if name == "bypass":
            return self.image.uids[key], BYPASS_INDEX, BYPASS
        if name in {o.name for o in placed.stage.options}:
            raise StageError(f"{path} is fixed while running, because it sets the latency; swap the chain to change it")
        index = placed.stage.parameter(name)
        return self.image.uids[key], index, placed.stage.parameters[index]

    def send(self, changes: Sequence[tuple[str, float]], frame: int = IMMEDIATELY, origin: int = 0) -> None:
        """Send one group of changes, applied together at an absolute frame; raises StageError and then sends none."""
        with self._lock:
            events = np.zeros(len(changes), EVENT)
            checked = []
            for k, (path, value) in enumerate((self.chain.canonical(path), value) for path, value in changes):
                uid, index, parameter = self.resolve(path)
                try:
                    number = parameter.check(value)
                except StageError as error:
                    raise StageError(f"{path.partition('/')[0]}/{error}") from None
                events[k] = (frame, uid, index, number, len(changes) - 1 - k, 0, origin)
                checked.append((path, number))
            self._push(events)
            self._sent.update(checked)
            if self.page is not None and frame == IMMEDIATELY:
                for event in events:
                    self.page.show(int(event["uid"]), int(event["index"]), float(event["value"]))

    def _push(self, events: np.ndarray[Any, Any]) -> None:
        if len(events) > MAX_PENDING // 2:
            raise StageError(f"a group holds at most {MAX_PENDING // 2} changes, got {len(events)}")
        deadline = time.monotonic() + 2.0
        while not self.rings[0].push(events):
            if time.monotonic() > deadline:
                raise StageError("the engine takes no events: it is not running, or 8192 already wait; start it first")
            time.sleep(0.001)

    def await_sent(self, timeout_s: float = SENT_S) -> None:
        """Return when the audio thread has applied what anybody sent for at once before this call.

        After twice `timeout_s` at the latest: where it stands still, nothing sounds that could be waited for.
        """
        sent = [ring.written for ring in self.rings]
        with contextlib.suppress(SwapRefused):
            self._await(lambda: all(ring.taken >= one for ring, one in zip(self.rings, sent, strict=True)), timeout_s)
            cycles = int(self.telemetry["cycles"])
            self._await(lambda: int(self.telemetry["cycles"]) > cycles, timeout_s)  # it applies what it takes, then counts

    def presence(self, value: float) -> None:
        """Fade the output in (1) or out (0)."""
        self._push(np.array([(IMMEDIATELY, MASTER_UID, PRESENCE, value, 0, 0, 0)], EVENT))

    def silence_now(self) -> None:
        """Start from silence, so that the first block fades in, and count expected frames anew. Before the driver starts."""
        self.telemetry.array[0]["first_ns"] = 0
        cell = self.engine["master"][PRESENCE]
        lay_cell(cell, self.engine["rows"][PRESENCE], 0.0, glide_frames(MASTER[PRESENCE], self.sample_rate))
        cell["dirty"] = self.engine["moving"] = 1

    def swap(
        self,
        chain: Chain,
        *,
        keep_state: bool = True,
        follow: bool = False,
        settle: int = 0,
        running: bool = True,
        timeout_s: float = 3.0,
    ) -> None:
        """Bring another chain in without a click; returns when the audio thread has taken it up.

        Stages that stay keep their state and, with `follow`, whatever their parameters are set to at that frame. Raises
        SwapRefused where the chain needs more latency than was reserved.
        """
        self._check_latency(chain)
        if running:  # an earlier swap may still be fading; others may move parameters meanwhile
            self._await(self._settled, timeout_s)
        keep = keep_state and running
        lanes = self.rack.lay(chain, self.image if keep else None)  # before the lock: a worker may take a second to load
        with self._lock, self.rack.tried(lanes):
            image = self._image(chain, lanes, keep_state=keep, follow=follow and running, settle=settle)
            if not running:
                self.image, self._retired = image, None
                self.engine["current"] = image.address
                self.engine["next"] = self.engine["incoming"] = self.engine["retired"] = 0  # a swap that the stop cut short
                self.rack.keep(image)
            else:
                self._await(self._settled, timeout_s)
                self._publish(image, keep_state, follow)
                self._await(lambda: atomics.load(self.address + NEXT) == 0, timeout_s)
            self._sent = {path: value for path, value in self._sent.items() if path.startswith("master/")}
            if not running:
                self._show_all()
            self.telemetry.array[0]["stages"] = len(chain.placed)

    def _check_latency(self, chain: Chain) -> None:
        needed = chain.latency(self.sample_rate)
        if needed > self.latency:
            raise SwapRefused(
                f"this chain needs {needed} frames of latency and the engine was started with {self.latency}; "
                f"start it with latency={needed} or more, or choose a chain with less look-ahead"
            )

    def publish(self, chain: Chain, *, keep_state: bool, follow: bool, settle: int) -> ChainImage:
        """Let a chain be adopted at the next multiple of SEGMENT, where no driver runs and the last swap is over."""
        self._check_latency(chain)
        with self._lock:
            self.collect()
            lanes = self.rack.lay(chain, self.image if keep_state else None)
            image = self._image(chain, lanes, keep_state=keep_state, follow=follow, settle=settle)
            self._publish(image, keep_state, follow)
            return image

    def _publish(self, image: ChainImage, keep_state: bool, follow: bool) -> None:
        image.inherit(self.image, keep_state=keep_state, follow=follow)
        self._retired, self.image = self.image, image
        self.rack.keep(self._retired, image)
        atomics.store(self.address + NEXT, image.address)

    def collect(self) -> None:
        """Free the chain that plays no more, if there is one."""
        with self._lock:
            if self._retired is not None and atomics.load(self.address + RETIRED) == self._retired.address:
                atomics.store(self.address + RETIRED, 0)
                self._retired = None
                self.rack.keep(self.image)

    def _settled(self) -> bool:
        """Whether the last swap is over, so that another may begin."""
        self.collect()
        return self._retired is None and atomics.load(self.address + NEXT) == 0

    def attach_recorder(self, ring: int) -> None:
        """Let the audio thread push what it plays to a ring of rows (dry channels, wet channels); 0 ends it."""
        atomics.store(self.address + RECORDER, ring)

    def _await(self, done: Any, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise SwapRefused(f"the audio thread has not answered for {timeout_s:g} s; is the driver running?")
            time.sleep(0.0005)

    def close(self) -> None:
        """Release descriptors, end the lanes' workers; the driver must have stopped."""
        self.rack.close()
        self._shared.close()
        self._worst.close()
        for arena in filter(None, (self._control, self._scope)):
            arena.close()
