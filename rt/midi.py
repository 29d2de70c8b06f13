"""MIDI on the audio thread: messages become parameter events at their exact frames, through tables that control lays out.

A driver's callback hands each message of its block to `hear`, with the frame it stands at; the events go to the MIDI
producer's ring, which the engine empties in the same callback. Controllers move parameters through 128 values computed
beforehand. Notes go to players, stages with note parameters: held notes are kept in the order of pressing; a new one takes a
player's first free voice or the one that sounds the oldest note, and a voice that falls free goes back to the newest note that
is still held. With one voice that is last-note priority.

Messages are the channel messages of MIDI 1.0 (MIDI Manufacturers Association, 1996); those to the whole system are ignored.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import numpy as np
from autovoice.dsp.native import as_pointer, exchange, helper, load_acquire, record_at, store_release
from autovoice.dsp.toolchain import numba
from autovoice.dsp.vetting import compile_entry
from autovoice.rt.layout import EVENT, LINE, field_offset
from autovoice.rt.ring import ring_push

carray = numba.carray
CHANNELS, NOTES, CONTROLLERS = 16, 128, 128
TARGETS_EACH = 4  # parameters that one controller moves
MAX_TARGETS = CHANNELS * CONTROLLERS
MAX_PLAYERS, MAX_VOICES = 8, 8
HELD = 32  # notes kept at once
GROUP = 2 * MAX_PLAYERS * MAX_VOICES  # events of one message: a note that comes, and one that has to go for it
BEND_SEMITONES = 2.0
BEND_CENTRE = 8192
NONE = -1

NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE, CHANNEL_PRESSURE, PITCH_BEND = 0x8, 0x9, 0xB, 0xC, 0xD, 0xE
PEDAL, ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 64, 120, 121, 123
"""Controller numbers with a meaning of their own; from 120 on they are channel mode messages."""

MESSAGE = np.dtype(
    [("frame", "i8"), ("status", "u1"), ("first", "u1"), ("second", "u1"), ("size", "u1"), ("unused", "u4")], align=True
)
"""A channel message of `size` bytes at an absolute frame."""

TARGET = np.dtype([("uid", "i8"), ("index", "i8"), ("values", "f8", (CONTROLLERS,))], align=True)
"""A parameter that a controller moves, with its value for each of the controller's."""

PLAYER = np.dtype(
    [
        ("uid", "i8"),
        ("channels", "i8"),  # bit k: it hears channel k
        ("voices", "i8"),  # of its parameters in use
        ("count", "i8"),
        ("index", "i8", (MAX_VOICES,)),  # of the note parameters
    ],
    align=True,
)
"""A stage that plays notes."""

MAP = np.dtype(
    [
        ("targets", "i8"),  # address of the TARGETs
        ("target_count", "i8"),
        ("player_count", "i8"),
        ("players", PLAYER, (MAX_PLAYERS,)),
        ("controls", "i2", (CHANNELS * CONTROLLERS, TARGETS_EACH)),  # row of TARGETs, or NONE from there on
    ],
    align=True,
)
"""What messages do; laid out by control, never changed while the audio thread may look."""

SOUNDING = np.dtype([("uid", "i8"), ("keys", "i8", (MAX_VOICES,))], align=True)
"""The keys (channel * NOTES + note) that a player's voices sound, or NONE."""

MIDI = np.dtype(
    [
        ("self_address", "i8"),
        ("events", "i8"),  # the rings: to the engine
        ("messages", "i8"),  # ... to control, all that is heard
        ("programs", "i8"),  # ... and the program changes, which must not be lost among the rest
        ("heard", "i8"),  # messages
        ("malformed", "i8"),
        ("lost", "i8"),  # events that found the engine's ring full
        ("unseen", "i8"),  # messages that found control's ring full
        ("held", "i8", (HELD,)),  # keys, in the order of pressing
        ("lifted", "i8", (HELD,)),  # the key is up, the pedal holds the note
        ("held_count", "i8"),
        ("pedal", "i8", (CHANNELS,)),
        ("bend", "f8", (CHANNELS,)),  # semitones
        ("sounding", SOUNDING, (MAX_PLAYERS,)),
        ("before", SOUNDING, (MAX_PLAYERS,)),  # the same, while another map comes
        ("group_count", "i8"),
        ("group", EVENT, (GROUP,)),
        ("message", MESSAGE),
        ("unused_line_0", "i8", (LINE,)),
        ("map", "i8"),  # address of the MAP in use; audio -> control: no older one is looked at any more
        ("unused_line_1", "i8", (LINE,)),
        ("next", "i8"),  # control -> audio: a MAP to take up, or 0
        ("hush", "i8"),  # control -> audio: let every note go
        ("unused_line_2", "i8", (LINE,)),
    ],
    align=True,
)
"""A MIDI input: the audio thread's own state, and its lines to control."""

MAP_AT, NEXT_AT, HUSH_AT, GROUP_AT, MESSAGE_AT = (
    field_offset(MIDI, name) for name in ("map", "next", "hush", "group", "message")
)


