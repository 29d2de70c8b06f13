"""The Conductor: does, in the engine's process, what surfaces ask for, and lets them know what plays.

Parameters never come through here: surfaces move them through shared memory, past this process's interpreter. What changes the
chain or touches a file does, one command at a time, and none of it is on the audio thread.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autovoice.dsp.stage import Option, Param, StageError, stage_summaries, suggest
from autovoice.rt.backends.base import BackendError
from autovoice.rt.chain import Chain
from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.family import Family, Handler
from autovoice.rt.control.host import Program, SurfaceHost
from autovoice.rt.engine import Engine, EngineError
from autovoice.rt.journal import Journal
from autovoice.rt.layout import OSC_PRODUCER, PRESENCE, WEB_PRODUCER
from autovoice.rt.master import MASTER
from autovoice.rt.processor import Processor

log = logging.getLogger(__name__)
TICK_S = 0.05
FAMILIES = (
    ("autovoice.rt.control.chains", "ChainFamily"),
    ("autovoice.rt.control.library", "Library"),
    ("autovoice.rt.control.takes", "TakesFamily"),
    ("autovoice.rt.control.learn", "MidiFamily"),
    ("autovoice.rt.control.voices", "VoiceFamily"),
    ("autovoice.rt.control.lanes", "LaneFamily"),
)
"""Where the commands are done, in the order in which they are told of things."""


class CommandRefused(StageError):
    """A command that does not exist or cannot be done now; the message says the way out."""


@dataclass(frozen=True, slots=True)
class OscSettings:
    """Where the OSC server listens, by UDP and TCP. Port 0: any free one."""

    port: int = 9000
    host: str = "127.0.0.1"
    allow: tuple[str, ...] = ()  # networks that may send, as CIDR; needed beyond loopback
    subscribe: tuple[str, ...] = ()  # who is told of every move from the start: HOST:PORT, HOST:PORT@HZ for meters too


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where the page, OSCQuery and the metrics are served. Port 0: any free one."""

    port: int = 8080
    host: str = "127.0.0.1"
    token: str | None = None  # asked of whoever writes; needed beyond loopback
    announce: bool = False
    names: tuple[str, ...] = ()  # further names that this machine goes by


@dataclass(frozen=True, slots=True)
class Notice:
    """One line for the user."""

    text: str
    kind: str = "notice"
    more: dict[str, Any] = field(default_factory=dict)


