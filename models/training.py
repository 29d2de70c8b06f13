"""Training of the converter: a run that can be broken off and taken up again, and a checkpoint in safetensors.

Every batch follows from the seed and its number, so a run taken up does what it would have done. Beside the weights an
exponential mean of them is kept, which is what ships. One batch asks for one look-ahead, balanced more often than the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autovoice.models import dataset, network
from autovoice.models.dataset import Normal, Utterance
from autovoice.models.losses import SpectralLoss
from autovoice.models.network import LOOKAHEADS, Converter, Synthesis
from safetensors.torch import load_file, save_file
from torch import Tensor

SHARES = {"low": 0.25, "balanced": 0.55, "quality": 0.2}  # of the batches
WARM = 20  # frames at the start of an example that count for nothing: the network has not heard enough
CONTENT_WEIGHT = 0.5
MEAN_KEEPS = 0.999


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a run."""

    batch: int = 8
    frames: int = 200
    rate: float = 1e-3
    warm_up: int = 200  # batches
    decay: int = 0  # batches at the end, over which the rate falls to LEAST of itself
    batches: int = 20_000
    seed: int = 0

    def rate_at(self, number: int) -> float:
        """Return the rate of learning of a batch: rising, constant, falling."""
        rise = min(1.0, (number + 1) / self.warm_up)
        left = (self.batches - number) / self.decay if self.decay else 1.0
        return self.rate * rise * max(0.02, min(1.0, left))


class Run:
    """A training run: model, its mean, optimiser, and how far it is."""

    def __init__(self, plan: Plan, normal: Normal) -> None:
        """Begin."""
        torch.manual_seed(plan.seed)
        self.plan, self.normal, self.number = plan, normal, 0
        self.model, self.mean = Converter(), Converter()
        self.mean.load_state_dict(self.model.state_dict())
        self.synthesis, self.loss = Synthesis(), SpectralLoss()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), plan.rate, betas=(0.9, 0.98), weight_decay=0.01)

    def examples(self, utterances: list[Utterance]) -> tuple[int, dict[str, Tensor]]:
        """Return the mode and the tensors of the next batch."""
        random = np.random.default_rng((self.plan.seed, self.number))
        mode = int(random.choice(len(SHARES), p=list(SHARES.values())))
        lookahead = list(LOOKAHEADS.values())[mode]
        drawn = list(dataset.draw(utterances, self.plan.batch, self.plan.frames, lookahead, self.normal, random))
        return mode, collate(drawn, int(random.integers(2**31)))

    def step(self, utterances: list[Utterance]) -> dict[str, float]:
        """Do one batch; returns the parts of its loss."""
        mode, given = self.examples(utterances)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.number)
        hidden = self.model.encode(given["x"], mode)
        envelopes = self.model.decode(hidden, given["speaker"], given["pitch"])
        made = self.synthesis(envelopes, given["f0_hz"], given["hiss"])
        begin = WARM * self.synthesis.hop
        total, parts = self.loss(made[:, begin:], given["sound"][:, begin:])
        content = (self.model.content(hidden) - given["content"])[:, WARM:].abs().mean()
        self.optimiser.zero_grad()
        (total + CONTENT_WEIGHT * content).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 3.0)
        self.optimiser.step()
        self.number += 1
        keep = min(MEAN_KEEPS, 1 - 1 / (1 + self.number / 10))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        return {"total": total.item(), **parts, "content": content.item(), "gradient": float(norm)}

    @torch.no_grad()
    def validate(self, utterances: list[Utterance], mode: str = "balanced") -> dict[str, float]:
        """Return the mean loss of the kept mean over whole utterances, from their first voice to each other, undisturbed."""
        lookahead = LOOKAHEADS[mode]
        found: list[dict[str, float]] = []
        for utterance in utterances:
            frames = len(utterance) - 16
            drawn = [
                dataset.example(utterance, 0, target, 12, frames, lookahead, self.normal)
                for target in range(1, len(utterance.timbre))
            ]
            given = collate(drawn, 1)
            envelopes = self.mean(given["x"], list(LOOKAHEADS).index(mode), given["speaker"], given["pitch"])
            total, parts = self.loss(self.synthesis(envelopes, given["f0_hz"], given["hiss"]), given["sound"])
            found.append({"total": total.item(), **parts})
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    def save(self, path: Path) -> None:
        """Write all there is to go on from here; the file appears whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            state = self.optimiser.state.get(parameter, {})
            tensors |= {f"adam.{part}.{name}": torch.as_tensor(value) for part, value in state.items()}
        tensors |= {"normal.mean": torch.from_numpy(self.normal.mean), "normal.std": torch.from_numpy(self.normal.std)}
        partial = path.with_name(f".{os.getpid()}.{path.name}")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"number": str(self.number)})
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        tensors = load_file(path)
        parts = {
            part: {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)} for part in ("model.", "mean.")
        }
        self.model.load_state_dict(parts["model."])
        self.mean.load_state_dict(parts["mean."])
        for name, parameter in self.model.named_parameters():
            kept = {
                part: tensors[f"adam.{part}.{name}"]
                for part in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{part}.{name}" in tensors
            }
            if kept:
                self.optimiser.state[parameter] = kept
        self.normal = Normal(tensors["normal.mean"].numpy(), tensors["normal.std"].numpy())
        self.number = number_of(path)


def number_of(path: Path) -> int:
    """Return how many batches a checkpoint has seen."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return int(json.loads(file.read(size))["__metadata__"]["number"])


def collate(drawn: list[dataset.Example], seed: int) -> dict[str, Tensor]:
    """Stack examples, and add the noise of the synthesis."""
    names = ("x", "pitch", "speaker", "f0_hz", "sound", "content")
    given = {name: network.batch_of([getattr(one, name) for one in drawn]) for name in names}
    given["hiss"] = torch.randn(given["f0_hz"].shape, generator=torch.Generator().manual_seed(seed))
    return given


def utterances(folder: Path, known: int = 0) -> Iterator[Utterance]:
    """Yield the utterances of a folder from number `known` on, in order; more may come while a run goes on."""
    for path in sorted(folder.glob("[0-9]*.safetensors"))[known:]:
        yield dataset.prepare(path)


def allocate_once() -> None:
    """Let glibc keep what is freed: tensors of megabytes would else be mapped and zeroed anew for every product."""
    import ctypes

    libc: Any = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
