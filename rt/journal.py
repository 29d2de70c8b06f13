"""The page that surfaces of control share: the journal of what the audio thread did, the values as applied, the board.

The audio thread writes one line for every event that it applies and for every chain that it takes up; whoever wants to know
(the echo to a fader, undo, the log of a take) follows with a cursor of its own. Needs nothing compiled.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import threading
from typing import Any

import numpy as np
from autovoice.rt.layout import BOARD_BYTES, CONTROL, ENTRIES, ENTRY, VALUE_STRIDE, VALUE_UIDS, field_offset

MAGIC = 0x4156_434F_4E54_0001  # "AVCONT", layout 1
_ordering = threading.Lock()
_STRONGLY_ORDERED = platform.machine() in ("x86_64", "AMD64", "i686")


def fence() -> None:
    """Keep loads and stores before this call before those after it, as another processor sees them.

    x86 orders loads with loads and stores with stores by itself. On ARM a lock's release and the next acquire order
    everything before the one and after the other.
    """
    if not _STRONGLY_ORDERED:
        for _ in range(2):
            _ordering.acquire()
            _ordering.release()


class ControlPage:
    """The page, in the engine's process or attached from another; shape of `values`: (uid, parameter index + 1)."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        """View a CONTROL array of shape (1,)."""
        self.array = array
        page: Any = array[0]
        self._words = array.view(np.int64)
        self.values: np.ndarray[Any, Any] = page["values"]
        self.entries: np.ndarray[Any, Any] = page["entries"]
        self._board: np.ndarray[Any, Any] = page["board"]

    @classmethod
    def attach(cls, path: str) -> ControlPage:
        """Map another process's page to read; raises ValueError where it is not ours."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < CONTROL.itemsize:
                raise ValueError(f"{path} is too short to be AutoVoice's page of control")
            memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        array = np.frombuffer(memory, CONTROL, count=1)
        if array[0]["magic"] != MAGIC:
            raise ValueError(f"{path} is not AutoVoice's page of control in this version")
        return cls(array)

    def prepare(self) -> None:
        """Mark a fresh page as ours. Before the driver starts."""
        self.array[0]["magic"], self.array[0]["pid"] = MAGIC, os.getpid()

    @property
    def written(self) -> int:
        """How many entries were ever written to the journal."""
        return int(self._words[_WRITTEN])

    def show(self, uid: int, index: int, value: float) -> None:
        """Write a value that was asked for; the audio thread writes it again when it applies it."""
        if uid < VALUE_UIDS and index + 1 < VALUE_STRIDE:
            self.values[uid, index + 1] = value

    def value(self, uid: int, index: int) -> float:
        """Read a value; NaN where there is no room to show it."""
        return float(self.values[uid, index + 1]) if uid < VALUE_UIDS and index + 1 < VALUE_STRIDE else float("nan")

    @property
    def board_version(self) -> int:
        """A number that changes with the board; odd while it is written."""
        return int(self._words[_BOARD_VERSION])

    def write_board(self, board: dict[str, Any]) -> None:
        """Write the description of what plays. One control thread only; raises ValueError where it is too long."""
        text = json.dumps(board, separators=(",", ":")).encode()
        if len(text) > BOARD_BYTES:
            raise ValueError(f"the board holds {BOARD_BYTES} bytes, this description has {len(text)}")
        version = self.board_version
        self._words[_BOARD_VERSION] = version + 1
        fence()
        self._board[: len(text)] = np.frombuffer(text, np.uint8)
        self._words[_BOARD_LENGTH] = len(text)
        fence()
        self._words[_BOARD_VERSION] = version + 2

    def read_board(self) -> tuple[int, dict[str, Any]] | None:
        """Return (version, board), or None while it is being written or before there is one."""
        version = self.board_version
        if version == 0 or version & 1:
            return None
        fence()
        text = self._board[: int(self._words[_BOARD_LENGTH])].tobytes()
        fence()
        return (version, json.loads(text)) if self.board_version == version else None


class Journal:
    """One reader of the journal, from now on or, with `since`, from an entry's number on. One thread at a time."""

    def __init__(self, page: ControlPage, since: int | None = None) -> None:
        """Begin to follow."""
        self._page = page
        self.next = page.written if since is None else since
        self.lapped = False  # entries were overwritten before this reader came; cleared by whoever resyncs from the values

    def read(self) -> np.ndarray[Any, Any]:
        """Return what is new, an ENTRY array of shape (n,), oldest first; n may be 0."""
        end = self._page.written
        fence()
        first = max(self.next, end - ENTRIES)
        at, count = first & (ENTRIES - 1), end - first
        entries = self._page.entries
        new = entries[at : at + count].copy()
        if at + count > ENTRIES:
            new = np.concatenate((new, entries[: at + count - ENTRIES]))
        fence()
        gone = max(self._page.written + 1 - ENTRIES - first, 0)  # overwritten while they were read, or being so
        if gone or first > self.next:
            self.lapped = True
        self.next = end
        return new[gone:]


_WRITTEN, _BOARD_VERSION, _BOARD_LENGTH = (
    field_offset(CONTROL, name) // 8 for name in ("written", "board_version", "board_length")
)
assert ENTRY.itemsize == 64
