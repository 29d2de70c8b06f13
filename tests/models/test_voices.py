"""Voices: what a recording must be to become one, what is kept of it, and that a file is taken only as it was written."""

from __future__ import annotations

import json
import os
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.dsp.converter import features
from autovoice.dsp.stage import StageError
from autovoice.models import dataset, enrolment, speaker_encoder, speaker_training, voice_map, voices
from autovoice.models.voices import Voice, VoiceError
from autovoice.rt import Chain
from safetensors.numpy import load, save

FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")
CLIPS = ("sense_and_sensibility_01_austen_64kb-0870.wav", "sense_and_sensibility_01_austen_64kb-0880.wav")
RATE = 16_000  # Hz, of the clips
CONSENT = "a LibriVox reader, who gave the recording to the public domain"

Array = np.ndarray[Any, Any]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return voices.user_folder()


@pytest.fixture(scope="module")
def reader() -> Array:
    """Nine seconds of one person reading, 16 kHz, float32."""
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER} not installed (Debian: pocketsphinx-testdata)")
    parts = []
    for clip in CLIPS:
        with wave.open(str(FOLDER / clip)) as file:
            parts.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    return np.concatenate(parts)[: 9 * RATE].astype(np.float32) / 2**15


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a sound and return its path."""

    def to(sound: Array, rate: int = RATE, name: str = "ref.wav", **options: Any) -> Path:
        soundfile.write(tmp_path / name, sound, rate, **options)
        return tmp_path / name

    return to


def made(name: str = "Kim", height: float = 150.0, seed: int = 1) -> Voice:
    random = np.random.default_rng(seed)
    values = speaker_encoder.raw(random.standard_normal(128))
    return Voice(name, values, height, height - 40, height + 60, consent="made up")


def test_an_enrolled_voice_knows_where_it_came_from(reader: Array, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in ("torch", "onnxruntime", "scipy", "matplotlib"):
        monkeypatch.setitem(sys.modules, absent, None)  # enrolment does without
    path = write(reader)
    voice, checks = enrolment.enrol([path], "Reader", CONSENT)
    assert all(check.passed for check in checks)
    assert voice.sources[0]["name"] == "ref.wav"
    assert len(voice.sources[0]["sha256"]) == 64
    assert voice.sources[0]["seconds"] == pytest.approx(len(reader) / RATE, abs=1e-3)
    assert voice.consent == CONSENT
    assert voice.timbre.shape == (128,) and voice.timbre.dtype == np.float32
    track = Chain(["pitch"]).analyse(reader, sample_rate=RATE)
    heard = track.f0_hz[track.f0_hz > 0]
    assert voice.median_hz == pytest.approx(np.median(heard), rel=0.03)
    assert voice.low_hz < voice.median_hz < voice.high_hz
    voices.keep(voice)
    kept = voices.find("Reader")
    assert np.array_equal(kept.timbre, voice.timbre)
    assert kept.about() == voice.about()
    assert "Reader" in voices.all_names()


def test_level_rate_and_a_second_file_do_not_make_another_person(reader: Array, write: Write) -> None:
    whole, _ = enrolment.enrol([write(reader)], "One", CONSENT)
    wide = enrolment.resample(reader, RATE, 44_100).astype(np.float32)
    half = len(wide) // 2
    parts = [write(0.25 * wide[:half], 44_100, "a.wav"), write(0.25 * wide[half:], 44_100, "b.flac")]
    again, _ = enrolment.enrol(parts, "Two", CONSENT)
    assert voices.similarity(whole, again) > 0.95
    assert [one["name"] for one in again.sources] == ["a.wav", "b.flac"]


@pytest.fixture(scope="module")
def spoilt(reader: Array) -> dict[str, tuple[Array, int, str]]:
    """Sounds that will not do, with their rates and the line that says so."""
    random = np.random.default_rng(1)
    noise = random.standard_normal(len(reader)).astype(np.float32)
    loud = np.clip(40 * reader, -1, 1)
    shifted = Chain([{"stage": "shift", "semitones": 7.0, "formant": 5.0}])
    other = shifted.render(reader[: 9 * RATE // 2], sample_rate=RATE)
    rms = float(np.sqrt(np.mean(reader**2)))
    return {
        "silent": (1e-4 * noise, RATE, r"^level .* RMS \(at least 0.001\): this is silence"),
        "short": (reader[: 4 * RATE], RATE, r"^length 4 s \(at least 5\): record more"),
        "clipped": (loud, RATE, r"^clipping .* % \(at most 0.05\): the sound is cut off"),
        "clipped and turned down": (0.3 * loud, RATE, r"^clipping"),
        "noisy": (reader + 0.7 * rms * noise, RATE, r"^signal to noise .* dB \(at least 12\): record in a quieter place"),
        "no voice": (0.1 * noise, RATE, r"^(signal to noise|voiced) "),
        "two speakers": (
            np.concatenate([reader[9 * RATE // 2 :], other]),
            RATE,
            r"^speakers apart .*: two people seem to speak",
        ),
        "slow rate": (reader[::4], RATE // 4, r"ref.wav: the sample rate must be at least 8000 Hz, got 4000"),
    }


@pytest.mark.parametrize(
    "what", ["silent", "short", "clipped", "clipped and turned down", "noisy", "no voice", "two speakers", "slow rate"]
)
def test_a_recording_that_will_not_do_is_refused_in_one_line(
    spoilt: dict[str, tuple[Array, int, str]], write: Write, own_folder: Path, what: str
) -> None:
    sound, rate, line = spoilt[what]
    with pytest.raises(VoiceError, match=line) as refused:
        enrolment.enrol([write(sound, rate, subtype="FLOAT")], "Nobody", CONSENT)
    assert "\n" not in str(refused.value)
    assert not own_folder.exists()


def test_no_sound_no_number_no_consent_no_voice(reader: Array, write: Write, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    broken = reader.copy()
    broken[100] = np.nan
    for paths, consent, line in (
        ([tmp_path / "text.wav"], CONSENT, "cannot be read as sound"),
        ([tmp_path / "nowhere.wav"], CONSENT, "no sound file at"),
        ([], CONSENT, "at least one sound file"),
        ([write(broken, name="broken.wav", subtype="FLOAT")], CONSENT, "samples that are not numbers"),
        ([write(reader)], " ", "a voice belongs to somebody"),
    ):
        with pytest.raises((VoiceError, RuntimeError), match=line):
            enrolment.enrol(paths, "Nobody", consent)


def test_resampling_keeps_a_tone_and_what_is_above_goes() -> None:
    time_s = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 1000 * time_s)
    low = enrolment.resample(tone + np.sin(2 * np.pi * 15_000 * time_s), 44_100, 24_000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(24_000) / 24_000)
    assert np.abs(low - expected)[1000:-1000].max() < 2e-3
    assert len(low) == 24_000


def test_shipped_voices_are_ten_and_told_apart() -> None:
    found = [voices.find(name) for name in voices.shipped_names()]
    assert len(found) >= 10
    for voice in found:
        assert voice.kind == "shipped" and voice.licence == "Apache-2.0"
        assert voice.low_hz < voice.median_hz < voice.high_hz
    alike = 1 - voice_map.distances(found)
    assert (alike - np.eye(len(found))).max() < 0.9


def test_a_mix_is_the_weighted_mean() -> None:
    ada, bruno = voices.find("Ada"), voices.find("Bruno")
    mixed = voices.mix("Both", voices.parse_mix("Ada:3, Bruno:1"))
    np.testing.assert_allclose(mixed.timbre, 0.75 * ada.timbre + 0.25 * bruno.timbre, rtol=1e-5)
    assert mixed.median_hz == pytest.approx(ada.median_hz**0.75 * bruno.median_hz**0.25)
    assert [one["weight"] for one in mixed.sources] == [0.75, 0.25]
    voices.keep(mixed)
    assert voices.mix("More", {"Both": 1.0}).median_hz == pytest.approx(mixed.median_hz)


@pytest.mark.parametrize(
    "text", ["Ada", "Ada:", "Ada:x", ":0.5", "Ada:0.5 Bruno", "Ada:0", "Ada:1 Ada:2", "", "Ada:1..2", "Ada:-1"]
)
def test_a_mix_that_says_nothing_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(VoiceError) as refused:
        voices.parse_mix(text)
    assert "\n" not in str(refused.value)


def test_names_with_spaces_can_be_mixed() -> None:
    assert voices.parse_mix("My own voice:1 Ada:1") == {"My own voice": 0.5, "Ada": 0.5}


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a" * 65, "x\n", "x.safetensors", "~"])
def test_no_name_leaves_the_folder(name: str, own_folder: Path) -> None:
    with pytest.raises(StageError, match="a voice's name has 1 to 64 letters"):
        voices.keep(replace(made(), name=name))
    with pytest.raises(VoiceError, match="no voice is called"):
        voices.find(name)
    with pytest.raises(VoiceError, match="no voice of your own"):
        voices.delete(name)
    assert not own_folder.exists()


def test_a_link_out_of_the_folder_is_refused(own_folder: Path, tmp_path: Path) -> None:
    own_folder.mkdir(parents=True)
    (tmp_path / "out.safetensors").write_bytes(voices.pack(made("Link")))
    (own_folder / "Link.safetensors").symlink_to(tmp_path / "out.safetensors")
    with pytest.raises(VoiceError, match="leads out of its folder"):
        voices.find("Link")
    with pytest.raises(VoiceError, match="leads out of its folder"):
        voices.keep(made("Link"), replace_old=True)


def test_a_shipped_voice_can_be_neither_replaced_nor_deleted() -> None:
    with pytest.raises(VoiceError, match="comes with AutoVoice; choose another name"):
        voices.keep(made("ada"), replace_old=True)
    with pytest.raises(VoiceError, match="comes with AutoVoice and cannot be deleted"):
        voices.delete("Ada")


def test_a_voice_is_replaced_only_when_asked_and_a_failed_write_leaves_the_old_one(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = voices.keep(made(height=150.0))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(VoiceError, match="there is a voice Kim already"):
        voices.keep(made(height=200.0))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(VoiceError, match="voice Kim was not saved: No space left on device"):
        voices.keep(made(height=200.0), replace_old=True)
    monkeypatch.undo()
    os.environ["XDG_DATA_HOME"] = str(own_folder.parent.parent)
    assert voices.read(path).median_hz == 150.0
    assert [entry.name for entry in own_folder.iterdir()] == ["Kim.safetensors"]


def changed(data: bytes, **tensors: Array) -> bytes:
    """Return a voice's file with other tensors under the same metadata."""
    size = int.from_bytes(data[:8], "little")
    return save({**load(data), **tensors}, json.loads(data[8 : 8 + size])["__metadata__"])


