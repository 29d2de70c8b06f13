"""Splices: leave a tape at one place and go on at another so that nobody hears it.

Waveform-similarity overlap-add (W. Verhelst and M. Roelands, "An overlap-add technique based on waveform similarity (WSOLA)
for high quality time-scale modification of speech", ICASSP 1993), turned round: the tape plays on as it is, bit for bit,
until a splice costs less than the time by which playing on has missed its target. The price of a splice to a place `leap`
frames further on is

    mismatch + TIMING ((wanted - leap) / REACH_S)**2 + ONSET if a sound that begins would be heard twice or not at all

and that of none is TIMING (wanted / REACH_S)**2. The mismatch is the normalised squared difference of both places around the
splice, in the low band, over the power there in all bands: what has no period, or is quiet, may be cut anywhere. So splices
go to pauses and hiss where they can, leaps are whole periods in voices, and attacks pass at their own speed (S. Grofit and
Y. Lavner, "Time-scale modification of audio signals using enhanced WSOLA with management of transients", IEEE Trans. ASLP
16(1), 2008, on why they should). The slopes of the cross-fade are scaled by the correlation of what they mix, so that the
power stays (M. Fink, M. Holters and U. Zölzer, "Signal-matched power-complementary cross-fading and dry-wet mixing",
DAFx 2016).

The search is cut into STEPS equal steps, of which each segment does its share. Compiled code, except `lay_out`.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp.native import helper
from autovoice.dsp.stage import SEGMENT
from autovoice.dsp.tape import onset_within, ring_from, ring_of

FADE_S = 0.004
CYCLE_S = 0.00133  # from search to search
LEAD_S = 0.006  # by which a leap goes further than its target runs off, so that early and late balance until the next
BEFORE_S = 0.008  # that is compared before a fade: with the fade itself a period of the lowest voice
REACH_S = 0.010  # leaps are looked for so far on either side of the one wanted
SHORTEST_S = 0.0012  # leap: a shorter one would match itself by mere smoothness
TIMING = np.float32(0.8)
ONSET = np.float32(1.5)
ONSET_LEAD_S = 0.002  # before an onset, in which no splice ends
FAINT = np.float32(1e-4)  # of the recent power (-40 dB): a difference that hardly counts

SOFTEST, LOUDEST = np.float32(0.35), np.float32(2)  # gains that hold a level

STEPS = 9
MAX_WINDOW, MAX_LEAPS = 160, 224  # low samples
FINE_POINTS = 256  # frames that decide the last frames of a leap
MAX_FINE = 40  # leaps among which they decide

SPLICER = [
    ("lag", "i8"),  # frame n plays position n - lag
    ("old_lag", "i8"),  # ... and fades out n - old_lag
    ("fade_from", "i8"),  # frame at which the latest fade began
    ("fade", "i8"),  # its frames
    ("next_fade", "i8"),  # ... and of the one to come
    ("lead_frames", "f8"),
    ("centre", "i8"),  # frames from a fade's begin to where the places are compared
    ("correlation", "f4"),  # of what it mixes
    ("gains", "f4", (2, SEGMENT)),  # of old and new
    ("gain", "f4"),  # of what plays: 1, exactly, but for levels that are held
    ("old_gain", "f4"),
    ("next_gain", "f4"),
    ("level", "f4"),  # power that every place is brought to; 0 = its own
    ("fade_frames", "i8"),
    ("cycle", "i8"),  # segments from search to search
    ("before", "i8"),  # frames compared before the fade
    ("reach", "i8"),  # low samples
    ("shortest", "i8"),  # low samples
    ("lead", "i8"),  # frames
    ("ahead", "i8"),  # frames beyond the place of a splice that must be on the tape when the search for it begins
    ("keep", "i8"),  # frames before the place of a splice that must be on the tape
    ("searching", "i8"),
    ("place", "i8"),  # position that would be left
    ("wanted", "i8"),  # leap, frames
    ("first_leap", "i8"),  # low samples
    ("leaps", "i8"),
    ("window", "i8"),  # low samples compared
    ("clean_from", "i8"),  # leaps that repeat or lose no onset, frames
    ("clean_to", "i8"),
    ("least_leap", "i8"),  # leaps that stay on the tape, frames
    ("most_leap", "i8"),
    ("hurry", "f4"),  # factor of the timing's price
    ("leap", "i8"),  # chosen, frames; 0 = none
    ("lands", "i8"),  # whether that reaches the end of the tape
    ("reference", "f4", (MAX_WINDOW,)),
    ("there", "f4", (MAX_WINDOW + MAX_LEAPS,)),
    ("product", "f4", (MAX_LEAPS,)),
    ("fine_product", "f4", (MAX_FINE,)),
    ("fine_energy", "f4", (MAX_FINE,)),
]
"""What a splicer adds to a stage's STATE, beside `tape.TAPE`."""


