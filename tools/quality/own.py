"""Our own converter for the bench: the stage `convert` by itself, in one of its latency modes, as it would sound live.

A target that does not ship is enrolled from its references, as anybody's voice is. A sung line is converted with `match` off,
as a singer has it: while the speaker's range is being learned, the interval to the target's would wander under the melody.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from autovoice.tools.quality import material
from autovoice.tools.quality.bars import SUNG
from autovoice.tools.quality.converters import Converted, Of
from autovoice.tools.quality.signal import Array, resample

if TYPE_CHECKING:
    from autovoice.models.voices import Voice
    from autovoice.rt import Chain
    from autovoice.rt.casting import VoiceSlots

LIVE_RATE = 48_000  # Hz
MODES = ("low", "balanced", "quality")


def converter(mode: str, *, cold: bool = False) -> Of:
    """Return the converter of one mode; targets are the teacher's names of voices, or ours of those that ship.

    Unless it is `cold` it knows the speaker's median pitch, as a stage does that has heard him before.
    """

    def convert(source: Array, rate: int, target: str, *, match: bool) -> Converted:
        sound = resample(source, rate, LIVE_RATE)
        chain = _chain(mode, target, match, _median_hz(sound) if match and not cold else 0.0)
        begun = time.process_time()
        wet = chain.render(sound, sample_rate=LIVE_RATE, compensate=False)
        seconds = time.process_time() - begun
        return resample(wet, LIVE_RATE, rate)[: len(source)], chain.latency(LIVE_RATE) / LIVE_RATE, seconds

    return lambda source, target: convert(source.sound, source.rate, target, match=source.material != SUNG)


def _median_hz(sound: Array) -> float:
    """Return the speaker's median pitch, 0 where there is none."""
    from autovoice.rt import Chain

    f0_hz = Chain(["pitch"]).analyse(sound, sample_rate=LIVE_RATE).f0_hz
    return float(np.clip(np.median(f0_hz[f0_hz > 0]), 0.0, 500.0)) if (f0_hz > 0).any() else 0.0


def _chain(mode: str, target: str, match: bool, source_hz: float) -> Chain:
    from autovoice.models.shipped import NAMES
    from autovoice.rt import Chain

    ours = {origin: name for name, origin in NAMES.items()}
    slot = _slots().acquire(ours.get(target, target))  # held as long as the process lives
    chain = Chain([{"stage": "convert", "mode": mode, "voice": slot, "match": float(match), "source": source_hz}])
    chain.render(np.zeros(LIVE_RATE // 10, np.float32), sample_rate=LIVE_RATE)  # compiled before anything is timed
    return chain


@cache
def _slots() -> VoiceSlots:
    from autovoice.dsp.converter import voices as table
    from autovoice.rt.casting import VoiceSlots

    return VoiceSlots(table.put_voice, slots=table.SLOTS, fixed=table.voices(), find=_enrolled)


def _enrolled(target: str) -> Voice:
    from autovoice.models.enrolment import enrol

    material.references(target)
    voice, _ = enrol(material.reference_files(target), f"{target} as enrolled", "a synthetic voice")
    return voice
