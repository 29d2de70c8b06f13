"""Voices and emotions by name: commands that let the stage convert become somebody, know who sings, and be in some mood.

A voice goes into a slot of the converter's table (`autovoice.rt.casting`). Surfaces learn names and slots, and nothing else of
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autovoice.dsp.converter.prosody import emotion
from autovoice.dsp.stage import StageError, suggest
from autovoice.rt import casting
from autovoice.rt.casting import STAGE
from autovoice.rt.control.family import Family, Handler

if TYPE_CHECKING:
    from autovoice.rt.control.conductor import Conductor

VOICE, SINGER = "voice", "singer"
NOBODY, UNKNOWN = "nobody", -1.0  # the singer who is not known, and the slot
LINGER_S = 1.0  # a slot that was moved away from is still played for a moment: the parameter's event, the glide of the voice


class VoiceFamily(Family):
    """Puts voices into slots, moves the stage there, and lets go of what is no longer played."""

    def __init__(self, conductor: Conductor) -> None:
        """Hold no slot yet."""
        super().__init__(conductor)
        self._held: dict[tuple[str, str], int] = {}  # by stage and parameter
        self._leaving: list[tuple[float, int]] = []  # when, and which slot
        self._now_s = 0.0

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands."""
        return {"voice": self._become, "singer": self._know, "emotion": self._feel}

    def state(self) -> dict[str, Any]:
        """Return the names of the voices in the table by slot, where a stage plays from it."""
        if not (self._held or self._keys()):  # nobody needs the table, so it need not be laid out
            return {"voices": {}}
        return {"voices": {str(slot): name for slot, name in casting.slots().names().items()}}

    def tick(self, now_s: float) -> None:
        """Let go of the slots whose time is over."""
        self._now_s = now_s
        while self._leaving and self._leaving[0][0] <= now_s:
            casting.slots().release(self._leaving.pop(0)[1])

    def close(self) -> None:
        """Let go of every slot."""
        for slot in (*self._held.values(), *(slot for _, slot in self._leaving)):
            casting.slots().release(slot)
        self._held, self._leaving = {}, []

    def _become(self, name: str, key: str | None = None) -> str:
        return self._put(name, self._key(key), VOICE)

    def _know(self, name: str, key: str | None = None) -> str:
        key = self._key(key)
        if name != NOBODY:
            return self._put(name, key, SINGER)
        self.conductor.engine.set(f"{key}/{SINGER}", UNKNOWN)
        self._leave(key, SINGER)
        return name

    def _put(self, name: str, key: str, parameter: str) -> str:
        """Have a voice in a slot, and a parameter of a stage there."""
        try:
            slot = casting.slots().acquire(name)
        except (ValueError, RuntimeError) as error:
            raise StageError(str(error)) from error
        self.conductor.engine.set(f"{key}/{parameter}", float(slot))
        self._leave(key, parameter)
        self._held[key, parameter] = slot
        return name

    def _leave(self, key: str, parameter: str) -> None:
        if (old := self._held.pop((key, parameter), None)) is not None:
            self._leaving.append((self._now_s + LINGER_S, old))

    def _feel(self, name: str, key: str | None = None) -> str:
        key = self._key(key)
        self.conductor.engine.set_many({f"{key}/{one}": value for one, value in emotion(name).settings().items()})
        return name

    def _key(self, key: str | None) -> str:
        """Return the stage that is meant: the first one where none is named."""
        keys = self._keys()
        if not keys:
            raise StageError(f"nothing that plays can become somebody; put the stage {STAGE} into the chain")
        if key is not None and key not in keys:
            raise StageError(f"no stage {STAGE} is called {key!r}{suggest(key, keys)}")
        return keys[0] if key is None else key

    def _keys(self) -> list[str]:
        return [placed.key for placed in self.conductor.engine.chain.placed if placed.stage.name == STAGE]