@helper
def _tell(midi, frame, uid, index, value):
    """Put an event into the message's group."""
    if midi.group_count < GROUP:
        event = midi.group[midi.group_count]
        event.frame = frame
        event.uid = uid
        event.index = index
        event.value = value
        midi.group_count += 1


@helper
def _send(midi):
    """Hand the group to the engine, whole."""
    count = midi.group_count
    for k in range(count):
        midi.group[k].following = count - 1 - k
    if count > 0 and ring_push(midi.events, midi.self_address + GROUP_AT, count) == 0:
        midi.lost += count
    midi.group_count = 0


@helper
def _pitch(midi, key):
    """Return a key's note with its channel's bend; 0, which plays nothing, for NONE."""
    if key == NONE:
        return 0.0
    return min(max(np.float64(key & (NOTES - 1)) + midi.bend[key >> 7], 1.0), NOTES - 1.0)


@helper
def _hears(player, key):
    return (player.channels >> (key >> 7)) & 1 != 0


@helper
def _find(midi, key):
    """Return where a key stands among the held ones, or NONE."""
    for k in range(midi.held_count):
        if midi.held[k] == key:
            return k
    return NONE


@helper
def _voice_of(player, sounding, key):
    """Return the voice that sounds a key, or NONE."""
    for v in range(player.voices):
        if sounding.keys[v] == key:
            return v
    return NONE


@helper
def _waiting(midi, player, sounding):
    """Return the newest held key that a player should sound and does not, or NONE."""
    for k in range(midi.held_count):
        key = midi.held[midi.held_count - 1 - k]
        if _hears(player, key) and _voice_of(player, sounding, key) == NONE:
            return key
    return NONE


@helper
def _sound(midi, frame, player, sounding, voice, key):
    sounding.keys[voice] = key
    _tell(midi, frame, player.uid, player.index[voice], _pitch(midi, key))


@helper
def _remove(midi, place):
    """Take a key out of the held ones; who sounds it must be settled after."""
    midi.held_count -= 1
    for k in range(place, midi.held_count):
        midi.held[k] = midi.held[k + 1]
        midi.lifted[k] = midi.lifted[k + 1]


@helper
def _settle(midi, frame):
    """Give voices whose note has gone to the newest ones that wait, or to nobody."""
    tables = record_at(midi.map, MAP)
    for j in range(tables.player_count):
        player, sounding = tables.players[j], midi.sounding[j]
        for v in range(player.voices):
            if sounding.keys[v] == NONE or _find(midi, sounding.keys[v]) == NONE:
                key = _waiting(midi, player, sounding)
                if key != sounding.keys[v]:
                    _sound(midi, frame, player, sounding, v, key)


@helper
def _press(midi, frame, key):
    """Hold a key as the newest, and sound it."""
    place = _find(midi, key)
    if place != NONE:
        _remove(midi, place)
    elif midi.held_count == HELD:
        _remove(midi, 0)
        _settle(midi, frame)
    midi.held[midi.held_count] = key
    midi.lifted[midi.held_count] = 0
    midi.held_count += 1
    tables = record_at(midi.map, MAP)
    for j in range(tables.player_count):
        player, sounding = tables.players[j], midi.sounding[j]
        if _hears(player, key) and player.voices > 0 and _voice_of(player, sounding, key) == NONE:
            voice, oldest = NONE, HELD
            for v in range(player.voices):
                age = _find(midi, sounding.keys[v])  # NONE of a free voice: before every other, the first of them
                if age < oldest:
                    voice, oldest = v, age
            _sound(midi, frame, player, sounding, voice, key)


@helper
def _let_go(midi, frame, channel, at_once):
    """Let every note of a channel go, as if all its keys came up; `at_once`, in spite of the pedal."""
    k = 0
    while k < midi.held_count:
        if midi.held[k] >> 7 != channel:
            k += 1
        elif midi.pedal[channel] != 0 and not at_once:
            midi.lifted[k] = 1
            k += 1
        else:
            _remove(midi, k)
    _settle(midi, frame)


@helper
def _move_pedal(midi, frame, channel, down):
    midi.pedal[channel] = down
    if down != 0:
        return
    k = 0
    while k < midi.held_count:
        if midi.held[k] >> 7 == channel and midi.lifted[k] != 0:
            _remove(midi, k)
        else:
            k += 1
    _settle(midi, frame)


@helper
def _bend(midi, frame, channel, semitones):
    """Bend what a channel sounds."""
    midi.bend[channel] = semitones
    tables = record_at(midi.map, MAP)
    for j in range(tables.player_count):
        player, sounding = tables.players[j], midi.sounding[j]
        for v in range(player.voices):
            if sounding.keys[v] != NONE and sounding.keys[v] >> 7 == channel:
                _sound(midi, frame, player, sounding, v, sounding.keys[v])


