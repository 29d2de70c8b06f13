"""Examples for training: the same moment in two voices, disturbed in what is heard and not in what is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from autovoice.dsp.converter.features import SPREAD
from autovoice.models import dataset
from autovoice.models.dataset import HOP, PAD, RATE, Normal, Utterance
from autovoice.tools import corpus
from safetensors.numpy import save_file

SECONDS = 2.0
PITCHES_HZ = (120.0, 200.0)


@pytest.fixture(scope="module")
def utterance(tmp_path_factory: pytest.TempPathFactory) -> Utterance:
    """Two voices that hum at the same time: silence, then a tone with harmonics from the middle on."""
    pytest.importorskip("scipy.signal")
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    sounds = []
    for f0_hz in PITCHES_HZ:
        tone = np.sum([np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 12)], 0)
        sounds.append(np.round(6000 * tone * (time_s > SECONDS / 2)).astype(np.int16))
    content = np.tile(np.arange(80, dtype=np.float16), (512, 1))  # each frame says its number
    path = tmp_path_factory.mktemp("corpus") / "000000.safetensors"
    timbre = np.stack([np.zeros(128), np.ones(128)]).astype(np.float32)
    save_file(
        {
            "sound": np.stack(sounds),
            "clear": np.array([0, 1], np.uint8),
            "timbre": timbre,
            "content": content,
            "phonemes": content[0].astype(np.int16),
        },
        path,
        {"voices": json.dumps([])},
    )
    once = dataset.prepare(path)
    kept = path.parent / "prepared" / path.name
    before = kept.stat().st_mtime_ns
    assert np.array_equal(dataset.prepare(path).bands, once.bands)
    assert kept.stat().st_mtime_ns == before  # and is not made again
    return once


def test_an_utterance_of_an_older_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "000000.safetensors"
    given = {
        "sound": np.zeros((2, RATE), np.int16),
        "clear": np.ones(2),
        "timbre": np.zeros((2, 128)),
        "content": np.zeros((512, 40)),
    }
    save_file(given, path)
    with pytest.raises(ValueError, match=r"000000\.safetensors is of an older version, it lacks phonemes: .* make it again"):
        dataset.prepare(path)


NORMAL = Normal(np.full(128, 0.5), np.full(128, 0.5))


@pytest.mark.parametrize("lookahead", [1, 3, 8])
def test_the_target_lags_the_source_by_the_look_ahead(utterance: Utterance, lookahead: int) -> None:
    first, frames = 60, 120
    given = dataset.example(utterance, 0, 1, first, frames, lookahead, NORMAL)
    begins = PAD + round(SECONDS / 2 * RATE) // HOP  # the first frame in which there is sound
    heard = np.flatnonzero(given.x[:, 10:60].max(1) > -1.0)[0] + first
    drawn = np.flatnonzero(np.abs(given.sound) > 0.01)[0] / HOP + first + 1 - lookahead
    assert heard == begins
    assert drawn == pytest.approx(begins, abs=0.1)
    assert given.sound.shape == (frames * HOP,) and given.f0_hz.shape == ((frames + 1) * HOP,)


def test_pitch_is_the_targets_and_the_network_is_told_the_sources(utterance: Utterance) -> None:
    given = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL)
    assert given.f0_hz[-1000:] == pytest.approx(PITCHES_HZ[1], rel=0.003)
    assert given.x[-10:, -2] == pytest.approx(np.log2(PITCHES_HZ[0] / 150), abs=0.01)
    assert given.pitch[-10:, 0] == pytest.approx(np.log2(PITCHES_HZ[1] / 150), abs=0.01)
    assert given.speaker == pytest.approx(1.0)


def test_content_is_that_of_the_frame_that_is_drawn(utterance: Utterance) -> None:
    given = dataset.example(utterance, 0, 1, PAD + 49, 100, 3, NORMAL)
    drawn = PAD + 50 - 3 + np.arange(100)
    number = np.floor(np.clip((drawn + 3 - PAD) / 2.5, 0, 79))
    assert np.array_equal(given.content[:, 0], number)
    assert np.array_equal(given.phonemes, number)


def test_only_the_level_of_a_disturbance_reaches_the_target(utterance: Utterance) -> None:
    plain = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL)
    spans = []
    for seed in range(12):
        other = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL, np.random.default_rng(seed))
        made, wanted = other.sound.reshape(60, HOP), plain.sound.reshape(60, HOP)
        gains = (made * wanted).sum(1) / (wanted**2).sum(1)  # of each frame
        between = np.interp(np.arange(60 * HOP) / HOP - 0.5, np.arange(60), gains)
        assert np.abs(other.sound - between * plain.sound).max() < 0.02 * np.abs(other.sound).max()
        loud = plain.bands > -0.5
        assert np.median(np.abs((other.bands - plain.bands - 2 * np.log(gains[:, None]) / SPREAD)[loud])) < 0.02
        assert np.abs(other.x[:, :80] - plain.x[:, :80]).mean() > 0.05
        assert np.array_equal(other.f0_hz, plain.f0_hz) and np.array_equal(other.phonemes, plain.phonemes)
        spans.append(20 * np.log10(gains.max() / gains.min()))
    again = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL, np.random.default_rng(11))
    assert np.array_equal(again.x, other.x)
    assert min(spans) < 0.1 and 2 < max(spans) < 16  # dB: most levels stay, some swell


def test_some_examples_are_heard_as_they_are_but_for_the_level(utterance: Utterance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "CALM", 1.0)
    monkeypatch.setattr(dataset.disturbance, "SWELLS", 0.0)
    plain = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL)
    other = dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL, np.random.default_rng(4))
    louder = (other.x - plain.x)[:, :80][plain.x[:, :80] > -0.5]
    gain = np.linalg.norm(other.sound) / np.linalg.norm(plain.sound)
    assert louder == pytest.approx(2 * np.log(gain) / SPREAD, abs=0.01) and abs(gain - 1) > 0.05
    assert np.array_equal(other.x[:, 80:], plain.x[:, 80:])


@pytest.mark.parametrize("swells", [0.0, 1.0])
def test_what_swells_is_heard_without_room_and_noise(
    utterance: Utterance, monkeypatch: pytest.MonkeyPatch, swells: float
) -> None:
    monkeypatch.setattr(dataset, "CALM", 0.0)
    monkeypatch.setattr(dataset.disturbance, "SWELLS", swells)
    asked, heard = [], dataset.disturbance.heard
    monkeypatch.setattr(dataset.disturbance, "heard", lambda *given: asked.append(given) or heard(*given))
    for seed in range(5):
        dataset.example(utterance, 0, 1, 160, 60, 3, NORMAL, np.random.default_rng(seed))
    assert len(asked) == (0 if swells else 5)


def test_voices_of_validation_and_those_held_out_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = [*corpus.VALIDATE, *corpus.HELD_OUT, *corpus.SHIPPED, "xx_other"]
    monkeypatch.setattr(corpus.teacher, "voices", lambda: everybody)
    assert corpus.training_voices() == [*corpus.SHIPPED, "xx_other"]
    assert set(corpus.VALIDATE) == {"af_nova", "am_puck", "bf_lily", "jm_kumo"}
    assert set(corpus.HELD_OUT) == {"af_kore", "am_eric", "bm_lewis", "bf_alice", "ff_siwis", "im_nicola"}


def test_a_text_follows_from_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus.teacher, "lexicon", lambda: ["zephyr", "quartz"])
    texts = [corpus.text_of("train", number) for number in range(20)]
    assert texts == [corpus.text_of("train", number) for number in range(20)]
    assert len(set(texts)) == 20
    assert all(8 <= len(text.split()) <= 14 and text[0].isupper() and text[-1] in ".?!" for text in texts)
    assert corpus.text_of("validate", 17) == corpus.SENTENCES[1]


def test_an_utterance_has_silence_around_it(utterance: Utterance) -> None:
    assert len(utterance) == 2 * PAD + round(SECONDS * 100)
    assert not utterance.sound[:, : PAD * HOP].any() and not utterance.sound[:, -PAD * HOP :].any()


def test_who_does_not_speak_clearly_is_heard_and_never_imitated(utterance: Utterance) -> None:
    drawn = list(dataset.draw([utterance], 40, 60, 3, NORMAL, np.random.default_rng(2)))
    assert all(one.speaker == pytest.approx(1.0) for one in drawn)  # the second voice
    heard = {round(float(np.median(one.x[-10:, -2])), 1) for one in drawn}
    assert len(heard) > 1