class Conductor:
    """Stands beside a running engine from `start` to `stop`; a context manager. Methods may be called from any thread.

    `osc` and `web` say which surfaces run; `told` gets every notice. `scenes` is a show file, `takes` and `state` are the
    folders of recordings and of the autosave (None: the user's own), `autosave` keeps the last state on disk; `preset` and
    `scene` name what plays, `resumed` says that it goes on from the autosave. Raises StageError for a show file that cannot be
    played.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        osc: OscSettings | None = None,
        web: WebSettings | None = None,
        told: Callable[[Notice], None] | None = None,
        scenes: Path | None = None,
        takes: Path | None = None,
        state: Path | None = None,
        autosave: bool = False,
        preset: str | None = None,
        scene: str | None = None,
        resumed: bool = False,
    ) -> None:
        """Check nothing yet but what is given; the engine may not run yet."""
        self.engine = engine
        self.lock = threading.RLock()
        self.session = uuid.uuid4().hex[:12]
        self.scenes_file, self.takes_folder, self.state_folder, self.autosave = scenes, takes, state, autosave
        self.preset, self.scene, self.resumed = preset, scene, resumed  # the names of what plays, where it has any
        self.osc: dict[str, Any] | None = None  # host and port, once they are had
        self.web: dict[str, Any] | None = None
        self.counts: dict[str, dict[str, int]] = {}  # of each surface, as it says
        self._osc_settings, self._web_settings, self._told = osc, web, told
        self._families: list[Family] = []
        self._handlers: dict[str, Handler] = {}
        self._hosts: list[SurfaceHost] = []
        self._chains: dict[int, Chain] = {}
        self._changed = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Begin to conduct an engine that runs; returns self. Raises EngineError where it does not run."""
        with self.lock:
            self._follow(self.engine.processor)
            for module, name in FAMILIES:
                family: Family = getattr(importlib.import_module(module), name)(self)
                self._families.append(family)
                self._handlers |= family.handlers()
            self._write_board()
            self._hosts = [SurfaceHost(program, self._where(program), self._heard) for program in self._programs()]
            for host in self._hosts:
                host.start()
            self._thread = threading.Thread(target=self._work, name="autovoice-conductor", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the surfaces and the families; the engine goes on. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for host in self._hosts:
            host.close()
        with self.lock:
            self._hosts = []
            for family in reversed(self._families):
                family.close()
            self._families, self._handlers = [], {}
            self.engine.processor.show_scope(False)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def do(self, name: str, *arguments: Any) -> Any:
        """Do a command of COMMANDS; returns what it says. Raises StageError (SwapRefused, ...) with one line."""
        command = COMMANDS.get(name)
        if command is None or name not in self._handlers:
            raise CommandRefused(f"no command is called {name!r}{suggest(name, COMMANDS)}")
        required = sum(not a.optional for a in command.arguments)
        if not required <= len(arguments) <= len(command.arguments):
            raise CommandRefused(f"the command is {command.usage}, got {len(arguments)} arguments")
        with self.lock:
            result = self._handlers[name](*arguments)
            self._write_board()
        log.info("command", extra={"command": name, "arguments": list(arguments)})
        return result

    def swap(self, chain: Chain, *, keep_state: bool = True, follow: bool = False) -> None:
        """Cross-fade to another chain (see Engine.swap), and let everybody know."""
        with self.lock:
            self.engine.swap(chain, keep_state=keep_state, follow=follow)
            self.swapped(chain, keep_state)

    def swapped(self, chain: Chain, keep_state: bool) -> None:
        """Let everybody know of a chain that the engine has taken up."""
        self._chains[self.engine.processor.generation] = chain
        for family in self._families:
            family.swapped(chain, keep_state)
        self._write_board()

    def present(self) -> Chain:
        """Return the chain that plays, set as everything is set now."""
        return self.engine.chain.with_values(self.engine.processor.values)

    def chain_of(self, generation: int) -> Chain | None:
        """Return the chain of a generation that this session has played."""
        return self._chains.get(generation)

    def notice(self, text: str, kind: str = "notice", **more: Any) -> None:
        """Tell the user, and every surface, one line."""
        log.info(text, extra={"kind": kind})
        if self._told is not None:
            self._told(Notice(text, kind, more))
        for host in self._hosts:
            host.tell({"notice": text, "kind": kind, **more})

    def changed(self) -> None:
        """Have the board written anew at the next tick, since some family's state is another."""
        self._changed = True

    def _follow(self, processor: Processor) -> None:
        """Follow a processor's journal; a driver that came back at another rate brings a new one."""
        assert processor.page is not None
        self._processor, self._journal = processor, Journal(processor.page)
        self._chains = {processor.generation: processor.chain}
        processor.show_scope(self._web_settings is not None)

    def _programs(self) -> list[Program]:
        programs = []
        if (osc := self._osc_settings) is not None:
            allowed = tuple(part for network in osc.allow for part in ("--allow", network))
            told = tuple(part for place in osc.subscribe for part in ("--subscribe", place))
            arguments = ("--host", osc.host, "--port", str(osc.port), *allowed, *told)
            programs.append(Program("osc", "autovoice.rt.control.osc", arguments, OSC_PRODUCER))
        if (web := self._web_settings) is not None:
            names = tuple(part for name in web.names for part in ("--name", name))
            arguments = ("--host", web.host, "--port", str(web.port), *names, *(("--announce",) if web.announce else ()))
            secret = {"AUTOVOICE_WEB_TOKEN": web.token} if web.token else {}
            programs.append(Program("web", "autovoice.rt.control.web", arguments, WEB_PRODUCER, secret))
        return programs

    def _where(self, program: Program) -> Callable[[], dict[str, Any]]:
        def say() -> dict[str, Any]:
            processor = self.engine.processor
            return {
                "telemetry": processor.telemetry_path,
                "control": processor.control_path,
                "ring": processor.rings[program.producer].path,
                "scope": processor.scope_path,
            }

        return say

    def _heard(self, host: SurfaceHost, message: dict[str, Any]) -> None:
        """Act on a surface's message; on the thread that listens to it."""
        name = host.program.name
        if "do" in message:
            reply: dict[str, Any] = {"reply": message.get("id")}
            try:
                reply |= {"ok": True, "result": self.do(str(message["do"]), *message.get("arguments", ()))}
            except (StageError, EngineError, BackendError, OSError) as error:
                reply |= {"ok": False, "error": str(error)}
            except Exception:
                log.exception("command failed")
                reply |= {"ok": False, "error": f"{message['do']} failed; the engine's log says why"}
            host.tell(reply)
        elif "counts" in message:
            self.counts[name] = message["counts"]
            self._changed = True
        elif "notice" in message:
            more = {key: value for key, value in message.items() if key not in ("notice", "kind")}
            if message.get("kind") == "listening":
                setattr(self, name, more)
                self.engine.publish_ports(osc=(self.osc or {}).get("port", 0), web=(self.web or {}).get("port", 0))
                self._changed = True
            self.notice(str(message["notice"]), str(message.get("kind", "notice")), **more)

    def _work(self) -> None:
        """Pass the journal on, let families do what is due, keep the board up to date."""
        while not self._stop.wait(TICK_S):
            with self.lock, contextlib.suppress(EngineError):
                if self.engine.processor is not self._processor:
                    self._follow(self.engine.processor)
                    self._changed = True
                    for host in self._hosts:
                        host.attach()
                self._pass_on()
                now = time.monotonic()
                for family in self._families:
                    self._guard(family.tick, now)
                if self._changed:
                    self._write_board()

    def _pass_on(self) -> None:
        if self._processor.generation not in self._chains:  # the engine began afresh by itself: a state held no numbers
            self.swapped(self._processor.chain, keep_state=False)
        entries = self._journal.read()
        for family in self._families:
            if self._journal.lapped:
                self._guard(family.lapped)
            if len(entries):
                self._guard(family.journal, entries)
        self._journal.lapped = False

    def _guard(self, action: Callable[..., None], *arguments: Any) -> None:
        """Let one family's mishap be its own; the show goes on."""
        try:
            action(*arguments)
        except (StageError, EngineError, OSError) as error:
            self.notice(str(error), "error")
        except Exception:
            log.exception("a family of commands failed")

    def _write_board(self) -> None:
        self._changed = False
        engine, processor = self.engine, self.engine.processor
        state: dict[str, Any] = {"preset": self.preset, "osc": self.osc, "web": self.web, "counts": self.counts}
        for family in self._families:
            state |= family.state()
        assert processor.page is not None
        processor.page.write_board(
            {
                "session": self.session,
                **engine.identity(),
                "sample_rate": engine.sample_rate,
                "block": engine.block,
                "latency": processor.latency,
                "device_latency": engine.device_latency,
                "in_channels": processor.in_channels,
                "out_channels": processor.out_channels,
                "generation": processor.generation,
                "chain": [_stage(engine, p) for p in engine.chain.placed],
                "master": [_parameter(p) for p in MASTER[:PRESENCE]],
                "stages": stage_summaries(),
                "state": state,
            }
        )


def _stage(engine: Engine, placed: Any) -> Mapping[str, Any]:
    stage = placed.stage
    return {
        "key": placed.key,
        "stage": stage.name,
        "uid": engine.processor.image.uids[placed.key],
        "help": stage.help,
        "latency": stage.latency(engine.sample_rate, placed.options),
        "options": placed.options,
        "parameters": [_parameter(p) for p in stage.parameters],
        "option_table": [_parameter(o) for o in stage.options],
    }


def _parameter(p: Param | Option) -> dict[str, Any]:
    return {
        "name": p.name,
        "unit": p.unit,
        "minimum": p.minimum,
        "maximum": p.maximum,
        "default": p.default,
        "scale": p.scale,
        "choices": p.choices,
        "help": p.help,
    }


__all__ = ["CommandRefused", "Conductor", "Notice", "OscSettings", "WebSettings"]
