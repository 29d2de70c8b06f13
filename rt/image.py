"""A chain laid out in memory for the audio thread: slots, states, parameter rows, delay lines, all in one arena."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from autovoice.dsp.stage import SEGMENT, Param
from autovoice.rt.chain import Chain, Placed
from autovoice.rt.layout import (
    BUS_BYTES,
    CELL,
    CHAIN,
    COPY,
    COPY_BYTES,
    COPY_CELL,
    COPY_FOLLOW,
    COPY_RING,
    COPY_TARGET,
    MAX_STAGES,
    POST_OFFSET,
    SLOT,
)
from autovoice.rt.memory import Arena, address_of, aligned

if TYPE_CHECKING:
    from autovoice.rt.lane.host import Lane

BYPASS = Param("bypass", "", 0, 1, 0, "switch", "1 = hear the stage's input, delayed as the stage delays")
BYPASS_MS = 10.0
ROW_BYTES = SEGMENT * 4


def delay_length(frames: int) -> int:
    """Return a power of two that holds a delay and a segment on top of it."""
    return 1 << (frames + SEGMENT - 1).bit_length()


def lay_cell(cell: Any, row: np.ndarray[Any, Any], value: float, glide: int) -> None:
    """Set a cell at rest at a value, with its row full of it."""
    cell["row"], cell["value"], cell["target"], cell["glide"] = address_of(row), value, value, glide
    row[:] = value


def glide_frames(parameter: Param, sample_rate: float) -> int:
    """Return how many frames a change of a parameter takes."""
    return 0 if parameter.steps else max(1, round(parameter.smooth_ms * 1e-3 * sample_rate))


def _is_linked(placed: Placed) -> bool:
    """Say whether a stage remembers nothing of the channels behind the first but what the ring of its memory holds."""
    return bool(getattr(placed.stage.module, "LINKED", False))


def _copy(kind: int, source: int, target: int, size: int = 0, head: int = 0, since: int = 0) -> tuple[int, ...]:
    """Return one row of COPY."""
    return kind, source, target, size, head, since


class ChainImage:
    """One chain, ready to be published; its memory lives as long as this object. Control thread only."""

    def __init__(
        self,
        chain: Chain,
        uids: dict[str, int],
        sample_rate: float,
        channels: int,
        latency: int,
        settle: int = 0,
        lanes: Mapping[str, Lane] | None = None,
    ) -> None:
        """Lay out `chain`, padded to `latency` frames of delay; a swap lets it run unheard for `settle` frames at least.

        `lanes` are those that it plays through, by the stages' names in the chain.
        """
        self.chain = chain
        self.lanes = dict(lanes or {})
        self.uids = uids
        lines = [delay_length(p.stage.latency(sample_rate, p.options)) for p in chain.placed]
        pad = latency - chain.latency(sample_rate)
        pad_line = delay_length(pad)
        size = aligned(CHAIN.itemsize) + aligned(MAX_STAGES * SLOT.itemsize) + aligned(channels * ROW_BYTES)
        size += aligned(channels * pad_line * 4)
        for p, line in zip(chain.placed, lines, strict=True):
            cells = len(p.stage.parameters)
            size += aligned(p.stage.state.itemsize * channels) + aligned(p.stage.parameter_block.itemsize)
            size += aligned(CELL.itemsize * max(cells, 1)) + aligned(channels * line * 4)
            size += aligned(channels * p.stage.memory(sample_rate, p.options) * 4)
        size += aligned(COPY.itemsize * MAX_STAGES * 40)
        self.arena = Arena(size)
        self.record = self.arena.take(CHAIN)
        self.slots = self.arena.take(SLOT, MAX_STAGES)
        self.states: list[np.ndarray[Any, Any]] = []
        self._cells: list[np.ndarray[Any, Any]] = []
        self._sizes: list[tuple[int, int]] = []  # bytes of state and delay line
        self._memories: list[np.ndarray[Any, Any]] = []  # shape (channels, values)
        header = self.record[0]
        header["slots"], header["count"], header["channels"] = address_of(self.slots), len(chain.placed), channels
        header["audio"] = address_of(self.arena.take("f4", channels * SEGMENT))
        header["pad"], header["pad_mask"] = pad, pad_line - 1
        header["pad_line"] = address_of(self.arena.take("f4", channels * pad_line))
        self._pad_bytes = channels * pad_line * 4
        header["block"]["channels"], header["block"]["sample_rate"] = channels, sample_rate
        for bus in (header["block"]["bus"], header["block"]["post"]):
            bus["level_dbfs"] = -120.0
            bus["f0_frame"] = -1
        upstream = 0
        settle = max(settle - latency, 0)
        for k, (p, line) in enumerate(zip(chain.placed, lines, strict=True)):
            self._lay_slot(k, p, line, upstream, sample_rate, channels)
            upstream += p.stage.latency(sample_rate, p.options)
            settle = max(settle, p.stage.settle(sample_rate, p.options))
        header["settle"] = -(-(latency + settle) // SEGMENT) * SEGMENT

    @property
    def address(self) -> int:
        """Where the CHAIN record lies."""
        return address_of(self.record)

    def present(self) -> Chain:
        """Return the chain with its parameters as the audio thread was last told, glides at their ends."""
        values: dict[str, float] = {}
        for p, slot, cells in zip(self.chain.placed, self.slots, self._cells, strict=False):
            values[f"{p.key}/bypass"] = 1.0 - float(slot["wet"]["target"])
            for parameter, cell in zip(p.stage.parameters, cells, strict=False):
                values[f"{p.key}/{parameter.name}"] = float(cell["target"])
        return self.chain.with_values(values)

    def _lay_slot(self, k: int, p: Placed, line: int, upstream: int, sample_rate: float, channels: int) -> None:
        slot = self.slots[k]
        state = self.arena.take(p.stage.state, channels)
        values = p.stage.memory(sample_rate, p.options)
        memory = self.arena.take("f4", channels * values).reshape(channels, values)
        if values:
            state["memory"] = [address_of(row) for row in memory]
        p.stage.prepare(state.view(np.recarray), sample_rate, p.options)
        if lane := self.lanes.get(p.key):
            state["lane"] = lane.address
        parameters = self.arena.take(p.stage.parameter_block)
        cells = self.arena.take(CELL, max(len(p.stage.parameters), 1))
        for cell, parameter in zip(cells, p.stage.parameters, strict=False):
            row = parameters[0][parameter.name]
            lay_cell(cell, row, p.values[parameter.name], glide_frames(parameter, sample_rate))
        slot["function"], slot["uid"] = p.stage.address, self.uids[p.key]
        slot["state"], slot["parameters"] = address_of(state), address_of(parameters)
        slot["latency"], slot["upstream"] = p.stage.latency(sample_rate, p.options), upstream
        slot["delay"], slot["delay_mask"] = address_of(self.arena.take("f4", channels * line)), line - 1
        slot["cells"], slot["cell_count"] = address_of(cells), len(p.stage.parameters)
        lay_cell(slot["wet"], slot["wet_row"], 0.0 if p.bypass else 1.0, max(1, round(BYPASS_MS * 1e-3 * sample_rate)))
        self.states.append(state)
        self._cells.append(cells)
        self._memories.append(memory)
        self._sizes.append((state.nbytes, channels * line * 4))

    def wet_address(self, k: int) -> int:
        """Where the wet share of slot k lies."""
        return address_of(self.slots) + k * SLOT.itemsize + int(SLOT.fields["wet"][1])

    def inherit(self, old: ChainImage, *, keep_state: bool = True, follow: bool = False) -> None:
        """Plan what to take over from the chain that plays: the state of every stage that stays as it is.

        A stage stays when its name, code and options do. The audio thread makes the copies when it adopts this chain, at
        one frame; parameters glide from where they are to what this chain wants or, with `follow`, go where they were going.
        Without `keep_state` nothing of the past comes along but, with `follow`, where parameters were going: they are there
        at once.
        """
        if not (keep_state or follow):
            return
        cell = (COPY_FOLLOW if keep_state else COPY_TARGET) if follow else COPY_CELL
        self._addresses: list[np.ndarray[Any, Any]] = []
        before = {p.key: (k, p) for k, p in enumerate(old.chain.placed)}
        plan: list[tuple[int, ...]] = []
        for k, p in enumerate(self.chain.placed):
            found = before.get(p.key)
            if found is None or found[1].stage is not p.stage or found[1].options != p.options:
                continue
            source, target = old.slots[found[0]], self.slots[k]
            if keep_state and self.lanes.get(p.key) is old.lanes.get(p.key):
                state, line = self._sizes[k]
                if _is_linked(p):
                    state = p.stage.state.itemsize
                plan.append(_copy(COPY_BYTES, source["state"], target["state"], state))
                plan += self._memory_copies(old, found[0], k)
                plan.append(_copy(COPY_BYTES, source["delay"], target["delay"], line))
            for c in range(int(target["cell_count"])):
                plan.append(_copy(cell, source["cells"] + c * CELL.itemsize, target["cells"] + c * CELL.itemsize))
            plan.append(_copy(cell, old.wet_address(found[0]), self.wet_address(k)))
            target["moving"] = 1
        if keep_state:
            if len(plan) and self.record[0]["pad"] == old.record[0]["pad"]:
                plan.append(_copy(COPY_BYTES, old.record[0]["pad_line"], self.record[0]["pad_line"], self._pad_bytes))
            plan.append(_copy(COPY_BYTES, old.address + POST_OFFSET, self.address + POST_OFFSET, BUS_BYTES))
        copies = np.array(plan, COPY)
        self._copies = Arena(copies.nbytes).take(COPY, max(len(plan), 1))
        self._copies[: len(plan)] = copies
        self.record[0]["copies"], self.record[0]["copy_count"] = address_of(self._copies), len(plan)

    def _memory_copies(self, old: ChainImage, j: int, k: int) -> list[tuple[int, ...]]:
        """Copy a stage's memory from slot j of the old chain, and put right the addresses that came with its state.

        An address is any word of the state that points into the memory once it was prepared: that of `memory` itself, and those
        that a transform, say, has of its part of it.

        A ring, where the stage says that its memory begins with one, is copied here and now, while the audio thread goes on
        writing to it; that thread adds what is new when it adopts the chain. What it copies at once then stays small.
        """
        memory, state, before = self._memories[k], self.states[k], old._memories[j]
        if memory.size == 0:
            return []
        words = state.view(np.int64)
        self._addresses.append(words.copy())
        plan: list[tuple[int, ...]] = []
        length = 0
        if ring := getattr(self.chain.placed[k].stage.module, "RING", None):
            size, head = ring
            source = old.states[j]
            length, since = int(source[size][0]), int(source[head][0])
            memory[:, :length] = before[:, :length]
            where = address_of(source[head])
            plan += [
                _copy(COPY_RING, address_of(a), address_of(b), length, where, since)
                for a, b in zip(before, memory, strict=True)
            ]
        for c in range(1 if _is_linked(self.chain.placed[k]) else len(memory)):
            rest = memory[c, length:]
            plan.append(_copy(COPY_BYTES, address_of(before[c, length:]), address_of(rest), rest.nbytes))
        first = address_of(memory)
        for word in np.flatnonzero((words >= first) & (words < first + memory.nbytes)):
            saved = address_of(self._addresses[-1]) + 8 * int(word)
            plan.append(_copy(COPY_BYTES, saved, address_of(words) + 8 * int(word), 8))
        return plan
