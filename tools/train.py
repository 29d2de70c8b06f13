"""Train the converter on utterances that `autovoice.tools.corpus` made; what has been done is taken up again.

    python -m autovoice.tools.train CORPUS RUN --batches 20000
    accelerate launch -m autovoice.tools.train CORPUS RUN --batch 32      every GPU there is
    tensorboard --logdir RUN

RUN gets `checkpoint.safetensors`, with which the same command goes on, `best.safetensors`, the same at the best validation,
from which `python -m autovoice.models.export` makes what ships, and the logs of TensorBoard. Utterances that are made
meanwhile are taken in. Ctrl-C ends it after the batch, and saves. Training stops by itself when validation has not become
better for --patience times.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import click
import numpy as np
import torch
from autovoice.models import teacher, training
from autovoice.models.dataset import Normal, Utterance
from autovoice.tools.corpus import training_voices
from torch.utils.tensorboard import SummaryWriter

SAVE_S = 300.0
LOG = 50  # batches
LOOK = 200  # batches between looks for new utterances


class Watch:
    """Validation: what was best, and for how long."""

    def __init__(self, run: Path, patience: int) -> None:
        """Begin."""
        self.path, self.patience, self.best, self.since = run / "best.safetensors", patience, float("inf"), 0

    def see(self, state: training.Run, utterances: list[Utterance], log: SummaryWriter) -> bool:
        """Validate, keep what is best; returns whether it is time to stop."""
        found = {mode: state.validate(utterances, mode) for mode in training.SHARES}
        for mode, parts in found.items():
            for name, value in parts.items():
                log.add_scalar(f"validation/{mode}/{name}", value, state.number)
        told = ", ".join(f"{mode} {parts['total']:.3f} (mel {parts['mel']:.3f})" for mode, parts in found.items())
        click.echo(f"\nbatch {state.number}: validation {told}")
        if found["balanced"]["total"] < self.best:
            self.best, self.since = found["balanced"]["total"], 0
            state.save(self.path)
        else:
            self.since += 1
        return self.since >= self.patience


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--batches", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="examples in one")
@click.option("--rate", type=float, default=1e-3, show_default=True, help="of learning")
@click.option("--decay", type=click.IntRange(0), default=0, show_default=True, help="batches at the end with a falling rate")
@click.option("--critic-from", type=click.IntRange(0), help="batch at which the critic joins in")
@click.option("--begin-with", type=click.Path(exists=True, path_type=Path), help="weights that shipped, where RUN has none")
@click.option("--validate", type=click.IntRange(1), default=500, show_default=True, help="batches between validations")
@click.option("--patience", type=click.IntRange(1), default=20, show_default=True, help="validations without a better one")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def main(
    corpus: Path,
    run: Path,
    batches: int,
    batch: int,
    rate: float,
    decay: int,
    critic_from: int | None,
    begin_with: Path | None,
    validate: int,
    patience: int,
    seed: int,
    threads: int,
) -> None:
    """Train until so many batches are done."""
    torch.set_num_threads(threads)
    training.allocate_once()
    run.mkdir(parents=True, exist_ok=True)
    plan = training.Plan(batch=batch, rate=rate, decay=decay, batches=batches, critic_from=critic_from, seed=seed)
    normal = Normal.of(np.stack([teacher.timbre(voice, 80) for voice in training_voices()]))
    state = training.Run(plan, normal)
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.exists():
        state.resume(checkpoint)
    elif begin_with is not None:
        state.begin_with(begin_with)
    try:
        material = list(training.utterances(corpus / "train"))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if not material:
        raise click.ClickException(f"no utterances in {corpus / 'train'}: make some with python -m autovoice.tools.corpus")
    watch = Watch(run, patience)
    first = state.accelerator.is_main_process
    with (
        SummaryWriter(str(run)) as log,
        click.progressbar(length=batches - state.number, label=f"from batch {state.number}", show_pos=True) as bar,
    ):
        asked: list[int] = []  # to stop, by Ctrl-C or whoever ends programs: after the batch, and saved
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: asked.append(number))
        saved = time.monotonic()
        while state.number < batches:
            if state.number % LOOK == 0:
                material += training.utterances(corpus / "train", len(material))
            parts = state.step(material)
            bar.update(1)
            if first and state.number % LOG == 0:
                for name, value in parts.items():
                    log.add_scalar(f"training/{name}", value, state.number)
                log.add_scalar("training/utterances", len(material), state.number)
            done = state.number == batches or bool(asked)
            if state.number % validate == 0 or (done and not asked):
                utterances = list(training.utterances(corpus / "validate"))
                done = (bool(utterances) and first and watch.see(state, utterances, log)) or done
            if first and (done or time.monotonic() - saved > SAVE_S):
                state.save(checkpoint)
                saved = time.monotonic()
            if done:
                break


if __name__ == "__main__":
    main()
