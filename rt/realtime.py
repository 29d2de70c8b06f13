"""What the host grants a real-time program, and what to do about what it does not."""

from __future__ import annotations

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path

FIFO_PRIORITY = 70


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of the host: whether it is as live sound wants it, and what to change."""

    name: str
    value: str
    good: bool
    advice: str


def try_fifo(priority: int = FIFO_PRIORITY) -> bool:
    """Ask for SCHED_FIFO for the calling thread; say whether it was granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True


def may_fifo() -> bool:
    """Say whether this process may run threads under SCHED_FIFO, by asking for it and giving it back."""
    if not hasattr(os, "sched_getscheduler"):
        return False
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    granted = try_fifo(1)
    if granted:
        os.sched_setscheduler(0, policy, parameter)
    return granted


def host_report() -> list[Finding]:
    """Return what the host grants: scheduling, memory lock, processor clock, wake-up latency. Any thread."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY or os.geteuid() == 0
    governors = {p.read_text().strip() for p in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    sleep = Path("/dev/cpu_dma_latency")
    fifo = may_fifo()
    return [
        Finding(
            "SCHED_FIFO",
            "granted" if fifo else "refused",
            fifo,
            "add `@audio - rtprio 95` to /etc/security/limits.d/audio.conf",
        ),
        Finding(
            "locked memory",
            "unlimited" if unlimited else f"{soft // 1024} KiB",
            unlimited or soft >= 64 << 20,
            "add `@audio - memlock unlimited` to /etc/security/limits.d/audio.conf",
        ),
        Finding(
            "processor clock",
            ", ".join(sorted(governors)) or "not adjustable here",
            governors <= {"performance"},
            "cpupower frequency-set -g performance",
        ),
        Finding(
            "sleep-state limit",
            "can be set" if os.access(sleep, os.W_OK) else "cannot be set",
            os.access(sleep, os.W_OK),
            "let the audio group write /dev/cpu_dma_latency",
        ),
        Finding(
            "kernel",
            f"{platform.system()} {platform.release()}",
            "PREEMPT" in platform.version(),
            "use a PREEMPT or PREEMPT_RT kernel",
        ),
    ]
