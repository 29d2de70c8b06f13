"""`autovoice demo`: a real voice through the whole chain, live, with figures and a picture to show for it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling, compile_apart
from autovoice.tools.options import DEFAULT_CHAIN, CommandError, note, plain_data, print_json, stage_names
from autovoice.tools.private_jack import PrivateJack
from autovoice.tools.process import resident_mb

if TYPE_CHECKING:
    from autovoice.rt import Engine, Stats

SAMPLE_RATE, BLOCK = 48_000, 64
LONGEST_DELAY = 16_384  # frames: the measured latency is looked for up to here
SCORE: tuple[tuple[float, dict[str, float], str], ...] = (
    (0.00, {"shift/semitones": 0.0}, "natural"),
    (0.20, {"shift/semitones": 4.0}, "+4 st"),
    (0.45, {"shift/semitones": -5.0}, "-5 st"),
    (0.65, {"shift/semitones": 0.0, "gate/bypass": 1.0, "master/output": -3.0}, "0 st, gate off, -3 dB"),
    (0.80, {"shift/semitones": 7.0, "shift/formant": 2.0, "gate/bypass": 0.0, "master/output": 0.0}, "+7 st, formants +2"),
)
"""What is changed while the voice plays: at which part of the speech, which parameters, and how the picture says it."""
AT_REST = {"shift/semitones": 0.0, "shift/formant": 0.0}


@dataclass(frozen=True, slots=True)
class Take:
    """What one live run left behind."""

    stats: Stats
    realtime: bool
    measured: int  # frames of latency
    memory_mb: dict[str, float]
    histogram: tuple[Any, Any]  # lower edges in microseconds, counts
    score: list[tuple[float, float, str]]  # seconds into the recording, semitones, what changed


@click.command("demo")
@click.option("--input", "source", type=click.Path(path_type=Path), metavar="FILE", help="A voice of your own.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True, help="Folder."
)
@click.option(
    "--backend", type=click.Choice(["auto", "jack", "null"]), default="auto", show_default=True, help="auto: JACK if installed."
)
@click.option("--seconds", type=click.FloatRange(min=1), metavar="S", help="Use only the first S seconds of the voice.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary on stdout.")
def command(source: Path | None, out: Path, backend: str, seconds: float | None, as_json: bool) -> None:
    """Play a real voice live through a chain and report.

    Leaves wet.wav, dry.wav, summary.json and report.png in the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autovoice-demo-")))
        voice = work / "voice.wav"
        files = [str(source)] if source else []
        driver = backend if backend != "auto" else "jack" if PrivateJack.available() else "null"
        with Compiling():
            # In another process: the memory of the compiler is not the one to be measured here.
            compile_apart(driver, stage_names(DEFAULT_CHAIN), always=True)
            speech_frames = int(_program("speech", str(voice), str(SAMPLE_RATE), str(seconds or "all"), *files))
            from autovoice.rt import Chain

            chain = Chain(stage_names(DEFAULT_CHAIN))
        server = _server(driver, stack, insist=backend == "jack")
        note(f"playing {speech_frames / SAMPLE_RATE:.1f} s of speech through {DEFAULT_CHAIN.replace(',', ' -> ')}")
        take = _on_jack(chain, server, voice, speech_frames, out) if server else _on_null(chain, voice, speech_frames, out)
        summary = _summary(take, server, _warm_start_s(server))
    (out / "summary.json").write_text(json.dumps(plain_data(summary), indent=2) + "\n", encoding="utf-8")
    edges, counts = take.histogram
    figures = {"summary": summary, "score": take.score, "edges_us": edges, "counts": counts, "stage_us": take.stats.stage_us}
    _program("report", str(out), text=json.dumps(plain_data(figures)))
    if as_json:
        print_json(summary)
    else:
        _tell(summary, out)


