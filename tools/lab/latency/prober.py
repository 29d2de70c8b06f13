"""The measuring JACK client: it plays a probe and records what comes back, in compiled code, on JACK's own thread.

It has two pairs of ports. `out_1` and `in_1` go through what is measured; `out_2` and `in_2` are connected with each other, so
the same cycles show what the server's block alone takes. It connects once and stays, since every connection makes the server
order its clients anew; and it waits for the client under test (the way back is connected before the way there, so JACK takes
the way there for the loop's feedback): when it is called, that client has answered.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, index"

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import jack
import numpy as np
from autovoice.dsp.native import (
    add_relaxed,
    call_five,
    call_with_handle,
    clock_ns,
    load_acquire,
    record_at,
    store_release,
    touch_stack,
)
from autovoice.dsp.stage import suggest
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import atomics
from autovoice.rt.backends.jack import CAPTURE_LATENCY, FFI, library
from autovoice.rt.memory import Arena, address_of
from autovoice.tools.lab.latency.delay import LabError
from autovoice.tools.lab.latency.signals import Probe
from autovoice.tools.lab.latency.take import (
    AT,
    GO,
    POLL_S,
    ROWS,
    STALL_S,
    TAKE,
    ServerTrouble,
    Take,
    be_silent,
    exchange,
    log_cycle,
    make_take,
    run_take,
)

FRAMES = 0xFFFFFFFF  # a uint32_t came back
PATH, LOOP = range(ROWS)  # pairs of ports, and rows of a take
SETTLE_S = 0.2
IO = np.dtype(
    [
        ("take", TAKE),
        ("client", "i8"),
        ("get_buffer", "i8"),  # jack_port_get_buffer
        ("get_cycle", "i8"),  # jack_get_cycle_times
        ("get_since", "i8"),  # jack_frames_since_cycle_start: on the driver's own clock, not on JACK's smoothed one
        ("set_range", "i8"),  # jack_port_set_latency_range
        ("in_ports", "i8", (ROWS,)),
        ("out_ports", "i8", (ROWS,)),
        ("now", "i8", (4,)),  # what jack_get_cycle_times fills: frames, then start in microseconds, next, period
        ("range", "u4", (2,)),  # jack_latency_range_t
        ("xruns", "i8"),
        ("block", "i8"),
        ("rate", "i8"),
        ("gone", "i8"),
    ],
    align=True,
)
NOW, RANGE, XRUNS, BLOCK, RATE, GONE = (IO.fields[name][1] for name in ("now", "range", "xruns", "block", "rate", "gone"))


FFI.cdef("uint32_t jack_frames_since_cycle_start(void *client);")


def _process(frames, address):
    io = record_at(address, IO)
    take = io.take
    called_ns = clock_ns()
    playing = load_acquire(address + GO) != 0 and take.at < take.frames
    # The record takes frames, start, next start and period in turn; int jack_get_cycle_times returns 0 when it could tell.
    known = call_five(io.get_cycle, io.client, address + NOW, address + NOW + 8, address + NOW + 16, address + NOW + 24) == 0
    since = call_with_handle(io.get_since, io.client, 0) & FRAMES
    for k in range(ROWS):
        target = call_with_handle(io.get_buffer, io.out_ports[k], frames)
        source = call_with_handle(io.get_buffer, io.in_ports[k], frames)
        if playing:
            exchange(take, k, target, source, frames)
        else:
            be_silent(target, frames)
    if playing:
        if known:
            log_cycle(take, io.now[0], called_ns, since)
        store_release(address + AT, min(take.at + frames, take.frames))
    return np.int32(0)


def _xrun(address):
    add_relaxed(address + XRUNS, 1)
    return np.int32(0)


def _buffer_size(frames, address):
    store_release(address + BLOCK, np.int64(frames))
    return np.int32(0)


def _sample_rate(rate, address):
    store_release(address + RATE, np.int64(rate))
    return np.int32(0)


def _shutdown(address):
    store_release(address + GONE, 1)


def _thread_init(address):
    touch_stack()


def _latency(mode, address):
    """Declare that sound begins and ends here: what a client adds is then all that its ports tell."""
    io = record_at(address, IO)
    io.range[0] = io.range[1] = np.uint32(0)
    for k in range(ROWS):
        call_five(
            io.set_range, io.out_ports[k] if mode == CAPTURE_LATENCY else io.in_ports[k], np.int64(mode), address + RANGE, 0, 0
        )


_T = numba.types
_HANDLER, _NOTICE = _T.int32(_T.uint32, _T.uintp), _T.void(_T.uintp)
CALLBACKS = {
    "jack_set_process_callback": compile_entry(_process, _HANDLER),
    "jack_set_xrun_callback": compile_entry(_xrun, _T.int32(_T.uintp)),
    "jack_set_buffer_size_callback": compile_entry(_buffer_size, _HANDLER),
    "jack_set_sample_rate_callback": compile_entry(_sample_rate, _HANDLER),
    "jack_set_latency_callback": compile_entry(_latency, _T.void(_T.int32, _T.uintp)),
    "jack_set_thread_init_callback": compile_entry(_thread_init, _NOTICE),
    "jack_on_shutdown": compile_entry(_shutdown, _NOTICE),
}


class UnknownPort(LabError):
    """A client or port that the server does not have."""


class JackProber:
    """The client; a context manager. Control thread only."""

    def __init__(self, server: str | None, name: str = "autovoice-lab") -> None:
        """Choose the server by name (None: JACK's own) and our name there."""
        self.server, self._wanted = server, name
        self._lib = library()
        self._client: Any = None

    def __enter__(self) -> Self:
        """Join the server with both pairs of ports and close our own loop; raises ServerTrouble where there is none."""
        jack.set_error_function(lambda message: None)
        jack.set_info_function(lambda message: None)
        try:
            self._client = client = jack.Client(f"{self._wanted}-{os.getpid()}", servername=self.server, no_start_server=True)
        except jack.JackOpenError as error:
            where = f"JACK server {self.server!r}" if self.server else "JACK server"
            raise ServerTrouble(
                f"no {where} is running; start one (jackd -d alsa, or PipeWire's pw-jack) or name it with --server"
            ) from error
        self._arena = Arena(IO.itemsize)
        self._io = self._arena.take(IO)
        io, lib = self._io[0], self._lib
        io["client"] = int(FFI.cast("uintptr_t", _pointer(client)))
        io["block"], io["rate"] = client.blocksize, client.samplerate
        for field, call in (
            ("get_buffer", "jack_port_get_buffer"),
            ("get_cycle", "jack_get_cycle_times"),
            ("get_since", "jack_frames_since_cycle_start"),
            ("set_range", "jack_port_set_latency_range"),
        ):
            io[field] = int(FFI.cast("uintptr_t", FFI.addressof(lib, call)))
        for k in range(ROWS):
            for way, ports in (("in", client.inports), ("out", client.outports)):
                io[f"{way}_ports"][k] = int(FFI.cast("uintptr_t", _pointer(ports.register(f"{way}_{k + 1}"))))
        handle, argument = FFI.cast("void *", io["client"]), FFI.cast("void *", self._address)
        for call, entry in CALLBACKS.items():
            getattr(lib, call)(handle, entry.address, argument)
        client.activate()
        client.connect(client.outports[LOOP], client.inports[LOOP])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the server; no callback runs any more when this returns."""
        if self._client is not None:
            with contextlib.suppress(jack.JackError):
                self._client.deactivate()
            with contextlib.suppress(jack.JackError):
                self._client.close()
            self._client = None

    @property
    def _address(self) -> int:
        return address_of(self._io)

    @property
    def out(self) -> str:
        """The full name of the port that the probe leaves by."""
        return str(self._client.outports[PATH].name)

    @property
    def back(self) -> str:
        """The full name of the port that the echo returns to."""
        return str(self._client.inports[PATH].name)

    @property
    def sample_rate(self) -> float:
        """The server's rate in Hz."""
        return float(atomics.load(self._address + RATE))

    @property
    def block(self) -> int:
        """The server's block in frames, as it is now."""
        return atomics.load(self._address + BLOCK)

    @property
    def realtime(self) -> bool:
        """Whether the server runs its clients under a real-time policy."""
        return bool(self._client.realtime)

    @property
    def xruns(self) -> int:
        """The drop-outs that the server reported since we joined it."""
        return atomics.load(self._address + XRUNS)

    def set_block(self, frames: int) -> None:
        """Change the server's block; raises ServerTrouble where it does not take it."""
        try:
            self._client.blocksize = frames
        except jack.JackError as error:
            raise ServerTrouble(f"the JACK server takes no block of {frames} frames; it runs at {self.block}") from error
        until = time.monotonic() + STALL_S
        while self.block != frames:
            if time.monotonic() > until:
                raise ServerTrouble(f"the JACK server takes no block of {frames} frames; it runs at {self.block}")
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def at_block(self, frames: int) -> Iterator[None]:
        """Run the server at another block for a while; it gets its own back afterwards, if it still lives."""
        before = self.block
        self.set_block(frames)
        try:
            yield
        finally:
            with contextlib.suppress(ServerTrouble):
                self.set_block(before)

    def clients(self) -> list[str]:
        """Name the clients that have audio ports, ours left out."""
        ours = self._client.name
        names = dict.fromkeys(port.name.partition(":")[0] for port in self._client.get_ports(is_audio=True))
        return [name for name in names if name != ours]

    def port(self, client: str, wanted: str | None, *, into: bool) -> str:
        """Return the full name of a client's in or out port: the one wanted, by its short or full name, or its first.

        Raises UnknownPort that offers what there is.
        """
        if client not in self.clients():
            raise UnknownPort(f"no JACK client is called {client!r}{suggest(client, self.clients())}")
        ports = self._client.get_ports(is_audio=True, is_input=into, is_output=not into)
        names = [port.name for port in ports if port.name.partition(":")[0] == client]
        way = "in" if into else "out"
        if not names:
            raise UnknownPort(f"{client!r} has no audio {way} port, so nothing goes through it; choose a client with both")
        if wanted is None:
            return str(names[0])
        found = [name for name in names if wanted in (name, name.partition(":")[2])]
        if not found:
            raise UnknownPort(f"{client!r} has no {way} port {wanted!r}{suggest(wanted, [n.partition(':')[2] for n in names])}")
        return str(found[0])

    def device(self, wanted: str | None) -> tuple[str, str]:
        """Return the full names of a port that plays and one that records: `PLAYBACK,CAPTURE`, or the sound card's first.

        Raises UnknownPort that offers what there is.
        """
        names: list[list[str]] = []
        for into in (True, False):
            ports = self._client.get_ports(is_audio=True, is_input=into, is_output=not into, is_physical=wanted is None)
            names.append([str(port.name) for port in ports if not self._client.owns(port)])
        if wanted is None:
            if not all(names):
                raise UnknownPort("the JACK server has no sound card; name two ports with --device PLAYBACK,CAPTURE")
            return names[0][0], names[1][0]
        playback, comma, capture = (part.strip() for part in wanted.partition(","))
        if not comma:
            raise UnknownPort(f"--device takes two ports of JACK, PLAYBACK,CAPTURE, got {wanted!r}")
        for what, port, known in (("playback", playback, names[0]), ("capture", capture, names[1])):
            if port not in known:
                raise UnknownPort(f"the JACK server has no {what} port {port!r}{suggest(port, known)}")
        return playback, capture

    def device_declared(self, device: tuple[str, str] | None = None) -> int | None:
        """Return what a device's ports tell of playback and capture together, without one block; None where they are vague."""
        with contextlib.suppress(LabError):
            playback, capture = device or self.device(None)
            played, recorded = self.latency_range(playback, playback=True), self.latency_range(capture)
            if played[0] == played[1] and recorded[0] == recorded[1]:
                physical = self._client.get_port_by_name(playback).is_physical
                return played[1] + recorded[1] - self.block if physical else recorded[1]
        return None

    def connect(self, left: str, right: str) -> None:
        """Connect an out port to an in port, by full names, and wait until the server shows it, which it does a cycle later.

        One that is connected already stays. Raises ServerTrouble.
        """
        refused = False
        try:
            self._client.connect(left, right)
        except jack.JackError as error:
            refused = getattr(error, "code", None) != errno.EEXIST
        until = time.monotonic() + STALL_S
        while right not in self.connections(left):
            if refused or time.monotonic() > until:
                raise ServerTrouble(f"cannot connect {left} to {right}; is one of them gone?")
            time.sleep(POLL_S)

    def wire(self, into: str, out_of: str, device: tuple[str, str] | None = None) -> None:
        """Close the loop through a client's ports, the way back first, and stay.

        With `device`, a port that plays and one that records, the probe goes through the device before the client, and our
        second row hears the device alone in place of our own loop.
        """
        self.connect(out_of, self.back)
        if device is None:
            self.connect(self.out, into)
            return
        playback, capture = device
        self._client.disconnect(self._client.outports[LOOP], self._client.inports[LOOP])
        self.connect(capture, self._client.inports[LOOP].name)
        self.connect(capture, into)
        self.connect(self.out, playback)

    def connections(self, port: str) -> list[str]:
        """Name the ports that one is connected to; raises UnknownPort where there is none of that name."""
        try:
            return [other.name for other in self._client.get_all_connections(self._client.get_port_by_name(port))]
        except jack.JackError as error:
            raise UnknownPort(f"the JACK server has no port {port!r}; see `autovoice devices`") from error

    def client_declared(self, into: str, out_of: str) -> int | None:
        """Return the frames that a client's ports tell from one to the other; None where they are vague."""
        self._lib.jack_recompute_total_latencies(_pointer(self._client))
        time.sleep(SETTLE_S)  # the server asks every client in turn
        heard, told = self.latency_range(into), self.latency_range(out_of)
        return told[1] - heard[1] if told[1] - heard[1] == told[0] - heard[0] else None

    def latency_range(self, port: str, *, playback: bool = False) -> tuple[int, int]:
        """Return what a port tells of its latency, (least, most) in frames: from capture to it, or from it to playback."""
        port_ = self._client.get_port_by_name(port)
        pair = FFI.new("uint32_t[2]")
        self._lib.jack_port_get_latency_range(_pointer(port_), int(playback), pair)
        return int(pair[0]), int(pair[1])

    def take(
        self, probe: Probe, *, period: int, repeats: int, lead: int, progress: Callable[[int], None] = lambda frames: None
    ) -> Take:
        """Send a probe `repeats` times, one every `period` frames after `lead` frames of silence, and return what came back.

        Raises ServerTrouble where the server changes its block or rate meanwhile, or goes away.
        """
        block, rate, xruns = self.block, self.sample_rate, self.xruns
        heard, cycles = run_take(self._io, probe, period, repeats, lead, progress)
        for what, before, now, unit in (("block", block, self.block, "frames"), ("rate", rate, self.sample_rate, "Hz")):
            if before != now:
                raise ServerTrouble(
                    f"the JACK server changed its {what} from {before:g} to {now:g} {unit} meanwhile; measure again"
                )
        return make_take(heard, cycles, lead, period, rate, self.xruns - xruns)


def _pointer(thing: Any) -> Any:
    """Return JACK-Client's pointer as one of ours: the two were declared in different places."""
    return FFI.cast("void *", int(jack._ffi.cast("uintptr_t", thing._ptr)))
