"""Our own converter for the bench: the stage `convert` by itself, in one of its latency modes, as it would sound live.

A target that does not ship is enrolled from its references, as anybody's voice is. A sung line is converted with `match` off,
as a singer has it: while the speaker's range is being learned, the interval to the target's would wander under the melody.
Who speaks is enrolled as well, as performers enrol themselves.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from autovoice.tools.quality import material
from autovoice.tools.quality.bars import SUNG
from autovoice.tools.quality.converters import Converted, Of
from autovoice.tools.quality.material import Source
from autovoice.tools.quality.signal import Array, resample

if TYPE_CHECKING:
    from autovoice.models.voices import Voice
    from autovoice.rt import Chain
    from autovoice.rt.casting import VoiceSlots

LIVE_RATE = 48_000  # Hz
MODES = ("low", "balanced", "quality")


def converter(mode: str, *, cold: bool = False, stranger: bool = False) -> Of:
    """Return the converter of one mode; targets are the teacher's names of voices, or ours of those that ship.

    It knows who speaks: the median pitch, unless it is `cold`, as a stage does that has heard them before; and their voice,
    enrolled from other speech of theirs (`material.own_speech`), unless they are to be a `stranger`.
    """

    def convert(said: Source, target: str) -> Converted:
        source, rate, match = said.sound, said.rate, said.material != SUNG
        sound = resample(source, rate, LIVE_RATE)
        median_hz = _median_hz(sound) if match and not cold else 0.0
        chain = _chain(mode, target, match, median_hz, None if stranger else said)
        begun = time.process_time()
        wet = chain.render(sound, sample_rate=LIVE_RATE, compensate=False)
        seconds = time.process_time() - begun
        return resample(wet, LIVE_RATE, rate)[: len(source)], chain.latency(LIVE_RATE) / LIVE_RATE, seconds

    return convert


def _median_hz(sound: Array) -> float:
    """Return the speaker's median pitch, 0 where there is none."""
    from autovoice.rt import Chain

    f0_hz = Chain(["pitch"]).analyse(sound, sample_rate=LIVE_RATE).f0_hz
    return float(np.clip(np.median(f0_hz[f0_hz > 0]), 0.0, 500.0)) if (f0_hz > 0).any() else 0.0


def _chain(mode: str, target: str, match: bool, source_hz: float, said: Source | None) -> Chain:
    from autovoice.models.shipped import NAMES
    from autovoice.rt import Chain

    ours = {origin: name for name, origin in NAMES.items()}
    slot = _slots().acquire(ours.get(target, target))  # held as long as the process lives
    singer = -1 if said is None else _slots().acquire(_singer(said))
    settings = {"mode": mode, "voice": slot, "match": float(match), "source": source_hz, "singer": singer}
    chain = Chain([{"stage": "convert", **settings}])
    chain.render(np.zeros(LIVE_RATE // 10, np.float32), sample_rate=LIVE_RATE)  # compiled before anything is timed
    return chain


@cache
def _slots() -> VoiceSlots:
    from autovoice.dsp.converter import voices as table
    from autovoice.rt.casting import VoiceSlots

    return VoiceSlots(table.put_voice, slots=table.SLOTS, fixed=table.voices(), find=_enrolled)


_singers: dict[str, Source] = {}  # something that each of them says


def _singer(said: Source) -> str:
    """Return the name under which who says something is enrolled."""
    name = f"who says {said.speaker or said.name}"
    _singers.setdefault(name, said)
    return name


def _enrolled(target: str) -> Voice:
    from autovoice.models.enrolment import enrol

    if (said := _singers.get(target)) is not None:
        files = material.own_speech(said)
    else:
        material.references(target)
        files = material.reference_files(target)
    voice, _ = enrol(files, f"{target} as enrolled", "a voice of the bench")
    return voice
