"""From a checkpoint of training to the file of weights that ships: the mean's tensors as float16, no optimiser.

    python -m autovoice.models.export CHECKPOINT [--out FILE]

What only training asks for, the guess of the teacher's content, is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from autovoice.dsp.converter.weights import WEIGHTS_FILE
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

LICENCE = "Apache-2.0"


def export(checkpoint: Path, out: Path) -> int:
    """Write the weights; returns the bytes of the file. Raises ValueError where the checkpoint is none of ours."""
    tensors = load_file(checkpoint)
    kept = {name.removeprefix("mean."): values for name, values in tensors.items() if name.startswith("mean.")}
    if not kept or "normal.mean" not in tensors:
        raise ValueError(f"{checkpoint} is no checkpoint of autovoice train: it has no tensors mean.* and normal.*")
    shipped: dict[str, np.ndarray[Any, Any]] = {
        name: values.astype(np.float16) for name, values in sorted(kept.items()) if not name.startswith("content.")
    }
    shipped |= {name: tensors[name].astype(np.float32) for name in ("normal.mean", "normal.std")}
    with safe_open(checkpoint, "numpy") as file:
        number = (file.metadata() or {}).get("number", "0")
    save_file(shipped, out, {"batches": number, "licence": LICENCE, "made_by": "autovoice train"})
    return out.stat().st_size


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=WEIGHTS_FILE, help="where the weights go")
@click.option("--json", "as_json", is_flag=True, help="say it in JSON")
def main(checkpoint: Path, out: Path, as_json: bool) -> None:
    """Write the weights that ship from a checkpoint."""
    try:
        size = export(checkpoint, out)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps({"file": str(out), "bytes": size}) if as_json else f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
