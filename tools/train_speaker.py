"""Fit the speaker encoder to utterances that `autovoice.tools.corpus` and `autovoice.tools.speakers` made.

python -m autovoice.tools.train_speaker CORPUS models/weights/speaker.safetensors

CORPUS holds the folders train, speakers and validate; of the first two one may be absent. Says how near the estimates come to
the true timbre of the validation voices.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from autovoice.models import speaker_encoder, speaker_training, teacher, voices
from autovoice.models.dataset import Normal
from autovoice.models.speaker_training import Examples
from autovoice.tools.corpus import training_voices
from safetensors.numpy import save

METADATA = {"source": "autovoice.tools.train_speaker, voices of Kokoro-82M; Apache-2.0"}


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--ridge", type=float, default=speaker_training.RIDGE, show_default=True, help="strength of the regularisation")
@click.option("--seed", type=int, default=0, show_default=True)
def main(corpus: Path, target: Path, ridge: float, seed: int) -> None:
    """Fit, write TARGET, and validate."""
    scale = Normal.of(np.stack([teacher.timbre(voice, 80) for voice in training_voices()]))
    with click.progressbar(_utterances(corpus / "train") + _utterances(corpus / "speakers"), label="listening") as bar:
        heard = [speaker_training.examples(path, scale, seed) for path in bar]
    statistics = np.concatenate([one.statistics for one in heard])
    weights = speaker_training.fit(Examples(statistics, np.concatenate([one.timbre for one in heard])), scale, ridge)
    voices.write(target, save(weights, METADATA))
    target.chmod(0o644)
    found = []
    for path in _utterances(corpus / "validate"):
        bands, timbre = next(speaker_training.voices(path))
        loaded = {name: value.astype(np.float32) for name, value in weights.items()}
        found.append(speaker_training.cosine(speaker_encoder.timbre(bands, loaded), scale(timbre)))
    click.echo(f"{len(statistics)} examples; cosine {np.mean(found):.3f} of estimated and true timbre, {len(found)} utterances")


def _utterances(folder: Path) -> list[Path]:
    """Return the finished utterances in order."""
    return sorted(folder.glob("[0-9]*.safetensors"))


if __name__ == "__main__":
    main()
