"""Marks: one per period, on the pulses, known in time, and the same for all who read them."""

from __future__ import annotations

import numpy as np
import pytest
from autovoice.dsp.pitch_marks import WRITTEN
from autovoice.rt import Chain
from scipy.signal import lfilter
from support import Audio, Crank

RATE = 48_000  # Hz


def pulses(f0_hz: float, seconds: float = 0.5, rate: int = RATE) -> tuple[Audio, Audio]:
    """Return a voice of one resonance at 700 Hz, and the frames at which its pulses start."""
    frames = round(seconds * rate)
    starts = np.arange(1, int(seconds * f0_hz)) * rate / f0_hz
    train = np.zeros(frames)
    whole = np.floor(starts).astype(int)
    train[whole] += 1 - (starts - whole)
    train[np.minimum(whole + 1, frames - 1)] += starts - whole
    radius = np.exp(-np.pi * 200 / rate)
    voice = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * 700 / rate), radius**2], train)
    return (0.3 * voice / np.abs(voice).max()).astype(np.float32), starts


def written(chain: Chain, stage: str, sound: Audio, cuts: int = 64, rate: int = RATE) -> tuple[Audio, Audio, Audio]:
    """Return position, period and due frame of the last marks that a stage wrote, oldest first."""
    crank = Crank(chain, sample_rate=rate)
    crank.run(sound, cuts)
    k = [p.key for p in chain.placed].index(stage)
    record = crank.processor.image.states[k][0]["record"]
    order = (np.arange(WRITTEN) + record["count"]) % WRITTEN
    return record["position"][order].copy(), record["period"][order].copy(), record["due"][order].copy()


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("f0_hz", [65, 180, 400])
def test_there_is_one_mark_for_each_pulse_at_the_same_place_of_it(f0_hz: int, rate: int) -> None:
    sound, starts = pulses(f0_hz, 1.0, rate)
    position, period, _ = written(Chain(["marks"]), "marks", sound, rate=rate)
    position, period = position[-20:], period[-20:]
    assert np.abs(np.diff(position) * f0_hz / rate - 1).max() < 0.01
    assert np.abs(period * f0_hz / rate - 1).max() < 0.005
    after = position - starts[np.abs(position[:, None] - starts).argmin(1)]  # the energy of a pulse follows its start
    assert np.all(np.abs(after) < 0.4 * rate / f0_hz)
    assert np.std(after) < 0.01 * rate / f0_hz


def test_a_mark_is_known_about_half_a_period_after_it() -> None:
    sound, _ = pulses(100)
    position, _, due = written(Chain(["marks"]), "marks", sound)
    lag = due[-20:] - position[-20:]
    assert np.all(lag > 0.3 * RATE / 100)
    assert np.all(lag < 0.7 * RATE / 100)


@pytest.mark.parametrize("cuts", [1, 37, 1000])
def test_the_cutting_does_not_move_a_mark(cuts: int) -> None:
    sound, _ = pulses(233)
    for a, b in zip(written(Chain(["marks"]), "marks", sound), written(Chain(["marks"]), "marks", sound, cuts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_sound_passes_bit_for_bit() -> None:
    sound, _ = pulses(150)
    np.testing.assert_array_equal(Chain(["marks"]).render(sound, sample_rate=RATE), sound)


def test_whoever_needs_marks_gets_the_pitch_too() -> None:
    assert [p.stage.name for p in Chain(["shift"]).placed] == ["pitch", "marks", "shift"]
    assert [p.stage.name for p in Chain(["shift", "shift"]).placed] == ["pitch", "marks", "shift", "shift"]


@pytest.mark.parametrize(
    "before", [[], [{"stage": "limiter", "lookahead": 3.3, "ceiling": 0.0}]], ids=["near", "behind_a_delay"]
)
@pytest.mark.parametrize("semitones", [-5.0, 0.0, 7.0])
def test_a_shifter_hands_on_the_marks_of_its_own_output(semitones: float, before: list[dict[str, object]]) -> None:
    """A delay between marks and shifter of half a period would put them between the pulses, if it were not heeded."""
    sound, _ = pulses(150, 1.0)
    chain = Chain(["marks", *before, {"stage": "shift", "semitones": semitones}])
    position, _, due = written(chain, "shift", sound)
    position = position[-24:]
    period = RATE / 150 / 2 ** (semitones / 12)
    assert np.abs(np.diff(position) / period - 1).max() < 0.02
    assert np.all(np.diff(due) >= 0)
    heard = Crank(chain).run(sound)
    loudness = np.convolve(heard**2, np.hanning(25), "same")
    on, between = (loudness[np.round(position[4:-4] + shift * period).astype(int)].mean() for shift in (0.0, 0.5))
    assert on > 10 * between


def test_two_shifters_in_a_row_add_up() -> None:
    sound, _ = pulses(120, 1.0)
    twice = Chain([{"stage": "shift", "semitones": 4.0}, {"stage": "shift", "semitones": 3.0}])
    y = twice.render(sound, sample_rate=RATE)[RATE // 4 :]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 18))
    hz = np.arange(len(spectrum)) * RATE / (1 << 18)
    assert hz[spectrum * (hz < 250) == (spectrum * (hz < 250)).max()][0] == pytest.approx(120 * 2 ** (7 / 12), abs=0.5)
