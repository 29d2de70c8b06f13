"""A program under the watcher (native/malloc_guard.c, by LD_PRELOAD): the demo chain live on JACK, then stages with faults.

Arguments: JACK server, folder of the faulty stages. Prints what the watcher counted on the audio thread as one JSON line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autovoice.rt import Chain, Engine
from autovoice.rt.midi_input import MidiMap, Player, midi_input
from support import DEMO, played, wait_until

KEYBOARD = "2400 0 60 1200 600 64 1200 1200 67 600"  # frames of the loop; then frame, note and length of each
NOBODY = 255  # a uid
LIVE_S, SWAP_S, SWAPS = 3.0, 0.2, 10
FAULT_FRAMES = 4_800
watcher = ctypes.CDLL(None)
watcher.rt_name.restype, watcher.rt_count.restype, watcher.rt_entries.restype = ctypes.c_char_p, ctypes.c_long, ctypes.c_long


def address(name: str) -> int:
    return int(ctypes.cast(getattr(watcher, name), ctypes.c_void_p).value or 0)


def counts() -> dict[str, int]:
    return {watcher.rt_name(k).decode(): watcher.rt_count(k) for k in range(watcher.rt_kinds())}


def since(before: dict[str, int]) -> dict[str, int]:
    return {name: now - before[name] for name, now in counts().items() if now != before[name]}


def watch(engine: Engine) -> None:
    """Put the watcher's switches around the callback; the way out first, as the driver already calls."""
    record = engine.processor.engine
    record["exit_hook"] = address("rt_exit")
    record["enter_hook"] = address("rt_enter")


def move_and_swap(engine: Engine, chains: list[Chain], seconds: float) -> None:
    """Send a thousand parameter moves a second and a new chain every SWAP_S, and at least SWAPS."""
    begin = swapped = time.monotonic()
    sent = 0
    while (now := time.monotonic()) - begin < seconds or engine.stats().swaps < SWAPS:
        if now - swapped > SWAP_S:
            swapped = now
            engine.swap(random.choice(chains))
        while sent < (now - begin) * 1000:
            placed = random.choice(engine.chain.placed)
            if placed.stage.parameters:
                p = random.choice(placed.stage.parameters)
                value = random.uniform(p.minimum, p.maximum)
                engine.set(f"{placed.key}/{p.name}", round(value) if p.scale in ("switch", "choice") else value)
            else:
                engine.bypass(placed.key, random.random() < 0.5)
            sent += 1
        time.sleep(0.0005)


@contextlib.contextmanager
def keyboard(engine: Engine, server: str) -> Iterator[None]:
    """Play notes to the engine's MIDI port while the block runs, for two voices of a stage that is not there."""
    midi_input(engine.processor).publish(MidiMap({}, [Player(NOBODY, (0, 1), 2, frozenset(range(16)))]))
    environment = {**os.environ, "JACK_DEFAULT_SERVER": server, "LD_PRELOAD": ""}
    quiet: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    player = subprocess.Popen(["jack_midiseq", "keyboard", *KEYBOARD.split()], **quiet)
    try:
        while subprocess.run(["jack_connect", "keyboard:out", "guarded:midi_in"], **quiet).returncode:
            if player.poll() is not None:
                raise RuntimeError(f"jack_midiseq ended with {player.returncode}")
            time.sleep(0.05)
        yield
    finally:
        player.kill()
        player.wait()


def main() -> None:
    server, faults = sys.argv[1], Path(sys.argv[2])
    random.seed(1)
    full = Chain(DEMO)
    chains = [full, Chain(["gain", *DEMO[:3], "limiter"]), Chain(["gain"]), Chain([*DEMO, "gain"])]
    planted = {path.stem: Chain([str(path)]) for path in sorted(faults.glob("*.py"))}
    found: dict[str, Any] = {"planted": {}}
    with Engine(full, backend="jack", server=server, name="guarded", in_channels=2, out_channels=2) as engine:
        watch(engine)
        cycles = engine.stats().cycles
        before = counts()
        engine.record(faults / "wet.wav", dry=faults / "dry.wav")
        with keyboard(engine, server):
            move_and_swap(engine, chains, LIVE_S)
        engine.stop_recording()
        found["live"] = since(before)
        stats = engine.stats()
        found |= {"entries": watcher.rt_entries(), "cycles": stats.cycles - cycles}
        found |= {"events": stats.events_applied, "swaps": stats.swaps, "midi": midi_input(engine.processor).counts["heard"]}
        for name, chain in planted.items():
            engine.swap(chain)
            played(engine, FAULT_FRAMES)
            before = counts()
            played(engine, FAULT_FRAMES)
            found["planted"][name] = since(before)
    lane = Chain(["highpass", {"lane": ["gain"], "hop": 2}, "limiter"])
    with Engine(lane, backend="jack", server=server, name="guarded", in_channels=2, out_channels=2) as engine:
        watch(engine)
        before = counts()
        lanes = engine.processor.telemetry.lanes
        wait_until(lambda: lanes()["lane"].hops > 500)
        os.kill(lanes()["lane"].pid, signal.SIGKILL)
        wait_until(lambda: lanes()["lane"].misses > 20)
        found["lane"] = since(before)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
