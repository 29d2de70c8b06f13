"""The engine: a chain, live, on a driver's own thread."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autovoice.dsp.stage import StageError, suggest
from autovoice.rt.backends.base import Backend, BackendError, Settings
from autovoice.rt.chain import Chain
from autovoice.rt.lane.process import Fresh, Workers
from autovoice.rt.layout import BLOCK_NOW, IMMEDIATELY, RATE_NOW, SHUTDOWN
from autovoice.rt.memory import release_compiler
from autovoice.rt.processor import Processor
from autovoice.rt.record import Recorder
from autovoice.rt.registry import Entry, publish, withdraw
from autovoice.rt.telemetry import Stats
from autovoice.rt.watch import Watcher

BACKENDS = {
    "jack": ("autovoice.rt.backends.jack", "JackBackend"),
    "portaudio": ("autovoice.rt.backends.portaudio", "PortAudioBackend"),
    "pyaudio": ("autovoice.rt.backends.pyaudio", "PyAudioBackend"),
    "null": ("autovoice.rt.backends.null", "NullBackend"),
}
KEEP_S = 0.05  # between two looks of the thread that keeps the engine
FADE_OUT_S = 0.03  # the presence fade and a block or two
RETRY_S = (0.25, 0.5, 1.0, 2.0)  # between attempts to reconnect; the last repeats


class EngineError(RuntimeError):
    """An engine asked for what it cannot do now; the message says what to do first."""


class Engine:
    """Plays a chain through a backend from `start` to `stop`; a context manager.

    Every method may be called from any thread but the driver's. Parameters: `chain`; `backend` ("jack", "portaudio",
    "pyaudio", "null"); `block` frames and `sample_rate` Hz (None: the driver's own); `latency` frames to reserve for chains
    to come, or what gives them for a sample rate; `reconnect` keeps trying when the server dies; the rest goes to the driver
    (see Settings). `workers` is where lanes have their workers from (`autovoice.models.manager.ModelManager` keeps models
    resident; None: each lane starts its own).
    Raises StageError, BackendError or EngineError with one line that says the way out.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        backend: str = "null",
        block: int | None = None,
        sample_rate: float | None = None,
        latency: int | Callable[[float], int] | None = None,
        reconnect: bool = False,
        workers: Workers | None = None,
        **settings: Any,
    ) -> None:
        """Check the request; nothing is opened before `start`."""
        if backend not in BACKENDS:
            raise StageError(f"no backend is called {backend!r}{suggest(backend, BACKENDS)}")
        if block is not None and not 1 <= block <= 8192:
            raise StageError(f"block must be in 1..8192 frames, got {block}")
        self._settings = Settings(block=block, sample_rate=sample_rate, **settings)
        self._backend_name = backend
        self._chain = chain
        self._latency = latency
        self._reconnect = reconnect
        self._workers: Workers = workers or Fresh()
        self._backend: Backend | None = None
        self._processor: Processor | None = None
        self._recorder: Recorder | None = None
        self._armed: Path | None = None  # the folder of a take that begins with the start
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        self._running = False
        self._entry: Path | None = None
        self._watcher: Watcher | None = None
        self._ports = {"osc": 0, "web": 0}
        self.trouble: str | None = None  # why the sound stopped, when the driver ended it

    def start(self) -> Self:
        """Open the driver and fade in; returns self."""
        with self._lock:
            if self._running:
                raise EngineError("the engine is already running; stop it first")
            backend = self._open_backend()
            try:
                if self._processor is None or self._processor.sample_rate != backend.sample_rate:
                    self._processor = self._make_processor(backend)
                self._processor.silence_now()
                self._processor.presence(1.0)
                self._processor.keep_worst()
                self._processor.open_control()
                self._prepare_recorder(self._processor)
                self._processor.rack.wake(live=True)
                backend.start(self._processor)
            except BaseException:
                backend.close()
                self._rest()
                raise
            self._backend, self._running, self.trouble = backend, True, None
            self._publish(self._processor)
            release_compiler()
            if self._keeper is None or not self._keeper.is_alive():
                self._closing.clear()
                self._keeper = threading.Thread(target=self._keep, name="autovoice-keeper", daemon=True)
                self._keeper.start()
        return self

    def _publish(self, processor: Processor) -> None:
        """Let other processes find the counters, and watch the audio thread."""
        self._withdraw()  # a driver that died left them
        self._enter(processor)
        self._watcher = Watcher(processor.worst)
        self._watcher.start()

    def identity(self) -> dict[str, Any]:
        """Return what tells this engine from others: its name, process and backend."""
        return {"name": self._settings.name, "pid": os.getpid(), "backend": self._backend_name}

    def publish_ports(self, *, osc: int, web: int) -> None:
        """Let other processes find the ports of the surfaces of control; 0 = none."""
        with self._lock:
            self._ports = {"osc": osc, "web": web}
            if self._entry is not None:
                self._enter(self.processor)

    def _enter(self, processor: Processor) -> None:
        """Write this engine's line in the registry, in place of an older one."""
        names = [p.key for p in self._chain.placed]
        pages = processor.telemetry_path, processor.worst_path, processor.control_path
        self._entry = publish(
            Entry(self._settings.name, os.getpid(), self._backend_name, names, *pages, self._ports["osc"], self._ports["web"])
        )

    def _withdraw(self) -> None:
        """Undo `_publish`; may be called twice."""
        withdraw(self._entry)
        if self._watcher is not None:
            self._watcher.stop()
        self._entry = self._watcher = None

    def _open_backend(self) -> Backend:
        module, name = BACKENDS[self._backend_name]
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, OSError) as error:
            raise BackendError(f"the {self._backend_name} backend cannot be loaded: {error}") from error
        backend: Backend = kind(self._settings)
        backend.open()
        return backend

    def _make_processor(self, backend: Backend) -> Processor:
        """Lay out a processor for the driver's rate; settings moved at a former rate stay as they are."""
        before = self._processor.values if self._processor is not None else {}
        self._chain = self._chain.with_values(before)
        processor = Processor(
            self._chain,
            sample_rate=backend.sample_rate,
            in_channels=self._settings.in_channels,
            out_channels=self._settings.out_channels,
            block=backend.block,
            latency=self._latency(backend.sample_rate) if callable(self._latency) else self._latency,
            workers=self._workers,
        )
        processor.send([(path, value) for path, value in before.items() if path.startswith("master/")])
        return processor

    def stop(self) -> None:
        """Fade out, end a recording, give the driver back. May be called twice."""
        self._closing.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
            self._keeper = None
        with self._lock:
            if self._running and self._processor is not None and self.alive:
                with contextlib.suppress(StageError):
                    self._processor.presence(0.0)
                    time.sleep(FADE_OUT_S + 2 * self.block / self.sample_rate)
            self._withdraw()
            try:
                self.stop_recording()
            finally:
                if self._backend is not None:
                    self._backend.close()
                self._backend, self._running = None, False
                self._rest()

    def _rest(self) -> None:
        """End all workers."""
        if self._processor is not None:
            self._processor.rack.rest()
        self._workers.rest()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and free what the audio thread used."""
        self.stop()

    @property
    def processor(self) -> Processor:
        """What the driver calls; raises EngineError before the first start."""
        if self._processor is None:
            raise EngineError("the engine was never started; call start() or use it in a with block")
        return self._processor

    @property
    def chain(self) -> Chain:
        """The chain that plays."""
        return self._chain

    @property
    def sample_rate(self) -> float:
        """The driver's sample rate in Hz."""
        return self.processor.sample_rate

    @property
    def block(self) -> int:
        """The driver's block in frames, as it is now."""
        return self.processor.telemetry.driver(BLOCK_NOW) or int(self.processor.telemetry["block"])

    @property
    def alive(self) -> bool:
        """Whether the driver still calls us."""
        return self._running and self.processor.telemetry.driver(SHUTDOWN) == 0

    @property
    def realtime(self) -> bool:
        """Whether the audio thread runs under a real-time policy."""
        return self._backend is not None and self._backend.realtime

    @property
    def device_latency(self) -> int:
        """Frames that the driver adds, as far as it says so."""
        return self._backend.device_latency if self._backend is not None else 0

    def set(self, path: str, value: float, *, frame: int | None = None) -> None:
        """Move one parameter, `stage/name` or `master/name`, now or at an absolute frame; it glides there."""
        self.set_many({path: value}, frame=frame)

    def set_many(self, changes: Mapping[str, float], *, frame: int | None = None) -> None:
        """Move several parameters at one frame; all of them or, where one is out of range, none."""
        self.processor.send(list(changes.items()), IMMEDIATELY if frame is None else frame)

    def bypass(self, stage: str, on: bool = True) -> None:
        """Hear a stage's input in place of its output, at the same delay, cross-faded."""
        self.set(f"{stage}/bypass", float(on))

    def mute(self, on: bool = True) -> None:
        """Silence the output within 3 ms, or bring it back."""
        self.set("master/mute", float(on))

    def panic(self) -> None:
        """Silence the output and forget every state (tails, loops, held notes); `mute(False)` brings the voice back."""
        self.mute()
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Swap to the same chain at its present settings, with empty states."""
        with self._lock:
            present = self._chain.with_values(self.processor.values)
            self.swap(present, keep_state=False, follow=True)

    def swap(self, chain: Chain, *, keep_state: bool = True, follow: bool = False, settle: int = 0) -> None:
        """Cross-fade to another chain; stages that stay keep their state. Raises SwapRefused where it needs more latency.

        With `follow`, parameters of stages that stay are not those of `chain` but what they are set to by then. The new chain
        runs unheard for as long as its stages need, and for `settle` frames at least.
        """
        with self._lock:
            self.processor.swap(chain, keep_state=keep_state, follow=follow, settle=settle, running=self.alive)
            self._chain = chain

    def record(self, wet: str | Path, *, dry: str | Path | None = None) -> None:
        """Record the output, and the input delayed to match it when `dry` is given, to float32 WAV files."""
        with self._lock:
            if self._recorder is not None:
                raise EngineError("a recording is running; call stop_recording() first")
            recorder = Recorder(self.processor, Path(wet), Path(dry) if dry is not None else None)
            recorder.begin()
            self._recorder = recorder

    def take(self, folder: str | Path) -> None:
        """Record a take to a folder: dry, wet, and a log of all that happens, from which the same bits can be rendered again.

        Before `start` it is armed, and is exact from the very first frame. While the voice plays, it is recorded from now on,
        and is exact once a copy of the chain that starts afresh has been faded in (see Take). `stop_recording` ends it.
        """
        from autovoice.rt.take.recorder import SETTLE_S, Take

        with self._lock:
            if self._recorder is not None or self._armed is not None:
                raise EngineError("a recording is running; call stop_recording() first")
            if not self._running:
                self._armed = Path(folder)
                return
            take = Take(self.processor, Path(folder))
            take.begin()
            self._recorder = take
            self.swap(self.processor.image.present(), keep_state=False, follow=True, settle=round(SETTLE_S * self.sample_rate))

    def _prepare_recorder(self, processor: Processor) -> None:
        """Before the driver starts: begin the take that was armed, or tell a recorder that the driver comes back."""
        from autovoice.rt.take.recorder import Take

        if self._recorder is not None:
            self._recorder.restarted(processor)
        elif self._armed is not None:
            folder, self._armed = self._armed, None
            take = Take(processor, folder)
            take.arm()
            self._recorder = take

    def stop_recording(self) -> Path | None:
        """End the recording; returns its path, None where there was none. Raises RecordError where a write failed."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
            return recorder.close() if recorder is not None else None

    @property
    def recorder(self) -> Recorder | None:
        """What records now, None where nothing does."""
        return self._recorder

    @property
    def recording_trouble(self) -> str | None:
        """Why the recording that runs takes no more, such as a full disk; None while all is well."""
        recorder = self._recorder
        return str(recorder.error) if recorder is not None and recorder.error is not None else None

    def stats(self) -> Stats:
        """Read the counters, levels and times."""
        return self.processor.telemetry.stats(tuple(p.key for p in self._chain.placed))

    def frame_at(self, time_ns: int) -> int:
        """Return the absolute frame that plays at a CLOCK_MONOTONIC time; frames lost to xruns are not counted."""
        telemetry = self.processor.telemetry
        return int(telemetry["now_frame"]) + round((time_ns - int(telemetry["now_ns"])) * 1e-9 * self.sample_rate)

    def wait(self, seconds: float | None = None, tick: Callable[[], None] | None = None) -> bool:
        """Wait while the engine runs, calling `tick` ten times a second; says whether it is still alive."""
        end = None if seconds is None else time.monotonic() + seconds
        while (self.alive or self._reconnect) and (end is None or time.monotonic() < end):
            if tick is not None:
                tick()
            time.sleep(0.1 if end is None else max(0.0, min(0.1, end - time.monotonic())))
        return self.alive

    def _keep(self) -> None:
        """Free retired chains, replace one whose state broke, notice a driver that died, reconnect when that was asked for."""
        attempt = broken = 0
        while not self._closing.wait(KEEP_S):
            with self._lock:
                processor = self.processor
                if self.alive:
                    attempt = 0
                    processor.collect()
                    if processor.telemetry["nonfinite_out"] > broken:  # a state that holds NaN would never sound again
                        with contextlib.suppress(StageError):
                            self._start_afresh()
                        broken = int(processor.telemetry["nonfinite_out"])
                    if processor.telemetry.driver(RATE_NOW) in (0, int(processor.sample_rate)):
                        continue
                    trouble = f"the driver changed its rate to {processor.telemetry.driver(RATE_NOW)} Hz"
                else:
                    trouble = "the driver ended the connection"
                if not self._reconnect:
                    trouble += "; start the server again, or use --reconnect to wait for it"
                self.trouble = trouble
                if self._backend is not None:
                    self._backend.close()
                    self._backend, self._running = None, False
                if not self._reconnect:
                    return
            if self._closing.wait(RETRY_S[min(attempt, len(RETRY_S) - 1)]):
                return
            attempt += 1
            with contextlib.suppress(BackendError), self._lock:
                self.start()
