"""What is in a packet: messages and nested bundles, flattened to groups that belong at one time.

Messages are read by python-osc. Bundles are walked here: python-osc's own walk turns in circles at an element of size -4, keeps
no more than a double of the time tag, and reports what it skips to the root logger.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pythonosc.osc_message import OscMessage

MAX_BYTES = 1 << 16
MAX_MESSAGES = 512  # in one packet
MAX_DEPTH = 16  # of bundles in bundles
MAX_ARGUMENTS = 64  # of one message
IMMEDIATE = 1  # the time tag that means "at once"
HEADER = b"#bundle\0"
_ELEMENTS = len(HEADER) + 8  # where a bundle's elements begin
_TAG, _SIZE, _FLOAT = struct.Struct(">Q"), struct.Struct(">i"), struct.Struct(">f")
_TYPES = frozenset(b"ifhdsbrmtTFNI[]")


class Malformed(ValueError):
    """A packet that is not OSC; the message says what is wrong with it."""


class Message(NamedTuple):
    """An address, or pattern of addresses, with its arguments as Python objects; N and I are None."""

    address: str
    arguments: tuple[Any, ...]


class Group(NamedTuple):
    """The messages of a packet that share a time tag, in the order sent."""

    tag: int  # NTP, 32.32 bits; IMMEDIATE = at once
    messages: list[Message]


def read(packet: bytes) -> list[Group]:
    """Return the groups of a packet, the earliest first; raises Malformed, and nothing else.

    A bundle in a bundle is never earlier than what it is in (OSC 1.0), and belongs to the same group where it is not later.
    """
    if packet[:1] == b"/":
        return [Group(IMMEDIATE, [_message(packet)])]
    found: dict[int, list[Message]] = {}
    waiting = [(packet, IMMEDIATE, 1)]
    count = 0
    while waiting:
        part, tag, depth = waiting.pop()
        if part[:1] == b"/":
            count += 1
            if count > MAX_MESSAGES:
                raise Malformed(f"more than {MAX_MESSAGES} messages in one packet")
            found.setdefault(tag, []).append(_message(part))
        else:
            if depth > MAX_DEPTH:
                raise Malformed(f"bundles nested deeper than {MAX_DEPTH}")
            tag = max(tag, _tag_of(part))
            waiting.extend((element, tag, depth + 1) for element in reversed(_elements(part)))
    return [Group(tag, found[tag]) for tag in sorted(found)]


def _tag_of(bundle: bytes) -> int:
    if bundle[: len(HEADER)] != HEADER:
        raise Malformed("neither a message (/...) nor a bundle (#bundle)" if bundle else "an empty packet")
    if len(bundle) < _ELEMENTS:
        raise Malformed("a bundle without a time tag")
    return int(_TAG.unpack_from(bundle, len(HEADER))[0])


def _elements(bundle: bytes) -> list[bytes]:
    at, elements = _ELEMENTS, []
    while at < len(bundle):
        if len(bundle) - at < _SIZE.size:
            raise Malformed("a bundle that ends within a size")
        (size,) = _SIZE.unpack_from(bundle, at)
        at += _SIZE.size
        if not 0 < size <= len(bundle) - at:
            raise Malformed(f"a bundle element of {size} bytes where {len(bundle) - at} are left")
        elements.append(bundle[at : at + size])
        if len(elements) > MAX_MESSAGES:
            raise Malformed(f"more than {MAX_MESSAGES} elements in one bundle")
        at += size
    return elements


def _message(data: bytes) -> Message:
    impulses = _check_types(data)
    try:
        message = OscMessage(data)
        arguments = tuple(message)
    except Exception as error:  # python-osc lets UnicodeDecodeError, OverflowError and others through
        raise Malformed(f"a message that cannot be read: {error.args[0] if error.args else error}") from error
    return Message(message.address, arguments + (None,) * impulses)


def _check_types(data: bytes) -> int:
    """Look at the type tags before python-osc does: its time grows with their number times the packet's size.

    Returns how many impulses (I) end them, which python-osc leaves out.
    """
    start = (data.find(b"\0") | 3) + 1 if b"\0" in data else len(data)
    if start >= len(data):
        return 0
    end = data.find(b"\0", start)
    types = data[start + 1 : end if end >= 0 else len(data)]
    if len(types) > MAX_ARGUMENTS:
        raise Malformed(f"more than {MAX_ARGUMENTS} arguments")
    unknown = set(types) - _TYPES
    if unknown:
        raise Malformed(f"arguments of type {bytes(sorted(unknown))!r}; known are i f h d s b r m t T F N I [ ]")
    return len(types) - len(types.rstrip(b"I"))


def write(address: str, *arguments: float | int | str | bool) -> bytes:
    """Return a message as bytes; numbers become f and i, or h where an i is too narrow."""
    types, values = ",", b""
    for argument in arguments:
        match argument:
            case bool():
                types += "T" if argument else "F"
            case int():
                wide = not -(1 << 31) <= argument < 1 << 31
                types += "h" if wide else "i"
                values += argument.to_bytes(8 if wide else 4, "big", signed=True)
            case float():
                types += "f"
                values += _FLOAT.pack(argument)
            case str():
                types += "s"
                values += _text(argument)
    return _text(address) + _text(types) + values


def _text(text: str) -> bytes:
    data = text.encode(errors="replace").replace(b"\0", b"")
    return data + b"\0" * (4 - len(data) % 4)


def bundles(messages: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Pack messages into immediate bundles of at most `limit` bytes; a single message stays as it is."""
    group: list[bytes] = []
    size = _ELEMENTS
    for message in messages:
        if group and size + _SIZE.size + len(message) > limit:
            yield _bundle(group)
            group, size = [], _ELEMENTS
        group.append(message)
        size += _SIZE.size + len(message)
    if group:
        yield _bundle(group)


def _bundle(messages: list[bytes]) -> bytes:
    if len(messages) == 1:
        return messages[0]
    elements = b"".join(_SIZE.pack(len(message)) + message for message in messages)
    return HEADER + _TAG.pack(IMMEDIATE) + elements
