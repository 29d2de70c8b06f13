"""Measure vibrato and the colour of the voice: rate, extent, regularity, spectral tilt, dynamics, harmonics to noise.

The sound passes unchanged and undelayed. The pitch of the last 0.8 s, in cents, is searched for the sinusoid that explains
most of its movement about a parabola (see `autovoice.dsp.undulation`): its frequency is the rate, its amplitude the extent,
and the share of the movement that it explains the regularity. The tracker's windows are long enough to flatten a quick
vibrato; so its period is refined on a shorter stretch of the sound, the same that gives harmonics to noise (see
`autovoice.dsp.harmonicity`). An average over a stretch W and a period T keeps sinc(r W) sinc(r T) of an undulation of rate r;
the extent is given back what that took. A pitch counts by the fourth power of the share of the sound that repeats a period
later: little in noise, and little where a deep vibrato is so quick that the tracker lags behind it.

Spectral tilt is the slope of the harmonics over octaves, from the first to 6 kHz: the power of each octave (see
`autovoice.dsp.octaves`) is shared out among the harmonics in it, and a straight line laid through those levels at the mean
place of those harmonics. Dynamics is the range from the 5th to the 95th percentile of the level of the voiced sound, recent
sound counting most. All describe the mean of the channels, and only what is voiced: in pauses tilt, dynamics and harmonics
to noise keep their last values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import harmonicity, octaves, undulation
from autovoice.dsp.native import helper
from autovoice.dsp.scalar import exp2, log2
from autovoice.dsp.stage import SEGMENT, Param

PARAMETERS = (
    Param("least_extent", "cents", 5.0, 100.0, 12.0, help="extent below which a voice counts as straight"),
    Param("least_regularity", "", 0.3, 0.99, 0.88, help="regularity below which a movement of pitch is no vibrato"),
)
REQUIRES = ("pitch",)

UPDATE_S = 0.02  # between two searches for vibrato
LOWEST_RATE, HIGHEST_RATE = np.float32(3.5), np.float32(9.5)  # Hz
LEAP = np.float32(60.0)  # cents per point: faster than any vibrato or portamento, so an error of the tracker or a new note
NEW_NOTE = 8  # points after which a leap is a new note, and the past is forgotten
PATIENCE = 20  # points without voice after which the vibrato is over
LAGS_PER_POINT = 7  # that the period is refined by: three, and some to climb

LEVEL_S = 0.01  # between two levels
TILT_S = 0.5  # of voice: time constant
LOWEST_OCTAVE_HZ, HIGHEST_OCTAVE_HZ = 60.0, np.float32(6000.0)
MANY = np.float32(1e6)
HARMONICS = 256  # that can be counted: of 50 Hz, up to the end of the highest octave
DYNAMICS_S = 5.0  # of voice: time constant
LOW_SHARE, HIGH_SHARE = np.float32(0.05), np.float32(0.95)
BINS = 128  # of 1 dB, from LOWEST_DBFS up
LOWEST_DBFS = np.float32(-100.0)
HIGHEST_BIN = np.float32(BINS - 2)

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
REFERENCE_HZ = np.float32(200.0)  # of cents
CENTS = np.float32(1200.0)
ROOT_TWO, ROOT_HALF = np.float32(np.sqrt(2.0)), np.float32(np.sqrt(0.5))
OCTAVE_DB = np.float32(10 * np.log10(2.0))

STATE = [
    *undulation.UNDULATION,
    *octaves.TREE,
    *harmonicity.HARMONICITY,
    ("step", "i8"),  # frames between points of the pitch curve
    ("newest_point", "i8"),
    ("refined_point", "i8"),
    ("lags_per_segment", "i8"),
    ("last_f0_frame", "i8"),
    ("last_voiced", "i8"),  # point
    ("reference", "f4"),  # cents of the last point that was no leap
    ("leaps", "i8"),  # in a row
    ("until_search", "i8"),  # segments
    ("searches_every", "i8"),  # segments
    ("segments", "i8"),  # of one level
    ("energy", "f4"),  # square sum since the last level
    ("octave_power", "f4", (octaves.LEVELS,)),  # smoothed
    ("octave_harmonics", "f4", (octaves.LEVELS,)),  # harmonics in each octave, smoothed alike
    ("octave_place", "f4", (octaves.LEVELS,)),  # sum of log2 of their frequencies, smoothed alike
    ("log_factorial", "f4", (HARMONICS + 1,)),  # log2(1) + ... + log2(k)
    ("tilt_step", "f4"),
    ("tilt_count", "f4"),  # levels smoothed so far
    ("histogram", "f4", (BINS,)),  # of levels
    ("forgetting", "f4"),
]


def settle(sample_rate: float) -> int:
    """Return the frames of half a window of vibrato."""
    return round(undulation.WINDOW_S / 2 * sample_rate)


def prepare(state: Any, sample_rate: float) -> None:
    """Lay out the grids of points and levels."""
    segment_s = SEGMENT / sample_rate
    searches_every = max(2, round(UPDATE_S / segment_s))
    undulation.plan(state, -(-undulation.POINTS // (searches_every - 1)))
    octaves.plan(state, sample_rate, LOWEST_OCTAVE_HZ)
    harmonicity.plan(state, sample_rate)
    state["step"] = round(undulation.STEP_S * sample_rate)
    state["lags_per_segment"] = max(1, round(LAGS_PER_POINT * segment_s / undulation.STEP_S))
    state["last_f0_frame"] = np.iinfo(np.int64).min
    state["last_voiced"] = -undulation.RING
    state["searches_every"] = state["until_search"] = searches_every
    segments = 2 ** max(0, round(np.log2(LEVEL_S / segment_s)))
    state["segments"] = segments
    state["log_factorial"] = np.cumsum(np.log2(np.maximum(np.arange(HARMONICS + 1), 1)))
    state["tilt_step"] = 1 - np.exp(-segments * segment_s / TILT_S)
    state["forgetting"] = np.exp(-segments * segment_s / DYNAMICS_S)


@helper
def _take_pitch(s: Any, block: Any) -> None:
    """Go on to the point of the tracker's latest value, and have its period refined if it is voiced."""
    frame = block.bus.f0_frame + block.upstream
    point = (2 * frame + s.step) // (2 * s.step)
    for skipped in range(max(s.newest_point + 1, point - undulation.RING), point + 1):
        s.trust[skipped & (undulation.RING - 1)] = ZERO
    s.newest_point = point
    if block.bus.f0_hz > ZERO and s.busy == 0:
        s.refined_point = point
        harmonicity.begin(s, block.bus.f0_hz, frame, block.sample_rate)


