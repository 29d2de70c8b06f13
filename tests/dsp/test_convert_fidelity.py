"""What the network misses of a singer whom it knows is put back, and nobody hears it come or go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autovoice.dsp.converter import features, fidelity, program, voices, weights
from autovoice.rt import Chain
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support import Crank

Signal = NDArray[np.float32]
RATE = 48_000  # Hz
MAN, WOMAN = 5, 0  # slots of shipped voices
SINGER, NOBODY = 43, -1


def speech(duration: float = 2.0, sway: float = 1.0) -> Signal:
    """Return a buzz whose formants wander as far as `sway` says, and some hiss."""
    t = np.arange(round(duration * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(130 * 2 ** (0.1 * np.sin(5 * t))) / RATE
    centres = (600 + sway * 250 * np.sin(17 * t), 1400 + sway * 500 * np.sin(11 * t), 2600 + sway * 300 * np.sin(23 * t))
    sound = np.zeros(len(t))
    for k in range(1, 55):
        hz = k * 130.0
        sound += sum(a / (1 + ((hz - centre) / 80) ** 2) for centre, a in zip(centres, (1.0, 0.6, 0.3), strict=True)) * np.sin(
            k * phase
        )
    sound += np.random.default_rng(1).normal(0, 0.01 * sound.std(), len(t))
    return (0.1 * sound / sound.std()).astype(np.float32)


def convert(sound: Signal, **settings: float | str) -> Signal:
    """Return what the stage makes of a sound with the melody as it is, its delay taken off."""
    return Chain([{"stage": "convert", "match": 0, **settings}]).render(sound, sample_rate=RATE, block=441)


def moving(sound: Signal) -> NDArray[np.float64]:
    """Return what moves in the bands of a sound between its first and its last third of a second, dB."""
    third = RATE // 3
    bands = fidelity.DB * features.bands(sound[third : -third // 2], RATE).astype(np.float64)[:, 3:70]
    shape = bands - bands.mean(1, keepdims=True)
    return np.asarray(shape - shape.mean(0))


@pytest.fixture
def singer(voice_table: None) -> Iterator[int]:
    """Put the man into a slot of his own, as who sings."""
    held = voices.held(MAN)
    voices.put_voice(SINGER, held.timbre, held.median_hz, "who sings")
    yield SINGER


def test_a_sound_that_the_network_does_not_know_comes_out_more_as_it_went_in(singer: int) -> None:
    """The formants of the voice that is heard move more as the singer's do; more so, the more fidelity there is."""
    sound = speech()
    wanted = moving(sound)
    apart = [
        np.abs(moving(convert(sound, voice=MAN, singer=singer, fidelity=share)) - wanted).mean() for share in (0.0, 0.5, 1.0)
    ]
    assert apart[2] < 0.75 * apart[0]
    assert apart[2] < apart[1] < apart[0]


def test_what_the_network_knows_well_is_left_alone(singer: int) -> None:
    """Of what it has itself said in the singer's voice less than half as much is put back as of a buzz."""

    def added(sound: Signal) -> float:
        plain, faithful = (moving(convert(sound, voice=WOMAN, singer=who)) for who in (NOBODY, singer))
        return float(np.abs(faithful - plain).mean())

    strange = speech(3.0)
    assert added(convert(strange, voice=MAN)) < 0.5 * added(strange)


def test_without_a_singer_or_without_fidelity_nothing_is_put_back(singer: int) -> None:
    sound = speech(1.0)
    plain = convert(sound, voice=WOMAN)
    assert np.array_equal(plain, convert(sound, voice=WOMAN, singer=NOBODY))
    assert np.array_equal(plain, convert(sound, voice=WOMAN, singer=singer, fidelity=0.0))
    assert not np.allclose(plain, convert(sound, voice=WOMAN, singer=singer), atol=1e-3)


def test_what_always_differs_is_the_microphone_and_is_left_out(singer: int) -> None:
    """A shelf of 9 dB, once it has been heard for a while, is not given to the voice that is heard."""
    sound = speech(6.0)
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    tilted = np.fft.irfft(spectrum * 10 ** (np.interp(hz, [800, 3000], [0, 9]) / 20), len(sound)).astype(np.float32)

    def treble_db(heard: Signal) -> float:
        bands = fidelity.DB * features.bands(heard[-2 * RATE :], RATE).mean(0)
        return float(bands[50:65].mean() - bands[10:25].mean())

    changes = [
        treble_db(convert(tilted, voice=MAN, **settings)) - treble_db(convert(sound, voice=MAN, **settings))
        for settings in ({}, {"singer": singer})
    ]
    assert abs(changes[1] - changes[0]) < 2.0


