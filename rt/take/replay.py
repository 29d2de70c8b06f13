"""Renders a take again: the same callback, driven by the log, makes the same bits.

The chain starts with the states it had, which is none: a take begins with the engine, or with a copy of the chain that starts
afresh and is faded in. Every event comes at its frame, every chain is taken up at its own, settles as long, and inherits what
it inherited. The input is the dry file, from the engine's latency on, since it lies beside the output there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.dsp.stage import MAX_CHANNELS, StageError
from autovoice.rt import atomics
from autovoice.rt.backends.file import open_sound
from autovoice.rt.callback import RUN, RUN_FILE
from autovoice.rt.cells import DRAIN_LIMIT
from autovoice.rt.chain import Chain
from autovoice.rt.image import lay_cell
from autovoice.rt.layout import EVENT, INPUT, MASTER_UID
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor
from autovoice.rt.record import open_wav
from autovoice.rt.sound import LOUDEST
from autovoice.rt.swap import NEXT
from autovoice.rt.take.chains import build, changed
from autovoice.rt.take.log import DRY, LOG, WET, Adopted, Line, Move, Restarted, StageLine, TakeError, Voice
from autovoice.rt.take.reader import TakeLog
from autovoice.rt.take.recorder import delay_line, machine
from autovoice.rt.take.survey import MASTER_ROWS, Names, Span, check_value, survey
from autovoice.rt.take.voices import Lent

PIECE = 1 << 16  # frames rendered at a time
BLOCK = 1024  # frames of a callback; no bit depends on it


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found; frames are counted from the begin of the files."""

    frames: int
    sample_rate: float  # Hz
    channels: int
    exact: tuple[Span, ...]  # where the log promises the same bits
    checked: int  # frames in these
    different: int  # frames of these that are not the same
    first_different: int | None  # of these
    same_from: int | None  # from where on to the end everything is the same, promised or not; None where it ends otherwise
    largest: float  # difference in `exact`, amplitude
    moves: int
    swaps: int
    finished: bool  # the log has its end
    notes: tuple[str, ...]  # what may have made a difference

    @property
    def same(self) -> bool:
        """Whether there was something to compare, and all of it was the same, bit for bit."""
        return self.checked > 0 and self.different == 0


