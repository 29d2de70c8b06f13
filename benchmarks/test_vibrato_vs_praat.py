"""Vibrato, tilt and harmonics to noise against what was put in, beside Praat on the same sound.

Praat (P. Boersma and D. Weenink, through parselmouth) has no measure of vibrato; its own pitch is fitted offline, with the
rate free, over the same window. Its ratio is "Harmonicity (cc)", its tilt the regression of "Ltas" over log frequency.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.undulation import WINDOW_S
from autovoice.rt import Chain, Track

from benchmarks import corpus

RATE = corpus.RATE
PITCHES_HZ = (75.0, 220.0, 600.0)
RATES_HZ = (4.0, 5.0, 6.0, 7.0, 8.0)
EXTENTS_CENTS = (20.0, 50.0, 100.0, 200.0)
BARS = (0.1, 0.05, 0.97)  # error of the rate in Hz and of the extent, least depth
SECONDS, FILLED_S = 1.8, 1.0
REPORT_LAG_S = WINDOW_S / 2 + 0.03  # from the middle of the window to the report: a search takes up to 40 ms
FORMANTS_HZ, BANDWIDTH_HZ = (700, 1220, 2600, 3300), 80.0

Array = np.ndarray[Any, Any]
Report = Callable[[dict[str, Any]], None]


def harmonics(f0_hz: Array, level_db: Callable[[Array], Array]) -> Array:
    """Return harmonics up to 8 kHz whose level follows their own frequency, at -26 dBFS."""
    turns = np.cumsum(f0_hz) / RATE
    phases = np.random.default_rng(1).uniform(size=400)
    parts = [
        10 ** (level_db(k * f0_hz) / 20) * np.sin(2 * np.pi * (k * turns + phases[k]))
        for k in range(1, int(8000 / f0_hz.max()) + 1)
    ]
    sound = np.sum(parts, axis=0)
    return np.asarray(10 ** (corpus.LEVEL_DBFS / 20) * sound / sound.std())


def vowel_db(frequency_hz: Array) -> Array:
    """Return the level of an open vowel: -12 dB per octave of the source, +6 of the lips, and resonances."""
    level = -6 * np.log2(frequency_hz / 100)
    for formant in FORMANTS_HZ:
        ratio = frequency_hz / formant
        level -= 10 * np.log10((1 - ratio**2) ** 2 + (ratio * BANDWIDTH_HZ / formant) ** 2)
    return np.asarray(level)


def falling_db(slope: float, frequency_hz: Array) -> Array:
    """Return a level that falls by `slope` dB per octave."""
    return np.asarray(slope * np.log2(frequency_hz / 100))


def swinging(hz: float, rate_hz: float, extent_cents: float) -> Array:
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    return np.asarray(hz * 2 ** (extent_cents / 1200 * np.sin(2 * np.pi * rate_hz * time_s)))


def analyse(sound: Array) -> Track:
    return Chain(["vibrato"]).analyse(sound, sample_rate=RATE)


def fit(time_s: Array, cents: Array) -> tuple[float, float]:
    """Return rate and extent of the sinusoid that fits best beside a parabola, the rate to 0.01 Hz: the offline measure."""
    best = (np.inf, 0.0, 0.0)
    t = time_s - time_s.mean()
    for rate_hz in np.arange(3.0, 9.5, 0.01):
        turns = 2 * np.pi * rate_hz * t
        basis = np.stack([np.ones_like(t), t, t * t, np.cos(turns), np.sin(turns)], axis=1)
        values, *_ = np.linalg.lstsq(basis, cents, rcond=None)
        error = float(np.square(cents - basis @ values).sum())
        best = min(best, (error, float(rate_hz), float(np.hypot(values[3], values[4]))))
    return best[1], best[2]


def test_vibrato_grid(report: Report) -> None:
    """4 to 8 Hz, 20 to 200 cents, from a bass to a soprano: the worst of all updates of all 60 voices."""
    parselmouth = pytest.importorskip("parselmouth", reason="the peer is pip install praat-parselmouth (GPL)")
    ours: list[tuple[float, ...]] = []
    praat: list[tuple[float, ...]] = []
    for hz in PITCHES_HZ:
        for rate_hz in RATES_HZ:
            for extent in EXTENTS_CENTS:
                sound = harmonics(swinging(hz, rate_hz, extent), vowel_db)
                track = analyse(sound)
                kept = track.time_s > FILLED_S
                rate_error = np.abs(track.vibrato_hz[kept] - rate_hz).max()
                depth = track.vibrato_cents[kept] / extent
                ours.append((rate_error, np.abs(depth - 1).max(), depth.min()))
                pitch = parselmouth.Sound(sound, RATE).to_pitch_ac(time_step=0.005, pitch_floor=50, pitch_ceiling=1100)
                f0 = pitch.selected_array["frequency"]
                window = (np.abs(pitch.xs() - SECONDS / 2) < WINDOW_S / 2) & (f0 > 0)
                rate, found = fit(pitch.xs()[window], 1200 * np.log2(f0[window] / hz)) if window.sum() > 20 else (0.0, 0.0)
                praat.append((abs(rate - rate_hz), abs(found / extent - 1), found / extent))
    columns = ("rate_error_hz", "extent_error", "depth")

    def summarise(rows: list[tuple[float, ...]]) -> dict[str, Any]:
        table = np.array(rows)
        within = (table[:, 0] <= BARS[0]) & (table[:, 1] <= BARS[1]) & (table[:, 2] >= BARS[2])
        worst = (table[:, 0].max(), table[:, 1].max(), table[:, 2].min())
        return {
            "worst": dict(zip(columns, map(float, worst), strict=True)),
            "median": dict(zip(columns, map(float, np.median(table, axis=0)), strict=True)),
            "voices_within_the_bars": float(within.mean()),
        }

    result: dict[str, Any] = {
        "ours_streaming": summarise(ours),
        "praat_pitch_offline_fit": summarise(praat),
        "voices": len(ours),
    }
    report(result)
    assert result["ours_streaming"]["voices_within_the_bars"] == 1


@pytest.mark.parametrize("split", ["validate", "heldout"])
def test_vibrato_of_singers(split: str, report: Report) -> None:
    """Sung lines with words, portamento, drift and vibrato of 20 to 200 cents; and how often speech counts as vibrato."""
    errors: list[Array] = []
    windows = reported = 0
    for clip in corpus.sung(split):
        track = analyse(clip.sound)
        half = round(WINDOW_S / 2 * 1000)  # rows of 1 ms
        for at, rate, extent in zip(
            np.round((track.time_s - REPORT_LAG_S) * 1000).astype(int), track.vibrato_hz, track.vibrato_cents, strict=True
        ):
            part = slice(at - half, at + half)
            if at < half or at + half > len(clip.f0_hz) or np.mean(clip.f0_hz[part] > 0) < 0.7:
                continue
            if clip.vibrato_hz[at] == 0 or np.ptp(clip.vibrato_hz[part]) > 0:
                continue
            windows += 1
            if rate > 0:
                reported += 1
                errors.append(np.array([abs(rate - clip.vibrato_hz[at]), abs(extent / clip.vibrato_cents[at] - 1)]))
    talk = [analyse(clip.sound).vibrato_hz > 0 for clip in corpus.truth(split)]
    median, high = np.percentile(errors, [50, 90], axis=0)
    report(
        {
            "rate_error_hz": {"median": median[0], "p90": high[0]},
            "extent_error": {"median": median[1], "p90": high[1]},
            "reported_share_of_windows_within_a_note": reported / windows,
            "speech_time_taken_for_vibrato": float(np.mean(np.concatenate(talk))),
        }
    )
    assert median[0] <= 0.1
    assert median[1] <= 0.05


def test_harmonics_to_noise(report: Report) -> None:
    """A vowel and white noise, steady and with a vibrato of 6 Hz and 50 cents: the error of the mean, in dB."""
    parselmouth = pytest.importorskip("parselmouth", reason="the peer is pip install praat-parselmouth (GPL)")
    rows = {}
    for hz in (75.0, 130.0, 250.0, 500.0):
        for extent in (0.0, 50.0):
            for ratio_db in (5.0, 15.0, 25.0):
                clean = harmonics(swinging(hz, 6.0, extent), vowel_db)
                noise = np.random.default_rng(2).normal(size=len(clean)) * clean.std() * 10 ** (-ratio_db / 20)
                track = analyse(clean + noise)
                kept = (track.time_s > 0.3) & (track.f0_hz > 0)
                values = parselmouth.Sound(clean + noise, RATE).to_harmonicity_cc(minimum_pitch=60.0).values[0]
                praat = float(np.mean(values[values > -199]))
                rows[hz, extent, ratio_db] = (float(np.mean(track.hnr_db[kept])) - ratio_db, praat - ratio_db)
    result = {}
    for name, extent in (("steady", 0.0), ("vibrato", 50.0)):
        both = np.abs([value for key, value in rows.items() if key[1] == extent]).max(0)
        result[name] = {"ours_worst_db": float(both[0]), "praat_cc_worst_db": float(both[1])}
    report(result)
    assert result["steady"]["ours_worst_db"] < 0.6
    assert result["vibrato"]["ours_worst_db"] < result["vibrato"]["praat_cc_worst_db"]


def test_tilt(report: Report) -> None:
    """Harmonics that fall by 3 to 12 dB per octave: the error of the slope, in dB per octave."""
    parselmouth = pytest.importorskip("parselmouth", reason="the peer is pip install praat-parselmouth (GPL)")
    errors = []
    for hz in (80.0, 140.0, 260.0, 600.0):
        for slope in (-3.0, -6.0, -9.0, -12.0):
            sound = harmonics(swinging(hz, 5.0, 50.0), partial(falling_db, slope))
            arguments = (60.0, 800.0, 6000.0, 100.0, 0.0001, 0.02, 1.3)  # pitch range, highest frequency, bandwidth, periods
            ltas = parselmouth.praat.call(parselmouth.Sound(sound, RATE), "To Ltas (pitch-corrected)...", *arguments)
            bins = range(1, 61)
            frequency = np.array([parselmouth.praat.call(ltas, "Get frequency from bin number", k) for k in bins])
            level = np.array([parselmouth.praat.call(ltas, "Get value in bin", k) for k in bins])
            used = (frequency >= hz) & np.isfinite(level)
            praat = np.polyfit(np.log2(frequency[used]), level[used], 1)[0]
            errors.append((abs(analyse(sound).tilt_db[-1] - slope), abs(praat - slope)))
    worst = np.max(errors, axis=0)
    report({"ours_worst": float(worst[0]), "praat_ltas_worst": float(worst[1])})
    assert worst[0] < 1.0
