"""The quality report itself: intervals, JSON, the page, the bars, and the command that compares converters."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("scipy.stats")
pytest.importorskip("jinja2")

from autovoice.tools.quality import (
    Clip,
    QualityError,
    Report,
    Row,
    assess,
    bars,
    baselines,
    converters,
    material,
    page,
    pitch,
    report,
    run,
)
from autovoice.tools.quality.clips import load
from autovoice.tools.quality.sung import melody
from click.testing import CliRunner
from safetensors.numpy import save_file
from talking import RATE, talk, without_judges

LIGHT = ("f0_correlation", "delay_ms", "snr_db", "energy_correlation")
LIGHTEST = ("delay_ms", "snr_db", "energy_correlation")


@pytest.fixture(autouse=True)
def own_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use our own pitch stage, so that the tests are the same wherever they run."""
    without_judges(monkeypatch, "world")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Two sources, each converted by two converters."""
    made = []
    for said in ("first", "second"):
        source = talk(1.8, seed=len(said), transpose=1.0 if said == "first" else 1.3)
        for system, other in (("teacher", talk(1.8, 1.4, 1.2)), ("mine & <yours>", talk(1.8, 1.4))):
            known: dict[str, Any] = {"system": system, "material": "validation", "said": said, "target": "anna", "delay_s": 0.0}
            made.append(Clip(f"{said}__anna", source, other, RATE, references=(talk(1.0),), text=f"The {said}.", **known))
    return made


@pytest.fixture(scope="module")
def found(clips: list[Clip]) -> Report:
    return assess(clips, LIGHT)


def rows(values: dict[str, list[float]], name: str = "snr_db", *, material: str = "validation") -> list[Row]:
    return [
        Row(f"{k}", system, material, f"said {k}", "anna", {name: value})
        for system, several in values.items()
        for k, value in enumerate(several)
    ]


def made_of(*many: Row) -> Report:
    return Report(list(many), {}, "none", "tiny")


def test_the_interval_of_a_mean_holds_the_mean() -> None:
    values = np.random.default_rng(1).normal(3.0, 0.5, 40)
    one = report.spread(values.tolist(), [str(k) for k in range(40)])
    assert one.low is not None and one.high is not None
    assert one.mean == pytest.approx(values.mean())
    assert one.low < one.mean < one.high
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(40), rel=0.3)
    assert report.spread(values.tolist(), [str(k) for k in range(40)]) == one


def test_clips_of_one_source_are_one_draw() -> None:
    """Forty clips of four sentences know less than forty sentences do."""
    sources = np.arange(40) % 4
    values = (sources + 0.01 * np.arange(40)).tolist()
    few = report.spread(values, [str(k) for k in sources])
    many = report.spread(values, [str(k) for k in range(40)])
    assert few.low is not None and many.low is not None
    assert few.mean - few.low > 2 * (many.mean - many.low)


def test_one_source_alone_has_no_interval() -> None:
    assert report.spread([1.0, 2.0], ["same", "same"]) == report.Spread(1.5, None, None, 2)
    assert report.Spread(1.5, None, None, 2).text() == "1.5"


def test_a_report_survives_its_file(found: Report, tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    path.write_text(found.json(), "utf-8")
    again = Report.read(path)
    assert again == found
    assert again.summary == found.summary
    whole = json.loads(path.read_text("utf-8"))
    assert whole["schema"] == "autovoice-quality-1"
    assert whole["summary"]["validation"]["teacher"]["delay_ms"]["clips"] == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "another"}', '{"schema": "autovoice-quality-1", "rows": [1]}'])
def test_a_foreign_file_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, "utf-8")
    with pytest.raises(QualityError, match=r"other\.json") as error:
        Report.read(path)
    assert "\n" not in str(error.value)


def test_reports_join_and_newer_rows_replace_older() -> None:
    older = made_of(*rows({"a": [1.0, 2.0], "b": [3.0]}))
    newer = made_of(*rows({"b": [4.0], "c": [5.0]}))
    joined = older.joined(newer).summary["validation"]
    assert {system: figures["snr_db"].mean for system, figures in joined.items()} == {"a": 1.5, "b": 4.0, "c": 5.0}


def test_the_summary_fits_a_screen(found: Report) -> None:
    lines = found.text().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 160
    assert lines[0].split()[:2] == ["validation", "clips"]
    assert "mine & <yours>" in found.text()


def test_the_page_plays_every_sound_from_disk(clips: list[Clip], found: Report, tmp_path: Path) -> None:
    html = page.publish(tmp_path / "new", found, clips, bars.judge(found, ["mine & <yours>"])).read_text("utf-8")
    assert (tmp_path / "new" / "quality.json").exists()
    sounds = re.findall(r'<audio [^>]*src="data:audio/flac;base64,([^"]+)"', html)
    assert len(sounds) == 2 * (1 + 1 + 2)  # source, the target's own speech, and both converters, for both sentences
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0])))
    assert (rate, len(sound)) == (RATE, len(clips[0].source))
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == len(sounds)
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "mine &amp; &lt;yours&gt;" in html and "<yours>" not in html
    assert "Return what it measures" not in html and "Pearson" in html


def test_bars_are_met_missed_or_not_measured() -> None:
    figures = {"similarity_target": 0.85, "similarity_source": 0.6, "character_error": 5.0, "source_character_error": 1.0}
    own = Row("x", "balanced", "validation", "x", "anna", {**figures, "dnsmos_ovrl": 3.2, "delay_ms": 55.0})
    teacher = Row("x", "teacher", "validation", "x", "anna", {"similarity_target": 0.9, "dnsmos_ovrl": 3.4})
    verdicts = {one.name: one for one in bars.judge(made_of(own, teacher), ["balanced"])}
    assert verdicts["similarity, of the teacher's"].figure == pytest.approx(0.85 / 0.9)
    met = {name: one.passed for name, one in verdicts.items()}
    assert met["similarity, of the teacher's"] is met["nearer to the target"] is met["delay"] is True
    assert met["quality, below the teacher's"] is True
    assert met["words kept"] is False
    assert met["melody kept"] is met["in tune"] is met["similarity, real speaker"] is None
    assert "words kept: MISSED 4 " in verdicts["words kept"].text()


def test_the_delay_that_is_allowed_follows_the_mode() -> None:
    report = made_of(*rows({"low": [50.0], "balanced": [50.0], "quality": [50.0]}, "delay_ms"))
    verdicts = {one.system: one.passed for one in bars.judge(report, ["low", "balanced", "quality"]) if one.name == "delay"}
    assert verdicts == {"low": False, "balanced": True}


def test_strangers_are_never_asked_to_become_themselves() -> None:
    sources = [material.Source(f"0-{voice}", talk(), RATE, None, "validation") for voice in run.VALIDATE]
    chosen = run.enrolled(sources)
    assert len(chosen) == len(sources) * (len(run.VALIDATE) - 1)
    assert not [source for source, target in chosen if source.name.endswith(target)]
    assert {source.material for source, _ in chosen} == {"enrolled"}


def test_a_speaker_is_enrolled_from_something_else_than_what_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("book-01", "book-02", "book-03"):
        soundfile.write(tmp_path / f"{name}.wav", talk(), RATE)
    monkeypatch.setattr(material, "PEOPLE", tmp_path)
    person = material.Source("02", talk(), RATE, None, "real")
    assert [path.name for path in material.own_speech(person)] == ["book-01.wav", "book-03.wav"]
    asked: list[str] = []
    monkeypatch.setattr(material, "references", asked.append)
    made = material.Source("0-af_nova", talk(), RATE, None, "validation", speaker="af_nova")
    assert material.own_speech(made) == material.reference_files("af_nova")
    assert asked == ["af_nova"]


def test_a_melody_holds_notes_of_the_tempered_scale() -> None:
    line = 69 + 12 * np.log2(melody(2000, 200.0, 1) / 440)
    assert np.mean(np.abs(line - np.round(line)) < 1e-6) > 0.8
    assert len(np.unique(np.round(line))) >= 5
    assert np.abs(line - (69 + 12 * np.log2(200 / 440))).max() <= 7.5
    assert np.array_equal(melody(2000, 200.0, 1), melody(2000, 200.0, 1))


def test_files_of_several_rates_make_a_clip(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", talk(), RATE)
    soundfile.write(tmp_path / "b.wav", np.repeat(talk(), 3), 3 * RATE)
    one = load(tmp_path / "a.wav", tmp_path / "b.wav", [tmp_path / "b.wav"], text="Hello.")
    assert (one.name, one.rate, len(one.references), one.text) == ("b", RATE, 1, "Hello.")
    assert abs(len(one.converted) - len(one.source)) < 10
    with pytest.raises(QualityError, match=r"nothing\.wav cannot be read"):
        load(tmp_path / "nothing.wav", tmp_path / "b.wav")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus folder of two utterances in two voices, and references that no teacher had to say."""
    (tmp_path / "validate").mkdir()
    for k in range(2):
        sounds = np.stack([np.round(talk(1.8, t) * 2**15) for t in (1.0 + 0.2 * k, 1.5)]).astype(np.int16)
        known = {"voices": json.dumps([{"anna": 1.0}, {"bert": 1.0}]), "text": "One two."}
        save_file({"sound": sounds, "clear": np.ones(2, np.uint8)}, tmp_path / "validate" / f"{k:06d}.safetensors", known)
    for module in (material, baselines):
        monkeypatch.setattr(module, "RATE", RATE)
    monkeypatch.setattr(material, "references", lambda target: (talk(1.0, 1.5),))
    monkeypatch.setattr(run, "SHIPPED", ("bert",))
    monkeypatch.setattr(run, "QUICK", LIGHTEST)
    monkeypatch.setattr(run, "QUICK_PAIRS", 4)
    monkeypatch.setattr(run, "LISTENED", 1)
    return tmp_path


