"""`autovoice convert`: a file, said or sung by another person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.options import CommandError, build_chain, know_voices, note, print_json
from autovoice.tools.render import run_job, speed
from autovoice.tools.values import Real, Whole

if TYPE_CHECKING:
    from autovoice.rt.chain import Spec

STAGES = ("highpass", "pitch", "convert", "limiter")
STAGE = "convert"
VOICES = ("voice", "other", "singer")
SINGER_HELP = "Whose voice comes in, enrolled before: words are kept better."
MODES = ("low", "balanced", "quality")
EMOTION_HELP = "Speak as neutral, happy, sad, angry, calm, excited or fearful people do."


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--voice", metavar="NAME", help="Who to become; autovoice voices list shows them.")
@click.option("--other", metavar="NAME", help="A second voice, to mix the first with.")
@click.option(
    "--morph", type=Real(0, 1), metavar="SHARE", help="From the voice (0) to the other (1).  [default: 0.5 with --other]"
)
@click.option("--singer", metavar="NAME", help=SINGER_HELP)
@click.option("--mode", type=click.Choice(MODES), help="How far it looks ahead: 10, 30 or 80 ms.  [default: balanced]")
@click.option("--pitch", type=Real(-24, 24), metavar="ST", help="Pitch shift in semitones, beside the voice's own height.")
@click.option("--formant", type=Real(-12, 12), metavar="ST", help="Shift of the formants in semitones.")
@click.option("--emotion", metavar="NAME", help=EMOTION_HELP + " Its tempo changes the length.")
@click.option("--preset", metavar="NAME", help="A chain with convert in it, by name or file.toml; see autovoice presets.")
@click.option("--set", "settings", multiple=True, metavar="STAGE/PARAM=VALUE", help="Set a parameter or an option. Repeatable.")
@click.option(
    "--block", type=Whole(1, 8192), default=64, show_default=True, metavar="FRAMES", help="Block of the live run to equal."
)
@click.option("--channels", type=Whole(1, 8), metavar="N", help="Channels of OUT.  [default: the preset's, or IN's]")
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Judge the result, into this folder."
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="WAV",
    help="... beside this speech of the voice. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done on stdout.")
def command(source: Path, target: Path, **request: Any) -> None:
    """Convert the voice in the sound file IN to another person's and write OUT.

    OUT has IN's rate and length, unless an emotion has a tempo: the delay is cut off the front. OUT.wav holds 32-bit floats,
    OUT.flac 24-bit integers.
    """
    if not request["voice"]:
        raise CommandError("say who to become: --voice NAME; autovoice voices list shows who there is")
    if request["morph"] is not None and request["other"] is None:
        raise CommandError("--morph goes with --other NAME, the second voice")
    if request["references"] and request["report"] is None:
        raise CommandError("--reference goes with --report DIR")
    with Compiling():
        from autovoice.dsp.converter.prosody import emotion
        from autovoice.rt.backends.file import FileRender

        tempo = emotion(request["emotion"] or "neutral").tempo
        if tempo != 1.0 and request["report"] is not None:
            raise CommandError(f"--report compares with IN moment by moment, and {request['emotion']} has a tempo of its own")

        specs, trims, channels = _specs(request)
        chain, master = build_chain(specs, [*settings_of(specs, request), *request["settings"]])
        master = {**trims, **master}
        wanted = channels if request["channels"] is None else request["channels"]
        stretch = 1 / tempo
        job = FileRender(chain, source, target, block=request["block"], changes=master, channels=wanted, stretch=stretch)
    done, seconds = run_job(job, source, target)
    files = _report(source, target, seconds, done.latency_frames, request) if request["report"] else []
    if request["as_json"]:
        named = {name: request[name] for name in (*VOICES, "morph", "mode", "pitch", "emotion")}
        print_json(
            {
                **asdict(done),
                "input": source,
                "output": target,
                **named,
                "seconds": seconds,
                "times_real_time": speed(done, seconds),
                "report": files,
            }
        )


def settings_of(specs: Sequence[Spec], request: Mapping[str, Any]) -> list[str]:
    """Return what --voice, --other, --singer, --morph, --mode, --pitch and --formant say for a chain, as --set takes it.

    The voices stay in their slots of the converter's table as long as the process lives. Raises CommandError or VoiceError.
    """
    from autovoice.rt.casting import slots

    know_voices()
    found = [{"stage": one} if isinstance(one, str) else one for one in specs]
    keys = [str(one.get("name", STAGE)) for one in found if one["stage"] == STAGE]
    if not keys:
        raise CommandError(f"this chain has no stage {STAGE}, which --voice needs; such as --chain {','.join(STAGES)}")
    values: dict[str, Any] = {name: slots().acquire(request[name]) for name in VOICES if request.get(name)}
    if "other" in values:
        values["morph"] = 0.5 if request["morph"] is None else request["morph"]
    if request.get("emotion") is not None:
        from autovoice.dsp.converter.prosody import emotion

        values |= emotion(request["emotion"]).settings()
    values |= {name: request[name] for name in ("mode", "pitch", "formant") if request.get(name) is not None}
    return [f"{keys[0]}/{name}={value}" for name, value in values.items()]


def _specs(request: Mapping[str, Any]) -> tuple[Sequence[Spec], dict[str, float], int | None]:
    """Return the stages, the engine's own settings and the channels of the output: ours, or those of --preset."""
    if request["preset"] is None:
        return STAGES, {}, None
    from autovoice.rt.presets import load_preset

    know_voices()
    preset = load_preset(request["preset"])
    for line in preset.absent:
        note(line)
    return preset.stages, dict(preset.master), preset.channels


def _report(source: Path, target: Path, seconds: float, latency: int, request: Mapping[str, Any]) -> list[Path]:
    """Judge the result, with its delay in it as a live run would have; returns the files."""
    try:
        import numpy as np
        from autovoice.tools.quality import assess
        from autovoice.tools.quality.clips import load
        from autovoice.tools.quality.page import JSON, PAGE, publish
    except ImportError as error:
        raise CommandError(f"the report needs {error.name}: pip install 'autovoice[quality]'") from error
    clip = load(source, target, request["references"], name=target.stem, target=request["voice"], compute_s=seconds)
    delayed = np.concatenate([np.zeros(latency, np.float32), clip.converted])
    clip = replace(clip, converted=delayed, delay_s=latency / clip.rate)
    folder: Path = request["report"]
    publish(folder, assess([clip]), [clip])
    return [folder / JSON, folder / PAGE]
