"""Vocoder: the carrier's pitch, the voice's envelope, each band as loud as the voice is there."""

import numpy as np
import pytest
from autovoice.dsp import bands
from autovoice.dsp.stages import vocoder
from autovoice.dsp.toolchain import numba
from autovoice.rt import Chain, Event

RATE = 48_000  # Hz


def _vocoder(**settings):
    return Chain([{"stage": "vocoder", **settings}])


def _noise(dbfs, seconds, seed=1):
    return (10 ** (dbfs / 20) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def _sine(hz, seconds, dbfs=-20.0):
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def _spectrum(sound):
    """Return frequencies in Hz and levels in dB, four-term Blackman-Harris window."""
    n = np.arange(len(sound)) / len(sound)
    window = sum(a * np.cos(2 * np.pi * k * n) for k, a in enumerate((0.35875, -0.48829, 0.14128, -0.01168)))
    spectrum = np.abs(np.fft.rfft(sound * window))
    return np.fft.rfftfreq(len(sound), 1 / RATE), 20 * np.log10(spectrum + 1e-12)


def _frozen(seconds=1.5, **settings):
    """Return the vocoder holding the envelope of noise for the last second, over silence: the carrier's own lines."""
    x = _noise(-20, seconds)
    x[RATE // 2 :] = 0
    held = Event(RATE // 2 - 64, "vocoder/freeze", 1.0)
    return _vocoder(sibilance=0.0, **settings).render(x, sample_rate=RATE, events=[held])[-RATE:]


def _centroid(sound):
    f, db = _spectrum(sound)
    power = 10 ** (db / 10)
    return np.exp((power * np.log(np.maximum(f, 1))).sum() / power.sum())


@numba.njit
def _aim(state, ratio, rate):
    bands.aim_synthesis(state[0], np.float32(ratio), rate, False)


def _bank(count, rate=RATE, ratio=1.0):
    state = np.zeros(1, np.dtype(vocoder.STATE, align=True))
    bands.layout(state, rate, count)
    _aim(state, ratio, float(rate))
    return state[0]


def _responses(bank, f, rate=RATE):
    """Return the response of the real part of each synthesis band, shape (bands, frequencies)."""

    def analytic(f):
        z = np.exp(-2j * np.pi * f / rate)
        poles = [bank[f"b{k}_re"] + 1j * bank[f"b{k}_im"] for k in (1, 2)]
        below = [1 - p[:, None] * z for p in poles]
        return bank["b_gain"][:, None] / below[0] / below[1]

    return (analytic(f) + np.conj(analytic(-f)))[: bank["bands"]] / 2


@pytest.mark.parametrize("count", [8, 16, 24, 40])
def test_all_bands_together_are_flat(count):
    f = np.geomspace(110, 10_000, 1000)
    db = 20 * np.log10(np.abs(_responses(_bank(count), f).sum(0)))
    assert db.std() < (0.8 if count == 8 else 0.4)
    assert db.mean() == pytest.approx(2.2, abs=0.3)


@pytest.mark.parametrize("rate", [44_100, 48_000, 192_000])
def test_each_band_is_a_butterworth_band_pass_of_order_four(rate):
    bank = _bank(24, rate)
    for b in (2, 12, 22):
        centre, width = float(bank["centre"][b]), float(bank["width"][b])
        at = np.array([centre, centre - width / 2, centre + width / 2, centre - 2 * width, centre + 2 * width])
        db = 20 * np.log10(np.abs(_responses(bank, at, rate)[b]))
        assert abs(db[0]) < 0.1
        np.testing.assert_allclose(db[1:3], -3, atol=0.1)
        np.testing.assert_allclose(db[3:], -24.1, atol=2)  # (1 + 4**4) ** -0.5, and the image at negative frequencies


@pytest.mark.parametrize("notes", [(69.0,), (57.0, 64.0, 69.0, 73.0), (60.5,)])
def test_the_output_has_the_harmonics_of_the_notes_and_nothing_between(notes):
    heard = _frozen(carrier="chord", **{f"note_{k}": note for k, note in enumerate(notes, 1)})
    f, db = _spectrum(heard)
    wanted = np.zeros(len(f), bool)
    for note in notes:
        hz = 440 * 2 ** ((note - 69) / 12)
        lines = np.arange(1, 12_000 // hz) * hz
        wanted |= np.min(np.abs(f[:, None] - lines), axis=1) < 6
        for line in lines[(lines > 150) & (lines < 10_000)]:
            assert db[np.abs(f - line) < 2].max() > db.max() - 40
    inside = (f > 100) & (f < 10_000)
    assert db[inside & ~wanted].max() < db.max() - 75


def test_no_alias_of_a_high_note_is_heard():
    f, db = _spectrum(_frozen(note_1=100.3))
    hz = 440 * 2 ** ((100.3 - 69) / 12)
    between = np.min(np.abs(f[:, None] - np.arange(1, 10) * hz), axis=1) > 20
    assert db[between & (f > 100)].max() < db.max() - 75


@pytest.mark.parametrize(("carrier", "tolerance"), [("saw", 2.5), ("chord", 2.5), ("noise", 1.5)])
@pytest.mark.parametrize("count", [8, 24, 40])
def test_it_is_as_loud_as_the_voice(carrier, tolerance, count):
    pink = np.fft.rfft(_noise(-20, 3.0))
    f = np.fft.rfftfreq(3 * RATE, 1 / RATE)
    x = np.fft.irfft(pink * ((f > 100) & (f < 11_000)) / np.maximum(f, 1) ** 0.5).astype(np.float32) * 20
    heard = _vocoder(carrier=carrier, bands=count, sibilance=0.0).render(x, sample_rate=RATE)
    assert 20 * np.log10(heard[RATE:].std() / x[RATE:].std()) == pytest.approx(0, abs=tolerance + (count == 8))


@pytest.mark.parametrize("formant", [-12.0, -5.0, 0.0, 7.0, 12.0])
@pytest.mark.parametrize("hz", [500, 1500])
def test_formants_move_by_semitones(formant, hz):
    heard = _vocoder(carrier="noise", formant=formant, bands=40).render(_sine(hz, 2.0), sample_rate=RATE)[RATE // 2 :]
    assert 12 * np.log2(_centroid(heard) / hz) == pytest.approx(formant, abs=0.7)


def test_freeze_holds_the_sound_and_lets_it_go():
    x = _sine(1000, 3.0)
    x[RATE:] = 0
    events = [Event(RATE - 64, "vocoder/freeze", 1.0), Event(2 * RATE, "vocoder/freeze", 0.0)]
    heard = _vocoder(carrier="noise").render(x, sample_rate=RATE, events=events)
    before, held = heard[RATE // 2 : RATE], heard[RATE + RATE // 2 : 2 * RATE]
    assert held.std() == pytest.approx(before.std(), rel=0.15)
    assert _centroid(held) == pytest.approx(_centroid(before), rel=0.05)
    assert np.all(heard[-RATE // 4 :] == 0)


@pytest.mark.parametrize(("sibilance", "periodic"), [(0.0, True), (1.0, False)])
def test_unvoiced_sounds_are_spoken_with_noise(sibilance, periodic):
    hiss = np.diff(_noise(-30, 2.0), n=2, append=[0, 0]).astype(np.float32)
    hz = 440 * 2 ** ((45 - 69) / 12)
    heard = _vocoder(note_1=45.0, sibilance=sibilance).render(hiss, sample_rate=RATE)[RATE // 2 :]
    lag = round(RATE / hz * 3)
    similarity = np.dot(heard[lag:], heard[:-lag]) / np.dot(heard, heard)
    assert (similarity > 0.4) == periodic
    assert (similarity < 0.1) != periodic


def test_a_voiced_sound_keeps_the_tone_whatever_the_sibilance():
    x = _sine(400, 1.0)
    tonal, full = (_vocoder(sibilance=s).render(x, sample_rate=RATE) for s in (0.0, 1.0))
    np.testing.assert_array_equal(tonal, full)


def test_the_second_channel_is_the_carrier_whatever_its_level():
    t = np.arange(2 * RATE) / RATE
    saw = (2 * (330 * t % 1) - 1).astype(np.float32)
    heard = [
        _vocoder(carrier="input", width=0.0).render(np.stack([_noise(-20, 2.0), g * saw]), sample_rate=RATE)
        for g in (0.3, 0.03)
    ]
    f, db = _spectrum(heard[0][0, RATE:])
    peak = f[np.argmax(np.where((f > 250) & (f < 400), db, -200))]
    assert peak == pytest.approx(330, abs=3)
    assert np.all(heard[0][0] == heard[0][1])
    assert 20 * np.log10(heard[1].std() / heard[0].std()) == pytest.approx(0, abs=1)
    silent = _vocoder(carrier="input", sibilance=0.0).render(np.stack([_noise(-20, 1.0), 0 * saw[:RATE]]), sample_rate=RATE)
    assert np.all(silent == 0)


def test_without_a_second_channel_the_saw_speaks():
    x = _noise(-20, 0.5)
    saw, alone = (_vocoder(carrier=carrier).render(x, sample_rate=RATE) for carrier in ("saw", "input"))
    np.testing.assert_array_equal(alone, saw)


def test_the_carrier_follows_the_pitch_on_the_bus(stage_file):
    path = stage_file(
        "tells_pitch",
        '''
        """Tell of 220 Hz, and of no pitch in the second second."""


        def process(s, p, x, block):
            block.post.f0_hz = 220.0 if block.frame < 48_000 else 0.0
        ''',
    )
    heard = Chain([path, {"stage": "vocoder", "carrier": "voice", "sibilance": 0.0}]).render(_noise(-20, 2.0), sample_rate=RATE)
    for part in (heard[RATE // 2 : RATE], heard[RATE:]):  # unvoiced: it stays where it was
        f, db = _spectrum(part)
        assert f[np.argmax(np.where((f > 150) & (f < 300), db, -200))] == pytest.approx(220, abs=4)


def test_neighbouring_bands_lie_apart_in_stereo():
    x = _noise(-20, 1.0)
    narrow, wide = (_vocoder(carrier="noise", width=w).render(x, sample_rate=RATE, channels=2) for w in (0.0, 1.0))
    mono = _vocoder(carrier="noise").render(x, sample_rate=RATE)
    np.testing.assert_allclose(narrow[0], mono, atol=1e-6)
    np.testing.assert_array_equal(narrow[0], narrow[1])
    assert abs(np.corrcoef(wide)[0, 1]) < 0.7
    assert wide.std() == pytest.approx(mono.std(), rel=0.05)


def test_mix_0_is_the_voice_itself():
    x = _noise(-20, 0.5)
    np.testing.assert_array_equal(_vocoder(mix=0.0).render(x, sample_rate=RATE), x)


def test_the_voice_is_heard_within_milliseconds():
    x = _noise(-20, 1.0)
    x[: RATE // 2] = 0
    chain = _vocoder(carrier="noise", attack=0.5)
    assert chain.latency(RATE) == 0
    heard = chain.render(x, sample_rate=RATE)
    level = np.sqrt(np.square(heard[: len(heard) // 48 * 48].reshape(-1, 48)).mean(1))
    assert np.all(level[:500] == 0)
    assert level[503:506].mean() > 0.5 * level[600:].mean()


def test_a_note_that_ends_fades_without_a_click():
    x = _noise(-20, 2.0)
    events = [Event(RATE // 2, "vocoder/freeze", 1.0), Event(RATE + 7, "vocoder/note_2", 0.0)]
    heard = _vocoder(carrier="chord", note_1=40.0, note_2=61.0, sibilance=0.0).render(x, sample_rate=RATE, events=events)
    jump = np.abs(np.diff(heard))
    assert jump[RATE - 50 : RATE + 1000].max() < 1.5 * jump[RATE // 2 + 5000 : RATE - 50].max()
    f, db = _spectrum(heard[-RATE // 2 :])
    assert db[np.abs(f - 277.2) < 5].max() < db[(f > 200) & (f < 400)].max() - 60
