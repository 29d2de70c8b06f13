"""Address patterns of OSC 1.0 (`* ? [a-z] [!a-z] {one,two}`, each within one part) and the `//` of OSC 1.1 (any depth).

No regular expressions: a hostile pattern would make one backtrack for hours. The sets of positions reached after each token
are followed instead (Thompson, 1968), in time proportional to the pattern's length times the name's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

SPECIAL = frozenset("*?[]{}")
MAX_LENGTH = 128  # characters of a pattern


class BadPattern(ValueError):
    """A pattern that is not one; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class AnyText:
    """`*`: any characters, none included."""


@dataclass(frozen=True, slots=True)
class One:
    """A single character: any but those in `characters` where `inverted`, else one of them. `?` inverts the empty set."""

    characters: frozenset[str]
    inverted: bool


@dataclass(frozen=True, slots=True)
class Either:
    """One of several texts; a literal is the only one of its list."""

    texts: tuple[str, ...]


Token: TypeAlias = AnyText | One | Either
Part: TypeAlias = tuple[Token, ...]
DEEP: Part = ()
"""What stands for `//`: an empty part."""


def is_pattern(address: str) -> bool:
    """Say whether an address holds anything but a plain name."""
    return not SPECIAL.isdisjoint(address) or "//" in address


def compile_pattern(address: str) -> tuple[Part, ...]:
    """Return the parts of a pattern that begins with a slash; raises BadPattern."""
    if len(address) > MAX_LENGTH:
        raise BadPattern(f"a pattern of {len(address)} characters; the most is {MAX_LENGTH}")
    parts = [tuple(_tokens(part)) for part in address[1:].split("/")]
    return tuple(part for k, part in enumerate(parts) if part != DEEP or k == 0 or parts[k - 1] != DEEP)


def expand(pattern: tuple[Part, ...], addresses: Iterable[str]) -> list[str]:
    """Return those of many addresses that a compiled pattern matches, in their order; each part is compared once to a name."""
    compared = cache(_matches_part)
    return [address for address in addresses if _matches(pattern, address[1:].split("/"), compared)]


def matches(pattern: tuple[Part, ...], address: str) -> bool:
    """Say whether a compiled pattern matches a whole address such as /autovoice/shift/semitones."""
    return bool(expand(pattern, [address]))


def _matches(pattern: tuple[Part, ...], names: list[str], compare: Callable[[Part, str], bool]) -> bool:
    reached = {0}
    for part in pattern:
        if part == DEEP:
            reached = set(range(min(reached), len(names)))
        else:
            reached = {at + 1 for at in reached if at < len(names) and compare(part, names[at])}
        if not reached:
            return False
    return len(names) in reached


def _matches_part(part: Part, name: str) -> bool:
    reached = {0}
    for token in part:
        match token:
            case AnyText():
                reached = set(range(min(reached), len(name) + 1))
            case One(characters, inverted):
                reached = {at + 1 for at in reached if at < len(name) and (name[at] in characters) != inverted}
            case Either(texts):
                reached = {at + len(text) for at in reached for text in texts if name.startswith(text, at)}
        if not reached:
            return False
    return len(name) in reached


def _tokens(part: str) -> Iterable[Token]:
    at = 0
    while at < len(part):
        match part[at]:
            case "*":
                if part[at - 1 : at] != "*":
                    yield AnyText()
            case "?":
                yield One(frozenset(), inverted=True)
            case "[":
                end = _closing(part, at, "]")
                yield _characters(part[at + 1 : end])
                at = end
            case "{":
                end = _closing(part, at, "}")
                yield Either(tuple(part[at + 1 : end].split(",")))
                at = end
            case "]" | "}" as stray:
                raise BadPattern(f"a {stray} that closes nothing in {part!r}")
            case plain:
                yield Either((plain,))
        at += 1


def _closing(part: str, at: int, bracket: str) -> int:
    end = part.find(bracket, at + 1)
    if end < 0:
        raise BadPattern(f"a {part[at]} without its {bracket} in {part!r}")
    return end


def _characters(text: str) -> One:
    """Read the inside of brackets: `a-z` is a range, a leading `!` inverts, a `-` or `!` elsewhere stands for itself."""
    inverted = text.startswith("!")
    text = text[1:] if inverted else text
    found: set[str] = set()
    at = 0
    while at < len(text):
        if at + 2 < len(text) and text[at + 1] == "-":
            low, high = ord(text[at]), ord(text[at + 2])
            found.update(map(chr, range(low, min(high, 0x7F) + 1)))
            at += 3
        else:
            found.add(text[at])
            at += 1
    return One(frozenset(found), inverted)
