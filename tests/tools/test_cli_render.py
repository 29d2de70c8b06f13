"""`autovoice render` and `analyse`: the same bits as the library, files that others can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain, stretch

SPECS = ["highpass", {"stage": "gate", "threshold": -60.0}, {"stage": "limiter", "lookahead": 2.0, "ceiling": -12.0}]
ARGUMENTS = ("--chain", "highpass,gate,limiter", "--set", "gate/threshold=-60", "--set", "limiter/lookahead=2")


def test_a_rendered_file_equals_the_library_bit_for_bit(cli: Any, voice: Path, tmp_path: Path) -> None:
    dry, rate = soundfile.read(voice, dtype="float32")
    wanted = Chain(SPECS).render(dry.T, sample_rate=rate)
    ran = cli("render", voice, tmp_path / "wet.wav", *ARGUMENTS, "--set", "limiter/ceiling=-12", "--block", 48, "--json")
    wet, wet_rate = soundfile.read(tmp_path / "wet.wav", dtype="float32")
    assert wet_rate == rate
    assert soundfile.info(tmp_path / "wet.wav").subtype == "FLOAT"
    assert np.array_equal(wet.T, wanted)
    assert ran.json["frames"] == len(dry)
    assert ran.json["latency_frames"] == 94  # 2 ms at 44.1 kHz, and 6 frames to see between samples
    assert ran.json["peak"] == np.abs(wanted).max() <= 10 ** (-12 / 20)


def test_a_render_longer_than_its_pieces_keeps_length_and_bits(cli: Any, tmp_path: Path) -> None:
    dry = 0.1 * np.random.default_rng(3).standard_normal(200_001).astype(np.float32)
    soundfile.write(tmp_path / "dry.wav", dry, 48_000, subtype="FLOAT")
    assert cli("render", tmp_path / "dry.wav", tmp_path / "wet.wav", "--chain", "highpass,limiter", "--block", 64).code == 0
    wet = soundfile.read(tmp_path / "wet.wav", dtype="float32")[0]
    assert np.array_equal(wet, Chain(["highpass", "limiter"]).render(dry, sample_rate=48_000))


def test_a_file_may_be_rendered_onto_itself(cli: Any, voice: Path) -> None:
    dry = soundfile.read(voice)[0]
    assert cli("render", voice, voice, "--chain", "gain", "--set", "gain/gain=-20").code == 0
    assert soundfile.read(voice)[0] == pytest.approx(0.1 * dry, abs=1e-5)


def test_flac_holds_24_bits_and_says_when_it_clips(cli: Any, voice: Path, tmp_path: Path) -> None:
    ran = cli("render", voice, tmp_path / "wet.flac", "--chain", "gain", "--set", "gain/gain=24")
    assert ran.code == 0
    assert "was clipped" in ran.err
    assert soundfile.info(tmp_path / "wet.flac").subtype == "PCM_24"
    assert np.abs(soundfile.read(tmp_path / "wet.flac")[0]).max() == pytest.approx(1.0, abs=1e-6)


def test_samples_that_are_not_numbers_become_silence_and_are_told(cli: Any, tmp_path: Path) -> None:
    dry = np.full(4_800, 0.5, np.float32)
    dry[100:110] = np.nan
    soundfile.write(tmp_path / "dry.wav", dry, 48_000, subtype="FLOAT")
    ran = cli("render", tmp_path / "dry.wav", tmp_path / "wet.wav", "--chain", "gain", "--json")
    assert ran.json["nonfinite"] == 10
    assert "10 samples that are not numbers" in ran.err
    wet = soundfile.read(tmp_path / "wet.wav", dtype="float32")[0]
    assert np.array_equal(wet, np.nan_to_num(dry))


def test_a_stretched_render_is_the_stretched_file_through_the_chain(cli: Any, voice: Path, tmp_path: Path) -> None:
    dry, rate = soundfile.read(voice, dtype="float32")
    ran = cli("render", voice, tmp_path / "wet.wav", "--chain", "highpass,limiter", "--stretch", 1.37, "--json")
    wet = soundfile.read(tmp_path / "wet.wav", dtype="float32")[0]
    assert ran.json["frames"] == len(wet) == round(len(dry) * 1.37)
    assert np.array_equal(wet.T, Chain(["highpass", "limiter"]).render(stretch(dry.T, rate, 1.37), sample_rate=rate))


def test_a_stretch_out_of_range_names_the_range(cli: Any, voice: Path, tmp_path: Path) -> None:
    ran = cli("render", voice, tmp_path / "wet.wav", "--stretch", 5)
    assert ran.code == 2
    assert "stretch must be in 0.25..4 times the length, got 5" in ran.err
    assert not (tmp_path / "wet.wav").exists()


def test_analysis_measures_pitch_and_level(cli: Any, tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 48_000
    voice = sum(np.sin(2 * np.pi * 220 * k * time_s) / k for k in range(1, 8))
    soundfile.write(tmp_path / "a3.wav", (0.5 * voice / np.abs(voice).max()).astype(np.float32), 48_000, subtype="FLOAT")
    found = cli("analyse", tmp_path / "a3.wav", "--json", "--plot", tmp_path / "a3.png").json
    assert found["f0_hz"]["median"] == pytest.approx(220, abs=0.5)
    assert found["peak_dbfs"] == pytest.approx(-6.02, abs=0.01)
    assert len(found["track"]["time_s"]) == len(found["track"]["f0_hz"]) > 100
    assert (tmp_path / "a3.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "A3" in cli("analyse", tmp_path / "a3.wav").out
