"""Take rumble, plosives and stand noise away below a cutoff.

A Butterworth high-pass of 12 or 24 dB per octave, built from one or two topology-preserving state-variable filters
(V. Zavalishin, The Art of VA Filter Design, 2012, chapter 4), which stay stable and free of clicks while the cutoff
moves. States are float64: the output is a difference of neighbouring states times fs / (2 pi cutoff), which costs ten bits
at 20 Hz and 192 kHz.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from autovoice.dsp.filters import highpass_coefficients, highpass_move, highpass_tick, tan
from autovoice.dsp.native import helper
from autovoice.dsp.stage import Option, Param

PARAMETERS = (Param("cutoff", "Hz", 20.0, 1000.0, 80.0, scale="log", help="frequency that is lowered by 3 dB"),)
OPTIONS = (Option("slope", "", 0, 1, 0, scale="choice", choices=("12dB", "24dB"), help="fall per octave below the cutoff"),)
STATE = [
    ("z", "f8", (2,)),  # first integrator of each section
    ("z_before", "f8", (2,)),  # and one frame earlier
    ("x_before", "f8", (2,)),  # input of each section one frame earlier
    ("cutoff", "f4"),  # Hz, the one `g` was made for; 0 = not set yet
    ("g", "f8"),
    ("steep", "i4"),
]

SETTLE_S = 0.05  # four time constants of the slowest setting, 20 Hz
K_12 = math.sqrt(2)  # damping 1 / Q of a Butterworth section of order 2
K_24A, K_24B = 2 * math.cos(math.pi / 8), 2 * math.cos(3 * math.pi / 8)  # and of the two sections of order 4


def settle(sample_rate: float, slope: str) -> int:
    """Return the frames after which a constant input has left the filter."""
    return round(SETTLE_S * sample_rate)


def prepare(state: Any, sample_rate: float, slope: str) -> None:
    """Choose the order; the first frame sets the cutoff."""
    state["steep"] = slope == "24dB"


@helper
def _filter_12(state: Any, cutoff_hz: Any, x: Any, block: Any) -> None:
    """Run one section over a channel."""
    angle = math.pi / block.sample_rate
    if state.cutoff == 0:
        state.cutoff = cutoff_hz[0]
        state.g = tan(angle * state.cutoff)
    cutoff, g = state.cutoff, state.g
    section = highpass_coefficients(g, K_12)
    z, z_before, before = state.z[0], state.z_before[0], state.x_before[0]
    for i in range(block.frames):
        now = np.float64(x[i])
        if cutoff_hz[i] != cutoff:
            g_before, cutoff = g, cutoff_hz[i]
            g = tan(angle * cutoff)
            section = highpass_coefficients(g, K_12)
            after = highpass_move(z, z_before, now, before, g_before, g, K_12)
        else:
            after = highpass_tick(z, z_before, now - before, section)
        x[i] = (after - z) * section[3]
        z, z_before, before = after, z, now
    state.cutoff, state.g = cutoff, g
    state.z[0], state.z_before[0], state.x_before[0] = z, z_before, before


@helper
def _filter_24(state: Any, cutoff_hz: Any, x: Any, block: Any) -> None:
    """Run two sections over a channel, both at a time: they overlap in the processor."""
    angle = math.pi / block.sample_rate
    if state.cutoff == 0:
        state.cutoff = cutoff_hz[0]
        state.g = tan(angle * state.cutoff)
    cutoff, g = state.cutoff, state.g
    first, second = highpass_coefficients(g, K_24A), highpass_coefficients(g, K_24B)
    u, u_before, x_before = state.z[0], state.z_before[0], state.x_before[0]
    v, v_before, y_before = state.z[1], state.z_before[1], state.x_before[1]
    for i in range(block.frames):
        now = np.float64(x[i])
        if cutoff_hz[i] != cutoff:
            g_before, cutoff = g, cutoff_hz[i]
            g = tan(angle * cutoff)
            first, second = highpass_coefficients(g, K_24A), highpass_coefficients(g, K_24B)
            u_after = highpass_move(u, u_before, now, x_before, g_before, g, K_24A)
            y = (u_after - u) * first[3]
            v_after = highpass_move(v, v_before, y, y_before, g_before, g, K_24B)
        else:
            u_after = highpass_tick(u, u_before, now - x_before, first)
            y = (u_after - u) * first[3]
            v_after = highpass_tick(v, v_before, y - y_before, second)
        x[i] = (v_after - v) * second[3]
        u, u_before, x_before = u_after, u, now
        v, v_before, y_before = v_after, v, y
    state.cutoff, state.g = cutoff, g
    state.z[0], state.z_before[0], state.x_before[0] = u, u_before, x_before
    state.z[1], state.z_before[1], state.x_before[1] = v, v_before, y_before


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Filter every channel alike; the coefficients follow the cutoff only in frames in which it moves."""
    for c in range(block.channels):
        if s[c].steep:
            _filter_24(s[c], p.cutoff, x[c], block)
        else:
            _filter_12(s[c], p.cutoff, x[c], block)