@helper
def _place(s: Any, point: Any, f0_hz: Any, repeating: Any) -> None:
    """Put a refined pitch on the curve, unless it leaps; the less of the sound repeats, the less it is trusted."""
    cents = CENTS * log2(f0_hz / REFERENCE_HZ)
    gap = min(point - s.last_voiced, undulation.RING)
    if gap < PATIENCE and abs(cents - s.reference) > LEAP * np.float32(gap):
        s.leaps += 1
        if s.leaps < NEW_NOTE:
            return
        for k in range(undulation.RING):
            s.trust[k] = ZERO
    s.leaps = 0
    s.reference = cents
    s.last_voiced = point
    s.value[point & (undulation.RING - 1)] = cents
    square = repeating * repeating
    s.trust[point & (undulation.RING - 1)] = square * square


@helper
def _sinc(x: Any) -> Any:
    """Return sin(pi x) / (pi x) for |x| < 0.5, by its series."""
    y = np.float32(np.pi**2) * x * x
    return ONE - y * np.float32(1 / 6) * (ONE - y * np.float32(1 / 20) * (ONE - y * np.float32(1 / 42)))


@helper
def _depth_kept(rate: Any, period_s: Any) -> Any:
    """Return what is left of an undulation in a pitch measured on a stretch and the stretch a period later."""
    return _sinc(rate * harmonicity.stretch_s(period_s)) * _sinc(rate * period_s)


@helper
def _search(s: Any, p: Any, block: Any) -> None:
    """Search a little further for vibrato; post what a search ends with."""
    s.until_search -= 1
    if s.until_search <= 0:
        s.until_search = s.searches_every
        if s.newest_point - s.last_voiced > PATIENCE or not undulation.begin(s, s.newest_point):
            block.post.vibrato_hz = block.post.vibrato_cents = block.post.vibrato_regularity = ZERO
    elif undulation.advance(s):
        extent = s.extent / _depth_kept(s.rate, exp2(-s.mean / CENTS) / REFERENCE_HZ)
        inside = s.rate >= LOWEST_RATE and s.rate <= HIGHEST_RATE
        vibrato = inside and extent >= p.least_extent[0] and s.share >= p.least_regularity[0]
        block.post.vibrato_hz = s.rate if vibrato else ZERO
        block.post.vibrato_cents = extent if vibrato else ZERO
        block.post.vibrato_regularity = s.share


