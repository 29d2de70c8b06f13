"""The presets that come with AutoVoice: every one plays, and does what it is called for; a broken one says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain
from autovoice.rt.presets import load_preset, preset_names
from support import Audio

RATE = 48_000  # Hz


def played(name: str, sound: Audio) -> Audio:
    """Return what a preset makes of a sound, shape (channels, frames)."""
    preset = load_preset(name)
    return np.atleast_2d(preset.chain().render(sound, sample_rate=RATE, channels=preset.channels or 1))


def pitch(sound: Audio) -> Audio:
    """Return the voiced f0 values in Hz."""
    f0 = Chain(["pitch"]).analyse(sound, sample_rate=RATE).f0_hz
    return np.asarray(f0[f0 > 0])


@pytest.fixture(scope="module")
def line() -> Audio:
    """Return four off-pitch notes with a voice's harmonics, around 220 Hz, with pauses."""
    time_s = np.arange(4 * RATE) / RATE
    midi = np.repeat([57.3, 60.2, 58.8, 54.7], RATE) + 0.2 * np.sin(2 * np.pi * 5.5 * time_s)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / RATE
    sound = 0.2 * np.sum([np.sin(k * phase) / k for k in range(1, 15)], axis=0)
    return (sound * np.clip(np.minimum(time_s % 1, 0.9 - time_s % 1) / 0.02, 0, 1)).astype(np.float32)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_speaks_below_its_ceiling_and_keeps_quiet_in_silence(name: str, speech: Audio) -> None:
    heard = played(name, speech)
    ceiling = max(
        10 ** (float(stage.get("ceiling", -1)) / 20) for stage in load_preset(name).stages if stage["stage"] == "limiter"
    )
    assert np.isfinite(heard).all()
    assert 0.1 < np.abs(heard).max() <= ceiling + 1e-6
    assert len(heard) == (load_preset(name).channels or 1)
    assert load_preset(name).chain().latency(RATE) < 0.035 * RATE
    assert not played(name, np.zeros(RATE // 2, np.float32)).any()


@pytest.mark.parametrize(("name", "semitones"), [("higher_gender", 8), ("lower_gender", -8), ("monster", -9)])
def test_a_shifted_voice_is_as_much_higher_or_lower_as_the_preset_says(name: str, semitones: int, line: Audio) -> None:
    moved = 12 * float(np.mean(np.log2(pitch(played(name, line)[0]))) - np.mean(np.log2(pitch(line))))
    assert moved == pytest.approx(semitones, abs=0.3)


def test_hard_tune_stands_on_semitones(line: Audio) -> None:
    preset = load_preset("hard_tune")
    stages = [stage for stage in preset.stages if stage["stage"] != "delay"]  # echoes hide the pitch

    def on_a_note(sound: Audio) -> float:
        midi = 69 + 12 * np.log2(pitch(sound) / 440)
        return float(np.mean(np.abs(midi - np.round(midi)) < 0.12))

    tuned = Chain(stages).render(line, sample_rate=RATE)
    assert on_a_note(tuned) > 0.8 > on_a_note(line) + 0.2


def test_a_robot_speaks_on_one_note(speech: Audio) -> None:
    f0 = pitch(played("robot", speech).mean(0))
    assert np.mean(np.abs(12 * np.log2(f0 / (440 * 2 ** ((43 - 69) / 12)))) % 12 < 0.3) > 0.7
    assert np.std(np.log2(pitch(speech))) > 0.05  # which the reader did not


def test_a_radio_has_neither_lows_nor_highs(speech: Audio) -> None:
    def share(sound: Audio) -> float:
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
        return float(power[(hertz < 200) | (hertz > 5000)].sum() / power.sum())

    assert share(played("radio", speech)[0]) < 0.02


def test_a_choir_is_wide_and_rings_on(speech: Audio) -> None:
    cut = np.concatenate([speech[:RATE], np.zeros(RATE, np.float32)])
    left, right = played("choir", cut)
    assert abs(np.corrcoef(left[: RATE // 2], right[: RATE // 2])[0, 1]) < 0.95
    tail = np.sqrt(np.mean(left[RATE + 4800 : RATE + 24_000] ** 2))
    assert tail > 1e-3


def test_a_podcast_has_quieter_pauses(speech: Audio) -> None:
    noisy = speech + 0.003 * np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    noisy = np.concatenate([noisy, 0.003 * np.random.default_rng(2).standard_normal(2 * RATE).astype(np.float32)])
    heard = played("podcast", noisy)[0]

    def span(sound: Audio) -> float:
        return float(20 * np.log10(np.std(sound[: len(speech)]) / np.std(sound[-RATE // 2 :])))

    assert span(heard) > span(noisy) + 10


BROKEN: dict[str, tuple[str, str]] = {
    "no version": ('[[stages]]\nstage = "gain"', "says version = 1, got None"),
    "unknown key": ('version = 1\nstage = "gain"', "has no key 'stage'; did you mean 'stages'"),
    "no stages": ("version = 1", r"lists its stages as \[\[stages\]\] tables"),
    "not TOML": ("version 1", "is not a preset"),
    "channels": ('version = 1\nchannels = 9\n[[stages]]\nstage = "gain"', "channels must be in 1..8, got 9"),
    "master": ('version = 1\n[[stages]]\nstage = "gain"\n[master]\nmix = 2', "master/mix must be in 0..1, got 2"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_refused_with_the_way_out(fault: str, tmp_path: Path) -> None:
    text, message = BROKEN[fault]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(StageError, match=message):
        load_preset(str(path))


def test_a_value_out_of_range_names_preset_stage_and_range(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('version = 1\n[[stages]]\nstage = "gain"\ngain = 99')
    with pytest.raises(StageError, match=r"preset mine: gain/gain must be in .* got 99"):
        load_preset(str(path)).chain()


def test_a_preset_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(StageError, match="no preset is called 'robbot'; did you mean 'robot'"):
        load_preset("robbot")


def test_the_command_line_plays_a_preset_with_settings_on_top(tmp_path: Path, speech: Audio) -> None:
    import soundfile
    from autovoice.tools.cli import run

    source, target = tmp_path / "dry.wav", tmp_path / "wet.wav"
    soundfile.write(source, speech[:RATE], RATE, subtype="FLOAT")
    assert run(["render", str(source), str(target), "--preset", "monster", "--set", "shift/semitones=0"]) == 0
    preset = load_preset("monster")
    specs: list[dict[str, Any]] = [dict(stage) for stage in preset.stages]
    specs[2]["semitones"] = 0.0
    expected = Chain(specs).render(speech[:RATE], sample_rate=RATE, channels=2)
    assert np.array_equal(soundfile.read(target, dtype="float32")[0].T, expected)
