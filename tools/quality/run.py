"""Hold converters against the bars, beside what could be done without a model and beside the teacher.

    python -m autovoice.tools.quality.run CORPUS --quick --converter mine.py:convert
    python -m autovoice.tools.quality.run CORPUS --quick --folder wavs/ --no-baselines
    python -m autovoice.tools.quality.run CORPUS --mode low --mode balanced --sung --enrolled --real --out quality/

CORPUS is the folder of `python -m autovoice.tools.corpus`, of which the validation utterances are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
from autovoice.dsp.converter import weights as network
from autovoice.tools.corpus import SHIPPED, VALIDATE
from autovoice.tools.quality import baselines, converters, material, own
from autovoice.tools.quality.assess import WHISPERS, assess
from autovoice.tools.quality.bars import ENROLLED, TEACHER, judge
from autovoice.tools.quality.clips import Clip, QualityError
from autovoice.tools.quality.converters import Of
from autovoice.tools.quality.judges import JudgeMissing
from autovoice.tools.quality.measures import MEASURES, QUICK
from autovoice.tools.quality.page import publish
from autovoice.tools.quality.report import Failure
from autovoice.tools.quality.sung import sung
from autovoice.tools.quality.trials import TRIALS, tried

Pair = tuple[material.Source, str]
QUICK_PAIRS = 8
LISTENED = 4  # pairs that the page plays
BASELINES: dict[str, Of] = {
    "unconverted": converters.unconverted,
    TEACHER: converters.teacher,
    "shift": converters.plain(baselines.shift),
    "world": converters.plain(baselines.world),
}
FEW = (*QUICK, "f0_error_cents")  # what bars ask for
QUICK_BASELINES = ("unconverted", TEACHER)


def pairs(sources: list[material.Source], most: int | None = None) -> list[Pair]:
    """Return sources with targets: every target for each, or `most` pairs that visit sources and targets evenly."""
    if most is None:
        return [(source, target) for source in sources for target in SHIPPED]
    targets = (*SHIPPED[::2], *SHIPPED[1::2])
    return [(sources[k % len(sources)], targets[k % len(targets)]) for k in range(most)]


def enrolled(sources: list[material.Source]) -> list[Pair]:
    """Return sources with targets that do not ship: each of the other validation voices."""
    named = [replace(source, material=ENROLLED, aligned={}) for source in sources]
    return [(source, target) for source in named for target in VALIDATE if not source.name.endswith(target)]


def clips(
    chosen: list[Pair], systems: dict[str, Of], failures: list[Failure], keep: Callable[[Clip], None] = lambda _: None
) -> Iterator[Clip]:
    """Convert and return one clip after the other; `keep` sees each of them, `failures` gets what cannot be judged."""
    for name, convert in systems.items():
        for source, target in chosen:
            if name == TEACHER and target not in source.aligned:
                continue
            converted = convert(source, target)
            try:
                clip = material.clip(source, target, name, *converted)
            except QualityError as error:
                failures.append(Failure(f"{source.name}__{target}", name, source.material, str(error)))
                continue
            keep(clip)
            yield clip


def spread(chosen: list[Pair], most: int) -> list[Pair]:
    """Return pairs of different sources and targets as far as there are."""
    step = max(1, len(chosen) // most)
    return [chosen[(k * step + k) % len(chosen)] for k in range(min(most, len(chosen)))]


@click.command()
@click.argument("corpus", type=click.Path(file_okay=False, path_type=Path))
@click.option("--converter", "named", multiple=True, metavar="[NAME=]MODULE:FUNCTION", help="a converter of one's own")
@click.option("--folder", "folders", multiple=True, metavar="[NAME=]FOLDER", help="wavs SOURCE__TARGET.wav, converted already")
@click.option("--mode", "modes", type=click.Choice(own.MODES), multiple=True, help="our own converter in a latency mode")
@click.option("--quick", is_flag=True, help=f"{QUICK_PAIRS} pairs, the few measures that tell most, Whisper tiny")
@click.option("--sources", type=click.IntRange(1), help="utterances at most")
@click.option("--sung", "lines", is_flag=True, help="the same words sung, too")
@click.option("--enrolled", "strangers", is_flag=True, help="voices that do not ship as targets, too")
@click.option("--trials", "hard", is_flag=True, help="one target for each utterance in rooms, noise and other bodies, too")
@click.option("--real", is_flag=True, help="the real speaker too; nothing may be tuned on him")
@click.option(
    "--baselines/--no-baselines", "beside", default=True, show_default=True, help="beside the baselines and the teacher"
)
@click.option("--baseline", "only", type=click.Choice(list(BASELINES)), multiple=True, help="this one only; repeatable")
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="our own converter's, as exported"
)
@click.option("--cold", is_flag=True, help="our own converter has not heard the speaker before")
@click.option("--stranger", is_flag=True, help="our own converter does not know who speaks: they are not enrolled")
@click.option("--few", is_flag=True, help="all pairs, but only the few measures that tell most")
@click.option("--whisper", type=click.Choice(WHISPERS), help="the listener; base, or tiny with --quick")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="write quality.json and quality.html there")
def main(
    corpus: Path,
    named: tuple[str, ...],
    folders: tuple[str, ...],
    modes: tuple[str, ...],
    quick: bool,
    sources: int | None,
    lines: bool,
    strangers: bool,
    hard: bool,
    real: bool,
    beside: bool,
    only: tuple[str, ...],
    weights: Path | None,
    cold: bool,
    stranger: bool,
    few: bool,
    whisper: str | None,
    out: Path | None,
) -> None:
    """Assess converters on the validation utterances of CORPUS and the ten shipped targets."""
    try:
        if weights is not None:
            _use(weights)
        mine = {mode: own.converter(mode, cold=cold, stranger=stranger) for mode in modes}
        mine |= dict(_split(one, converters.named) for one in named)
        mine |= dict(_split(one, lambda place: converters.folder(Path(place))) for one in folders)
        wanted = (only or (QUICK_BASELINES if quick else tuple(BASELINES))) if beside else ()
        baselines_too = {name: of for name, of in BASELINES.items() if name in wanted}
        systems = {**baselines_too, **mine}
        if not systems:
            raise QualityError("nothing to assess: name a --mode, a --converter or a --folder, or leave --no-baselines away")
        chosen = pairs(material.validation(corpus, sources), QUICK_PAIRS if quick else None)
        said = list({source.name: source for source, _ in chosen}.values())
        if lines:
            chosen += pairs([sung(source) for source in said], 2 * len(said))
        if strangers:
            chosen += enrolled(said)
        for name in TRIALS if hard else ():
            chosen += pairs([tried(source, name) for source in said], len(said))
        if real:
            chosen += pairs(material.real(), QUICK_PAIRS if quick else None)
        total = len(chosen) * len(systems)
        listen = {(source.name, target) for source, target in spread(chosen, LISTENED)} if out else set()
        kept: list[Clip] = []
        failures: list[Failure] = []
        made = clips(chosen, systems, failures, lambda clip: kept.append(clip) if (clip.said, clip.target) in listen else None)
        with click.progressbar(made, length=total, label="assessing") as bar:
            report = assess(
                bar, QUICK if quick else FEW if few else tuple(MEASURES), whisper or ("tiny" if quick else "base"), failures
            )
    except (QualityError, JudgeMissing) as error:
        raise click.UsageError(str(error)) from error
    verdicts = judge(report, list(mine) or list(systems))
    click.echo(report.text(verdicts))
    if out:
        click.echo(publish(out, report, kept, verdicts))


def _use(weights: Path) -> None:
    try:
        network.use(weights)
    except ValueError as error:
        raise QualityError(str(error)) from error


def _split(text: str, make: Callable[[str], Of]) -> tuple[str, Of]:
    name, equals, rest = text.partition("=")
    return (name, make(rest)) if equals else (Path(text.rpartition(":")[2]).name or text, make(text))


if __name__ == "__main__":
    main()
