"""A tape: the last seconds of a sound in a ring, with notes on what a splice must respect.

Beside the frames themselves the tape holds, of all channels together, a low-passed and decimated copy in which repeating
waveforms are found cheaply, and for every cell of some 1.3 ms how long ago a sound last began and how long it has been
quiet. An onset is a cell whose pre-emphasised energy exceeds by ONSET_RISE all that the ear had to go by from 4 to 24 ms
before: longer than the period of a voice, so that glottal pulses are no onsets.

A tape lies in a stage's memory: rings of float32 one after the other, those of analysis on the first channel. Compiled
code, except `lay_out`, `values_needed` and `plan`.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import as_pointer, helper
from autovoice.dsp.stage import MAX_SAMPLE_RATE, SEGMENT
from autovoice.dsp.toolchain import numba

carray = numba.carray

LOW_RATE = 8_000.0  # Hz, of the decimated copy, aimed at: harmonics up to 3 kHz decide where a waveform repeats
CELL_RATE = 750.0  # cells a second, aimed at
LOUD_S = 1.5  # time in which the loudness, that quiet is judged by, falls to 1/e
QUIET = np.float32(10**-4.2)  # of the loudness (-42 dB): a pause
SILENT = np.float32(1e-7)  # power per sample (-70 dBFS) that is quiet anyhow
ONSET_RISE = np.float32(5.0)  # of energy: 7 dB
ONSET_FLOOR = np.float32(10**-3.5)  # of the loudness (-35 dB), below which nothing begins
ONSET_NEAR_S, ONSET_FAR_S = 0.004, 0.024
CELLS = 64  # last cells at hand
LONG_AGO = np.float32(1e6)  # cells
MAX_FACTOR = round(MAX_SAMPLE_RATE / LOW_RATE)
MAX_TAPS = 4 * MAX_FACTOR + 1

TAPE = [
    ("memory", "i8"),  # address of the channel's rings
    # What follows is used of channel 0 alone.
    ("length", "i8"),  # frames of the ring
    ("factor", "i8"),  # frames for one low sample
    ("lows", "i8"),  # low samples of their ring
    ("low_at", "i8"),  # bytes from `memory` to that ring
    ("cell", "i8"),  # frames
    ("cells", "i8"),  # of their rings
    ("onset_at", "i8"),  # likewise: cells since the last onset
    ("quiet_at", "i8"),  # likewise: cells that it has been quiet for
    ("next_low", "i8"),  # number of the next low sample
    ("taps", "i8"),
    ("lowpass", "f4", (MAX_TAPS,)),
    ("mix", "f4", (MAX_TAPS + SEGMENT,)),  # of the channels: what the low-pass still needs, then the newest segment
    ("power", "f4"),  # of the cell under way
    ("bright_power", "f4"),  # of its first difference
    ("recent", "f4", (CELLS,)),  # bright power of the last cells
    ("near", "i8"),  # cells
    ("far", "i8"),  # cells
    ("loud", "f4"),  # recent power of a cell
    ("bright_loud", "f4"),
    ("forget", "f4"),
    ("onset_age", "f4"),
    ("quiet_age", "f4"),
]
"""What a tape adds to a stage's STATE."""


