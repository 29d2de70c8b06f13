"""A family of commands: presets, scenes, takes, MIDI. The Conductor asks each in turn; a family overrides what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from autovoice.rt.chain import Chain
    from autovoice.rt.control.conductor import Conductor

Handler = Callable[..., Any]


class Family:
    """Called on the Conductor's thread, or on that of whoever calls `Conductor.do`, always under its lock."""

    def __init__(self, conductor: Conductor) -> None:
        """Keep the conductor; the engine runs already."""
        self.conductor = conductor

    def handlers(self) -> Mapping[str, Handler]:
        """Return what does each command, by its name; a handler takes the command's arguments and returns what JSON can say."""
        return {}

    def swapped(self, chain: Chain, keep_state: bool) -> None:
        """Learn that another chain was taken up, through `Conductor.swap` or by the engine itself."""

    def journal(self, entries: np.ndarray[Any, Any]) -> None:
        """Learn what the audio thread did: an ENTRY array of shape (n,), oldest first."""

    def lapped(self) -> None:
        """Learn that journal entries were lost; the values are as the engine shows them."""

    def tick(self, now_s: float) -> None:
        """Do what is due; called about twenty times a second with the monotonic time."""

    def state(self) -> dict[str, Any]:
        """Return what surfaces should know, as JSON can say it; it becomes part of `board["state"]`."""
        return {}

    def close(self) -> None:
        """End; the engine may still run."""
