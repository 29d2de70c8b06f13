"""A lane whose reserve is too short for block, fade and worker is told of in one line, live and after a render."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from autovoice.rt import Chain, Engine
from autovoice.rt.backends.file import FileRender
from autovoice.rt.control.conductor import Conductor, Notice
from autovoice.rt.lane import reserve
from support import SAMPLE_RATE, wait_until

WORKER = '''
"""A model of a test that takes its time."""
import time


class Slow:
    def prepare(self, sample_rate, hop):
        return 0

    def process(self, block):
        time.sleep({seconds})
        return block
'''
SHORT = re.compile(
    r"lane: a reserve of (?P<reserve>[\d.]+) ms is too short for a block of (?P<block>\d+) frames \((?P<ms>[\d.]+) ms\)"
    r"(, the fade \(2\.5 ms\) and its worker \((?P<work>[\d.]+) ms a hop\)| and the fade \(2\.5 ms\)); where a hop is late, "
    r"the dry sound is heard: give the lane reserve = (?P<enough>\d+) or more, or the driver shorter blocks"
)


def lane(folder: Path, seconds: float, **options: Any) -> dict[str, Any]:
    path = folder / "slow.py"
    path.write_text(WORKER.replace("{seconds}", str(seconds)))
    return {"lane": f"{path}:Slow", "standby": "off", **options}


def test_after_a_render_it_is_told_what_would_be_late_live(tmp_path: Path) -> None:
    sound = tmp_path / "dry.wav"
    soundfile.write(sound, np.zeros(SAMPLE_RATE // 2, np.float32), SAMPLE_RATE, subtype="FLOAT")

    def lacking(seconds: float, block: int, **options: Any) -> list[re.Match[str]]:
        job = FileRender(Chain([lane(tmp_path, seconds, **options)]), sound, tmp_path / "wet.wav", block=block)
        found = [SHORT.fullmatch(line) for line in job.run().lacking]
        assert None not in found
        return [one for one in found if one is not None]

    assert lacking(0.0, 64) == []
    (one,) = lacking(0.0, 1024)
    assert (one["reserve"], one["block"], one["ms"]) == ("10", "1024", "21.3")
    (two,) = lacking(0.02, 64, hop=40, reserve=12)
    assert 18.0 <= float(two["work"]) < 40.0
    assert int(two["enough"]) == pytest.approx(64 / 48 + 2.5 + float(two["work"]), abs=2.1)
    assert lacking(0.02, 64, hop=40, reserve=500) == []


@pytest.mark.parametrize(
    ("hop", "block", "frames"), [(512, 64, 384), (512, 384, 384), (512, 448, 0), (512, 512, 512), (480, 512, 0), (512, 1024, 0)]
)
def test_the_time_between_handing_over_and_looking_is_that_of_the_worst_hop(hop: int, block: int, frames: int) -> None:
    """By counting: blocks of a callback each, hops handed over at their end, looked for where the fade would begin."""
    reserve_frames, fade = 480, 120
    left = []
    for end in range(hop, 200 * hop, hop):
        handed = next(k for k in range(end) if (k + 1) * block >= end)
        looked = next(k for k in range(2 * end) if (k + 1) * block > end + reserve_frames - fade)
        left.append((looked - handed) * block)
    assert reserve.time_left(hop, reserve_frames, fade, block) == min(left) == frames


@pytest.mark.parametrize(("seconds", "block", "options"), [(0.0, 1024, {}), (0.02, 64, {"hop": 40, "reserve": 12})])
def test_live_it_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, block: int, options: Any
) -> None:
    monkeypatch.setattr(reserve, "SURE", 10)
    monkeypatch.setattr("autovoice.rt.control.lanes.LOOK_S", 0.1)
    told: list[Notice] = []
    chain = Chain([lane(tmp_path, seconds, **options)])
    with (
        Engine(chain, backend="null", block=block, name=f"reserve-{os.getpid()}") as engine,
        Conductor(engine, told=told.append),
    ):
        assert wait_until(lambda: bool(told))
        found = SHORT.fullmatch(told[0].text)
        assert found is not None
        assert found["work"] is not None or seconds == 0
        hops = engine.stats().lane_hops
        assert wait_until(lambda: engine.stats().lane_hops > hops + 15)
        assert len(told) == 1


def test_live_nothing_is_told_of_a_lane_that_is_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "SURE", 10)
    monkeypatch.setattr("autovoice.rt.control.lanes.LOOK_S", 0.1)
    told: list[Notice] = []
    chain = Chain([lane(tmp_path, 0.0, reserve=1000)])
    with Engine(chain, backend="null", name=f"reserve-{os.getpid()}") as engine, Conductor(engine, told=told.append):
        assert wait_until(lambda: engine.stats().lane_hops > 40)
    assert told == []
