"""The melody of the voice that comes in, as the bus tells it, and of the one that goes out. Compiled code only.

The tracker's decisions lie in a ring by the frames they speak of; between them the logarithm of the pitch runs straight, and
where there is no voice it stays. A hop may use what speaks of times up to TRACKED_S before its end: by then it is on the bus,
so the sound does not depend on when exactly it came. Where the synthesis would need more, it takes the curve from as much
earlier.

The median of the voice, which range matching and intonation refer to, is a recursive mean that weighs voiced decisions alone:
a plain mean at first, then of about the last MEMORY, its steps clipped, so that errors by an octave count little (P. J. Huber,
Robust estimation of a location parameter, 1964). A singer's median moves with the song, and a range that followed it would put
every note out of tune; so what matching goes by is an anchor, which stays until the median has left it by EARLY at first and
by LATE once there were SETTLED decisions, and then glides there.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.carriers import noise_at, sin_turns
from autovoice.dsp.converter.features import REFERENCE_HZ, TRACKED_S
from autovoice.dsp.converter.precise import power_of_two, precise_log2
from autovoice.dsp.native import helper

DECISION_S = 0.005  # from one of the tracker's decisions to the next
KEPT = 128  # decisions, a power of 2: 0.64 s
MEMORY = 2400  # decisions: 12 s of voice
SURE = 200  # decisions after which a step is clipped narrowly
PATIENCE = 6  # hops, after which a tracker would have spoken
PRIOR = 10  # decisions that the reference counts for at first
WIDE, NARROW = 1.0, 0.25  # octaves
SETTLED = 600  # decisions: 3 s of voice
EARLY, LATE = 1 / 12, 3 / 12  # octaves
GLIDE, SLOWEST = 0.1, 0.1 / 12  # of the way, and octaves, that the anchor moves in a hop
LOWEST_HZ, HIGHEST_HZ = 30.0, 2000.0  # that may go out
STATE = np.dtype(
    [
        ("last", "i8"),  # f0_frame of the bus when it was last looked at
        ("count", "i8"),  # decisions so far
        ("hop", "i8"),  # frames
        ("turns", "f8"),  # phase of the pulses
        ("times", "i8", (KEPT,)),  # frames
        ("pitch", "f8", (KEPT,)),  # log2 of Hz, held
        ("voicing", "f4", (KEPT,)),
        ("held", "f8"),
        ("median", "f8"),  # log2 of Hz
        ("voiced", "i8"),  # decisions that it rests on
        ("goal", "f8"),  # where the anchor goes
        ("anchor", "f8"),  # log2 of Hz: the median that matching goes by
        ("excursion", "f8", (2,)),  # the map from pitch to pitch at the last hop's end and at this one's: factor
        ("offset", "f8", (2,)),  # and what is added
        ("highest", "f8"),  # Hz: no harmonic above
        ("untold", "i8"),  # hops before the first decision
        ("whisper", "f4"),  # noise that takes the pulses' place, times the root of their number
    ],
    align=True,
)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
REFERENCE = float(np.log2(REFERENCE_HZ))
LOWEST, HIGHEST = float(np.log2(LOWEST_HZ)), float(np.log2(HIGHEST_HZ))
SMALL = np.float32(1e-6)
OTHER_NOISE = 1 << 30  # frames on
NOTHING = -1  # f0_frame of a bus on which no tracker has posted


def earlier(sample_rate: float, hop: int, lookahead: int, late: int) -> int:
    """Return by how many frames the pulses' pitch is older than their own time, so that all of it is known.

    It is known up to the tracker's delay and one decision before pulses are computed, `late` frames after the hop.
    """
    return max(0, (1 - lookahead) * hop - late + round((TRACKED_S + DECISION_S) * sample_rate) + 1)


def begin_all(state: Any) -> None:
    """Start zeroed `state` of any shape with the reference. Control thread only."""
    state["held"] = state["median"] = state["goal"] = state["anchor"] = REFERENCE
    state["voiced"], state["last"] = PRIOR, NOTHING
    state["excursion"][..., 1] = 1.0


@helper
def listen(s, f0_frame, f0_hz, voicing, upstream):
    """Take what is on the bus, if it is new."""
    if f0_frame == s.last:
        return
    s.last = f0_frame
    if f0_hz > ZERO:
        s.held = precise_log2(f0_hz)
        s.voiced += 1
        width = WIDE if s.voiced < SURE else NARROW
        step = min(max(s.held - s.median, -width), width)
        s.median += step / min(s.voiced, MEMORY)
        if abs(s.median - s.goal) > (EARLY if s.voiced < SETTLED else LATE):
            s.goal = s.median
    at = s.count & (KEPT - 1)
    s.times[at] = f0_frame + upstream
    s.pitch[at], s.voicing[at] = s.held, voicing
    s.count += 1


@helper
def move_anchor(s):
    """Let the anchor glide for a hop; return it."""
    way = s.goal - s.anchor
    most = max(SLOWEST, GLIDE * abs(way))
    s.anchor += min(max(way, -most), most)
    return s.anchor


@helper
def newest_at(s, frame):
    """Return the number of the newest decision that speaks of a frame or one before; -1 if none is kept."""
    number = s.count - 1
    oldest = max(np.int64(0), s.count - KEPT)
    while number >= oldest and s.times[number & (KEPT - 1)] > frame:
        number -= 1
    return number if number >= oldest else np.int64(-1)


@helper
def heard_at(s, frame):
    """Return pitch, log2 of Hz, and voicing that the newest decision up to a frame gave."""
    number = newest_at(s, frame)
    if number < 0:
        return REFERENCE, ZERO
    return s.pitch[number & (KEPT - 1)], s.voicing[number & (KEPT - 1)]


@helper
def curve_at(s, frame):
    """Return the pitch at a frame, log2 of Hz, drawn straight between decisions."""
    number = newest_at(s, frame)
    if number < 0:
        return REFERENCE
    here = number & (KEPT - 1)
    if number + 1 >= s.count:
        return s.pitch[here]
    there = (number + 1) & (KEPT - 1)
    share = (frame - s.times[here]) / (s.times[there] - s.times[here])
    return s.pitch[here] + share * (s.pitch[there] - s.pitch[here])


@helper
def aim(s, excursion, offset, first):
    """Set the map from pitch to pitch that the hop ends with: excursion * pitch + offset."""
    s.excursion[0] = excursion if first else s.excursion[1]
    s.offset[0] = offset if first else s.offset[1]
    s.excursion[1], s.offset[1] = excursion, offset
    s.untold += s.count == 0


@helper
def sung(pitch, excursion, offset):
    """Return the pitch that goes out for one that comes in, both log2 of Hz."""
    return min(max(excursion * pitch + offset, LOWEST), HIGHEST)


@helper
def excite(s, first, count, begin_at, earlier, sample_rate, pulses):
    """Write `count` pulses from frame `first` on; `begin_at`: the frame that the hop begins with.

    Pulses are the sum of all cosines at multiples of the pitch (see `autovoice.dsp.carriers`).
    """
    number = newest_at(s, first - earlier)
    pitch, slope, since, until = REFERENCE, 0.0, first - earlier, first - earlier
    per_hop = 1.0 / s.hop
    for i in range(count):
        frame = first + i - earlier
        if frame >= until:
            while number + 1 < s.count and s.times[(number + 1) & (KEPT - 1)] <= frame:
                number += 1
            here, there = number & (KEPT - 1), (number + 1) & (KEPT - 1)
            known = number + 1 < s.count
            until = s.times[there] if known else np.int64(1 << 62)
            if number >= 0:
                pitch, since = s.pitch[here], s.times[here]
                slope = (s.pitch[there] - pitch) / (until - since) if known else 0.0
        share = (first + i - begin_at + 1) * per_hop
        excursion = s.excursion[0] + share * (s.excursion[1] - s.excursion[0])
        offset = s.offset[0] + share * (s.offset[1] - s.offset[0])
        hz = power_of_two(sung(pitch + slope * (frame - since), excursion, offset))
        s.turns += hz / sample_rate
        s.turns -= np.floor(s.turns)
        harmonics = np.floor(s.highest / hz)
        x = 0.5 * (s.turns - np.floor(s.turns + 0.5))
        odd = 2.0 * harmonics + 1.0
        many = odd * x
        low, high = sin_turns(np.float32(x)), sin_turns(np.float32(many - np.floor(many + 0.5)))
        total = np.float32(odd) if abs(low) < SMALL else high / low
        pulses[i] = HALF * (total - ONE)
        if s.untold > PATIENCE:  # nobody tells the pitch: a whisper
            pulses[i] = s.whisper * np.float32(np.sqrt(harmonics)) * noise_at(first + i + OTHER_NOISE)
