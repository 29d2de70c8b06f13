"""Pitch and voicing, found by a tracker that the converter does not use, and how well two melodies agree.

The tracker is WORLD's Harvest (M. Morise, Interspeech 2017), with D4C's LoveTrain (M. Morise, Speech Communication 84, 2016)
deciding what is voiced, since Harvest alone bridges consonants. A frame's pitch is certain where DIO with StoneMask, another
method, agrees within 50 cents for 40 ms or more: a few octaves lost at the ends of vowels would otherwise outweigh the melody.
(Our `shift` stage, whose pitch is right within a few cents, gets a correlation of 0.75 to 0.94 over all frames and 0.998 over
the certain ones.) Where pyworld is not installed our own `pitch` stage stands in, all of its frames being certain; the report
says which it was, since the figures of the two are not to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from autovoice.tools.quality import judges
from autovoice.tools.quality.clips import QualityError
from autovoice.tools.quality.signal import JUDGED_RATE, Array, resample

HOP_S = 0.005
FLOOR_HZ, CEILING_HZ = 55.0, 800.0
UNVOICED_APERIODICITY = 0.999  # D4C's answer where its LoveTrain finds no voice
AGREEMENT_CENTS, SHORTEST_RUN = 50.0, 8  # frames
FEWEST_FRAMES = 20  # in both, for a correlation
SEMITONES = 12.0


@dataclass(frozen=True)
class Melody:
    """A pitch curve at multiples of HOP_S."""

    f0_hz: Array  # 0 = unvoiced
    certain: Array  # where two methods agree

    @property
    def voiced(self) -> Array:
        """Return which frames are voiced."""
        return np.asarray(self.f0_hz > 0)

    def median_hz(self) -> float:
        """Return the median of the certain frames."""
        return float(np.median(self.f0_hz[self.certain]))

    def range_st(self) -> float:
        """Return the distance from the 5th to the 95th percentile of the certain frames, in semitones."""
        low, high = np.percentile(self.f0_hz[self.certain], [5, 95])
        return float(SEMITONES * np.log2(high / low))


def tracker() -> str:
    """Return the name of the tracker in use."""
    return "autovoice pitch" if judges.missing("world") else "WORLD: Harvest, voicing by D4C's LoveTrain"


def melody(sound: Array, rate: int, what: str = "sound") -> Melody:
    """Return the pitch of a sound; raises QualityError where no frame is voiced."""
    found = _own(sound, rate) if judges.missing("world") else _harvest(resample(sound, rate, JUDGED_RATE))
    if not found.certain.any():
        raise QualityError(f"{what} has no voiced frame: no pitch can be compared")
    return found


def _harvest(sound: Array) -> Melody:
    def track() -> list[list[float]]:
        world = judges.world()
        x = np.ascontiguousarray(sound, np.float64)
        f0, times = world.harvest(x, JUDGED_RATE, f0_floor=FLOOR_HZ, f0_ceil=CEILING_HZ, frame_period=HOP_S * 1e3)
        aperiodicity = world.d4c(x, f0, times, JUDGED_RATE)
        f0 = np.where(aperiodicity[:, 0] < UNVOICED_APERIODICITY, f0, 0.0)
        other, _ = world.dio(x, JUDGED_RATE, f0_floor=FLOOR_HZ, f0_ceil=CEILING_HZ, frame_period=HOP_S * 1e3)
        other = world.stonemask(x, other, times, JUDGED_RATE)
        agreed = (f0 > 0) & (other > 0)
        agreed[agreed] = np.abs(1200 * np.log2(other[agreed] / f0[agreed])) < AGREEMENT_CENTS
        for start, end in np.flatnonzero(np.diff(agreed.astype(int), prepend=0, append=0)).reshape(-1, 2):
            agreed[start:end] = end - start >= SHORTEST_RUN
        return [np.round(f0, 3).tolist(), agreed.astype(int).tolist()]

    f0_hz, certain = judges.remembered("harvest, d4c and dio, 1", sound, track)
    return Melody(np.array(f0_hz), np.array(certain, bool))


def _own(sound: Array, rate: int) -> Melody:
    from autovoice.rt import Chain

    track = Chain(["pitch"]).analyse(np.asarray(sound, np.float32), sample_rate=rate)
    at = np.arange(0, len(sound) / rate, HOP_S)
    if not len(track.time_s):
        return Melody(np.zeros(len(at)), np.zeros(len(at), bool))
    nearest = np.abs(track.time_s[None] - at[:, None]).argmin(1)
    f0_hz = np.asarray(track.f0_hz[nearest])
    return Melody(f0_hz, f0_hz > 0)


def _octaves(one: Melody, other: Melody, what: str, certain: bool) -> tuple[Array, Array]:
    frames = min(len(one.f0_hz), len(other.f0_hz))
    both = one.certain[:frames] & other.certain[:frames] if certain else one.voiced[:frames] & other.voiced[:frames]
    if both.sum() < FEWEST_FRAMES:
        raise QualityError(f"{what}: {int(both.sum())} frames have a pitch in both sounds, {FEWEST_FRAMES} are needed")
    return np.log2(one.f0_hz[: len(both)][both]), np.log2(other.f0_hz[: len(both)][both])


def correlation(one: Melody, other: Melody, what: str = "f0", *, certain: bool = True) -> float:
    """Return Pearson's correlation of log f0 over the frames voiced in both, -1..1; of the certain ones, or of all."""
    a, b = _octaves(one, other, what, certain)
    if a.std() < 1e-6 or b.std() < 1e-6:  # a monotone voice: it has no melody to follow
        return 1.0 if np.allclose(a - a.mean(), b - b.mean(), atol=1e-3) else 0.0
    return float(np.corrcoef(a, b)[0, 1])


def error_cents(one: Melody, other: Melody, what: str = "f0") -> float:
    """Return the median of |interval - median interval| over the frames certain in both, in cents; 0 and up."""
    a, b = _octaves(one, other, what, certain=True)
    apart = 1200 * (b - a)
    return float(np.median(np.abs(apart - np.median(apart))))


def voicing_f1(one: Melody, other: Melody) -> float:
    """Return the F1 score of the second melody's voiced frames against the first one's, 0..1."""
    frames = min(len(one.f0_hz), len(other.f0_hz))
    a, b = one.voiced[:frames], other.voiced[:frames]
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
