"""The demo's singer: speech from a file at the demo's rate, then a chirp that measures the latency.

    python -m autovoice.tools.speech OUT.wav RATE SECONDS [IN ...]

A program of its own, so that the resampler's memory is not the live program's. Prints the frames of the speech.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import soundfile
from autovoice.rt.backends.file import open_sound
from autovoice.tools.lab.latency.signals import chirp
from autovoice.tools.options import CommandError

FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")
CLIPS = ("sense_and_sensibility_01_austen_64kb-0870.wav", "sense_and_sensibility_01_austen_64kb-0880.wav")
"""A reading of Jane Austen's Sense and Sensibility, chapter 1, from LibriVox; in Debian's package pocketsphinx-testdata."""
LEAD_S, PAUSE_S, TAIL_S = 0.2, 1.5, 0.5  # silence before the speech, before the chirp, after it


def load(paths: list[Path], sample_rate: int, seconds: float | None) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the mean of the channels of all files in a row, resampled, cut to `seconds`; float32 of shape (frames,)."""
    parts = []
    for path in paths:
        with open_sound(path) as sound:
            voice = sound.read(dtype="float32", always_2d=True).mean(1)
            if sound.samplerate != sample_rate:
                try:
                    from scipy.signal import resample_poly
                except ImportError as error:
                    raise CommandError("the demo resamples with SciPy; pip install 'autovoice[demo]'") from error
                common = math.gcd(sound.samplerate, sample_rate)
                voice = resample_poly(voice, sample_rate // common, sound.samplerate // common).astype(np.float32)
            parts.append(voice)
    speech = np.concatenate(parts)
    return speech[: len(speech) if seconds is None else round(seconds * sample_rate)]


def default_paths() -> list[Path]:
    """Return the clips that come with Debian; raises CommandError where they are not installed."""
    paths = [FOLDER / clip for clip in CLIPS]
    if missing := [path for path in paths if not path.is_file()]:
        raise CommandError(f"no speech at {missing[0]}; install pocketsphinx-testdata, or give --input FILE")
    return paths


def write(target: Path, speech: np.ndarray[tuple[int], np.dtype[np.float32]], sample_rate: int) -> None:
    """Write lead, speech, pause, chirp and tail as a float32 WAV file."""

    def silence(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return np.zeros(round(seconds * sample_rate), np.float32)

    whole = np.concatenate([silence(LEAD_S), speech, silence(PAUSE_S), chirp(sample_rate), silence(TAIL_S)])
    soundfile.write(target, whole, sample_rate, subtype="FLOAT")


def main() -> None:
    """Write OUT.wav from the files named, or from Debian's clips."""
    target, rate, seconds, *files = sys.argv[1:]
    try:
        limit = float(seconds) if seconds != "all" else None
        speech = load([Path(file) for file in files] or default_paths(), int(rate), limit)
        write(Path(target), speech, int(rate))
    except Exception as error:
        sys.exit(getattr(error, "message", str(error)))
    print(len(speech))


if __name__ == "__main__":
    main()
