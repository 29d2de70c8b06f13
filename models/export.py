"""From a checkpoint of training to the file of weights that ships: the mean's tensors as float16, no optimiser.

    python -m autovoice.models.export CHECKPOINT --corpus CORPUS [--out FILE]

What only training asks for, its guesses of content, phonemes and bands, is left out. With the corpus at hand, the contrast
that the network has lost is measured and given back (`autovoice.models.contrast`), which asks for torch.
"""

from __future__ import annotations

import json
import os
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
UNSHIPPED = ("content.", "phonemes.", "bands.")  # layers that only training asks for
STRENGTH = 1.3  # of the contrast: chosen on the validation voices
MEASURED = 60  # utterances


def export(checkpoint: Path, out: Path, corpus: Path | None = None, strength: float = STRENGTH) -> int:
    """Write the weights; returns the bytes of the file. Raises ValueError where the checkpoint is none of ours.

    corpus: where there is one, contrast is measured on its training utterances and folded in (`autovoice.models.contrast`).
    """
    tensors = load_file(checkpoint)
    kept = {name.removeprefix("mean."): values for name, values in tensors.items() if name.startswith("mean.")}
    if not kept or "normal.mean" not in tensors:
        raise ValueError(f"{checkpoint} is no checkpoint of autovoice train: it has no tensors mean.* and normal.*")
    with safe_open(checkpoint, "numpy") as file:
        told = {"batches": (file.metadata() or {}).get("number", "0"), "licence": LICENCE, "made_by": "autovoice train"}
    if corpus is not None:
        layer = [kept[f"outputs.{part}"] for part in ("weight", "bias")]
        kept["outputs.weight"], kept["outputs.bias"] = _contrasted(checkpoint, corpus, strength, *layer)
        told["contrast"] = str(strength)
    shipped: dict[str, Array] = {
        name: values.astype(np.float16) for name, values in sorted(kept.items()) if not name.startswith(UNSHIPPED)
    }
    shipped |= {name: tensors[name].astype(np.float32) for name in ("normal.mean", "normal.std")}
    partial = out.with_name(f".{os.getpid()}.{out.name}")
    save_file(shipped, partial, told)
    partial.replace(out)
    return out.stat().st_size


def _contrasted(checkpoint: Path, corpus: Path, strength: float, weight: Array, bias: Array) -> tuple[Array, Array]:
    from autovoice.models import losses, training

    run = training.Run(training.Plan(), dataset.Normal(np.zeros(1), np.ones(1)))
    run.resume(checkpoint)
    utterances = list(islice(training.utterances(corpus / "train"), MEASURED))
    if not utterances:
        raise ValueError(f"no utterances in {corpus / 'train'}: make some with python -m autovoice.tools.corpus")
    made, wanted = run.bands(utterances)
    matrix, mean = contrast.transport(made, wanted, strength)
    return contrast.folded(weight, bias, matrix, mean, losses.edges_mel()[1:-1])


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=WEIGHTS_FILE, help="where the weights go")
@click.option(
    "--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), help="measure contrast, and give it back"
)
@click.option("--contrast", "strength", type=click.FloatRange(0, 2), default=STRENGTH, show_default=True, help="how much of it")
@click.option("--json", "as_json", is_flag=True, help="say it in JSON")
def main(checkpoint: Path, out: Path, corpus: Path | None, strength: float, as_json: bool) -> None:
    """Write the weights that ship from a checkpoint."""
    try:
        size = export(checkpoint, out, corpus, strength)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps({"file": str(out), "bytes": size}) if as_json else f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
