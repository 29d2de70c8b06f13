"""The measures of the quality report: what they say of sounds whose difference is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy.signal")

from autovoice.tools.quality import Clip, QualityError, assess, judges, pitch, signal, words
from autovoice.tools.quality.measures import MEASURES, Heard, NotApplicable
from talking import RATE, talk, without_judges

Array = np.ndarray[Any, Any]
WITHOUT_JUDGES = [name for name, measure in MEASURES.items() if not measure.judge]


def clip(converted: Array, source: Array | None = None, **known: Any) -> Clip:
    return Clip("one", talk() if source is None else source, converted, RATE, **known)


def late(sound: Array, ms: float) -> Array:
    return np.concatenate([np.zeros(round(ms * RATE / 1e3), np.float32), sound])


def measured(what: str, one: Clip) -> float:
    return MEASURES[what].of(Heard(one, "base"))


@pytest.fixture(autouse=True)
def own_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use our own pitch stage, so that the tests are the same wherever they run."""
    without_judges(monkeypatch, "world")


def test_a_voice_beside_itself_differs_in_nothing() -> None:
    voice = talk()
    figures = assess([clip(voice, voice, aligned=voice, delay_s=0.0, compute_s=0.24)], WITHOUT_JUDGES).rows[0].figures
    assert figures["f0_correlation"] == pytest.approx(1)
    assert figures["voicing_f1"] == figures["speaking_rate"] == 1
    assert figures["mcd_db"] == figures["log_mel_distance_db"] == figures["f0_error_cents"] == figures["f0_range_st"] == 0
    assert figures["energy_correlation"] == pytest.approx(1)
    assert figures["delay_ms"] == pytest.approx(0, abs=0.01)
    assert figures["rtf"] == pytest.approx(0.1)


def test_the_melody_of_a_transposed_voice_is_the_same() -> None:
    one = clip(talk(transpose=1.5, formant=1.1))
    assert measured("f0_correlation", one) > 0.98
    assert measured("f0_error_cents", one) < 15
    assert abs(measured("f0_range_st", one)) < 0.5


def test_a_flattened_melody_is_told_from_the_true_one() -> None:
    one, other = (pitch.Melody(f0, f0 > 0) for f0 in (np.linspace(100, 200, 50), np.linspace(200, 100, 50)))
    assert pitch.correlation(one, other) == pytest.approx(-1, abs=0.05)
    flat = pitch.Melody(np.full(50, 140.0), np.ones(50, bool))
    assert pitch.correlation(one, flat) == 0
    assert pitch.error_cents(one, flat) > 200


@pytest.mark.parametrize("ms", [0, 12.5, 40, 250])
def test_a_delay_is_found(ms: float) -> None:
    assert measured("delay_ms", clip(late(talk(), ms))) == pytest.approx(ms, abs=0.5)


def test_a_declared_delay_is_taken_out_before_anything_is_compared() -> None:
    voice = talk()
    one = clip(late(voice, 40), voice, aligned=voice, delay_s=0.04)
    assert measured("mcd_db", one) == pytest.approx(0, abs=1e-3)
    assert measured("energy_correlation", one) == pytest.approx(1, abs=1e-3)
    assert measured("declared_delay_ms", one) == 40


def test_mel_cepstral_distortion_is_the_difference_of_the_envelopes_in_db() -> None:
    """A ripple of amplitude A on the log spectrum is A / sqrt(2) dB away, as the factor in its formula says."""
    noise = np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32) * 0.1
    edges = np.arange(signal.MEL_BANDS)
    rippled = 3.0 * np.cos(np.pi * 4 * (edges + 0.5) / signal.MEL_BANDS)  # dB, cepstrum 4
    bank = signal.mel_bank(RATE, 400, signal.MEL_BANDS)
    centre = np.array([np.average(np.arange(201), weights=row) for row in bank]) * RATE / 400
    spectrum = np.fft.rfft(noise)
    gain = np.interp(np.fft.rfftfreq(len(noise), 1 / RATE), centre, rippled)
    other = np.fft.irfft(spectrum * 10 ** (gain / 20), len(noise)).astype(np.float32)
    far = measured("mcd_db", clip(other, noise, aligned=noise))
    assert far == pytest.approx(3 / np.sqrt(2), rel=0.1)


def test_the_level_is_no_spectral_difference() -> None:
    voice = talk()
    one = clip(0.25 * voice, voice, aligned=voice)
    assert measured("mcd_db", one) == pytest.approx(0, abs=1e-3)
    assert measured("log_mel_distance_db", one) == pytest.approx(0, abs=1e-3)


def test_noise_in_the_pauses_is_heard() -> None:
    voice = talk()
    hiss = 0.01 * np.random.default_rng(2).standard_normal(len(voice)).astype(np.float32)
    speech = np.sqrt(np.square(voice[signal.active(voice, RATE).repeat(160)]).mean())
    assert measured("snr_db", clip(voice + hiss, voice)) == pytest.approx(20 * np.log10(speech / 0.01), abs=1.0)


