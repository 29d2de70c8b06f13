"""`autovoice analyse`: what it prints and draws of a voice whose figures are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 48_000  # Hz


@pytest.fixture(scope="module")
def singer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A straight note of one second, a breath, two seconds of A3 with a vibrato of 6 Hz and 80 cents; -6 dB per octave."""
    time_s = np.arange(3 * RATE) / RATE
    extent = np.where(time_s < 1, 0.0, 80.0)
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (extent / 1200 * np.sin(2 * np.pi * 6 * time_s))) / RATE
    sound = 0.2 * sum(np.sin(k * phase + k * k) / k for k in range(1, 25))
    sound[RATE : RATE + RATE // 5] = 0
    path = tmp_path_factory.mktemp("analyse") / "singer.wav"
    soundfile.write(path, sound.astype(np.float32), RATE, subtype="FLOAT")
    return path


def test_the_figures_are_those_of_the_voice(cli: Any, singer: Path) -> None:
    found = cli("analyse", singer, "--json").json
    (vibrato,) = found["vibrato"]
    assert vibrato["rate_hz"] == pytest.approx(6.0, abs=0.1)
    assert vibrato["extent_cents"] == pytest.approx(80.0, rel=0.05)
    assert vibrato["start_s"] == pytest.approx(1.2, abs=0.2)
    assert vibrato["end_s"] == pytest.approx(3.0, abs=0.1)
    assert vibrato["f0_hz"] == pytest.approx(220.0, rel=0.02)
    assert found["f0_hz"]["median"] == pytest.approx(220.0, abs=1.0)
    assert found["colour"]["tilt_db"] == pytest.approx(-6.0, abs=1.0)
    assert found["colour"]["hnr_db"] > 20
    points = len(found["track"]["time_s"])
    assert all(len(found["track"][name]) == points for name in ("vibrato_hz", "vibrato_cents", "hnr_db", "tilt_db"))


def test_the_lines_name_note_vibrato_and_colour(cli: Any, singer: Path) -> None:
    said = cli("analyse", singer).out
    assert "1 channel," in said
    for words in ("A3", "dB per octave", "harmonics to noise", "6.0 Hz", "80 cents", "regularity"):
        assert words in said, words


def test_the_picture_is_drawn_of_a_voice_and_of_silence(cli: Any, singer: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE, np.float32), RATE, subtype="FLOAT")
    for path in (singer, tmp_path / "silence.wav"):
        said = cli("analyse", path, "--plot", tmp_path / "out.png").out
        assert (tmp_path / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        (tmp_path / "out.png").unlink()
    assert "none found" in said


def test_a_sound_shorter_than_a_hop_is_analysed(cli: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.full(20, 0.1, np.float32), RATE, subtype="FLOAT")
    found = cli("analyse", tmp_path / "click.wav", "--json", "--plot", tmp_path / "click.png").json
    assert found["f0_hz"] is None
    assert found["colour"] is None
    assert found["vibrato"] == []
