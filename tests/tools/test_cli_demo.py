"""`autovoice demo`: the whole house once, short, on JACK and without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support import need_jack

KEYS = {
    "backend",
    "sample_rate",
    "block",
    "frames",
    "expected_frames",
    "xruns",
    "deadline_misses",
    "late_wakes",
    "callback_us",
    "load",
    "latency_frames",
    "rss_anon_mb",
    "rss_file_mb",
    "start_s",
    "realtime",
    "host",
}


@pytest.mark.parametrize("backend", ["jack", "null"])
def test_the_demo_leaves_sound_figures_and_a_picture(cli: Any, speech: Any, tmp_path: Path, backend: str) -> None:
    if backend == "jack":
        need_jack()
    soundfile.write(tmp_path / "voice.wav", speech, 48_000)
    out = tmp_path / "demo"
    ran = cli("demo", "--backend", backend, "--input", tmp_path / "voice.wav", "--seconds", 2, "--out", out)
    assert ran.code == 0, ran
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) == KEYS
    assert summary["backend"] == backend
    assert summary["latency_frames"]["measured"] == summary["latency_frames"]["declared"] > 0
    assert set(summary["callback_us"]) == {"p50", "p99", "p999", "max"}
    assert summary["frames"] > 2 * 48_000
    wet, rate = soundfile.read(out / "wet.wav", dtype="float32")
    dry, _ = soundfile.read(out / "dry.wav", dtype="float32")
    assert rate == 48_000 and len(wet) == len(dry)
    assert 0.05 < np.abs(wet).max() <= 10 ** (-1 / 20) + 1e-6  # the limiter's ceiling
    assert np.abs(dry).max() == pytest.approx(np.abs(speech[:96_000]).max(), rel=0.02)
    assert (out / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_voice_of_the_demo_must_exist(here: Any, tmp_path: Path) -> None:
    line = here("demo", "--input", tmp_path / "nobody.wav", "--out", tmp_path / "demo").refused()
    assert "no sound file at" in line
