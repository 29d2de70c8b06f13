"""Voices: the converter's features, network and training, the teacher it learns from, voice profiles.

Whoever imports this package can name voices of the user's own in chains and presets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autovoice.rt import casting

if TYPE_CHECKING:
    from autovoice.models.voices import Voice


def _find(name: str) -> Voice:
    from autovoice.models import voices

    return voices.find(name)


casting.entrust(_find)
