"""A file in, a file out: the live engine's own callback over a recording, piece by piece, as fast as it goes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from autovoice.dsp.stage import MAX_CHANNELS, StageError
from autovoice.rt.backends.base import BackendError
from autovoice.rt.callback import RUN_FILE
from autovoice.rt.chain import Chain, check_channels
from autovoice.rt.lane.reserve import lacking, mean_work_ms
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor
from autovoice.rt.stretching import Stretcher, check_factor, stretched_frames

FORMATS = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_24")}
"""What a target's extension means. FLAC holds integers: what exceeds full scale is clipped there."""
PIECE_BLOCKS = 1024  # blocks read, processed and written at a time


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a render did."""

    frames: int
    channels: int
    sample_rate: float  # Hz
    latency_frames: int  # declared by the chain, and cut off the front
    peak: float  # highest amplitude of the result; 1 = full scale
    nonfinite: int  # input samples that were not numbers, and were replaced by 0
    lacking: tuple[str, ...] = ()  # a line on each lane that would be late where such blocks are played live


class FileRender:
    """One chain over one sound file. Nothing is written before `run`; any thread, one at a time."""

    def __init__(
        self,
        chain: Chain,
        source: Path,
        target: Path,
        *,
        block: int = 64,
        changes: Mapping[str, float] | None = None,
        channels: int | None = None,
        stretch: float = 1.0,
    ) -> None:
        """Check everything that can be checked; raises StageError or BackendError.

        `changes` apply at frame 0; the target has `channels`, or as many as the source. `stretch` makes the source that many
        times as long, to the frame, before the chain: a clean voice stretches best, and the chain's own times (releases,
        echoes, tails) keep their meaning.
        """
        if not 1 <= block <= 8192:
            raise StageError(f"block must be in 1..8192 frames, got {block}")
        if target.suffix.lower() not in FORMATS:
            raise BackendError(f"cannot write {target}: the name must end in {' or '.join(FORMATS)}")
        self._chain, self._source, self._target, self._block = chain, source, target, block
        self._changes = list((changes or {}).items())
        with open_sound(source) as sound:
            self._source_frames, self.in_channels = int(sound.frames), check_channels(sound.channels)
            self.sample_rate = float(sound.samplerate)
        self._stretch = check_factor(stretch)
        self.frames = stretched_frames(self._source_frames, stretch)
        self.channels = self.in_channels if channels is None else check_channels(channels)
        self.latency = chain.latency(self.sample_rate)

    def run(self, progress: Callable[[int], None] | None = None) -> Rendered:
        """Render; `progress` is told how many frames each piece had.

        The result appears under its name when it is complete, so a failed render leaves nothing behind.
        """
        part = self._target.with_name(self._target.name + ".part")
        kind, subtype = FORMATS[self._target.suffix.lower()]
        try:
            with (
                open_sound(self._source) as source,
                soundfile.SoundFile(part, "w", int(self.sample_rate), self.channels, format=kind, subtype=subtype) as target,
            ):
                result = self._copy(source, target, progress)
            os.replace(part, self._target)
        except (soundfile.SoundFileError, OSError) as error:
            raise BackendError(f"cannot render {self._source} to {self._target}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
        return result

    def _copy(self, source: Any, target: Any, progress: Callable[[int], None] | None) -> Rendered:
        processor = Processor(
            self._chain,
            sample_rate=self.sample_rate,
            in_channels=self.in_channels,
            out_channels=self.channels,
            block=self._block,
        )
        if self._changes:
            processor.send(self._changes, 0)
        with contextlib.closing(processor):
            return self._render(processor, source, target, progress)

    def _render(self, processor: Processor, source: Any, target: Any, progress: Callable[[int], None] | None) -> Rendered:
        piece = self._block * PIECE_BLOCKS
        inputs = np.zeros((self.in_channels, piece), np.float32)
        outputs = np.zeros((self.channels, piece), np.float32)
        pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
        if self._stretch != 1.0:
            source = Stretcher(
                source,
                channels=self.in_channels,
                frames=self._source_frames,
                sample_rate=self.sample_rate,
                factor=self._stretch,
            )
        skip, left, peak = self.latency, self.frames, 0.0
        while left > 0:
            sound = source.read(piece, dtype="float32", always_2d=True).T
            inputs[:, : sound.shape[1]], inputs[:, sound.shape[1] :] = sound, 0
            pointers[: self.in_channels] = [address_of(row) for row in inputs]
            pointers[MAX_CHANNELS : MAX_CHANNELS + self.channels] = [address_of(row) for row in outputs]
            RUN_FILE.ctypes(processor.run, processor.address, address_of(pointers), piece, self._block)
            wet = outputs[:, min(skip, piece) :][:, :left]
            skip = max(skip - piece, 0)
            left -= wet.shape[1]
            peak = max(peak, float(np.abs(wet).max(initial=0)))
            processor.rack.check()
            target.write(wet.T)
            if progress is not None:
                progress(wet.shape[1])
        nonfinite = int(processor.telemetry["nonfinite_in"])
        if isinstance(source, Stretcher):
            nonfinite += source.nonfinite
        lanes = processor.image.lanes.values()
        lines = tuple(line for lane in lanes if (line := lacking(lane, self._block, mean_work_ms(lane))) is not None)
        return Rendered(self.frames, self.channels, self.sample_rate, self.latency, peak, nonfinite, lines)


def open_sound(path: Path) -> soundfile.SoundFile:
    """Open a sound file to read; raises BackendError where it is missing, broken or empty."""
    if not path.is_file():
        raise BackendError(f"no sound file at {path}")
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise BackendError(f"{path} cannot be read as sound: {getattr(error, 'error_string', error)}") from error
    if sound.frames <= 0:
        sound.close()
        raise BackendError(f"{path} holds no sound (0 frames)")
    return sound
