"""Others on the same voice: pitch shifters, dynamics, denoisers and detectors, in the blocks that a live program gives them.

A peer's call is timed from Python, which is how it would be used; ours is timed by the compiled code that drives it. The delay
is that of the loudness of syllables (their pitch may be another), plus the frames that must be queued so that every block of 64
finds 64 to play. Figures that others publish stand beside them, marked as such.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from autovoice.rt import Chain
from autovoice.tools.lab.bench import control
from autovoice.tools.lab.bench.offline import least_of
from autovoice.tools.lab.bench.peers import OURS, PEERS, PUBLISHED, RATE, Block, Peer
from autovoice.tools.lab.bench.rig import Rig, voice
from autovoice.tools.lab.bench.scenarios import Progress, Settings
from autovoice.tools.lab.latency.delay import Delay, LabError, by_envelope, by_phase
from autovoice.tools.lab.latency.signals import Probe, probe
from autovoice.tools.lab.percentiles import figures_of, histogram_us
from autovoice.tools.lab.results import Result, Role, Run, Series
from autovoice.tools.options import spec_names

HEADLINE = ("callback_mean_us", "callback_p50_us", "callback_p999_us", "callback_max_us", "latency_ms", "latency_declared_ms")
LONGEST_S = 1.5  # of a peer's delay
WAVEFORM_KEPT = ("dynamics",)  # tasks whose delay is that of the waveform: gains that move would bend the envelope's
PASSES = 3
CONTROL_S = 10.0

Array = np.ndarray[Any, Any]


def run(settings: Settings, progress: Progress) -> Result:
    """Measure ours and every peer that is installed in turns."""
    sound = voice(RATE, settings.seconds)
    found: dict[tuple[str, str], list[Run]] = {}
    missing: dict[str, str] = {}
    parts = settings.repeat * (len(PEERS) + 1)
    for k in range(settings.repeat):
        for n, peer in enumerate(PEERS):
            progress.at((k * (len(PEERS) + 1) + n) / parts, f"{peer.name}, {peer.task}")
            if ("AutoVoice", peer.task) not in found or len(found["AutoVoice", peer.task]) <= k:
                found.setdefault(("AutoVoice", peer.task), []).append(_ours(peer.task, sound, settings.block))
            try:
                found.setdefault((peer.name, peer.task), []).append(_theirs(peer, sound, settings.block))
            except (ImportError, OSError) as error:
                missing[peer.name] = f"{peer.name} is left out ({error}): {peer.install}"
        progress.at(((k + 1) * (len(PEERS) + 1) - 1) / parts, "a Python callback")
        if settings.backend == "jack":
            with Rig(settings) as rig:
                if rig.server is not None:
                    seconds = min(settings.seconds, CONTROL_S)
                    found.setdefault(("Python callback", "gain"), []).append(control.measure(rig.server.name, seconds))
        else:
            missing["JACK"] = "the Python callback is left out: apt-get install jackd2"
        progress.keep(_result(settings, found, missing))
    return _result(settings, found, missing)


def _ours(task: str, sound: Array, block: int) -> Run:
    chain = Chain(OURS[task])
    us = least_of(PASSES, chain, sound, block) / 1e3
    metrics = {**figures_of("callback", us), "callback_mean_us": float(us.mean())}
    if task not in ("vad", "pitch"):
        sent, longest, method = _probe(task)
        heard = chain.render(np.pad(sent.sound, (0, longest)), sample_rate=RATE, block=block, compensate=False)
        metrics["latency_ms"] = method(sent, heard, longest).frames / RATE * 1e3
        metrics["latency_declared_ms"] = chain.latency(RATE) / RATE * 1e3
    return Run(_rounded(metrics), {"callback": histogram_us(us)})


def _theirs(peer: Peer, sound: Array, block: int) -> Run:
    if peer.kind == "whole":
        least_s = min(_seconds(peer.make(), sound) for _ in range(PASSES))
        return Run(_rounded({"callback_mean_us": least_s * 1e6 / (len(sound) / block)}))
    us = np.min([_drive(peer.make(), sound, block)[1] for _ in range(PASSES)], axis=0)
    metrics = {**figures_of("callback", us), "callback_mean_us": float(us.mean())}
    if peer.declared is not None:
        metrics["latency_declared_ms"] = peer.declared() / RATE * 1e3
    elif peer.kind == "sound":
        with contextlib.suppress(LabError):  # what it gives back has another envelope: there is no one delay to state
            metrics["latency_ms"] = _delay_ms(peer, block)
    return Run(_rounded(metrics), {"callback": histogram_us(us)})


def _seconds(process: Block, sound: Array) -> float:
    begin = time.perf_counter()
    process(sound)
    return time.perf_counter() - begin


def _drive(process: Block, sound: Array, block: int) -> tuple[Array, Array, int]:
    """Feed a recording block by block; what came out, microseconds of each call, and the frames that were lacking at most."""
    blocks = sound[: len(sound) // block * block].reshape(-1, block)
    made, lacking, out = [], 0, 0
    times = np.zeros(len(blocks))
    for k, one in enumerate(blocks):
        begin = time.perf_counter_ns()
        part = process(one)
        times[k] = time.perf_counter_ns() - begin
        made.append(part)
        out += len(part)
        lacking = max(lacking, (k + 1) * block - out)
    return np.concatenate(made), times / 1e3, lacking


def _probe(task: str) -> tuple[Probe, int, Callable[[Probe, Array, int], Delay]]:
    """Return what is sent to measure a task's delay, the longest that is looked for, and how it is found."""
    name, method = ("chirp", by_phase) if task in WAVEFORM_KEPT else ("bursts", by_envelope)
    return probe(name, RATE), round(LONGEST_S * RATE), method


def _delay_ms(peer: Peer, block: int) -> float:
    """Return what a live program hears: the delay within what came out, and what has to be queued before it."""
    sent, longest, method = _probe(peer.task)
    heard, _, lacking = _drive(peer.make(), np.pad(sent.sound, (0, longest)), block)
    late = method(sent, np.pad(heard, (0, max(0, len(sent.sound) + longest - len(heard)))), longest)
    return (late.frames + lacking) / RATE * 1e3


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in metrics.items()}


def _result(settings: Settings, found: dict[tuple[str, str], list[Run]], missing: dict[str, str]) -> Result:
    roles: dict[str, Role] = {"AutoVoice": "subject", "Python callback": "control"}
    series = [Series(name, roles.get(name, "peer"), runs, {"task": task}) for (name, task), runs in found.items() if runs]
    for one in PUBLISHED:
        series.append(Series(one.name, "peer", [Run({"latency_ms": one.latency_ms})], {"task": "published"}, how=one.how))
    notes = [f"AutoVoice, {task}: {', '.join(spec_names(specs))}" for task, specs in OURS.items()]
    notes += [f"{peer.name}, {peer.task}: {peer.remark}" for peer in PEERS if peer.remark and (peer.name, peer.task) in found]
    notes += missing.values()
    return Result("peers", "others on the same voice, block by block", settings.described(), series, [], notes)
