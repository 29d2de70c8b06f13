"""The web server's process: `python -m autovoice.rt.control.web --channel FD --host 127.0.0.1 --port N`."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
import sys

from autovoice.rt.control.surface import Surface
from autovoice.rt.control.web.app import Server, Settings
from autovoice.rt.layout import WEB_PRODUCER

BROKEN, IN_USE, NOT_OURS = 1, 3, 4
"""Exit codes: the line to the Conductor broke, start again; the port is taken; the address is not this machine's."""
TOKEN_VARIABLE = "AUTOVOICE_WEB_TOKEN"  # where other users of the machine cannot read it, as they can the command line


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line that the Conductor wrote."""
    parser = argparse.ArgumentParser(prog="python -m autovoice.rt.control.web", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="file descriptor of the socket to the Conductor")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 = any free one")
    parser.add_argument("--token", default=None, help=f"asked of whoever writes; better given in {TOKEN_VARIABLE}")
    parser.add_argument("--name", action="append", default=[], help="a further name that this machine goes by")
    parser.add_argument("--announce", action="store_true", help="announce by zeroconf on loopback too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    given = arguments(sys.argv[1:] if argv is None else argv)
    _log_our_own()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the Conductor says when to stop
    surface = Surface(socket.socket(fileno=given.channel), WEB_PRODUCER)
    token = os.environ.pop(TOKEN_VARIABLE, None) or given.token
    settings = Settings(given.host, given.port, token, tuple(given.name), given.announce)
    try:
        return 0 if asyncio.run(Server(surface, settings).run()) else BROKEN
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        surface.notify(
            f"the web server's port {given.port} at {given.host} is in use; choose another with --web-port"
            if taken
            else f"the web server cannot listen at {given.host}:{given.port}: {error.strerror or error}",
            kind="error",
        )
        return IN_USE if taken else NOT_OURS


def _log_our_own() -> None:
    """Log what AutoVoice says, and not what the libraries make of a stranger's broken request or packet."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("autovoice web: %(message)s"))
    logging.getLogger("autovoice").addHandler(handler)
    logging.getLogger().addHandler(logging.NullHandler())


if __name__ == "__main__":
    sys.exit(main())
