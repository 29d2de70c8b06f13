"""Delay: echoes on the frame, by the gain and the filters of the loop, on the right side, and over at last."""

import numpy as np
import pytest
from autovoice.rt import Chain, Event
from scipy import signal

RATE = 48_000  # Hz
OPEN = {"high_cut": 20_000.0, "low_cut": 20.0, "mix": 1.0}


def _delay(**settings):
    return Chain([{"stage": "delay", **settings}])


def _impulse(seconds, rate=RATE, at=1000):
    x = np.zeros(round(seconds * rate), np.float32)
    x[at] = 1
    return x


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("time_ms", [10.0, 123.4, 500.0])
def test_echoes_come_on_the_frame_and_each_is_weaker_by_the_feedback(time_ms, rate):
    x = _impulse(2.0, rate)
    y = _delay(time=time_ms, feedback=0.6, **OPEN).render(x, sample_rate=rate)
    step = round(time_ms * rate / 1000)
    echoes = y[1000 + step :: step][:3]
    shrink = echoes[0]  # what the low cut at 20 Hz leaves of a single frame
    assert shrink == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(echoes, shrink * (0.6 * shrink) ** np.arange(3), rtol=0.01)
    assert np.all(y[: 1000 + step] == 0)


@pytest.mark.parametrize(("note", "quarters"), [("1/4", 1), ("1/8d", 0.75), ("1/8t", 1 / 3), ("1/2", 2), ("1/16", 0.25)])
@pytest.mark.parametrize("bpm", [90.0, 140.0])
def test_a_note_value_follows_the_tempo(note, quarters, bpm):
    y = _delay(note=note, bpm=bpm, feedback=0.0, **OPEN).render(_impulse(2.0), sample_rate=RATE)
    assert np.argmax(y) - 1000 == round(quarters * 60 / bpm * RATE)


def test_a_note_longer_than_the_memory_is_cut_to_it():
    y = _delay(note="1/1", bpm=60.0, feedback=0.0, longest=500.0, **OPEN).render(_impulse(2.0), sample_rate=RATE)
    assert np.argmax(y) - 1000 == pytest.approx(0.5 * RATE, abs=128)


@pytest.mark.parametrize("rate", [44_100, 96_000])
@pytest.mark.parametrize(("low", "high"), [(20.0, 20_000.0), (300.0, 3000.0), (2000.0, 500.0)])
def test_the_loop_filters_are_one_poles_within_a_twentieth_of_a_db(low, high, rate):
    x = _impulse(1.5, rate)
    y = _delay(time=500.0, feedback=0.9, mix=1.0, low_cut=low, high_cut=high).render(x, sample_rate=rate)
    hz = np.geomspace(30, 15_000, 100)
    keep = 0.0 if high == 20_000 else np.exp(-2 * np.pi * high / rate)
    slow = np.exp(-2 * np.pi * low / rate)
    cut = signal.freqz([1 - keep], [1, -keep], hz, fs=rate)[1] * (1 - signal.freqz([1 - slow], [1, -slow], hz, fs=rate)[1])
    for k in (1, 2):
        echo = y[1000 + k * rate // 2 :][: rate // 3].astype(float)
        measured = np.abs(signal.freqz(echo, 1, hz, fs=rate)[1]) / 0.9 ** (k - 1)
        np.testing.assert_allclose(20 * np.log10(measured), 20 * k * np.log10(np.abs(cut)), atol=0.05)


def test_pingpong_throws_echoes_from_side_to_side():
    y = _delay(time=100.0, feedback=0.5, pingpong=1.0, **OPEN).render(_impulse(1.0), sample_rate=RATE, channels=2)
    peaks = y[:, 1000 + 4800 :: 4800][:, :4]
    np.testing.assert_allclose(peaks, [[1, 0, 0.25, 0], [0, 0.5, 0, 0.125]], atol=0.01)


def test_without_pingpong_every_side_keeps_its_own():
    x = np.stack([_impulse(1.0), np.zeros(RATE, np.float32)])
    y = _delay(time=100.0, **OPEN).render(x, sample_rate=RATE)
    assert np.all(y[1] == 0) and y[0].max() > 0.9


def test_a_new_time_neither_clicks_nor_bends_the_pitch():
    t = np.arange(2 * RATE) / RATE
    x = (0.5 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    events = [Event(f, "delay/time", v) for f, v in ((30_000, 111.0), (50_000, 500.0), (50_500, 77.7), (70_000, 300.0))]
    y = _delay(time=200.0, feedback=0.0, **OPEN).render(x, sample_rate=RATE, events=events)[24_000:].astype(float)
    high = signal.sosfilt(signal.butter(8, 3000, "high", fs=RATE, output="sos"), y)[1000:]
    assert np.abs(high).max() < 0.5 * 10 ** (-70 / 20)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    assert np.fft.rfftfreq(len(y), 1 / RATE)[np.argmax(spectrum)] == pytest.approx(300, abs=1)


@pytest.mark.parametrize("feedback", [0.0, 0.35, 0.9])
def test_echoes_end_in_exact_silence(feedback):
    noise = np.random.default_rng(1).uniform(-1, 1, RATE // 10)
    y = _delay(time=50.0, feedback=feedback).render(np.pad(noise, (0, 10 * RATE)), sample_rate=RATE)
    assert np.abs(y[RATE // 10 : RATE // 4]).max() > 0.1
    assert np.all(y[-RATE // 10 :] == 0)


def test_mix_0_passes_every_bit():
    x = np.random.default_rng(2).uniform(-1, 1, (2, RATE // 2)).astype(np.float32)
    np.testing.assert_array_equal(_delay(mix=0.0, feedback=0.9).render(x, sample_rate=RATE), x)


def test_the_most_feedback_stays_stable():
    x = np.random.default_rng(3).uniform(-1, 1, (2, 5 * RATE)).astype(np.float32)
    y = _delay(time=10.0, feedback=0.98, pingpong=0.5, **OPEN).render(x, sample_rate=RATE)
    assert np.abs(y).max() < 50
