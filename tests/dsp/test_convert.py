"""The converter: against its plain twin, against numbers of sound, and against its own promises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from autovoice.dsp.converter import features, voices
from autovoice.dsp.converter.melody import REFERENCE
from autovoice.models import reference
from autovoice.rt import Chain
from numpy.typing import NDArray
from support import Crank

Signal = NDArray[np.float32]
RATE = 48_000  # Hz
SPARE = 40, 41, 42  # slots that no shipped voice has


def vowel(f0_hz: NDArray[np.float64] | float, duration: float = 1.2, sample_rate: int = RATE, level: float = 0.1) -> Signal:
    """Return harmonics of a pitch curve under three formants, in the phases of a pulse train, at an RMS level."""
    t = np.arange(round(duration * sample_rate)) / sample_rate
    f0 = np.broadcast_to(np.asarray(f0_hz, np.float64), t.shape)
    phase = 2 * np.pi * np.cumsum(f0) / sample_rate
    sound = np.zeros(len(t))
    for k in range(1, int(min(7000, 0.45 * sample_rate) / f0.max())):
        hz = k * f0
        gain = sum(a / (1 + ((hz - centre) / 90) ** 2) for centre, a in ((650, 1.0), (1100, 0.5), (2500, 0.2)))
        sound += gain * np.sin(k * phase)
    return (level * sound / np.sqrt(np.mean(sound**2))).astype(np.float32)


def convert(sound: Signal, sample_rate: int = RATE, **settings: float | str) -> Signal:
    """Return what the stage makes of a sound, its delay taken off."""
    return Chain([{"stage": "convert", **settings}]).render(sound, sample_rate=sample_rate, block=441)


def f0_of(sound: Signal, sample_rate: int = RATE) -> float:
    """Return the median pitch of the middle of a sound, Hz."""
    track = Chain(["pitch"]).analyse(sound, sample_rate=sample_rate)
    inside = (track.f0_hz > 0) & (track.time_s > 0.5) & (track.time_s < len(sound) / sample_rate - 0.2)
    return float(np.median(track.f0_hz[inside]))


def spectrum_db(sound: Signal) -> NDArray[np.float64]:
    """Return the mean level in each analysis band of the second half of a sound, dB."""
    return 4.343 * features.SPREAD * features.bands(sound[len(sound) // 2 :], RATE)[5:-20].mean(0)


@cache
def melody_of(rate: int) -> tuple[Signal, reference.Melody]:
    """Return a gliding vowel with a pause in it, and what the tracker finds."""
    t = np.arange(round(0.9 * rate)) / rate
    sound = vowel(150 * 2 ** (0.4 * np.sin(4 * t)), 0.9, rate)
    sound[round(0.4 * rate) : round(0.48 * rate)] *= np.float32(0.003)
    sound += np.random.default_rng(1).normal(0, 0.003, len(sound)).astype(np.float32)
    track = Chain(["pitch"]).analyse(sound, sample_rate=rate)
    return sound, reference.Melody.of(np.rint(track.time_s * rate).astype(int), track.f0_hz, track.voicing)


@pytest.fixture
def strangers(voice_table: None) -> Iterator[None]:
    """Put three voices that nobody has into slots of the table."""
    random = np.random.default_rng(4)
    for slot, median_hz in zip(SPARE, (120.0, 240.0, 90.0), strict=True):
        voices.put_voice(slot, random.normal(0, 0.2, voices.VALUES), median_hz, f"stranger {slot}")
    yield


@pytest.mark.parametrize("singer", [-1, SPARE[1]])
@pytest.mark.parametrize(("rate", "mode"), [(48_000, "low"), (48_000, "balanced"), (48_000, "quality"), (96_000, "balanced")])
def test_stage_does_what_the_plain_twin_does(rate: int, mode: str, singer: int, strangers: None) -> None:
    """Every sample within 1e-4 of the peak, in whatever pieces the sound comes, whether it is known who sings or not."""
    sound, melody = melody_of(rate)
    chain = Chain([{"stage": "convert", "mode": mode, "voice": SPARE[0], "match": 0, "pitch": 3.0, "singer": singer}])
    speaker = voices.vector(SPARE[0]).astype(np.float64)
    known = voices.vector(singer).astype(np.float64) if singer >= 0 else None
    expected = reference.convert(sound, melody, speaker, sample_rate=rate, mode=mode, octaves=0.25, singer=known)
    heard = chain.render(sound, sample_rate=rate, block=100)
    inside = slice(0, round(0.7 * rate))  # the twin's sound ends with the recording, the stage's goes on
    assert np.abs(expected[inside]).max() > 0.05
    assert np.abs(heard[inside] - expected[inside]).max() < 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("f0_hz", [110.0, 233.0])
@pytest.mark.parametrize("semitones", [-7.0, 0.0, 5.0])
def test_pitch_is_that_of_the_source_times_the_ratio(f0_hz: float, semitones: float) -> None:
    """Within 5 cents."""
    heard = f0_of(convert(vowel(f0_hz), match=0, pitch=semitones))
    assert 1200 * np.log2(heard / (f0_hz * 2 ** (semitones / 12))) == pytest.approx(0.0, abs=5.0)


def test_match_moves_the_range_to_that_of_the_voice(strangers: None) -> None:
    """Whoever speaks, after a second or so the median is that of the voice, within a semitone."""
    for slot, median_hz, f0_hz in ((SPARE[0], 120.0, 233.0), (SPARE[1], 240.0, 110.0)):
        heard = f0_of(convert(vowel(f0_hz, 2.0), voice=slot)[RATE:])
        assert 12 * np.log2(heard / median_hz) == pytest.approx(0.0, abs=1.0)


def test_intonation_scales_the_melody_about_its_median() -> None:
    curve = 200 * 2 ** (0.2 * np.sin(2 * np.pi * 2 * np.arange(2 * RATE) / RATE))
    sound = vowel(curve, 2.0)

    def spread(intonation: float) -> float:
        track = Chain(["pitch"]).analyse(convert(sound, intonation=intonation, match=0), sample_rate=RATE)
        inside = (track.time_s > 0.7) & (track.f0_hz > 0)
        return float(np.std(np.log2(track.f0_hz[inside])))

    assert spread(0.0) < 0.01
    assert spread(2.0) / spread(1.0) == pytest.approx(2.0, rel=0.1)


def test_morph_runs_from_one_voice_to_the_other_and_slots_tell_who(strangers: None) -> None:
    sound = vowel(150.0)
    first, second = (convert(sound, voice=slot, match=0) for slot in SPARE[:2])
    assert not np.allclose(first, second, atol=1e-3)
    pair = {"voice": SPARE[0], "other": SPARE[1], "match": 0}
    assert np.array_equal(convert(sound, **pair, morph=0.0), first)
    assert np.array_equal(convert(sound, **pair, morph=1.0), second)
    middle = convert(sound, **pair, morph=0.5)
    assert not np.allclose(middle, first, atol=1e-3)
    assert not np.allclose(middle, second, atol=1e-3)


def test_voice_put_into_a_slot_in_use_takes_over_within_a_glide(strangers: None) -> None:
    """It glides, without a click, and then is the new voice exactly."""
    sound = vowel(150.0, 2.0)
    values = {slot: voices.vector(slot).copy() for slot in SPARE}
    crank = Crank(Chain([{"stage": "convert", "voice": SPARE[0], "match": 0}]), ins=1)
    before = crank.run(sound[:RATE])
    state = crank.processor.image.states[1][0]
    assert np.array_equal(state["cast"]["now"][0, : voices.VALUES], values[SPARE[0]])
    voices.put_voice(SPARE[0], np.zeros(voices.VALUES), 200.0, "newcomer")
    crank.run(sound[: round(0.02 * RATE)])
    gliding = state["cast"]["now"][0, : voices.VALUES].copy()
    assert not np.array_equal(gliding, values[SPARE[0]])
    assert not np.array_equal(gliding, voices.vector(SPARE[0]))
    after = crank.run(sound[: round(0.1 * RATE)])
    assert np.array_equal(state["cast"]["now"][0, : voices.VALUES], voices.vector(SPARE[0]))
    assert np.abs(np.diff(after)).max() < 3 * np.abs(np.diff(before)).max()


def test_thousands_of_voices_in_one_slot_leave_the_others_alone(strangers: None) -> None:
    kept = {slot: voices.vector(slot) for slot in (0, SPARE[0])}
    for k in range(2 * voices.RECORDS):
        voices.put_voice(SPARE[1], np.full(voices.VALUES, 0.001 * k), 100.0 + k / 10, "newcomer")
        assert voices.median_hz(SPARE[1]) == pytest.approx(100.0 + k / 10)
    for slot, values in kept.items():
        assert np.array_equal(voices.vector(slot), values)


def test_formant_moves_the_envelope_and_not_the_pitch() -> None:
    sound = vowel(120.0)
    plain, moved = (convert(sound, match=0, formant=shift) for shift in (0.0, 4.0))
    assert 1200 * np.log2(f0_of(moved) / f0_of(plain)) == pytest.approx(0.0, abs=5.0)
    a, b = (spectrum_db(one) for one in (plain, moved))
    hz = features.hertz(np.linspace(features.mel(50), features.mel(8000), 82)[1:-1])
    inside = (hz > 300) & (hz < 4000)

    def distance(ratio: float) -> float:
        return float(np.std(np.interp(hz[inside] / ratio, hz, a) - b[inside]))

    assert min((-4, 0, 2, 4, 6, 8), key=lambda shift: distance(2 ** (shift / 12))) == 4


def test_tilt_breathiness_and_expression_do_what_they_say() -> None:
    sound = vowel(150.0)
    plain = spectrum_db(convert(sound, match=0))
    hz = features.hertz(np.linspace(features.mel(50), features.mel(8000), 82)[1:-1])
    inside = (hz > 200) & (hz < 6000)
    change = (spectrum_db(convert(sound, match=0, tilt=3.0)) - plain)[inside]
    assert np.polyfit(np.log2(hz[inside]), change, 1)[0] == pytest.approx(3.0, abs=0.3)
    breathy = convert(sound, match=0, breathiness=1.0)
    tracks = [Chain(["vibrato"]).analyse(one, sample_rate=RATE) for one in (convert(sound, match=0), breathy)]
    assert np.median(tracks[1].hnr_db[-40:]) < np.median(tracks[0].hnr_db[-40:]) - 4

    def swelling(depth: float) -> np.ndarray:
        return (sound * (1 + depth * np.sin(2 * np.pi * 3 * np.arange(len(sound)) / RATE))).astype(np.float32)

    def spread_db(heard: np.ndarray) -> float:
        level = 10 * np.log10(np.convolve(heard[RATE // 2 :] ** 2, np.ones(1200) / 1200, "valid"))
        return float(np.percentile(level, 95) - np.percentile(level, 5))

    for depth in (0.3, 0.6):  # 5 and 12 dB
        loud = swelling(depth)
        still, same, more = (spread_db(convert(loud, match=0, expression=expression)) for expression in (0.0, 1.0, 2.0))
        assert more - same == pytest.approx(spread_db(loud), rel=0.25)  # each unit of it is the voice's own swell once more
        assert still < same < more
        if depth == 0.3:
            assert same == pytest.approx(spread_db(loud), rel=0.25)
            assert more > 1.5 * same and still < 0.5 * same


@pytest.mark.parametrize("gain_db", [-20.0, 10.0])
def test_level_follows_the_voice(gain_db: float) -> None:
    """A held voice 20 dB quieter or 10 dB louder comes out so, within 1 dB, once it has been heard for a while."""
    sound = vowel(150.0, 4.0)
    gain = np.float32(10 ** (gain_db / 20))
    plain, changed = (convert(one, match=0)[-RATE:] for one in (sound, gain * sound))
    assert 10 * np.log10(np.mean(changed**2) / np.mean(plain**2)) == pytest.approx(gain_db, abs=1.0)


@pytest.mark.parametrize("mode", ["low", "balanced", "quality"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_dry_sound_comes_through_with_the_declared_delay(mode: str, rate: int) -> None:
    """Every bit of it, on each channel its own."""
    hops = {"low": 3, "balanced": 5, "quality": 10}[mode]
    chain = Chain([{"stage": "convert", "mode": mode, "mix": 0.0}])
    assert chain.latency(rate) == hops * round(0.01 * rate)
    sound = np.random.default_rng(2).normal(0, 0.1, (2, rate // 2)).astype(np.float32)
    heard = chain.render(sound, sample_rate=rate, block=100, compensate=False)
    delay = chain.latency(rate)
    assert np.array_equal(heard[:, delay : sound.shape[1]], sound[:, : sound.shape[1] - delay])


def test_envelope_is_as_late_as_declared() -> None:
    """A vowel that begins at once is heard where it lies: half its level is there within 20 ms of the source's."""
    sound = np.concatenate([np.zeros(RATE // 2, np.float32), vowel(150.0, 0.6)])
    sound += np.random.default_rng(1).normal(0, 1e-4, len(sound)).astype(np.float32)

    def onset(one: Signal) -> int:
        level = np.sqrt(np.convolve(one**2, np.ones(480) / 480, "same"))
        return int(np.argmax(level > 0.5 * np.median(level[-RATE // 3 : -RATE // 10])))

    assert onset(convert(sound, match=0)) == pytest.approx(onset(sound), abs=0.02 * RATE)


def test_all_channels_speak_with_the_voice_of_their_mean() -> None:
    sound = vowel(150.0)
    stereo = convert(np.stack([sound, np.zeros_like(sound)]), match=0)
    assert np.array_equal(stereo[0], stereo[1])
    assert np.array_equal(stereo[0], convert(0.5 * sound, match=0))


def test_without_a_tracker_it_whispers() -> None:
    """Where no pitch comes on the bus, noise takes the pulses' place: sound, but no pitch in it."""
    sound = vowel(150.0, 1.5)
    whole = Chain([{"stage": "convert", "match": 0}])
    alone = Chain.of([whole["convert"]])
    heard, whispered = (chain.render(sound, sample_rate=RATE) for chain in (whole, alone))
    assert whispered[RATE // 2 : RATE].std() > 0.1 * heard[RATE // 2 : RATE].std()
    voicing = [np.median(Chain(["pitch"]).analyse(one, sample_rate=RATE).voicing[100:200]) for one in (heard, whispered)]
    assert voicing[0] > 0.9
    assert voicing[1] < 0.2


def test_voices_have_names_and_what_does_not_fit_is_refused_with_its_range() -> None:
    shipped = voices.voices()
    assert len(shipped) >= 10
    assert list(shipped.values())[:10] == list(range(10))
    with pytest.raises(ValueError, match=r"slot must be in 0\.\.63, got 64"):
        voices.put_voice(64, np.zeros(128), 100.0, "x")
    with pytest.raises(ValueError, match="128 finite numbers, got 5"):
        voices.put_voice(1, np.zeros(5), 100.0, "x")
    with pytest.raises(ValueError, match=r"30\.\.1000 Hz, got 5"):
        voices.put_voice(1, np.zeros(128), 5.0, "x")
    assert voices.median_hz(63) == pytest.approx(2**REFERENCE)


def test_plain_twin_does_what_the_torch_module_does() -> None:
    """Network and synthesis, within 1e-4; where torch is installed."""
    torch = pytest.importorskip("torch")
    from autovoice.models import network

    random = np.random.default_rng(3)
    torch.manual_seed(3)
    module, synthesis = network.Converter(), network.Synthesis()
    w = {name: values.detach().numpy() for name, values in module.state_dict().items()}
    x, pitch = random.normal(0, 1, (40, network.INPUTS)), random.normal(0, 0.5, 40)
    speaker = random.normal(0, 1, voices.VALUES)

    def given(values: NDArray[np.float64]) -> object:
        return torch.from_numpy(values.astype(np.float32))[None]

    with torch.no_grad():
        drawn = module(given(x), 2, given(speaker), given(pitch[:, None]))
        hop, count = synthesis.hop, len(x)
        f0_hz = 180 * 2 ** (0.3 * np.sin(np.arange((count + 1) * hop) / 900))
        noise = reference.hiss(0, len(f0_hz))
        sound = synthesis(drawn, given(f0_hz), given(noise))[0].numpy()
    envelopes = reference.network(w, x, "quality", speaker, pitch)
    assert np.abs(envelopes - drawn[0].numpy()).max() < 1e-4
    heard = reference.synthesise(envelopes, (reference.pulses(f0_hz, network.RATE), noise), network.RATE)
    assert np.abs(sound).max() > 0.1
    assert np.abs(heard[hop : hop + len(sound)] - sound).max() < 1e-4 * max(1.0, np.abs(sound).max())


def test_the_range_that_match_goes_by_stays_under_a_song() -> None:
    """Two semitones up, held for four seconds: they come out as two semitones, though the singer's median has moved."""
    low, steps = 130.0, np.array([0, 2])
    sound = vowel(low * 2 ** (np.repeat(steps, 4 * RATE) / 12), 8.0)
    track = Chain(["pitch"]).analyse(convert(sound, mode="low"), sample_rate=RATE)
    ends = [(track.time_s > end - 1.0) & (track.time_s < end - 0.2) & (track.f0_hz > 0) for end in (4.0, 8.0)]
    first, second = (float(np.median(track.f0_hz[end])) for end in ends)
    assert 1200 * np.log2(second / first) == pytest.approx(200, abs=5)
