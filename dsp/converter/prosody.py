"""Ways of speaking: emotions as settings of `convert`, and a tempo for what can be stretched.

What moves with an emotion, and which way, follows R. Banse and K. R. Scherer (Acoustic profiles in vocal emotion expression,
J. Personality and Social Psychology 70(3), 1996) and P. N. Juslin and P. Laukka (Communication of emotions in vocal expression
and music performance, Psychological Bulletin 129(5), 2003): height and range of pitch, level and its range, energy of the high
frequencies, breathiness, speaking rate. All but the tempo acts live; tempo is for whole recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autovoice.dsp.stage import StageError, suggest


@dataclass(frozen=True, slots=True)
class Emotion:
    """One way of speaking."""

    about: str
    pitch: float = 0.0  # semitones
    intonation: float = 1.0
    expression: float = 1.0
    tilt: float = 0.0  # dB per octave
    breathiness: float = 0.0
    tempo: float = 1.0  # of the speech

    def settings(self) -> dict[str, float]:
        """Return the parameters of `convert` by name."""
        return {name: getattr(self, name) for name in ("pitch", "intonation", "expression", "tilt", "breathiness")}


EMOTIONS: Mapping[str, Emotion] = {
    "neutral": Emotion("as it was spoken"),
    "happy": Emotion("higher, livelier, brighter, a little faster", 2.0, 1.35, 1.2, 2.5, -0.3, 1.05),
    "sad": Emotion("low, flat, dark and breathy, slow", -4.5, 0.3, 0.7, -4.0, 0.8, 0.75),
    "angry": Emotion("hard and very bright, loud against soft, fast", -0.5, 1.2, 2.0, 5.0, -0.8, 1.15),
    "calm": Emotion("a little lower, even, soft and dark, unhurried", -2.0, 0.6, 0.4, -3.0, -0.2, 0.88),
    "excited": Emotion("high, with the widest melody, fast", 7.0, 1.9, 1.4, 0.5, 0.2, 1.3),
    "fearful": Emotion("high, narrow and breathy, hurried", 4.5, 0.5, 0.9, -1.0, 0.8, 1.15),
}


def emotion(name: str) -> Emotion:
    """Return an emotion by name; raises StageError that offers the nearest."""
    if name not in EMOTIONS:
        raise StageError(f"no emotion is called {name!r}{suggest(name, list(EMOTIONS))}")
    return EMOTIONS[name]
