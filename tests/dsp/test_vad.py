"""Voice activity: Silero's network says what it says under onnxruntime, WebRTC's what its package says; time is exact."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import silero_reference as reference
from autovoice.dsp import resampler, silero, vad_webrtc
from autovoice.dsp.stage import StageError
from autovoice.rt import Chain, Event
from autovoice.rt.rendering import render
from safetensors.numpy import load_file
from scipy.signal import resample_poly
from support import Audio, Crank

WEBRTC = {"stage": "vad", "model": "webrtc"}


def bus(chain: list[Any], sound: Audio, rate: float = 48_000, **settings: Any) -> np.ndarray:
    """Return the bus at every 64 frames."""
    return render(Chain(chain), sound, sample_rate=rate, block=64, trace=True, **settings)[1]


def judged(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (segment, vad_frame, vad_probability) of each new probability."""
    at = np.flatnonzero(np.diff(rows["vad_frame"], prepend=0))
    return at, rows["vad_frame"][at], rows["vad_probability"][at]


@pytest.fixture(scope="module")
def talker() -> Audio:
    return reference.talker()


@pytest.fixture(scope="module")
def expected() -> Audio:
    """What onnxruntime finds in the talker, one probability per chunk of 512 samples."""
    return np.load(reference.FILE)["probability"]


def test_silero_gives_the_probabilities_of_onnxruntime_chunk_by_chunk(talker: Audio, expected: Audio) -> None:
    _, frames, found = judged(bus(["vad"], talker, 16_000))
    assert np.all(frames == 512 * np.arange(len(frames)) + 256)
    assert len(expected) - len(found) <= 1  # the last one's time ends behind the recording
    assert np.abs(found - expected[: len(found)]).max() < 1e-5
    assert np.ptp(expected) > 0.9


