"""`autovoice convert`, `autovoice live --voice` and the command `voice`: by name, from file to audio thread."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.dsp.converter.prosody import emotion
from autovoice.dsp.stage import StageError
from autovoice.models import speaker_encoder, voices
from autovoice.models.voices import Voice
from autovoice.rt import Chain, Engine, casting
from autovoice.rt.casting import VoiceSlots
from autovoice.rt.control.conductor import Conductor, WebSettings
from autovoice.rt.stretching import stretch
from autovoice.tools.convert import STAGES
from support import wait_until

RATE = 24_000  # Hz


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def kim() -> Voice:
    """A voice of one's own."""
    values = speaker_encoder.raw(np.random.default_rng(1).standard_normal(128))
    voice = Voice("Kim", values, 150.0, 110.0, 210.0, consent="made up")
    voices.keep(voice)
    return voice


@pytest.fixture
def sung(tmp_path: Path) -> Path:
    """Half a second of a buzz with a melody, 24 kHz mono."""
    time_s = np.arange(RATE // 2) / RATE
    phase = 2 * np.pi * (140 * time_s + 3 * np.sin(2 * np.pi * 3 * time_s))
    buzz = sum(np.sin(h * phase) / h for h in range(1, 20))
    path = tmp_path / "sung.wav"
    soundfile.write(path, 0.1 * buzz.astype(np.float32), RATE, subtype="FLOAT")
    return path


def test_a_file_is_what_the_chain_renders_with_the_voice_in_its_slot(here: Any, sung: Path, kim: Voice) -> None:
    out = sung.with_name("out.wav")
    done = here("convert", sung, out, "--voice", "Kim", "--mode", "low", "--pitch", "2", "--json").json
    dry, _ = soundfile.read(sung, dtype="float32")
    wet, rate = soundfile.read(out, dtype="float32")
    assert (rate, len(wet), done["voice"]) == (RATE, len(dry), "Kim")
    with casting.slots().use("Kim") as slot:
        stage = {"stage": "convert", "voice": slot, "mode": "low", "pitch": 2.0}
        chain = Chain(["highpass", "pitch", stage, "limiter"])
        assert np.array_equal(wet, chain.render(dry, sample_rate=RATE))
        assert done["latency_frames"] == chain.latency(RATE)
    assert wet.any()


def test_another_voice_and_a_mixture_sound_otherwise(here: Any, sung: Path) -> None:
    wet = []
    for more in (("Ada",), ("Bruno",), ("Ada", "--other", "Bruno"), ("Ada", "--other", "Bruno", "--morph", "0")):
        out = sung.with_name("out.wav")
        assert here("convert", sung, out, "--mode", "low", "--voice", *more).code == 0
        wet.append(soundfile.read(out)[0])
    ada, bruno, both, none = wet
    assert np.array_equal(ada, none)
    assert not np.allclose(ada, bruno, atol=1e-3)
    assert not np.allclose(ada, both, atol=1e-3)


def test_who_sings_makes_a_difference(here: Any, sung: Path, kim: Voice) -> None:
    out = sung.with_name("out.wav")
    done = here("convert", sung, out, "--voice", "Ada", "--singer", "Kim", "--mode", "low", "--json").json
    assert done["singer"] == "Kim"
    dry, wet = (soundfile.read(path, dtype="float32")[0] for path in (sung, out))
    chain = [{"stage": "convert", "voice": 0, "mode": "low"}]
    with casting.slots().use("Kim") as slot:
        known = Chain(["highpass", "pitch", chain[0] | {"singer": slot}, "limiter"])
        assert np.array_equal(wet, known.render(dry, sample_rate=RATE))
    assert not np.allclose(wet, Chain(["highpass", "pitch", *chain, "limiter"]).render(dry, sample_rate=RATE), atol=1e-3)


def test_an_emotion_is_its_settings_and_its_tempo(here: Any, sung: Path) -> None:
    out, plain = sung.with_name("sad.wav"), sung.with_name("plain.wav")
    assert here("convert", sung, out, "--voice", "Ada", "--mode", "low", "--emotion", "sad", "--pitch", "1").code == 0
    sad, dry = soundfile.read(out)[0], soundfile.read(sung, dtype="float32")[0]
    assert len(sad) == round(len(dry) / emotion("sad").tempo)
    settings = {"voice": 0, "mode": "low", **emotion("sad").settings(), "pitch": 1.0}
    slow = stretch(dry, RATE, 1 / emotion("sad").tempo)
    chain = Chain(["highpass", "pitch", {"stage": "convert", **settings}, "limiter"])
    assert np.array_equal(sad, chain.render(slow, sample_rate=RATE))
    assert here("convert", sung, plain, "--voice", "Ada", "--emotion", "neutral").code == 0
    assert len(soundfile.read(plain)[0]) == len(dry)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--voice", "Adda"), "no voice is called 'Adda'; did you mean 'Ada'?"),
        (("--voice", "Ada", "--singer", "Brunno"), "no voice is called 'Brunno'; did you mean 'Bruno'?"),
        (("--voice", "Ada", "--morph", "0.5"), "--morph goes with --other NAME"),
        (("--voice", "Ada", "--other", "Bruno", "--morph", "2"), "--morph must be in 0..1, got 2"),
        (("--voice", "Ada", "--pitch", "99"), "--pitch must be in -24..24, got 99"),
        (("--voice", "Ada", "--mode", "hasty"), "'hasty'"),
        (("--voice", "Ada", "--preset", "robot"), "this chain has no stage convert"),
        (("--voice", "Ada", "--reference", "x.wav"), "--reference goes with --report DIR"),
        (("--voice", "Ada", "--emotion", "hapy"), "no emotion is called 'hapy'; did you mean 'happy'?"),
        (("--voice", "Ada", "--emotion", "sad", "--report", "r"), "sad has a tempo of its own"),
        ((), "say who to become: --voice NAME"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_a_wrong_request_is_refused(here: Any, sung: Path, arguments: tuple[str, ...], part: str) -> None:
    assert part in here("convert", sung, sung.with_name("out.wav"), *arguments).refused()
    assert not sung.with_name("out.wav").exists()


def test_what_is_no_sound_is_refused(here: Any, tmp_path: Path) -> None:
    assert "no sound file at" in here("convert", tmp_path / "no.wav", tmp_path / "out.wav", "--voice", "Ada").refused()
    (tmp_path / "text.wav").write_text("no sound")
    assert "cannot be read" in here("convert", tmp_path / "text.wav", tmp_path / "out.wav", "--voice", "Ada").refused()


def test_live_takes_a_voice_by_its_name(here: Any, kim: Voice) -> None:
    live = ("live", "--backend", "null", "--duration", "0.2", "--no-midi", "--no-autosave", "--json")
    figures = here(*live, "--voice", "Kim").json
    assert figures["latency_frames"] > 0
    assert "this chain has no stage convert" in here(*live, "--voice", "Kim", "--chain", "gate").refused()
    assert "no voice is called 'Kin'; did you mean 'Kim'?" in here(*live, "--voice", "Kin").refused()
    assert here(*live, "--voice", "Kim", "--emotion", "happy").code == 0
    assert here(*live, "--voice", "Ada", "--singer", "Kim").code == 0
    for alone in (("--emotion", "happy"), ("--singer", "Kim")):
        assert f"{alone[0]} goes with --voice NAME" in here(*live, *alone).refused()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Chain(STAGES), backend="null", name=f"cast-{os.getpid()}") as running:
        yield running


def value(engine: Engine) -> float:
    return engine.processor.values["convert/voice"]


def test_a_voice_is_changed_by_name_while_it_plays(engine: Engine, kim: Voice) -> None:
    with Conductor(engine) as conductor:
        assert conductor.do("voice", "Bruno") == "Bruno"
        assert wait_until(lambda: value(engine) == voices.shipped_names().index("Bruno"))
        assert conductor.do("voice", "Kim", "convert") == "Kim"
        slot = next(slot for slot, name in casting.slots().names().items() if name == "Kim")
        assert wait_until(lambda: value(engine) == slot)
        assert casting.slots().users(slot) >= 1
        assert conductor.do("emotion", "angry") == "angry"
        values, tilt = engine.processor.values, emotion("angry").tilt
        assert wait_until(lambda: values["convert/tilt"] == pytest.approx(tilt))
        assert values["convert/breathiness"] == pytest.approx(emotion("angry").breathiness)
        with pytest.raises(StageError, match="did you mean 'angry'"):
            conductor.do("emotion", "angri")
        for arguments, line in ((("Nobody",), "no voice is called 'Nobody'"), (("Ada", "conver"), "did you mean 'convert'?")):
            with pytest.raises(StageError, match=re.escape(line)):
                conductor.do("voice", *arguments)
        assert value(engine) == slot
    assert engine.alive


def test_a_slot_is_held_while_it_plays_and_let_go_afterwards(
    engine: Engine, kim: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autovoice.rt.control.voices.LINGER_S", 0.1)
    slots = VoiceSlots(lambda *_: None, slots=20, fixed={"Ada": 0}, find=voices.find)
    monkeypatch.setattr(casting, "slots", lambda: slots)
    with Conductor(engine) as conductor:
        conductor.do("voice", "Kim")
        slot = next(slot for slot, name in slots.names().items() if name == "Kim")
        assert slots.users(slot) == 1
        conductor.do("voice", "Ada")
        assert wait_until(lambda: slots.users(slot) == 0)
        conductor.do("voice", "Kim")
        assert slots.users(slot) == 1
    assert slots.users(slot) == 0


def test_without_the_stage_nobody_can_be_become() -> None:
    with (
        Engine(Chain(["gain"]), backend="null", name=f"nobody-{os.getpid()}") as plain,
        Conductor(plain) as conductor,
        pytest.raises(StageError, match="put the stage convert into the chain"),
    ):
        conductor.do("voice", "Ada")


def leaks(text: str, voice: Voice) -> list[str]:
    """Return which numbers of a voice stand in a text, as such or as bytes."""
    own = np.concatenate([voice.timbre, speaker_encoder.unit(voice.timbre)]).astype(float)
    own = own[np.abs(own) > 1e-3]
    said = np.array([float(one) for one in re.findall(r"-?\d+\.\d{4,}(?:e-?\d+)?", text)] or [math.inf])
    found = [str(one) for one in own if np.isclose(said, one, rtol=1e-5, atol=0).any()]
    raw = voice.timbre.tobytes()
    return found + [form for form in (base64.b64encode(raw).decode()[:40], raw.hex()[:40]) if form in text]


def test_the_network_tells_names_and_slots_and_none_of_a_voices_numbers(engine: Engine, kim: Voice) -> None:
    assert leaks(json.dumps(kim.timbre.tolist()), kim)  # the search would find them
    pytest.importorskip("aiohttp")
    pytest.importorskip("prometheus_client")
    with Conductor(engine, web=WebSettings(port=0)) as conductor:
        conductor.do("voice", "Kim")
        slot = next(slot for slot, name in casting.slots().names().items() if name == "Kim")
        assert wait_until(lambda: value(engine) == slot and conductor.web is not None)
        assert engine.processor.page is not None
        _, board = engine.processor.page.read_board()
        assert board["state"]["voices"][str(slot)] == "Kim"
        assert conductor.web is not None
        told = [json.dumps(board)]
        for path in ("/", "/?HOST_INFO", "/autovoice/convert/voice", "/metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{conductor.web['port']}{path}", timeout=30) as answer:
                told.append(answer.read().decode())
        assert "convert" in told[1]
        assert [leaks(text, kim) for text in told] == [[]] * len(told)


def test_the_command_line_names_voices_in_settings_presets_and_takes(here: Any, tmp_path: Path, kim: Voice) -> None:
    live = ("live", "--backend", "null", "--duration", "0.2", "--no-midi", "--no-autosave")
    preset = tmp_path / "us.toml"
    preset.write_text('version = 1\n[[stages]]\nstage = "convert"\nmode = "low"\nvoice = "Kim"\n')
    kept = here(*live, "--preset", preset, "--take", "Song", "--takes", tmp_path)
    assert kept.code == 0
    assert "Kim" not in kept.err
    assert here(*live, "--chain", "convert", "--set", "convert/voice=Kim", "--set", "convert/other=3").code == 0
    voices.delete("Kim")
    gone = here(*live, "--preset", preset)
    assert gone.code == 0
    assert "us.toml: convert/voice stays at its default: no voice is called 'Kim'" in gone.err
    assert "no voice is called 'Kim'" in here(*live, "--chain", "convert", "--set", "convert/voice=Kim").refused()
    assert here("replay", tmp_path / "Song", "--check").code == 0
