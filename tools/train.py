"""Train the converter on utterances that `autovoice.tools.corpus` made; what has been done is taken up again.

python -m autovoice.tools.train CORPUS RUN --batches 20000
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
import torch
from autovoice.models import teacher, training
from autovoice.models.dataset import Normal
from autovoice.tools.corpus import training_voices

SAVE_S = 300.0
LOG = 50  # batches
VALIDATE = 1000  # batches
LOOK = 200  # batches between looks for new utterances


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--batches", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="examples in one")
@click.option("--rate", type=float, default=1e-3, show_default=True, help="of learning")
@click.option("--decay", type=click.IntRange(0), default=0, show_default=True, help="batches at the end with a falling rate")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def main(corpus: Path, run: Path, batches: int, batch: int, rate: float, decay: int, seed: int, threads: int) -> None:
    """Train until so many batches are done."""
    torch.set_num_threads(threads)
    training.allocate_once()
    run.mkdir(parents=True, exist_ok=True)
    plan = training.Plan(batch=batch, rate=rate, decay=decay, batches=batches, seed=seed)
    normal = Normal.of(np.stack([teacher.timbre(voice, 80) for voice in training_voices()]))
    state = training.Run(plan, normal)
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.exists():
        state.resume(checkpoint)
        click.echo(f"going on from batch {state.number}")
    material = list(training.utterances(corpus / "train"))
    validation = list(training.utterances(corpus / "validate"))
    saved = time.monotonic()
    sums: dict[str, float] = {}
    with (run / "log.jsonl").open("a") as log:
        while state.number < batches:
            if state.number % LOOK == 0:
                material += training.utterances(corpus / "train", len(material))
            for name, value in state.step(material).items():
                sums[name] = sums.get(name, 0.0) + value / LOG
            if state.number % LOG == 0:
                line = {"batch": state.number, "at": round(time.time()), "utterances": len(material), **sums}
                log.write(json.dumps(line) + "\n")
                log.flush()
                click.echo(" ".join(f"{k} {v:.4g}" for k, v in line.items()))
                sums = {}
            if state.number % VALIDATE == 0 and (validation := validation or list(training.utterances(corpus / "validate"))):
                found = {f"validation {mode}": state.validate(validation, mode) for mode in training.SHARES}
                log.write(json.dumps({"batch": state.number, **found}) + "\n")
                click.echo(json.dumps(found))
            if time.monotonic() - saved > SAVE_S or state.number == batches:
                state.save(checkpoint)
                saved = time.monotonic()


if __name__ == "__main__":
    main()
