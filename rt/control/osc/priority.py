"""The server's claim to the processor: before all ordinary programs, after the audio, and only while it takes little.

Without it, on a machine with more to do than cores, a packet waits for its turn for hundreds of milliseconds.
"""

from __future__ import annotations

import os
import time

PRIORITY = 1  # the lowest of the real-time ones: every audio thread comes first
MOST, ENOUGH = 0.75, 0.5  # of a core: beyond the one a flood loses the privilege, below the other it is given back


class Priority:
    """SCHED_RR for the calling thread, where the host grants it."""

    def __init__(self) -> None:
        """Ask for it."""
        self._used_s, self._at_s = time.thread_time(), time.monotonic()
        self.granted = self._set(True)

    def review(self) -> None:
        """Give it up or take it back by what was used since the last call."""
        used_s, at_s = time.thread_time(), time.monotonic()
        share = (used_s - self._used_s) / max(at_s - self._at_s, 1e-3)
        self._used_s, self._at_s = used_s, at_s
        if self.granted and share > MOST:
            self._set(False)
            self.granted = False
        elif not self.granted and share < ENOUGH:
            self.granted = self._set(True)

    @staticmethod
    def _set(privileged: bool) -> bool:
        try:
            policy = os.SCHED_RR if privileged else os.SCHED_OTHER
            os.sched_setscheduler(0, policy, os.sched_param(PRIORITY if privileged else 0))
        except (OSError, AttributeError):
            return False
        return True
