"""Training of the converter: a run that can be broken off and taken up again, and checkpoints in safetensors.

Every batch follows from the seed, its number and the process, so a run taken up does what it would have done. Beside the
weights an exponential mean of them is kept, which is what ships. One batch asks for one look-ahead, balanced more often than
the others. After `critic_from` batches a critic joins in (`autovoice.models.discriminator`). Devices, and several of them, are
Accelerate's business: `accelerate launch -m autovoice.tools.train ...` uses all that there are.
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
from accelerate import Accelerator
from autovoice.models import contrast, dataset, network
from autovoice.models.dataset import Normal, Utterance
from autovoice.models.discriminator import Critic, critic_loss, maker_loss
from autovoice.models.export import UNSHIPPED
from autovoice.models.losses import MEL_WINDOW, WINDOWS, SpectralLoss
from autovoice.models.network import LOOKAHEADS, Converter, Synthesis
from autovoice.models.teacher import UNTOLD
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

SHARES = {"low": 0.25, "balanced": 0.55, "quality": 0.2}  # of the batches
WARM = 20  # frames at the start of an example that count for nothing: the network has not heard enough
GUESSES = {"content": 0.5, "phonemes": 0.5, "bands": 2.0}  # weights of what only training asks for
PASSING_WEIGHT, ALIKE_WEIGHT = 0.5, 2.0  # of what the critic says
MEAN_KEEPS = 0.999
BETAS, CRITIC_BETAS = (0.9, 0.98), (0.8, 0.99)
LATER = (*UNSHIPPED, "bands.")  # layers that older runs lack
LEAST = 0.02  # of the rate of learning, at the end of the decay


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a run."""

    batch: int = 8
    frames: int = 200
    rate: float = 1e-3
    warm_up: int = 200  # batches
    decay: int = 0  # batches at the end, over which the rate falls to LEAST of itself
    batches: int = 20_000
    critic_from: int | None = None  # the batch at which the critic begins
    critic_rate: float = 2e-4
    seed: int = 0

    def rate_at(self, number: int) -> float:
        """Return the rate of learning of a batch: rising, constant, falling."""
        rise = min(1.0, (number + 1) / self.warm_up)
        left = (self.batches - number) / self.decay if self.decay else 1.0
        return self.rate * rise * max(LEAST, min(1.0, left))


