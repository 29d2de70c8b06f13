"""A singer for a JACK server: plays a file into a client's port, and records what went in beside what came out.

    python -m autovoice.tools.player SOURCE.wav SERVER NAME TARGET_CLIENT TAP.wav

Two clients of our own engine with empty chains, so no Python runs on JACK's threads. Prints `ready`, waits for a line on
stdin, prints `playing`, and `done` when all was heard. The tap is a third party to the client under test: both of its
channels are recorded in the same cycles, so the lag between them is the latency of that client and of nothing else.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import soundfile
from autovoice.rt import Chain, Engine


def main() -> None:
    """Play once."""
    source, server, name, target, tap = sys.argv[1:]
    sound, rate = soundfile.read(source, dtype="float32")
    empty = Chain([])
    player = Engine(
        empty,
        backend="jack",
        server=server,
        name=name,
        sample_rate=rate,
        connect=(("out_1", f"{target}:in_1"),),
        options={"source": sound},
    )
    listener = Engine(
        empty,
        backend="jack",
        server=server,
        name=f"{name}-tap",
        in_channels=2,
        out_channels=2,
        connect=(("in_1", f"{name}:out_1"), ("in_2", f"{target}:out_1")),
    )
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    with player:
        print("playing", flush=True)
        with listener:
            listener.record(Path(tap))
            while player.alive and player.stats().frames < len(sound):
                time.sleep(0.02)
    print("done", flush=True)


if __name__ == "__main__":
    main()
