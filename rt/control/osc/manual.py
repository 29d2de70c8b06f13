"""The tables of docs/osc.md, made from what the server runs on: `python -m autovoice.rt.control.osc.manual docs/osc.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from autovoice.rt.control.commands import COMMANDS
from autovoice.rt.control.osc.outputs import METERS, PLAYING


def tables() -> dict[str, str]:
    """Return the tables as Markdown, by the names of their places in the page."""
    return {
        "commands": _table(
            ("address", "types", "arguments", "what it does"),
            ((f"`/{c.name}`", f"`,{c.kinds}`", c.usage.removeprefix(c.name).strip(), c.help) for c in COMMANDS.values()),
        ),
        "meters": _table(("address", "what it says"), ((f"`{at}`", what) for at, (_, what) in METERS.items())),
        "playing": _table(("address", "what it says"), ((f"`{at}`", what) for at, (_, what) in PLAYING.items())),
    }


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def refreshed(page: str) -> str:
    """Return a page with each table between its two marks made anew."""
    made = tables()

    def renew(found: re.Match[str]) -> str:
        return f"{found[1]}\n{made[found[2]]}\n{found[3]}"

    return re.sub(r"(<!-- (\w+) -->)\n.*?(<!-- end -->)", renew, page, flags=re.DOTALL)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
