"""What the server counts, for /metrics and for those who wonder where a message went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since the start."""

    packets: int = 0  # read
    messages: int = 0  # in them
    malformed: int = 0  # packets that are no OSC
    unknown: int = 0  # messages to addresses that nobody answers
    invalid: int = 0  # messages with arguments that do not fit
    refused: int = 0  # packets and connections of senders that are not on the allow-list
    limited: int = 0  # packets of a client that sends more than its share
    lost: int = 0  # datagrams that the kernel had no room for
    moves: int = 0  # changes of parameters handed to the engine
    applied: int = 0  # of those, applied by the audio thread
    commands: int = 0  # handed to the Conductor
    late: int = 0  # groups whose time tag had passed when they came
    dropped: int = 0  # changes that the engine took too long to take
    faults: int = 0  # errors of ours: a packet was given up, the server went on
    sent: int = 0  # packets to clients
    unsent: int = 0  # packets to clients that the network did not take
    clients: int = 0  # known now
    subscribers: int = 0  # now
    streams: int = 0  # TCP connections now