def forged(**about: Any) -> bytes:
    """Return a file whose SHA-256 is right and whose content is not."""
    timbre = {"timbre": np.zeros(128, np.float32)}
    text = json.dumps({**made().about(), **about})
    digest = voices._digest(timbre, text)
    return save(timbre, {"format": voices.FORMAT, "version": "1", "voice": text, "sha256": digest})


def bad_files() -> dict[str, tuple[bytes, str]]:
    good = voices.pack(made())
    return {
        "empty": (b"", "no safetensors file"),
        "pickle": (b"\x80\x04\x95 not a voice", "no safetensors file"),
        "cut": (good[:-100], "no safetensors file"),
        "long": (good + bytes(voices.MAX_BYTES), "at most 1048576 bytes"),
        "header of lies": ((1 << 60).to_bytes(8, "little") + good[8:], "no safetensors file"),
        "flipped bit": (good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], "its SHA-256 differs"),
        "other timbre": (changed(good, timbre=np.ones(128, np.float32)), "its SHA-256 differs"),
        "another's tensors": (save({"weights": np.zeros(3, np.float32)}), "holds tensors, but no voice"),
        "newer": (good.replace(b'"version":"1"', b'"version":"2"'), "of version 2 and this AutoVoice reads 1; update"),
        "no pitch": (forged(median_hz="high"), "no voice of this version"),
        "endless pitch": (forged(median_hz=float("nan")), "pitches rise from low"),
        "strange key": (forged(run="rm"), "no voice of this version"),
        "strange source": (forged(sources=[{"name": "x", "weight": "much"}]), "weights and seconds are numbers"),
        "sources of nothing": (forged(sources=[1]), "no voice of this version"),
        "text that moves the cursor": (forged(consent="\x1b[2J"), "text on one line"),
        "strange name": (forged(name="../../x"), "a voice's name has"),
    }