def plan(sample_rate: float, seconds: float) -> dict[str, int]:
    """Return the sizes of a tape that holds at least `seconds`."""
    factor = max(1, round(sample_rate / LOW_RATE))
    cell = SEGMENT * max(1, round(sample_rate / CELL_RATE / SEGMENT))
    unit = int(np.lcm(cell, SEGMENT * factor))
    length = unit * -(-int(np.ceil(seconds * sample_rate)) // unit)
    return {"factor": factor, "cell": cell, "length": length, "lows": length // factor, "cells": length // cell}


def values_needed(sample_rate: float, seconds: float) -> int:
    """Return the float32 values of memory that each channel needs."""
    sizes = plan(sample_rate, seconds)
    return sizes["length"] + SEGMENT + sizes["lows"] + 2 * sizes["cells"]


def lay_out(state: Any, sample_rate: float, seconds: float) -> None:
    """Fill the TAPE fields of a zeroed state. Control thread only."""
    sizes = plan(sample_rate, seconds)
    for name, value in sizes.items():
        state[name] = value
    first = state[0]
    first["low_at"] = 4 * (sizes["length"] + SEGMENT)
    first["onset_at"] = first["low_at"] + 4 * sizes["lows"]
    first["quiet_at"] = first["onset_at"] + 4 * sizes["cells"]
    half = 2 * sizes["factor"]
    n = np.arange(-half, half + 1)
    lowpass = np.sinc(0.8 * n / sizes["factor"]) * np.cos(np.pi * n / (2 * half + 2)) ** 2
    first["taps"] = 2 * half + 1
    first["lowpass"][: 2 * half + 1] = lowpass / lowpass.sum()
    first["near"] = max(1, round(ONSET_NEAR_S * sample_rate / sizes["cell"]))
    first["far"] = min(CELLS - 1, round(ONSET_FAR_S * sample_rate / sizes["cell"]))
    first["forget"] = np.exp(-sizes["cell"] / (LOUD_S * sample_rate))
    first["onset_age"] = LONG_AGO


@helper
def ring_from(address, length, position, frames):
    """View up to SEGMENT frames of a ring, from an absolute position on; they never wrap, for the ring's head is repeated."""
    return carray(as_pointer(address + 4 * (position % length)), (frames,), np.float32)


@helper
def ring_of(address, length):
    """View a ring."""
    return carray(as_pointer(address), (length,), np.float32)


@helper
def record(s, length, x, frame, frames, channels):
    """Write the first frames of x at an absolute position; never across a segment's border."""
    at = frame % length
    for c in range(channels):
        ring = ring_of(s[c].memory, length + SEGMENT)
        row = ring[at : at + frames]
        for i in range(frames):
            row[i] = x[c, i]
        if at < SEGMENT:
            again = ring[at + length : at + length + frames]
            for i in range(frames):
                again[i] = x[c, i]


@helper
def shape(s, frame, channels, rising):
    """Fade a whole recorded segment in or out, where recording begins or ends."""
    length = s[0].length
    at = frame % length
    for c in range(channels):
        ring = ring_of(s[c].memory, length + SEGMENT)
        for i in range(SEGMENT):
            gain = (np.float32(i) + np.float32(0.5)) * np.float32(1 / SEGMENT)
            ring[at + i] *= gain if rising else np.float32(1) - gain
            if at == 0:
                ring[length + i] = ring[i]


@helper
def listen(s, end, channels):
    """Analyse the segment before `end`, an absolute multiple of SEGMENT that the tape is complete up to."""
    t = s[0]
    taps = t.taps
    mix = t.mix
    for i in range(taps):
        mix[i] = mix[i + SEGMENT]
    newest = mix[taps : taps + SEGMENT]
    for i in range(SEGMENT):
        newest[i] = np.float32(0)
    share = np.float32(1)
    power = np.float32(0)
    bright = np.float32(0)
    for c in range(channels):
        row = ring_from(s[c].memory, t.length, end - SEGMENT, SEGMENT)
        for i in range(SEGMENT):
            newest[i] += share * row[i]
        share *= np.float32(0.8)  # unequal shares: channels in antiphase do not cancel
    before = mix[taps - 1 :]
    for i in range(SEGMENT):
        power += newest[i] * newest[i]
        difference = newest[i] - before[i]
        bright += difference * difference
    t.power += power
    t.bright_power += bright
    decimate(t, end)
    if end % t.cell == 0:
        close_cell(t, end // t.cell - 1)


@helper
def decimate(t, end):
    """Write the low samples whose low-pass has all its input: sample m speaks of frame m * factor."""
    half = t.taps >> 1
    low = ring_of(t.memory + t.low_at, t.lows)
    while t.next_low * t.factor + half < end:
        first = t.next_low * t.factor - half - (end - SEGMENT) + t.taps
        total = np.float32(0)
        for k in range(t.taps):
            total += t.lowpass[k] * t.mix[first + k]
        low[t.next_low % t.lows] = total
        t.next_low += 1


@helper
def close_cell(t, number):
    """Note whether a sound begins in the cell, and whether it is quiet."""
    scale = np.float32(1) / np.float32(t.cell)
    power = t.power * scale
    bright = t.bright_power * scale
    t.power = np.float32(0)
    t.bright_power = np.float32(0)
    t.loud = max(power, t.forget * t.loud)
    t.bright_loud = max(bright, t.forget * t.bright_loud)
    before = SILENT
    for k in range(t.near, t.far + 1):
        before = max(before, t.recent[(number - k) % CELLS])
    t.recent[number % CELLS] = bright
    begins = bright > ONSET_RISE * before and bright > ONSET_FLOOR * t.bright_loud
    t.onset_age = np.float32(0) if begins else min(t.onset_age + np.float32(1), LONG_AGO)
    quiet = power < max(QUIET * t.loud, SILENT)
    t.quiet_age = min(t.quiet_age + np.float32(1), LONG_AGO) if quiet else np.float32(0)
    at = number % t.cells
    ring_of(t.memory + t.onset_at, t.cells)[at] = t.onset_age
    ring_of(t.memory + t.quiet_at, t.cells)[at] = t.quiet_age


@helper
def onset_within(t, begin, end):
    """Say whether a sound begins between two positions, both within the tape."""
    last = end // t.cell
    return ring_of(t.memory + t.onset_at, t.cells)[last % t.cells] <= np.float32(last - begin // t.cell)


@helper
def quiet_before(t, position):
    """Return for how many frames it has been quiet at a position within the tape."""
    return np.int64(ring_of(t.memory + t.quiet_at, t.cells)[(position // t.cell) % t.cells]) * t.cell
