"""How good the converter is after so many batches: the judges' figures of a run's checkpoints, as a table, JSON and a picture.

    python -m autovoice.tools.quality.curve CORPUS RUN/checkpoint.safetensors OLDER.safetensors ... --out curve

The network speaks for itself here, in torch, with the target's own height of pitch; each checkpoint is heard as it came from
training and with its contrast given back (`autovoice.models.contrast`), as much as ships or as much as --contrast says.
Whisper tiny listens, as in the quick bench, and hears the sources and the teacher as well. With --split train the network says
what it was taught, in the voices in which it was taught it: what is lost there as well, more material will not bring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np
import torch
from autovoice.models import contrast, dataset, export, losses, training
from autovoice.models.network import LOOKAHEADS
from autovoice.tools.corpus import SPLITS
from autovoice.tools.quality import material, run
from autovoice.tools.quality.assess import assess
from autovoice.tools.quality.clips import Clip
from autovoice.tools.quality.signal import Array

PLAIN = 0.0  # strength of the contrast: as trained
TITLES = {
    "similarity_target": "likeness to the target (Resemblyzer)",
    "character_error": "character error, %",
    "dnsmos_ovrl": "DNSMOS OVRL",
}


class Speaker:
    """A checkpoint that converts."""

    def __init__(self, checkpoint: Path, corpus: Path, mode: str, strength: float) -> None:
        """Load it, and give back its contrast to that strength."""
        self.state = training.Run(training.Plan(), dataset.Normal(np.zeros(1), np.ones(1)))
        self.state.resume(checkpoint)
        self.mode, self.corpus = mode, corpus
        layer = self.state.mean.converter.outputs
        if strength != PLAIN:
            made, wanted = self.state.bands(list(islice(training.utterances(corpus / "train"), export.MEASURED)), mode)
            matrix, mean = contrast.transport(made, wanted, strength)
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            folded = contrast.folded(weight, bias, matrix, mean, losses.edges_mel()[1:-1])
            with torch.no_grad():
                for values, moved in zip((layer.weight, layer.bias), folded, strict=True):
                    values.copy_(torch.from_numpy(moved))

    @torch.no_grad()
    def say(self, source: material.Source, target: str) -> Array:
        """Return the source in the target's voice, at RATE."""
        folder = self.corpus / ("train" if source.material == "training" else "validate")
        utterance = dataset.prepare(folder / f"{source.name.partition('-')[0]}.safetensors")
        lookahead, voice = LOOKAHEADS[self.mode], source.rows[target]
        drawn = dataset.example(utterance, 0, voice, 12, len(utterance) - 16, lookahead, self.state.normal)
        sound, _ = self.state.mean(training.collate([drawn], 1), list(LOOKAHEADS).index(self.mode))
        return np.asarray(sound[0].numpy())


def taught(corpus: Path, most: int) -> list[run.Pair]:
    """Return training utterances, each with the first voice in which it was taught."""
    return [(source, next(iter(source.aligned))) for source in material.training(corpus, most)]


def figures(say: Callable[[material.Source, str], Array], chosen: list[run.Pair]) -> dict[str, float]:
    """Return the means of the judges' figures over pairs."""

    def clips() -> Iterator[Clip]:
        for source, target in chosen:
            yield material.clip(source, target, "network", say(source, target), None, None)

    report = assess(clips(), tuple(TITLES), "tiny")
    return {name: float(np.mean([row.figures[name] for row in report.rows])) for name in TITLES}


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        for strength in dict.fromkeys(row["contrast"] for row in rows):
            points = [(row["batches"], row[name]) for row in rows if row["contrast"] == strength]
            label = f"contrast given back, {strength:g}" if strength else "as trained"
            axes.plot(*zip(*points, strict=True), "o-" if strength else "o--", label=label)
        axes.set(xlabel="batches", title=title)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=9)
    figure.savefig(path, dpi=110)


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--mode", type=click.Choice(list(LOOKAHEADS)), default="balanced", show_default=True)
@click.option(
    "--contrast", "strengths", type=click.FloatRange(0, 2), multiple=True, default=(PLAIN, export.STRENGTH), show_default=True
)
@click.option("--split", type=click.Choice(SPLITS), default="validate", show_default=True)
@click.option("--pairs", type=click.IntRange(1), default=16, show_default=True, help="of sources and targets")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="write OUT.json and OUT.png")
def main(
    corpus: Path,
    checkpoints: tuple[Path, ...],
    mode: str,
    strengths: tuple[float, ...],
    split: str,
    pairs: int,
    threads: int,
    out: Path | None,
) -> None:
    """Tell how good each checkpoint of a run is."""
    torch.set_num_threads(threads)
    chosen = taught(corpus, pairs) if split == "train" else run.pairs(material.validation(corpus), pairs)
    beside = {"source": lambda source, _: source.sound, "teacher": lambda source, target: source.aligned[target]}
    reports = {name: figures(say, chosen) for name, say in beside.items()}
    for name, found in reports.items():
        click.echo(f"{name}: {_told(found)}")
    rows: list[dict[str, float]] = []
    for number, path in sorted((training.number_of(path), path) for path in checkpoints):
        for strength in strengths:
            found = figures(Speaker(path, corpus, mode, strength).say, chosen)
            rows.append({"batches": number, "contrast": strength, **found})
            click.echo(f"{number} batches, contrast {strength:g}: {_told(found)}")
    if out is not None:
        all_ = {"mode": mode, "split": split, "pairs": len(chosen), **reports, "rows": rows}
        out.with_suffix(".json").write_text(json.dumps(all_, indent=1) + "\n")
        draw(rows, out.with_suffix(".png"))


def _told(found: dict[str, float]) -> str:
    return ", ".join(f"{TITLES[name]} {value:.3f}" for name, value in found.items())


if __name__ == "__main__":
    main()
