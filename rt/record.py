"""Recording what an engine plays, dry and wet side by side, without loss and without the audio thread noticing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.rt.processor import Processor
from autovoice.rt.ring import Ring

RING_SECONDS = 8.0  # how long the disk may stall before frames are lost (and counted)
FLUSH_SECONDS = 0.5
PIECE = 1 << 15  # frames written at a time
POLL_S = 0.02
UPDATE_HEADER_AUTO, RF64_AUTO_DOWNGRADE = 0x1061, 0x1210  # commands of libsndfile

Rows = np.ndarray[Any, Any]


class RecordError(OSError):
    """A recording that cannot be made or went wrong; what was written before stays readable."""


@dataclass(frozen=True, slots=True)
class Track:
    """One file of a recording."""

    path: Path  # its name once it is complete
    part: Path  # and until then
    columns: slice  # of a row
    file: soundfile.SoundFile


class Recorder:
    """Writes float32 WAV files from a ring that the audio thread fills, on a thread of its own.

    The files are written as `.part` with a header that is kept up to date, so even a killed process leaves readable sound,
    and get their names when the recording ends. `wet` and `dry` are paths; `dry` may be None. Frames that were lost because
    the disk stalled are silence in both, so that time stays what it was.
    """

    def __init__(self, processor: Processor, wet: Path, dry: Path | None = None, *, suffix: str = ".part") -> None:
        """Open the files; raises RecordError where that cannot be done. `begin` starts."""
        self._processor = processor
        ins, outs = processor.in_channels, processor.out_channels
        self.frames = 0  # written
        self.dropped = 0  # frames lost
        self.first_frame: int | None = None  # counted from the engine's start; None before there is one
        self.error: RecordError | None = None
        wanted = [(dry, slice(0, ins))] if dry is not None else []
        self._tracks: list[Track] = []
        try:
            for path, columns in [*wanted, (wet, slice(ins, ins + outs))]:
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(path.name + suffix)
                width = columns.stop - columns.start
                self._tracks.append(Track(path, part, columns, open_wav(part, int(processor.sample_rate), width)))
        except (OSError, soundfile.SoundFileError) as error:
            for track in self._tracks:
                track.file.close()
            raise RecordError(f"cannot record to {wet}: {error}; choose a folder that can be written") from error
        row = np.dtype(("f4", (ins + outs + 1,)))  # and the low half of the frame's number
        self._ring = Ring(np.dtype([("row", row)]), int(RING_SECONDS * processor.sample_rate))
        self._next = self._unflushed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="autovoice-recorder", daemon=True)

    @property
    def place(self) -> Path:
        """Where the recording lies once it is complete."""
        return self._tracks[-1].path

    def begin(self) -> None:
        """Let the audio thread hand its frames over from now on, and start to write."""
        self._processor.attach_recorder(self._ring.address)
        self._thread.start()

    def restarted(self, processor: Processor) -> None:
        """Take note that the driver comes back, with this processor, before it does."""
        if processor is not self._processor and self.error is None:
            self.error = self._stopped(f"the driver came back at {processor.sample_rate:g} Hz")

    def _work(self) -> None:
        """Write until the end; whatever goes wrong ends the recording and is told, since nobody waits for this thread."""
        try:
            self._write_all()
        except Exception as error:
            self._processor.attach_recorder(0)
            self.error = self.error or self._stopped(f"{type(error).__name__}: {error}")

    def _write_all(self) -> None:
        while True:
            ending = self._stop.is_set()
            rows = self._ring.pop(PIECE)["row"]
            if len(rows):
                self._receive(rows)
            if ending and self._complete(len(rows)):
                break
            self._attend()
            if len(rows) < PIECE // 2:
                time.sleep(POLL_S) if ending else self._stop.wait(POLL_S)
        self._attend()

    def _complete(self, came: int) -> bool:
        """Say whether nothing more is wanted, now that the end was asked for and the `came` frames there were are written."""
        return came == 0

    def _attend(self) -> None:
        """Do what else there is to do from time to time. The writer's thread."""

    def _receive(self, rows: Rows) -> None:
        """Write rows of frames that may have gaps between them."""
        numbers = np.ascontiguousarray(rows[:, -1]).view(np.uint32)
        if self.first_frame is None:
            self._next = _nearest(int(numbers[0]), int(self._processor.telemetry["frames"]))
            self.first_frame = self._next
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(numbers) != 1) + 1):
            frame = _nearest(int(numbers[run[0]]), self._next)
            if frame > self._next:
                self._lose(self._next, frame - self._next)
            self._write(rows[run[0] : run[-1] + 1])
            self._next = frame + len(run)

    def _lose(self, frame: int, count: int) -> None:
        """Write silence in place of frames that were lost."""
        self.dropped += count
        width = self._tracks[-1].columns.stop
        for at in range(0, count, PIECE):
            self._write(np.zeros((min(PIECE, count - at), width), np.float32))

    def _write(self, rows: Rows) -> None:
        self._append(rows, self._tracks)
        self.frames += 0 if self.error else len(rows)

    def _append(self, rows: Rows, tracks: Sequence[Track]) -> None:
        if self.error is not None:
            return
        self._unflushed += len(rows)
        flush = self._unflushed > FLUSH_SECONDS * self._processor.sample_rate or self._stop.is_set()
        try:
            for track in tracks:
                before = track.file.tell()
                track.file.write(np.ascontiguousarray(rows[:, track.columns]))
                if flush:
                    track.file.flush()
                if track.file.tell() - before != len(rows):
                    raise OSError("the disk took only a part")
        except (OSError, RuntimeError) as error:
            self.error = self._stopped(error)
        if flush:
            self._unflushed = 0

    def _stopped(self, reason: object) -> RecordError:
        return RecordError(
            f"recording to {self.place} stopped after {self.frames} frames: {reason}; "
            "what was written is kept and readable, free space and record again"
        )

    def close(self) -> Path:
        """End the recording and give the files their names; returns the wet path. Raises RecordError after a write failed."""
        self._processor.attach_recorder(0)
        self._join()
        self._close_files()
        if self.error is not None:
            raise self.error
        return self.place

    def _join(self) -> None:
        self._stop.set()
        self._thread.join()

    def _close_files(self) -> None:
        for track in self._tracks:
            track.file.close()
            os.replace(track.part, track.path)


def _nearest(low: int, frame: int) -> int:
    """Return the frame next to `frame` whose lower 32 bits are `low`."""
    return frame + (low - frame + (1 << 31)) % (1 << 32) - (1 << 31)


def open_wav(path: Path, sample_rate: int, channels: int) -> soundfile.SoundFile:
    """Open a file whose header is right after every write; a plain WAV up to 4 GB, and RF64 from there on."""
    file = soundfile.SoundFile(path, "w", sample_rate, channels, format="RF64", subtype="FLOAT")
    for command in (UPDATE_HEADER_AUTO, RF64_AUTO_DOWNGRADE):
        soundfile._snd.sf_command(file._file, command, soundfile._ffi.NULL, 1)
    return file
