"""Probe signals and the delay found in them: to a fraction of a frame, in noise, at any level, and refused where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autovoice.tools.lab.latency.delay import (
    ChangedProbe,
    ClippedPath,
    NoisyPath,
    NoLoopback,
    by_envelope,
    by_phase,
    is_clipped,
    judge,
    why_not_found,
)
from autovoice.tools.lab.latency.signals import chirp, mls, probe

RATE = 48_000.0
SILENCE = np.zeros(7_200, np.float32)


def delayed(sound: Any, frames: float, *, gain: float = 1.0, tail: int = 4_000) -> Any:
    """Delay by any number of frames with a windowed-sinc FIR (T. I. Laakso et al., IEEE Signal Processing Mag. 13(1), 1996)."""
    whole, part = divmod(frames, 1)
    taps = np.arange(-64, 65)
    fir = np.sinc(taps - part) * np.kaiser(129, 9)
    y = np.convolve(np.concatenate([np.zeros(128 + int(whole)), sound, np.zeros(tail)]), gain * fir)
    return y[128 + 64 :][: int(whole) + len(sound) + tail]


@pytest.mark.parametrize("order", [2, 7, 12, 15])
def test_an_mls_is_white_but_for_its_mean(order: int) -> None:
    sequence = mls(order).astype(float)
    correlation = np.fft.ifft(np.abs(np.fft.fft(sequence)) ** 2).real
    assert correlation[0] == pytest.approx(2**order - 1)
    assert np.allclose(correlation[1:], -1)


def test_the_chirp_keeps_to_its_band() -> None:
    power = np.abs(np.fft.rfft(chirp(RATE), 1 << 16)) ** 2
    frequency = np.fft.rfftfreq(1 << 16, 1 / RATE)
    inside = power[(frequency > 900) & (frequency < 8_100)].sum()
    assert inside / power.sum() > 0.9999


@pytest.mark.parametrize("name", ["chirp", "mls"])
@pytest.mark.parametrize("rate", [44_100.0, 48_000.0, 96_000.0])
def test_a_fractional_delay_is_found_without_bias(name: str, rate: float) -> None:
    sound = probe(name, rate)
    for frames in (0.5, 700.0, 700.13, 700.5, 700.77, 1500.25):
        found = by_phase(sound, delayed(sound.sound, frames), 3_000)
        assert found.frames == pytest.approx(frames, abs=0.002)
        assert found.likeness > 0.999


@pytest.mark.parametrize("gain", [1e-4, 0.3, 2.0, -0.5])
def test_neither_level_nor_polarity_moves_the_delay(gain: float) -> None:
    sound = probe("chirp", RATE)
    found = by_phase(sound, delayed(sound.sound, 321.4, gain=gain), 2_000)
    assert found.frames == pytest.approx(321.4, abs=0.002)
    assert found.inverted == (gain < 0)


@pytest.mark.parametrize(("snr_db", "most"), [(30.0, 0.01), (10.0, 0.05), (0.0, 0.1)])
def test_noise_moves_the_delay_by_no_more_than_a_tenth_of_a_frame(snr_db: float, most: float) -> None:
    sound = probe("chirp", RATE)
    rng = np.random.default_rng(5)
    level = float(np.sqrt(np.mean(sound.sound**2))) * 10 ** (-snr_db / 20)
    errors = []
    for k in range(20):
        heard = delayed(sound.sound, 500 + k / 20)
        errors.append(by_phase(sound, heard + level * rng.standard_normal(len(heard)), 3_000).frames - 500 - k / 20)
    assert np.abs(errors).max() < most
    assert abs(np.mean(errors)) < 0.02


def test_the_loudest_of_several_echoes_is_the_delay() -> None:
    sound = probe("chirp", RATE)
    heard = delayed(sound.sound, 800.0) + np.roll(delayed(sound.sound, 800.0), 311) * 0.5
    assert by_phase(sound, heard, 3_000).frames == pytest.approx(800.0, abs=0.05)


def test_envelopes_tell_the_delay_of_another_waveform() -> None:
    """The same syllables on another voice: a ring modulator moves every partial by 70 Hz."""
    sound = probe("bursts", RATE)
    time_s = np.arange(len(sound.sound)) / RATE
    spectrum = np.fft.fft(sound.sound)
    spectrum[len(spectrum) // 2 :] = 0
    moved = np.real(2 * np.fft.ifft(spectrum) * np.exp(2j * np.pi * 70 * time_s))
    heard = np.concatenate([np.zeros(613), moved, np.zeros(5_000)])
    assert by_envelope(sound, heard, 4_000).frames == pytest.approx(613, abs=5)


@pytest.mark.parametrize("method", [by_phase, by_envelope])
def test_silence_is_no_measurement(method: Any) -> None:
    sound = probe("chirp", RATE)
    with pytest.raises(NoLoopback):
        method(sound, np.zeros(20_000, np.float32), 4_000)


def test_noise_alone_is_no_measurement() -> None:
    sound = probe("chirp", RATE)
    rng = np.random.default_rng(2)
    for _ in range(20):
        heard = rng.standard_normal(20_000)
        with pytest.raises(NoLoopback):
            by_phase(sound, heard, 8_000)
    assert isinstance(why_not_found(sound, heard, rng.standard_normal(7_200), "phase"), NoisyPath)


def test_a_clipped_path_is_told_from_a_clean_one() -> None:
    sound = probe("chirp", RATE)
    heard = delayed(sound.sound, 100.0)
    assert not is_clipped(heard, RATE)
    assert not is_clipped(np.round(heard * 2**15) / 2**15, RATE)  # 16 bits make steps, not flat tops
    cut = np.clip(4 * heard, -0.5, 0.5)
    with pytest.raises(ClippedPath, match=r"-6\.0 dBFS"):
        judge(sound, by_phase(sound, cut, 2_000), cut, SILENCE, "phase")


def test_a_noisy_path_is_refused_with_how_much_louder_to_go() -> None:
    sound = probe("chirp", RATE)
    rng = np.random.default_rng(3)
    heard = delayed(sound.sound, 100.0)
    noise = 0.45 * rng.standard_normal(len(heard))
    with pytest.raises(NoisyPath, match=r"at -\d+ dB SNR and \+0 dB are needed.*--level \d+"):
        judge(sound, by_phase(sound, heard + noise, 2_000), heard + noise, noise[:7_200], "phase")


def test_another_sound_is_refused_with_the_other_method() -> None:
    sound = probe("bursts", RATE)
    heard = np.concatenate([sound.sound[::-1] * 0.2, np.zeros(4_000, np.float32)])
    try:
        found = by_phase(sound, heard, 4_000)
    except NoLoopback:
        assert isinstance(why_not_found(sound, heard, SILENCE, "phase"), ChangedProbe)
        return
    with pytest.raises(ChangedProbe, match="--method envelope"):
        judge(sound, found, heard, SILENCE, "phase")
