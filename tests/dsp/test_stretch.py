"""Slower, held, faster: the pitch stays, attacks come once, and the live edge is the delayed input again, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import BUS, StageError
from autovoice.rt import Chain, Event, stretch
from autovoice.rt.rendering import render
from autovoice.rt.stretching import Stretcher

RATE = 48_000  # Hz
Audio = np.ndarray[Any, Any]


def tone(seconds: float, hz: float = 220.0, rate: int = RATE) -> Audio:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pulses(seconds: float, hz: float = 120.0) -> Audio:
    """Return a buzz of decaying pulses, a voice without its colour."""
    x = np.zeros(round(seconds * RATE), np.float32)
    x[(np.arange(0, seconds - 0.05, 1 / hz) * RATE).astype(int)] = 0.5
    decay = np.exp(-np.arange(400) / 60) * np.cos(2 * np.pi * 900 / RATE * np.arange(400))
    return np.convolve(x, decay)[: len(x)].astype(np.float32)


def clicks(seconds: float, gap_s: float = 0.2) -> tuple[Audio, Audio]:
    """Return clicks of known, all different heights on a faint hiss, and where they are."""
    x = (1e-4 * np.random.default_rng(3).standard_normal(round(seconds * RATE))).astype(np.float32)
    at = (np.arange(0.3, seconds - 0.3, gap_s) * RATE).astype(int)
    x[at] = 0.5 + 0.01 * np.arange(len(at))
    return x, at


def run(sound: Audio, moves: list[tuple[float, str, float]] | None = None, **settings: Any) -> tuple[Audio, Audio]:
    """Play a sound through the stage, with (second, parameter, value) moves; returns (output, seconds held back over time)."""
    events = [Event(round(at * RATE), f"stretch/{name}", value) for at, name, value in moves or []]
    chain = Chain([{"stage": "stretch", **settings}])
    wet, bus = render(chain, sound, sample_rate=RATE, block=64, events=events, trace=True)
    assert bus.dtype == BUS
    return wet, bus["buffered_s"]


def measured_hz(sound: Audio) -> float:
    """Return the frequency of the strongest partial, by a parabola through a windowed spectrum in dB."""
    size = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    k = int(np.argmax(size))
    a, b, c = np.log(size[k - 1 : k + 2])
    return float(k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / (8 * len(sound))


def rms_db(sound: Audio) -> float:
    return 20 * np.log10(np.sqrt(np.mean(sound.astype(np.float64) ** 2)) + 1e-9)


def delay_of(part: Audio, whole: Audio) -> int | None:
    """Return where a part stands in a whole, bit for bit; None where it does not."""
    found = [k for k in np.flatnonzero(whole == part[0]) if np.array_equal(whole[k : k + len(part)], part)]
    return int(found[0]) if found else None


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000])
def test_at_rest_it_is_an_exact_delay(rate: int) -> None:
    x = (0.3 * np.random.default_rng(1).standard_normal((2, rate))).astype(np.float32)
    chain = Chain(["stretch"])
    late = chain.render(x, sample_rate=rate, compensate=False)
    delay = chain.latency(rate)
    assert np.array_equal(late[:, delay:], x[:, : rate - delay])
    assert np.all(late[:, :delay] == 0)


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 0.95])
def test_slower_keeps_pitch_and_level_and_holds_the_rest_back(speed: float) -> None:
    x = tone(4.0)
    wet, held = run(x, speed=speed)
    assert abs(1200 * np.log2(measured_hz(wet[RATE:]) / 220.0)) < 2.0  # cents; leaps are whole frames
    assert rms_db(wet[RATE:]) == pytest.approx(rms_db(x[RATE:]), abs=0.1)
    assert held[-1] == pytest.approx(4.0 * (1 - speed), abs=0.02)


def test_what_sounds_slower_is_the_voice_of_before() -> None:
    """At half speed, what sounds after two seconds is what was sung after one: a chirp shows where the tape is."""
    t = np.arange(3 * RATE) / RATE
    chirp = (0.3 * np.sin(2 * np.pi * (200 * t + 100 * t * t))).astype(np.float32)  # 200 Hz + 200 Hz / s
    wet, _ = run(chirp, speed=0.5)
    heard = measured_hz(wet[2 * RATE - 2400 : 2 * RATE + 2400])
    assert heard == pytest.approx(200 + 200 * 1.0, abs=4.0)  # 4 Hz are 20 ms of the chirp


def test_a_full_buffer_keeps_sounding_at_speed_one() -> None:
    x = tone(4.0)
    wet, held = run(x, speed=0.25, buffer=1.0)
    assert 0.95 < held[-1] <= 1.0
    assert held[-1] - held[-RATE // 64] < 0.002  # no longer slower
    levels = [rms_db(part) for part in wet[RATE // 2 :].reshape(-1, RATE // 20)]
    assert np.ptp(levels) < 0.3


def test_back_at_speed_one_it_plays_the_tape_as_it_is() -> None:
    x = (0.3 * np.random.default_rng(2).standard_normal(3 * RATE)).astype(np.float32)
    wet, held = run(x, [(1.0, "speed", 1.0)], speed=0.5)
    place = delay_of(wet[2 * RATE : 2 * RATE + 4800], x)
    assert place is not None
    assert (2 * RATE - place) / RATE == pytest.approx(held[-1], abs=0.03)
    assert held[-1] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("sound", ["tone", "pulses", "noise"])
def test_faster_comes_back_to_the_live_edge_to_the_bit(sound: str) -> None:
    noise = (0.1 * np.random.default_rng(2).standard_normal(6 * RATE)).astype(np.float32)
    x = {"tone": tone(6.0), "pulses": pulses(6.0), "noise": noise}[sound]
    wet, held = run(x, [(1.0, "speed", 2.0)], speed=0.5)
    assert held.max() == pytest.approx(0.5, abs=0.03)
    assert np.all(held[-RATE // 64 :] == 0)
    assert np.array_equal(wet[-RATE:], x[-RATE:])


def test_catching_up_leaves_out_pauses() -> None:
    words = np.concatenate([np.concatenate([tone(0.4, hz), np.zeros(RATE // 2, np.float32)]) for hz in range(200, 900, 100)])
    back = {}
    for name, moves in {"speed": [(2.0, "speed", 1.5)], "catch_up": [(2.0, "catch_up", 1.0)]}.items():
        wet, held = run(words, moves, speed=0.5)
        back[name] = int(np.argmax(held[2 * RATE // 64 :] == 0)) * 64 / RATE  # seconds
        assert np.array_equal(wet[-RATE:], words[-RATE:])
    assert back["speed"] == pytest.approx(2.0, abs=0.15)  # 1 s at half a second per second
    assert 0 < back["catch_up"] < 0.6 * back["speed"]


def test_freeze_holds_pitch_and_level_longer_than_the_buffer_and_comes_back() -> None:
    x = pulses(8.0)
    wet, held = run(x, [(1.0, "freeze", 1.0), (4.0, "freeze", 0.0), (4.0, "catch_up", 1.0)], buffer=0.5)
    frozen = wet[round(1.2 * RATE) : 4 * RATE]
    levels = [rms_db(part) for part in frozen[: len(frozen) // 2400 * 2400].reshape(-1, 2400)]
    assert np.ptp(levels) < 1.5
    assert np.median(levels) == pytest.approx(rms_db(x[RATE // 2 : RATE]), abs=0.7)
    spectrum = np.abs(np.fft.rfft(frozen * np.hanning(len(frozen))))
    hz = np.fft.rfftfreq(len(frozen), 1 / RATE)
    near = np.abs((hz + 60) % 120 - 60) < 15  # around harmonics of 120 Hz
    between = 10 * np.log10(np.sum(spectrum[~near] ** 2) / np.sum(spectrum[near] ** 2))
    assert between < -25  # a loop of its own would buzz between the harmonics
    assert held.max() <= 0.5 + 64 / RATE
    assert np.array_equal(wet[-RATE:], x[-RATE:])


def test_freeze_of_noise_has_no_rhythm() -> None:
    """The envelope of held hiss has no line at the rate of the grains: it is as even as that of the hiss itself."""
    x = (0.1 * np.random.default_rng(4).standard_normal(6 * RATE)).astype(np.float32)
    wet, _ = run(x, [(1.0, "freeze", 1.0)])

    def roughness(sound: Audio) -> float:
        power = np.sqrt(np.mean(sound[: len(sound) // 240 * 240].reshape(-1, 240).astype(np.float64) ** 2, axis=1))  # 5 ms
        size = np.abs(np.fft.rfft((power / power.mean() - 1) * np.hanning(len(power))))
        return float(size[20:].max() / np.sqrt(np.mean(size[20:] ** 2)))

    assert roughness(wet[2 * RATE :]) < 2.0 * roughness(x[2 * RATE :])
    assert rms_db(wet[2 * RATE :]) == pytest.approx(rms_db(x), abs=1.0)


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.25, 1.5, 2.0])
def test_every_click_is_heard_once_where_it_belongs_and_untouched(factor: float) -> None:
    x, at = clicks(6.0)
    wet = stretch(x, RATE, factor)
    heard = np.flatnonzero(wet > 0.1)
    assert len(heard) == len(at)
    assert np.array_equal(wet[heard], x[at])
    assert np.abs(heard - at * factor).max() < 0.012 * RATE


def test_live_slowing_down_repeats_no_click() -> None:
    x, at = clicks(4.0)
    wet, _ = run(x, speed=0.5)
    heard = np.flatnonzero(wet > 0.1)
    assert np.array_equal(wet[heard], x[at[: len(heard)]])
    assert len(heard) in (9, 10)  # of two seconds


@pytest.mark.parametrize("rate", [44_100, 48_000, 192_000])
@pytest.mark.parametrize("frames", [1, 63, 1_000, 48_001])
@pytest.mark.parametrize("factor", [0.25, 0.5, 0.75, 1.0, 1.3, 4.0])
def test_the_length_is_exact(rate: int, frames: int, factor: float) -> None:
    assert len(stretch(tone(frames / rate, rate=rate), rate, factor)) == max(1, round(frames * factor))


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.25, 2.0])
def test_a_stretched_buzz_keeps_its_pitch_level_and_end(factor: float) -> None:
    x = pulses(3.0)
    wet = stretch(x, RATE, factor)
    body = wet[4800:-4800]
    sums = np.fft.irfft(np.abs(np.fft.rfft(body, 2 * len(body))) ** 2)
    assert 250 + np.argmax(sums[250:600]) == pytest.approx(RATE / 120, abs=1)
    assert rms_db(body) == pytest.approx(rms_db(x[4800:-4800]), abs=0.3)
    ends = [np.flatnonzero(np.abs(sound) > 0.01)[-1] / RATE for sound in (x, wet)]
    assert ends[1] == pytest.approx(ends[0] * factor, abs=0.01)


def test_stretching_by_one_changes_no_bit() -> None:
    x = (0.3 * np.random.default_rng(5).standard_normal((2, 70_001))).astype(np.float32)
    assert np.array_equal(stretch(x, RATE, 1.0), x)


def test_all_channels_are_cut_at_the_same_places() -> None:
    x = pulses(1.5)
    wet = stretch(np.stack([x, 0.5 * x, -x]), RATE, 1.3)
    assert np.array_equal(wet[1], 0.5 * wet[0])
    assert np.array_equal(wet[2], -wet[0])
    assert rms_db(wet[0]) == pytest.approx(rms_db(x), abs=0.5)


def test_reading_in_pieces_gives_the_same_bits() -> None:
    x = pulses(3.0)

    class Source:
        at = 0

        def read(self, frames: int, dtype: str, always_2d: bool) -> Audio:
            self.at += frames
            return x[self.at - frames : self.at, None]

    stretcher = Stretcher(Source(), channels=1, frames=len(x), sample_rate=RATE, factor=1.25)
    pieces = []
    while len(piece := stretcher.read(10_007)):
        pieces.append(piece[:, 0])
    assert np.array_equal(np.concatenate(pieces), stretch(x, RATE, 1.25))


@pytest.mark.parametrize(
    ("sound", "factor", "message"),
    [
        (np.zeros(100), 4.5, "stretch must be in 0.25..4 times the length, got 4.5"),
        (np.zeros(100), float("nan"), "stretch must be in 0.25..4 times the length, got nan"),
        (np.zeros(0), 1.5, "frames > 0"),
        (np.zeros((9, 100)), 1.5, "channels must be in 1..8, got 9"),
    ],
)
def test_bad_input_names_the_range(sound: Audio, factor: float, message: str) -> None:
    with pytest.raises(StageError, match=message.replace("(", r"\(")):
        stretch(sound, RATE, factor)