class Trainee(nn.Module):
    """The converter with its synthesis: one call from features to sound, as several devices need it."""

    def __init__(self) -> None:
        """Lay out both."""
        super().__init__()
        self.converter, self.synthesis = Converter(), Synthesis()

    def forward(self, given: dict[str, Tensor], mode: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sound, (B, samples), and how far its guesses are off: of content, of phonemes, of the target's bands."""
        hidden = self.converter.encode(given["x"], mode)
        envelopes, bands = self.converter.decode(hidden, given["speaker"], given["pitch"])
        phonemes = self.converter.phonemes(hidden[:, WARM:]).transpose(1, 2)
        off = {
            "content": (self.converter.content(hidden) - given["content"])[:, WARM:].abs().mean(),
            "phonemes": functional.cross_entropy(phonemes, given["phonemes"][:, WARM:], ignore_index=UNTOLD),
            "bands": (bands - given["bands"])[:, WARM:].abs().mean(),
        }
        return self.synthesis(envelopes, given["f0_hz"], given["hiss"]), off


class Run:
    """A training run: converter, its mean, critic, optimisers, and how far it is."""

    def __init__(self, plan: Plan, normal: Normal) -> None:
        """Begin."""
        torch.manual_seed(plan.seed)
        self.plan, self.normal, self.number = plan, normal, 0
        self.accelerator = Accelerator()
        trainee, self.mean = Trainee(), Trainee()
        self.mean.load_state_dict(trainee.state_dict())
        self.mean.requires_grad_(False).to(self.accelerator.device)
        optimiser = torch.optim.AdamW(trainee.parameters(), plan.rate, betas=BETAS, weight_decay=0.01)
        self.trainee, self.optimiser = self.accelerator.prepare(trainee, optimiser)
        self.loss = SpectralLoss().to(self.accelerator.device)
        critic = Critic()
        critic_optimiser = torch.optim.AdamW(critic.parameters(), plan.critic_rate, betas=CRITIC_BETAS)
        self.critic, self.critic_optimiser = self.accelerator.prepare(critic, critic_optimiser)

    @property
    def converter(self) -> Converter:
        """The converter itself, as it is now."""
        converter: Converter = self.accelerator.unwrap_model(self.trainee).converter
        return converter

    def examples(self, utterances: list[Utterance]) -> tuple[int, dict[str, Tensor]]:
        """Return the mode and the tensors of the next batch."""
        mode = int(np.random.default_rng((self.plan.seed, self.number)).choice(len(SHARES), p=list(SHARES.values())))
        random = np.random.default_rng((self.plan.seed, self.number, self.accelerator.process_index))
        lookahead = list(LOOKAHEADS.values())[mode]
        drawn = list(dataset.draw(utterances, self.plan.batch, self.plan.frames, lookahead, self.normal, random))
        return mode, self._placed(collate(drawn, int(random.integers(2**31))))

    def _placed(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.accelerator.device) for name, tensor in given.items()}

    def step(self, utterances: list[Utterance]) -> dict[str, float]:
        """Do one batch; returns the parts of its loss."""
        mode, given = self.examples(utterances)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.number)
        made, off = self.trainee(given, mode)
        begin = WARM * round(network.RATE * 0.01)
        made, wanted = made[:, begin:], given["sound"][:, begin:]
        total, parts = self.loss(made, wanted, WINDOWS[self.number % len(WINDOWS)])
        parts |= {name: value.item() for name, value in off.items()}
        if self.plan.critic_from is not None and self.number >= self.plan.critic_from:
            parts["critic"] = self._teach_critic(wanted, made.detach(), given["speaker"])
            self.critic.requires_grad_(False)
            passing, alike = maker_loss(self.critic(wanted, given["speaker"]), self.critic(made, given["speaker"]))
            self.critic.requires_grad_(True)
            total = total + PASSING_WEIGHT * passing + ALIKE_WEIGHT * alike
            parts |= {"passing": passing.item(), "alike": alike.item()}
        self.optimiser.zero_grad()
        self.accelerator.backward(total + sum(weight * off[name] for name, weight in GUESSES.items()))
        norm = self.accelerator.clip_grad_norm_(self.trainee.parameters(), 3.0)
        self.optimiser.step()
        self.number += 1
        self._follow()
        return {"total": total.item(), **parts, "gradient": float(norm)}

    def _teach_critic(self, real: Tensor, made: Tensor, speaker: Tensor) -> float:
        loss = critic_loss(self.critic(real, speaker), self.critic(made, speaker))
        self.critic_optimiser.zero_grad()
        self.accelerator.backward(loss)
        self.critic_optimiser.step()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the mean towards what the weights are now."""
        keep = min(MEAN_KEEPS, 1 - 1 / (1 + self.number / 10))
        for mean, now in zip(self.mean.converter.parameters(), self.converter.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    def _say(self, utterance: Utterance, mode: str) -> tuple[dict[str, Tensor], tuple[Tensor, dict[str, Tensor]]]:
        """Return an utterance from its first voice to each other one, undisturbed, and what the mean makes of it."""
        drawn = [
            dataset.example(utterance, 0, target, 12, len(utterance) - 16, LOOKAHEADS[mode], self.normal)
            for target in range(1, len(utterance.timbre))
        ]
        given = self._placed(collate(drawn, 1))
        return given, self.mean(given, list(LOOKAHEADS).index(mode))

    @torch.no_grad()
    def validate(self, utterances: list[Utterance], mode: str = "balanced") -> dict[str, float]:
        """Return the loss of the mean over whole utterances, from their first voice to each other one, undisturbed."""
        found: list[dict[str, float]] = []
        for utterance in utterances:
            given, (made, off) = self._say(utterance, mode)
            total, parts = self.loss(made, given["sound"])
            found.append({"total": total.item(), **parts, **{name: value.item() for name, value in off.items()}})
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    @torch.no_grad()
    def bands(self, utterances: list[Utterance], mode: str = "balanced") -> tuple[Any, Any]:
        """Return log-mel bands, (frames, bands), of what the mean makes of each first voice and of what it should be."""
        made, wanted = [], []
        for utterance in utterances:
            given, (said, _) = self._say(utterance, mode)
            sounds = said, given["sound"]
            pair = [self.loss.log_mel(self.loss.magnitude(sound, MEL_WINDOW), MEL_WINDOW) for sound in sounds]
            for a, b in zip(*(bands.cpu().numpy() for bands in pair), strict=True):
                both = contrast.loud(a, b)
                made.append(a[both])
                wanted.append(b[both])
        return np.concatenate(made), np.concatenate(wanted)

    def begin_with(self, path: Path) -> None:
        """Start from weights that shipped, without what only training needs."""
        shipped = load_file(path)
        for converter in (self.converter, self.mean.converter):
            converter.load_state_dict({k: v.float() for k, v in shipped.items() if not k.startswith("normal.")}, strict=False)
        self.normal = Normal(shipped["normal.mean"].numpy(), shipped["normal.std"].numpy())

    def _holders(self) -> list[tuple[str, nn.Module, Any]]:
        """Return what is saved: a prefix, the module, and its optimiser."""
        critic = self.accelerator.unwrap_model(self.critic)
        return [("", self.converter, self.optimiser), ("critic.", critic, self.critic_optimiser)]

    def save(self, path: Path) -> None:
        """Write all there is to go on from here; the file appears whole or not at all. In the main process only."""
        tensors = {f"mean.{k}": v for k, v in self.mean.converter.state_dict().items()}
        for prefix, module, optimiser in self._holders():
            tensors |= {f"{prefix}model.{k}": v for k, v in module.state_dict().items()}
            for name, parameter in module.named_parameters():
                state = optimiser.state.get(parameter, {})
                tensors |= {f"{prefix}adam.{part}.{name}": torch.as_tensor(value) for part, value in state.items()}
        tensors |= {"normal.mean": torch.from_numpy(self.normal.mean), "normal.std": torch.from_numpy(self.normal.std)}
        partial = path.with_name(f".{os.getpid()}.{path.name}")
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, partial, {"number": str(self.number)})
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        tensors = load_file(path)
        load(self.mean.converter, _under(tensors, "mean."))
        for prefix, module, optimiser in self._holders():
            weights = _under(tensors, f"{prefix}model.")
            if not weights:  # of a run before it had a critic
                continue
            load(module, weights)
            for name, parameter in module.named_parameters():
                names = {part: f"{prefix}adam.{part}.{name}" for part in ("step", "exp_avg", "exp_avg_sq")}
                if all(key in tensors for key in names.values()):
                    optimiser.state[parameter] = {
                        part: tensors[key].to(parameter.device if part != "step" else "cpu") for part, key in names.items()
                    }
        self.normal = Normal(tensors["normal.mean"].numpy(), tensors["normal.std"].numpy())
        self.number = number_of(path)


def load(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights; those of an older run may lack layers that only training asks for. Raises ValueError for others."""
    found = module.load_state_dict(weights, strict=False)
    lacking = [name for name in found.missing_keys if not name.startswith(LATER)]
    if lacking or found.unexpected_keys:
        raise ValueError(f"no checkpoint of this network: lacks {lacking}, has {found.unexpected_keys} beside")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def number_of(path: Path) -> int:
    """Return how many batches a checkpoint has seen."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return int(json.loads(file.read(size))["__metadata__"]["number"])


def collate(drawn: list[dataset.Example], seed: int) -> dict[str, Tensor]:
    """Stack examples, and add the noise of the synthesis."""
    names = ("x", "pitch", "speaker", "f0_hz", "sound", "content", "bands")
    given = {name: network.batch_of([getattr(one, name) for one in drawn]) for name in names}
    given["phonemes"] = torch.from_numpy(np.stack([one.phonemes for one in drawn]))
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