@pytest.mark.parametrize("what", list(bad_files()))
def test_a_foreign_or_damaged_file_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    data, line = bad_files()[what]
    path = tmp_path / "voice.safetensors"
    path.write_bytes(data)
    with pytest.raises(VoiceError, match=line) as refused:
        voices.read(path)
    assert "\n" not in str(refused.value)


def test_a_damaged_voice_of_ones_own_stands_in_nobodys_way(own_folder: Path) -> None:
    voices.keep(made("Good"))
    (own_folder / "Bad.safetensors").write_bytes(b"nothing")
    assert voices.user_names() == ["Bad", "Good"]
    assert voices.find("Good").name == "Good"
    with pytest.raises(VoiceError, match=r"Bad\.safetensors is no safetensors file"):
        voices.find("Bad")


def test_the_map_puts_like_voices_together_and_groups_them() -> None:
    random = np.random.default_rng(4)
    centres = random.standard_normal((3, 128))
    family = [
        replace(made(f"{'abc'[k]}{j}"), timbre=speaker_encoder.raw(centres[k] + 0.3 * random.standard_normal(128)))
        for k in range(3)
        for j in range(3)
    ]
    places, shown = voice_map.draw_up(family)
    assert [place.group for place in places] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(place.nearest[0] == place.name[0] for place in places)
    assert 0.5 < shown <= 1.0
    xy = np.array([(place.x, place.y) for place in places])
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    same = np.kron(np.eye(3), np.ones((3, 3))).astype(bool)
    assert apart[same].max() < apart[~same].min()


