"""Words and letters: how far what was heard is from what was said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NUMBERS = dict(enumerate("zero one two three four five six seven eight nine ten eleven twelve".split()))


def normalised(text: str) -> str:
    """Return a text as lower-case words between single spaces: no accents, no punctuation, small numbers in words."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    plain = re.sub(r"\d+", lambda found: NUMBERS.get(int(found[0]), found[0]), plain.replace("'", ""))
    return " ".join(re.findall(r"[a-z0-9]+", plain))


def distance(wanted: Sequence[object], heard: Sequence[object]) -> int:
    """Return the least number of insertions, deletions and substitutions between two sequences (V. I. Levenshtein, 1966)."""
    row = list(range(len(heard) + 1))
    for i, one in enumerate(wanted, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def word_error(wanted: str, heard: str) -> float:
    """Return the word error rate in percent of the wanted words, 0 and up; both texts are normalised first."""
    words = normalised(wanted).split()
    return 100.0 * distance(words, normalised(heard).split()) / max(len(words), 1)


def character_error(wanted: str, heard: str) -> float:
    """Return the character error rate in percent of the wanted letters and spaces, 0 and up; both are normalised first."""
    letters = normalised(wanted)
    return 100.0 * distance(letters, normalised(heard)) / max(len(letters), 1)
