"""From a checkpoint of training to the file of weights that ships: the mean's tensors as float16, no optimiser.

    python -m autovoice.models.export CHECKPOINT [CHECKPOINT ...] --corpus CORPUS [--out FILE]

What only training asks for, its guesses of content and phonemes, is left out. Of several checkpoints of one run the
weights' mean is taken, which may know what each of them knows (M. Wortsman et al., Model soups, ICML 2022). With the corpus at
hand, the contrast that the network has lost is measured and given back (`autovoice.models.contrast`), which asks for torch, and
how the length of a vocal tract follows from a timbre (`autovoice.models.tract`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.dsp.converter.weights import WEIGHTS_FILE
from autovoice.models import contrast, dataset
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, np.dtype[Any]]

LICENCE = "Apache-2.0"
UNSHIPPED = ("content.", "phonemes.")  # layers that only training asks for
STRENGTH = 1.3  # of the contrast: chosen on the validation voices
MEASURED = 60  # utterances
SAID, VOICES = 12, 50  # utterances over which vocal tracts are measured, and those whose voices have them


def export(checkpoints: Sequence[Path], out: Path, corpus: Path | None = None, strength: float = STRENGTH) -> int:
    """Write the weights; returns the bytes of the file. Raises ValueError where checkpoints are none of ours, or of two runs.

    corpus: where there is one, contrast is measured on its training utterances and folded in (`autovoice.models.contrast`).
    """
    kept, normal = _mean(checkpoints)
    numbers = []
    for checkpoint in checkpoints:
        with safe_open(checkpoint, "numpy") as file:
            numbers.append((file.metadata() or {}).get("number", "0"))
    told = {"batches": " ".join(numbers), "licence": LICENCE, "made_by": "autovoice train"}
    if corpus is not None:
        kept |= _contrasted(kept, normal, corpus, strength)
        kept |= _tracts(kept, normal, corpus)
        told["contrast"] = str(strength)
    shipped: dict[str, Array] = {
        name: values.astype(np.float16) for name, values in sorted(kept.items()) if not name.startswith(UNSHIPPED)
    }
    shipped |= {f"normal.{name}": values.astype(np.float32) for name, values in normal.items()}
    partial = out.with_name(f".{os.getpid()}.{out.name}")
    save_file(shipped, partial, told)
    partial.replace(out)
    return out.stat().st_size


def _mean(checkpoints: Sequence[Path]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the mean of the weights that checkpoints hold, and mean and spread of the voices, which they share."""
    found = []
    for checkpoint in checkpoints:
        tensors = load_file(checkpoint)
        weights = {name.removeprefix("mean."): values for name, values in tensors.items() if name.startswith("mean.")}
        if not weights or "normal.mean" not in tensors:
            raise ValueError(f"{checkpoint} is no checkpoint of autovoice train: it has no tensors mean.* and normal.*")
        found.append((weights, {name: tensors[f"normal.{name}"] for name in ("mean", "std")}))
    first, normal = found[0]
    for checkpoint, (weights, own) in zip(checkpoints, found, strict=True):
        if weights.keys() != first.keys() or not all(np.array_equal(own[name], normal[name]) for name in normal):
            raise ValueError(f"{checkpoint} and {checkpoints[0]} are not of one run: a mean of both would be nobody's")
    mean = {name: np.asarray(sum(weights[name] for weights, _ in found) / np.float32(len(found))) for name in first}
    return mean, normal


def _contrasted(kept: dict[str, Array], normal: dict[str, Array], corpus: Path, strength: float) -> dict[str, Array]:
    """Return the last layer with its contrast given back."""
    import torch
    from autovoice.models import losses, training

    run = training.Run(training.Plan(), dataset.Normal(normal["mean"], normal["std"]))
    training.load(run.mean.converter, {name: torch.from_numpy(values) for name, values in kept.items()})
    utterances = list(islice(training.utterances(corpus / "train"), MEASURED))
    if not utterances:
        raise ValueError(f"no utterances in {corpus / 'train'}: make some with python -m autovoice.tools.corpus")
    made, wanted = run.bands(utterances)
    matrix, mean = contrast.transport(made, wanted, strength)
    weight, bias = contrast.folded(kept["outputs.weight"], kept["outputs.bias"], matrix, mean, losses.edges_mel()[1:-1])
    return {"outputs.weight": weight, "outputs.bias": bias}


def _tracts(kept: dict[str, Array], normal: dict[str, Array], corpus: Path) -> dict[str, Array]:
    """Return what tells the length of a vocal tract; nothing where the decoder has no bands, as in older runs."""
    from autovoice.models import tract, training

    if "bands.weight" not in kept:
        return {}
    utterances = list(islice(training.utterances(corpus / "train"), MEASURED))
    measure = tract.Ruler(kept, utterances[:SAID])
    speakers = dataset.Normal(normal["mean"], normal["std"])(np.concatenate([one.timbre for one in utterances[:VOICES]]))
    octaves = np.array([measure(speaker) for speaker in speakers])
    return {"tract.weight": tract.weights(speakers.astype(np.float64), octaves)}


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=WEIGHTS_FILE, help="where the weights go")
@click.option(
    "--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), help="measure contrast, and give it back"
)
@click.option("--contrast", "strength", type=click.FloatRange(0, 2), default=STRENGTH, show_default=True, help="how much of it")
@click.option("--json", "as_json", is_flag=True, help="say it in JSON")
def main(checkpoints: tuple[Path, ...], out: Path, corpus: Path | None, strength: float, as_json: bool) -> None:
    """Write the weights that ship from checkpoints of one run."""
    try:
        size = export(checkpoints, out, corpus, strength)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps({"file": str(out), "bytes": size}) if as_json else f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
