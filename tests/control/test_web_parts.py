"""Parts of the web server by themselves: frames, spectrum, histogram, announcement."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from autovoice.rt import Engine
from autovoice.rt.control.web.asking import Inbox, Refused
from autovoice.rt.control.web.metrics import Metrics
from autovoice.rt.control.web.readings import coarse
from autovoice.rt.control.web.sockets import BINARY, frame
from autovoice.rt.control.web.spectrum import BINS, HIGHEST_HZ, LOWEST_HZ, Spectrum
from support import run_program, wait_until
from web_rig import served, tone_engine

MIDDLES_HZ = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(BINS) / (BINS - 1))


@pytest.mark.parametrize(
    ("size", "head"), [(5, "8205"), (126, "827e007e"), (65_535, "827effff"), (65_536, "827f0000000000010000")]
)
def test_a_frame_is_what_the_rfc_says(size: int, head: str) -> None:
    payload = os.urandom(size)
    assert frame(payload, BINARY) == bytes.fromhex(head) + payload


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("hz", [110.0, 997.0, 3_500.0, 11_000.0])
def test_a_sine_stands_at_its_pitch_and_level(sample_rate: int, hz: float) -> None:
    if hz > sample_rate / 2:
        pytest.skip("above Nyquist")
    spectrum = Spectrum(sample_rate)
    sine = 10 ** (-20 / 20) * np.sin(2 * np.pi * hz * np.arange(16_384) / sample_rate)
    column = np.frombuffer(spectrum.column(sine.astype(np.float32)), np.uint8)
    assert MIDDLES_HZ[column.argmax()] == pytest.approx(hz, rel=0.03 + sample_rate / spectrum.frames / hz)
    assert column.max() / 2.55 - 100 == pytest.approx(-20.0, abs=1.5)  # a Hann window loses 1.4 dB between two lines
    far = np.abs(np.log2(MIDDLES_HZ / hz)) > 1.5
    assert column[far].max(initial=0) / 2.55 - 100 <= -75.0


def test_silence_and_what_lies_above_nyquist_are_at_the_floor() -> None:
    assert not any(Spectrum(48_000).column(np.zeros(100, np.float32)))
    noise = np.random.default_rng(1).uniform(-1, 1, 16_384).astype(np.float32)
    column = np.frombuffer(Spectrum(8_000).column(noise), np.uint8)
    assert not column[MIDDLES_HZ > 4_000].any()
    assert column[MIDDLES_HZ < 3_900].all()


def test_a_conductor_that_does_not_listen_is_a_reason_to_start_anew() -> None:
    class Stuck:
        board = SimpleNamespace(rows={})

        def request(self, *arguments: Any, **options: Any) -> int:
            raise TimeoutError

    inbox = Inbox(cast(Any, Stuck()))
    with pytest.raises(Refused, match="does not listen"):
        inbox.ask("undo", [], client=1)
    assert inbox.stuck


def test_the_coarse_histogram_keeps_every_count_within_its_edges() -> None:
    edges = np.arange(1024) / 8.0
    counts = np.zeros(1024, np.int64)
    counts[[100, 101, 700]] = 5, 6, 7
    rough, merged = coarse(edges, counts)
    assert len(rough) == len(merged) + 1
    assert merged.sum() == 18
    assert (rough[0] <= edges[100], rough[-1] > edges[700]) == (True, True)
    assert coarse(edges, np.zeros(1024, np.int64))[1].tolist() == [0]


def test_a_bucket_holds_the_callbacks_shorter_than_its_edge() -> None:
    class Telemetry:
        def histogram(self) -> tuple[np.ndarray, np.ndarray]:
            edges = np.arange(0.0, 300.0, 3.0)
            return edges, np.where(edges == 96, 1, np.where(edges == 99, 5, np.where(edges == 51, 20, 0)))

        def __getitem__(self, name: str) -> int:
            return 3_000

    metrics = Metrics(cast(Any, SimpleNamespace(telemetry=Telemetry())), cast(Any, None), dict)
    buckets = {s.labels["le"]: s.value for s in metrics._histogram(["", ""]).samples if "le" in s.labels}
    assert [buckets[le] for le in ("5e-05", "0.0001", "0.0002", "+Inf")] == [0, 21, 26, 26]


def test_the_server_loads_no_compiler() -> None:
    code = "import sys, json, autovoice.rt.control.web.__main__ as m; print(json.dumps(sorted(sys.modules)))"
    assert not {"numba", "llvmlite", "scipy"} & set(run_program(code))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tone_engine() as engine:
        yield engine


def test_an_announcement_ends_with_the_server_however_that_ends(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "avahi-publish"
    tool.write_text(
        f'#!/bin/sh\necho "$$ $*" >>{tmp_path}/said\necho "Established under name" >&2\nexec /bin/sleep 60\n', encoding="utf-8"
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    with served(engine, announce=True) as rig:
        assert wait_until(lambda: rig.told("announced _oscjson._tcp"))
        pid, *command = (tmp_path / "said").read_text(encoding="utf-8").split()
        assert command == ["-s", "AutoVoice", "autovoice", "_oscjson._tcp", str(rig.port)]
        server = rig.conductor._hosts[0].pid
        assert server is not None
        os.kill(server, 9)
        assert wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_host_that_cannot_announce_says_so(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with served(engine, announce=True) as rig:
        assert wait_until(lambda: rig.told("not announced by zeroconf: this host has no avahi-publish"))
