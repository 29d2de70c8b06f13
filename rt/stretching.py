"""Stretch a whole recording in time: the tape and splices of the stage `stretch`, with the target of every frame known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp import splice, tape
from autovoice.dsp.native import as_pointer, helper, load_i64, record_at
from autovoice.dsp.stage import MAX_CHANNELS, SEGMENT, StageError, check_sample_rate
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import VettedEntry, compile_entry
from autovoice.rt.chain import check_channels
from autovoice.rt.memory import Arena, address_of, aligned

carray = numba.carray

MIN_FACTOR, MAX_FACTOR = 0.25, 4.0
TAPE_S = 0.25  # around the place that is played
LAND_S = 0.1  # before the end, in which the output comes to where it should be
PIECE = 1 << 16  # frames read at a time
LOUDEST = np.float32(1024)  # what the engine lets in
ONE, LANDING = np.float32(1), np.float32(8)

STATE = np.dtype([*tape.TAPE, *splice.SPLICER], align=True)
JOB = np.dtype(
    [
        ("channels", "i8"),
        ("speed", "f8"),  # input frames for one output frame
        ("land", "i8"),  # output frame from which being late costs more
        ("piece_from", "i8"),  # input frame at which the piece at hand begins
        ("piece_until", "i8"),
        ("taken", "i8"),  # input frames that the tape holds
        ("at", "i8"),  # output frames done
        ("until", "i8"),  # ... and wanted
    ],
    align=True,
)
"""What Python and the compiled loop share; all frames are multiples of SEGMENT."""


@helper
def _row(address):  # type: ignore[no-untyped-def]
    """View a segment of one channel."""
    return carray(as_pointer(address), (1, SEGMENT), np.float32)


def _stretch(state, job, inputs, outputs):  # type: ignore[no-untyped-def]
    """Play output segments until enough are done or the piece of input at hand is used up."""
    job = record_at(job, JOB)
    s = carray(as_pointer(state), (job.channels,), STATE)
    t = s[0]
    begin = job.at
    # A search reaches this far beyond the place that is played; at a higher speed its target runs off more between two fades.
    beyond = t.ahead + 2 * t.reach * t.factor + np.int64(4.0 * job.speed * t.fade_frames) + SEGMENT
    while job.at < job.until:
        while job.taken < job.at - min(t.lag, t.old_lag) + beyond:
            if job.taken == job.piece_until:
                return
            for c in range(job.channels):
                row = _row(load_i64(inputs + 8 * c) + 4 * (job.taken - job.piece_from))
                tape.record(s[c : c + 1], t.length, row, job.taken, SEGMENT, 1)
            job.taken += SEGMENT
            tape.listen(s, job.taken, job.channels)
        if splice.search_due(t, job.at):
            fade_at = job.at + t.cycle * SEGMENT
            most = job.taken + t.cycle * SEGMENT - t.ahead
            hurry = ONE if fade_at < job.land else LANDING
            least = job.taken - t.length + t.keep
            splice.begin_search(t, job.at, fade_at * job.speed, least, most, hurry, job.speed - 1.0)
        splice.search(s, t, job.at, job.channels)
        for c in range(job.channels):
            row = _row(load_i64(outputs + 8 * c) + 4 * (job.at - begin))
            splice.play(s[c : c + 1], t, job.at, row, SEGMENT, 1)
        job.at += SEGMENT


@cache
def _entry() -> VettedEntry:
    return compile_entry(_stretch, numba.types.void(*[numba.types.uintp] * 4))


class Stretcher:
    """A sound that is stretched while it is read, with the `read` of a SoundFile. One thread at a time."""

    def __init__(self, source: Any, *, channels: int, frames: int, sample_rate: float, factor: float) -> None:
        """Take a source that holds `frames` and is read as a SoundFile is; raises StageError for what is out of range."""
        rate = check_sample_rate(sample_rate)
        self.frames = stretched_frames(frames, check_factor(factor))
        self.nonfinite = 0  # input samples that were not numbers, and were replaced by 0
        self._source, self._channels, self._done = source, check_channels(channels), 0
        values = tape.values_needed(rate, TAPE_S)
        self._arena = Arena(aligned(STATE.itemsize * channels) + channels * aligned(4 * values) + aligned(JOB.itemsize))
        self._state = self._arena.take(STATE, channels)
        self._state["memory"] = [address_of(self._arena.take("f4", values)) for _ in range(channels)]
        tape.lay_out(self._state, rate, TAPE_S)
        splice.lay_out(self._state, rate)
        self._job = self._arena.take(JOB)
        self._piece = np.zeros((channels, PIECE), np.float32)
        self._made = np.zeros((channels, 0), np.float32)
        job = self._job[0]
        job["channels"], job["speed"] = channels, 1 / factor
        job["land"] = max(0, self.frames - round(LAND_S * rate))

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray[Any, Any]:
        """Return the next frames, fewer at the end: float32 of shape (frames, channels)."""
        wanted = min(frames, self.frames - self._done)
        while self._made.shape[1] < wanted:
            self._made = np.concatenate([self._made, self._run()], axis=1)
        given, self._made = self._made[:, :wanted], self._made[:, wanted:]
        self._done += wanted
        return given.T

    def _run(self) -> np.ndarray[Any, Any]:
        """Return what can be made of the piece at hand, and get another when it is used up."""
        job = self._job[0]
        begin = int(job["at"])
        job["until"] = begin + PIECE
        made = np.empty((self._channels, PIECE), np.float32)
        pointers = np.zeros((2, MAX_CHANNELS), np.int64)
        pointers[0, : self._channels] = [address_of(row) for row in self._piece]
        pointers[1, : self._channels] = [address_of(row) for row in made]
        _entry().ctypes(address_of(self._state), address_of(self._job), address_of(pointers[0]), address_of(pointers[1]))
        if job["taken"] == job["piece_until"]:
            self._next_piece()
        return made[:, : int(job["at"]) - begin]

    def _next_piece(self) -> None:
        sound = self._source.read(PIECE, dtype="float32", always_2d=True).T
        finite = np.isfinite(sound)
        self.nonfinite += int(sound.size - finite.sum())
        self._piece[:, : sound.shape[1]] = np.where(finite, np.clip(sound, -LOUDEST, LOUDEST), 0)
        self._piece[:, sound.shape[1] :] = 0  # silence follows the end
        self._job["piece_from"] = self._job["piece_until"]
        self._job["piece_until"] += PIECE


class _Recording:
    """A recording in memory, read as a SoundFile is."""

    def __init__(self, sound: np.ndarray[Any, Any]) -> None:
        self._sound, self._at = sound, 0

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray[Any, Any]:
        """Return the next frames, shape (frames, channels)."""
        self._at += frames
        return self._sound[:, self._at - frames : self._at].T


def check_factor(factor: float) -> float:
    """Return a usable factor; raises StageError."""
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise StageError(f"stretch must be in {MIN_FACTOR:g}..{MAX_FACTOR:g} times the length, got {factor:g}")
    return float(factor)


def stretched_frames(frames: int, factor: float) -> int:
    """Return how many frames a recording has once it is stretched: round(frames * factor), at least 1."""
    return max(1, round(frames * factor))


def stretch(sound: np.ndarray[Any, Any], sample_rate: float, factor: float) -> np.ndarray[Any, Any]:
    """Return a recording `factor` (0.25..4) times as long at its own pitch: exactly round(frames * factor) frames.

    `sound` is float of shape (frames,) or (channels, frames), 1..8 channels, which are all cut at the same places; the result
    is float32 of the same kind of shape. A factor of 1 returns the same bits. Raises StageError for what is out of range.
    """
    dry = np.asarray(sound, np.float32)
    if dry.ndim not in (1, 2) or dry.size == 0:
        raise StageError(f"audio must have the shape (frames,) or (channels, frames) with frames > 0, got {dry.shape}")
    rows = np.atleast_2d(dry)
    channels, frames = rows.shape
    stretcher = Stretcher(_Recording(rows), channels=channels, frames=frames, sample_rate=sample_rate, factor=factor)
    wet = np.ascontiguousarray(stretcher.read(stretcher.frames).T)
    return wet[0] if dry.ndim == 1 else wet
