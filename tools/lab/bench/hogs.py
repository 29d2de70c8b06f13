"""Hogs: what else a machine may be doing while a voice plays. Each is a context manager; `gil` is in this process.

    python -m autovoice.tools.lab.bench.hogs cpu CORE:NICE | memory SHARE | disk FOLDER

The other hogs are this program, in processes that end when the pipe to their parent does: whatever becomes of the parent,
nothing is left behind. None can fill the memory (a share of what is available, and less when that shrinks) or the disk (a
file without a name, capped, which the kernel removes).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GIL_THREADS = 2
MEMORY_SHARE = 0.5  # of what is available
MEMORY_CHUNK = 64 << 20  # bytes: beyond any processor's last cache
MEMORY_LEFT = 0.25  # of the memory in all: below this the hog gives its own back at once
DISK_BYTES = 256 << 20  # the file's size; then it begins anew
DISK_SHARE = 0.05  # ... but never more than this of the free space
DISK_WRITE, DISK_SYNC = 1 << 20, 8 << 20  # bytes in a write, bytes between two fsyncs
START_S = 10.0


@contextlib.contextmanager
def gil(threads: int = GIL_THREADS) -> Iterator[None]:
    """Python threads of this process that never let go of the GIL of their own accord."""
    stop = threading.Event()

    def spin() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(10_000):
                number = (number * 31 + 7) % 1_000_003

    workers = [threading.Thread(target=spin, name="gil-hog", daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@contextlib.contextmanager
def cpu(nice: int = 0) -> Iterator[None]:
    """Keep every core busy from a process of its own; with `nice`, 0..19, one that gives way to other work."""
    with _programs([["cpu", f"{core}:{nice}"] for core in sorted(os.sched_getaffinity(0))]):
        yield


@contextlib.contextmanager
def memory(share: float = MEMORY_SHARE) -> Iterator[None]:
    """Sweep memory beyond the caches from one process, growing to a share of what is available and starting over."""
    with _programs([["memory", str(share)]]):
        yield


@contextlib.contextmanager
def disk(folder: Path | None = None) -> Iterator[None]:
    """Write and fsync in a folder."""
    with _programs([["disk", str(folder or tempfile.gettempdir())]]):
        yield


HOGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "gil": gil,
    "cpu": cpu,
    "memory": memory,
    "disk": disk,
}
"""Every hog by its name."""

WHAT = {
    "gil": f"{GIL_THREADS} Python threads in our own process",
    "cpu": "a busy process on each core",
    "memory": "a process that sweeps and reallocates memory, up to half of what is free",
    "disk": "a process that writes and fsyncs",
}


@contextlib.contextmanager
def _programs(requests: list[list[str]]) -> Iterator[None]:
    """Run this module once for each request, until the block ends; waits until all are at work."""
    command = [sys.executable, "-m", "autovoice.tools.lab.bench.hogs"]
    with contextlib.ExitStack() as stack:
        running = []
        for request in requests:
            process = subprocess.Popen(
                [*command, *request],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C at the terminal is for the parent, which ends them
            )
            stack.callback(_end, process)
            running.append(process)
        for process in running:
            if process.stdout is None or process.stdout.readline() != b"at work\n":
                raise OSError(f"a hog did not start: {' '.join(process.args[3:])}")  # type: ignore[arg-type, index]
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _work_cpu(place: str) -> None:
    core, _, nice = place.partition(":")
    os.sched_setaffinity(0, {int(core)})
    os.nice(int(nice))
    number = 0
    while True:
        for _ in range(10_000):
            number = (number * 31 + 7) % 1_000_003


def available_bytes() -> tuple[int, int]:
    """Return the memory that is available and that there is in all (proc(5), meminfo)."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    return int(rows["MemAvailable"].split()[0]) << 10, int(rows["MemTotal"].split()[0]) << 10


def _work_memory(share: str) -> None:
    """Take chunk after chunk, sweeping all that is held after each; at the limit give all back and begin again."""
    import numpy as np

    with contextlib.suppress(OSError):  # should memory run short all the same, this process is the one to go
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    while True:
        free, total = available_bytes()
        limit = int(min(max(float(share), 0.0), MEMORY_SHARE) * free)
        held: list[np.ndarray[tuple[int], np.dtype[np.uint8]]] = []
        while len(held) * MEMORY_CHUNK < limit and available_bytes()[0] > MEMORY_LEFT * total:
            held.append(np.ones(MEMORY_CHUNK, np.uint8))
            for chunk in held[-8:]:  # one byte of each cache line
                chunk[::64] += 1
        if not held:
            time.sleep(0.1)


def _work_disk(folder: str) -> None:
    import shutil

    data = os.urandom(DISK_WRITE)  # nothing that a file system could compress away
    with tempfile.TemporaryFile(dir=folder) as file:
        while True:
            limit = min(DISK_BYTES, int(DISK_SHARE * shutil.disk_usage(folder).free))
            if limit < DISK_SYNC:
                time.sleep(0.1)
                continue
            file.seek(0)
            for at in range(DISK_WRITE, limit, DISK_WRITE):
                file.write(data)
                if at % DISK_SYNC == 0:
                    file.flush()
                    os.fsync(file.fileno())


WORK = {"cpu": _work_cpu, "memory": _work_memory, "disk": _work_disk}


def main() -> None:
    """Work until the parent ends, or closes its end of the pipe."""
    kind, argument = sys.argv[1:]
    threading.Thread(target=WORK[kind], args=(argument,), daemon=True).start()
    print("at work", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