class Replay:
    """One take, ready to be rendered: all that can be checked was checked. Raises TakeError or BackendError.

    `take` is its folder or its log; `allowed` are the paths of users' own stages that may run.
    """

    def __init__(self, take: Path, allowed: Collection[str] = ()) -> None:
        """Read the whole log, and look at both files."""
        self.folder = take if take.is_dir() else take.parent
        self.log = TakeLog(take / LOG if take.is_dir() else take)
        self.notes: list[str] = []
        self._allowed = allowed
        self.header = h = self.log.header
        self.found = survey(self.log, self.chain)
        with self.open(DRY, h.in_channels) as dry, self.open(WET, h.out_channels) as wet:
            self.frames = min(int(wet.frames), int(dry.frames) - h.latency)
        if self.frames <= 0:
            raise TakeError(f"{self.folder / DRY} holds nothing that could be rendered: it must be {h.latency} frames longer")
        self.exact = self.found.exact(self.frames)
        here, then = machine(), h.machine
        for name in sorted(here.keys() & then.keys() - {"toolchain"}):
            if here[name] != then[name]:
                self.notes.append(f"made with another {name}: {then[name]}, here it is {here[name]}")
        if not self.notes and then.get("toolchain") not in (None, here["toolchain"]):
            self.notes.append("made on another kind of processor")

    def chain(self, stages: tuple[StageLine, ...]) -> Chain:
        """Make a chain of the log, which has room in the take's latency; a stage whose code is another now is noted."""
        chain = build(stages, self._allowed)
        if (needed := chain.latency(self.header.sample_rate)) > self.header.latency:
            raise TakeError(f"a chain has {needed} frames of latency, and the take {self.header.latency}")
        notes = [f"the code of {key} has changed since" for key in changed(stages, chain)]
        self.notes += [note for note in notes if note not in self.notes]
        return chain

    def open(self, name: str, channels: int) -> soundfile.SoundFile:
        """Open one of the take's files; raises TakeError where it is not what the log says."""
        sound = open_sound(self.folder / name)
        rate = self.header.sample_rate
        if sound.channels != channels or sound.samplerate != int(rate):
            is_there = f"{sound.channels} channels at {sound.samplerate} Hz"
            sound.close()
            raise TakeError(f"{self.folder / name} has {is_there}, the log says {channels} at {rate:g} Hz")
        return sound

    def run(self, target: Path, progress: Callable[[int], None] | None = None) -> Replayed:
        """Render to a float32 WAV file, which appears when it is complete, and compare with the take's own."""
        if target.resolve() in {(self.folder / name).resolve() for name in (DRY, WET, LOG)}:
            raise TakeError(f"{target} belongs to the take itself; render to another file")
        h, part = self.header, target.with_name(target.name + ".part")
        try:
            part.unlink(missing_ok=True)  # so that a link somebody left there leads nowhere
            with (
                self.open(DRY, h.in_channels) as dry,
                self.open(WET, h.out_channels) as wet,
                open_wav(part, int(h.sample_rate), h.out_channels) as out,
            ):
                result = _Run(self, dry, wet, out, progress).render()
            os.replace(part, target)
        except (soundfile.SoundFileError, OSError) as error:
            raise TakeError(f"cannot render {self.folder} to {target}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        return result


class _Run:
    """One pass over a take."""

    def __init__(self, replay: Replay, dry: Any, wet: Any, out: Any, progress: Callable[[int], None] | None) -> None:
        self._replay, self._dry, self._wet, self._out, self._progress = replay, dry, wet, out, progress
        self._header = h = replay.header
        self._notes = list(replay.notes)
        self._voices = Lent()
        try:
            for voice in h.voices:
                self._voices.learn(voice)
            chain = replay.chain(self._voices.stages(h.chain))
            self._processor = Processor(
                chain,
                sample_rate=h.sample_rate,
                in_channels=h.in_channels,
                out_channels=h.out_channels,
                block=BLOCK,
                latency=h.latency,
                channels=h.channels,
            )
        except StageError as error:
            self._voices.close()
            raise TakeError(f"the take's engine cannot be made: {error}") from error
        self._uids: dict[tuple[str, str], int] = {}
        self._names = Names()
        self._learn(h.chain, chain)
        self._inputs = np.zeros((h.in_channels, PIECE), np.float32)
        self._outputs = np.zeros((h.out_channels, PIECE), np.float32)
        self._pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        self._waiting: list[tuple[int, int, int, float]] = []  # frame, uid, index, value
        self._at = h.first_frame
        self._end = h.first_frame + replay.frames
        self._checked = self._different = 0
        self._first_different: int | None = None
        self._same_from, self._largest = 0, 0.0

    def render(self) -> Replayed:
        """Go through the log and the input side by side."""
        try:
            self._begin()
            for line in self._replay.log:
                if line.frame >= self._end:
                    break
                self._follow(line)
            self._deliver(self._end)
        finally:
            self._processor.close()
            self._voices.close()
        found = self._replay.found
        return Replayed(
            frames=self._replay.frames,
            sample_rate=self._header.sample_rate,
            channels=self._header.out_channels,
            exact=self._replay.exact,
            checked=self._checked,
            different=self._different,
            first_different=self._first_different,
            same_from=self._same_from if self._same_from < self._replay.frames else None,
            largest=self._largest,
            moves=found.moves,
            swaps=found.swaps,
            finished=found.finished,
            notes=tuple(self._notes),
        )

    def _begin(self) -> None:
        """Set the engine's own state to what it was: its frame, its settings at rest, the dry voice on its way."""
        h, p = self._header, self._processor
        p.engine["frame"] = h.first_frame
        for path, (index, row) in MASTER_ROWS.items():
            value = 0.0 if index == INPUT else check_value(path, row, h.master.get(path.partition("/")[2], row.default))
            cell = p.engine["master"][index]
            lay_cell(cell, p.engine["rows"][index], value, int(cell["glide"]))
            cell["dirty"] = 1
        p.engine["moving"] = 1
        past = self._dry.read(h.latency, dtype="float32", always_2d=True)
        numbers = np.arange(h.first_frame - h.latency, h.first_frame) & int(p.engine["dry_mask"])
        for c, row in enumerate(delay_line(p)):
            row[numbers] = past[:, c % h.in_channels]

    def _learn(self, stages: tuple[StageLine, ...], chain: Chain) -> None:
        self._names.learn(stages, chain)
        image = self._processor.image
        self._uids |= {(p.key, p.stage.name): image.uids[p.key] for p in chain.placed}

    def _follow(self, line: Line) -> None:
        if isinstance(line, Voice):
            self._voices.learn(line)
        elif isinstance(line, Move):
            if len(self._waiting) == DRAIN_LIMIT:
                self._deliver(line.frame)
            self._wait_for(line)
        elif isinstance(line, Adopted):
            self._deliver(line.frame)
            self._adopt(line)
        elif isinstance(line, Restarted):
            self._deliver(line.frame)
            if line.chain is not None:
                chain = self._replay.chain(self._voices.stages(line.chain))
                self._processor.swap(chain, running=False)
                self._learn(line.chain, chain)
            self._processor.silence_now()

    def _wait_for(self, move: Move) -> None:
        target, index = self._names.resolve(move)
        if target is None:
            if index != INPUT:  # the dry file has the trim in it
                self._waiting.append((move.frame, MASTER_UID, index, move.value))
        else:
            value = self._voices.value(target[1], move.path.rpartition("/")[2], move.value)
            self._waiting.append((move.frame, self._uids[target], index, value))

    def _adopt(self, line: Adopted) -> None:
        p = self._processor
        if p.engine["incoming"] != 0 or atomics.load(p.address + NEXT) != 0:
            raise TakeError(f"{self._replay.log.path}: a chain is adopted at frame {line.frame}, while another is faded in")
        chain = self._replay.chain(self._voices.stages(line.chain))
        kept = line.state == "kept"
        image = p.publish(chain, keep_state=kept, follow=line.follow, settle=line.settle)
        self._learn(line.chain, chain)
        if int(image.record[0]["settle"]) != line.settle:
            self._note(f"the chain of frame {line.frame} settled for {line.settle} frames, now it needs another time")

    def _deliver(self, frame: int) -> None:
        """Hand the waiting events over, and render up to a frame, which is not before the last of them."""
        events = np.array([(*event, 0, 0, 0) for event in self._waiting], EVENT)
        self._waiting.clear()
        if not self._processor.rings[0].push(events):
            raise TakeError(f"{self._replay.log.path}: too many moves at frame {frame}")
        if self._at == frame:  # let the engine take them off the ring
            RUN.ctypes(self._processor.address, address_of(self._pointers), address_of(self._pointers[MAX_CHANNELS:]), 0, 0)
        while self._at < frame:
            self._render(min(frame - self._at, PIECE))

    def _render(self, count: int) -> None:
        h, p = self._header, self._processor
        sound = self._dry.read(count, dtype="float32", always_2d=True)
        if len(sound) < count:
            raise TakeError(f"{self._replay.folder / DRY} became shorter while it was read")
        self._inputs[:, :count] = sound.T
        if np.abs(sound).max(initial=0) > LOUDEST:
            self._note(f"the input was louder than {20 * np.log10(LOUDEST):.0f} dBFS, and is made softer here")
        self._pointers[: h.in_channels] = [address_of(row) for row in self._inputs]
        self._pointers[MAX_CHANNELS : MAX_CHANNELS + h.out_channels] = [address_of(row) for row in self._outputs]
        RUN_FILE.ctypes(p.run, p.address, address_of(self._pointers), count, BLOCK)
        played = np.ascontiguousarray(self._outputs[:, :count].T)
        self._out.write(played)
        self._compare(played)
        self._at += count
        if self._progress is not None:
            self._progress(count)

    def _compare(self, played: np.ndarray[Any, Any]) -> None:
        """Hold what was rendered against what was recorded; both have the shape (frames, channels)."""
        wanted = self._wet.read(len(played), dtype="float32", always_2d=True)
        first = self._at - self._header.first_frame
        bad = (played.view(np.int32) != wanted.view(np.int32)).any(axis=1)
        if bad.any():
            self._same_from = first + int(np.flatnonzero(bad)[-1]) + 1
        for span in self._replay.exact:
            part = slice(max(span.begin - first, 0), max(span.end - first, 0))
            inside = bad[part]
            self._checked += len(inside)
            if inside.any():
                self._different += int(inside.sum())
                if self._first_different is None:
                    self._first_different = first + part.start + int(np.argmax(inside))
                self._largest = max(self._largest, float(np.abs(played[part] - wanted[part]).max()))

    def _note(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