@helper
def _control(midi, frame, channel, controller, value):
    """Move what a controller is bound to, or do what it means by itself."""
    tables = record_at(midi.map, MAP)
    row = tables.controls[channel * CONTROLLERS + controller]
    targets = carray(as_pointer(tables.targets), (tables.target_count,), TARGET)
    for k in range(TARGETS_EACH):
        if row[k] == NONE:
            break
        target = targets[row[k]]
        _tell(midi, frame, target.uid, target.index, target.values[value])
    if controller == PEDAL and row[0] == NONE:
        _move_pedal(midi, frame, channel, 1 if value >= CONTROLLERS // 2 else 0)
    elif controller == RESET_CONTROLLERS:
        _bend(midi, frame, channel, 0.0)
        _move_pedal(midi, frame, channel, 0)
    elif controller == ALL_SOUND_OFF or controller >= ALL_NOTES_OFF:
        _let_go(midi, frame, channel, controller == ALL_SOUND_OFF)


@helper
def _show(midi, frame, data, size):
    """Let control see a message."""
    message = midi.message
    message.frame = frame
    message.status = data[0]
    message.first = data[1]
    message.second = data[2] if size == 3 else np.uint8(0)
    message.size = size
    if ring_push(midi.messages, midi.self_address + MESSAGE_AT, 1) == 0:
        midi.unseen += 1


@helper
def hear(address, frame, data, size):
    """Take one message of `size` bytes at the address `data`, at an absolute frame."""
    midi = record_at(address, MIDI)
    byte = carray(as_pointer(data), (3,), np.uint8)
    if size < 1 or byte[0] >= 0xF0:
        return
    kind, channel = np.int64(byte[0] >> 4), np.int64(byte[0] & 0xF)
    expected = 2 if kind in (PROGRAM_CHANGE, CHANNEL_PRESSURE) else 3
    if kind < NOTE_OFF or size != expected or byte[1] > 127 or (expected == 3 and byte[2] > 127):
        midi.malformed += 1
        return
    midi.heard += 1
    _show(midi, frame, byte, size)
    first = np.int64(byte[1])
    second = np.int64(byte[2]) if expected == 3 else 0
    key = channel * NOTES + first
    if kind == NOTE_ON and second > 0:
        if first > 0:  # 0 as a parameter means no note
            _press(midi, frame, key)
    elif kind in (NOTE_ON, NOTE_OFF):
        place = _find(midi, key)
        if place != NONE and midi.pedal[channel] != 0:
            midi.lifted[place] = 1
        elif place != NONE:
            _remove(midi, place)
            _settle(midi, frame)
    elif kind == CONTROL_CHANGE:
        _control(midi, frame, channel, first, second)
    elif kind == PITCH_BEND:
        _bend(midi, frame, channel, ((second << 7 | first) - BEND_CENTRE) * (BEND_SEMITONES / BEND_CENTRE))
    elif kind == PROGRAM_CHANGE:
        ring_push(midi.programs, address + MESSAGE_AT, 1)
    _send(midi)


@helper
def _take_up(midi, frame, address):
    """Go over to another map. Voices of stages that stay keep their notes, stages that come get those that are held.

    All notes are told again: a chain that came with the map may have been set otherwise.
    """
    old = record_at(midi.map, MAP).player_count
    for i in range(old):
        midi.before[i].uid = midi.sounding[i].uid
        for v in range(MAX_VOICES):
            midi.before[i].keys[v] = midi.sounding[i].keys[v]
    tables = record_at(address, MAP)
    for j in range(tables.player_count):
        player, sounding = tables.players[j], midi.sounding[j]
        sounding.uid = player.uid
        for v in range(MAX_VOICES):
            sounding.keys[v] = NONE
        for i in range(old):
            if midi.before[i].uid == player.uid:
                for v in range(player.count):
                    key = midi.before[i].keys[v]
                    if key != NONE:
                        keep = v < player.voices and _hears(player, key)
                        _sound(midi, frame, player, sounding, v, key if keep else NONE)
    store_release(midi.self_address + MAP_AT, address)
    _settle(midi, frame)


@helper
def begin_midi(address, frame):
    """Take up what control has for us; at the start of a block, before its messages."""
    midi = record_at(address, MIDI)
    if load_acquire(address + NEXT_AT) != 0:
        _take_up(midi, frame, exchange(address + NEXT_AT, 0))
        _send(midi)
    if load_acquire(address + HUSH_AT) != 0:
        exchange(address + HUSH_AT, 0)
        midi.held_count = 0
        for channel in range(CHANNELS):
            midi.pedal[channel] = 0
            midi.bend[channel] = 0.0
        _settle(midi, frame)
        _send(midi)


def _hear_block(address, frame, messages, count):
    """Do what a driver's callback does with its block, for `count` MESSAGEs whose frames are counted from `frame`."""
    begin_midi(address, frame)
    message = carray(as_pointer(messages), (count,), MESSAGE)
    for k in range(count):
        hear(address, frame + message[k].frame, messages + k * MESSAGE_BYTES + STATUS_AT, np.int64(message[k].size))


MESSAGE_BYTES, STATUS_AT = MESSAGE.itemsize, field_offset(MESSAGE, "status")
_U, _I = numba.types.uintp, numba.types.int64
HEAR_BLOCK = compile_entry(_hear_block, numba.types.void(_U, _I, _U, _I))