def test_pauses_are_left_as_the_network_draws_them(singer: int) -> None:
    """Noise between the words, 50 dB below them, is not let in."""
    sound = speech(3.0)
    pause = slice(RATE, 2 * RATE)
    sound[pause] = np.random.default_rng(2).normal(0, 0.1 * 10 ** (-50 / 20), RATE)
    inside = slice(RATE + RATE // 4, 2 * RATE - RATE // 4)
    plain, faithful = (convert(sound, voice=WOMAN, singer=who)[inside] for who in (NOBODY, singer))
    assert 20 * np.log10(faithful.std() / plain.std()) < 1.0


def test_a_singer_comes_and_goes_without_a_click_and_leaves_no_trace(singer: int) -> None:
    """They come in a fade once the decoder has been asked about them for a while, and again so when they come back."""
    sound = speech(4.0)
    moves = [(RATE, singer), (2 * RATE, NOBODY), (3 * RATE, singer)]

    def play(moves: list[tuple[int, int]]) -> tuple[Signal, NDArray[np.float32]]:
        crank = Crank(Chain([{"stage": "convert", "match": 0, "voice": WOMAN}]), ins=1)
        heard, trust = [], []
        for first in range(0, len(sound), RATE // 100):
            crank.processor.send([("convert/singer", float(who)) for frame, who in moves if frame == first])
            heard.append(crank.run(sound[first : first + RATE // 100]))
            trust.append(crank.processor.image.states[1][0]["fidelity"]["trust"])
        return np.concatenate(heard), np.array(trust)

    (plain, _), (moved, trust) = play([]), play(moves)
    settled = round(0.01 * fidelity.SETTLED * RATE)
    for first, end in ((0, RATE + settled), (2 * RATE + RATE // 2, 3 * RATE + settled)):
        assert np.array_equal(moved[first:end], plain[first:end])
    for middle in (2 * RATE - RATE // 8, 4 * RATE - RATE // 8):
        assert not np.allclose(moved[middle : middle + RATE // 10], plain[middle : middle + RATE // 10], atol=1e-3)
    assert trust.max() == 1.0
    assert np.abs(np.diff(trust)).max() < 1.5 / fidelity.FADE
    steps = [np.abs(np.diff(one)).max() for one in (plain, convert(sound, voice=WOMAN, singer=singer), moved)]
    assert steps[2] < 1.1 * max(steps[:2])


def test_the_same_in_whatever_blocks(singer: int) -> None:
    chain = [{"stage": "convert", "match": 0, "voice": WOMAN, "singer": singer}]
    sound = speech(1.0)
    one, other = (Chain(chain).render(sound, sample_rate=RATE, block=block) for block in (64, 1000))
    assert np.array_equal(one, other)


def test_resonances_of_women_lie_higher_and_who_stands_between_them_between(voice_table: None) -> None:
    tracts = {name: voices.tract_octaves(slot) for name, slot in list(voices.voices().items())[:10]}
    women, men = ([tracts[name] for name in list(tracts)[part]] for part in (slice(5), slice(5, 10)))
    assert min(women) > max(men)
    between = (voices.held(WOMAN).timbre + voices.held(MAN).timbre) / 2
    voices.put_voice(SINGER, between, 150.0, "between")
    assert voices.tract_octaves(SINGER) == pytest.approx(
        (voices.tract_octaves(WOMAN) + voices.tract_octaves(MAN)) / 2, abs=1e-4
    )


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a file of weights as they were before there was a singer; nothing has been read yet."""
    path = tmp_path / "older.safetensors"
    kept = {name: values for name, values in load_file(weights.WEIGHTS_FILE).items() if not name.startswith(weights.LATER)}
    save_file(kept, path)
    monkeypatch.setattr(weights, "_chosen", [weights.WEIGHTS_FILE])
    weights.tensors.cache_clear()
    yield path
    weights.tensors.cache_clear()


def test_older_weights_play_and_ask_about_no_singer(older: Path) -> None:
    weights.use(older)
    stranger, known = (kinds(program._write(10, 9, "balanced", who)) for who in (False, True))
    assert stranger == known


def kinds(written: Any) -> list[int]:
    """Return the kinds of the steps of a program."""
    return [unit["kind"] for unit in written.units]


def test_who_sings_costs_those_nothing_who_have_not_said_it() -> None:
    """The program without a singer is the other's without what is asked about one, and the other reads hardly more weights."""
    stranger, known = (program._write(10, 9, "balanced", who) for who in (False, True))
    kept, first = (k for k, kind in enumerate(kinds(known)) if kind == program.COPY)
    end = kinds(known).index(program.MEND) + 1
    assert kinds(known)[:kept] + kinds(known)[kept + 1 : first] + kinds(known)[end:] == kinds(stranger)
    for ours, theirs in ((stranger.integers, known.integers), (stranger.floats, known.floats)):
        laid = np.concatenate(ours)
        assert np.array_equal(laid, np.concatenate(theirs)[: len(laid)])
    added = sum(one.size for one in known.integers) - sum(one.size for one in stranger.integers)
    assert added == program.CHANNELS * 2 * program.TILE  # the bands' own
