"""`harmony`: which notes the voices sing, how exactly, where they stand, and what they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from support import Audio

RATE = 48_000  # Hz
LATENCY = Chain(["harmony"]).latency(RATE)


def voice(f0_hz: float, seconds: float = 1.5) -> Audio:
    """Return a buzz with the harmonics of a voice, peak about 0.5."""
    phase = 2 * np.pi * f0_hz * np.arange(round(seconds * RATE)) / RATE
    orders = np.arange(1, int(4000 / f0_hz))
    return (0.2 * np.sum(np.sin(np.outer(orders, phase)) / orders[:, None], axis=0)).astype(np.float32)


def sung(sound: Audio, lead: float = -60.0, channels: int = 1, **settings: Any) -> Audio:
    """Return what the voices sing, without drift and, unless it is asked for, without the lead."""
    spec = {"stage": "harmony", "humanise": 0.0, "consonants": 0.0, "lead": lead, **settings}
    return Chain([spec]).render(sound, sample_rate=RATE, channels=channels)


def f0_of(sound: Audio) -> float:
    """Return the fundamental of a steady sound in Hz: its harmonics' common step, by autocorrelation and a parabola."""
    part = sound[RATE // 2 : RATE // 2 + 16_384] * np.hanning(16_384)
    power = np.abs(np.fft.rfft(part, 65_536)) ** 2
    line = np.fft.irfft(power)[:2000]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(16_384), 65_536)) ** 2)[:2000]
    line = line / window
    low = RATE // 1000
    peak = low + int(np.argmax(line[low:1500] > 0.9 * line[low:1500].max()))
    peak = peak + int(np.argmax(line[peak : peak + 20]))
    left, middle, right = line[peak - 1 : peak + 2]
    return RATE / (peak + 0.5 * (left - right) / (left - 2 * middle + right))


def cents(measured_hz: float, wanted_hz: float) -> float:
    return 1200 * float(np.log2(measured_hz / wanted_hz))


@pytest.mark.parametrize("semitones", [-12.0, -5.0, 3.0, 7.0, 12.0])
def test_an_interval_is_sung_within_2_cents(semitones: float) -> None:
    heard = sung(voice(210.0), by="interval", interval_1=semitones)
    assert abs(cents(f0_of(heard), 210.0 * 2 ** (semitones / 12))) < 2


@pytest.mark.parametrize(
    ("lead_hz", "key", "scale", "degree", "semitones"),
    [
        (220.0, "c", "major", 2, 3),  # a third above A in C major is C
        (261.63, "c", "major", 2, 4),  # above C it is E
        (261.63, "c", "minor", 2, 3),  # in C minor E flat
        (246.94, "c", "major", -1, -2),  # a step below B is A
        (293.66, "d", "major", 7, 12),  # seven steps are an octave
        (293.66, "c", "pentatonic_major", 1, 2),
    ],
)
def test_a_degree_follows_the_scale(lead_hz: float, key: str, scale: str, degree: int, semitones: int) -> None:
    heard = sung(voice(lead_hz), key=key, scale=scale, degree_1=degree)
    assert abs(cents(f0_of(heard), lead_hz * 2 ** (semitones / 12))) < 2


def test_by_degree_a_voice_keeps_the_leads_own_intonation() -> None:
    flat = 220.0 * 2 ** (-30 / 1200)
    assert abs(cents(f0_of(sung(voice(flat))), flat * 2 ** (3 / 12))) < 2


@pytest.mark.parametrize(("note", "hertz"), [(57.0, 220.0), (64.0, 329.63), (60.5, 269.29)])
def test_a_played_note_is_sung_as_it_is_whatever_the_lead_sings(note: float, hertz: float) -> None:
    assert abs(cents(f0_of(sung(voice(233.0), by="notes", note_1=note)), hertz)) < 2


def test_a_note_of_0_is_silence_and_so_is_a_voice_that_is_off() -> None:
    assert not sung(voice(220.0), by="notes", note_1=0).any()
    assert not sung(voice(220.0), level_1=-60.0).any()


def test_with_every_voice_off_the_lead_passes_bit_for_bit() -> None:
    sound = voice(220.0)
    chain = Chain([{"stage": "harmony", "level_1": -60.0}])
    heard = chain.render(sound, sample_rate=RATE, compensate=False)
    assert np.array_equal(heard[LATENCY:], sound[: len(heard) - LATENCY])