@helper
def _take_level(s: Any, block: Any) -> None:
    """Use the octaves and the level since the last time, if they were voiced, and begin new sums."""
    frames = np.float32(s.segments * SEGMENT)
    if block.bus.f0_hz > ZERO:
        _share_out(s, block.bus.f0_hz, frames)
        block.post.tilt_db = _tilt(s, block.bus.tilt_db)
        block.post.dynamics_db = _dynamics(s, OCTAVE_DB * log2(s.energy / frames))
    octaves.clear(s)
    s.energy = ZERO


@helper
def _share_out(s: Any, f0_hz: Any, frames: Any) -> None:
    """Smooth the power of each octave, and the number and the place of the harmonics that made it."""
    s.tilt_count = min(s.tilt_count + ONE, MANY)
    step = max(s.tilt_step, ONE / s.tilt_count)  # a plain mean at first
    octave_of_f0 = log2(f0_hz)
    for level in range(s.levels):
        power = s.octave[level] * np.float32(2 << level) / frames
        lower: Any = min(np.int64(s.octave_hz[level] * ROOT_HALF / f0_hz), HARMONICS)
        upper: Any = min(np.int64(s.octave_hz[level] * ROOT_TWO / f0_hz), HARMONICS)
        count = np.float32(upper - lower)
        place = s.log_factorial[upper] - s.log_factorial[lower] + count * octave_of_f0
        s.octave_power[level] += step * (power - s.octave_power[level])
        s.octave_harmonics[level] += step * (count - s.octave_harmonics[level])
        s.octave_place[level] += step * (place - s.octave_place[level])


@helper
def _tilt(s: Any, former: Any) -> Any:
    """Return the slope in dB per octave of the regression of the harmonics' mean levels over their mean places."""
    count = sum_x = sum_y = sum_xx = sum_xy = ZERO
    for level in range(s.levels):
        if s.octave_harmonics[level] < HALF or s.octave_hz[level] > HIGHEST_OCTAVE_HZ:
            continue
        x = s.octave_place[level] / s.octave_harmonics[level]
        y = OCTAVE_DB * log2(s.octave_power[level] / s.octave_harmonics[level])
        count += ONE
        sum_x += x
        sum_y += y
        sum_xx += x * x
        sum_xy += x * y
    spread = count * sum_xx - sum_x * sum_x
    return (count * sum_xy - sum_x * sum_y) / spread if count > ONE else former


@helper
def _dynamics(s: Any, level_dbfs: Any) -> Any:
    """Add a level to the histogram, where older ones fade, and return the range between two percentiles."""
    total = ZERO
    for k in range(BINS):
        s.histogram[k] *= s.forgetting
        total += s.histogram[k]
    place = min(max(level_dbfs - LOWEST_DBFS, ZERO), HIGHEST_BIN)
    bin = np.int64(place)
    upper = place - np.float32(bin)
    s.histogram[bin] += ONE - upper
    s.histogram[bin + 1] += upper
    total += ONE
    return _percentile(s, total * HIGH_SHARE) - _percentile(s, total * LOW_SHARE)


@helper
def _percentile(s: Any, weight: Any) -> Any:
    """Return the place in bins below which the histogram has that weight, each bin being spread about its middle."""
    below = ZERO
    for k in range(BINS):
        if below + s.histogram[k] >= weight:
            return np.float32(k) - HALF + (weight - below) / max(s.histogram[k], np.float32(1e-9))
        below += s.histogram[k]
    return np.float32(BINS)


@helper
def _end_segment(s: Any, p: Any, block: Any, newest: Any) -> None:
    """Do a segment's share of the analysis, `newest` being its last frame."""
    if block.bus.f0_frame != s.last_f0_frame:
        s.last_f0_frame = block.bus.f0_frame
        _take_pitch(s, block)
    for _ in range(s.lags_per_segment):
        if harmonicity.advance(s, newest):
            block.post.hnr_db = harmonicity.hnr_db(s)
            rate = np.float32(block.sample_rate) / np.float32(s.group)
            _place(s, s.refined_point, rate / harmonicity.period(s), harmonicity.repeating(s))
    if (newest // SEGMENT) % s.segments == s.segments - 1:
        _take_level(s, block)
    _search(s, p, block)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Analyse the mean of the channels; the audio is only read."""
    s = s[0]
    scale = ONE / np.float32(block.channels)
    for i in range(block.frames):
        sample = x[0, i]
        for c in range(1, block.channels):
            sample += x[c, i]
        sample *= scale
        s.energy += sample * sample
        octaves.push(s, sample, block.frame + i)
        harmonicity.keep(s, sample, block.frame + i)
    newest = block.frame + block.frames - 1
    if newest % SEGMENT == SEGMENT - 1:
        _end_segment(s, p, block, newest)
