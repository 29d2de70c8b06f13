"""JACK: the callbacks are compiled, JACK's own thread calls them, Python only connects and disconnects.

JACK-Client makes the connection; calls its wrapper lacks (latency, thread-init) are declared here. PipeWire's libjack works
the same: its quantum changes arrive as buffer-size changes, which any block takes.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import contextlib
import re
from typing import Any

import cffi
import jack
import numpy as np
from autovoice.dsp.native import (
    add_relaxed,
    call_engine,
    call_five,
    call_hook,
    call_with_handle,
    helper,
    load_acquire,
    record_at,
    store_release,
    touch_stack,
)
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt import atomics
from autovoice.rt.backends.base import Backend, BackendError, Settings
from autovoice.rt.layout import BLOCK_NOW, ENGINE, FREEWHEEL, RATE_NOW, SHUTDOWN, TELEMETRY, XRUNS
from autovoice.rt.memory import Arena, address_of
from autovoice.rt.midi import begin_midi, hear
from autovoice.rt.midi_input import midi_input
from autovoice.rt.processor import Processor

MIDI_EVENT = np.dtype([("time", "u4"), ("size", "u8"), ("data", "i8")], align=True)
"""jack_midi_event_t: the frame within the block, and the bytes."""

IO = np.dtype(
    [
        ("run", "i8"),
        ("engine", "i8"),
        ("driver", "i8"),  # address of the telemetry's driver row
        ("client", "i8"),
        ("get_buffer", "i8"),  # jack_port_get_buffer
        ("get_cycle", "i8"),  # jack_get_cycle_times
        ("get_time", "i8"),  # jack_get_time
        ("get_range", "i8"),  # jack_port_get_latency_range
        ("set_range", "i8"),  # jack_port_set_latency_range
        ("latency", "i8"),  # frames, declared
        ("in_count", "i8"),
        ("out_count", "i8"),
        ("in_ports", "i8", (MAX_CHANNELS,)),
        ("out_ports", "i8", (MAX_CHANNELS,)),
        ("inputs", "i8", (MAX_CHANNELS,)),
        ("outputs", "i8", (MAX_CHANNELS,)),
        ("cycle", "i8", (4,)),  # what jack_get_cycle_times fills: frames, then start in microseconds, next, period
        ("range", "u4", (2,)),  # jack_latency_range_t
        ("source", "i8"),  # address of source_rows x source_stride float32 to play in place of the in ports, or 0
        ("source_rows", "i8"),
        ("source_stride", "i8"),
        ("source_frames", "i8"),
        ("source_rest", "i8"),  # where a row is silent for as long as the longest block; before that it goes on as it began
        ("loop", "i8"),
        ("at", "i8"),
        ("playing", "i8"),  # control -> audio: the connections are made
        ("midi", "i8"),  # address of the processor's MIDI input, or 0
        ("midi_port", "i8"),
        ("midi_count", "i8"),  # jack_midi_get_event_count
        ("midi_get", "i8"),  # jack_midi_event_get
        ("midi_event", MIDI_EVENT),
    ],
    align=True,
)
INPUTS, OUTPUTS, CYCLE, RANGE, PLAYING, EVENT_AT = (
    IO.fields[name][1] for name in ("inputs", "outputs", "cycle", "range", "playing", "midi_event")
)
LONGEST_BLOCK = 8192  # frames
CAPTURE_LATENCY, PLAYBACK_LATENCY = 0, 1


@helper
def listen(io, address, frames):
    """Hand the block's MIDI messages on, each with its absolute frame; JACK keeps them in the order of their frames."""
    engine = record_at(io.engine, ENGINE)
    if engine.enter_hook != 0:
        call_hook(engine.enter_hook)
    begin_midi(io.midi, engine.frame)
    buffer = call_with_handle(io.get_buffer, io.midi_port, frames)
    for k in range(call_five(io.midi_count, buffer, 0, 0, 0, 0)):
        if call_five(io.midi_get, address + EVENT_AT, buffer, k, 0, 0) == 0:
            event = io.midi_event
            hear(io.midi, engine.frame + min(np.int64(event.time), frames - 1), event.data, np.int64(event.size))
    if engine.exit_hook != 0:
        call_hook(engine.exit_hook)


