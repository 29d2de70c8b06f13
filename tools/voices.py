"""`autovoice voices`: who the converter can become: enrol, list, show, mix, pass on, and see who is like whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from autovoice.tools.compiling import Compiling
from autovoice.tools.lazy import LazyGroup
from autovoice.tools.options import CommandError, note, print_json

if TYPE_CHECKING:
    from autovoice.models.voices import Voice

SUBCOMMANDS = {
    "list": "autovoice.tools.voices:list_command",
    "show": "autovoice.tools.voices:show_command",
    "enroll": "autovoice.tools.voices:enroll_command",
    "mix": "autovoice.tools.voices:mix_command",
    "map": "autovoice.tools.voices:map_command",
    "export": "autovoice.tools.voices:export_command",
    "import": "autovoice.tools.voices:import_command",
    "delete": "autovoice.tools.voices:delete_command",
}

JSON = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
FORCE = click.option("--force", is_flag=True, help="Replace a voice of yours that has this name.")
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("voices", cls=LazyGroup, table=SUBCOMMANDS)
def command() -> None:
    """Voices for the stage convert: those that come with AutoVoice, and your own."""


@click.command("list")
@JSON
def list_command(as_json: bool) -> None:
    """List all voices."""
    found = _all()
    if as_json:
        print_json([voice.about() for voice in found])
        return
    width = max(len(voice.name) for voice in found)
    for voice in found:
        click.echo(f"{voice.name:<{width}}  {voice.kind:<8}  {_pitch(voice)}")


@click.command("show")
@click.argument("name")
@JSON
def show_command(name: str, as_json: bool) -> None:
    """Show where a voice came from, and which voices are most like it."""
    from autovoice.models import voices

    voice = voices.find(name)
    alike = sorted(((voices.similarity(voice, one), one.name) for one in _all() if one.name != name), reverse=True)[:3]
    if as_json:
        print_json({**voice.about(), "most_like": [{"name": one, "similarity": value} for value, one in alike]})
        return
    click.echo(f"{voice.name}: {voice.kind}{', ' + voice.created if voice.created else ''}")
    click.echo(f"  pitch    {_pitch(voice)}")
    for source in voice.sources:
        click.echo(f"  from     {_source(source)}")
    if voice.checks:
        click.echo(f"  checks   {', '.join(f'{key} {value:.4g}' for key, value in voice.checks.items())}")
    for title, text in (("consent", voice.consent), ("licence", voice.licence)):
        if text:
            click.echo(f"  {title:<8} {text}")
    click.echo(f"  like     {', '.join(f'{one} {value:.2f}' for value, one in alike)}")


@click.command("enroll")
@click.argument("references", metavar="REF.wav...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", help="What the voice is to be called.")
@click.option("--consent", metavar="TEXT", help="Whose voice it is, and that they agree; kept with it.")
@FORCE
@JSON
def enroll_command(references: tuple[Path, ...], name: str | None, consent: str | None, force: bool, as_json: bool) -> None:
    """Make a voice of 5 to 30 s of someone.

    Nothing leaves this machine. Enrol only voices whose owner has agreed to it.
    """
    from autovoice.models import enrolment, voices

    with Compiling():
        voice, checks = enrolment.enrol(references, _named(name), consent or "", replace_old=force)
        path = voices.keep(voice, replace_old=force)
    if as_json:
        print_json({**voice.about(), "path": path})
        return
    for check in checks:
        click.echo(f"  good     {check.line}")
    click.echo(f"{voice.name}: {_pitch(voice)}; kept in {path}")


@click.command("mix")
@click.argument("parts", metavar='"A:0.6 B:0.4"', nargs=-1, required=True)
@click.option("--name", help="What the voice is to be called.")
@FORCE
@JSON
def mix_command(parts: tuple[str, ...], name: str | None, force: bool, as_json: bool) -> None:
    """Make a voice that is the weighted mean of others; weights need not add up to 1."""
    from autovoice.models import voices

    voice = voices.mix(voices.check_free(_named(name), replace_old=force), voices.parse_mix(" ".join(parts)))
    path = voices.keep(voice, replace_old=force)
    if as_json:
        print_json({**voice.about(), "path": path})
        return
    click.echo(f"{voice.name}: {', '.join(_source(one) for one in voice.sources)}; {_pitch(voice)}; kept in {path}")


@click.command("map")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@JSON
def map_command(folder: Path, as_json: bool) -> None:
    """Draw all voices so that those that sound alike stand close together: voices.png and voices.html in FOLDER."""
    from autovoice.models.voice_map import draw_up

    places, shown = draw_up(_all())
    try:
        from autovoice.tools.voice_map import write
    except ImportError as error:
        raise CommandError(f"the map needs {error.name}: pip install 'autovoice[demo]'") from error
    files = write(places, shown, folder)
    if as_json:
        print_json({"files": files, "shown": shown, "voices": places})
        return
    for path in files:
        click.echo(path)


@click.command("export")
@click.argument("name")
@click.argument("target", metavar="FILE", type=FILE)
@JSON
def export_command(name: str, target: Path, as_json: bool) -> None:
    """Write a voice to FILE, to pass it on; its consent note goes with it."""
    from autovoice.models import voices

    voice = voices.find(name)
    if target.suffix != voices.SUFFIX:
        raise CommandError(f"a voice's file ends in {voices.SUFFIX}, got {target}")
    if not target.parent.is_dir():
        raise CommandError(f"there is no folder {target.parent}")
    voices.write(target, voices.pack(voice))
    if as_json:
        print_json({"name": name, "path": target})
        return
    click.echo(f"{name} is in {target}")


@click.command("import")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--name", help="What it is to be called here.  [default: its own name]")
@FORCE
@JSON
def import_command(source: Path, name: str | None, force: bool, as_json: bool) -> None:
    """Take a voice that autovoice voices export wrote."""
    from dataclasses import replace

    from autovoice.models import voices

    voice = voices.read(source)
    kind = "imported" if voice.kind == "shipped" else voice.kind
    voice = replace(voice, kind=kind, name=voice.name if name is None else name)
    path = voices.keep(voice, replace_old=force)
    if as_json:
        print_json({**voice.about(), "path": path})
        return
    click.echo(f"{voice.name}: {_pitch(voice)}; kept in {path}")


@click.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def delete_command(name: str, yes: bool, as_json: bool) -> None:
    """Delete a voice of yours."""
    from autovoice.models import voices

    voices.check_own(name)
    if not (yes or click.confirm(f"Delete the voice {name}?", default=False, err=True)):
        raise CommandError(f"voice {name} was left as it is; --yes deletes without a question")
    voices.delete(name)
    if as_json:
        print_json({"deleted": name})
        return
    click.echo(f"{name} is deleted")


def _all() -> list[Voice]:
    """Return all voices; a file that is none is told and passed over."""
    from autovoice.models import voices

    found = []
    for name in voices.all_names():
        try:
            found.append(voices.find(name))
        except voices.VoiceError as error:
            note(str(error))
    return found


def _named(name: str | None) -> str:
    if not name:
        raise CommandError("say what the voice is to be called: --name NAME")
    return name


def _pitch(voice: Voice) -> str:
    return f"{voice.median_hz:.0f} Hz ({voice.low_hz:.0f} to {voice.high_hz:.0f})"


def _source(source: dict[str, Any]) -> str:
    if "weight" in source:
        return f"{source['name']}" + (f" {100 * source['weight']:.0f} %" if source["weight"] < 1 else "")
    return f"{source['name']}, {source['seconds']:.1f} s, SHA-256 {source['sha256'][:12]}"