def test_two_coordinates_keep_distances_that_two_can_keep() -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    table = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    xy, shown = voice_map.scaled(table)
    np.testing.assert_allclose(np.linalg.norm(xy[:, None] - xy[None], axis=2), table, atol=1e-9)
    assert shown == pytest.approx(1.0)


def test_one_voice_alone_has_a_place() -> None:
    places, _ = voice_map.draw_up([made()])
    assert (places[0].x, places[0].y, places[0].nearest) == (0.0, 0.0, "")


def test_the_encoder_hears_no_level_and_no_pauses(reader: Array) -> None:
    sound = enrolment.resample(reader, RATE, 24_000)
    once = speaker_encoder.timbre(features.bands(sound, 24_000))
    soft = speaker_encoder.timbre(features.bands(0.2 * sound, 24_000))
    assert cosine(once, soft) > 0.93
    paused = np.concatenate([sound, np.zeros(5 * 24_000)])
    assert cosine(speaker_encoder.timbre(features.bands(enrolment.spoken(paused), 24_000)), once) > 0.95


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_fit_finds_the_timbre_of_what_it_was_shown(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    normal = dataset.Normal(random.standard_normal(128), np.full(128, 0.2))
    heard = []
    for number in range(4):
        time_s = np.arange(4 * 24_000) / 24_000
        pulses = np.stack([sum(np.sin(2 * np.pi * 120 * h * time_s) / h**tilt for h in range(1, 30)) for tilt in (0.7, 1.6)])
        sound = 3000 * pulses * (1.2 + np.sin(2 * np.pi * 3 * time_s)) + 30 * random.standard_normal(pulses.shape)
        timbre = normal.mean + np.array([[0.2], [-0.2]]) * np.ones((2, 128))
        path = tmp_path / f"{number:06d}.safetensors"
        path.write_bytes(save({"sound": sound.astype(np.int16), "timbre": timbre.astype(np.float32)}))
        heard.append(speaker_training.examples(path, normal, seed=1))
    again = speaker_training.examples(tmp_path / "000001.safetensors", normal, seed=1)
    assert np.array_equal(again.statistics, heard[1].statistics)
    known = speaker_training.Examples(
        np.concatenate([one.statistics for one in heard[:-1]]), np.concatenate([one.timbre for one in heard[:-1]])
    )
    weights = {name: value.astype(np.float32) for name, value in speaker_training.fit(known, normal).items()}
    for bands, timbre in speaker_training.voices(tmp_path / "000003.safetensors"):
        assert speaker_training.cosine(speaker_encoder.timbre(bands, weights), normal(timbre)) > 0.9
