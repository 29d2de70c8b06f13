"""What every backend offers the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from autovoice.rt.processor import Processor


class BackendError(RuntimeError):
    """A driver that cannot be had; the message names it and the way out."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the engine wants of a driver. `sample_rate` and `block` None mean: the driver's own."""

    name: str = "autovoice"
    sample_rate: float | None = None  # Hz
    block: int | None = None  # frames
    in_channels: int = 1
    out_channels: int = 1
    server: str | None = None  # JACK server name
    connect: tuple[tuple[str, str], ...] = ()  # (our port or IN/OUT, theirs)
    auto_connect: bool = True
    device: str | None = None  # PortAudio device name or index
    options: dict[str, object] = field(default_factory=dict)


class Backend(ABC):
    """A driver. `open` learns rate and block, `start` lets it call the processor, `close` gives it back.

    Control thread only. After `close` the driver never calls again, so the processor's memory may go.
    """

    sample_rate: float
    block: int

    @abstractmethod
    def open(self) -> None:
        """Connect to the driver and learn `sample_rate` and `block`; raises BackendError."""

    @abstractmethod
    def start(self, processor: Processor) -> None:
        """Let the driver call the processor from now on; raises BackendError."""

    @abstractmethod
    def close(self) -> None:
        """Stop the driver; returns when its last callback is over. May be called twice, and after the driver died."""

    @property
    def realtime(self) -> bool:
        """Whether the driver's thread runs under a real-time policy."""
        return False

    @property
    def device_latency(self) -> int:
        """Frames that the driver itself adds from input to output, as far as it says so."""
        return self.block