def test_mel_powers_are_those_that_the_speaker_encoder_was_trained_on() -> None:
    librosa = pytest.importorskip("librosa")
    voice = talk()
    wanted = librosa.feature.melspectrogram(y=voice, sr=RATE, n_fft=400, hop_length=160, n_mels=40).T
    assert np.abs(signal.mel_power(voice, RATE) - wanted).max() < 1e-4 * wanted.max()


@pytest.mark.parametrize(
    ("said", "heard", "letters", "spoken"),
    [
        ("Hello, World!", "hello world", 0.0, 0.0),
        ("abcd", "abxd", 25.0, 100.0),
        ("one two three four", "1 two four", 100 * 6 / 18, 25.0),
        ("the café isn't open", "The cafe isnt open.", 0.0, 0.0),
        ("ab", "", 100.0, 100.0),
    ],
)
def test_errors_of_words_and_letters(said: str, heard: str, letters: float, spoken: float) -> None:
    assert words.character_error(said, heard) == pytest.approx(letters)
    assert words.word_error(said, heard) == pytest.approx(spoken)


def test_a_measure_with_nothing_to_compare_is_left_out() -> None:
    with pytest.raises(NotApplicable):
        measured("mcd_db", clip(talk()))
    figures = assess([clip(talk())], WITHOUT_JUDGES).rows[0].figures
    assert not {"mcd_db", "log_mel_distance_db", "declared_delay_ms", "rtf"} & set(figures)
    assert {"f0_correlation", "delay_ms"} <= set(figures)


def test_a_missing_judge_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_judges(monkeypatch, "dnsmos")
    report = assess([clip(talk())], ["delay_ms", "dnsmos_ovrl"])
    with pytest.raises(judges.JudgeMissing, match="DNSMOS is not installed: pip install"):
        judges.grades(talk())
    pip = judges.JUDGES["dnsmos"].pip
    assert report.left_out == {"dnsmos_ovrl": pip}
    assert "dnsmos_ovrl" not in report.rows[0].figures
    assert f"left out: dnsmos_ovrl: {pip}" in report.text()


BAD: dict[str, tuple[Callable[[], Clip], str]] = {
    "not a number": (lambda: clip(np.where(np.arange(38_400) == 7, np.nan, talk())), "1 values that are not finite"),
    "silence": (lambda: clip(np.zeros(38_400, np.float32)), "converted is silent: RMS 0, below 0.001"),
    "too short": (lambda: clip(talk(), talk()[:4000]), "source must last 0.5 s or more, got 0.25 s"),
    "stereo": (lambda: clip(np.stack([talk(), talk()])), r"must be mono, of shape \(frames,\), got \(2, 38400\)"),
    "another rate": (lambda: clip(np.repeat(talk(), 3)), "7.20 s at 16000 Hz, source 2.40 s: another length, or another rate"),
    "a bad reference": (lambda: clip(talk(), references=(np.zeros(RATE),)), "reference 1 is silent"),
    "a low rate": (lambda: replace(clip(talk()), rate=100), "rate must be at least 8000 Hz, got 100"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_in_one_line(what: str) -> None:
    make, line = BAD[what]
    with pytest.raises(QualityError, match=line) as error:
        make()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("one: ")


def test_a_sound_without_pitch_is_refused() -> None:
    noise = 0.1 * np.random.default_rng(3).standard_normal(38_400).astype(np.float32)
    with pytest.raises(QualityError, match=r"one: (converted has no voiced frame|[0-9]+ frames have a pitch in both)"):
        assess([clip(noise)], ["f0_correlation"])


def test_names_that_are_unknown_are_refused() -> None:
    with pytest.raises(QualityError, match="no measure is called loudness; there are: similarity_target"):
        assess([clip(talk())], ["loudness"])
    with pytest.raises(QualityError, match="whisper must be one of base, tiny, got 'huge'"):
        assess([clip(talk())], whisper="huge")
    with pytest.raises(QualityError, match="there is no clip to assess"):
        assess([])


def test_harvest_follows_a_voice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pyworld")
    monkeypatch.undo()
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    judges._notes.cache_clear()
    one, other = pitch.melody(talk(), RATE), pitch.melody(talk(transpose=1.5), RATE)
    judges._notes.cache_clear()
    assert pitch.tracker().startswith("WORLD")
    assert other.median_hz() / one.median_hz() == pytest.approx(1.5, rel=0.01)
    assert pitch.correlation(one, other) > 0.98
    assert pitch.voicing_f1(one, other) > 0.9


def test_what_a_judge_said_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    judges._notes.cache_clear()
    asked = []
    for sound in (talk(), talk(), talk(transpose=1.1)):
        said = judges.remembered("a judge, 1", sound, lambda: asked.append(1) or len(asked))
    judges._notes.cache_clear()
    assert said == len(asked) == 2