def test_four_voices_sing_four_notes() -> None:
    notes = {f"note_{k}": midi for k, midi in enumerate((48, 55, 64, 71), 1)}
    levels = {f"level_{k}": -6.0 for k in range(1, 5)}
    heard = sung(voice(196.0), by="notes", **notes, **levels)
    spectrum = np.abs(np.fft.rfft(heard[RATE // 2 : RATE // 2 + 32_768] * np.hanning(32_768)))
    for midi in (48, 55, 64, 71):
        hertz = 440 * 2 ** ((midi - 69) / 12)
        at = round(hertz / RATE * 32_768)
        assert spectrum[at - 2 : at + 3].max() > 0.1 * spectrum.max()


def test_a_voice_stands_where_it_is_panned_at_constant_power() -> None:
    left, right = sung(voice(220.0), channels=2, pan_1=-1.0)[:, RATE // 2 :]
    assert np.abs(right).max() < 1e-6 < np.abs(left).max()
    centre = sung(voice(220.0), channels=2, pan_1=0.0)[:, RATE // 2 :]
    assert np.array_equal(*centre)
    assert np.mean(left**2) == pytest.approx(np.mean(centre[0] ** 2) + np.mean(centre[1] ** 2), rel=0.01)
    assert np.allclose(*sung(voice(220.0), channels=2, pan_1=-1.0, width=0.0))


def test_levels_are_gains() -> None:
    loud, soft = (sung(voice(220.0), level_1=level)[RATE // 2 :] for level in (0.0, -20.0))
    assert np.allclose(soft, 0.1 * loud, atol=1e-6)


def test_consonants_are_shared_and_not_multiplied() -> None:
    hiss = (np.random.default_rng(1).standard_normal(RATE) * 0.1).astype(np.float32)
    four = {f"level_{k}": 0.0 for k in range(1, 5)}
    none, half = (sung(hiss, lead=0.0, **{**four, "consonants": share}) for share in (0.0, 0.5))
    assert np.std(none[9600:]) == pytest.approx(np.std(hiss[9600:]), rel=0.02)
    assert np.std(half[9600:]) == pytest.approx((1 + 0.5 * 2) * np.std(hiss[9600:]), rel=0.02)  # four equal voices: twice one


def test_humanised_voices_drift_by_some_cents_and_differ() -> None:
    settings = {f"interval_{k}": 0.0 for k in (1, 2)} | {"level_1": 0.0, "level_2": 0.0, "pan_1": -1.0, "pan_2": 1.0}
    left, right = sung(voice(220.0, 4.0), channels=2, by="interval", **{**settings, "humanise": 1.0})
    tracks = [Chain(["pitch"]).analyse(one, sample_rate=RATE).f0_hz for one in (left, right)]
    drifts = [1200 * np.log2(track[track > 0][40:] / 220.0) for track in tracks]
    for drift in drifts:
        assert 2 < np.std(drift) < 20 and np.abs(drift).max() < 50
    shared = min(map(len, drifts))
    assert abs(np.corrcoef(drifts[0][:shared], drifts[1][:shared])[0, 1]) < 0.9


def test_a_voice_comes_and_goes_without_a_click() -> None:
    sound = voice(220.0, 2.0)
    events = [Event(RATE // 2, "harmony/level_1", -60.0), Event(RATE, "harmony/level_1", 0.0)]
    chain = Chain([{"stage": "harmony", "humanise": 0.0, "lead": -60.0}])
    heard = chain.render(sound, sample_rate=RATE, events=events)
    steady = np.abs(np.diff(heard[RATE // 4 : RATE // 2])).max()
    assert np.abs(np.diff(heard[RATE // 2 - 100 :])).max() < 2.2 * steady  # the level rises from -6 to 0 dB: twice the steps
    assert not heard[round(0.6 * RATE) : RATE - LATENCY].any()


def test_the_formants_move_and_the_note_stays() -> None:
    plain, moved = (sung(voice(150.0), by="interval", interval_1=0.0, formant=st) for st in (0.0, 6.0))
    assert abs(cents(f0_of(moved), 150.0)) < 2

    def centroid(sound: Audio) -> float:
        power = np.abs(np.fft.rfft(sound[RATE // 2 : RATE])) ** 2
        return float(np.sum(np.arange(len(power)) * power) / np.sum(power))

    assert centroid(moved) > 1.2 * centroid(plain)
