"""`autovoice replay`: takes rendered again, compared, and refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain
from support import Audio
from taking import make_take, read_log, write_log


@pytest.fixture
def take(speech: Audio, tmp_path: Path) -> Path:
    """A take of a quarter of a second with a move in it."""
    steps = [4_000, ("gain/gain", -6.0), 8_000]
    return make_take(tmp_path / "Song 1", Chain(["highpass", "gain"]), speech[40_000:], steps)


def test_a_take_is_rendered_again_and_compared(here: Any, take: Path) -> None:
    ran = here("replay", take, "--check")
    assert ran.code == 0
    assert ran.out == f"{take / 'replay.wav'}: bit for bit the same from 0.000 to 0.250 s (of 0.250 s)\n"
    wet, again = (soundfile.read(take / name, dtype="float32")[0] for name in ("wet.wav", "replay.wav"))
    assert np.array_equal(wet, again)
    assert soundfile.info(take / "replay.wav").subtype == "FLOAT"


def test_the_log_may_be_named_and_the_result_lie_elsewhere(here: Any, take: Path, tmp_path: Path) -> None:
    found = here("replay", take / "log.jsonl", "--out", tmp_path / "other.wav", "--json").json
    assert found["same"] is True and found["finished"] is True
    assert found["output"] == str(tmp_path / "other.wav")
    assert found["exact"] == [{"begin": 0, "end": 12_000}]
    assert (found["checked"], found["different"], found["moves"]) == (12_000, 0, 2)
    assert (tmp_path / "other.wav").exists() and not (take / "replay.wav").exists()


def test_what_differs_is_told_with_its_place_and_fails_a_check(here: Any, take: Path) -> None:
    lines = read_log(take)
    next(line for line in lines if line.get("path") == "gain/gain")["value"] = -6.1
    write_log(take, lines)
    ran = here("replay", take)
    assert ran.code == 0
    assert "differs first at 0.08" in ran.out
    assert here("replay", take, "--check").code == 1
    found = here("replay", take, "--check", "--json")
    assert found.code == 1
    assert json.loads(found.out)["first_different"] in range(4_000, 4_100)


def test_a_take_without_a_sound_part_fails_a_check(here: Any, take: Path) -> None:
    lines = read_log(take)
    lines[0]["fresh"] = False
    write_log(take, lines)
    ran = here("replay", take, "--check")
    assert ran.code == 1
    assert "no part of the take can be held against it" in ran.out


def test_bad_input_is_one_line(here: Any, take: Path, tmp_path: Path) -> None:
    assert "no take at" in here("replay", tmp_path / "nowhere").refused()
    (tmp_path / "empty").mkdir()
    assert "no take's log at" in here("replay", tmp_path / "empty").refused()
    assert "belongs to the take itself" in here("replay", take, "--out", take / "dry.wav").refused()
    assert "cannot render" in here("replay", take, "--out", tmp_path / "no" / "where.wav").refused()
    write_log(take, [{**read_log(take)[0], "version": 9}])
    assert "this AutoVoice reads takes of version 1" in here("replay", take).refused()
    (take / "log.jsonl").write_bytes(os.urandom(1000))
    assert "log.jsonl" in here("replay", take).refused()
