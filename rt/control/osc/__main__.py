"""The OSC server's process: `python -m autovoice.rt.control.osc --channel FD --host 127.0.0.1 --port N`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import sys

from autovoice.rt.control.osc.clients import FORMS
from autovoice.rt.control.osc.network import NetworkError, open_doors
from autovoice.rt.control.osc.server import Server, Settings
from autovoice.rt.control.surface import Surface
from autovoice.rt.layout import OSC_PRODUCER

NO_SOCKETS = 3  # exit code: the port is taken, or the address is not ours; one line says which, on the channel


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line that the Conductor wrote."""
    parser = argparse.ArgumentParser(prog="python -m autovoice.rt.control.osc", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="file descriptor of the socket to the Conductor")
    parser.add_argument("--host", "--bind", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=0, help="UDP and TCP port; 0 = any free one")
    parser.add_argument("--allow", action="append", default=[], metavar="NETWORK", help="who may send beside this machine")
    parser.add_argument(
        "--subscribe",
        action="append",
        default=[],
        type=subscriber,
        metavar="HOST:PORT[@HZ][/FORM]",
        help="who is told from the start",
    )
    return parser.parse_args(argv)


def subscriber(text: str) -> tuple[str, int, float, str]:
    """Read HOST:PORT, HOST:PORT@HZ or HOST:PORT@HZ/FORM; raises ValueError."""
    place, _, form = text.partition("/")
    place, _, hz = place.partition("@")
    host, _, port = place.rpartition(":")
    if not host or not 1 <= int(port) < 1 << 16 or form not in ("", *FORMS):
        raise ValueError(text)
    return host.strip("[]"), int(port), float(hz or 0.0), form or FORMS[0]


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    given = arguments(sys.argv[1:] if argv is None else argv)
    logging.disable(logging.WARNING)  # python-osc warns the root logger of every type it skips, and any packet may name some
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the Conductor says when to stop
    surface = Surface(socket.socket(fileno=given.channel), OSC_PRODUCER)
    try:
        doors = open_doors(given.host, given.port, given.allow)
        server = Server(surface, doors, Settings(tuple(given.allow), tuple(given.subscribe)), OSC_PRODUCER)
    except NetworkError as error:
        surface.notify(str(error), kind="error")
        return NO_SOCKETS
    host, port = doors.address
    surface.notify(f"OSC at {host} port {port}, UDP and TCP", kind="listening", host=host, port=port, pid=os.getpid())
    gc.collect()
    gc.freeze()  # what is here stays; collections look at the little that comes later
    server.run()
    doors.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
