"""Fills the compile cache: imports a backend, loads stages, and ends.

    python -m autovoice.tools.warm BACKEND STAGE ...

A program of its own, since what the compiler allocates (about 150 MB) is never given back: the process that plays
finds everything compiled and stays small.
"""

from __future__ import annotations

import importlib
import sys

from autovoice.rt import Chain
from autovoice.rt.engine import BACKENDS


def main() -> None:
    """Compile what a run of this backend with these stages needs."""
    backend, *stages = sys.argv[1:]
    importlib.import_module(BACKENDS[backend][0])
    Chain(stages)


if __name__ == "__main__":
    main()