def test_only_who_speaks_clearly_and_is_nobodys_mixture_is_a_target(corpus: Path) -> None:
    (corpus / "train").mkdir()
    sounds = np.stack([np.full(100, k, np.int16) for k in range(4)])
    known = {"voices": json.dumps([{"anna": 0.5, "carl": 0.5}, {"anna": 1.0}, {"bert": 1.0}, {"bert": 0.5, "carl": 0.5}])}
    for number, clear in enumerate(([0, 0, 1, 1], [0, 0, 0, 1])):
        tensors = {"sound": sounds, "clear": np.array(clear, np.uint8)}
        save_file(tensors, corpus / "train" / f"{number:06d}.safetensors", known | {"text": "One two."})
    (found,) = material.training(corpus, 1)
    assert found.rows == {"bert": 2} and found.name == "000000-anna"
    assert np.array_equal(found.aligned["bert"], sounds[2] / np.float32(2**15))
    with pytest.raises(QualityError, match="holds 1 training utterances in voices that ship, 2 were asked for"):
        material.training(corpus, 2)


def test_utterances_of_an_older_version_are_refused_with_the_way_out(corpus: Path) -> None:
    path = corpus / "validate" / "000000.safetensors"
    save_file({"sound": np.zeros((1, 10), np.int16)}, path, {"voices": "[{}]", "text": ""})
    with pytest.raises(QualityError, match=r"000000\.safetensors is of an older version, it lacks clear: delete it"):
        material.validation(corpus)


