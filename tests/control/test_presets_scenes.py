"""Scenes: a show is checked before it begins, and a scene sounds the same however one came to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain
from autovoice.rt.control.scenes import Show
from autovoice.rt.presets import capture, save_preset
from conducted import Stand, conducted

SHOW = """version = 1

[[scenes]]
name = "Walk in"
preset = "hall.toml"
[scenes.set]
"gain/gain" = -2.0

[[scenes]]
name = "Verse"
preset = "soft"
[scenes.set]
"gain/gain" = -10.0
"master/output" = -5.0

[[scenes]]
name = "Chorus"
morph = 0.1
[scenes.set]
"highpass/cutoff" = 300.0

[[scenes]]
name = "Robots"
preset = "hard"

[[scenes]]
name = "2"
[scenes.set]
"limiter/bypass" = true
"limiter/ceiling" = -7.5
"""


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A show of five scenes with two presets."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    save_preset(capture(Chain([{"stage": "gain", "gain": -3.0}, "highpass"]), {"master/mix": 0.9}, name="soft"))
    save_preset(capture(Chain(["limiter", {"stage": "gain", "gain": -1.0}]), {}, name="hard"))
    (tmp_path / "hall.toml").write_text('version = 1\n[[stages]]\nstage = "gain"\n')
    path = tmp_path / "show.toml"
    path.write_text(SHOW)
    return path


def sound(stand: Stand) -> dict[str, float]:
    """Return all that plays, once it rests."""
    assert stand.rests()
    return stand.values


def test_a_show_goes_forward_and_back(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        assert stand.state["scenes"] == ["Walk in", "Verse", "Chorus", "Robots", "2"]
        with pytest.raises(StageError, match="no scene has been gone to yet"):
            stand.do("scene/previous")
        assert stand.do("scene/next") == "Walk in"
        with pytest.raises(StageError, match="Walk in is the first scene"):
            stand.do("scene/previous")
        assert sound(stand)["gain/gain"] == -2.0
        assert stand.do("scene/next") == "Verse"
        values = sound(stand)
        assert (values["gain/gain"], values["master/output"], values["master/mix"]) == (-10.0, -5.0, 0.9)
        assert stand.do("scene/next") == "Chorus"
        assert stand.reaches("highpass/cutoff", 300.0)
        assert stand.do("scene/go", "Robots") == "Robots"
        assert stand.do("scene/go", "2") == "2"  # a name goes before a number
        assert stand.state["scene"] == "2"
        values = sound(stand)
        assert (values["limiter/bypass"], values["limiter/ceiling"], values["gain/gain"]) == (1.0, -7.5, -1.0)
        with pytest.raises(StageError, match="2 is the last scene"):
            stand.do("scene/next")
        assert stand.do("scene/go", 1) == "Walk in"
        assert stand.do("scene/go", "4") == "Robots"
        assert stand.do("scene/previous") == "Chorus"


def test_a_scene_sounds_the_same_whatever_was_before(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        in_order = {}
        for _ in range(5):
            name = stand.do("scene/next")
            in_order[name] = sound(stand)
        for name in ("Chorus", "Walk in", "2", "Verse", "Robots", "Chorus", "Walk in"):
            stand.do("scene/go", name)
            assert sound(stand) == in_order[name], name


def test_what_a_hand_moved_stays_where_a_scene_goes_on(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        stand.do("scene/go", "Verse")
        stand.hand("gain/gain", 1.0)
        assert stand.reaches("gain/gain", 1.0)
        stand.do("scene/next")
        assert stand.reaches("highpass/cutoff", 300.0)
        assert sound(stand)["gain/gain"] == 1.0
        stand.do("scene/go", "Chorus")  # again: as it was written
        assert sound(stand)["gain/gain"] == -10.0


def test_a_preset_loaded_by_hand_leaves_the_show_where_it_is(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        stand.do("scene/go", "Verse")
        stand.do("preset/load", "hard")
        assert stand.state["scene"] == "Verse"
        assert stand.do("scene/next") == "Chorus"  # which goes on from Verse, not from what a hand loaded
        assert stand.reaches("highpass/cutoff", 300.0)
        assert sound(stand)["gain/gain"] == -10.0


def test_a_scene_is_one_step_to_undo(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        stand.do("scene/go", "Verse")
        stand.do("scene/next")
        assert stand.reaches("highpass/cutoff", 300.0)
        assert stand.rests()
        stand.do("undo")
        assert stand.state["scene"] == "Verse"
        assert sound(stand)["highpass/cutoff"] == 80.0
        stand.do("undo")
        assert stand.state["scene"] is None
        assert sound(stand)["gain/gain"] == 0.0
        assert [p.key for p in stand.engine.chain.placed] == ["gain"]


def test_a_preset_saved_anew_is_in_the_show_at_once_unless_the_show_could_not_be_played(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        stand.do("preset/load", "soft")
        stand.hand("highpass/cutoff", 55.0)
        assert stand.reaches("highpass/cutoff", 55.0)
        stand.do("preset/save", "soft")
        stand.do("scene/go", "Verse")
        assert sound(stand)["highpass/cutoff"] == 55.0
        stand.do("chain/remove", "highpass")
        stand.do("preset/save", "soft")
        assert [n.text for n in stand.notices if "show stays as it was read" in n.text]
        stand.do("scene/go", "Chorus")
        assert stand.reaches("highpass/cutoff", 300.0)


def test_an_unknown_scene_is_refused_with_the_nearest(show: Path) -> None:
    with conducted(["gain"], scenes=show) as stand:
        for which, message in {"Vers": "did you mean 'Verse'", "9": r"scenes 1\.\.5, got 9", "0": r"scenes 1\.\.5"}.items():
            with pytest.raises(StageError, match=message):
                stand.do("scene/go", which)
        assert stand.state["scene"] is None


HEAD = 'version = 1\n[[scenes]]\nname = "A"\n'
SOFT = f'{HEAD}preset = "soft"\n'
BROKEN: dict[str, tuple[str, str]] = {
    "newer": ("version = 9", "this show is of version 9"),
    "no scenes": ("version = 1", r"lists its scenes as \[\[scenes\]\] tables"),
    "none": ("version = 1\nscenes = []", r"a show has 1\.\.1000 scenes, got 0"),
    "key": ("version = 1\nscene = 1", "a show has no key 'scene'; did you mean 'scenes'"),
    "scene's key": (f'{HEAD}presets = "x"', "scene 1 .A.: a scene has no key 'presets'"),
    "no name": ("version = 1\n[[scenes]]\n", r"scene 1: a scene has a name of 1\.\.80 characters, got None"),
    "twice": (f'{SOFT}[[scenes]]\nname = "A"', "scene 2 .A.: another scene has this name"),
    "no preset": (HEAD, "scene 1 .A.: the first scene names a preset"),
    "preset": (f'{HEAD}preset = "softer"', "no preset is called 'softer'; did you mean 'soft'"),
    "stage": (f'{SOFT}set = {{"eq/band1_gain" = 1}}', "no stage in the chain is called 'eq'; there are: gain, highpass"),
    "parameter": (f'{SOFT}set = {{"gain/gian" = 1}}', "gain has no parameter 'gian'; did you mean 'gain'"),
    "range": (f'{SOFT}set = {{"gain/gain" = 99}}', r"scene 1 .A.: gain/gain must be in -60\.\.24 dB, got 99"),
    "huge": (f'{SOFT}set = {{"gain/gain" = 1{"0" * 400}}}', "gain"),
    "option": (
        f'{HEAD}preset = "hard"\nset = {{"limiter/lookahead" = 1}}',
        "limiter/lookahead is fixed while it runs",
    ),
    "master": (f'{SOFT}set = {{"master/mix" = 2}}', r"A.: master/mix must be in 0\.\.1, got 2"),
    "morph": (f"{SOFT}morph = -1", r"a morph takes 0\.\.600 s, got -1"),
    "not TOML": ("version = 1\n[[scenes", "is not a show"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_show_that_would_fail_on_stage_is_refused_before_it_begins(fault: str, show: Path) -> None:
    text, message = BROKEN[fault]
    show.write_text(text)
    with pytest.raises(StageError, match=message) as caught:
        Show(show)
    assert str(caught.value).startswith(str(show)) or "read at" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_show_that_needs_more_latency_than_reserved_says_how_much(show: Path) -> None:
    built = Show(show)
    built.check_latency(48_000, built.latency(48_000))
    with pytest.raises(StageError, match=r"scene 4 \(Robots\) needs 78 frames .* start it with latency=78 or more"):
        built.check_latency(48_000, 10)


def test_a_show_takes_presets_from_beside_it(show: Path) -> None:
    scene = Show(show).scenes[0]
    assert scene.chain["gain"].values["gain"] == -2.0
    assert scene.origin == "hall"
