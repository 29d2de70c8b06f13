"""Makes a take while the voice plays: both files, and the log of what the audio thread did, on the recorder's thread."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.toolchain import CACHE_DIR, ROOT, cache_folder
from autovoice.rt.casting import PARAMETERS, STAGE, slot_at
from autovoice.rt.chain import Chain
from autovoice.rt.journal import Journal, fence
from autovoice.rt.layout import ADOPTED, BLOCK_NOW, BYPASS_INDEX, HEARD, MASTER_UID, MOVE
from autovoice.rt.master import MASTER
from autovoice.rt.processor import Processor
from autovoice.rt.record import FLUSH_SECONDS, PIECE, Recorder, RecordError, Rows
from autovoice.rt.take.chains import stage_lines
from autovoice.rt.take.log import (
    DRY,
    LOG,
    MAX_TEXT,
    WET,
    Adopted,
    Broken,
    End,
    Header,
    Heard,
    Line,
    Move,
    Restarted,
    StageLine,
    Sync,
    header_text,
    line_text,
)
from autovoice.rt.take.voices import Told, slots_of

PRODUCER_NAMES = ("engine", "osc", "web", "midi")
SETTLE_S = 1.0  # for which the fresh chain runs unheard: tails and trackers have built up by then
START_S = 3.0  # that the first frames may take
TAIL_S = 0.5  # that the last ones may take beyond the engine's latency


def machine() -> dict[str, str]:
    """Return what the bits of a render may depend on."""
    return {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "numba": version("numba"),
        "numpy": np.__version__,
        "toolchain": CACHE_DIR.name,  # a hash of all of these and of the processor's flags
        "engine": cache_folder(ROOT / "rt" / "callback.py").name.rpartition("-")[2],
    }


class Take(Recorder):
    """A recording that can be rendered again, in a folder of its own: see autovoice.rt.take.

    `exact_from` is the frame of the files from which a replay makes the same bits; None as long as there is none. A take that
    was armed before the driver started is exact from its first frame; one that begins while the voice plays, once a copy of
    the chain that starts afresh has been faded in.
    """

    def __init__(self, processor: Processor, folder: Path) -> None:
        """Open the files in a folder that is there; raises RecordError. `arm` or `begin` starts."""
        self.folder = folder
        self.exact_from: int | None = None
        self._log = False  # whether the log has its header
        self._fresh: set[int] = set()  # generations that began afresh within the take
        self._names: dict[tuple[int, int], str] = {
            (MASTER_UID, index): f"master/{parameter.name}" for index, parameter in enumerate(MASTER)
        }
        self._slots: set[tuple[int, int]] = set()  # of these, those that are slots of voices
        self._told = Told()
        self._chain = 0  # the generation that the log spoke of last
        self._wet_frames: int | None = None  # once the end was asked for
        self._dry_frames = 0  # from then on
        self._deadline = self._synced_s = 0.0
        self._synced = 0
        self._lock = threading.Lock()  # of the log
        if processor.page is None:
            raise RecordError("a take needs the journal that a started engine keeps; start the engine first")
        self._journal = Journal(processor.page)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if there := [name for name in (DRY, WET) if os.path.lexists(folder / name)]:
                raise FileExistsError(errno.EEXIST, f"there is a {there[0]} already")
            self._file = _LogFile(folder / LOG)
        except OSError as error:
            raise RecordError(f"cannot record a take to {folder}: {error.strerror}; choose another folder") from error
        try:
            super().__init__(processor, folder / WET, folder / DRY, suffix="")
        except RecordError:
            self._file.close()
            (folder / LOG).unlink()
            raise

    def arm(self) -> None:
        """Record from the very first frame, with states as they are laid out. Before the driver starts."""
        processor = self._processor
        self.first_frame = self._next = int(processor.engine["frame"])
        if self.first_frame > 0:  # it has run before: nothing of that may be heard
            processor.swap(processor.image.present(), running=False)
            processor.engine["square"] = 0
        self._write_header(fresh=True)
        self.exact_from = 0
        super().begin()

    def begin(self) -> None:
        """Record from now on. The swap to a chain without a past, for SETTLE_S, is the caller's, right after this."""
        super().begin()
        end = time.monotonic() + START_S
        while self.first_frame is None or self.frames < 2 * SEGMENT:
            if time.monotonic() > end:
                self._finish()
                self._discard()
                raise RecordError(f"no sound came for {START_S:g} s, so nothing was recorded; is the driver running?")
            time.sleep(0.001)
        self._write_header(fresh=False)

    @property
    def place(self) -> Path:
        """The take's folder."""
        return self.folder

    def restarted(self, processor: Processor) -> None:
        """Take note that the driver comes back, before it does."""
        super().restarted(processor)
        if processor is not self._processor:
            return
        with self._lock:
            if not self._log:
                return
            self._follow()
            image, chain = processor.image, None
            generation = int(image.record[0]["generation"])
            if generation != self._chain and int(processor.engine["current"]) == image.address:
                chain, self._chain = self._described(generation), generation
            frame = int(processor.engine["frame"])
            if chain is not None:
                self._say_voices(slots_of(image.chain), frame)
            self._say(line_text(Restarted(frame, chain)))

    def close(self) -> Path:
        """End the take; returns its folder. Raises RecordError after a write failed.

        The dry file runs on for the engine's latency, since the input lies that much later in it.
        """
        self._finish()
        if self.frames == 0 and self.error is None:
            self._discard()
        if self.error is not None:
            raise self.error
        return self.folder

    def _write_header(self, *, fresh: bool) -> None:
        p = self._processor
        e, image = p.engine, p.image
        assert self.first_frame is not None
        generation = int(image.record[0]["generation"])
        with self._lock:
            self._chain, self._synced = generation, self.first_frame
            self._learn(image.chain, image.uids)
            header = Header(
                autovoice=_version(),
                made=datetime.now().astimezone().isoformat(timespec="seconds"),
                sample_rate=p.sample_rate,
                block=p.telemetry.driver(BLOCK_NOW) or int(p.telemetry["block"]),
                in_channels=p.in_channels,
                out_channels=p.out_channels,
                channels=p.channels,
                latency=p.latency,
                first_frame=self.first_frame,
                fresh=fresh,
                master={parameter.name: float(cell["target"]) for parameter, cell in zip(MASTER, e["master"], strict=True)},
                chain=stage_lines(image.present(), image.uids),
                machine=machine(),
                voices=tuple(self._told.news(slots_of(image.present()), self.first_frame)),
            )
            self._log = True
            self._say(header_text(header))

    def _attend(self) -> None:
        """Write what the audio thread did since the last time, and now and then how far that is all."""
        with self._lock:
            if self._log and self.error is None:
                self._follow()

    def _follow(self) -> None:
        reached = int(self._processor.telemetry["frames"])
        fence()
        entries = self._journal.read()
        if self._journal.lapped:
            self._journal.lapped = False
            until = int(entries["frame"][0]) if len(entries) else reached
            self._say(line_text(Broken(self._synced, until, "events came faster than the log could follow")))
        assert self.first_frame is not None
        lines = (line for entry in entries if entry["frame"] >= self.first_frame for line in self._lines(entry))
        self._say("".join(line_text(line) for line in lines))
        self._look_at_voices(reached, max(reached, int(entries["frame"][-1]) if len(entries) else 0))
        self._synced = max(reached, self.first_frame)
        now = time.monotonic()
        if now - self._synced_s > FLUSH_SECONDS:
            self._synced_s = now
            self._say(line_text(Sync(self._synced)))

    def _look_at_voices(self, reached: int, behind: int) -> None:
        """Say where another voice was put into a slot that plays: at which hop it was heard, nobody knows."""
        if not (outdated := self._told.outdated()):
            return
        values = self._processor.values
        playing = {slot_at(values[path]) for key, path in self._names.items() if key in self._slots and path in values}
        if changed := outdated & playing:
            self._say(line_text(Broken(self._synced, reached, "a voice was put into a slot that plays")))
            self._say_voices(changed, behind)

    def _say_voices(self, slots: set[int], frame: int) -> None:
        self._say("".join(line_text(voice) for voice in self._told.news(slots, frame)))

    def _lines(self, entry: Any) -> Iterator[Line]:
        """Return what the log says of an entry, behind the voices in the slots that it names."""
        line = self._line(entry)
        if isinstance(line, Move) and (line.uid, int(entry["index"])) in self._slots:
            yield from self._told.news([slot_at(line.value)], line.frame)
        elif isinstance(line, Adopted):
            yield from self._told.news(slots_of(self._processor.published[line.generation].chain), line.frame)
        if line is not None:
            yield line

    def _line(self, entry: Any) -> Line | None:
        frame, uid, kind = int(entry["frame"]), int(entry["uid"]), int(entry["kind"])
        if kind == MOVE:
            path = self._names.get((uid, int(entry["index"])))
            return Move(frame, path, uid, float(entry["value"]), PRODUCER_NAMES[int(entry["producer"])]) if path else None
        if kind == ADOPTED:
            published = self._processor.published.get(uid)
            if published is None:
                return Broken(frame, frame, "a chain came and went too fast for the log")
            state = "kept" if published.keep_state else "fresh"
            if not published.keep_state:
                self._fresh.add(uid)
            self._chain = uid
            return Adopted(frame, uid, int(entry["index"]), state, published.follow, self._described(uid))
        if kind == HEARD:
            if uid in self._fresh and self.exact_from is None and self.first_frame is not None:
                self.exact_from = frame - self.first_frame
            return Heard(frame, uid)
        return None

    def _described(self, generation: int) -> tuple[StageLine, ...]:
        published = self._processor.published[generation]
        self._learn(published.chain, published.uids)
        return stage_lines(published.chain, published.uids)

    def _learn(self, chain: Chain, uids: dict[str, int]) -> None:
        """Remember by what path each of a chain's parameters is named."""
        for p in chain.placed:
            self._names[uids[p.key], BYPASS_INDEX] = f"{p.key}/bypass"
            for index, parameter in enumerate(p.stage.parameters):
                self._names[uids[p.key], index] = f"{p.key}/{parameter.name}"
                if p.stage.name == STAGE and parameter.name in PARAMETERS:
                    self._slots.add((uids[p.key], index))

    def _lose(self, frame: int, count: int) -> None:
        """Say from where on the input, which is later in the file by the latency, is not known, and until where."""
        super()._lose(frame, count)
        latency = self._processor.latency
        with self._lock:
            reason = f"{count} frames were lost: the disk was too slow"
            self._say(line_text(Broken(max(frame - latency, 0), frame + count, reason)))

    def _write(self, rows: Rows) -> None:
        if self._wet_frames is None:
            super()._write(rows)
            return
        room = self._wet_frames + self._processor.latency - self._dry_frames
        self._append(rows[:room], self._tracks[:1])
        self._dry_frames += min(len(rows), room)

    def _complete(self, came: int) -> bool:
        """Say whether the dry file has all the input that the wet one, which ends here, was made from."""
        latency, now = self._processor.latency, time.monotonic()
        if self._wet_frames is None:
            if came == PIECE:  # there may be more of the past
                return False
            self._wet_frames = self._dry_frames = self.frames
            self._deadline = now + latency / self._processor.sample_rate + TAIL_S
        return self.error is not None or self._dry_frames >= self._wet_frames + latency or now > self._deadline

    def _finish(self) -> None:
        self._join()
        self._processor.attach_recorder(0)
        self._write_tail()
        if self._log:
            trouble = None if self.error is None else str(self.error)[:MAX_TEXT]
            self._say(line_text(End((self.first_frame or 0) + self.frames, self.dropped, trouble)))
        self._file.close()
        self._close_files()

    def _write_tail(self) -> None:
        """Where the driver died before the last input came out of the delay line, take it from there."""
        p = self._processor
        end = (self.first_frame or 0) + (self._wet_frames or 0)
        frame = int(p.engine["frame"])
        missing = end + p.latency - self._next
        if self.error is None and self._next == frame and 0 < missing <= p.latency:
            numbers = np.arange(self._next, self._next + missing) - p.latency
            self._append(delay_line(p)[: p.in_channels, numbers & int(p.engine["dry_mask"])].T, self._tracks[:1])

    def _say(self, text: str) -> None:
        try:
            self._file.append(text)
        except OSError as error:
            self.error = self.error or self._stopped(error)

    def _discard(self) -> None:
        """Leave nothing behind of a take that never began."""
        for name in (DRY, WET, LOG):
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # where it was there before, with something in it
            self.folder.rmdir()


class _LogFile:
    """A file to which whole lines are written, or nothing: what a full disk took of one is taken back.

    Only its owner may read it, since it holds the voices that played.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0
        self._whole = True

    def append(self, text: str) -> None:
        """Write lines; after a failure, which is raised once, nothing more is written."""
        data = memoryview(text.encode())
        if not self._whole or not data:
            return
        try:
            done = 0
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            self._whole = False
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        os.close(self._fd)


def delay_line(processor: Processor) -> np.ndarray[Any, Any]:
    """View the line that delays the dry voice, shape (channels, frames): frame n lies at n modulo its length."""
    e = processor.engine
    shape = processor.channels, int(e["dry_mask"]) + 1
    line: np.ndarray[Any, Any] = np.ctypeslib.as_array(
        (ctypes.c_float * (shape[0] * shape[1])).from_address(int(e["dry_line"]))
    )
    return line.reshape(shape)


def _version() -> str:
    try:
        return version("autovoice")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "not installed"
