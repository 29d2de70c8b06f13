"""Sung lines: validation utterances set to a melody, so that what should be heard is known."""

from __future__ import annotations

import zlib

import numpy as np
from autovoice.tools.quality import baselines, judges
from autovoice.tools.quality.material import RATE, Source
from autovoice.tools.quality.signal import Array, resample

NOTE_S = (0.35, 0.7)
STEPS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)  # semitones from a note to the next
SPAN = 7  # semitones that the melody may leave its middle by
GLIDE_S = 0.06


def sung(source: Source) -> Source:
    """Return a source sung in its own time: notes of the tempered scale about its median pitch, by WORLD's resynthesis.

    The melody follows from the source's name. Its texts are not judged: a melody that is not the language's costs words.
    """
    f0, envelope, aperiodicity = baselines.analysis(resample(source.sound, source.rate, RATE))
    voiced = f0 > 0
    line = melody(len(f0), float(np.median(f0[voiced])), zlib.crc32(source.name.encode()))
    sound = judges.world().synthesize(np.where(voiced, line, 0.0), envelope, aperiodicity, RATE, baselines.PERIOD_MS)
    return Source(f"{source.name}-sung", sound.astype(np.float32), RATE, source.text, "sung", speaker=source.speaker)


def melody(rows: int, middle_hz: float, seed: int) -> Array:
    """Return a melody in Hz, one value every PERIOD_MS: notes held for NOTE_S, joined by glides of GLIDE_S."""
    random = np.random.default_rng(seed)
    middle = round(69 + 12 * np.log2(middle_hz / 440))
    note, at = middle, 0
    line = np.empty(rows)
    while at < rows:
        end = at + round(random.uniform(*NOTE_S) * 1e3 / baselines.PERIOD_MS)
        line[at:end] = note
        step = int(random.choice(STEPS))
        note = note + step if abs(note + step - middle) <= SPAN else note - step
        at = end
    glide = np.hanning(round(GLIDE_S * 1e3 / baselines.PERIOD_MS) + 2)[1:-1]
    smooth = np.convolve(np.pad(line, len(glide) // 2, "edge"), glide / glide.sum(), "valid")[:rows]
    return np.asarray(440 * 2 ** ((smooth - 69) / 12))