def _process(frames, address):
    io = record_at(address, IO)
    for k in range(io.in_count):
        io.inputs[k] = call_with_handle(io.get_buffer, io.in_ports[k], frames)
    if io.source != 0:
        playing = load_acquire(address + PLAYING) != 0 and io.at < io.source_frames
        at = io.at if playing else io.source_rest
        for k in range(io.source_rows):
            io.inputs[k] = io.source + 4 * (k * io.source_stride + at)
        if playing:
            io.at += frames
            if io.loop != 0:
                io.at = io.at % io.source_frames
    for k in range(io.out_count):
        io.outputs[k] = call_with_handle(io.get_buffer, io.out_ports[k], frames)
    late = 0
    # The record takes frames, start, next start and period in turn; int jack_get_cycle_times returns 0 when it could tell.
    if (
        call_five(io.get_cycle, io.client, address + CYCLE, address + CYCLE + 8, address + CYCLE + 16, address + CYCLE + 24)
        == 0
    ):
        late = max((call_with_handle(io.get_time, 0, 0) - io.cycle[1]) * 1000, 0)  # both on JACK's own clock
    if io.midi != 0:
        listen(io, address, np.int64(frames))
    call_engine(io.run, io.engine, address + INPUTS, address + OUTPUTS, frames, late)
    return np.int32(0)


def _xrun(address):
    add_relaxed(record_at(address, IO).driver + 8 * XRUNS, 1)
    return np.int32(0)


def _buffer_size(frames, address):
    store_release(record_at(address, IO).driver + 8 * BLOCK_NOW, np.int64(frames))
    return np.int32(0)


def _sample_rate(rate, address):
    store_release(record_at(address, IO).driver + 8 * RATE_NOW, np.int64(rate))
    return np.int32(0)


def _freewheel(starting, address):
    store_release(record_at(address, IO).driver + 8 * FREEWHEEL, np.int64(starting))


def _shutdown(address):
    store_release(record_at(address, IO).driver + 8 * SHUTDOWN, 1)


def _thread_init(address):
    touch_stack()


def _latency(mode, address):
    """Pass every path's latency on, with ours added, as JACK's latency API asks of a client."""
    io = record_at(address, IO)
    least, most = np.int64(1 << 30), np.int64(0)
    sources = io.in_ports if mode == CAPTURE_LATENCY else io.out_ports
    targets = io.out_ports if mode == CAPTURE_LATENCY else io.in_ports
    for k in range(io.in_count if mode == CAPTURE_LATENCY else io.out_count):
        call_five(io.get_range, sources[k], np.int64(mode), address + RANGE, 0, 0)
        least, most = min(least, np.int64(io.range[0])), max(most, np.int64(io.range[1]))
    for k in range(io.out_count if mode == CAPTURE_LATENCY else io.in_count):
        io.range[0] = np.uint32(min(least, most) + io.latency)
        io.range[1] = np.uint32(most + io.latency)
        call_five(io.set_range, targets[k], np.int64(mode), address + RANGE, 0, 0)


FFI = cffi.FFI()
FFI.cdef(
    """
    int jack_set_latency_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_thread_init_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_process_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_xrun_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_buffer_size_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_sample_rate_callback(void *client, uintptr_t callback, void *arg);
    int jack_set_freewheel_callback(void *client, uintptr_t callback, void *arg);
    void jack_on_shutdown(void *client, uintptr_t callback, void *arg);
    int jack_recompute_total_latencies(void *client);
    void *jack_port_get_buffer(void *port, uint32_t frames);
    uint64_t jack_get_time(void);
    int jack_get_cycle_times(void *client, void *frames, void *now, void *next, void *period);
    void jack_port_get_latency_range(void *port, int mode, void *range);
    void jack_port_set_latency_range(void *port, int mode, void *range);
    uint32_t jack_midi_get_event_count(void *buffer);
    int jack_midi_event_get(void *event, void *buffer, uint32_t number);
    """
)
_KINDS = numba.types
_HANDLER = _KINDS.int32(_KINDS.uint32, _KINDS.uintp)
_NOTICE = _KINDS.void(_KINDS.uintp)
CALLBACKS = {
    "jack_set_process_callback": compile_entry(_process, _HANDLER),
    "jack_set_xrun_callback": compile_entry(_xrun, _KINDS.int32(_KINDS.uintp)),
    "jack_set_buffer_size_callback": compile_entry(_buffer_size, _HANDLER),
    "jack_set_sample_rate_callback": compile_entry(_sample_rate, _HANDLER),
    "jack_set_freewheel_callback": compile_entry(_freewheel, _KINDS.void(_KINDS.int32, _KINDS.uintp)),
    "jack_set_latency_callback": compile_entry(_latency, _KINDS.void(_KINDS.int32, _KINDS.uintp)),
    "jack_set_thread_init_callback": compile_entry(_thread_init, _NOTICE),
    "jack_on_shutdown": compile_entry(_shutdown, _NOTICE),
}
_NO_SERVER = "start one (jackd -d alsa, or PipeWire's pw-jack), name it with --server, or use --backend portaudio or null"


