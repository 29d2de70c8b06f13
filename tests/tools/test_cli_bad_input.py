"""Every wrong request of the command line: one clear line that names the way out, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support import JackServer

NULL = ("live", "--backend", "null", "--duration", "0.1", "--chain", "highpass,gate,limiter")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("lve",), ("'lve'", "did you mean 'live'?")),
        (("live", "--backend", "null", "--chain", "highpas"), ("no stage is called 'highpas'", "did you mean 'highpass'?")),
        ((*NULL, "--set", "gate/treshold=-30"), ("gate has no parameter 'treshold'", "did you mean 'threshold'?")),
        ((*NULL, "--set", "gte/threshold=-30"), ("no stage in the chain is called 'gte'", "did you mean 'gate'?")),
        ((*NULL, "--set", "gate/threshold=12"), ("gate/threshold must be in -90..0 dBFS, got 12",)),
        ((*NULL, "--set", "gate/threshold=nan"), ("gate/threshold must be in -90..0 dBFS, got nan",)),
        ((*NULL, "--set", "gate/threshold=loud"), ("gate/threshold must be a number in -90..0 dBFS, got 'loud'",)),
        ((*NULL, "--set", "gate/bypass=2"), ("bypass must be in 0..1, got 2",)),
        ((*NULL, "--set", "gate"), ("--set takes STAGE/PARAM=VALUE", "got 'gate'")),
        ((*NULL, "--set", "master/outptu=1"), ("master has no parameter 'outptu'", "did you mean 'output'?")),
        ((*NULL, "--input", "99"), ("--input must be in -60..24 dB, got 99",)),
        ((*NULL, "--rate", "1"), ("--rate must be in 8000..192000 Hz, got 1",)),
        ((*NULL, "--rate", "10000000"), ("--rate must be in 8000..192000 Hz, got 10000000",)),
        ((*NULL, "--in-channels", "300"), ("channels must be in 1..8, got 300",)),
        ((*NULL, "--out-channels", "0"), ("channels must be in 1..8, got 0",)),
        ((*NULL, "--block", "0"), ("block must be in 1..8192 frames, got 0",)),
        ((*NULL, "--latency-reserve", "3"), ("at least the chain's own 78 frames, got 3",)),
        ((*NULL, "--duration", "-1"), ("--duration", "-1")),
        ((*NULL, "--record-dry", "dry.wav"), ("--record-dry goes with --record",)),
        ((*NULL, "--record", "/proc/nowhere/wet.wav"), ("cannot record to /proc/nowhere/wet.wav", "choose a folder")),
        ((*NULL, "--connect", "mic"), ("--connect takes IN=PORT,OUT=PORT", "got 'mic'")),
        ((*NULL, "--stage", "nowhere.py"), ("no stage file at nowhere.py",)),
        ((*NULL, "--loud"), ("No such option '--loud'",)),
        (("live", "--server", "no_such_server"), ("no JACK server 'no_such_server' is running", "--backend")),
        (("stages", "gat"), ("no stage is called 'gat'", "did you mean 'gate'?")),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_a_wrong_request_is_refused(here: Any, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    line = here(*arguments).refused()
    for part in parts:
        assert part in line


def test_a_process_of_its_own_refuses_in_the_same_way(cli: Any) -> None:
    assert "gate/threshold must be in -90..0 dBFS, got 12" in cli(*NULL, "--set", "gate/threshold=12").refused()


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (
            "import numpy as np\ndef process(s, p, x, block):\n    x[0, 0] = np.zeros(block.frames)[0]",
            ("NRT_", "allocates memory"),
        ),
        (
            "def process(s, p, x, block):\n    if x[0, 0] > 1:\n        raise ValueError('loud')",
            ("numba_", "raises an exception"),
        ),
        ("def process(s, p, x, block):\n    x[0, 0] = p.nosuch[0]", ("cannot be compiled", "'nosuch'")),
        ("def process(s, p, x, block)\n    pass", ("SyntaxError", "line 1")),
        ("import no_such_module", ("ModuleNotFoundError", "no_such_module")),
        ("GAIN = 1", ("needs a function process(s, p, x, block)",)),
    ],
    ids=["allocates", "raises", "unknown parameter", "syntax", "import", "no process"],
)
def test_a_stage_file_that_breaks_the_law_is_named_with_the_symbol(
    here: Any, stage_file: Callable[[str, str], str], source: str, parts: tuple[str, ...]
) -> None:
    path = stage_file("mine", source)
    line = here(*NULL, "--stage", path).refused()
    assert path in line
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing.wav", ("no sound file at",)),
        ("broken.wav", ("cannot be read as sound",)),
        ("empty.wav", ("holds no sound",)),
        ("wide.wav", ("channels must be in 1..8, got 9",)),
        ("slow.wav", ("sample_rate must be in 8000..192000 Hz, got 1000",)),
    ],
)
def test_a_file_that_is_no_sound_is_refused(here: Any, tmp_path: Path, name: str, parts: tuple[str, ...]) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF and nothing more")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 48_000)
    soundfile.write(tmp_path / "wide.wav", np.zeros((100, 9)), 48_000)
    soundfile.write(tmp_path / "slow.wav", np.zeros((100, 1)), 1_000)
    line = here("render", tmp_path / name, tmp_path / "out.wav", "--chain", "gain").refused()
    for part in parts:
        assert part in line
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("target", "options", "part"),
    [
        ("out.mp3", (), "must end in .wav or .flac"),
        ("nowhere/out.wav", (), "cannot render"),
        ("out.wav", ("--block", "0"), "block must be in 1..8192 frames, got 0"),
    ],
)
def test_a_render_that_cannot_be_written_leaves_nothing(
    here: Any, voice: Path, tmp_path: Path, target: str, options: tuple[str, ...], part: str
) -> None:
    assert part in here("render", voice, tmp_path / target, "--chain", "gain", *options).refused()
    assert not list(tmp_path.glob("out*"))


def test_jack_refuses_what_it_does_not_have(here: Any, jack_server: JackServer) -> None:
    run = ("live", "--chain", "gain", "--duration", "0.1", "--server", jack_server.name)
    assert "ports are: system:capture_1" in here(*run, "--connect", "IN=nobody:out").refused()
    assert "runs at 48000 Hz, not 44100" in here(*run, "--rate", "44100").refused()