def _server(driver: str, stack: contextlib.ExitStack, *, insist: bool) -> PrivateJack | None:
    """Start a private JACK server; None where it is not wanted, or does not start and nobody insists."""
    if driver == "null":
        note("playing on the null driver, which keeps time by the clock")
        return None
    server = PrivateJack(f"autovoice-demo-{os.getpid()}", sample_rate=SAMPLE_RATE, block=BLOCK)
    try:
        stack.enter_context(server)
    except OSError as error:
        if insist:
            raise CommandError(str(error)) from error
        note(f"{error}; playing on the null driver, which keeps time by the clock")
        return None
    note(f"private JACK server {server.name}: dummy driver, {SAMPLE_RATE} Hz, {BLOCK} frames")
    return server


def _on_jack(chain: Any, server: PrivateJack, voice: Path, speech_frames: int, out: Path) -> Take:
    """Play through the server: a second process sings, a third client listens to both sides."""
    from autovoice.rt import Engine

    tap, name = voice.with_name("tap.wav"), "autovoice-demo"
    engine = Engine(chain, backend="jack", name=name, server=server.name, block=BLOCK)
    with _singer(str(voice), server.name, "singer", name, str(tap)) as singer, engine:
        engine.record(out / "wet.wav", dry=out / "dry.wav")
        recorded_from = engine.stats().frames
        singer.say("sing")
        singer.expect("playing")
        start = engine.stats().frames
        score = _perform(engine, start, speech_frames, recorded_from)
        singer.expect("done")
        stats, memory, histogram = engine.stats(), resident_mb(), engine.processor.telemetry.histogram()
        realtime = engine.realtime
    import soundfile

    sent, received = soundfile.read(tap, dtype="float32")[0].T
    return Take(stats, realtime, _measure(sent, received), memory, histogram, score)


def _on_null(chain: Any, voice: Path, speech_frames: int, out: Path) -> Take:
    """Play on the null driver, which reads the voice and keeps what came out."""
    import numpy as np
    import soundfile
    from autovoice.rt import Engine

    sent = soundfile.read(voice, dtype="float32")[0]
    received = np.zeros((1, len(sent)), np.float32)
    options = {"source": sent, "sink": received, "loop": False}
    engine = Engine(chain, backend="null", block=BLOCK, sample_rate=SAMPLE_RATE, options=options)
    with engine:
        engine.record(out / "wet.wav", dry=out / "dry.wav")
        score = _perform(engine, 0, speech_frames, engine.stats().frames)
        while engine.stats().frames < len(sent):
            time.sleep(0.02)
        stats, memory, histogram = engine.stats(), resident_mb(), engine.processor.telemetry.histogram()
        realtime = engine.realtime
    return Take(stats, realtime, _measure(sent, received[0]), memory, histogram, score)


def _perform(engine: Engine, start: int, speech_frames: int, recorded_from: int) -> list[tuple[float, float, str]]:
    """Send the whole score, each change for its frame; record until the speech has ended, then leave the chain at rest."""
    from autovoice.tools.speech import LEAD_S

    first = start + round(LEAD_S * SAMPLE_RATE)
    delay = engine.stats().latency_frames
    marks = []
    for share, changes, text in SCORE:
        frame = first + round(share * speech_frames)
        engine.set_many(changes, frame=frame)
        marks.append((max(frame + delay - recorded_from, 0) / SAMPLE_RATE, changes["shift/semitones"], text))
    end = first + speech_frames + delay + SAMPLE_RATE // 4
    while engine.alive and engine.stats().frames < end:
        time.sleep(0.02)
    engine.stop_recording()
    engine.set_many(AT_REST)
    if not engine.alive:
        raise CommandError(f"the sound stopped: {engine.trouble or 'the driver ended'}")
    return marks