def library() -> Any:
    """Load JACK's own library; raises BackendError where there is none."""
    for name in ("libjack.so.0", "libjack.0.dylib", "libjack64.dll"):
        with contextlib.suppress(OSError):
            return FFI.dlopen(name)
    raise BackendError("the JACK library is not installed; install jackd2 or pipewire-jack, or use --backend portaudio")


def _address(owned: Any) -> int:
    """Return where the library keeps a client or a port."""
    return int(jack._ffi.cast("uintptr_t", owned._ptr))


def _name_taken(wanted: Settings) -> bool:
    """Say whether the server would give us another name; jackd 2 reports a taken one as a server error."""
    try:
        probe = jack.Client(wanted.name, servername=wanted.server, no_start_server=True)
    except jack.JackOpenError:
        return False
    with contextlib.closing(probe):
        return bool(probe.name != wanted.name)


class JackBackend(Backend):
    """A JACK client with ports `in_1...`, `out_1...` and, unless `options["midi"]` is False, `midi_in`.

    With `options["source"]`, float32 (frames,) or (channels, frames), it has no in ports: it plays that recording from the
    moment its connections are made, once and then silence, or over and over with `options["loop"]`.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is connected yet."""
        self._settings = settings
        self._client: Any = None
        self._lib = library()
        self._realtime = False

    @property
    def realtime(self) -> bool:
        """Whether the server runs its clients under a real-time policy."""
        return self._realtime

    @property
    def device_latency(self) -> int:
        """One period: what a client's output waits for the device."""
        return self.block

    def open(self) -> None:
        """Become a client of the server; raises BackendError where there is none, or the name or the rate does not fit."""
        wanted = self._settings
        jack.set_error_function(lambda message: None)
        jack.set_info_function(lambda message: None)
        where = f"JACK server {wanted.server!r}" if wanted.server else "JACK server"
        try:
            client = jack.Client(wanted.name, servername=wanted.server, no_start_server=True, use_exact_name=True)
        except jack.JackOpenError as error:
            if error.status.name_not_unique or _name_taken(wanted):
                raise BackendError(
                    f"the {where} already has a client called {wanted.name!r}; choose another with --name"
                ) from error
            raise BackendError(f"no {where} is running; {_NO_SERVER}") from error
        self.sample_rate, self.block = float(client.samplerate), int(client.blocksize)
        if wanted.sample_rate not in (None, self.sample_rate):
            client.close()
            raise BackendError(
                f"the {where} runs at {self.sample_rate:g} Hz, not {wanted.sample_rate:g}; leave the rate out or restart it"
            )
        if wanted.block not in (None, self.block):
            try:
                client.blocksize = wanted.block
            except jack.JackError as error:
                client.close()
                raise BackendError(f"the {where} takes no block of {wanted.block} frames; it runs at {self.block}") from error
            self.block = int(client.blocksize)
        self._realtime = bool(client.realtime)
        self._client = client

    def start(self, processor: Processor) -> None:
        """Register ports and callbacks, activate, connect."""
        client = self._client
        self._arena = Arena(IO.itemsize)
        self._io = self._arena.take(IO)
        io, lib = self._io[0], self._lib
        telemetry = processor.telemetry.array
        io["run"], io["engine"], io["latency"] = processor.run, processor.address, processor.latency
        io["driver"] = address_of(telemetry) + TELEMETRY.fields["driver"][1]
        io["client"] = _address(client)
        for field, name in (
            ("get_buffer", "jack_port_get_buffer"),
            ("get_cycle", "jack_get_cycle_times"),
            ("get_time", "jack_get_time"),
            ("get_range", "jack_port_get_latency_range"),
            ("set_range", "jack_port_set_latency_range"),
            ("midi_count", "jack_midi_get_event_count"),
            ("midi_get", "jack_midi_event_get"),
        ):
            io[field] = int(FFI.cast("uintptr_t", FFI.addressof(lib, name)))
        for way, ports, count in (
            ("in", client.inports, 0 if "source" in self._settings.options else processor.in_channels),
            ("out", client.outports, processor.out_channels),
        ):
            io[f"{way}_count"] = count
            for k in range(count):
                io[f"{way}_ports"][k] = _address(ports.register(f"{way}_{k + 1}"))
        if self._settings.options.get("midi", True):
            midi = midi_input(processor)
            midi.release()  # of keys that were down when the last connection broke
            io["midi"], io["midi_port"] = midi.address, _address(client.midi_inports.register("midi_in"))
        if "source" in self._settings.options:
            self._load_source(processor.in_channels)
        telemetry[0]["driver"][SHUTDOWN] = 0
        telemetry[0]["driver"][BLOCK_NOW], telemetry[0]["driver"][RATE_NOW] = self.block, self.sample_rate
        handle, argument = FFI.cast("void *", io["client"]), FFI.cast("void *", address_of(self._io))
        for name, entry in CALLBACKS.items():
            getattr(lib, name)(handle, entry.address, argument)
        client.activate()
        try:
            self._connect(processor)
        except BackendError:
            self.close()
            raise
        atomics.store(address_of(self._io) + PLAYING, 1)

    def _load_source(self, channels: int) -> None:
        """Lay the recording out with its beginning, if it loops, and silence behind it, so that the callback moves pointers."""
        sound = np.atleast_2d(np.asarray(self._settings.options["source"], np.float32))
        frames, loop = sound.shape[1], bool(self._settings.options.get("loop", False))
        rest = frames + LONGEST_BLOCK if loop else frames
        stride = rest + LONGEST_BLOCK
        self._source_arena = Arena(channels * stride * 4)
        rows = self._source_arena.take("f4", channels * stride).reshape(channels, stride)
        rows[:, :rest] = sound[:, np.arange(rest) % frames]
        io = self._io[0]
        io["source_rest"], io["loop"] = rest, int(loop)
        io["source"], io["source_rows"], io["source_stride"], io["source_frames"] = address_of(rows), channels, stride, frames

    def _connect(self, processor: Processor) -> None:
        """Make the connections that were asked for, or mono to the first pair of speakers, microphones and keyboards in."""
        client, wanted = self._client, self._settings
        kinds = {"in": client.inports, "out": client.outports, "midi": client.midi_inports}
        ours: list[tuple[Any, str, str]] = []
        for side, theirs in wanted.connect:
            way, _, number = ("midi", "", "") if side.lower() == "midi_in" else side.lower().partition("_")
            if way not in kinds or not re.fullmatch(r"[1-9]?", number):
                raise BackendError(f"--connect takes IN=PORT, OUT=PORT, MIDI=PORT or in_1=PORT, got {side}={theirs}")
            ports = kinds[way]
            index = int(number or 1) - 1
            if index >= len(ports):
                name = f"{way}_{index + 1}" if way != "midi" else "midi_in"
                there = ", ".join(port.shortname for some in kinds.values() for port in some)
                raise BackendError(f"there is no port {name}; ports are {there}")
            for port in ports if not number else [ports[index]]:
                ours.append((port, way, theirs))
        for port, way, theirs in ours:
            try:
                client.connect(*((port, theirs) if way == "out" else (theirs, port)))
            except jack.JackError as error:
                others = client.get_ports(is_audio=way != "midi", is_midi=way == "midi")
                there = ", ".join(p.name for p in others if not p.name.startswith(wanted.name + ":"))
                raise BackendError(f"cannot connect {port.shortname} with {theirs!r}; ports are: {there}") from error
        if not wanted.connect and wanted.auto_connect:
            sources = client.get_ports(is_audio=True, is_output=True, is_physical=True)
            targets = client.get_ports(is_audio=True, is_input=True, is_physical=True)
            for port, source in zip(client.inports, sources, strict=False):
                client.connect(source, port)
            outs = list(client.outports) * (2 if processor.out_channels == 1 else 1)
            for port, target in zip(outs, targets, strict=False):
                client.connect(port, target)
            for port in client.midi_inports:
                for keyboard in client.get_ports(is_midi=True, is_output=True, is_physical=True):
                    client.connect(keyboard, port)

    def close(self) -> None:
        """Deactivate, so that no callback runs any more, then leave the server."""
        if self._client is not None:
            with contextlib.suppress(jack.JackError):
                self._client.deactivate()
            with contextlib.suppress(jack.JackError):
                self._client.close()
            self._client = None
