"""The commands of an engine beside its parameters: one table for OSC, OSCQuery, the page, the command line and the manual."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, with its OSC type tag: s text, i whole number, f number, T on or off."""

    name: str
    tag: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Something that can be asked of a running engine."""

    name: str  # its address at the root, without the first slash
    help: str
    arguments: tuple[Argument, ...] = ()

    @property
    def kinds(self) -> str:
        """The type tags, those that may be left out in brackets: `s[f]`."""
        required = "".join(a.tag for a in self.arguments if not a.optional)
        optional = "".join(a.tag for a in self.arguments if a.optional)
        return f"{required}[{optional}]" if optional else required

    @property
    def usage(self) -> str:
        """The command as one writes it: `preset/load NAME [SECONDS]`."""
        names = (f"[{a.name.upper()}]" if a.optional else a.name.upper() for a in self.arguments)
        return " ".join((self.name, *names))


def _argument(text: str) -> Argument:
    """Read `name:tag`, or `name:tag?` for one that may be left out."""
    name, _, tag = text.partition(":")
    return Argument(name, tag[0], tag.endswith("?"))


def _command(name: str, arguments: str, help: str) -> Command:
    return Command(name, help, tuple(_argument(one) for one in arguments.split()))


COMMANDS = {
    command.name: command
    for command in (
        _command("mute", "on:T?", "silence the output within 3 ms, or bring it back; without an argument, the other way round"),
        _command("bypass", "on:T?", "hear the dry voice at equal delay; without an argument, the other way round"),
        _command("panic", "", "silence the output and forget every tail, loop and held note; /mute 0 brings the voice back"),
        _command("chain/swap", "stages:s", "play these stages, separated by commas, or a JSON list of stages with settings"),
        _command("chain/add", "stage:s index:i?", "put a stage into the chain, before position INDEX (from 0), or at the end"),
        _command("chain/remove", "key:s", "take a stage out of the chain"),
        _command("chain/move", "key:s index:i", "move a stage to position INDEX (from 0)"),
        _command(
            "chain/option", "key:s name:s value:s", "set what is fixed while running (look-ahead, range), by a cross-fade"
        ),
        _command("voice", "name:s key:s?", "become a voice, by its name, in the stage convert (or the one called KEY)"),
        _command(
            "singer", "name:s key:s?", "say whose voice comes in, enrolled before: words are kept better; nobody = not known"
        ),
        _command("emotion", "name:s key:s?", "speak happily, sadly, ... in the stage convert; neutral is as it was spoken"),
        _command("preset/load", "name:s seconds:f?", "play a preset, at once or in a glide over SECONDS"),
        _command("preset/save", "name:s", "keep what plays as a preset of yours"),
        _command("preset/delete", "name:s", "delete a preset of yours"),
        _command("morph", "name:s seconds:f", "glide to a preset's settings over SECONDS"),
        _command("morph/target", "name:s", "lay the way from what plays to a preset, for morph/position"),
        _command("morph/position", "position:f", "stand at a place of that way, from 0 to 1"),
        _command("scene/go", "scene:s", "go to a scene of the show file, by name or by number from 1"),
        _command("scene/next", "", "go to the next scene"),
        _command("scene/previous", "", "go to the scene before"),
        _command("undo", "", "take the last change back"),
        _command("redo", "", "make the change again that was taken back"),
        _command("record", "on:T? name:s?", "begin or end a take: dry, wet and the log of every move"),
        _command("tap", "", "tap the tempo: sets the bpm of every stage that has one"),
        _command("midi/learn", "path:s", "bind the next controller that moves; for a note parameter, the next key's channel"),
        _command("midi/forget", "path:s", "free a parameter from MIDI controllers"),
        _command("midi/map", "path:s channel:i controller:i?", "bind a controller of a channel; for a note parameter, 0 = all"),
        _command("midi/monitor", "", "tell the newest MIDI messages"),
    )
}
"""By name, in the order of the manual."""
