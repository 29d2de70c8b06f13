"""Recording what an engine plays, dry and wet side by side, without loss and without the audio thread noticing."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.rt.processor import Processor
from autovoice.rt.ring import Ring

RING_SECONDS = 8.0  # how long the disk may stall before frames are lost (and counted)
FLUSH_SECONDS = 0.5


class RecordError(OSError):
    """A recording that cannot be made or went wrong; what was written before stays readable."""


class Recorder:
    """Writes float32 WAV files from a ring that the audio thread fills, on a thread of its own.

    The files are written as `.part` with a header that is kept up to date, so even a killed process leaves readable sound,
    and get their names when the recording ends. `wet` and `dry` are paths; `dry` may be None.
    """

    def __init__(self, processor: Processor, wet: Path, dry: Path | None = None) -> None:
        """Open the files and start; raises RecordError where that cannot be done."""
        self._processor = processor
        self._inputs = processor.in_channels
        self._paths = [p for p in (dry, wet) if p is not None]
        self._keeps_dry = dry is not None
        self._files: list[soundfile.SoundFile] = []
        widths = ([processor.in_channels] if dry is not None else []) + [processor.out_channels]
        try:
            for path, width in zip(self._paths, widths, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._files.append(_open(_part(path), int(processor.sample_rate), width))
        except (OSError, soundfile.SoundFileError) as error:
            for file in self._files:
                file.close()
            raise RecordError(f"cannot record to {wet}: {error}; choose a folder that can be written") from error
        row = np.dtype(("f4", (processor.in_channels + processor.out_channels,)))
        self._ring = Ring(np.dtype([("row", row)]), int(RING_SECONDS * processor.sample_rate))
        self.frames = 0
        self.error: RecordError | None = None
        self._stop = threading.Event()
        processor.attach_recorder(self._ring.address)
        self._thread = threading.Thread(target=self._write_all, name="autovoice-recorder", daemon=True)
        self._thread.start()

    def _write_all(self) -> None:
        unflushed = 0
        while True:
            ending = self._stop.is_set()
            rows = self._ring.pop(1 << 15)["row"]
            if len(rows) and self.error is None:
                unflushed += len(rows)
                self._write(rows, flush=unflushed > FLUSH_SECONDS * self._processor.sample_rate or ending)
                unflushed = 0 if unflushed > FLUSH_SECONDS * self._processor.sample_rate else unflushed
            elif ending and not len(rows):
                return
            if len(rows) < 1 << 14:
                self._stop.wait(0.02)

    def _write(self, rows: np.ndarray[Any, Any], *, flush: bool) -> None:
        parts = ([rows[:, : self._inputs]] if self._keeps_dry else []) + [rows[:, self._inputs :]]
        try:
            for file, part in zip(self._files, parts, strict=True):
                before = file.tell()
                file.write(np.ascontiguousarray(part))
                if flush:
                    file.flush()
                if file.tell() - before != len(part):
                    raise OSError("the disk took only a part")
            self.frames += len(rows)
        except (OSError, RuntimeError) as error:
            self.error = RecordError(
                f"recording to {self._paths[-1]} stopped after {self.frames} frames: {error}; "
                "what was written is kept and readable, free space and record again"
            )

    def close(self) -> Path:
        """End the recording and give the files their names; returns the wet path. Raises RecordError after a write failed."""
        self._processor.attach_recorder(0)
        self._stop.set()
        self._thread.join()
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            os.replace(_part(path), path)
        if self.error is not None:
            raise self.error
        return self._paths[-1]


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _open(path: Path, sample_rate: int, channels: int) -> soundfile.SoundFile:
    file = soundfile.SoundFile(path, "w", sample_rate, channels, format="WAV", subtype="FLOAT")
    # SFC_SET_UPDATE_HEADER_AUTO: the header's length is right after every write.
    soundfile._snd.sf_command(file._file, 0x1061, soundfile._ffi.NULL, 1)
    return file