def lay_out(state: Any, sample_rate: float) -> None:
    """Fill the SPLICER fields of a state whose tape is laid out. Control thread only."""
    first = state[0]
    factor = first["factor"]
    fade, cycle = _segments(sample_rate)
    first["fade_frames"] = first["fade"] = first["next_fade"] = fade * SEGMENT
    first["cycle"] = cycle
    first["before"] = factor * round(BEFORE_S * sample_rate / factor)
    first["window"] = (first["before"] + first["fade_frames"]) // factor
    first["reach"] = round(REACH_S * sample_rate / factor)
    first["shortest"] = round(SHORTEST_S * sample_rate / factor)
    first["gain"] = first["old_gain"] = 1
    first["lead_frames"] = LEAD_S * sample_rate
    first["lead"] = round(ONSET_LEAD_S * sample_rate)
    first["ahead"] = ahead(sample_rate, factor)
    first["keep"] = first["before"] + (first["reach"] + 2) * factor + 2 * first["fade_frames"]
    first["fade_from"] = -(1 << 40)


def ahead(sample_rate: float, factor: int) -> int:
    """Return the frames beyond a place that a search needs: the fade, the search's own time, and the low-pass."""
    fade, cycle = _segments(sample_rate)
    return (fade + cycle) * SEGMENT + 4 * factor


def _segments(sample_rate: float) -> tuple[int, int]:
    """Return the segments of a fade and of a search."""
    return max(1, round(FADE_S * sample_rate / SEGMENT)), max(1, round(CYCLE_S * sample_rate / SEGMENT))