def _measure(sent: Any, received: Any) -> int:
    """Return the latency in frames from the chirp at the end of what was sent, as it came back."""
    import numpy as np
    from autovoice.tools.lab.latency.delay import by_phase
    from autovoice.tools.lab.latency.signals import CHIRP_HIGH_HZ, CHIRP_LOW_HZ, CHIRP_S, Probe

    end = int(np.flatnonzero(np.abs(sent) > 1e-3)[-1]) + 1
    begin = end - round(CHIRP_S * SAMPLE_RATE)
    chirp = Probe("chirp", sent[begin:end], (CHIRP_LOW_HZ, CHIRP_HIGH_HZ), SAMPLE_RATE)
    return round(by_phase(chirp, received[begin:], LONGEST_DELAY).frames)


def _warm_start_s(server: PrivateJack | None) -> float:
    """Start the same chain once more in a new process and return the seconds to its first processed block."""
    driver = ["--backend", "jack", "--server", server.name] if server else ["--backend", "null"]
    run = ["live", *driver, "--name", "autovoice-warm", "--chain", DEFAULT_CHAIN, "--duration", "0.3", "--json"]
    return float(json.loads(_program("cli", *run))["start_s"])


def _summary(take: Take, server: PrivateJack | None, start_s: float) -> dict[str, Any]:
    from autovoice.rt.realtime import host_report

    stats = take.stats
    return {
        "backend": "jack" if server else "null",
        "sample_rate": stats.sample_rate,
        "block": stats.block,
        "frames": stats.frames,
        "expected_frames": stats.expected_frames,
        "xruns": stats.xruns,
        "deadline_misses": stats.misses,
        "late_wakes": stats.late_wakes,
        "callback_us": asdict(stats.callback_us),
        "load": round(stats.load, 5),
        "latency_frames": {"declared": stats.latency_frames, "measured": take.measured},
        "rss_anon_mb": take.memory_mb["anon"],
        "rss_file_mb": take.memory_mb["file"],
        "start_s": start_s,
        "realtime": take.realtime,
        "host": host_report(),
    }


def _tell(summary: dict[str, Any], out: Path) -> None:
    us, latency = summary["callback_us"], summary["latency_frames"]
    ms = latency["measured"] / summary["sample_rate"] * 1e3
    period = summary["block"] / summary["sample_rate"] * 1e6
    for name, text in (
        (
            "played",
            f"{summary['frames']} of {summary['expected_frames']} frames on {summary['backend']}, "
            f"real-time {'granted' if summary['realtime'] else 'refused'}",
        ),
        (
            "drop-outs",
            f"{summary['xruns']} xruns, {summary['deadline_misses']} deadline misses, {summary['late_wakes']} late wakes",
        ),
        (
            "callback",
            f"p50 {us['p50']:.1f}, p99 {us['p99']:.1f}, p99.9 {us['p999']:.1f}, max {us['max']:.1f} of {period:.0f} us",
        ),
        ("latency", f"{latency['measured']} frames measured ({ms:.2f} ms), {latency['declared']} declared"),
        ("memory", f"{summary['rss_anon_mb']:.0f} MB of its own, {summary['rss_file_mb']:.0f} MB of code"),
        ("warm start", f"{summary['start_s']:.2f} s to the first block"),
        ("see", f"{out / 'report.png'}, {out / 'wet.wav'}, {out / 'dry.wav'}, {out / 'summary.json'}"),
    ):
        click.echo(f"{name:<11}{text}")


def _program(name: str, *arguments: str, text: str | None = None) -> str:
    """Run one of our programs in a process of its own and return what it printed; raises CommandError with its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"autovoice.tools.{name}", *arguments], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise CommandError((lines[-1] if lines else f"{name} ended with {done.returncode}").removeprefix("autovoice: "))
    return done.stdout


class _Singer:
    """The other process; it says what it does, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def expect(self, line: str) -> None:
        assert self._process.stdout
        if self._process.stdout.readline().strip() != line:
            raise CommandError("the demo's singer fell silent; run the demo again, or use --backend null")


@contextlib.contextmanager
def _singer(*arguments: str) -> Iterator[_Singer]:
    """Start the player's process, let it warm up, and end it afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autovoice.tools.player", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            singer = _Singer(process)
            singer.expect("ready")
            yield singer
        finally:
            process.terminate()
