"""PortAudio, by sounddevice, with a compiled callback: every host API that PortAudio knows, JACK among them."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from autovoice.dsp.native import add_relaxed, as_pointer, call_engine, helper, record_at, store_release
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.backends.base import Backend, BackendError, Settings
from autovoice.rt.layout import BLOCK_NOW, SHUTDOWN, TELEMETRY, XRUNS
from autovoice.rt.memory import Arena, address_of
from autovoice.rt.processor import Processor

CHUNK = 1024  # frames that are brought from PortAudio's interleaved order into rows at once
IO = np.dtype(
    [
        ("run", "i8"),
        ("engine", "i8"),
        ("driver", "i8"),
        ("in_count", "i8"),
        ("out_count", "i8"),
        ("seen", "i8"),  # callbacks so far: the first ones' flags tell of priming, not of a drop-out
        ("inputs", "i8", (MAX_CHANNELS,)),
        ("outputs", "i8", (MAX_CHANNELS,)),
        ("in_rows", "f4", (MAX_CHANNELS, CHUNK)),
        ("out_rows", "f4", (MAX_CHANNELS, CHUNK)),
    ],
    align=True,
)
INPUTS, OUTPUTS = IO.fields["inputs"][1], IO.fields["outputs"][1]
DROPPED = 0b1111 & ~0b1000  # paInputUnderflow | paInputOverflow | paOutputUnderflow; overflow of the output loses nothing heard
PRIMING = 4  # callbacks


@helper
def _part(io, address, source, target, frames):
    """Process up to CHUNK interleaved frames."""
    for c in range(io.in_count):
        for i in range(frames):
            io.in_rows[c, i] = source[i * io.in_count + c]
    call_engine(io.run, io.engine, address + INPUTS, address + OUTPUTS, frames, 0)
    for c in range(io.out_count):
        for i in range(frames):
            target[i * io.out_count + c] = io.out_rows[c, i]


def _callback(inputs, outputs, frames, time_info, flags, address):
    io = record_at(address, IO)
    if flags & DROPPED and io.seen >= PRIMING:
        add_relaxed(io.driver + 8 * XRUNS, 1)
    io.seen += 1
    source = numba.carray(as_pointer(inputs), (frames * io.in_count,), np.float32)
    target = numba.carray(as_pointer(outputs), (frames * io.out_count,), np.float32)
    done = np.int64(0)
    while done < frames:
        count = min(frames - done, CHUNK)
        _part(io, address, source[done * io.in_count :], target[done * io.out_count :], count)
        done += count
    store_release(io.driver + 8 * BLOCK_NOW, frames)
    return np.int32(0)


def _finished(address):
    store_release(record_at(address, IO).driver + 8 * SHUTDOWN, 1)


_T = numba.types
CALLBACK = compile_entry(_callback, _T.int32(_T.uintp, _T.uintp, _T.int64, _T.uintp, _T.int64, _T.uintp))
FINISHED = compile_entry(_finished, _T.void(_T.uintp))


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise BackendError(
            f"PortAudio is not installed ({error}); install libportaudio2, or use --backend jack or null"
        ) from error
    return sounddevice


class PortAudioBackend(Backend):
    """A duplex PortAudio stream; `device` is a name, a part of one, or an index (None: the default pair)."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is opened yet."""
        self._settings = settings
        self._sd = _sounddevice()
        self._stream: Any = None
        self._latency_s = (0.0, 0.0)
        self.device_name = ""  # once it is open

    @property
    def device_latency(self) -> int:
        """What PortAudio says of its input and output together."""
        return round(sum(self._latency_s) * self.sample_rate)

    def open(self) -> None:
        """Find the device and check rate and channels; raises BackendError that lists what there is."""
        wanted, sd = self._settings, self._sd
        device: Any = wanted.device
        if isinstance(device, str) and device.isdigit():
            device = int(device)
        try:
            found = [sd.query_devices(device, kind) for kind in ("input", "output")]
        except (ValueError, sd.PortAudioError) as error:
            names = ", ".join(f"{d['index']}: {d['name']}" for d in sd.query_devices()) or "none"
            raise BackendError(f"no PortAudio device {wanted.device or 'by default'}; devices are: {names}") from error
        self._devices = tuple(d["index"] for d in found)
        self.device_name = " and ".join(dict.fromkeys(str(d["name"]) for d in found))
        self.sample_rate = float(wanted.sample_rate or found[0]["default_samplerate"])
        self.block = wanted.block or 64
        for kind, check, count in (
            ("input", sd.check_input_settings, wanted.in_channels),
            ("output", sd.check_output_settings, wanted.out_channels),
        ):
            try:
                index = self._devices[0 if kind == "input" else 1]
                check(device=index, channels=count, dtype="float32", samplerate=self.sample_rate)
            except (ValueError, sd.PortAudioError) as error:
                own = found[0]["default_samplerate"]
                raise BackendError(
                    f"{found[0]['name']} takes no {kind} of {count} channels at {self.sample_rate:g} Hz ({error}); "
                    f"its own rate is {own:g} Hz"
                ) from error

    def start(self, processor: Processor) -> None:
        """Open the stream with the compiled callback and start it."""
        self._arena = Arena(IO.itemsize)
        self._io = self._arena.take(IO)
        io = self._io[0]
        io["run"], io["engine"] = processor.run, processor.address
        io["in_count"], io["out_count"] = processor.in_channels, processor.out_channels
        io["driver"] = address_of(processor.telemetry.array) + TELEMETRY.fields["driver"][1]
        for c in range(MAX_CHANNELS):
            io["inputs"][c], io["outputs"][c] = address_of(io["in_rows"][c]), address_of(io["out_rows"][c])
        processor.telemetry.array[0]["driver"][SHUTDOWN] = 0
        self._stream = self.open_stream(
            CALLBACK.address, FINISHED.address, address_of(self._io), (processor.in_channels, processor.out_channels)
        )
        self._latency_s = self._stream.latency

    def open_stream(self, callback: Any, finished: Any, userdata: int, channels: tuple[int, int]) -> Any:
        """Open and start a duplex stream on the device found, with C functions by their addresses; raises BackendError."""
        sd, stream = self._sd, None
        try:
            stream = sd._StreamBase(
                kind="duplex",
                wrap_callback=None,
                callback=sd._ffi.cast("PaStreamCallback*", callback),
                userdata=sd._ffi.cast("void*", userdata),
                device=self._devices,
                channels=channels,
                dtype="float32",
                samplerate=self.sample_rate,
                blocksize=self.block,
                latency="low",
                clip_off=None,
                dither_off=None,
                never_drop_input=None,
                prime_output_buffers_using_stream_callback=None,
                extra_settings=None,
                finished_callback=None,
            )
            sd._lib.Pa_SetStreamFinishedCallback(stream._ptr, sd._ffi.cast("PaStreamFinishedCallback*", finished))
            stream.start()
        except sd.PortAudioError as error:
            if stream is not None:
                with contextlib.suppress(sd.PortAudioError):
                    stream.close(ignore_errors=True)
            raise BackendError(
                f"PortAudio cannot start: {error}; see `autovoice devices`, or use --backend jack or null"
            ) from error
        return stream

    def close(self) -> None:
        """Stop and close the stream; its last callback is over when this returns."""
        if self._stream is not None:
            with contextlib.suppress(self._sd.PortAudioError):
                self._stream.close(ignore_errors=True)
            self._stream = None