@helper
def search_due(t, frame):
    """Start the fade that the last search has found, once in a cycle; says whether the next search may begin."""
    if (frame // SEGMENT) % t.cycle != 0:
        return False
    if t.searching != 0:
        t.searching = 0
        t.old_lag = t.lag
        t.old_gain = t.gain
        t.gain = t.next_gain
        t.lag -= t.leap
        t.fade_from = frame
        t.fade = t.next_fade
    return frame + t.cycle * SEGMENT >= t.fade_from + t.fade


@helper
def begin_search(t, frame, target, least, most, hurry, drift):
    """Look for a leap to about the position `target`, within least..most, for a fade one cycle after `frame`.

    `drift` is by how much the target runs faster than the tape, in frames for each frame; `hurry` scales the price of time.
    """
    t.centre = (t.next_fade - t.fade_frames) // 2
    t.place = frame + t.cycle * SEGMENT - t.lag
    t.wanted = np.int64(np.floor(target + drift * t.lead_frames + 0.5)) - t.place
    t.least_leap = least - t.place
    t.most_leap = most - t.place
    t.hurry = hurry
    if t.least_leap > t.most_leap or t.wanted == 0:
        return
    t.first_leap = min(max(t.wanted, t.least_leap), t.most_leap) // t.factor - t.reach
    t.leaps = 2 * t.reach + 1
    t.searching = 1


@helper
def search(s, t, frame, channels):
    """Do this segment's share of the search."""
    tick = (frame // SEGMENT) % t.cycle
    for step in range(STEPS * tick // t.cycle, STEPS * (tick + 1) // t.cycle):
        if t.searching != 0:
            search_step(s, t, step, channels)


@helper
def search_step(s, t, step, channels):
    """Do one of the STEPS of a search."""
    if step == 0:
        gather(t)
        spare_onsets(t)
    elif step < STEPS - 3:
        share = (t.leaps + STEPS - 5) // (STEPS - 4)
        correlate(t, (step - 1) * share, min(step * share, t.leaps))
    elif step == STEPS - 3:
        choose(t)
    elif step == STEPS - 2:
        refine(s, t, channels)
    else:
        hold_level(s, t, channels)


@helper
def gather(t):
    """Copy the low band around the place and around every goal, and mark which leaps spare the onsets."""
    low = ring_of(t.memory + t.low_at, t.lows)
    first = (t.place + t.centre - t.before) // t.factor
    for i in range(t.window):
        t.reference[i] = low[(first + i) % t.lows]
    at = (first + t.first_leap) % t.lows
    for i in range(t.window + t.leaps):
        t.there[i] = low[at]
        at += 1
        if at == t.lows:
            at = 0
    for k in range(t.leaps):
        t.product[k] = np.float32(0)


@helper
def spare_onsets(t):
    """Find the leaps that neither repeat nor lose the beginning of a sound; none do while one begins under the fade."""
    t.clean_from, t.clean_to = t.least_leap, t.most_leap
    fade_end = t.place + t.fade_frames
    if onset_within(t, t.place, fade_end):
        t.clean_from, t.clean_to = t.most_leap, t.least_leap
        return
    last = fade_end + min(t.most_leap, (t.first_leap + t.leaps) * t.factor)
    at = fade_end + t.cell
    while at < last:  # what a leap forward would lose
        if onset_within(t, at, at):
            t.clean_to = at - t.cell - fade_end
            break
        at += t.cell
    first = t.place + max(t.least_leap, t.first_leap * t.factor) - t.lead
    at = t.place - t.cell
    while at > first:  # what a leap back would repeat
        if onset_within(t, at, at):
            t.clean_from = at - t.place + t.lead
            break
        at -= t.cell


@helper
def correlate(t, begin, end):
    """Multiply the reference with what stands at each leap."""
    count = end - begin
    if count <= 0:
        return
    product = t.product[begin:end]
    for i in range(t.window):
        a = t.reference[i]
        there = t.there[begin + i : begin + i + count]
        for k in range(count):
            product[k] += a * there[k]


@helper
def choose(t):
    """Take the cheapest leap, or none."""
    own = np.float32(0)
    energy = np.float32(0)
    for i in range(t.window):
        own += t.reference[i] * t.reference[i]
        energy += t.there[i] * t.there[i]
    shade = FAINT * t.loud * np.float32(t.window) + np.float32(1e-12)
    slack = t.hurry * TIMING / np.float32(t.reach * t.factor) ** 2
    best = slack * np.float32(t.wanted) ** 2
    chosen = -1
    for k in range(t.leaps):
        leap = (t.first_leap + k) * t.factor
        total = own + max(energy, np.float32(0))
        mismatch = max(total - np.float32(2) * t.product[k], np.float32(0)) / (total + shade)
        late = np.float32(t.wanted - leap)
        price = mismatch + slack * late * late
        if leap < t.clean_from or leap > t.clean_to:
            price += ONSET
        lands = t.most_leap - t.factor < leap and t.wanted == t.most_leap
        allowed = t.least_leap <= leap <= t.most_leap and (lands or abs(t.first_leap + k) >= t.shortest)
        if allowed and price < best:
            best = price
            chosen = k
        energy += t.there[k + t.window] * t.there[k + t.window] - t.there[k] * t.there[k]
    if chosen >= 0:
        t.leap = (t.first_leap + chosen) * t.factor
        t.lands = 1 if t.wanted == t.most_leap and t.leap + t.factor > t.most_leap else 0
        if t.lands != 0:
            t.leap = t.most_leap
    else:
        t.searching = 0


@helper
def refine(s, t, channels):
    """Set the leap to the frame, by the full band of all channels around the fade, and measure the correlation there."""
    count = 8 * ((t.factor + 9) // 8)
    product, energy = t.fine_product[:count], t.fine_energy[:count]
    for k in range(count):
        product[k] = np.float32(0)
        energy[k] = np.float32(1e-12)
    own = np.float32(1e-12)
    step = (2 * t.fade_frames + FINE_POINTS - 1) // FINE_POINTS
    for c in range(channels):
        ring = ring_of(s[c].memory, t.length + SEGMENT)
        here = (t.place + t.centre - t.fade_frames) % t.length
        there = (t.place + t.centre - t.fade_frames + t.leap - count // 2) % t.length
        for _ in range(2 * t.fade_frames // step):
            a = ring[here]
            own += a * a
            row = ring[there : there + count]
            for k in range(count):
                product[k] += a * row[k]
                energy[k] += row[k] * row[k]
            here += step
            there += step
            here -= t.length if here >= t.length else 0
            there -= t.length if there >= t.length else 0
    best = np.float32(-2)
    chosen = 0
    for k in range(count):
        likeness = product[k] / np.sqrt(own * energy[k])
        offset = k - count // 2
        allowed = offset == 0 or (t.lands == 0 and t.least_leap <= t.leap + offset <= t.most_leap)
        if allowed and likeness > best:
            best = likeness
            chosen = offset
    t.leap += chosen
    t.correlation = min(max(best, np.float32(0)), np.float32(1))


@helper
def hold_level(s, t, channels):
    """Set the gain at the chosen place."""
    t.next_gain = np.float32(1)
    if t.level != 0:
        power = power_around(s, t, t.place + t.centre + t.leap, channels)
        t.next_gain = min(max(np.sqrt(t.level / power), SOFTEST), LOUDEST)


@helper
def power_around(s, t, position, channels):
    """Return the mean power from a fade before a position to a fade after it, by at most FINE_POINTS frames."""
    step = (2 * t.next_fade + FINE_POINTS - 1) // FINE_POINTS
    points = 2 * t.next_fade // step
    total = np.float32(1e-9)
    for c in range(channels):
        ring = ring_of(s[c].memory, t.length)
        at = (position - t.next_fade) % t.length
        for _ in range(points):
            total += ring[at] * ring[at]
            at += step
            at -= t.length if at >= t.length else 0
    return total / np.float32(points)


@helper
def play(s, t, frame, x, frames, channels):
    """Write the frames of the tape that are due to x; within one segment."""
    fading = frame < t.fade_from + t.fade
    if fading:
        slopes(t, frame - t.fade_from, frames)
    for c in range(channels):
        new = ring_from(s[c].memory, t.length, frame - t.lag, frames)
        if fading:
            old = ring_from(s[c].memory, t.length, frame - t.old_lag, frames)
            for i in range(frames):
                x[c, i] = t.gains[0, i] * old[i] + t.gains[1, i] * new[i]
        else:
            for i in range(frames):
                x[c, i] = t.gain * new[i]


@helper
def slopes(t, since, frames):
    """Set the gains of old and new: smoothsteps, scaled so that power stays at the correlation at hand."""
    scale = np.float32(1) / np.float32(t.fade)
    for i in range(frames):
        v = (np.float32(since + i) + np.float32(0.5)) * scale
        new = v * v * (np.float32(3) - np.float32(2) * v)
        old = np.float32(1) - new
        gain = np.float32(1) / np.sqrt(old * old + new * new + np.float32(2) * t.correlation * old * new)
        t.gains[0, i] = t.old_gain * gain * old
        t.gains[1, i] = t.gain * gain * new