def test_a_converter_of_ones_own_stands_beside_the_teacher(corpus: Path) -> None:
    (corpus / "mine.py").write_text("def late(sound, rate, target):\n    return sound[:-400], 0.0, 0.01\n", "utf-8")
    ran = CliRunner().invoke(run.main, [str(corpus), "--quick", "--converter", f"low={corpus / 'mine.py'}:late"])
    assert ran.exit_code == 0, ran.output
    systems = [line.split()[0] for line in ran.output.splitlines() if re.match(r"\S+ +4 ", line)]
    assert systems == ["unconverted", "teacher", "low"]
    assert "low: delay: met" in ran.output


def test_a_clip_that_cannot_be_judged_is_told_and_misses_every_bar(corpus: Path) -> None:
    (corpus / "mute.py").write_text("def mute(sound, rate, target):\n    return 0 * sound, 0.0, 0.01\n", "utf-8")
    ran = CliRunner().invoke(run.main, [str(corpus), "--quick", "--converter", f"low={corpus / 'mute.py'}:mute"])
    assert ran.exit_code == 0, ran.output
    assert "could not be judged: validation, low: 000000-anna__bert: converted is silent" in ran.output
    assert "... and 1 more" in ran.output
    row = Row("x", "low", "validation", "x", "anna", {"delay_ms": 10.0})
    broken = Report([row], {}, "none", "tiny", failures=[report.Failure("y", "low", "validation", "y: converted is silent")])
    assert {one.passed for one in bars.judge(broken, ["low"]) if one.formula.endswith("validation")} == {False}


def test_a_folder_of_sounds_is_a_converter(corpus: Path, tmp_path: Path) -> None:
    for source in material.validation(corpus):
        soundfile.write(tmp_path / f"{source.name}__bert.wav", source.aligned["bert"], RATE)
    arguments = [str(corpus), "--quick", "--no-baselines", "--folder", str(tmp_path), "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(run.main, arguments)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "out" / "quality.html").exists()
    (tmp_path / "000001-anna__bert.wav").unlink()
    ran = CliRunner().invoke(run.main, arguments)
    assert ran.exit_code == 2 and "000001-anna__bert.wav is missing" in ran.output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--no-baselines"], "nothing to assess"),
        (["--converter", "nothing"], "a converter is module:function or file.py:function, got 'nothing'"),
        (["--converter", "no_such_module:f"], "no converter 'no_such_module:f'"),
        (["--folder", "/nowhere"], "/nowhere is no folder"),
        (["--mode", "low", "--weights", __file__], Path(__file__).name),
    ],
)
def test_a_wrong_call_ends_with_one_line(corpus: Path, arguments: list[str], line: str) -> None:
    ran = CliRunner().invoke(run.main, [str(corpus), *arguments])
    assert ran.exit_code == 2
    assert line in ran.output


def test_a_folder_without_utterances_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"holds no validation utterances: python -m autovoice\.tools\.corpus"):
        material.validation(tmp_path)


def test_the_baselines_that_need_nothing_are_what_they_say(corpus: Path) -> None:
    source = material.validation(corpus)[0]
    assert converters.unconverted(source, "bert")[0] is source.sound
    assert converters.teacher(source, "bert")[0] is source.aligned["bert"]
    with pytest.raises(QualityError, match="the teacher never said this as carl"):
        converters.teacher(source, "carl")


def test_a_shifted_voice_has_the_targets_pitch(corpus: Path) -> None:
    baselines.target_hz.cache_clear()
    source = talk(1.8)
    wet, delay, seconds = baselines.shift(source, RATE, "bert")
    baselines.target_hz.cache_clear()
    assert len(wet) == len(source) and seconds is not None and seconds > 0
    assert delay == pytest.approx(0.010, abs=0.007)
    wanted = pitch.melody(talk(1.0, 1.5), RATE).median_hz()
    assert pitch.melody(wet, RATE).median_hz() == pytest.approx(wanted, rel=0.05)