def test_silero_decides_fifteen_milliseconds_after_the_chunk_has_ended(talker: Audio) -> None:
    segments, frames, _ = judged(bus(["vad"], talker[:16_000], 16_000))
    waited = 64 * segments - (frames + 256)
    assert np.all((waited >= 231) & (waited <= 231 + 64))  # the program's 231 samples, then the next segment


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000, 192_000, 8_000])
def test_silero_at_another_rate_hears_what_the_resampler_makes_of_it(rate: int, talker: Audio) -> None:
    common = int(np.gcd(rate, 16_000))
    sound = resample_poly(talker[: 16_000 * 4].astype(float), rate // common, 16_000 // common).astype(np.float32)
    _, frames, found = judged(bus(["vad"], sound, rate))
    _, _, expected = judged(bus(["vad"], resampler.convert(sound, rate, 16_000), 16_000))
    assert len(found) > 120
    assert np.array_equal(found[:120], expected[:120])
    delay_s = resampler.conversion(rate, 16_000).delay_s
    middle_s = (512 * np.arange(len(frames)) + 256) / 16_000 - delay_s
    assert np.abs(frames / rate - middle_s).max() <= 0.5001 / rate


@pytest.mark.parametrize("model", ["silero", "webrtc"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_posted_does_not_depend_on_the_cut(model: str, rate: int, talker: Audio) -> None:
    if model == "webrtc":
        pytest.importorskip("webrtcvad")
    chain, events = Chain([{"stage": "vad", "model": model}]), [Event(20_005, "vad/threshold", 0.2)]
    rows = [
        render(chain, talker[:48_000], sample_rate=rate, block=block, events=events, trace=True)[1]
        for block in (64, 1, 37, 1000)
    ]
    for other in rows[1:]:
        assert other.tobytes() == rows[0].tobytes()
    assert len(np.unique(rows[0]["vad_probability"])) > (30 if model == "silero" else 1)


def test_stereo_is_judged_by_its_mean_and_passes_untouched(talker: Audio) -> None:
    sound = np.stack([talker[:48_000], np.roll(talker[:48_000], 100)])
    heard, rows = render(Chain(["vad"]), sound, sample_rate=48_000, block=64, trace=True)
    assert np.array_equal(heard, sound)
    assert np.array_equal(rows["vad_probability"], bus(["vad"], sound.mean(0))["vad_probability"])


def test_vad_frame_speaks_of_the_input_of_the_chain(talker: Audio) -> None:
    """Behind a stage that delays, the same sound comes later and keeps its frame, to within a chunk's grid."""
    chain = [{"stage": "limiter", "lookahead": 5.0, "ceiling": 0.0}, "vad"]
    delay = Chain(chain).latency(48_000)
    assert delay > 0
    _, direct, _ = judged(bus(["vad"], talker[:48_000]))
    _, behind, _ = judged(bus(chain, talker[:48_000]))
    assert np.array_equal(behind, direct - delay)


def decide(rows: np.ndarray, threshold: float, attack: float, hold: float, release: float, rate: float) -> np.ndarray:
    """Return vad as the manual defines it, from the probabilities alone; times in ms."""
    vad, since, run, state = [], 0, 0, None
    active = False
    for probability in rows["vad_probability"][1:]:
        above = probability >= np.float32(max(threshold - 0.15, 0.01) if active else threshold)
        run = run + 64 if above == state else 64
        since, state = since + 64, above
        if active and not above and run > release * rate / 1000 and since > hold * rate / 1000:
            active, since = False, 0
        elif not active and above and run > attack * rate / 1000:
            active, since = True, 0
        vad.append(active)
    return np.array(vad, np.float32)


@pytest.mark.parametrize("model", ["silero", "webrtc"])
@pytest.mark.parametrize(
    ("threshold", "attack", "hold", "release"),
    [(0.5, 0, 0, 0), (0.5, 0, 100, 100), (0.5, 120, 0, 0), (0.3, 0, 700, 0), (0.6, 0, 0, 400), (0.1, 40, 300, 50)],
)
def test_attack_hold_and_release_act_as_the_manual_says(
    model: str, threshold: float, attack: float, hold: float, release: float, talker: Audio
) -> None:
    if model == "webrtc":
        pytest.importorskip("webrtcvad")
    spec = {"stage": "vad", "model": model, "threshold": threshold, "attack": attack, "hold": hold, "release": release}
    rows = bus([spec], talker, 16_000)
    assert np.array_equal(rows["vad"][1:], decide(rows, threshold, attack, hold, release, 16_000))
    assert 0 < rows["vad"].mean() < 1


def test_a_threshold_moves_while_it_runs(talker: Audio) -> None:
    loose = bus(["vad"], talker, 16_000, events=[Event(0, "vad/threshold", 0.1)])["vad"].mean()
    strict = bus(["vad"], talker, 16_000, events=[Event(0, "vad/threshold", 0.9)])["vad"].mean()
    assert strict < 0.5 * loose


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_webrtc_decides_as_its_own_package_does(mode: int, frame_ms: int, speech: Audio) -> None:
    webrtcvad = pytest.importorskip("webrtcvad")
    sound = (speech[::3] + 0.01 * np.random.default_rng(0).standard_normal(len(speech[::3]))).astype(np.float32)
    detector, size = webrtcvad.Vad(mode), 16 * frame_ms
    samples = np.clip(np.rint(sound * np.float32(32768)), -32768, 32767).astype(np.int16)
    theirs = [detector.is_speech(samples[k : k + size].tobytes(), 16_000) for k in range(0, len(samples) - size + 1, size)]
    rows = bus([{**WEBRTC, "mode": str(mode), "frame_ms": str(frame_ms)}], sound, 16_000)
    at, frames, found = judged(rows)
    assert np.array_equal(found, np.array(theirs[: len(found)], np.float32))
    assert len(theirs) - len(found) <= 1
    assert np.all(frames == size * np.arange(len(frames)) + size // 2)
    assert np.all(64 * at - (frames + size // 2) < 64)
    assert len(set(theirs)) == 2


@pytest.mark.parametrize("model", ["silero", "webrtc"])
def test_a_detector_goes_on_in_a_copy_of_its_state(model: str, speech: Audio) -> None:
    """A swap copies state; nothing in it may point into what it was copied from."""
    if model == "webrtc":
        pytest.importorskip("webrtcvad")
    chain = Chain([{"stage": "vad", "model": model}])
    first, second = Crank(chain), Crank(chain)
    first.run(speech[:48_000])
    second.run(np.zeros(48_000, np.float32))
    states = [crank.processor.image.states[0] for crank in (first, second)]
    states[1][:] = states[0]
    before = states[0].copy()
    first.run(speech[48_000:])
    assert np.array_equal(states[1], before)
    second.run(speech[48_000:])
    assert states[0].tobytes() == states[1].tobytes() != before.tobytes()


def test_the_instance_of_webrtc_stays_within_its_room(speech: Audio) -> None:
    pytest.importorskip("webrtcvad")
    crank = Crank(Chain([WEBRTC]))
    crank.run(speech)
    used = crank.processor.image.states[0]["detector"]["instance"][0].view(np.uint8)
    assert used.any()
    assert not used[-256:].any()


def test_webrtc_is_fed_rounded_and_clipped_16_bit_samples() -> None:
    pytest.importorskip("webrtcvad")
    sound = np.linspace(-1.2, 1.2, 160, dtype=np.float32)
    crank = Crank(Chain([WEBRTC]), sample_rate=16_000)
    crank.run(sound)
    fed = crank.processor.image.states[0]["detector"]["samples"][0, :160]
    assert np.array_equal(fed, np.clip(np.rint(sound * np.float32(32768)), -32768, 32767))


def test_without_webrtcvad_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "_webrtcvad" else found(name, *a))
    vad_webrtc._library.cache_clear()
    with pytest.raises(StageError, match="webrtcvad-wheels; pip install") as refused:
        Chain([WEBRTC]).render(np.zeros(64), sample_rate=48_000)
    assert "silero" in str(refused.value)
    monkeypatch.undo()
    vad_webrtc._library.cache_clear()


def test_the_work_of_a_chunk_is_spread_evenly_over_its_blocks() -> None:
    """At 48 kHz, 24 blocks share the products; none gets more than its part and a half."""
    tensors = load_file(silero.WEIGHTS_FILE)
    units = np.array(silero._write_program(tensors).units, silero.UNIT)
    clock = SimpleNamespace(start=silero._start(units), units=len(units))
    samples = np.arange(0, 8 * 512 * 3 + 1, 64) // 3  # at 16 kHz, after each block
    done = np.array([silero._due.py_func(clock, int(n)) for n in samples])
    work = np.array([units["count"][np.arange(a, b) % len(units)].sum() for a, b in itertools.pairwise(done)])
    assert work.max() <= 1.5 * work.mean()
    assert done[-1] - done[0] == 8 * len(units)


def test_the_weights_are_small_and_no_pickle() -> None:
    data = Path(silero.WEIGHTS_FILE).read_bytes()
    assert len(data) <= 1_500_000
    assert b"MIT" in data[:4096]
    assert sum(v.size for v in load_file(silero.WEIGHTS_FILE).values()) * 4 + 8 < len(data)
