"""What a stage may have beside its state: memory laid out for the sample rate, and stereo made of mono."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from autovoice.dsp.stage import StageError, load, stage_names
from autovoice.dsp.toolchain import cache_folder
from autovoice.rt import Chain
from support import Crank

ECHO = '''"""Sound a tenth of a second later, inverted on the right."""

import numpy as np
from autovoice.dsp.native import as_pointer
from autovoice.dsp.toolchain import numba

carray = numba.carray
SPREADS = True
STATE = [("memory", "i8"), ("frames", "i8")]


def memory(sample_rate):
    return round(sample_rate / 10)


def prepare(state, sample_rate):
    state["frames"] = memory(sample_rate)


def process(s, p, x, block):
    for c in range(block.channels):
        line = carray(as_pointer(s[c].memory), (s[c].frames,), np.float32)
        for i in range(block.frames):
            at = (block.frame + i) % s[c].frames
            late = line[at]
            line[at] = x[c, i]
            x[c, i] = -late if c & 1 else late
'''
NOISE = (np.random.default_rng(3).standard_normal(30_000) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stages") / "echo.py"
    path.write_text(ECHO)
    return str(path)


@pytest.mark.parametrize("rate", [44_100, 48_000, 192_000])
def test_a_delay_line_is_as_long_as_the_rate_asks(echo: str, rate: int) -> None:
    heard = Chain([echo]).render(NOISE, sample_rate=rate)
    assert np.array_equal(heard[rate // 10 :], NOISE[: -rate // 10])
    assert not heard[: rate // 10].any()


def test_one_input_becomes_stereo_where_a_stage_spreads_and_two_outputs_are_asked_for(echo: str) -> None:
    left, right = Chain([echo]).render(NOISE, sample_rate=48_000, channels=2)
    assert np.array_equal(left[4800:], NOISE[:-4800])
    assert np.array_equal(right, -left)
    both = Chain(["gain"]).render(NOISE, sample_rate=48_000, channels=2)
    assert np.array_equal(both, [NOISE, NOISE])


def test_memory_is_kept_through_a_swap_and_belongs_to_the_new_chain(echo: str) -> None:
    crank = Crank(Chain([echo]))
    before = crank.run(NOISE[:9600])
    thread = crank.begin_swap(Chain([echo, "gain"]))
    after = crank.run(NOISE[9600:])
    thread.join()
    again = crank.begin_swap(Chain([echo]))  # frees the first chain: the second must not look into it
    last = crank.run(NOISE)
    again.join()
    heard = np.concatenate([before, after, last])
    assert np.array_equal(heard[4800:], np.concatenate([NOISE, NOISE])[:-4800])


@pytest.mark.parametrize("name", [name for name in stage_names() if hasattr(load(name).module, "memory")])
def test_no_address_of_a_chain_that_is_gone_comes_along_in_a_swap(name: str) -> None:
    """A state may hold addresses within its memory, such as a transform's; all of them must be those of the new chain."""
    crank = Crank(Chain([name]))
    crank.run(NOISE)
    old = crank.processor.image
    swap = crank.begin_swap(Chain([name]))
    crank.run(NOISE[:64])
    swap.join()
    words = crank.processor.image.states[-1].view(np.int64)
    assert not np.any((words >= old.arena.address) & (words < old.arena.address + old.arena.size))
    assert np.any((words >= crank.processor.image.arena.address) & (words < crank.processor.image.arena.address + 1e7))


def test_memory_without_a_field_for_its_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "forgetful.py"
    path.write_text(ECHO.replace('("memory", "i8"), ', ""))
    with pytest.raises(StageError, match=r'needs the field \("memory", "i8"\) in STATE'):
        load(str(path))


def test_more_memory_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "greedy.py"
    path.write_text(ECHO.replace("round(sample_rate / 10)", "1 << 30"))
    with pytest.raises(StageError, match=r"memory\(\) must give a whole number in 0..16777216, got 1073741824"):
        Chain([str(path)]).render(NOISE, sample_rate=48_000)


def test_an_edit_of_a_stage_gives_it_another_cache_folder_and_leaves_its_neighbours_theirs(tmp_path: Path) -> None:
    """The hash holds the file and all that it imports, and nothing else."""
    for name in ("dsp", "rt"):
        shutil.copytree(Path(__file__).parents[2] / name, tmp_path / "autovoice" / name)
    stages = tmp_path / "autovoice" / "dsp" / "stages"

    def folders() -> dict[str, str]:
        program = (
            "import sys; from pathlib import Path; from autovoice.dsp.toolchain import cache_folder as f\n"
            "print(*(f(Path(p)).name for p in sys.argv[1:]))"
        )
        names = ("gain", "highpass", "limiter")
        command = [sys.executable, "-c", program, *(str(stages / f"{name}.py") for name in names)]
        run = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
        return dict(zip(names, run.stdout.split(), strict=True))

    first = folders()
    (stages / "gain.py").write_text((stages / "gain.py").read_text() + "\n# edited\n")
    second = folders()
    assert second["gain"] != first["gain"] and second["highpass"] == first["highpass"]
    filters = tmp_path / "autovoice" / "dsp" / "filters.py"
    filters.write_text(filters.read_text() + "\n# edited\n")
    third = folders()
    assert third["highpass"] != second["highpass"] and third["gain"] == second["gain"]
    assert cache_folder(Path(load("gain").module.__file__ or "")).is_dir()
