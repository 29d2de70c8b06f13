"""`autovoice voices`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return voices.user_folder()


@pytest.fixture
def kim() -> Voice:
    """A voice of one's own."""
    values = speaker_encoder.raw(np.random.default_rng(1).standard_normal(128))
    voice = Voice("Kim", values, 150.0, 110.0, 210.0, consent="made up")
    voices.keep(voice)
    return voice


def test_list_and_show_tell_of_shipped_voices_and_ones_own(here: Any, kim: Voice) -> None:
    found = here("voices", "list", "--json").json
    assert [one["kind"] for one in found] == ["shipped"] * (len(found) - 1) + ["enrolled"]
    assert "Kim" in here("voices", "list").out
    shown = here("voices", "show", "Kim", "--json").json
    assert shown["consent"] == "made up" and shown["median_hz"] == 150.0
    assert len(shown["most_like"]) == 3
    assert "consent  made up" in here("voices", "show", "Kim").out
    assert "Apache-2.0" in here("voices", "show", "Ada").out


def test_nothing_printed_holds_the_numbers_of_a_voice(here: Any, kim: Voice) -> None:
    printed = here("voices", "show", "Kim", "--json").out + here("voices", "list", "--json").out
    assert not any(f"{value:.4f}" in printed for value in kim.timbre if abs(value) > 0.05)


def test_a_recording_becomes_a_voice(here: Any, speech: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "me.wav"
    soundfile.write(path, np.tile(speech, 3)[: 6 * 48_000], 48_000)
    made = here("voices", "enroll", path, "--name", "Me", "--consent", "public domain", "--json").json
    assert made["checks"]["length"] == pytest.approx(6.0)
    assert voices.find("Me").sources[0]["name"] == "me.wav"
    again = here("voices", "enroll", path, "--name", "Me", "--consent", "public domain")
    assert "there is a voice Me already" in again.refused()
    lines = here("voices", "enroll", path, "--name", "Me", "--consent", "public domain", "--force").out
    assert lines.count("  good ") == 6


def test_mix_export_import_delete(here: Any, kim: Voice, tmp_path: Path) -> None:
    mixed = here("voices", "mix", "Ada:0.6", "Kim:0.4", "--name", "Both", "--json").json
    assert [one["weight"] for one in mixed["sources"]] == [0.6, 0.4]
    assert mixed["consent"].endswith("Kim: made up")
    file = tmp_path / "both.safetensors"
    assert here("voices", "export", "Both", file).code == 0
    assert here("voices", "delete", "Both", "--yes").code == 0
    assert "no voice is called 'Both'" in here("voices", "show", "Both").refused()
    assert here("voices", "import", file, "--json").json["name"] == "Both"
    assert here("voices", "import", file, "--name", "Other").code == 0
    assert np.array_equal(voices.find("Other").timbre, voices.find("Both").timbre)
    assert "there is a voice Both already" in here("voices", "import", file).refused()


def test_delete_asks_and_takes_no_silence_for_a_yes(here: Any, kim: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert "left as it is" in here("voices", "delete", "Kim").refused()
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert here("voices", "delete", "Kim", "--json").json == {"deleted": "Kim"}


def test_the_map_is_a_picture_and_a_page_with_the_points_in_it(here: Any, kim: Voice, tmp_path: Path) -> None:
    found = here("voices", "map", tmp_path / "map", "--json").json
    assert {place["name"] for place in found["voices"]} == {*voices.all_names()}
    assert (tmp_path / "map" / "voices.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "map" / "voices.html").read_text()
    data = page.partition('id="voices">')[2].partition("</script>")[0]
    assert json.loads(data) == found["voices"]
    assert "Kim" in page


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("show", "Adda"), "no voice is called 'Adda'; did you mean 'Ada'?"),
        (("shwo", "Ada"), "did you mean 'show'?"),
        (("delete", "Ada", "--yes"), "Ada comes with AutoVoice and cannot be deleted"),
        (("delete", "Nobody", "--yes"), "no voice of your own is called 'Nobody'"),
        (("mix", "Ada:0.6", "Bruno", "--name", "X"), "a mix is NAME:WEIGHT"),
        (("mix", "Ada:0.6", "Brno:0.4", "--name", "X"), "no voice is called 'Brno'"),
        (("mix", "Ada:1", "--name", "../X"), "a voice's name has 1 to 64 letters"),
        (("export", "Ada", "ada.txt"), "ends in .safetensors"),
        (("export", "Ada", "/nowhere/ada.safetensors"), "there is no folder /nowhere"),
        (("import", "/nowhere.safetensors"), "no voice can be read at /nowhere.safetensors"),
        (("import", __file__), "is no safetensors file"),
        (("enroll", "nowhere.wav", "--name", "X", "--consent", "mine"), "no sound file at nowhere.wav"),
        (("enroll", "nowhere.wav", "--name", "X"), "say in --consent whose it is"),
        (("enroll", "nowhere.wav", "--consent", "mine"), "--name NAME"),
        (("mix", "Ada:1"), "--name NAME"),
        (("enroll", "nowhere.wav", "--name", "Ada", "--consent", "mine"), "choose another name"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_a_wrong_request_is_refused(here: Any, arguments: tuple[str, ...], part: str) -> None:
    assert part in here("voices", *arguments).refused()
